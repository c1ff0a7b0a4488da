//! What differs, and the files that are made anew for it: rows of the table in their order, with those of the batch in the
//! places of those that they replace, and the new ones behind.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{Array as _, RecordBatch, new_null_array};
use arrow_ord::ord::make_comparator;
use arrow_schema::{Field, Schema, SchemaRef, SortOptions};
use datafusion::catalog::Session;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::PartitionStream;
use deltalake::delta_datafusion::SessionFallbackPolicy;
use deltalake::kernel::Action;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::logstore::LogStoreRef;
use deltalake::operations::merge::MergeMetrics;
use deltalake::operations::write::{SchemaMode, WriteBuilder};
use deltalake::parquet::basic::Compression;
use deltalake::parquet::file::properties::WriterProperties;
use deltalake::protocol::SaveMode;
use odibi_story::failure::{Failure, FailureClass, code};
use tokio::sync::mpsc::Sender;

use super::files::{FileRows, Stretch, projected};
use super::meet::{Extent, Met};
use super::places::{Spot, Window};
use super::{Large, Made};
use crate::failure::{During, Trouble, classify, internal};
use crate::withheld::Withheld;

/// Rows that go to the writer at once; it takes some of them ahead.
const SENT_ROWS_MAX: usize = 4_096;
/// Batches read ahead.
const QUEUE_BATCHES: usize = 2;
/// One part in so many of the memory holds open row groups, of all partitions together.
const OPEN_GROUPS_SHARE: usize = 8;
/// Encoded bytes of a row group.
const GROUP_BYTES_MAX: usize = 32 << 20;
/// The same where many partitions are open.
const GROUP_BYTES_MIN: usize = 1 << 20;
/// Partitions that new rows may open besides those of files that change.
const NEW_PARTITIONS: usize = 8;

/// Writes the files anew that change, and the new rows.
pub(super) async fn rewrite(large: Large, met: Met) -> Result<Made, Trouble> {
    let (changed, rows_updated) = if large.columns.updates {
        differing(&large, &met).await?
    } else {
        (Vec::new(), 0)
    };
    let number = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
    let mut metrics = MergeMetrics {
        num_source_rows: number(met.rows_batch),
        num_target_rows_inserted: number(met.rows_new),
        num_target_rows_updated: number(rows_updated),
        num_target_files_scanned: met.files.len(),
        num_target_files_removed: changed.len(),
        ..MergeMetrics::default()
    };
    if changed.is_empty() && met.rows_new == 0 && !large.columns.grows {
        return Ok(Made {
            actions: Vec::new(),
            metrics,
        });
    }
    let removed = changed
        .iter()
        .map(|file| met.files[*file].remove_action(true));
    let removed: Vec<Action> = removed.map(Action::from).collect();
    let rows_before: u64 = changed.iter().map(|file| met.extents[*file].rows).sum();
    metrics.num_target_rows_copied = number(rows_before.saturating_sub(rows_updated));
    metrics.num_output_rows = number(rows_before + met.rows_new);
    let mut actions = Plan::new(large, met, changed).write().await?;
    let added = actions
        .iter()
        .filter(|action| matches!(action, Action::Add(_)));
    metrics.num_target_files_added = added.count();
    actions.extend(removed);
    Ok(Made { actions, metrics })
}

/// The files in which a row differs from that of the batch, and how many rows that are.
async fn differing(large: &Large, met: &Met) -> Result<(Vec<usize>, u64), Failure> {
    let is_met = |file: &usize| met.extents[*file].is_met;
    let which: Vec<usize> = (0..met.files.len()).filter(is_met).collect();
    let compared = Compared::new(large);
    let mut rows = FileRows::new(large, &met.files, &which, Arc::clone(&compared.schema));
    let mut window = Window::new(large, &met.matched);
    let mut read = Read::new(met);
    let (mut changed, mut updated) = (vec![false; met.files.len()], 0);
    while let Some(stretch) = rows.next().await? {
        for (place, rows) in read.pieces(&stretch, &window)? {
            let spots = window.within(place, rows.num_rows())?;
            let differ = compared.differ(&rows, place, &spots, &window)?;
            changed[stretch.file] |= differ > 0;
            updated += differ;
        }
    }
    read.check(&which)?;
    Ok((
        which.into_iter().filter(|file| changed[*file]).collect(),
        updated,
    ))
}

