//! One tree laid over another: mappings key by key, everything else replaced. Places survive.

use super::{Mapping, Node, Value};

/// How lists at a path of keys meet: true when the upper one was joined to the lower, false when it replaces it.
pub type Join<'a> = &'a mut dyn FnMut(&[String], &mut Vec<Node>, &mut Vec<Node>) -> bool;
/// Is told of every value that another replaces.
pub type Replaced<'a> = &'a mut dyn FnMut(&[String], &Node, &Node);

/// Lays `over` on `base`.
pub fn overlay(base: &mut Node, over: Node, join: Join<'_>, replaced: Replaced<'_>) {
    lay(base, over, &mut Vec::new(), join, replaced);
}

fn lay(
    base: &mut Node,
    over: Node,
    path: &mut Vec<String>,
    join: Join<'_>,
    replaced: Replaced<'_>,
) {
    match (&mut base.value, over.value) {
        (Value::Mapping(below), Value::Mapping(above)) => {
            below.truncated |= above.truncated;
            for entry in above.entries {
                match below.get_mut(&entry.key) {
                    Some(found) => {
                        path.push(entry.key);
                        lay(&mut found.value, entry.value, path, join, replaced);
                        path.pop();
                    }
                    None => below.entries.push(entry),
                }
            }
        }
        (Value::Sequence(below), Value::Sequence(mut above)) => {
            if !join(path, below, &mut above) {
                let over = Node {
                    span: over.span,
                    value: Value::Sequence(above),
                };
                replaced(path, base, &over);
                *base = over;
            }
        }
        (_, value) => {
            let over = Node {
                span: over.span,
                value,
            };
            replaced(path, base, &over);
            *base = over;
        }
    }
}

impl Mapping {
    /// The entry of a key, to change it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut super::Entry> {
        self.entries.iter_mut().find(|entry| entry.key == key)
    }

    /// Takes the entry of a key out.
    pub fn take(&mut self, key: &str) -> Option<super::Entry> {
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(at))
    }
}
