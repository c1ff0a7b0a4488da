//! `plugins`: third-party components and the name under which steps find their operations.
//!
//! ```yaml
//! plugins:
//!   geo: {path: plugins/geo.wasm, grants: [clock, entropy], limits: {memory: 512MiB}}
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::connection::key_name;
use super::limits;
use super::reader::{Reader, words};
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::plan::{Grants, PluginSource};

/// Words for what a plugin might have and this version gives to none.
const NEVER: [&str; 3] = ["files", "network", "environment"];

const GRANTS: [(&str, Word); 2] = [("clock", Word::Clock), ("entropy", Word::Entropy)];

/// The words of `grants`.
pub(super) fn grantable() -> Vec<&'static str> {
    words(&GRANTS)
}

/// Plugins by the name before the slash in `operation: name/…`, and the names of those that were refused and reported.
pub(super) fn read_all(
    project: &mut Reader<'_>,
) -> (BTreeMap<String, PluginSource>, BTreeSet<String>) {
    let (mut plugins, mut refused) = (BTreeMap::new(), BTreeSet::new());
    let Some(entry) = project.optional("plugins") else {
        return (plugins, refused);
    };
    let context = project.context();
    for entry in project.named(entry) {
        let name = key_name(context, entry, "plugin").value;
        let subject = format!("plugin {}", quoted(&name));
        let source = Reader::new(context, &entry.value, entry.key_span, subject).and_then(source);
        match source {
            Some(source) => {
                plugins.insert(name, source);
            }
            None => {
                refused.insert(name);
            }
        }
    }
    (plugins, refused)
}

fn source(mut reader: Reader<'_>) -> Option<PluginSource> {
    let path = reader.required_text("path");
    let path = reader.filled(path, "path");
    let grants = grants(&mut reader);
    let limits = limits::read(&mut reader);
    let subject = reader.subject().to_owned();
    let context = reader.context();
    reader.finish_with(&[("file", "path"), ("url", "path")]);
    let path = path?;
    if path.value.chars().any(char::is_control) {
        let message = format!(
            "`path` of {subject} holds a control character: {}",
            quoted(path.shown())
        );
        context.report(Diagnostic::error(&codes::BAD_PATH, path.span, message));
        return None;
    }
    Some(PluginSource {
        path: path.value,
        grants,
        limits,
        span: path.span,
    })
}

/// A word that cannot be granted is a fault, and grants nothing.
fn grants(reader: &mut Reader<'_>) -> Grants {
    let mut grants = Grants::default();
    for word in reader.texts("grants") {
        if NEVER.contains(&word.value.as_str()) {
            let message = format!(
                "{} cannot be granted {}",
                reader.subject(),
                quoted(&word.value)
            );
            reader.context().report(
                Diagnostic::error(&codes::NO_SUCH_GRANT, word.span, message)
                    .label("no plugin gets this from this version of odibi")
                    .hint("remove the word; a plugin can be granted `clock` and `entropy`"),
            );
            continue;
        }
        match reader.choice(&word, "grants", &GRANTS, &[]) {
            Some(Word::Clock) => grants.clock = true,
            Some(Word::Entropy) => grants.entropy = true,
            None => {}
        }
    }
    grants
}

#[derive(Clone, Copy)]
enum Word {
    Clock,
    Entropy,
}
