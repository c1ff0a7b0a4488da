//! Runs and what became of their nodes; which runs were interrupted, and whose writes the next one goes on with.

mod made;
mod mark;
mod record;

use std::collections::BTreeMap;

use jiff::Timestamp;
use odibi_story::event::{FileFact, NodeRef, Outcome};
use odibi_story::failure::Failure;
use rusqlite::{OptionalExtension as _, Transaction, params};

pub use self::made::Made;
pub use self::mark::RunMark;
use self::mark::{boot_id, is_left, is_running};
pub(crate) use self::record::no_run;
pub use self::record::{NodeRecord, RunFilter, RunRecord};
use crate::db::{Fault, StateDb};

/// Outcome of a run that was killed; the others are those of [`Outcome`].
pub(crate) const CRASHED: &str = "crashed";
/// Outcome of a node that was not run again, because that of an earlier run stands.
pub(crate) const KEPT: &str = "kept";

/// What was selected, as on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunSelection {
    /// Names of pipelines.
    pub pipelines: Vec<String>,
    /// Names of nodes.
    pub nodes: Vec<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Words that select.
    pub select: Vec<String>,
    /// Words that exclude.
    pub exclude: Vec<String>,
    /// Environment.
    pub environment: Option<String>,
}

/// A pipeline of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineSlot {
    /// Its name.
    pub pipeline: String,
    /// Run whose writes are made.
    pub slot: String,
    /// Epoch of its lease.
    pub epoch: u64,
}

/// A run that is about to begin.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// UUIDv7.
    pub id: String,
    /// `project:` of the YAML.
    pub project: String,
    /// Its file.
    pub config_path: String,
    /// SHA-256 of the configuration, hex.
    pub config_digest: String,
    /// What was selected.
    pub selection: RunSelection,
    /// Run that this one goes on with, or repeats.
    pub continues: Option<String>,
    /// What guests see as the clock.
    pub logical_time: Timestamp,
    /// Version of odibi.
    pub odibi_version: String,
    /// Now.
    pub started_at: Timestamp,
    /// Its pipelines.
    pub pipelines: Vec<PipelineSlot>,
    /// Its nodes, in order.
    pub nodes: Vec<NodeRef>,
    /// Nodes that are not run, because an earlier run's stand.
    pub kept: Vec<NodeRecord>,
}

/// How a node of a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEnd<'a> {
    /// Which node.
    pub node: &'a NodeRef,
    /// How.
    pub outcome: Outcome,
    /// Attempts made.
    pub attempts: u32,
    /// How long it took.
    pub duration_ms: u64,
    /// Rows written to its target.
    pub rows_written: Option<u64>,
    /// The file written.
    pub target: Option<&'a FileFact>,
    /// Code of its failure.
    pub failure_code: Option<&'a str>,
}

/// The last run of a pipeline, when it did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interrupted {
    /// The run.
    pub run_id: String,
    /// Whose writes it made.
    pub slot: String,
}

impl StateDb {
    /// Notes a run before its first node starts. Its [`RunMark`] must be there already.
    ///
    /// # Errors
    /// The state cannot be used: the run must not begin.
    pub fn begin(&self, run: &NewRun) -> Result<(), Failure> {
        self.write(|t| {
            let number: i64 = t.query_row(
                "INSERT INTO run (id, project, config_path, config_digest, continues, logical_time_ns, \
                 odibi_version, pid, boot, started_at_ms) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) RETURNING number",
                params![
                    run.id,
                    run.project,
                    run.config_path,
                    run.config_digest,
                    run.continues,
                    i64::try_from(run.logical_time.as_nanosecond()).unwrap_or(0),
                    run.odibi_version,
                    std::process::id(),
                    boot_id(),
                    run.started_at.as_millisecond(),
                ],
                |row| row.get(0),
            )?;
            let selection = &run.selection;
            for (kind, words) in [
                ("pipeline", &selection.pipelines),
                ("node", &selection.nodes),
                ("tag", &selection.tags),
                ("select", &selection.select),
                ("exclude", &selection.exclude),
                ("environment", &selection.environment.iter().cloned().collect()),
            ] {
                for word in words {
                    t.execute(
                        "INSERT OR IGNORE INTO run_selection (run, kind, word) VALUES (?1, ?2, ?3)",
                        params![number, kind, word],
                    )?;
                }
            }
            for PipelineSlot { pipeline, slot, epoch } in &run.pipelines {
                t.execute(
                    "INSERT INTO run_pipeline (run, pipeline, slot, epoch) VALUES (?1, ?2, ?3, ?4)",
                    params![number, pipeline, slot, i64::try_from(*epoch).unwrap_or(i64::MAX)],
                )?;
            }
            insert_nodes(t, number, run)
        })
    }

