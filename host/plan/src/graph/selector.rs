//! Words that select nodes: `orders`, `+orders`, `orders+`, `sales.orders`, `pipeline:sales`, `tag:daily`,
//! `state:modified`, `result:failed`.
//!
//! A `+` in front takes along everything that the nodes depend on, one behind takes along everything that depends on them.
//! What nodes depend on is always in the plan; only of nodes that are selected by what is remembered (`state:`, `result:`)
//! it may be read back instead of being made again, and there the `+` in front makes a difference.

use super::selection::Remembered;
use crate::config::{Node, Pipeline};
use crate::diagnostic::{Diagnostic, codes, quoted};

/// A word, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Selector<'a> {
    /// With everything that they depend on.
    pub(super) before: bool,
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
    /// `state:modified`
    Modified,
    /// `result:…`
    Ended(NodeResult),
}

/// How a node ended in the last run of the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeResult {
    /// It failed, was stopped, or did not come to its end.
    Failed,
    /// It was not tried.
    Skipped,
    /// It made what it should, or an earlier run had.
    Succeeded,
}

impl What<'_> {
    /// True for what only the state can tell.
    pub(super) fn is_remembered(self) -> bool {
        matches!(self, Self::Modified | Self::Ended(_))
    }
}

impl<'a> Selector<'a> {
    pub(super) fn parse(word: &'a str) -> Result<Self, Box<Diagnostic>> {
        let (after, rest) = match word.strip_suffix('+') {
            Some(rest) => (true, rest),
            None => (false, word),
        };
        let (before, rest) = match rest.strip_prefix('+') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let what = match rest.split_once(':') {
            None => What::Node(rest),
            Some(("tag", name)) => What::Tag(name),
            Some(("pipeline", name)) => What::Pipeline(name),
            Some(("state", "modified")) => What::Modified,
            Some(("result", "failed")) => What::Ended(NodeResult::Failed),
            Some(("result", "skipped")) => What::Ended(NodeResult::Skipped),
            Some(("result", "succeeded")) => What::Ended(NodeResult::Succeeded),
            Some((kind @ ("state" | "result"), name)) => {
                let message = format!(
                    "the selection has no {} among its words of the kind {}: {}",
                    quoted(name),
                    quoted(kind),
                    quoted(word)
                );
                let made = Diagnostic::placeless(&codes::UNKNOWN_SELECTION, message);
                return Err(Box::new(made.hint(
                    "use `state:modified`, `result:failed`, `result:skipped` or `result:succeeded`",
                )));
            }
            Some((kind, _)) => {
                let message = format!(
                    "the selection has no words of the kind {}: {}",
                    quoted(kind),
                    quoted(word)
                );
                let made = Diagnostic::placeless(&codes::UNKNOWN_SELECTION, message);
                return Err(Box::new(made.hint(
                    "use `node`, `pipeline.node`, `pipeline:NAME`, `tag:NAME`, `state:modified` or `result:failed`, with `+` before or behind",
                )));
            }
        };
        Ok(Self {
            before,
            after,
            what,
        })
    }

    pub(super) fn matches(
        &self,
        pipeline: &Pipeline,
        node: &Node,
        remembered: &Remembered,
    ) -> bool {
        let name = || (pipeline.name.value.clone(), node.name.value.clone());
        match self.what {
            What::Node(word) => is_named(pipeline, node, word),
            What::Pipeline(name) => pipeline.name.value == name,
            What::Tag(tag) => is_tagged(pipeline, node, tag),
            What::Modified => remembered.modified.contains(&name()),
            What::Ended(result) => remembered.results.get(&name()) == Some(&result),
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
    fn check(word: &str, before: bool, after: bool, what: What<'_>) {
        let expect = Selector {
            before,
            after,
            what,
        };
        assert_eq!(Selector::parse(word), Ok(expect));
    }

    #[test]
    fn words_are_taken_apart() {
        check("a", false, false, What::Node("a"));
        check("+a", true, false, What::Node("a"));
        check("a+", false, true, What::Node("a"));
        check("+p.a+", true, true, What::Node("p.a"));
        check("tag:x+", false, true, What::Tag("x"));
        check("pipeline:p", false, false, What::Pipeline("p"));
        check("", false, false, What::Node(""));
        check("state:modified+", false, true, What::Modified);
        check(
            "+result:failed",
            true,
            false,
            What::Ended(NodeResult::Failed),
        );
        check(
            "result:skipped",
            false,
            false,
            What::Ended(NodeResult::Skipped),
        );
        check(
            "result:succeeded",
            false,
            false,
            What::Ended(NodeResult::Succeeded),
        );
        for word in ["state:new", "result:", "result:error", "source:x"] {
            assert!(Selector::parse(word).is_err(), "{word}");
        }
    }
}
