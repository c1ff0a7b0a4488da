//! Two runs of a pipeline side by side: what differs, and which differences deserve a look.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ColumnChanges, NodeStory, Status, Story};
use crate::event::NodeFacts;

/// Rows of a node that change by this much of what they were are an anomaly, in percent.
const ROWS_PERCENT: u64 = 50;
/// A node that takes this many times as long is one.
const DURATION_TIMES: u64 = 3;
/// Shorter durations say nothing, in milliseconds.
const DURATION_MS_MIN: u64 = 1_000;
/// Columns of one node whose nulls are compared, at most.
const COLUMNS_MAX: usize = 1_000;

/// A run in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PastRun {
    /// Its id.
    pub run_id: String,
    /// When the pipeline began.
    #[cfg_attr(test, schemars(with = "String"))]
    pub started_at: Timestamp,
    /// How it ended.
    pub outcome: Status,
    /// How long it took.
    pub duration_ms: u64,
    /// Rows that all nodes wrote.
    pub rows_written: u64,
}

impl PastRun {
    /// A story in short.
    #[must_use]
    pub fn of(story: &Story) -> Self {
        let written = |node: &NodeStory| node.facts.as_ref()?.rows_written;
        Self {
            run_id: story.run_id.clone(),
            started_at: story.started_at,
            outcome: story.outcome,
            duration_ms: story.duration_ms,
            rows_written: story
                .nodes
                .iter()
                .filter_map(written)
                .fold(0, u64::saturating_add),
        }
    }
}

/// What differs from an earlier run. Nodes without a difference are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Comparison {
    /// The earlier run.
    pub before: PastRun,
    /// The configuration is another.
    pub config_changed: bool,
    /// The version of odibi, when it is another: before and now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub odibi_version: Option<Change<String>>,
    /// Nodes that are new.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes_added: Vec<String>,
    /// Nodes that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes_removed: Vec<String>,
    /// Nodes that differ, in the order of the newer run.
    pub nodes: Vec<NodeComparison>,
    /// What deserves a look.
    pub anomalies: Vec<Anomaly>,
}

/// A value then and now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Change<T> {
    /// In the earlier run.
    pub before: T,
    /// In the newer one.
    pub after: T,
}

/// What differs in one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NodeComparison {
    /// Its name.
    pub node: String,
    /// How it ended, when that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Change<Status>>,
    /// How long it took.
    pub duration_ms: Change<u64>,
    /// Rows that left the last step, where both runs tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_out: Option<Change<u64>>,
    /// Columns of the result.
    pub columns: ColumnChanges,
    /// Columns with another number of nulls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nulls: Vec<NullsChange>,
    /// Steps that are others, or of another plugin, or with other params.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepChange>,
}

/// Nulls of one column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NullsChange {
    /// The column.
    pub column: String,
    /// How many.
    pub nulls: Change<u64>,
}

/// A step that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StepChange {
    /// From 0.
    pub step: usize,
    /// The operation; absent on the side where there is no such step.
    pub operation: Change<Option<String>>,
    /// Digest of the component, hex, when it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Change<String>>,
    /// Its params are others.
    pub params_changed: bool,
}

/// A difference that deserves a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Anomaly {
    /// The node.
    pub node: String,
    /// What is odd.
    pub kind: AnomalyKind,
    /// The number then and now.
    pub number: Change<u64>,
}

/// What can be odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AnomalyKind {
    /// Half of the rows, or fewer.
    RowsFell,
    /// Half as many rows again, or more.
    RowsRose,
    /// More than three times as long, and longer than a second.
    DurationRose,
}

/// What differs between two runs of a pipeline.
#[must_use]
pub fn compare(before: &Story, after: &Story) -> Comparison {
    let old = by_name(before);
    let new = by_name(after);
    let names = |nodes: &[NodeStory], known: &BTreeMap<&str, &NodeStory>| {
        let names = nodes.iter().map(|node| node.outline.name.clone());
        names
            .filter(|name| !known.contains_key(name.as_str()))
            .collect()
    };
    let mut comparison = Comparison {
        before: PastRun::of(before),
        config_changed: before.config_digest != after.config_digest,
        odibi_version: change(&before.odibi_version, &after.odibi_version),
        nodes_added: names(&after.nodes, &old),
        nodes_removed: names(&before.nodes, &new),
        nodes: Vec::new(),
        anomalies: Vec::new(),
    };
    for node in &after.nodes {
        let Some(was) = old.get(node.outline.name.as_str()) else {
            continue;
        };
        let (differs, compared) = compare_nodes(was, node);
        comparison.anomalies.extend(anomalies(&compared, was, node));
        if differs {
            comparison.nodes.push(compared);
        }
    }
    comparison
}

