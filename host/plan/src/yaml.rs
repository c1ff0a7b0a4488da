//! YAML text to a tree in which every key and value knows its place.
//!
//! The tree keeps scalars as they are written; what a plain scalar means is decided where it is used:
//!
//! - Numbers, `true`, `false` and `null` follow the YAML 1.2 core schema. `12:30`, `1_000` and dates are texts.
//! - `yes`, `no`, `on` and `off`, in any case, are booleans where a boolean is wanted and texts everywhere else.
//! - A leading zero does not make a number octal; [`Scalar::resolve`] tells so that a warning can be given.
//! - Where a text is wanted, a number is the text that stands in the file: `version: 1.10` is `1.10`.
//!
//! Merge keys (`<<`) work as in PyYAML. Duplicate keys, foreign tags, several documents and recursive aliases are
//! faults. The [limits](crate::limits) hold while the text is being read, so that a hostile file costs little.

mod build;
mod date;
mod merge;
mod overlay;
mod position;
mod scalar;
mod substitute;
mod write;

pub use build::parse;
pub use overlay::{Join, Replaced, overlay};
pub use scalar::{Resolved, Scalar};
pub(crate) use substitute::Brought;
pub use substitute::{Pass, Scope};
pub use write::write;

use crate::diagnostic::Span;

/// A parsed file.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// The one document; a null scalar when the file is empty.
    pub root: Node,
    /// False when a syntax error or a limit cut it short: what is missing may stand further below in the file.
    pub complete: bool,
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its place. For the content of an alias, the place of the alias; deeper down, that of the anchored value.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A part that was refused and reported, or lies after the point where reading stopped.
    Missing,
    /// A text, number, boolean or null.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping.
    Mapping(Mapping),
}

/// Keys and values in their order; keys are unique.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mapping {
    /// Merged keys first, as PyYAML has it.
    pub entries: Vec<Entry>,
    /// True when reading stopped inside it, or a part of it was refused, so that a key may only seem to be missing.
    pub truncated: bool,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key as text.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The words for its type that people read.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match &self.value {
            Value::Missing => "nothing",
            Value::Scalar(scalar) => scalar.describe(),
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }

    /// The mapping that it is.
    #[must_use]
    pub fn mapping(&self) -> Option<&Mapping> {
        if let Value::Mapping(mapping) = &self.value {
            Some(mapping)
        } else {
            None
        }
    }

    /// The text, number, boolean or null that it is.
    #[must_use]
    pub fn scalar(&self) -> Option<&Scalar> {
        if let Value::Scalar(scalar) = &self.value {
            Some(scalar)
        } else {
            None
        }
    }

    /// True for `null`, `~` and a value left out.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.resolve() == Resolved::Null)
    }
}

impl Mapping {
    /// The entry of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::diagnostic::Sources;
    use crate::limits::{ALIASES_MAX, FILE_BYTES_MAX, FILE_DEPTH_MAX, FILE_NODES_MAX};

    /// The tree in flow style, texts in quotes when they are quoted in the file.
    fn dump(node: &Node) -> String {
        match &node.value {
            Value::Missing => "?".into(),
            Value::Scalar(scalar) if scalar.plain => scalar.text.clone(),
            Value::Scalar(scalar) => format!("{:?}", scalar.text),
            Value::Sequence(items) => format!(
                "[{}]",
                items.iter().map(dump).collect::<Vec<_>>().join(", ")
            ),
            Value::Mapping(mapping) => {
                let entries: Vec<String> = mapping
                    .entries
                    .iter()
                    .map(|e| format!("{}: {}", e.key, dump(&e.value)))
                    .collect();
                format!(
                    "{{{}}}{}",
                    entries.join(", "),
                    if mapping.truncated { "…" } else { "" }
                )
            }
        }
    }

    fn read(text: &str) -> (Sources, Tree, Vec<String>) {
        let mut sources = Sources::default();
        let file = sources.add("t.yaml", text);
        let (tree, faults) = parse(&sources, file);
        let faults = faults.iter().map(|d| {
            let at = sources.position(d.span().unwrap());
            format!("{} {}:{}", d.code.name, at.line, at.column)
        });
        let faults = faults.collect();
        (sources, tree, faults)
    }

