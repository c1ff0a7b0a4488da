//! `odibi config show`: the project that its files make, without credentials, and where each value comes from.

use odibi_plan::Severity;
use odibi_plan::config::mask;
use odibi_plan::diagnostic::{Sources, render_json};
use odibi_plan::yaml::{self, Node, Resolved, Value as Tree};
use serde_json::{Map, Value, json};

use crate::args::{Output, Show};
use crate::printer::Printer;
use crate::source::Source;
use crate::{Surroundings, exit, secrets};

pub(crate) fn show(show: &Show, around: &Surroundings, printer: &Printer) -> u8 {
    let source = match Source::open(&show.config, around, printer) {
        Ok(source) => source,
        Err(code) => return code,
    };
    let (project, _) = source.load(&mut Sources::default());
    secrets::learn(&project, &source, printer);
    let mut sources = Sources::default();
    let (assembled, found) = source.assemble(show.resolved, &mut sources);
    let mut root = assembled.tree.root;
    mask(&mut root);
    for diagnostic in &found {
        printer.diagnostic(diagnostic, &sources);
    }
    match printer.output {
        Output::Text => {
            let place = |node: &Node| Some(place(&sources, node));
            printer.result(&yaml::write(&root, &place));
        }
        Output::Json => {
            let mut places = Map::new();
            let value = document(&root, &sources, "", &mut places);
            printer.json(&json!({
                "files": assembled.files,
                "config": value,
                "places": places,
                "diagnostics": found.iter().map(|d| render_json(d, &sources)).collect::<Vec<_>>(),
            }));
        }
    }
    if found.iter().any(|d| d.severity == Severity::Error) {
        exit::PROJECT_INVALID
    } else {
        exit::DONE
    }
}

fn place(sources: &Sources, node: &Node) -> String {
    let at = sources.position(node.span);
    format!("{}:{}", at.file, at.line)
}

/// The values, and by JSON Pointer the file and line of each.
fn document(
    node: &Node,
    sources: &Sources,
    pointer: &str,
    places: &mut Map<String, Value>,
) -> Value {
    match &node.value {
        Tree::Missing => Value::Null,
        Tree::Scalar(scalar) => {
            places.insert(pointer.to_owned(), Value::from(place(sources, node)));
            match scalar.resolve() {
                Resolved::Null => Value::Null,
                Resolved::Boolean(value) => Value::from(value),
                Resolved::Integer(value) => match i64::try_from(value) {
                    Ok(value) => Value::from(value),
                    Err(_) => Value::from(scalar.text.as_str()),
                },
                Resolved::Float(value) => Value::from(value),
                Resolved::Text => Value::from(scalar.text.as_str()),
            }
        }
        Tree::Sequence(items) => {
            let items = items.iter().enumerate();
            items
                .map(|(i, item)| document(item, sources, &format!("{pointer}/{i}"), places))
                .collect()
        }
        Tree::Mapping(mapping) => {
            let entries = mapping.entries.iter().map(|entry| {
                let key = entry.key.replace('~', "~0").replace('/', "~1");
                let value = document(&entry.value, sources, &format!("{pointer}/{key}"), places);
                (entry.key.clone(), value)
            });
            Value::Object(entries.collect())
        }
    }
}
