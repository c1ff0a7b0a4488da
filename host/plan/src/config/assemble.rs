//! From the files of a project to one tree: imports, the environment, and then the values of references.
//!
//! ```text
//! project ◄─ imports (laid over, in order, each with its own imports) ◄─ environments.NAME ◄─ env.NAME.yaml
//! ```
//! Mappings are merged key by key, everything else is replaced; `pipelines` and the lists of `semantic` are joined. Every
//! value keeps the place at which it was written.

mod environments;
mod imports;
mod recipes;

pub(super) use environments::KEYS as ENVIRONMENT_KEYS;
pub(super) use recipes::KEYS as RECIPE_KEYS;

use std::collections::BTreeSet;

use super::beside::directory;
use super::{Outside, Text, beside};
use crate::diagnostic::{Collector, Diagnostic, FileId, Sources, Span, codes, quoted};
use crate::limits::{CONFIG_BYTES_MAX, FILE_BYTES_MAX};
use crate::yaml::{self, Brought, Mapping, Node, Pass, Tree, Value};

/// Sections that are read while the tree is made, and have no place in it afterwards.
const CONSUMED: [&str; 2] = ["imports", "environments"];

/// The tree of a project, as its files say it.
#[derive(Debug)]
pub struct Assembled {
    /// Imports and the environment are merged in; references still stand as they are written.
    pub tree: Tree,
    /// Names of the files, as they are shown; that of the project first.
    pub files: Vec<String>,
}

/// Reads a project and the files that it is made of.
pub fn assemble(
    name: &str,
    text: &str,
    outside: &Outside<'_>,
    sources: &mut Sources,
) -> (Assembled, Vec<Diagnostic>) {
    let file = sources.add(name, text);
    let mut files = Files {
        root: directory(name).to_owned(),
        outside,
        sources,
        faults: Collector::default(),
        names: vec![name.to_owned()],
        bytes: text.len(),
        open: BTreeSet::new(),
    };
    let (mut tree, found) = yaml::parse(files.sources, file);
    files.faults.extend(found);
    files.open.insert(name[files.root.len()..].to_owned());
    files.imports(&mut tree);
    files.environment(&mut tree);
    if let Value::Mapping(root) = &mut tree.root.value {
        root.entries
            .retain(|entry| !CONSUMED.contains(&entry.key.as_str()));
    }
    let assembled = Assembled {
        tree,
        files: files.names,
    };
    (assembled, files.faults.finish())
}

/// Puts the values of references into a tree: `vars` first, then everything else; recipes are written out.
pub fn resolve(tree: &mut Tree, outside: &Outside<'_>) -> Vec<Diagnostic> {
    bring(tree, outside).1
}

/// As [`resolve`], with the secrets that came along.
pub(super) fn bring(tree: &mut Tree, outside: &Outside<'_>) -> (Brought, Vec<Diagnostic>) {
    let mut pass = Pass::new(outside.environment, outside.at);
    pass.secrets = outside.secrets;
    let Value::Mapping(root) = &mut tree.root.value else {
        pass.node(&mut tree.root);
        return (pass.brought, pass.faults.finish());
    };
    if let Some(vars) = root.get_mut("vars") {
        match &mut vars.value.value {
            Value::Mapping(vars) => {
                for entry in &mut vars.entries {
                    pass.node(&mut entry.value);
                    pass.vars.push((entry.key.clone(), entry.value.clone()));
                }
            }
            Value::Missing | Value::Scalar(_) | Value::Sequence(_) => pass.node(&mut vars.value),
        }
    }
    let recipes = root.take("recipes");
    for entry in &mut root.entries {
        match entry.key.as_str() {
            "vars" => {}
            "pipelines" => recipes::pipelines(&mut pass, &mut entry.value, recipes.as_ref()),
            _ => pass.node(&mut entry.value),
        }
    }
    (pass.brought, pass.faults.finish())
}

