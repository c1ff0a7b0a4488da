//! Batches and watermarks: what a project has written to its targets.
//!
//! Every change says by which lease it is made. When another run has taken the pipeline over meanwhile, the change is
//! refused: a run that slept through its own end writes nothing more.

use std::collections::BTreeMap;
use std::sync::Arc;

use odibi_run::port::{BatchLog, BatchRecord, BatchState, ORIGIN};
use odibi_story::failure::{Failure, FailureClass, code};
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use crate::db::{Fault, StateDb};
use crate::lease::lost;
use crate::port::Journal;

const STAGED: &str = "staged";
const COMMITTED: &str = "committed";
const ABORTED: &str = "aborted";
/// The environment of the run whose id follows.
const ENVIRONMENT: &str = "SELECT word FROM run_selection AS of JOIN run AS its ON its.number = of.run \
                           WHERE of.kind = 'environment' AND its.id =";
const COLUMNS: &str = "target, batch, run_id, pipeline, node, mode, state, rows, evidence";

/// The batches of one project, as one run sees and changes them.
#[derive(Debug)]
pub struct Batches {
    db: Arc<StateDb>,
    project: String,
    run_id: String,
    /// Of the leases that the run holds, by pipeline.
    epochs: BTreeMap<String, u64>,
}

impl Batches {
    /// For a run that holds the leases of these pipelines.
    #[must_use]
    pub fn new(
        db: Arc<StateDb>,
        project: impl Into<String>,
        run_id: impl Into<String>,
        epochs: BTreeMap<String, u64>,
    ) -> Self {
        Self {
            db,
            project: project.into(),
            run_id: run_id.into(),
            epochs,
        }
    }

    fn mark(
        &self,
        target: &str,
        batch: &str,
        state: &str,
        watermarks: &[(&str, &str)],
    ) -> Result<(), Failure> {
        self.db.write(|t| {
            let pipeline: Option<String> = t
                .query_row(
                    "SELECT pipeline FROM batch WHERE project = ?1 AND target = ?2 AND batch = ?3",
                    params![self.project, target, batch],
                    |row| row.get(0),
                )
                .optional()?;
            let Some(pipeline) = pipeline else {
                let message = format!("a batch of `{target}` was never staged");
                return Err(internal(message).into());
            };
            let epoch = self.fenced(t, &pipeline)?;
            t.execute(
                "UPDATE batch SET state = ?4, epoch = ?5 WHERE project = ?1 AND target = ?2 AND batch = ?3",
                params![self.project, target, batch, state, epoch],
            )?;
            for (key, value) in watermarks {
                t.execute(
                    "INSERT INTO watermark (project, key, value, run_id) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT DO UPDATE SET value = excluded.value, run_id = excluded.run_id",
                    params![self.project, key, value, self.run_id],
                )?;
            }
            Ok(())
        })
    }

    /// The epoch under which a pipeline may be changed, if this run still may.
    fn fenced(&self, transaction: &Transaction<'_>, pipeline: &str) -> Result<i64, Fault> {
        let Some(held) = self.epochs.get(pipeline) else {
            let message = format!("the run has no lease of pipeline `{pipeline}`");
            return Err(internal(message).into());
        };
        let held = i64::try_from(*held).unwrap_or(i64::MAX);
        let newest: Option<(i64, String)> = transaction
            .query_row(
                "SELECT epoch, run_id FROM lease WHERE project = ?1 AND pipeline = ?2",
                params![self.project, pipeline],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        match newest {
            Some((epoch, _)) if epoch == held => Ok(held),
            Some((_, run_id)) => Err(lost(pipeline, Some(&run_id)).into()),
            None => Err(internal(format!("the lease of pipeline `{pipeline}` is gone")).into()),
        }
    }
}

impl Journal for Batches {
    fn committed_with(
        &self,
        target: &str,
        batch: &str,
        watermarks: &[(&str, &str)],
    ) -> Result<(), Failure> {
        self.mark(target, batch, COMMITTED, watermarks)
    }

    fn watermark(&self, key: &str) -> Result<Option<String>, Failure> {
        self.db.read(|t| {
            let found = t
                .query_row(
                    "SELECT value FROM watermark WHERE project = ?1 AND key = ?2",
                    params![self.project, key],
                    |row| row.get(0),
                )
                .optional()?;
            Ok(found)
        })
    }
}

impl BatchLog for Batches {
    fn find(&self, target: &str, batch: &str) -> Result<Option<BatchRecord>, Failure> {
        self.db.read(|t| {
            let sql = format!(
                "SELECT {COLUMNS} FROM batch WHERE project = ?1 AND target = ?2 AND batch = ?3"
            );
            Ok(
                t.query_row(&sql, params![self.project, target, batch], record)
                    .optional()?,
            )
        })
    }

