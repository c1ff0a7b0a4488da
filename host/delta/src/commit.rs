//! One batch, one commit, once.
//!
//! Every commit carries two application transactions. One names the batch: where the table has it, the batch is in the
//! table, and nothing is written. It needs nothing but the table, lasts as long as the table, and no other run can take
//! it for its own. The other is the same for all writers of odibi and counts on, so that any two of their commits
//! exclude each other even where delta-rs would let both through.
//!
//! A commit is tried at the version after the one that was read, and at no other. When somebody else was faster, or
//! nobody knows what became of it, the table is loaded again and asked for the batch; if it is not there, the work is
//! done again from what the table is now.

use std::sync::Arc;
use std::time::Duration;

use arrow_schema::SchemaRef;
use chrono::Utc;
use datafusion::catalog::Session;
use datafusion::prelude::{DataFrame, SessionContext};
use deltalake::DeltaTable;
use deltalake::delta_datafusion::SessionFallbackPolicy;
use deltalake::kernel::Transaction;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::operations::merge::MergeMetrics;
use deltalake::operations::write::SchemaMode;
use deltalake::protocol::SaveMode;
use odibi_engine::driver::{DriverBatch, Lent};
use odibi_plan::plan::{ColumnName, Keys, WriteMode};
use odibi_run::port::{BatchRecord, BatchState, Published};
use odibi_story::event::{FileFact, WriteEffect, WriteFact};
use odibi_story::failure::{Failure, FailureClass, code};
use serde_json::Value;

use crate::batch::{Incoming, Measured, Single, frame, keyed};
use crate::columns::{Alignment, How, align};
use crate::failure::{During, Trouble, classify, conflict, internal, is_conflict};
use crate::large::{Large, Made, Size};
use crate::location::Location;
use crate::merge::Merge;
use crate::session::session;

/// Common to all writers of odibi.
const SERIAL_ID: &str = "odibi-serial";
/// How often a commit is tried against others.
const ROUNDS_MAX: u32 = 40;
/// Pause after the first round that was lost.
const PAUSE_MS_MIN: u64 = 10;
/// No pause is longer.
const PAUSE_MS_MAX: u64 = 500;

/// Everything about one commit.
#[derive(Debug)]
pub(crate) struct Commit<'a> {
    pub(crate) location: &'a Location,
    pub(crate) lent: &'a Lent,
    pub(crate) mode: &'a WriteMode,
    pub(crate) how: How,
    pub(crate) partition_by: &'a [ColumnName],
    pub(crate) batch: &'a DriverBatch,
    /// Columns of the batch as Delta keeps them.
    pub(crate) stored: &'a SchemaRef,
    /// What is known of its keys.
    pub(crate) single: Option<&'a Single>,
}

/// What a try did.
struct Done {
    table: DeltaTable,
    /// Rows of the batch that are left where one was chosen for each key.
    rows_kept: u64,
    rows_inserted: u64,
    rows_updated: u64,
}

impl Done {
    fn of(table: DeltaTable, metrics: &MergeMetrics) -> Self {
        Self {
            table,
            rows_kept: metrics.num_source_rows as u64,
            rows_inserted: metrics.num_target_rows_inserted as u64,
            rows_updated: metrics.num_target_rows_updated as u64,
        }
    }
}