    /// Notes how a node ended.
    ///
    /// # Errors
    /// The state cannot be used: the next run may repeat the node.
    pub fn node_ended(&self, run_id: &str, end: &NodeEnd<'_>) -> Result<(), Failure> {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.write(|t| {
            t.execute(
                "UPDATE run_node SET outcome = ?4, attempts = ?5, duration_ms = ?6, rows_written = ?7, \
                 failure_code = ?8, target_bytes = ?9, target_modified = ?10 \
                 WHERE run = (SELECT number FROM run WHERE id = ?1) AND pipeline = ?2 AND node = ?3",
                params![
                    run_id,
                    end.node.pipeline,
                    end.node.name,
                    end.outcome.word(),
                    end.attempts,
                    number(end.duration_ms),
                    end.rows_written.map(number),
                    end.failure_code,
                    end.target.map(|file| number(file.bytes)),
                    end.target.and_then(|file| file.modified).map(|at| at.to_string()),
                ],
            )?;
            Ok(())
        })
    }

    /// Notes how a run ended. Until its [`RunMark`] is removed as well, the next run goes on with its writes.
    ///
    /// # Errors
    /// The state cannot be used: the next run takes this one for killed.
    pub fn end(
        &self,
        run_id: &str,
        outcome: Outcome,
        exit_code: u8,
        at: Timestamp,
    ) -> Result<(), Failure> {
        self.write(|t| {
            t.execute(
                "UPDATE run SET outcome = ?2, exit_code = ?3, ended_at_ms = ?4, told = 1 WHERE id = ?1",
                params![run_id, outcome.word(), exit_code, at.as_millisecond()],
            )?;
            Ok(())
        })
    }

    /// Notes of every run whose process is gone without its end that it crashed; and returns those of a project whose
    /// story was not brought to its end yet, the oldest first.
    ///
    /// # Errors
    /// The state cannot be used.
    pub fn crashed(&self, project: &str) -> Result<Vec<RunRecord>, Failure> {
        self.write(|t| {
            let mut statement = t.prepare("SELECT id FROM run WHERE outcome IS NULL")?;
            let open: Vec<String> = statement
                .query_map((), |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for id in open {
                if !is_running(self.directory(), &id)? {
                    t.execute(
                        "UPDATE run SET outcome = ?2 WHERE id = ?1",
                        params![id, CRASHED],
                    )?;
                }
            }
            record::select(
                t,
                "project = ?1 AND told = 0 AND outcome IS NOT NULL ORDER BY number",
                params![project],
            )
        })
    }

    /// Notes that the story of a crashed run has its end. `outcome` when its events say that it had ended after all.
    ///
    /// # Errors
    /// The state cannot be used: it will be told again.
    pub fn told(&self, run_id: &str, outcome: Option<Outcome>) -> Result<(), Failure> {
        self.write(|t| {
            t.execute(
                "UPDATE run SET told = 1, outcome = coalesce(?2, outcome) WHERE id = ?1",
                params![run_id, outcome.map(Outcome::word)],
            )?;
            Ok(())
        })
    }

    /// Of these pipelines those whose last run in the same environment did not come to its end. Their leases are held by
    /// the caller.
    ///
    /// # Errors
    /// The state cannot be used.
    pub fn interrupted<'a>(
        &self,
        project: &str,
        environment: Option<&str>,
        pipelines: impl IntoIterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, Interrupted>, Failure> {
        let boot = boot_id();
        self.read(|t| {
            let mut found = BTreeMap::new();
            for pipeline in pipelines {
                let last: Option<(String, String, Option<String>, String)> = t
                    .query_row(
                        "SELECT run.id, slot, outcome, boot FROM run_pipeline JOIN run ON run.number = run \
                         WHERE project = ?1 AND pipeline = ?2 AND (SELECT word FROM run_selection AS of \
                         WHERE of.run = run.number AND of.kind = 'environment') IS ?3 ORDER BY number DESC LIMIT 1",
                        params![project, pipeline, environment],
                        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
                    )
                    .optional()?;
                let Some((run_id, slot, outcome, its_boot)) = last else {
                    continue;
                };
                let ended = outcome.is_some_and(|outcome| outcome != CRASHED);
                // After its end was noted a process still has to remove its mark; a machine that stopped may bring one back.
                let marked = its_boot == boot && is_left(self.directory(), &run_id)?;
                if !ended || marked {
                    found.insert(pipeline.to_owned(), Interrupted { run_id, slot });
                }
            }
            Ok(found)
        })
    }

    /// Slots of the pipelines of a run.
    ///
    /// # Errors
    /// The state cannot be used.
    pub fn slots(&self, run_id: &str) -> Result<BTreeMap<String, String>, Failure> {
        self.read(|t| {
            let mut statement = t.prepare(
                "SELECT pipeline, slot FROM run_pipeline JOIN run ON run.number = run WHERE id = ?1",
            )?;
            let rows = statement.query_map(params![run_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

fn insert_nodes(t: &Transaction<'_>, number: i64, run: &NewRun) -> Result<(), Fault> {
    let mut position = 0;
    for node in &run.nodes {
        t.execute(
            "INSERT INTO run_node (run, position, pipeline, node) VALUES (?1, ?2, ?3, ?4)",
            params![number, position, node.pipeline, node.name],
        )?;
        position += 1;
    }
    for node in &run.kept {
        t.execute(
            "INSERT INTO run_node (run, position, pipeline, node, outcome, target_bytes, target_modified) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                number,
                position,
                node.node.pipeline,
                node.node.name,
                if node.is_success() { Some(KEPT) } else { node.outcome.as_deref() },
                node.target_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
                node.target_modified.map(|at| at.to_string()),
            ],
        )?;
        position += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
