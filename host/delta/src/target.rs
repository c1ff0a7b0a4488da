//! A Delta table as a target: looked at before any work, checked against the batch, then committed.

use std::time::Duration;

use arrow_schema::SchemaRef;
use deltalake::DeltaTable;
use deltalake::kernel::transaction::PROTOCOL;
use odibi_engine::driver::{DriverBatch, DriverTarget, Lent, Place};
use odibi_plan::plan::{ColumnName, SchemaPolicy, Write, WriteFormat, WriteMode};
use odibi_run::port::Published;
use odibi_story::failure::{Failure, FailureClass, code};

use crate::batch::{Incoming, Measured, Single, keyed};
use crate::columns::{How, check_partitions, stored};
use crate::commit::Commit;
use crate::failure::{During, classify, internal};
use crate::location::Location;
use crate::session::session;

/// A table must remember its transactions as long as a batch may be tried again.
const MEMORY_DAYS_MIN: u64 = 7;
const DAY_S: u64 = 24 * 60 * 60;

#[derive(Debug)]
struct DeltaTarget {
    location: Location,
    lent: Lent,
    mode: WriteMode,
    how: How,
    partition_by: Vec<ColumnName>,
    staged: Option<Staged>,
}

/// A batch that waits to be published.
#[derive(Debug)]
struct Staged {
    batch: DriverBatch,
    /// Its columns as Delta keeps them.
    stored: SchemaRef,
    single: Option<Single>,
}

/// Looks at the table, if there is one: what can never be written is refused before any row is read.
pub(crate) fn open(
    place: Place,
    write: &Write,
    lent: &Lent,
) -> Result<Box<dyn DriverTarget>, Failure> {
    let WriteFormat::Delta(how) = &write.format else {
        return Err(internal("the driver of Delta was given another format"));
    };
    let location = Location::new(place)?;
    let during = During::Write(&location.shown);
    if let Some(table) = lent.handle.block_on(location.load(during))? {
        check_writable(&table, &write.mode, &location.shown)?;
    }
    Ok(Box::new(DeltaTarget {
        location,
        lent: lent.clone(),
        mode: write.mode.clone(),
        how: How {
            policy: write.schema_policy.unwrap_or(SchemaPolicy::STRICT),
            overwrite: how.overwrite_schema,
        },
        partition_by: write.partition_by.clone(),
        staged: None,
    }))
}

fn check_writable(table: &DeltaTable, mode: &WriteMode, shown: &str) -> Result<(), Failure> {
    let failed = |e: deltalake::DeltaTableError| classify(&e, During::Write(shown));
    let state = table.snapshot().map_err(failed)?;
    let snapshot = state.snapshot();
    PROTOCOL
        .can_write_to(snapshot)
        .map_err(|e| failed(e.into()))?;
    if matches!(mode, WriteMode::Overwrite | WriteMode::Upsert(_)) {
        let checked = PROTOCOL.check_append_only(snapshot);
        checked.map_err(|e| failed(e.into()))?;
    }
    let forgets = state.table_config().set_transaction_retention_duration;
    if forgets.is_some_and(|after| after < Duration::from_secs(MEMORY_DAYS_MIN * DAY_S)) {
        let message = format!(
            "the Delta table `{shown}` forgets within {MEMORY_DAYS_MIN} days which batches it holds"
        );
        return Err(
            Failure::new(FailureClass::Denied, code::WRITE_UNSUPPORTED_TABLE, message).hint(
                "remove its property `delta.setTransactionRetentionDuration`, or give it a longer time",
            ),
        );
    }
    Ok(())
}

impl DriverTarget for DeltaTarget {
    fn stage(&mut self, batch: DriverBatch) -> Result<(), Failure> {
        let shown = &self.location.shown;
        let stored = stored(batch.rows.schema())?;
        check_partitions(&self.partition_by, &stored, shown)?;
        let mut single = None;
        if let Some(keys) = self.mode.keys() {
            let context = session(&self.lent, shown)?;
            let incoming = Incoming {
                rows: &batch.rows,
                schema: &stored,
                partitions: &[],
                shown,
                measured: &Measured::default(),
            };
            let checked = keyed(&context, incoming, keys);
            (_, single) = self.lent.handle.block_on(checked)?;
        }
        self.staged = Some(Staged {
            batch,
            stored,
            single,
        });
        Ok(())
    }

    fn publish(&mut self) -> Result<Published, Failure> {
        let Some(staged) = self.staged.take() else {
            return Err(internal("nothing is staged for the Delta table"));
        };
        let commit = Commit {
            location: &self.location,
            lent: &self.lent,
            mode: &self.mode,
            how: self.how,
            partition_by: &self.partition_by,
            batch: &staged.batch,
            stored: &staged.stored,
            single: staged.single.as_ref(),
        };
        let _lock = self.location.lock();
        self.lent.handle.block_on(commit.run())
    }
}