impl Commit<'_> {
    /// Makes the batch visible, or finds that it is.
    pub(crate) async fn run(&self) -> Result<Published, Failure> {
        let before = format!("{}:{}", self.location.connection, self.location.path);
        self.lent.batch_log.adopt(&before, self.target())?;
        for round in 0..ROUNDS_MAX {
            let table = self.load().await?;
            let absent = self.settle(table.as_ref()).await?;
            if let Some(table) = &table
                && self.is_applied(table).await?
            {
                let fact = self.fact(
                    WriteEffect::AlreadyApplied,
                    table.version(),
                    table.version(),
                );
                return self.published(table, fact).await;
            }
            self.note_staged(table.as_ref())?;
            let before = table.as_ref().and_then(DeltaTable::version);
            let trouble = match self.attempt(table).await {
                Ok(done) => return self.finish(before, done, &absent).await,
                Err(trouble) => trouble,
            };
            if let Some(published) = self.after(before, &trouble, &absent).await? {
                return Ok(published);
            }
            match trouble {
                Trouble::Delta(error) if is_conflict(&error) => {}
                Trouble::Delta(error) => return Err(classify(&error, self.during())),
                Trouble::Failure(failure) => return Err(failure),
            }
            tokio::time::sleep(pause(round)).await;
        }
        Err(conflict(&self.location.shown))
    }

    fn during(&self) -> During<'_> {
        During::Write(&self.location.shown)
    }

    async fn load(&self) -> Result<Option<DeltaTable>, Failure> {
        self.location.load(self.during()).await
    }

    /// Name of the batch in the table. A replacement counts once for each run; a later run replaces again.
    fn app_id(&self) -> String {
        let DriverBatch {
            id,
            slot,
            pipeline,
            node,
            ..
        } = self.batch;
        match self.mode {
            WriteMode::Overwrite => format!("odibi/{pipeline}/{node}/{id}/{slot}"),
            WriteMode::Append | WriteMode::AppendOnce(_) | WriteMode::Upsert(_) => {
                format!("odibi/{pipeline}/{node}/{id}")
            }
        }
    }

    /// As the log of batches names the table.
    fn target(&self) -> &str {
        &self.location.name
    }

    async fn has(&self, table: &DeltaTable, app_id: &str) -> Result<bool, Failure> {
        let state = table.snapshot().map_err(|e| classify(&e, self.during()))?;
        let version = state
            .transaction_version(table.log_store().as_ref(), app_id)
            .await;
        let version = version.map_err(|e| classify(&e, self.during()))?;
        Ok(version.is_some())
    }

    /// Is the batch in the table? A merge that had nothing to change left no trace there, but in the log of batches.
    async fn is_applied(&self, table: &DeltaTable) -> Result<bool, Failure> {
        if self.has(table, &self.app_id()).await? {
            return Ok(true);
        }
        let known = self.lent.batch_log.find(self.target(), &self.log_id())?;
        Ok(known.is_some_and(|known| {
            known.state == BatchState::Committed && known.evidence == self.evidence(Some(table))
        }))
    }

    /// The log of batches keeps one record for each name in the table.
    fn log_id(&self) -> String {
        match self.mode {
            WriteMode::Overwrite => format!("{}/{}", self.batch.id, self.batch.slot),
            WriteMode::Append | WriteMode::AppendOnce(_) | WriteMode::Upsert(_) => {
                self.batch.id.clone()
            }
        }
    }

    /// Name of the batch in the table, and which table that is: another one may lie there since.
    fn evidence(&self, table: Option<&DeltaTable>) -> String {
        let id = table.and_then(|table| table.snapshot().ok());
        let id = id.map_or("new", |state| state.metadata().id());
        format!("{} {id}", self.app_id())
    }

    /// Batches that killed runs have left open: the table knows. Those that it does not hold are returned; a run that was
    /// only taken for dead may still make them appear, until somebody else commits.
    async fn settle(&self, table: Option<&DeltaTable>) -> Result<Vec<String>, Failure> {
        let (log, target) = (&self.lent.batch_log, self.target());
        let mut absent = Vec::new();
        for open in log.pending(target)? {
            // What other pipelines have open is theirs: this run has no lease of them.
            if open.pipeline != self.batch.pipeline {
                continue;
            }
            let Some((app_id, _)) = open.evidence.rsplit_once(' ') else {
                continue;
            };
            let is_there = match table {
                Some(table) => self.has(table, app_id).await?,
                None => false,
            };
            if is_there {
                log.committed(target, &open.batch)?;
            } else if open.run_id == self.batch.run_id {
                log.aborted(target, &open.batch)?;
            } else {
                absent.push(open.batch);
            }
        }
        Ok(absent)
    }

    /// This batch was committed at the version after the one that did not hold these: whoever had made them ready from that
    /// version or an older one comes too late now, and has no lease to make them ready again.
    fn close(&self, absent: &[String]) {
        let (target, own) = (self.target(), self.log_id());
        for batch in absent.iter().filter(|batch| **batch != own) {
            // What is not noted is settled again by the next commit.
            let _ = self.lent.batch_log.aborted(target, batch);
        }
    }

    fn note_staged(&self, table: Option<&DeltaTable>) -> Result<(), Failure> {
        self.lent.batch_log.staged(&BatchRecord {
            target: self.target().to_owned(),
            batch: self.log_id(),
            run_id: self.batch.run_id.clone(),
            pipeline: self.batch.pipeline.clone(),
            node: self.batch.node.clone(),
            mode: self.mode.word().to_owned(),
            state: BatchState::Staged,
            rows: self.batch.rows.count(),
            evidence: self.evidence(table),
        })
    }

    async fn attempt(&self, table: Option<DeltaTable>) -> Result<Done, Trouble> {
        let context = session(self.lent, &self.location.shown)?;
        let Some(table) = table else {
            return self.create(&context).await;
        };
        let (mode, how) = (self.mode, self.how);
        let state = table.snapshot()?;
        let table_schema = state.snapshot().arrow_schema();
        let replaces = *mode == WriteMode::Overwrite;
        let aligned = if replaces && how.overwrite {
            Alignment {
                schema: Arc::clone(self.stored),
                added: Vec::new(),
                missing: Vec::new(),
            }
        } else {
            self.check_partitioning(state.metadata().partition_columns())?;
            align(
                self.stored,
                &table_schema,
                how.policy,
                replaces,
                &self.location.shown,
            )?
        };
        let own = self.partitions();
        let partitions = if replaces && how.overwrite && !own.is_empty() {
            own
        } else {
            state.metadata().partition_columns().to_vec()
        };
        let measured = Measured::default();
        let incoming = self.incoming(&aligned.schema, &partitions, &measured);
        if let Some(keys) = mode.keys() {
            let rows = self.keyed(&context, incoming, keys).await?;
            let merge = Merge {
                keys,
                updates: matches!(mode, WriteMode::Upsert(_)),
                aligned: &aligned,
                table_schema: &table_schema,
            };
            let size = Size {
                rows: self.batch.rows.count(),
                bytes: measured.bytes(),
            };
            return self.merge(table, rows, &merge, size, &context).await;
        }
        let rows = frame(&context, incoming).map_err(|e| classify(&e, self.during()))?;
        let schema_mode = if replaces && how.overwrite {
            Some(SchemaMode::Overwrite)
        } else if !aligned.added.is_empty() || !aligned.missing.is_empty() {
            Some(SchemaMode::Merge)
        } else {
            None
        };
        let properties = self.properties(table.version(), []);
        self.write(table, rows, &context, properties, schema_mode)
            .await
    }

    /// The batch with one row for each key. It has been looked at when it was staged, if not as a batch for this table.
    async fn keyed(
        &self,
        context: &SessionContext,
        incoming: Incoming<'_>,
        keys: &Keys,
    ) -> Result<DataFrame, Failure> {
        let known = self.single;
        match known.and_then(|single| single.frame(context, incoming)) {
            Some(rows) => rows.map_err(|e| classify(&e, self.during())),
            None => Ok(keyed(context, incoming, keys).await?.0),
        }
    }

    /// In memory, or on disk where that is too small, or turns out to be.
    async fn merge(
        &self,
        table: DeltaTable,
        rows: DataFrame,
        merge: &Merge<'_>,
        size: Size,
        context: &SessionContext,
    ) -> Result<Done, Trouble> {
        let version = table.version();
        let large = Large::new(
            self.lent,
            context,
            &table,
            merge,
            size,
            &self.location.shown,
        )?;
        let mut files = match &large {
            Some(large) => large.files_beyond_memory(&rows).await?,
            None => None,
        };
        if files.is_none() {
            let properties = self.properties(version, []);
            let merged = merge.run(table.clone(), rows.clone(), context, properties);
            let error = match merged.await {
                Ok((table, metrics)) => return Ok(Done::of(table, &metrics)),
                Err(error) => error,
            };
            let used_up = classify(&error, self.during()).code == code::RESOURCES_MEMORY.name;
            match &large {
                Some(large) if used_up => {
                    self.location.noted.sweep().await;
                    files = Some(large.files(&rows).await?);
                }
                Some(_) | None => return Err(error.into()),
            }
        }
        let (Some(large), Some(files)) = (large, files) else {
            return Err(internal("a merge has no way to go").into());
        };
        let Made { actions, metrics } = large.make(rows, files).await?;
        if actions.is_empty() {
            return Ok(Done::of(table, &metrics));
        }
        let told = [
            ("readVersion".to_owned(), Value::from(version)),
            (
                "operationMetrics".to_owned(),
                serde_json::to_value(&metrics).unwrap_or_default(),
            ),
        ];
        let state = table.snapshot()?;
        let commit = CommitBuilder::from(self.properties(version, told))
            .with_actions(actions)
            .build(Some(state), table.log_store(), merge.operation())
            .await?;
        let mut table = self.location.fresh()?;
        table.load_version(commit.version()).await?;
        Ok(Done::of(table, &metrics))
    }

    /// The first commit of a table, which takes place only where there is none.
    async fn create(&self, context: &SessionContext) -> Result<Done, Trouble> {
        let partitions = self.partitions();
        let measured = Measured::default();
        let incoming = self.incoming(self.stored, &partitions, &measured);
        let rows = match self.mode.keys() {
            Some(keys) => self.keyed(context, incoming, keys).await?,
            None => frame(context, incoming).map_err(|e| classify(&e, self.during()))?,
        };
        let table = self.location.fresh()?;
        self.write(table, rows, context, self.properties(None, []), None)
            .await
    }

    async fn write(
        &self,
        table: DeltaTable,
        rows: DataFrame,
        context: &SessionContext,
        properties: CommitProperties,
        schema_mode: Option<SchemaMode>,
    ) -> Result<Done, Trouble> {
        let is_new = table.version().is_none();
        let save_mode = match self.mode {
            _ if is_new => SaveMode::ErrorIfExists,
            WriteMode::Overwrite => SaveMode::Overwrite,
            WriteMode::Append | WriteMode::AppendOnce(_) | WriteMode::Upsert(_) => SaveMode::Append,
        };
        let state: Arc<dyn Session> = Arc::new(context.state());
        let mut write = table
            .write(Vec::new())
            .with_input_plan(rows.into_unoptimized_plan())
            .with_save_mode(save_mode)
            .with_session_state(state)
            .with_session_fallback_policy(SessionFallbackPolicy::RequireSessionState)
            .with_commit_properties(properties);
        let replaced = schema_mode == Some(SchemaMode::Overwrite);
        if let Some(schema_mode) = schema_mode {
            write = write.with_schema_mode(schema_mode);
        }
        if is_new || (replaced && !self.partition_by.is_empty()) {
            write = write.with_partition_columns(self.partitions());
        }
        let table = write.await?;
        let added = rows_added(&table).await.unwrap_or(self.batch.rows.count());
        Ok(Done {
            table,
            rows_kept: added,
            rows_inserted: added,
            rows_updated: 0,
        })
    }

    fn partitions(&self) -> Vec<String> {
        let columns = self.partition_by.iter();
        columns.map(|column| column.name.clone()).collect()
    }

    fn incoming<'a>(
        &'a self,
        schema: &'a SchemaRef,
        partitions: &'a [String],
        measured: &'a Measured,
    ) -> Incoming<'a> {
        Incoming {
            rows: &self.batch.rows,
            schema,
            partitions,
            shown: &self.location.shown,
            measured,
        }
    }

    fn check_partitioning(&self, actual: &[String]) -> Result<(), Failure> {
        let wanted = self.partition_by.iter().map(|column| &column.name);
        if self.partition_by.is_empty() || wanted.eq(actual) {
            return Ok(());
        }
        let message = if actual.is_empty() {
            format!(
                "the Delta table `{}` has no partitions",
                self.location.shown
            )
        } else {
            let names: Vec<String> = actual.iter().map(|name| format!("`{name}`")).collect();
            format!(
                "the Delta table `{}` is partitioned by {}",
                self.location.shown,
                names.join(", ")
            )
        };
        let failure = Failure::new(FailureClass::Data, code::WRITE_SCHEMA, message);
        Err(failure.hint("say the same in `partition_by`, or leave it out"))
    }

    /// Only at the version after `version`: with retries delta-rs would commit what was made from an older table. `more` is
    /// what the commit says of itself besides.
    fn properties(
        &self,
        version: Option<u64>,
        more: impl IntoIterator<Item = (String, Value)>,
    ) -> CommitProperties {
        let serial = version.map_or(0, |version| version + 1);
        let serial = i64::try_from(serial).unwrap_or(i64::MAX);
        let now = Some(Utc::now().timestamp_millis());
        let word = |text: &str| Value::String(text.to_owned());
        let own = [
            ("odibiBatch".to_owned(), word(&self.batch.id)),
            ("odibiRun".to_owned(), word(&self.batch.run_id)),
            ("odibiPipeline".to_owned(), word(&self.batch.pipeline)),
            ("odibiNode".to_owned(), word(&self.batch.node)),
            ("odibiMode".to_owned(), word(self.mode.word())),
        ];
        CommitProperties::default()
            .with_max_retries(0)
            .with_application_transactions(vec![
                Transaction::new_with_last_update(self.app_id(), 1, now),
                Transaction::new_with_last_update(SERIAL_ID, serial, now),
            ])
            .with_metadata(own.into_iter().chain(more))
    }

    /// After trouble: what the table says. `None` when the batch is not in it; its files are gone then.
    async fn after(
        &self,
        before: Option<u64>,
        trouble: &Trouble,
        absent: &[String],
    ) -> Result<Option<Published>, Failure> {
        let table = match self.load().await {
            Ok(table) => table,
            Err(unknown) => {
                let first = match trouble {
                    Trouble::Failure(failure) => failure.clone(),
                    Trouble::Delta(error) => classify(error, self.during()),
                };
                self.location.noted.keep();
                return Err(first.cause(format!(
                    "whether the batch is in the table could not be found out: {}",
                    unknown.message
                )));
            }
        };
        if let Some(table) = table
            && self.has(&table, &self.app_id()).await?
        {
            let fact = self.fact(WriteEffect::Published, before, table.version());
            self.location.noted.keep();
            self.close(absent);
            return self.published(&table, fact).await.map(Some);
        }
        self.location.noted.sweep().await;
        Ok(None)
    }

    async fn finish(
        &self,
        before: Option<u64>,
        done: Done,
        absent: &[String],
    ) -> Result<Published, Failure> {
        let after = done.table.version();
        let written = after != before;
        let effect = if written {
            WriteEffect::Published
        } else {
            WriteEffect::Unchanged
        };
        let mut fact = self.fact(effect, before, after);
        (fact.rows_inserted, fact.rows_updated) = (done.rows_inserted, done.rows_updated);
        let known = done
            .rows_kept
            .saturating_sub(done.rows_inserted + done.rows_updated);
        match self.mode {
            WriteMode::Upsert(_) => fact.rows_unchanged = known,
            WriteMode::AppendOnce(_) => fact.rows_present = known,
            WriteMode::Overwrite | WriteMode::Append => {}
        }
        fact.rows_duplicate = self.batch.rows.count().saturating_sub(done.rows_kept);
        if let Some(version) = after.filter(|_| written) {
            self.location.noted.keep();
            self.close(absent);
            (fact.files_added, fact.files_removed) =
                files(&done.table, version).await.unwrap_or_default();
        } else {
            self.location.noted.sweep().await;
        }
        self.published(&done.table, fact).await
    }

    fn fact(&self, effect: WriteEffect, before: Option<u64>, after: Option<u64>) -> WriteFact {
        WriteFact {
            mode: self.mode.word().to_owned(),
            batch: self.batch.id.clone(),
            effect,
            rows_inserted: 0,
            rows_updated: 0,
            rows_unchanged: 0,
            rows_present: 0,
            rows_duplicate: 0,
            files_added: 0,
            files_removed: 0,
            version_before: before.map(|version| version.to_string()),
            version_after: after.map(|version| version.to_string()),
            evidence: match effect {
                WriteEffect::Published | WriteEffect::AlreadyApplied => {
                    Some(format!("txn {}", self.app_id()))
                }
                WriteEffect::Unchanged => None,
            },
        }
    }

    async fn published(&self, table: &DeltaTable, fact: WriteFact) -> Result<Published, Failure> {
        // It is visible; when this cannot be noted, the next start asks the table.
        let _ = self.lent.batch_log.committed(self.target(), &self.log_id());
        let state = table.snapshot().map_err(|e| classify(&e, self.during()))?;
        let bytes = state.log_data().into_iter();
        let bytes = bytes
            .filter_map(|file| u64::try_from(file.size()).ok())
            .sum();
        let version = table
            .version()
            .ok_or_else(|| internal("a table without a version"))?;
        let modified = self.location.commit_time(table, version).await.ok();
        let modified = modified
            .and_then(|time| jiff::Timestamp::from_millisecond(time.timestamp_millis()).ok());
        Ok(Published {
            target: Some(FileFact {
                connection: self.location.connection.clone(),
                path: self.location.path.clone(),
                bytes,
                modified,
                version: None,
            }),
            write: Some(fact),
        })
    }
}

