//! `${NAME}` in scalar values, after parsing: a value can never change the shape of the document.
//!
//! | written | becomes |
//! |---|---|
//! | `${NAME}`, `${env:NAME}` | the variable; a fault when it is unset |
//! | `${NAME:-text}`, `${env:NAME:-text}` | the variable, or `text` when it is unset or empty |
//! | `$${` | `${` |
//!
//! One pass: what a variable holds is not looked at again. Keys are left alone.

use super::{Node, Scalar, Tree, Value};
use crate::diagnostic::{Collector, Diagnostic, Span, codes, quoted};
use crate::limits::SUBSTITUTED_BYTES_MAX;

/// Puts variables into the values of a tree. `environment` gives the value of a variable, `None` when it is unset.
pub fn substitute(
    tree: &mut Tree,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Vec<Diagnostic> {
    let mut pass = Pass {
        environment,
        bytes_left: SUBSTITUTED_BYTES_MAX,
        faults: Collector::default(),
    };
    pass.node(&mut tree.root);
    pass.faults.finish()
}

struct Pass<'a> {
    environment: &'a dyn Fn(&str) -> Option<String>,
    bytes_left: usize,
    faults: Collector,
}

impl Pass<'_> {
    /// Recursion is bounded by [`crate::limits::FILE_DEPTH_MAX`].
    fn node(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::Missing => {}
            Value::Scalar(scalar) if scalar.text.contains("${") => {
                if !self.scalar(scalar, node.span) {
                    node.value = Value::Missing;
                }
            }
            Value::Scalar(_) => {}
            Value::Sequence(items) => items.iter_mut().for_each(|item| self.node(item)),
            Value::Mapping(mapping) => mapping
                .entries
                .iter_mut()
                .for_each(|entry| self.node(&mut entry.value)),
        }
    }

    /// False when something was refused.
    fn scalar(&mut self, scalar: &mut Scalar, span: Span) -> bool {
        let mut out = String::new();
        let mut rest = scalar.text.as_str();
        let mut put_in = false;
        let mut good = true;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                out.push_str(&rest[..at - 1]);
                out.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            out.push_str(&rest[..at]);
            let inner = &rest[at + 2..];
            let Some(end) = inner.find('}') else {
                self.faults.push_with(|| malformed(span, &rest[at..]));
                return false;
            };
            put_in = true;
            match self.value(&inner[..end], span) {
                Ok(value) if value.len() <= self.bytes_left => {
                    self.bytes_left -= value.len();
                    out.push_str(&value);
                }
                Ok(_) => {
                    let message =
                        format!("variables add more bytes than allowed: {SUBSTITUTED_BYTES_MAX}");
                    self.faults
                        .push(Diagnostic::error(&codes::LIMIT, span, message));
                    return false;
                }
                Err(fault) => {
                    self.faults.push(*fault);
                    good = false;
                }
            }
            rest = &inner[end + 1..];
        }
        out.push_str(rest);
        let before = std::mem::replace(&mut scalar.text, out);
        if put_in {
            scalar.written = Some(before);
        }
        good
    }

    fn value(&self, reference: &str, span: Span) -> Result<String, Box<Diagnostic>> {
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        let name = name.strip_prefix("env:").unwrap_or(name);
        let valid =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !valid || default.is_some_and(|text| text.contains("${")) {
            return Err(Box::new(unknown_form(reference, span)));
        }
        let value = (self.environment)(name);
        match default {
            Some(default) => Ok(value
                .filter(|text| !text.is_empty())
                .unwrap_or_else(|| default.to_owned())),
            None => value.ok_or_else(|| {
                let message = format!("variable {} is not set", quoted(name));
                let made = Diagnostic::error(&codes::UNSET_VARIABLE, span, message);
                Box::new(made.hint(format!(
                    "set it, or write `${{{name}:-default}}` to give a default"
                )))
            }),
        }
    }
}

/// ODIBI has other references than variables; they are named, since they look right to its users.
fn unknown_form(reference: &str, span: Span) -> Diagnostic {
    let known = ["vars.", "date:", "recipe."]
        .iter()
        .any(|start| reference.starts_with(start));
    if known {
        let message = format!(
            "a reference of this kind is not supported yet: {}",
            quoted(&format!("${{{reference}}}"))
        );
        return Diagnostic::error(&codes::NOT_YET, span, message)
            .hint("use an environment variable: `${NAME}`");
    }
    malformed(span, &format!("${{{reference}}}"))
}

fn malformed(span: Span, text: &str) -> Diagnostic {
    Diagnostic::error(
        &codes::BAD_SUBSTITUTION,
        span,
        format!("not a reference to a variable: {}", quoted(text)),
    )
    .hint("write `${NAME}` or `${NAME:-default}` for a variable, `$${` for a literal `${`")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::diagnostic::FileId;

    fn environment(name: &str) -> Option<String> {
        match name {
            "A" => Some("one".into()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${A} }\n- x: *y".into()),
            "LARGE" => Some("x".repeat(SUBSTITUTED_BYTES_MAX / 2 + 1)),
            _ => None,
        }
    }

    fn run(text: &str) -> (Value, Vec<&'static str>) {
        let span = Span {
            file: FileId(0),
            start: 0,
            end: 0,
        };
        let scalar = Scalar {
            text: text.into(),
            plain: true,
            written: None,
        };
        let mut tree = Tree {
            root: Node {
                span,
                value: Value::Scalar(scalar),
            },
            complete: true,
        };
        let faults = substitute(&mut tree, &environment);
        (
            tree.root.value,
            faults.iter().map(|d| d.code.name).collect(),
        )
    }

    #[track_caller]
    fn becomes(text: &str, expect: &str) {
        let (Value::Scalar(scalar), faults) = run(text) else {
            panic!("{text}: refused")
        };
        assert_eq!((scalar.text.as_str(), faults.len()), (expect, 0));
        assert_eq!(
            scalar.shown(),
            if scalar.written.is_some() {
                text
            } else {
                expect
            }
        );
    }

    #[test]
    fn references_become_values() {
        becomes("x", "x");
        becomes("${A}", "one");
        becomes("${env:A}/${A}", "one/one");
        becomes("${EMPTY}", "");
        becomes("${NO:-two words}", "two words");
        becomes("${EMPTY:-x}", "x");
        becomes("${A:-x}", "one");
        becomes("${NO:-}", "");
        becomes("$${A}", "${A}");
        becomes("$$${A}", "$${A}");
        becomes("a $5 {b}", "a $5 {b}");
        becomes("é${A}é", "éoneé");
    }

    #[test]
    fn value_of_a_variable_is_not_looked_at_again() {
        becomes("${TRICK}", "${A} }\n- x: *y");
    }

    #[track_caller]
    fn refused(text: &str, expect: &[&str]) {
        assert_eq!(run(text), (Value::Missing, expect.to_vec()));
    }

    #[test]
    fn faulty_references_are_refused() {
        refused("${NO}", &["config/unset-variable"]);
        refused(
            "${NO} ${NONE}",
            &["config/unset-variable", "config/unset-variable"],
        );
        refused("${A", &["config/bad-substitution"]);
        refused("${}", &["config/bad-substitution"]);
        refused("${a b}", &["config/bad-substitution"]);
        refused("${${A}}", &["config/bad-substitution"]);
        refused("${A:-${B}}", &["config/bad-substitution"]);
        refused("${vars.x}", &["config/not-yet"]);
        refused("${date:today}", &["config/not-yet"]);
        refused("${LARGE}${LARGE}", &["yaml/limit"]);
    }
}
