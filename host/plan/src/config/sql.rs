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

use super::path::normal_path;
use super::{MAIN_INPUT, Node, Project, Step, StepParams, Text};
use crate::diagnostic::{Collector, Diagnostic, Sources, Span, codes, quoted};
use crate::limits::{PATH_BYTES_MAX, SQL_BYTES_MAX};
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

/// Why a file cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileFault {
    /// There is none.
    Missing,
    /// A symbolic link leads out of the project's directory.
    Outside,
    /// What the system says.
    Unreadable(String),
}

/// Reads a file of this path below the project's directory: all of it, or more than the number of bytes.
pub type ReadBeside<'a> = &'a dyn Fn(&str, usize) -> Result<Vec<u8>, FileFault>;

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
        let below = self.below(path)?;
        if let Some(found) = self.known.get(&below) {
            return Ok(found.clone());
        }
        let text = self.file(path, &below)?;
        let shown = join(&self.root, &below);
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

    /// The path below the directory of the project file. It is written relative to the file that names it.
    fn below(&self, path: &Text) -> Result<String, Box<Diagnostic>> {
        let fault = |what: &str| {
            let message = format!("`sql_file` {what}: {}", quoted(path.shown()));
            let made = Diagnostic::error(&codes::BAD_PATH, path.span, message);
            Box::new(made.hint(
                "write it relative to this file, and keep the SQL in the directory of the project",
            ))
        };
        let drive = path.value.as_bytes().get(1) == Some(&b':');
        if path.value.len() > PATH_BYTES_MAX {
            return Err(fault("is longer than 1024 bytes"));
        }
        if path.value.chars().any(char::is_control) {
            return Err(fault("holds a control character"));
        }
        if path.value.contains('\\') {
            return Err(fault("holds a backslash"));
        }
        if path.value.starts_with('/') || path.value.contains("://") || drive {
            return Err(fault("is not relative"));
        }
        let from = directory(self.sources.name(path.span.file));
        let from = from.strip_prefix(self.root.as_str()).unwrap_or_default();
        let mut parts: Vec<&str> = Vec::new();
        for part in from.split('/').chain(path.value.split('/')) {
            match part {
                "" | "." => {}
                ".." if parts.pop().is_none() => {
                    return Err(fault("leaves the project's directory"));
                }
                ".." => {}
                part => parts.push(part),
            }
        }
        if parts.is_empty() || path.value.ends_with('/') {
            return Err(fault("names no file"));
        }
        Ok(normal_path(&parts.join("/")))
    }

    fn file(&self, path: &Text, below: &str) -> Result<String, Box<Diagnostic>> {
        let fault = |what: String| {
            let message = format!("the SQL file {} {what}", quoted(path.shown()));
            Diagnostic::error(&codes::UNREADABLE_FILE, path.span, message)
        };
        let bytes = (self.read)(below, SQL_BYTES_MAX).map_err(|why| {
            Box::new(match why {
                FileFault::Missing => fault("does not exist".to_owned())
                    .hint("the path is relative to the file that names it"),
                FileFault::Outside => fault("lies outside the project's directory".to_owned())
                    .hint("copy it into the project"),
                FileFault::Unreadable(why) => fault(format!("cannot be read: {why}")),
            })
        })?;
        if bytes.len() > SQL_BYTES_MAX {
            return Err(Box::new(fault(format!(
                "is longer than {SQL_BYTES_MAX} bytes"
            ))));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Box::new(fault(format!("is not UTF-8 at byte {at}")).hint("save it as UTF-8"))
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        if text.trim().is_empty() {
            return Err(Box::new(
                fault("is empty".to_owned()).hint("write a query in it"),
            ));
        }
        Ok(text.to_owned())
    }
}

/// What stands before the last `/`, with it.
fn directory(name: &str) -> &str {
    name.rfind('/').map_or("", |at| &name[..=at])
}

fn join(directory: &str, path: &str) -> String {
    format!("{directory}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Outside, load_with};

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
            file: &|path, _| match path {
                "sql/q.sql" => Ok(b"\xef\xbb\xbfSELECT * FROM b".to_vec()),
                _ => Err(FileFault::Missing),
            },
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