    #[track_caller]
    fn check(text: &str, expect: &str, faults: &[&str]) {
        let (_, tree, found) = read(text);
        assert_eq!(
            (dump(&tree.root).as_str(), found),
            (expect, faults.iter().map(|f| (*f).to_owned()).collect())
        );
    }

    /// What every key and value covers in the file, in order.
    fn places(text: &str) -> Vec<String> {
        fn walk(node: &Node, text: &str, out: &mut Vec<String>) {
            let cut = |span: Span| text[span.start as usize..span.end as usize].to_owned();
            out.push(cut(node.span));
            match &node.value {
                Value::Missing | Value::Scalar(_) => {}
                Value::Sequence(items) => items.iter().for_each(|item| walk(item, text, out)),
                Value::Mapping(mapping) => {
                    for entry in &mapping.entries {
                        out.push(cut(entry.key_span));
                        walk(&entry.value, text, out);
                    }
                }
            }
        }
        let (_, tree, faults) = read(text);
        assert_eq!(faults, Vec::<String>::new());
        let mut out = Vec::new();
        walk(&tree.root, text, &mut out);
        out
    }

    #[test]
    fn shapes_are_read() {
        check("", "", &[]);
        check("# only a comment\n", "", &[]);
        check(
            "a: 1\nb: [x, 'y', \"z\"]\nc: {d: ~}\n",
            "{a: 1, b: [x, \"y\", \"z\"], c: {d: ~}}",
            &[],
        );
        check("- 1\n-\n- - 2\n", "[1, , [2]]", &[]);
        check("a: |\n  x\n  y\n", "{a: \"x\\ny\\n\"}", &[]);
        check("---\na: 1\n...\n", "{a: 1}", &[]);
        check(
            "a: !!str 1\nb: !!int '2'\nc: !!seq []\n",
            "{a: \"1\", b: 2, c: []}",
            &[],
        );
        check("\u{feff}a: 1\n", "{a: 1}", &[]);
    }

    #[test]
    fn places_are_byte_exact() {
        assert_eq!(places("a: 1"), ["a: 1", "a", "1"]);
        assert_eq!(
            places("é: [日, 'x y' ]  # c\n"),
            ["é: [日, 'x y' ]", "é", "[日, 'x y' ]", "日", "'x y'"]
        );
        assert_eq!(
            places("a:\n  - b: c  \n\n  - d\n\nz: 1\n")[2..],
            ["- b: c  \n\n  - d", "b: c", "b", "c", "d", "z", "1"]
        );
        assert_eq!(places("a:\nb: {}\n"), ["a:\nb: {}", "a", "a", "b", "{}"]);
        assert_eq!(places("- x\n-\n"), ["- x\n-", "x", "-"]);
        assert_eq!(places("a: &n !!str x\nb: *n\n")[1..], ["a", "x", "b", "*n"]);
        assert_eq!(
            places("a: &n\n  k: v\nb: 2\n")[1..5],
            ["a", "k: v", "k", "v"]
        );
        assert_eq!(places("\u{feff}a: é\n"), ["a: é", "a", "é"]);
        assert_eq!(
            places("a: |\n  x\nb: \"é\\n\"\r\nc: d\r\n")[1..],
            ["a", "x", "b", "\"é\\n\"", "c", "d"]
        );
    }

    #[test]
    fn aliases_are_copies_at_their_own_place() {
        check(
            "a: &x [1, {b: 2}]\nc: *x\n",
            "{a: [1, {b: 2}], c: [1, {b: 2}]}",
            &[],
        );
        check("a: &k x\n*k : 1\n", "{a: x, x: 1}", &[]);
        check("a: &x [*x]\n", "{a: [?]}", &["yaml/recursive-alias 1:8"]);
        check("a: *x\n", "{a: ?}…", &["yaml/syntax 1:4"]);
        check("a: &x 1\nb: &x 2\nc: *x\n", "{a: 1, b: 2, c: 2}", &[]);
    }

