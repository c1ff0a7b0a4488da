//! `environments` and the file `env.NAME.yaml`: what is different where the project runs.
//!
//! ```yaml
//! environments:
//!   prod: {connections: {lake: {base_path: /srv/lake}}}
//! ```

use super::{Files, empty, is_semantic, only, pipeline_name};
use crate::config::{FileFault, Text};
use crate::diagnostic::{Diagnostic, FileId, Span, codes, quoted};
use crate::limits::{FILE_BYTES_MAX, NAME_CHARS_MAX};
use crate::yaml::{self, Node, Tree, Value};

/// What an environment may change.
pub(in crate::config) const KEYS: [&str; 14] = [
    "connections",
    "pipelines",
    "vars",
    "story",
    "retry",
    "on_error",
    "limits",
    "logging",
    "alerts",
    "system",
    "lineage",
    "telemetry",
    "performance",
    "engine",
];

impl Files<'_> {
    /// Lays the chosen environment over the tree.
    pub(super) fn environment(&mut self, tree: &mut Tree) {
        let Value::Mapping(root) = &mut tree.root.value else {
            return;
        };
        let environments = root.take("environments");
        let mut known: Vec<(String, Node)> = Vec::new();
        if let Some(entry) = environments {
            match entry.value.value {
                Value::Mapping(mapping) => {
                    known = mapping
                        .entries
                        .into_iter()
                        .map(|entry| (entry.key, entry.value))
                        .collect();
                }
                Value::Missing => {}
                Value::Scalar(_) if entry.value.is_null() => {}
                Value::Scalar(_) | Value::Sequence(_) => {
                    let message = format!(
                        "`environments` takes a mapping, not {}",
                        entry.value.describe()
                    );
                    self.faults.push(Diagnostic::error(
                        &codes::WRONG_TYPE,
                        entry.value.span,
                        message,
                    ));
                }
            }
        }
        for (name, node) in &known {
            match &node.value {
                Value::Mapping(mapping) => {
                    let subject = format!("environment {}", quoted(name));
                    only(&mut self.faults, mapping, &KEYS, &subject);
                }
                Value::Missing => {}
                Value::Scalar(_) if node.is_null() => {}
                Value::Scalar(_) | Value::Sequence(_) => {
                    let message = format!(
                        "environment {} takes a mapping, not {}",
                        quoted(name),
                        node.describe()
                    );
                    self.faults
                        .push(Diagnostic::error(&codes::WRONG_TYPE, node.span, message));
                }
            }
        }
        let Some(chosen) = self.outside.selected else {
            return;
        };
        let beside = self.beside(chosen, tree);
        let at = known.iter().position(|(name, _)| name == chosen);
        if at.is_none() && beside.is_none() {
            let names = known.iter().map(|(name, _)| name.as_str());
            let names: Vec<&str> = names
                .chain(self.outside.siblings.iter().map(String::as_str))
                .collect();
            self.faults.push(unknown(chosen, &names));
            return;
        }
        let inside = at.map(|at| known.swap_remove(at).1);
        for over in inside.into_iter().chain(beside) {
            if matches!(over.value, Value::Mapping(_)) {
                lay(&mut tree.root, over);
            }
        }
    }

    /// The file `env.NAME.yaml` beside the project file.
    fn beside(&mut self, chosen: &str, tree: &mut Tree) -> Option<Node> {
        if !is_environment(chosen) {
            return None;
        }
        let below = format!("env.{chosen}.yaml");
        if (self.outside.file)(&below, FILE_BYTES_MAX) == Err(FileFault::Missing) {
            return None;
        }
        // There is no place that names it but the file itself.
        let path = Text {
            value: below.clone(),
            span: Span {
                file: FileId(0),
                start: 0,
                end: 0,
            },
            written: None,
        };
        let found = self.parse(&path, &below, "file of the environment");
        tree.complete &= found.as_ref().is_some_and(|found| found.complete);
        let file = found
            .as_ref()
            .map_or(FileId(0), |found| found.root.span.file);
        let node = found.and_then(|found| self.mapping(found, "the file of an environment"));
        if let Some(Value::Mapping(mapping)) = node.as_ref().map(|node| &node.value) {
            let subject = format!("environment {}", quoted(chosen));
            only(&mut self.faults, mapping, &KEYS, &subject);
        }
        Some(node.unwrap_or_else(|| empty(file)))
    }
}

fn is_environment(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_CHARS_MAX
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn unknown(chosen: &str, names: &[&str]) -> Diagnostic {
    let message = format!("the project has no environment {}", quoted(chosen));
    let made = Diagnostic::placeless(&codes::UNKNOWN_ENVIRONMENT, message)
        .suggest(chosen, names.iter().copied());
    if names.is_empty() {
        return made.hint(
            "add it to `environments:`, or write a file `env.NAME.yaml` beside the project file",
        );
    }
    let listed: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    made.hint(format!("use one of: {}", listed.join(", ")))
}

/// A connection of another type has other keys: nothing of it is kept.
fn other_types(base: &mut Node, over: &Node) {
    let above = over.mapping().and_then(|root| root.get("connections"));
    let Some(above) = above.and_then(|entry| entry.value.mapping()) else {
        return;
    };
    let Value::Mapping(root) = &mut base.value else {
        return;
    };
    let below = root
        .get_mut("connections")
        .map(|entry| &mut entry.value.value);
    let Some(Value::Mapping(below)) = below else {
        return;
    };
    let kind = |node: &Node| {
        let kind = node.mapping()?.get("type")?.value.scalar()?;
        Some(kind.text.clone())
    };
    for entry in &above.entries {
        if let (Some(found), Some(kind_above)) = (below.get_mut(&entry.key), kind(&entry.value))
            && kind(&found.value).is_some_and(|kind| kind != kind_above)
        {
            found.value.value = Value::Mapping(yaml::Mapping::default());
        }
    }
}

/// Pipelines of the same name are replaced, others added.
fn lay(base: &mut Node, mut over: Node) {
    if let Value::Mapping(mapping) = &mut over.value {
        mapping
            .entries
            .retain(|entry| KEYS.contains(&entry.key.as_str()));
    }
    other_types(base, &over);
    yaml::overlay(
        base,
        over,
        &mut |path, below, above| {
            if is_semantic(path) {
                below.append(above);
                return true;
            }
            if !matches!(path, [section] if section == "pipelines") {
                return false;
            }
            for node in above.drain(..) {
                let name = pipeline_name(&node);
                let same = name.and_then(|name| {
                    below
                        .iter()
                        .position(|other| pipeline_name(other) == Some(name))
                });
                match same {
                    Some(at) => below[at] = node,
                    None => below.push(node),
                }
            }
            true
        },
        &mut |_, _, _| {},
    );
}
