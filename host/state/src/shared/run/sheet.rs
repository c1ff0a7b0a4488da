//! Documents of runs: from what is noted, to what is read, and where they lie.

use jiff::Timestamp;
use odibi_story::event::NodeRef;

use super::super::document::{NodeSheet, RunSheet, SelectionSheet, SlotSheet};
use super::super::name_of;
use crate::run::{KEPT, NewRun, NodeEnd, NodeRecord, RunRecord, RunSelection};

impl NodeSheet {
    pub(super) fn name(&self) -> NodeRef {
        NodeRef {
            pipeline: self.pipeline.clone(),
            name: self.node.clone(),
        }
    }
}

/// Notes how a node ended; which of the nodes it is.
pub(super) fn noted(sheet: &mut RunSheet, end: &NodeEnd<'_>) -> Option<usize> {
    let mut nodes = sheet.nodes.iter();
    let at = nodes.position(|n| n.pipeline == end.node.pipeline && n.node == end.node.name)?;
    let node = &mut sheet.nodes[at];
    node.outcome = Some(end.outcome.word().to_owned());
    node.attempts = end.attempts;
    node.duration_ms = end.duration_ms;
    node.rows_written = end.rows_written;
    node.failure_code = end.failure_code.map(str::to_owned);
    node.target_bytes = end.target.map(|file| file.bytes);
    node.target_modified = end.target.and_then(|file| file.modified);
    Some(at)
}

pub(super) fn run_sheet(run: &NewRun, host: Option<String>) -> RunSheet {
    let new = |node: &NodeRef| NodeSheet {
        pipeline: node.pipeline.clone(),
        node: node.name.clone(),
        outcome: None,
        attempts: 0,
        duration_ms: 0,
        rows_written: None,
        failure_code: None,
        target_bytes: None,
        target_modified: None,
        digest: None,
    };
    let kept = run.kept.iter().map(|kept| NodeSheet {
        outcome: match kept.is_success() {
            true => Some(KEPT.to_owned()),
            false => kept.outcome.clone(),
        },
        target_bytes: kept.target_bytes,
        target_modified: kept.target_modified,
        ..new(&kept.node)
    });
    let selection = &run.selection;
    RunSheet {
        id: run.id.clone(),
        project: run.project.clone(),
        config_path: run.config_path.clone(),
        config_digest: run.config_digest.clone(),
        selection: SelectionSheet {
            pipelines: selection.pipelines.clone(),
            nodes: selection.nodes.clone(),
            tags: selection.tags.clone(),
            select: selection.select.clone(),
            exclude: selection.exclude.clone(),
            environment: selection.environment.clone(),
        },
        continues: run.continues.clone(),
        logical_time: run.logical_time,
        odibi_version: run.odibi_version.clone(),
        pid: std::process::id(),
        host,
        started_at: run.started_at,
        ended_at: None,
        outcome: None,
        exit_code: None,
        told: false,
        pipelines: run
            .pipelines
            .iter()
            .map(|p| SlotSheet {
                pipeline: p.pipeline.clone(),
                slot: p.slot.clone(),
                epoch: p.epoch,
            })
            .collect(),
        nodes: run.nodes.iter().map(new).chain(kept).collect(),
    }
}

pub(super) fn record(sheet: RunSheet) -> RunRecord {
    let selection = sheet.selection;
    RunRecord {
        id: sheet.id,
        project: sheet.project,
        config_path: sheet.config_path,
        config_digest: sheet.config_digest,
        selection: RunSelection {
            pipelines: selection.pipelines,
            nodes: selection.nodes,
            tags: selection.tags,
            select: selection.select,
            exclude: selection.exclude,
            environment: selection.environment,
        },
        continues: sheet.continues,
        logical_time: sheet.logical_time,
        odibi_version: sheet.odibi_version,
        pid: sheet.pid,
        started_at: sheet.started_at,
        ended_at: sheet.ended_at,
        outcome: sheet.outcome,
        exit_code: sheet.exit_code,
        pipelines: sheet.pipelines.into_iter().map(|p| p.pipeline).collect(),
    }
}

pub(in crate::shared) fn node_record(sheet: NodeSheet) -> NodeRecord {
    NodeRecord {
        node: NodeRef {
            pipeline: sheet.pipeline,
            name: sheet.node,
        },
        outcome: sheet.outcome,
        attempts: sheet.attempts,
        duration_ms: sheet.duration_ms,
        rows_written: sheet.rows_written,
        failure_code: sheet.failure_code,
        target_bytes: sheet.target_bytes,
        target_modified: sheet.target_modified,
    }
}

/// Month and day of an id, which begins with its time as UUIDv7 has it; `None` when it does not.
pub(super) fn day(id: &str) -> Option<String> {
    let (high, low) = (id.get(..8)?, id.get(8..13)?.strip_prefix('-')?);
    let ms = u64::from_str_radix(&format!("{high}{low}"), 16).ok()?;
    let at = Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()?;
    Some(at.strftime("%Y-%m/%d").to_string())
}

fn run_dir(project: &str, run_id: &str) -> String {
    let day = day(run_id).unwrap_or_else(|| "other/00".to_owned());
    format!("{}/runs/{day}", name_of(project))
}

pub(super) fn run_path(project: &str, run_id: &str) -> String {
    format!("{}/{}.json", run_dir(project, run_id), name_of(run_id))
}

pub(in crate::shared) fn events_path(project: &str, run_id: &str) -> String {
    let name = name_of(run_id);
    format!("{}/{name}.events.jsonl", run_dir(project, run_id))
}

pub(super) fn running_path(project: &str, run_id: &str) -> String {
    format!("{}/running/{}.json", name_of(project), name_of(run_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_lie_by_the_day_of_their_id() {
        let path = run_path("p", "0192f0c1-2345-7abc-8000-000000000000");
        assert_eq!(
            path,
            "p/runs/2024-11/03/0192f0c1-2345-7abc-8000-000000000000.json"
        );
        assert!(run_path("p", "odd").starts_with("p/runs/other/"));
    }
}
