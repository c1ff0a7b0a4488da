//! Runs and nodes as they are read back.

use jiff::Timestamp;
use odibi_story::event::NodeRef;
use odibi_story::failure::{Failure, FailureClass, code};
use rusqlite::{Params, Row, Transaction, params};

use super::{KEPT, RunSelection};
use crate::db::{Fault, StateDb};

/// A run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
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
    /// What guests saw as the clock.
    pub logical_time: Timestamp,
    /// Version of odibi.
    pub odibi_version: String,
    /// Process.
    pub pid: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, where that is known.
    pub ended_at: Option<Timestamp>,
    /// How it ended, or `crashed`; `None` while it runs.
    pub outcome: Option<String>,
    /// What the process exited with.
    pub exit_code: Option<u8>,
    /// Its pipelines.
    pub pipelines: Vec<String>,
}

/// A node of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecord {
    /// Which node.
    pub node: NodeRef,
    /// How it ended, or `kept`; `None` when that is not known.
    pub outcome: Option<String>,
    /// Attempts made.
    pub attempts: u32,
    /// How long it took.
    pub duration_ms: u64,
    /// Rows written to its target.
    pub rows_written: Option<u64>,
    /// Code of its failure.
    pub failure_code: Option<String>,
    /// Size of the file written.
    pub target_bytes: Option<u64>,
    /// When that file was modified.
    pub target_modified: Option<Timestamp>,
}

impl NodeRecord {
    /// True when what it made stands.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(
            self.outcome.as_deref(),
            Some("succeeded" | "recovered" | KEPT)
        )
    }
}

impl RunRecord {
    /// True when something of it is left to be done.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        !matches!(self.outcome.as_deref(), Some("succeeded" | "recovered"))
    }
}

/// Which runs are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter<'a> {
    /// Of this project.
    pub project: Option<&'a str>,
    /// With this pipeline.
    pub pipeline: Option<&'a str>,
    /// That failed, crashed or were cancelled.
    pub failed: bool,
    /// At most so many, the newest.
    pub count_max: Option<u32>,
}

impl StateDb {
    /// Runs, the newest first.
    ///
    /// # Errors
    /// The state cannot be used.
    pub fn runs(&self, filter: &RunFilter<'_>) -> Result<Vec<RunRecord>, Failure> {
        self.read(|t| {
            select(
                t,
                "(?1 IS NULL OR project = ?1) \
                 AND (?2 IS NULL OR EXISTS (SELECT 1 FROM run_pipeline WHERE run = number AND pipeline = ?2)) \
                 AND (NOT ?3 OR outcome IN ('failed', 'cancelled', 'crashed')) \
                 ORDER BY number DESC LIMIT ?4",
                params![
                    filter.project,
                    filter.pipeline,
                    filter.failed,
                    filter.count_max.map_or(-1, i64::from),
                ],
            )
        })
    }

    /// The run of an id, or of the beginning of one; `last` is the newest of the project.
    ///
    /// # Errors
    /// `state/no-run`; the state cannot be used.
    pub fn run(&self, project: &str, name: &str) -> Result<RunRecord, Failure> {
        let found = self.read(|t| {
            if name == "last" {
                let newest = "project = ?1 ORDER BY number DESC LIMIT 1";
                return select(t, newest, params![project]);
            }
            let begins = "substr(id, 1, length(?1)) = ?1 ORDER BY number DESC LIMIT 2";
            select(t, begins, params![name])
        })?;
        match <[RunRecord; 1]>::try_from(found) {
            Ok([run]) => Ok(run),
            Err(found) => Err(no_run(project, name, found.len())),
        }
    }

