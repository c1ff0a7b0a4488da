//! A tree as YAML text again, in block style, with a remark behind each value.

use std::fmt::Write as _;

use super::{Node, Scalar, Value};

/// Writes a tree; `remark` gives the comment behind the first line of a value. What it writes reads back as the same
/// values, but for parts that are [`Value::Missing`].
pub fn write(node: &Node, remark: &dyn Fn(&Node) -> Option<String>) -> String {
    let mut writer = Writer {
        text: String::new(),
        remark,
    };
    if fits_a_line(node) {
        writer.inline(node);
        writer.text.push('\n');
    } else {
        writer.block(node, 0);
    }
    writer.text
}

struct Writer<'a> {
    text: String,
    remark: &'a dyn Fn(&Node) -> Option<String>,
}

impl Writer<'_> {
    /// The entries of a list or mapping, each on lines of its own.
    fn block(&mut self, node: &Node, indent: usize) {
        match &node.value {
            Value::Missing | Value::Scalar(_) => {}
            Value::Sequence(items) => {
                for item in items {
                    let _ = write!(self.text, "{:indent$}-", "");
                    self.item(item, indent);
                }
            }
            Value::Mapping(mapping) => {
                for entry in &mapping.entries {
                    let _ = write!(self.text, "{:indent$}{}:", "", text(&entry.key));
                    self.value(&entry.value, indent);
                }
            }
        }
    }

    /// What stands behind `-`: a mapping begins on the same line.
    fn item(&mut self, item: &Node, indent: usize) {
        if let Value::Mapping(mapping) = &item.value
            && !mapping.entries.is_empty()
        {
            let mut inner = Writer {
                text: String::new(),
                remark: self.remark,
            };
            inner.block(item, indent + 2);
            self.text.push(' ');
            self.text.push_str(inner.text.trim_start());
        } else {
            self.value(item, indent);
        }
    }

    fn value(&mut self, node: &Node, indent: usize) {
        if fits_a_line(node) {
            self.text.push(' ');
            self.inline(node);
            if let Some(remark) = (self.remark)(node) {
                let _ = write!(self.text, "  # {remark}");
            }
            self.text.push('\n');
        } else {
            self.text.push('\n');
            self.block(node, indent + 2);
        }
    }

    fn inline(&mut self, node: &Node) {
        match &node.value {
            Value::Missing => self.text.push('~'),
            Value::Sequence(_) => self.text.push_str("[]"),
            Value::Mapping(_) => self.text.push_str("{}"),
            Value::Scalar(found) => self.text.push_str(&scalar(found)),
        }
    }
}

/// A scalar, or a list or mapping that holds nothing.
fn fits_a_line(node: &Node) -> bool {
    match &node.value {
        Value::Missing | Value::Scalar(_) => true,
        Value::Sequence(items) => items.is_empty(),
        Value::Mapping(mapping) => mapping.entries.is_empty(),
    }
}

fn scalar(scalar: &Scalar) -> String {
    // A number, boolean or null stays what it is; what merely looks like one gets quotes.
    if scalar.plain && scalar.resolve() != super::Resolved::Text {
        return scalar.text.clone();
    }
    if scalar.plain && scalar.as_boolean().is_some() {
        return scalar.text.clone();
    }
    text(&scalar.text)
}

/// A text, in quotes when it needs them.
fn text(text: &str) -> String {
    let alone = Scalar {
        text: text.to_owned(),
        plain: true,
        written: None,
    };
    let means_text = alone.resolve() == super::Resolved::Text && alone.as_boolean().is_none();
    let starts = text.starts_with(|c: char| c.is_alphanumeric() || "_./$(".contains(c))
        && !text.starts_with("...");
    let calm = !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with([':', ' '])
        && !text
            .chars()
            .any(|c| c.is_control() || "{}[],\u{85}\u{2028}\u{2029}\u{feff}".contains(c));
    let reference = text
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|inner| {
            inner
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.:-?%/+".contains(c))
        });
    if means_text && starts && (calm || reference) {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c) || c == '\u{feff}' => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::diagnostic::{FileId, Sources, Span};
    use crate::yaml::{Entry, Mapping, Resolved};

    const NOWHERE: Span = Span {
        file: FileId(0),
        start: 0,
        end: 0,
    };

    fn node(value: Value) -> Node {
        Node {
            span: NOWHERE,
            value,
        }
    }

    /// Values without places and style.
    fn dump(node: &Node) -> String {
        match &node.value {
            Value::Missing => "?".to_owned(),
            Value::Scalar(scalar) if scalar.resolve() == Resolved::Text => {
                format!("{:?}", scalar.text)
            }
            Value::Scalar(scalar) => format!("{:?}", scalar.resolve()),
            Value::Sequence(items) => {
                format!("{:?}", items.iter().map(dump).collect::<Vec<_>>())
            }
            Value::Mapping(mapping) => {
                let entries = mapping.entries.iter().map(|e| (&e.key, dump(&e.value)));
                format!("{:?}", entries.collect::<Vec<_>>())
            }
        }
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[ a:#'\"{}\\[\\],&*!|>%@`\\-?\\\\\n\t$]{0,12}",
            prop::sample::select(vec![
                "yes",
                "null",
                "~",
                "12",
                "0x1",
                "1e3",
                "-",
                "---",
                "a: b",
                "a #b",
                "#",
                " a",
                "a ",
                "${A}",
                "${A:-x, y}",
                "***",
                "*a",
                "é日",
                "\u{feff}x",
                "<<",
                "=",
                "...",
                "true",
            ])
            .prop_map(str::to_owned),
        ]
        // What a YAML file cannot hold, even escaped, is never in a tree.
        .prop_map(|text| {
            text.chars()
                .filter(|c| !matches!(c, '\0' | '\u{fffe}' | '\u{ffff}'))
                .collect()
        })
    }

    fn trees() -> impl Strategy<Value = Node> {
        let leaf = (texts(), any::<bool>()).prop_map(|(text, number)| {
            let (text, plain) = if number {
                ("17".to_owned(), true)
            } else {
                (text, false)
            };
            node(Value::Scalar(Scalar {
                text,
                plain,
                written: None,
            }))
        });
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|items| node(Value::Sequence(items))),
                prop::collection::btree_map(
                    texts().prop_filter("no key", |t| !t.is_empty() && t != "<<"),
                    inner,
                    0..4
                )
                .prop_map(|map| {
                    let entries = map.into_iter().map(|(key, value)| Entry {
                        key,
                        key_span: NOWHERE,
                        value,
                    });
                    node(Value::Mapping(Mapping {
                        entries: entries.collect(),
                        truncated: false,
                    }))
                }),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_reads_back(tree in trees()) {
            let text = write(&tree, &|_| Some("t.yaml:1".to_owned()));
            let mut sources = Sources::default();
            let file = sources.add("t.yaml", text.as_str());
            let (read, faults) = crate::yaml::parse(&sources, file);
            prop_assert_eq!(faults, Vec::new(), "{}", text);
            prop_assert_eq!(dump(&read.root), dump(&tree), "{}", text);
        }
    }
}
