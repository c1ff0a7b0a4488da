//! Between the executor and the drivers: which driver a format has, and both sides of it as the engine sees them.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use datafusion::execution::runtime_env::RuntimeEnv;
use odibi_plan::plan::{Connection, PlannedNode, Read, ReadFormat, Write, WriteFormat};
use odibi_run::port::{Cancel, MemoryBatchLog, Published, SessionContext};
use odibi_story::failure::{Failure, code};

use crate::Publish;
use crate::driver::{
    Batches, Driver, DriverBatch, DriverRows, DriverTable, DriverTarget, Lent, Place,
};
use crate::failure::{During, classify, internal, panic_text};
use crate::limits::{BATCH_ROWS_DEFAULT, STACK_BYTES};
use crate::prune::Bound;
use crate::read::Decode;
use crate::read::columns::{Filler, to_plain};
use crate::read::spool::SpoolDecoder;
use crate::store::{Purpose, Store, Stores, normal, with_nearest};
use crate::write::spool::Spool;

/// The drivers by the words of their formats, and what is lent to them.
#[derive(Debug, Clone)]
pub(crate) struct Drivers {
    pub(crate) by_format: Arc<BTreeMap<&'static str, Arc<dyn Driver>>>,
    pub(crate) lent: Lent,
}

impl Drivers {
    /// Opens the table of a read whose format has a driver; `None` for files.
    pub(crate) fn table(
        &self,
        read: &Read,
        stores: &Stores,
    ) -> Result<Option<Arc<dyn DriverTable>>, Failure> {
        let Some(word) = read_word(&read.format) else {
            return Ok(None);
        };
        let path = normal(&read.path, Purpose::Read)?;
        let store = stores.open(&read.connection, Purpose::Read)?;
        let place = place(stores, store.as_ref(), &read.connection, &path)?;
        let opened = self.driver(word)?.open(place, read, &self.lent);
        opened.map(Some).map_err(|failure| {
            let empty = store.children(&path).is_ok_and(|inside| inside.is_empty());
            if failure.code == code::READ_MISSING.name && empty {
                with_nearest(store.as_ref(), failure, &path)
            } else {
                failure
            }
        })
    }

    /// Opens the target of a write whose format has a driver; `None` for files.
    pub(crate) fn target(
        &self,
        write: &Write,
        stores: &Stores,
    ) -> Result<Option<Box<dyn DriverTarget>>, Failure> {
        let Some(word) = write_word(&write.format) else {
            return Ok(None);
        };
        let path = normal(&write.path, Purpose::Write)?;
        let store = stores.open(&write.connection, Purpose::Write)?;
        let place = place(stores, store.as_ref(), &write.connection, &path)?;
        self.driver(word)?
            .target(place, write, &self.lent)
            .map(Some)
    }

    fn driver(&self, word: &str) -> Result<&Arc<dyn Driver>, Failure> {
        let driver = self.by_format.get(word);
        driver.ok_or_else(|| internal(format!("no driver is registered for format `{word}`")))
    }
}

fn place(
    stores: &Stores,
    store: &dyn Store,
    connection: &Connection,
    path: &str,
) -> Result<Place, Failure> {
    Ok(Place {
        connection: connection.name.clone(),
        path: path.to_owned(),
        shown: store.shown(path),
        name: stores.name_of_place(connection, path)?,
        reach: store.reach()?,
    })
}

/// The columns of a table, outside of any run.
pub(crate) fn schema_of(
    driver: &Arc<dyn Driver>,
    read: &Read,
    project_dir: &Path,
) -> Result<SchemaRef, Failure> {
    let ask = || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|e| classify(&e, During::Run))?;
        let env: Arc<dyn Any + Send + Sync> = Arc::new(RuntimeEnv::default());
        let drivers = Drivers {
            by_format: Arc::new(BTreeMap::from([(driver.format(), Arc::clone(driver))])),
            lent: Lent::new(
                runtime.handle().clone(),
                Cancel::default(),
                Arc::new(MemoryBatchLog::default()),
                std::env::temp_dir(),
                BATCH_ROWS_DEFAULT,
                env,
            ),
        };
        let stores = Stores::new(project_dir, std::env::temp_dir());
        let table = drivers.table(read, &stores)?;
        let table = table.ok_or_else(|| internal("a format has a driver and no table"))?;
        Ok(Arc::clone(table.schema()))
    };
    // A driver waits on its own runtime, which cannot be done on a thread of another one.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("odibi-columns".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, ask)
            .map_err(|e| classify(&e, During::Run))?;
        let asked = thread.join();
        asked.unwrap_or_else(|panic| {
            Err(internal("the driver panicked").cause(panic_text(panic.as_ref())))
        })
    })
}

