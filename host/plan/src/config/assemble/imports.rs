//! `imports`: other files of the project, laid over the one that names them.
//!
//! ```yaml
//! imports: [connections.yaml, pipelines/bronze.yaml]
//! ```

use super::{Files, is_semantic};
use crate::config::{Text, beside};
use crate::diagnostic::{Diagnostic, Span, codes, quoted};
use crate::limits::IMPORTS_MAX;
use crate::yaml::{self, Node, Pass, Tree, Value};

impl Files<'_> {
    /// Lays what a tree imports over it, in the order in which it is written.
    pub(super) fn imports(&mut self, tree: &mut Tree) {
        let Value::Mapping(root) = &mut tree.root.value else {
            return;
        };
        let Some(entry) = root.take("imports") else {
            return;
        };
        let mut list = entry.value;
        let mut pass = Pass::new(self.outside.environment, self.outside.at);
        pass.node(&mut list);
        self.faults.extend(pass.faults.finish());
        let items = match list.value {
            Value::Sequence(items) => items,
            Value::Scalar(_) if !list.is_null() => vec![list],
            Value::Scalar(_) | Value::Missing => return,
            Value::Mapping(_) => vec![list],
        };
        for item in items {
            let Some(path) = self.path(&item) else {
                continue;
            };
            let Some(over) = self.import(&path, tree) else {
                continue;
            };
            self.lay(&mut tree.root, over, path.span);
        }
    }

    fn path(&mut self, item: &Node) -> Option<Text> {
        match &item.value {
            Value::Missing => None,
            Value::Scalar(scalar) if !scalar.text.trim().is_empty() && !item.is_null() => {
                Some(Text::new(scalar, item.span))
            }
            Value::Scalar(_) | Value::Sequence(_) | Value::Mapping(_) => {
                let message = format!("`imports` takes paths of files, not {}", item.describe());
                self.faults.push(
                    Diagnostic::error(&codes::WRONG_TYPE, item.span, message)
                        .hint("write for example `imports: [connections.yaml]`"),
                );
                None
            }
        }
    }

    fn import(&mut self, path: &Text, into: &mut Tree) -> Option<Node> {
        let below = match beside::below(self.sources, &self.root, path, "imports", "all files") {
            Ok(below) => below,
            Err(fault) => {
                self.faults.push(*fault);
                return None;
            }
        };
        if self.open.contains(&below) {
            let message = format!(
                "files import each other in a circle: {}",
                quoted(path.shown())
            );
            let made = Diagnostic::error(&codes::BAD_IMPORT, path.span, message);
            self.faults.push(made.hint("remove this import"));
            return None;
        }
        if self.names.len() > IMPORTS_MAX {
            let message = format!("the project imports more than {IMPORTS_MAX} files");
            self.faults
                .push(Diagnostic::error(&codes::BAD_IMPORT, path.span, message));
            return None;
        }
        let Some(mut tree) = self.parse(path, &below, "imported file") else {
            into.complete = false;
            return None;
        };
        into.complete &= tree.complete;
        self.open.insert(below.clone());
        self.imports(&mut tree);
        self.open.remove(&below);
        let node = self.mapping(tree, "an imported file")?;
        if let Value::Mapping(mapping) = &node.value
            && let Some(entry) = mapping.get("environments")
            && !entry.value.is_null()
        {
            // Their order would decide, and nobody sees it.
            let message = "an imported file has no environments";
            self.faults.push(
                Diagnostic::error(&codes::UNKNOWN_KEY, entry.key_span, message)
                    .hint("move them into the project file, or into files `env.NAME.yaml`"),
            );
        }
        Some(node)
    }

    fn lay(&mut self, base: &mut Node, over: Node, import: Span) {
        let faults = &mut self.faults;
        yaml::overlay(
            base,
            over,
            &mut |path, below, above| {
                let join = matches!(path, [section] if section == "pipelines") || is_semantic(path);
                if join {
                    below.append(above);
                }
                join
            },
            &mut |path, below, above| {
                if same(below, above) || below.is_null() {
                    return;
                }
                let message = format!(
                    "{} is set in two files, and the imported one wins",
                    quoted(&path.join("."))
                );
                let made = Diagnostic::warning(&codes::OVERRIDDEN, below.span, message);
                faults.push(
                    made.label("has no effect")
                        .also(above.span, "wins")
                        .also(import, "imported here")
                        .hint("keep one of them, or move this one to an environment"),
                );
            },
        );
    }
}

/// Equal but for their places.
fn same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::Scalar(one), Value::Scalar(other)) => one == other,
        (Value::Sequence(one), Value::Sequence(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| same(a, b))
        }
        (Value::Mapping(one), Value::Mapping(other)) => {
            one.entries.len() == other.entries.len()
                && one.entries.iter().all(|entry| {
                    other
                        .get(&entry.key)
                        .is_some_and(|found| same(&entry.value, &found.value))
                })
        }
        _ => false,
    }
}