/// Rows of the files that the newest commit added, by their statistics.
async fn rows_added(table: &DeltaTable) -> Option<u64> {
    let entry = table
        .log_store()
        .read_commit_entry(table.version()?)
        .await
        .ok()??;
    let mut rows = 0;
    for line in entry.split(|byte| *byte == b'\n') {
        let action: Value = serde_json::from_slice(line).ok()?;
        if let Some(stats) = action.pointer("/add/stats") {
            let stats: Value = serde_json::from_str(stats.as_str()?).ok()?;
            rows += stats.get("numRecords")?.as_u64()?;
        }
    }
    Some(rows)
}

/// Files that a commit added and removed.
async fn files(table: &DeltaTable, version: u64) -> Option<(u64, u64)> {
    let entry = table.log_store().read_commit_entry(version).await.ok()??;
    let (mut added, mut removed) = (0, 0);
    for line in entry.split(|byte| *byte == b'\n') {
        if let Ok(Value::Object(action)) = serde_json::from_slice(line) {
            added += u64::from(action.contains_key("add"));
            removed += u64::from(action.contains_key("remove"));
        }
    }
    Some((added, removed))
}

/// Longer from round to round, and not the same for two processes.
fn pause(round: u32) -> Duration {
    let most = PAUSE_MS_MIN
        .saturating_mul(1 << round.min(10))
        .min(PAUSE_MS_MAX);
    let nanos = u64::from(Utc::now().timestamp_subsec_nanos());
    let mixed = (nanos ^ u64::from(std::process::id())).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    Duration::from_millis(most / 2 + mixed % most)
}