    /// The nodes of a run, in order; those that were kept come last.
    ///
    /// # Errors
    /// The state cannot be used.
    pub fn nodes(&self, run_id: &str) -> Result<Vec<NodeRecord>, Failure> {
        self.read(|t| {
            let mut statement = t.prepare(
                "SELECT pipeline, node, run_node.outcome, attempts, duration_ms, rows_written, failure_code, \
                 target_bytes, target_modified \
                 FROM run_node JOIN run ON run.number = run WHERE id = ?1 ORDER BY position",
            )?;
            let rows = statement.query_map(params![run_id], node)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

/// Why a name stands for no run: so many begin with it.
pub(crate) fn no_run(project: &str, name: &str, count: usize) -> Failure {
    let message = match count {
        0 if name == "last" => format!("project `{project}` has no run yet"),
        0 => format!("there is no run `{name}`"),
        _ => format!("more than one run begins with `{name}`"),
    };
    Failure::new(FailureClass::Missing, code::STATE_NO_RUN, message)
        .hint("`odibi runs list` shows the runs and their ids")
}

pub(super) fn select(
    t: &Transaction<'_>,
    condition: &str,
    params: impl Params,
) -> Result<Vec<RunRecord>, Fault> {
    let sql = format!(
        "SELECT id, project, config_path, config_digest, continues, logical_time_ns, odibi_version, pid, \
         started_at_ms, ended_at_ms, outcome, exit_code, number FROM run WHERE {condition}"
    );
    let mut statement = t.prepare(&sql)?;
    let rows = statement.query_map(params, |row| Ok((row.get(12)?, run(row)?)))?;
    let mut records: Vec<(i64, RunRecord)> = rows.collect::<Result<_, _>>()?;
    for (number, record) in &mut records {
        record.pipelines = words(
            t,
            "SELECT pipeline FROM run_pipeline WHERE run = ?1",
            params![*number],
        )?;
        let selected = |kind| {
            let sql = "SELECT word FROM run_selection WHERE run = ?1 AND kind = ?2";
            words(t, sql, params![*number, kind])
        };
        record.selection = RunSelection {
            pipelines: selected("pipeline")?,
            nodes: selected("node")?,
            tags: selected("tag")?,
            select: selected("select")?,
            exclude: selected("exclude")?,
            environment: selected("environment")?.pop(),
        };
    }
    Ok(records.into_iter().map(|(_, record)| record).collect())
}

fn words(t: &Transaction<'_>, sql: &str, params: impl Params) -> rusqlite::Result<Vec<String>> {
    let mut statement = t.prepare(sql)?;
    let rows = statement.query_map(params, |row| row.get(0))?;
    rows.collect()
}

fn run(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    let time = |ms: i64| Timestamp::from_millisecond(ms).unwrap_or_default();
    let logical: i64 = row.get(5)?;
    Ok(RunRecord {
        id: row.get(0)?,
        project: row.get(1)?,
        config_path: row.get(2)?,
        config_digest: row.get(3)?,
        selection: RunSelection::default(),
        continues: row.get(4)?,
        logical_time: Timestamp::from_nanosecond(logical.into()).unwrap_or_default(),
        odibi_version: row.get(6)?,
        pid: row.get(7)?,
        started_at: time(row.get(8)?),
        ended_at: row.get::<_, Option<i64>>(9)?.map(time),
        outcome: row.get(10)?,
        exit_code: row.get(11)?,
        pipelines: Vec::new(),
    })
}

pub(super) fn node(row: &Row<'_>) -> rusqlite::Result<NodeRecord> {
    let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
    Ok(NodeRecord {
        node: NodeRef {
            pipeline: row.get(0)?,
            name: row.get(1)?,
        },
        outcome: row.get(2)?,
        attempts: row.get(3)?,
        duration_ms: unsigned(row.get(4)?),
        rows_written: row.get::<_, Option<i64>>(5)?.map(unsigned),
        failure_code: row.get(6)?,
        target_bytes: row.get::<_, Option<i64>>(7)?.map(unsigned),
        target_modified: row
            .get::<_, Option<String>>(8)?
            .and_then(|text| text.parse().ok()),
    })
}
