//! A merge whose sides do not fit into memory: both are divided on disk by the hash of their keys, and the files that change
//! are made anew, row by row in their order. It is one commit, as [`crate::merge`] makes it.
//!
//! ```text
//! batch ─► by hash ─┐             ┌─► rows that meet one of the table, by its place ─► do they differ? ─► changed files ─┐
//!                   ├─► they meet ┤                                                                                     ├─► commit
//! table ─► by hash ─┘             └─► rows that meet none, in their order ─────────────────────────────► new rows ──────┘
//! ```
//! Of the table only keys go to disk, and only of files that may hold a key of the batch.

mod files;
mod meet;
mod places;
mod rewrite;

use arrow_schema::SchemaRef;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use datafusion::prelude::{DataFrame, SessionContext};
use deltalake::DeltaTable;
use deltalake::kernel::{Action, LogicalFileView, StructTypeExt as _};
use deltalake::operations::merge::MergeMetrics;
use odibi_engine::driver::Lent;
use odibi_plan::plan::NullKeys;
use odibi_story::failure::Failure;

use crate::failure::{Trouble, cancelled};
use crate::merge::Merge;

/// One part in so many of the memory may be taken by a merge in memory.
const IN_MEMORY_SHARE: u64 = 2;
/// A merge in memory holds the batch so many times: the rows, and what finds them.
const IN_MEMORY_COPIES: u64 = 2;
/// Encoded bytes become so many in memory, where nothing says how many rows there are.
const DECODED_RATIO: u64 = 4;
/// One part in so many of the memory holds the part of a batch that is worked on.
const PART_SHARE: usize = 8;
/// One part in so many of the memory collects rows for the disk; there are up to two such at a time.
const COLLECTED_SHARE: usize = 32;
/// More would not make the disk faster.
const COLLECTED_BYTES_MAX: usize = 8 << 20;
/// Less would write single rows.
const COLLECTED_BYTES_MIN: usize = 64 << 10;
/// Parts that rows are divided into, at most.
const PARTS_MAX: u64 = 4_096;
/// Bytes that a row takes besides its own: its place, and what finds it.
const ROW_BYTES: u64 = 96;

/// How large a batch is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Size {
    /// Bytes of a row of the batch, and so, about, of one of the table.
    fn width(self) -> u64 {
        (self.bytes / self.rows.max(1)).max(1)
    }
}

/// A merge that can be made on disk.
pub(crate) struct Large {
    lent: Lent,
    context: SessionContext,
    table: DeltaTable,
    /// The table, as messages show it.
    shown: String,
    size: Size,
    memory_bytes_max: usize,
    columns: Columns,
}

/// What [`Merge`] knows, owned.
struct Columns {
    keys: Vec<String>,
    /// A null equals a null.
    nulls_equal: bool,
    /// Rows of the table may change.
    updates: bool,
    /// Of the batch.
    batch: SchemaRef,
    /// Of the table.
    table: SchemaRef,
    /// Of the batch, without the keys.
    values: Vec<String>,
    /// The table gets columns.
    grows: bool,
}

/// What was made: files that are not in the log yet.
pub(crate) struct Made {
    /// Files to be added and removed; none when nothing of the table would change.
    pub(crate) actions: Vec<Action>,
    pub(crate) metrics: MergeMetrics,
}

impl Large {
    /// `None` when the memory has no bounds, or when only delta-rs can make the merge: change data has to be written, or
    /// columns are computed.
    pub(crate) fn new(
        lent: &Lent,
        context: &SessionContext,
        table: &DeltaTable,
        merge: &Merge<'_>,
        size: Size,
        shown: &str,
    ) -> Result<Option<Self>, Trouble> {
        let MemoryLimit::Finite(memory_bytes_max) =
            context.runtime_env().memory_pool.memory_limit()
        else {
            return Ok(None);
        };
        let state = table.snapshot()?;
        let generated = state.schema().get_generated_columns();
        let generated = generated.map_err(deltalake::DeltaTableError::from)?;
        let tells_changes = state.table_config().enable_change_data_feed == Some(true);
        let keys: Vec<String> = merge.keys.columns.iter().map(|k| k.name.clone()).collect();
        let is_there = |key: &String| merge.table_schema.fields().find(key).is_some();
        if !generated.is_empty() || (merge.updates && tells_changes) || !keys.iter().all(is_there) {
            return Ok(None);
        }
        Ok(Some(Self {
            lent: lent.clone(),
            context: context.clone(),
            table: table.clone(),
            shown: shown.to_owned(),
            size,
            memory_bytes_max,
            columns: Columns {
                keys,
                nulls_equal: merge.keys.null_keys == NullKeys::Equal,
                updates: merge.updates && merge.values().next().is_some(),
                batch: SchemaRef::clone(&merge.aligned.schema),
                table: SchemaRef::clone(merge.table_schema),
                values: merge.values().cloned().collect(),
                grows: !merge.aligned.added.is_empty(),
            },
        }))
    }

    /// The files that may hold a key of the batch, when a merge of the two would take too much memory.
    pub(crate) async fn files_beyond_memory(
        &self,
        rows: &DataFrame,
    ) -> Result<Option<Vec<LogicalFileView>>, Trouble> {
        let all = self.table.snapshot()?.log_data();
        if self.size.rows == 0 || self.fits_memory(all.iter()) {
            return Ok(None);
        }
        let files = self.files(rows).await?;
        Ok((!self.fits_memory(files.iter().cloned())).then_some(files))
    }

    /// The merge of delta-rs holds the batch and the rows of files for which nothing has changed so far.
    fn fits_memory(&self, files: impl Iterator<Item = LogicalFileView>) -> bool {
        let width = self.size.width();
        let bytes = files.map(|file| {
            let encoded = u64::try_from(file.size()).unwrap_or_default();
            match file.num_records() {
                Some(rows) => encoded.max(width.saturating_mul(rows as u64)),
                None => encoded.saturating_mul(DECODED_RATIO),
            }
        });
        let batch = self.size.bytes.saturating_mul(IN_MEMORY_COPIES);
        let needed = bytes.fold(batch, u64::saturating_add);
        needed <= self.memory_bytes_max as u64 / IN_MEMORY_SHARE
    }

    /// Merges. No file is in the log when it is over, and none is written when nothing would change.
    pub(crate) async fn make(
        self,
        rows: DataFrame,
        files: Vec<LogicalFileView>,
    ) -> Result<Made, Trouble> {
        let met = meet::meet(&self, rows, files).await?;
        rewrite::rewrite(self, met).await
    }

    fn check(&self) -> Result<(), Failure> {
        if self.lent.cancel.is_cancelled() {
            return Err(cancelled());
        }
        Ok(())
    }

    /// Memory that is taken, whether the pool has it or not: parts are small, and others then spill.
    fn reservation(&self) -> MemoryReservation {
        let consumer = MemoryConsumer::new("rows of a merge");
        consumer.register(&self.context.runtime_env().memory_pool)
    }

    /// Bytes of a part.
    fn part_bytes(&self) -> u64 {
        (self.memory_bytes_max / PART_SHARE).max(1) as u64
    }

    fn collected_bytes(&self) -> usize {
        let share = self.memory_bytes_max / COLLECTED_SHARE;
        share.clamp(COLLECTED_BYTES_MIN, COLLECTED_BYTES_MAX)
    }
}
