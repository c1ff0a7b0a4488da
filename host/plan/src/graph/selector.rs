//! Words that select nodes: `orders`, `+orders`, `orders+`, `sales.orders`, `pipeline:sales`, `tag:daily`.
//!
//! A `+` in front takes along everything that the nodes depend on, one behind takes along everything that depends on them.

use crate::config::{Node, Pipeline};
use crate::diagnostic::{Diagnostic, codes, quoted};

/// A word, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Selector<'a> {
    /// With everything that depends on them.
    pub(super) after: bool,
    pub(super) what: What<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What<'a> {
    /// `node` or `pipeline.node`
    Node(&'a str),
    Pipeline(&'a str),
    Tag(&'a str),
}

impl<'a> Selector<'a> {
    /// What the selected depend on comes along anyway, so the `+` in front only says so.
    pub(super) fn parse(word: &'a str) -> Result<Self, Box<Diagnostic>> {
        let (after, rest) = match word.strip_suffix('+') {
            Some(rest) => (true, rest),
            None => (false, word),
        };
        let rest = rest.strip_prefix('+').unwrap_or(rest);
        let what = match rest.split_once(':') {
            None => What::Node(rest),
            Some(("tag", name)) => What::Tag(name),
            Some(("pipeline", name)) => What::Pipeline(name),
            Some((kind, _)) => {
                let message = format!(
                    "the selection has no words of the kind {}: {}",
                    quoted(kind),
                    quoted(word)
                );
                let made = Diagnostic::placeless(&codes::UNKNOWN_SELECTION, message);
                return Err(Box::new(match kind {
                    "result" => made.hint("run `odibi retry` for what failed in the last run"),
                    _ => made.hint("use `node`, `pipeline.node`, `pipeline:NAME` or `tag:NAME`, with `+` before or behind"),
                }));
            }
        };
        Ok(Self { after, what })
    }

    pub(super) fn matches(&self, pipeline: &Pipeline, node: &Node) -> bool {
        match self.what {
            What::Node(word) => is_named(pipeline, node, word),
            What::Pipeline(name) => pipeline.name.value == name,
            What::Tag(tag) => is_tagged(pipeline, node, tag),
        }
    }
}

/// `node`, `pipeline.node` or `$pipeline.node`.
pub(super) fn is_named(pipeline: &Pipeline, node: &Node, word: &str) -> bool {
    match word.strip_prefix('$').unwrap_or(word).split_once('.') {
        Some((first, second)) => pipeline.name.value == first && node.name.value == second,
        None => node.name.value == word,
    }
}

/// A tag of the node or of its pipeline.
pub(super) fn is_tagged(pipeline: &Pipeline, node: &Node, word: &str) -> bool {
    node.tags
        .iter()
        .chain(&pipeline.tags)
        .any(|tag| tag.value == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, after: bool, what: What<'_>) {
        assert_eq!(Selector::parse(word), Ok(Selector { after, what }));
    }

    #[test]
    fn words_are_taken_apart() {
        check("a", false, What::Node("a"));
        check("+a", false, What::Node("a"));
        check("a+", true, What::Node("a"));
        check("+p.a+", true, What::Node("p.a"));
        check("tag:x+", true, What::Tag("x"));
        check("pipeline:p", false, What::Pipeline("p"));
        check("", false, What::Node(""));
        assert!(Selector::parse("state:modified").is_err());
        assert!(Selector::parse("result:failed").is_err());
    }
}