    fn pending(&self, target: &str) -> Result<Vec<BatchRecord>, Failure> {
        self.db.read(|t| {
            let sql = format!(
                "SELECT {COLUMNS} FROM batch WHERE project = ?1 AND target = ?2 AND state = '{STAGED}' \
                 ORDER BY batch"
            );
            let mut statement = t.prepare(&sql)?;
            let rows = statement.query_map(params![self.project, target], record)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    fn staged(&self, record: &BatchRecord) -> Result<(), Failure> {
        self.db.write(|t| {
            let epoch = self.fenced(t, &record.pipeline)?;
            t.execute(
                "INSERT OR REPLACE INTO batch \
                 (project, target, batch, run_id, pipeline, node, mode, state, rows, evidence, epoch) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                params![
                    self.project,
                    record.target,
                    record.batch,
                    record.run_id,
                    record.pipeline,
                    record.node,
                    record.mode,
                    STAGED,
                    i64::try_from(record.rows).unwrap_or(i64::MAX),
                    record.evidence,
                    epoch,
                ],
            )?;
            Ok(())
        })
    }

    fn committed(&self, target: &str, batch: &str) -> Result<(), Failure> {
        self.mark(target, batch, COMMITTED, &[])
    }

    fn aborted(&self, target: &str, batch: &str) -> Result<(), Failure> {
        self.mark(target, batch, ABORTED, &[])
    }

    fn observed(&self, seen: &BatchRecord, is_there: bool) -> Result<(), Failure> {
        let state = if is_there { COMMITTED } else { ABORTED };
        if self.epochs.contains_key(&seen.pipeline) {
            return self.mark(&seen.target, &seen.batch, state, &[]);
        }
        self.db.write(|t| {
            let sql = format!(
                "UPDATE batch SET state = ?4 WHERE project = ?1 AND target = ?2 AND batch = ?3 \
                 AND state = '{STAGED}' AND run_id = ?5 AND evidence = ?6"
            );
            let (target, batch, run_id) = (&seen.target, &seen.batch, &seen.run_id);
            t.execute(
                &sql,
                params![self.project, target, batch, state, run_id, seen.evidence],
            )?;
            Ok(())
        })
    }

    fn adopt(&self, before: &str, target: &str) -> Result<(), Failure> {
        let of_environment = format!(
            "project = ?1 AND target = ?2 AND batch != '{ORIGIN}' \
             AND (NOT EXISTS (SELECT 1 FROM run WHERE id = batch.run_id) \
             OR ({ENVIRONMENT} batch.run_id) IS ({ENVIRONMENT} ?3))"
        );
        let found = self.db.read(|t| {
            let sql = format!("SELECT EXISTS (SELECT 1 FROM batch WHERE {of_environment})");
            let found: bool =
                t.query_row(&sql, params![self.project, before, self.run_id], |r| {
                    r.get(0)
                })?;
            Ok(found)
        })?;
        if !found {
            return Ok(());
        }
        self.db.write(|t| {
            let sql = format!("UPDATE OR IGNORE batch SET target = ?4 WHERE {of_environment}");
            t.execute(&sql, params![self.project, before, self.run_id, target])?;
            // Whoever noted it last, batches of every environment refer to it.
            let sql = format!(
                "INSERT OR IGNORE INTO batch \
                 (project, target, batch, run_id, pipeline, node, mode, state, rows, evidence, epoch) \
                 SELECT project, ?3, batch, run_id, pipeline, node, mode, state, rows, evidence, epoch \
                 FROM batch WHERE project = ?1 AND target = ?2 AND batch = '{ORIGIN}'"
            );
            t.execute(&sql, params![self.project, before, target])?;
            Ok(())
        })
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<BatchRecord> {
    let state: String = row.get(6)?;
    Ok(BatchRecord {
        target: row.get(0)?,
        batch: row.get(1)?,
        run_id: row.get(2)?,
        pipeline: row.get(3)?,
        node: row.get(4)?,
        mode: row.get(5)?,
        // The table allows these three alone.
        state: match state.as_str() {
            COMMITTED => BatchState::Committed,
            ABORTED => BatchState::Aborted,
            _ => BatchState::Staged,
        },
        rows: u64::try_from(row.get::<_, i64>(7)?).unwrap_or(0),
        evidence: row.get(8)?,
    })
}

pub(crate) fn internal(message: String) -> Failure {
    Failure::new(FailureClass::Internal, code::INTERNAL_STATE, message)
}

#[cfg(test)]
mod tests;
