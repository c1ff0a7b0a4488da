//! SQL among the steps: a text of the project file, or a file beside it, made into params of the operation `sql`.
//!
//! | param | what |
//! |---|---|
//! | `sql` | the text |
//! | `tables` | the further tables of the node that the text mentions |
//! | `main` | the other name of `df`, when the text mentions it |

mod words;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::beside::{self, ReadBeside, directory};
use super::{MAIN_INPUT, Node, Project, Step, StepParams, Text};
use crate::diagnostic::{Collector, Diagnostic, Sources, Span, codes, quoted};
use crate::limits::SQL_BYTES_MAX;
use crate::plan::Params;

/// The operation that answers queries.
const OPERATION: &str = "sql";

/// Where the text of a step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlSource {
    /// In the project file.
    Text(Text),
    /// In a file of this path.
    Beside(Text),
}

/// A step without params yet.
pub(super) fn step(source: SqlSource) -> Step {
    let (SqlSource::Text(text) | SqlSource::Beside(text)) = &source;
    let span = text.span;
    Step {
        operation: Text {
            value: OPERATION.to_owned(),
            span,
            written: None,
        },
        params: StepParams {
            params: Params {
                value: json!({}),
                places: BTreeMap::from([(String::new(), span)]),
                written: BTreeMap::new(),
            },
            keys: BTreeMap::new(),
            booleans: BTreeMap::new(),
        },
        sql: Some(source),
    }
}

/// Makes params of all SQL steps. Those whose text cannot be had are left out and reported. `name` is that of the
/// project file, `read` reads a file below its directory.
pub(super) fn fill(
    project: &mut Project,
    name: &str,
    read: ReadBeside<'_>,
    sources: &mut Sources,
    faults: &mut Collector,
) {
    let mut files = Files {
        root: directory(name).to_owned(),
        read,
        sources,
        known: BTreeMap::new(),
        added: Vec::new(),
    };
    for pipeline in &mut project.pipelines {
        for node in &mut pipeline.nodes {
            let (names, main) = tables(node);
            let mut index = 0;
            node.steps.retain_mut(|step| {
                let first = index == 0;
                index += 1;
                let Some(source) = &step.sql else { return true };
                match files.text(source) {
                    Ok(text) => {
                        let main = main.as_deref().filter(|_| first);
                        step.params = params(text, &names, main);
                        true
                    }
                    Err(fault) => {
                        faults.push(*fault);
                        false
                    }
                }
            });
        }
    }
    project.files.extend(files.added);
}

/// Names of the node's tables but `df`, and the own name of its main input.
fn tables(node: &Node) -> (Vec<String>, Option<String>) {
    let upstream = node.depends_on.iter().map(|text| &text.value);
    let names = node.input_names.iter().chain(upstream.clone());
    let mut seen = BTreeSet::from([MAIN_INPUT.to_owned()]);
    let names = names.filter(|name| seen.insert((*name).clone())).cloned();
    let names = names.collect();
    let main = match node.inputs.first() {
        Some(input) => Some(&input.name),
        None if node.input_names.is_empty() => upstream.into_iter().next(),
        None => None,
    };
    (names, main.filter(|name| *name != MAIN_INPUT).cloned())
}

fn params(text: Found, names: &[String], main: Option<&str>) -> StepParams {
    let Found {
        text,
        span,
        written,
    } = text;
    let mentioned = words::mentioned(&text, names);
    let (own, further): (Vec<&str>, Vec<&str>) =
        mentioned.into_iter().partition(|name| Some(*name) == main);
    let mut value = json!({ "sql": text, "tables": further });
    let mut places: BTreeMap<String, Span> = ["", "/sql", "/tables", "/main"]
        .map(|at| (at.to_owned(), span))
        .into();
    places.extend((0..further.len()).map(|i| (format!("/tables/{i}"), span)));
    if let (Some(name), Some(object)) = (own.first(), value.as_object_mut()) {
        object.insert("main".to_owned(), Json::from(*name));
    }
    StepParams {
        params: Params {
            value,
            places,
            written: written
                .map(|written| ("/sql".to_owned(), written))
                .into_iter()
                .collect(),
        },
        keys: BTreeMap::new(),
        booleans: BTreeMap::new(),
    }
}

/// A text and its place.
#[derive(Clone)]
struct Found {
    text: String,
    span: Span,
    written: Option<String>,
}

struct Files<'a> {
    /// Directory of the project file, as it is shown.
    root: String,
    read: ReadBeside<'a>,
    sources: &'a mut Sources,
    /// Files that were read, by their path below the directory.
    known: BTreeMap<String, Found>,
    /// Names of files that were read, as they are shown.
    added: Vec<String>,
}