/// What was read of each file, which must be what was read of it before.
struct Read<'a> {
    extents: &'a [Extent],
    rows: Vec<u64>,
}

impl<'a> Read<'a> {
    fn new(met: &'a Met) -> Self {
        Self {
            extents: &met.extents,
            rows: vec![0; met.extents.len()],
        }
    }

    /// Rows with the place of the first of them, cut where the window must go on.
    fn pieces(
        &mut self,
        stretch: &Stretch,
        window: &Window<'_>,
    ) -> Result<Vec<(u64, RecordBatch)>, Failure> {
        let (all, extent) = (stretch.rows.num_rows(), self.extents[stretch.file]);
        let read = &mut self.rows[stretch.file];
        *read += all as u64;
        if *read > extent.rows {
            return Err(changed_meanwhile());
        }
        let mut pieces = Vec::new();
        let mut done = 0;
        while done < all {
            let place = extent.start + stretch.first + done as u64;
            let count = window.reach(place).min(all - done);
            pieces.push((place, stretch.rows.slice(done, count)));
            done += count;
        }
        Ok(pieces)
    }

    fn check(&self, files: &[usize]) -> Result<(), Failure> {
        let all = |file: &usize| self.rows[*file] == self.extents[*file].rows;
        if files.iter().all(all) {
            Ok(())
        } else {
            Err(changed_meanwhile())
        }
    }
}

fn changed_meanwhile() -> Failure {
    internal("a file of the table has not the rows that it had before")
}

/// Which columns are compared with which.
struct Compared {
    /// Columns of the table that are read.
    schema: SchemaRef,
    /// Of the table, and of the batch.
    pairs: Vec<(usize, usize)>,
    /// Columns of the batch that the table has not.
    added: Vec<usize>,
}

impl Compared {
    fn new(large: &Large) -> Self {
        let columns = &large.columns;
        let (mut names, mut pairs, mut added) = (Vec::new(), Vec::new(), Vec::new());
        for name in &columns.values {
            let Some((at, _)) = columns.batch.fields().find(name) else {
                continue;
            };
            if columns.table.fields().find(name).is_some() {
                pairs.push((names.len(), at));
                names.push(name);
            } else {
                added.push(at);
            }
        }
        if names.is_empty() {
            // Something has to be read to know the rows.
            names.extend(columns.keys.first());
        }
        Self {
            schema: projected(&columns.table, names.into_iter()),
            pairs,
            added,
        }
    }

    /// How many of the rows differ from those of the batch.
    fn differ(
        &self,
        rows: &RecordBatch,
        place: u64,
        spots: &[Spot],
        window: &Window<'_>,
    ) -> Result<u64, Failure> {
        if spots.is_empty() {
            return Ok(0);
        }
        let picks: Vec<(usize, usize)> = spots.iter().map(|spot| spot.pick()).collect();
        let mut differs = vec![false; spots.len()];
        for (of_table, of_batch) in &self.pairs {
            let own = window.column(*of_batch, None, &picks)?;
            let before = rows.column(*of_table);
            let compare = make_comparator(before.as_ref(), own.as_ref(), SortOptions::default());
            // What cannot be compared counts as different.
            let Ok(compare) = compare else {
                differs.fill(true);
                break;
            };
            for (at, (spot, differs)) in spots.iter().zip(&mut differs).enumerate() {
                *differs = *differs || compare(spot.row_behind(place), at).is_ne();
            }
        }
        for of_batch in &self.added {
            let own = window.column(*of_batch, None, &picks)?;
            for (at, differs) in differs.iter_mut().enumerate() {
                *differs = *differs || own.is_valid(at);
            }
        }
        Ok(differs.into_iter().filter(|differs| *differs).count() as u64)
    }
}

/// Where a column of the new files comes from.
struct Origin {
    of_table: Option<usize>,
    of_batch: Option<usize>,
}