/// The files of a project while they are read.
struct Files<'a> {
    /// Directory of the project file, as it is shown.
    root: String,
    outside: &'a Outside<'a>,
    sources: &'a mut Sources,
    faults: Collector,
    names: Vec<String>,
    bytes: usize,
    /// Paths of the files that are being imported, from the project file on.
    open: BTreeSet<String>,
}

impl Files<'_> {
    /// Reads and parses a file below the project's directory.
    fn parse(&mut self, path: &Text, below: &str, what: &str) -> Option<Tree> {
        let read = self.outside.file;
        match beside::text(read, path, below, what, FILE_BYTES_MAX) {
            Ok(text) => self.add(path, below, text),
            Err(fault) => {
                self.faults.push(*fault);
                None
            }
        }
    }

    fn add(&mut self, path: &Text, below: &str, text: String) -> Option<Tree> {
        self.bytes += text.len();
        if self.bytes > CONFIG_BYTES_MAX {
            let message = format!(
                "the files of the project are together longer than {CONFIG_BYTES_MAX} bytes"
            );
            self.faults
                .push(Diagnostic::error(&codes::LIMIT, path.span, message));
            return None;
        }
        let shown = format!("{}{below}", self.root);
        let file = self.sources.add(shown.as_str(), text);
        self.names.push(shown);
        let (tree, found) = yaml::parse(self.sources, file);
        self.faults.extend(found);
        Some(tree)
    }

    /// The mapping of a file that is to be merged; nothing when it is empty.
    fn mapping(&mut self, tree: Tree, what: &str) -> Option<Node> {
        match &tree.root.value {
            Value::Mapping(_) => Some(tree.root),
            Value::Missing => None,
            Value::Scalar(_) if tree.root.is_null() => None,
            Value::Scalar(_) | Value::Sequence(_) => {
                let message = format!("{what} takes a mapping, not {}", tree.root.describe());
                self.faults.push(Diagnostic::error(
                    &codes::WRONG_TYPE,
                    tree.root.span,
                    message,
                ));
                None
            }
        }
    }
}

/// `semantic` holds lists of definitions, which are joined when files are merged.
fn is_semantic(path: &[String]) -> bool {
    let lists = ["metrics", "dimensions", "views", "materializations"];
    matches!(path, [section, list] if section == "semantic" && lists.contains(&list.as_str()))
}

/// The name of a pipeline, as it is written.
fn pipeline_name(node: &Node) -> Option<&str> {
    let Value::Mapping(mapping) = &node.value else {
        return None;
    };
    let entry = mapping.get("pipeline").or_else(|| mapping.get("name"))?;
    match &entry.value.value {
        Value::Scalar(scalar) => Some(&scalar.text),
        Value::Missing | Value::Sequence(_) | Value::Mapping(_) => None,
    }
}

fn start_of(file: FileId) -> Span {
    Span {
        file,
        start: 0,
        end: 0,
    }
}

/// An empty mapping, to merge into.
fn empty(file: FileId) -> Node {
    Node {
        span: start_of(file),
        value: Value::Mapping(Mapping::default()),
    }
}

/// Reports keys that have no meaning at this place.
fn only(faults: &mut Collector, mapping: &Mapping, allowed: &[&str], subject: &str) {
    for entry in &mapping.entries {
        if allowed.contains(&entry.key.as_str()) {
            continue;
        }
        faults.push_with(|| {
            let message = format!("{subject} has no key {}", quoted(&entry.key));
            let made = Diagnostic::error(&codes::UNKNOWN_KEY, entry.key_span, message);
            let made = made.suggest(&entry.key, allowed.iter().copied());
            if made.hints.is_empty() {
                let listed: Vec<String> = allowed.iter().map(|key| quoted(key)).collect();
                made.hint(format!("use one of: {}", listed.join(", ")))
            } else {
                made
            }
        });
    }
}