    #[test]
    fn merge_keys_follow_pyyaml() {
        let defaults = "d: &d {a: 1, b: 2}\ne: &e {b: 3, c: 4}\n";
        let tail = |text: &str, expect: &str| {
            check(
                &format!("{defaults}{text}"),
                &format!("{{d: {{a: 1, b: 2}}, e: {{b: 3, c: 4}}, {expect}}}"),
                &[],
            );
        };
        tail("f: {<<: *d, b: 9}\n", "f: {a: 1, b: 9}");
        tail("f: {b: 9, <<: *d}\n", "f: {a: 1, b: 9}");
        tail("f: {<<: [*d, *e]}\n", "f: {b: 2, c: 4, a: 1}");
        tail("f: {<<: {x: 1}, y: 2}\n", "f: {x: 1, y: 2}");
        tail("f: {'<<': 1}\n", "f: {<<: 1}");
        check("a: {<<: 1}\n", "{a: {}…}", &["yaml/merge-key 1:9"]);
        check("a: {<<: [1]}\n", "{a: {}…}", &["yaml/merge-key 1:9"]);
        check(
            "a: {<<: {b: 1}, <<: {c: 1}}\n",
            "{a: {b: 1}}",
            &["yaml/duplicate-key 1:17"],
        );
    }

    #[test]
    fn faults_are_reported_with_their_place() {
        check(
            "a: 1\nb: 2\na: 3\n",
            "{a: 1, b: 2}",
            &["yaml/duplicate-key 3:1"],
        );
        check(
            "a: 1\n---\nb: 2\n",
            "{a: 1}",
            &["yaml/multiple-documents 2:1"],
        );
        check(
            "a: !include /etc/passwd\nb: 1\n",
            "{a: ?, b: 1}",
            &["yaml/tag 1:4"],
        );
        check(
            "a: !!python/object:os.system [x]\n",
            "{a: ?}",
            &["yaml/tag 1:4"],
        );
        check("? [a]\n: 1\nb: 2\n", "{b: 2}…", &["yaml/bad-key 1:3"]);
        check(": 1\n", "{}…", &["yaml/bad-key 1:1"]);
        check("a: b: c\n", "{a: b}…", &["yaml/syntax 1:5"]);
        check("a: [1, 2\n", "{a: [1, 2]}…", &["yaml/syntax 2:1"]);
        check("a: 1\nb:\n\t- x\n", "{a: 1, b: ?}…", &["yaml/syntax 3:2"]);
        check("a: \0\n", "?", &["yaml/syntax 1:4"]);
        check("é: \x1b[m\n", "?", &["yaml/syntax 1:4"]);
        check("a: 'x\n", "{a: ?}…", &["yaml/syntax 1:4"]);
    }

    #[test]
    fn limits_stop_the_reading() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        check(&deep(FILE_DEPTH_MAX), &deep(FILE_DEPTH_MAX), &[]);
        assert_eq!(read(&deep(FILE_DEPTH_MAX + 1)).2, ["yaml/limit 1:33"]);
        assert_eq!(read(&"[".repeat(200_000)).2, ["yaml/limit 1:256"]);
        assert_eq!(read(&"- ".repeat(10_000)).2, ["yaml/limit 1:65"]);
        let long = |n: usize| format!("[{}]", "x,".repeat(n));
        assert_eq!(read(&long(FILE_NODES_MAX - 1)).2, Vec::<String>::new());
        assert_eq!(read(&long(FILE_NODES_MAX)).2, ["yaml/limit 1:40000"]);
        let aliases = |n: usize| format!("- &a x\n{}", "- *a\n".repeat(n));
        assert_eq!(read(&aliases(ALIASES_MAX)).2, Vec::<String>::new());
        assert_eq!(read(&aliases(ALIASES_MAX + 1)).2, ["yaml/limit 102:3"]);
        assert_eq!(read(&" ".repeat(FILE_BYTES_MAX + 1)).2, ["yaml/limit 1:1"]);
        let heavy = format!("- &a {}\n{}", "x".repeat(1_000_000), "- *a\n".repeat(20));
        assert_eq!(read(&heavy).2, ["yaml/limit 9:3"]);
    }

    #[test]
    fn billion_laughs_are_refused_early() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..10 {
            let uses = vec![format!("*a{}", n - 1); 10].join(", ");
            text.push_str(&format!("a{n}: &a{n} [{uses}]\n"));
        }
        assert_eq!(read(&text).2, ["yaml/limit 5:10"]);
    }
}