/// All that is written.
struct Plan {
    large: Large,
    met: Met,
    /// Files that are made anew.
    changed: Vec<usize>,
    schema: SchemaRef,
    origins: Vec<Origin>,
}

impl Plan {
    fn new(large: Large, met: Met, changed: Vec<usize>) -> Arc<Self> {
        let (table, batch) = (&large.columns.table, &large.columns.batch);
        let mut fields = table.fields().to_vec();
        let is_new = |field: &&Arc<Field>| table.fields().find(field.name()).is_none();
        fields.extend(batch.fields().iter().filter(is_new).map(Arc::clone));
        let at = |schema: &Schema, name: &str| schema.fields().find(name).map(|(at, _)| at);
        let origins = fields.iter().map(|field| Origin {
            of_table: at(table, field.name()),
            of_batch: at(batch, field.name()),
        });
        Arc::new(Self {
            origins: origins.collect(),
            schema: Arc::new(Schema::new(fields)),
            large,
            met,
            changed,
        })
    }

    /// Writes the files. What would be committed comes back.
    async fn write(self: Arc<Self>) -> Result<Vec<Action>, Trouble> {
        let large = &self.large;
        let during = During::Write(&large.shown);
        let failed: Arc<Mutex<Option<Failure>>> = Arc::default();
        let stream = Rows {
            plan: Arc::clone(&self),
            failed: Arc::clone(&failed),
        };
        let rows = StreamingTable::try_new(Arc::clone(&self.schema), vec![Arc::new(stream)]);
        let rows = rows.and_then(|rows| large.context.read_table(Arc::new(rows)));
        let rows = rows.map_err(|e| classify(&e, during))?;
        let withheld = Arc::new(Withheld::new(large.table.log_store()));
        let log_store = Arc::clone(&withheld) as LogStoreRef;
        let snapshot = large.table.snapshot()?.snapshot().clone();
        let state: Arc<dyn Session> = Arc::new(large.context.state());
        let mut write = WriteBuilder::new(log_store, Some(snapshot))
            .with_input_plan(rows.into_unoptimized_plan())
            .with_save_mode(SaveMode::Append)
            .with_session_state(state)
            .with_session_fallback_policy(SessionFallbackPolicy::RequireSessionState)
            .with_writer_properties(self.writer_properties()?)
            .with_commit_properties(CommitProperties::default().with_max_retries(0));
        if large.columns.grows {
            write = write.with_schema_mode(SchemaMode::Merge);
        }
        let actions = withheld.actions(write.into_future()).await;
        let failure = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failure {
            Some(failure) => Err(failure.into()),
            None => Ok(actions?),
        }
    }

    /// Row groups that are open at the same time fit into a part of the memory.
    fn writer_properties(&self) -> Result<WriterProperties, Trouble> {
        let state = self.large.table.snapshot()?;
        let mut open = 1;
        if !state.metadata().partition_columns().is_empty() {
            let partitions = self.changed.iter().map(|file| {
                let values = self.met.files[*file].partition_values_map();
                values.into_iter().collect::<BTreeSet<_>>()
            });
            open = partitions.collect::<BTreeSet<_>>().len() + NEW_PARTITIONS;
        }
        let bytes = self.large.memory_bytes_max / OPEN_GROUPS_SHARE / open;
        let bytes = bytes.clamp(GROUP_BYTES_MIN, GROUP_BYTES_MAX);
        Ok(WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_bytes(Some(bytes))
            .build())
    }

    /// Sends all rows.
    async fn send(&self, to: &Sender<PlanResult<RecordBatch>>) -> Result<(), Failure> {
        let (large, met) = (&self.large, &self.met);
        let table = SchemaRef::clone(&large.columns.table);
        let mut rows = FileRows::new(large, &met.files, &self.changed, table);
        let mut window = Window::new(large, &met.matched);
        let mut read = Read::new(met);
        while let Some(stretch) = rows.next().await? {
            for (place, rows) in read.pieces(&stretch, &window)? {
                let spots = window.within(place, rows.num_rows())?;
                let rows = self.replaced(&rows, place, &spots, &window)?;
                if !sent(to, &rows).await {
                    return Ok(());
                }
            }
        }
        read.check(&self.changed)?;
        drop(window);
        let mut window = Window::new(large, &met.new);
        let mut part = 0;
        while window.enter(part)? {
            for spots in window.spots().chunks(SENT_ROWS_MAX) {
                large.check()?;
                let rows = self.new_rows(spots, &window)?;
                if !sent(to, &rows).await {
                    return Ok(());
                }
            }
            part += 1;
        }
        Ok(())
    }