impl Comparison {
    /// Nothing differs but durations.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        !self.config_changed
            && self.odibi_version.is_none()
            && self.nodes_added.is_empty()
            && self.nodes_removed.is_empty()
            && self.nodes.is_empty()
            && self.anomalies.is_empty()
    }
}

fn by_name(story: &Story) -> BTreeMap<&str, &NodeStory> {
    let nodes = story.nodes.iter();
    nodes
        .map(|node| (node.outline.name.as_str(), node))
        .collect()
}

fn change<T: Clone + PartialEq>(before: &T, after: &T) -> Option<Change<T>> {
    (before != after).then(|| Change {
        before: before.clone(),
        after: after.clone(),
    })
}

fn compare_nodes(before: &NodeStory, after: &NodeStory) -> (bool, NodeComparison) {
    let both = before.facts.as_ref().zip(after.facts.as_ref());
    let compared = NodeComparison {
        node: after.outline.name.clone(),
        outcome: change(&before.outcome, &after.outcome),
        duration_ms: Change {
            before: before.duration_ms,
            after: after.duration_ms,
        },
        rows_out: both.map(|(b, a)| Change {
            before: b.rows_out,
            after: a.rows_out,
        }),
        columns: both
            .map(|(b, a)| ColumnChanges::between(&b.schema_out, &a.schema_out))
            .unwrap_or_default(),
        nulls: both.map(|(b, a)| nulls(b, a)).unwrap_or_default(),
        steps: both.map(|(b, a)| steps(b, a)).unwrap_or_default(),
    };
    let differs = compared.outcome.is_some()
        || compared
            .rows_out
            .as_ref()
            .is_some_and(|rows| rows.before != rows.after)
        || compared.columns != ColumnChanges::default()
        || !compared.nulls.is_empty()
        || !compared.steps.is_empty();
    (differs, compared)
}

fn nulls(before: &NodeFacts, after: &NodeFacts) -> Vec<NullsChange> {
    let of = |facts: &NodeFacts| -> BTreeMap<String, u64> {
        let columns = facts.schema_out.iter().map(|column| column.name.clone());
        columns.zip(facts.nulls_out.iter().copied()).collect()
    };
    let old = of(before);
    let columns = after.schema_out.iter().zip(&after.nulls_out);
    columns
        .filter_map(|(column, now)| {
            let nulls = change(old.get(&column.name)?, now)?;
            Some(NullsChange {
                column: column.name.clone(),
                nulls,
            })
        })
        .take(COLUMNS_MAX)
        .collect()
}

fn steps(before: &NodeFacts, after: &NodeFacts) -> Vec<StepChange> {
    let most = before.operations.len().max(after.operations.len());
    let compare = |step: usize| {
        let (was, is) = (before.operations.get(step), after.operations.get(step));
        let name = |fact: Option<&crate::event::OperationFact>| {
            fact.map(|fact| fact.operation.reference.clone())
        };
        let changed = StepChange {
            step,
            operation: Change {
                before: name(was),
                after: name(is),
            },
            digest: was
                .zip(is)
                .and_then(|(was, is)| change(&was.operation.digest, &is.operation.digest)),
            params_changed: was.zip(is).is_some_and(|(was, is)| was.params != is.params),
        };
        let differs = changed.operation.before != changed.operation.after
            || changed.digest.is_some()
            || changed.params_changed;
        differs.then_some(changed)
    };
    (0..most).filter_map(compare).collect()
}