impl Files<'_> {
    fn text(&mut self, source: &SqlSource) -> Result<Found, Box<Diagnostic>> {
        let path = match source {
            SqlSource::Text(text) if text.value.len() > SQL_BYTES_MAX => {
                let message = format!("the SQL is longer than {SQL_BYTES_MAX} bytes");
                return Err(Box::new(Diagnostic::error(
                    &codes::BAD_VALUE,
                    text.span,
                    message,
                )));
            }
            SqlSource::Text(text) => {
                return Ok(Found {
                    text: text.value.clone(),
                    span: text.span,
                    written: text.written.clone(),
                });
            }
            SqlSource::Beside(path) => path,
        };
        let below = beside::below(self.sources, &self.root, path, "sql_file", "the SQL")?;
        if let Some(found) = self.known.get(&below) {
            return Ok(found.clone());
        }
        let text = beside::text(self.read, path, &below, "SQL file", SQL_BYTES_MAX)?;
        if text.trim().is_empty() {
            let message = format!("the SQL file {} is empty", quoted(path.shown()));
            let made = Diagnostic::error(&codes::UNREADABLE_FILE, path.span, message);
            return Err(Box::new(made.hint("write a query in it")));
        }
        let shown = format!("{}{below}", self.root);
        let end = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let file = self.sources.add_verbatim(shown.as_str(), text.as_str());
        self.added.push(shown);
        let found = Found {
            text,
            span: Span {
                file,
                start: 0,
                end,
            },
            written: None,
        };
        self.known.insert(below, found.clone());
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FileFault, Outside, load_with};

    /// Params of the steps of one node that has `inputs` and `steps`.
    #[track_caller]
    fn check(inputs: &str, steps: &str, expect: &[Json]) {
        let text = format!(
            "project: x\nconnections: {{c: {{type: local}}}}\npipelines:\n  - pipeline: p\n    nodes:\n\
             \x20     - {{name: a, read: {{connection: c, format: csv, path: a.csv}}}}\n\
             \x20     - {{name: b, depends_on: [a]}}\n\
             \x20     - {{name: n, {inputs}, transform: {{steps: {steps}}}}}\n"
        );
        let outside = Outside {
            environment: &|_| Some("b".to_owned()),
            file: &|path: &str, _: usize| match path {
                "sql/q.sql" => Ok(b"\xef\xbb\xbfSELECT * FROM b".to_vec()),
                _ => Err(FileFault::Missing),
            },
            ..Outside::default()
        };
        let (project, faults) = load_with("dir/x.yaml", &text, &outside, &mut Sources::default());
        assert_eq!(faults, Vec::new());
        let node = &project.pipelines[0].nodes[2];
        let params: Vec<Json> = node
            .steps
            .iter()
            .map(|s| s.params.params.value.clone())
            .collect();
        assert_eq!(params, expect);
    }

    #[test]
    fn tables_are_those_the_text_mentions_in_the_order_of_the_node() {
        check(
            "depends_on: [b, a]",
            "[SELECT * FROM df, SELECT * FROM a JOIN b, SELECT 'a' FROM df]",
            &[
                json!({"sql": "SELECT * FROM df", "tables": []}),
                json!({"sql": "SELECT * FROM a JOIN b", "tables": ["b", "a"]}),
                json!({"sql": "SELECT 'a' FROM df", "tables": []}),
            ],
        );
        check(
            "inputs: {x: a, df: b}, depends_on: [a]",
            "[{sql: SELECT * FROM DF JOIN X JOIN a}]",
            &[json!({"sql": "SELECT * FROM DF JOIN X JOIN a", "tables": ["x", "a"]})],
        );
    }

    #[test]
    fn main_input_has_its_own_name_in_the_first_step_only() {
        check(
            "depends_on: [a, b]",
            "[SELECT * FROM a JOIN b, SELECT * FROM a]",
            &[
                json!({"sql": "SELECT * FROM a JOIN b", "tables": ["b"], "main": "a"}),
                json!({"sql": "SELECT * FROM a", "tables": ["a"]}),
            ],
        );
        check(
            "inputs: {x: a, y: b}",
            "[{operation: distinct}, SELECT * FROM x]",
            &[
                json!({}),
                json!({"sql": "SELECT * FROM x", "tables": ["x"]}),
            ],
        );
        check(
            "inputs: {x: a, y: b}",
            "[SELECT * FROM df JOIN y]",
            &[json!({"sql": "SELECT * FROM df JOIN y", "tables": ["y"]})],
        );
    }

    #[test]
    fn text_may_come_from_a_file_or_hold_a_variable() {
        check(
            "depends_on: [a, b]",
            "[{sql_file: sql/q.sql}, {sql: 'SELECT * FROM ${T}'}]",
            &[
                json!({"sql": "SELECT * FROM b", "tables": ["b"]}),
                json!({"sql": "SELECT * FROM b", "tables": ["b"]}),
            ],
        );
    }
}