    /// Rows of the table, with those of the batch in the places of theirs.
    fn replaced(
        &self,
        rows: &RecordBatch,
        place: u64,
        spots: &[Spot],
        window: &Window<'_>,
    ) -> Result<RecordBatch, Failure> {
        let count = rows.num_rows();
        let mut picks: Vec<(usize, usize)> = (0..count).map(|row| (0, row)).collect();
        // The same where the table has no such column, but one null.
        let mut nulls: Vec<(usize, usize)> = vec![(0, 0); count];
        for spot in spots {
            let (chunk, row) = spot.pick();
            picks[spot.row_behind(place)] = (chunk + 1, row);
            nulls[spot.row_behind(place)] = (chunk + 1, row);
        }
        let columns = self.origins.iter().zip(self.schema.fields());
        let columns = columns.map(|(origin, field)| {
            let of_batch = origin.of_batch.filter(|_| !spots.is_empty());
            Ok(match (origin.of_table, of_batch) {
                (Some(before), Some(own)) => {
                    window.column(own, Some(rows.column(before).as_ref()), &picks)?
                }
                (Some(before), None) => Arc::clone(rows.column(before)),
                (None, Some(own)) => {
                    let null = new_null_array(field.data_type(), 1);
                    window.column(own, Some(null.as_ref()), &nulls)?
                }
                (None, None) => new_null_array(field.data_type(), count),
            })
        });
        let columns = columns.collect::<Result<Vec<_>, Failure>>()?;
        self.batch(columns)
    }

    fn new_rows(&self, spots: &[Spot], window: &Window<'_>) -> Result<RecordBatch, Failure> {
        let picks: Vec<(usize, usize)> = spots.iter().map(|spot| spot.pick()).collect();
        let columns = self.origins.iter().zip(self.schema.fields());
        let columns = columns.map(|(origin, field)| match origin.of_batch {
            Some(own) => window.column(own, None, &picks),
            None => Ok(new_null_array(field.data_type(), spots.len())),
        });
        let columns = columns.collect::<Result<Vec<_>, Failure>>()?;
        self.batch(columns)
    }

    fn batch(&self, columns: Vec<arrow_array::ArrayRef>) -> Result<RecordBatch, Failure> {
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|e| {
            let message = "the batch has nulls where the Delta table allows none";
            Failure::new(FailureClass::Data, code::WRITE_BAD_VALUE, message).cause(e.to_string())
        })
    }
}

/// Sends rows in pieces; `false` when nobody takes them any more.
async fn sent(to: &Sender<PlanResult<RecordBatch>>, rows: &RecordBatch) -> bool {
    for start in (0..rows.num_rows()).step_by(SENT_ROWS_MAX) {
        let count = SENT_ROWS_MAX.min(rows.num_rows() - start);
        if to.send(Ok(rows.slice(start, count))).await.is_err() {
            return false;
        }
    }
    true
}

/// The rows of a plan, for DataFusion.
struct Rows {
    plan: Arc<Plan>,
    /// Why they did not all come: on the way, no more than its text is kept.
    failed: Arc<Mutex<Option<Failure>>>,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the merged rows")
    }
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.plan.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.plan.schema);
        let mut stream = RecordBatchReceiverStream::builder(schema, QUEUE_BATCHES);
        let to = stream.tx();
        let (plan, failed) = (Arc::clone(&self.plan), Arc::clone(&self.failed));
        stream.spawn_blocking(move || {
            let handle = plan.large.lent.handle.clone();
            handle.block_on(plan.send(&to)).map_err(|failure| {
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                *failed = Some(failure.clone());
                DataFusionError::External(Box::new(failure))
            })
        });
        stream.build()
    }
}