/// Only nodes that succeeded both times are measured against each other.
fn anomalies(compared: &NodeComparison, before: &NodeStory, after: &NodeStory) -> Vec<Anomaly> {
    let succeeded = |status| matches!(status, Status::Succeeded | Status::Recovered);
    if !succeeded(before.outcome) || !succeeded(after.outcome) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut odd = |kind, number: &Change<u64>| {
        let (node, number) = (compared.node.clone(), number.clone());
        found.push(Anomaly { node, kind, number });
    };
    if let Some(rows) = &compared.rows_out {
        let (was, is) = (u128::from(rows.before) * 100, u128::from(rows.after) * 100);
        let tolerated = u128::from(rows.before) * u128::from(ROWS_PERCENT);
        if is < was && was - is >= tolerated {
            odd(AnomalyKind::RowsFell, rows);
        } else if is > was && is - was >= tolerated {
            odd(AnomalyKind::RowsRose, rows);
        }
    }
    let took = &compared.duration_ms;
    if took.after >= DURATION_MS_MIN && took.after > took.before.saturating_mul(DURATION_TIMES) {
        odd(AnomalyKind::DurationRose, took);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Column;
    use crate::example;

    fn changed(edit: impl FnOnce(&mut Story)) -> Comparison {
        let before = example::story();
        let mut after = before.clone();
        edit(&mut after);
        compare(&before, &after)
    }

    fn facts(story: &mut Story) -> &mut NodeFacts {
        story.nodes[0].facts.as_mut().expect("it has facts")
    }

    #[test]
    fn equal_runs_do_not_differ() {
        assert!(changed(|_| {}).is_quiet());
        assert!(changed(|story| story.nodes[0].duration_ms += 1).is_quiet());
    }

    #[test]
    fn every_kind_of_difference_is_told() {
        assert!(changed(|story| story.config_digest.push('0')).config_changed);
        let version = changed(|story| story.odibi_version = "9".to_owned()).odibi_version;
        assert_eq!(
            version,
            Some(Change {
                before: "0.1.0".to_owned(),
                after: "9".to_owned()
            })
        );
        let gone = changed(|story| drop(story.nodes.remove(0)));
        assert_eq!(
            (gone.nodes_removed, gone.nodes_added),
            (vec!["orders_raw".to_owned()], vec![])
        );
        let renamed = changed(|story| story.nodes[0].outline.name = "x".to_owned());
        assert_eq!(renamed.nodes_added, ["x"]);
        let ended = changed(|story| story.nodes[0].outcome = Status::Failed);
        assert!(ended.nodes[0].outcome.is_some() && ended.anomalies.is_empty());
        let rows = changed(|story| facts(story).rows_out += 1);
        assert_eq!(
            rows.nodes[0].rows_out,
            Some(Change {
                before: 1_234,
                after: 1_235
            })
        );
        assert!(rows.anomalies.is_empty());
        let column = Column {
            name: "new".to_owned(),
            data_type: "Utf8".to_owned(),
            nullable: true,
        };
        let columns = changed(|story| facts(story).schema_out.push(column.clone()));
        assert_eq!(columns.nodes[0].columns.added, [column]);
        let nulls = changed(|story| facts(story).nulls_out[1] = 0);
        let expect = NullsChange {
            column: "city".to_owned(),
            nulls: Change {
                before: 12,
                after: 0,
            },
        };
        assert_eq!(nulls.nodes[0].nulls, [expect]);
    }

    #[test]
    fn steps_are_compared_by_operation_digest_and_params() {
        let of = |edit: fn(&mut crate::event::OperationFact)| {
            let at = |story: &Story| {
                story
                    .nodes
                    .iter()
                    .position(|n| n.facts.as_ref().is_some_and(|f| !f.operations.is_empty()))
            };
            changed(|story| {
                let at = at(story).expect("one has steps");
                edit(&mut story.nodes[at].facts.as_mut().expect("facts").operations[0]);
            })
            .nodes
            .remove(0)
            .steps
            .remove(0)
        };
        assert!(
            of(|fact| fact.operation.digest = "0".to_owned())
                .digest
                .is_some()
        );
        assert!(of(|fact| fact.params = serde_json::json!({})).params_changed);
        let other = of(|fact| fact.operation.reference = "x".to_owned());
        assert_eq!(other.operation.after.as_deref(), Some("x"));
    }

    #[test]
    fn anomalies_begin_at_half_of_the_rows_and_three_times_the_duration() {
        let rows = |before: u64, after: u64| {
            let mut was = example::story();
            facts(&mut was).rows_out = before;
            let mut is = was.clone();
            facts(&mut is).rows_out = after;
            compare(&was, &is)
                .anomalies
                .first()
                .map(|anomaly| anomaly.kind)
        };
        for (before, after, expect) in [
            (100, 100, None),
            (100, 51, None),
            (100, 50, Some(AnomalyKind::RowsFell)),
            (100, 149, None),
            (100, 150, Some(AnomalyKind::RowsRose)),
            (0, 1, Some(AnomalyKind::RowsRose)),
            (0, 0, None),
            (u64::MAX, 0, Some(AnomalyKind::RowsFell)),
        ] {
            assert_eq!(rows(before, after), expect, "{before} {after}");
        }
        let took = |before: u64, after: u64| {
            let mut was = example::story();
            was.nodes[0].duration_ms = before;
            let mut is = was.clone();
            is.nodes[0].duration_ms = after;
            !compare(&was, &is).anomalies.is_empty()
        };
        assert!(took(400, 1_201) && !took(400, 1_200) && !took(10, 999));
    }
}