/// Word of a format that has a driver.
pub(crate) fn read_word(format: &ReadFormat) -> Option<&'static str> {
    match format {
        ReadFormat::Csv(_)
        | ReadFormat::Json(_)
        | ReadFormat::Parquet
        | ReadFormat::Arrow
        | ReadFormat::Avro => None,
        ReadFormat::Delta(_) => Some("delta"),
    }
}

/// As [`read_word`].
pub(crate) fn write_word(format: &WriteFormat) -> Option<&'static str> {
    match format {
        WriteFormat::Csv(_)
        | WriteFormat::Json(_)
        | WriteFormat::Parquet(_)
        | WriteFormat::Arrow(_) => None,
        WriteFormat::Delta(_) => Some("delta"),
    }
}

/// Reads a driver's table.
pub(crate) struct DriverDecoder {
    batches: Box<dyn Batches>,
    filler: Filler,
}

impl DriverDecoder {
    pub(crate) fn new(
        table: &dyn DriverTable,
        filler: Filler,
        bounds: &[Bound],
        batch_rows: usize,
    ) -> Result<Self, Failure> {
        let batches = table.scan(&filler.wanted(), bounds, batch_rows)?;
        Ok(Self { batches, filler })
    }
}

impl Decode for DriverDecoder {
    fn next(&mut self) -> Result<Option<arrow_array::RecordBatch>, Failure> {
        let Some(batch) = self.batches.next()? else {
            return Ok(None);
        };
        let schema = Arc::clone(self.filler.schema());
        let wanted = self.filler.wanted();
        let columns = batch.columns().iter().zip(wanted);
        let columns = columns
            .map(|(column, at)| to_plain(column, schema.field(at).data_type(), During::Run))
            .collect::<Result<Vec<_>, _>>()?;
        self.filler.fill(columns, batch.num_rows()).map(Some)
    }
}

/// A node's result in its spool.
#[derive(Debug)]
pub(crate) struct SpooledRows {
    pub(crate) spool: Arc<Spool>,
    pub(crate) count: u64,
}

impl DriverRows for SpooledRows {
    fn schema(&self) -> &SchemaRef {
        self.spool.schema()
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn scan(&self) -> Result<Box<dyn Batches>, Failure> {
        let schema = self.spool.schema();
        let filler = Filler::new(schema, &vec![true; schema.fields().len()]);
        let decoder = SpoolDecoder::new(Arc::clone(&self.spool), filler)?;
        Ok(Box::new(Decoded(decoder)))
    }
}

struct Decoded(SpoolDecoder);

impl Batches for Decoded {
    fn next(&mut self) -> Result<Option<arrow_array::RecordBatch>, Failure> {
        self.0.next()
    }
}

/// The result of a node, as its driver gets it.
pub(crate) fn batch(
    node: &PlannedNode,
    slot: &str,
    context: &SessionContext,
    id: String,
    rows: SpooledRows,
) -> DriverBatch {
    DriverBatch {
        id,
        slot: slot.to_owned(),
        run_id: context.run_id.clone(),
        pipeline: node.pipeline.clone(),
        node: node.name.clone(),
        rows: Arc::new(rows),
    }
}

/// A target that a driver writes, as the engine publishes it.
#[derive(Debug)]
pub(crate) struct Driven(pub(crate) Box<dyn DriverTarget>);

impl Publish for Driven {
    fn publish(&mut self) -> Result<Published, Failure> {
        self.0.publish()
    }

    fn has_appeared(&self) -> bool {
        false
    }
}
