//! Between the executor and the drivers: which driver a format has, and both sides of it as the engine sees them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use odibi_plan::plan::{PlannedNode, Read, ReadFormat, Write, WriteFormat, WriteMode};
use odibi_run::port::{Operation, SessionContext};
use odibi_story::failure::{Failure, code};
use sha2::{Digest as _, Sha256};

use crate::driver::{
    Batches, Driver, DriverBatch, DriverRows, DriverTable, DriverTarget, Lent, Place,
};
use crate::failure::{During, classify, internal};
use crate::read::columns::{Filler, to_plain};
use crate::read::spool::SpoolDecoder;
use crate::read::{Decode, Table};
use crate::store::{Purpose, Stores, normal, with_nearest};
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
        let place = Place {
            connection: read.connection.name.clone(),
            shown: store.shown(&path),
            reach: store.reach()?,
            path: path.clone(),
        };
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
        let place = Place {
            connection: write.connection.name.clone(),
            shown: store.shown(&path),
            reach: store.reach()?,
            path,
        };
        self.driver(word)?
            .target(place, write, &self.lent)
            .map(Some)
    }

    fn driver(&self, word: &str) -> Result<&Arc<dyn Driver>, Failure> {
        let driver = self.by_format.get(word);
        driver.ok_or_else(|| internal(format!("no driver is registered for format `{word}`")))
    }
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
        batch_rows: usize,
    ) -> Result<Self, Failure> {
        let batches = table.scan(&filler.wanted(), batch_rows)?;
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
    tables: &[Arc<Table>],
    operations: &[Arc<dyn Operation>],
    rows: SpooledRows,
) -> Result<DriverBatch, Failure> {
    Ok(DriverBatch {
        id: batch_id(node, slot, tables, operations)?,
        slot: slot.to_owned(),
        run_id: context.run_id.clone(),
        pipeline: node.pipeline.clone(),
        node: node.name.clone(),
        rows: Arc::new(rows),
    })
}

/// Hash of what a batch comes from: never of clock, host or attempt.
fn batch_id(
    node: &PlannedNode,
    slot: &str,
    tables: &[Arc<Table>],
    operations: &[Arc<dyn Operation>],
) -> Result<String, Failure> {
    let mut hash = Sha256::new();
    let mut add = |part: &str| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(&node.pipeline);
    add(&node.name);
    if let Some(write) = &node.write {
        add(&write.connection.name);
        add(&write.path);
        add(write.mode.word());
        if write.mode == WriteMode::Append {
            add(slot);
        }
    }
    for table in tables {
        add(&table.identity()?);
    }
    for (step, operation) in node.steps.iter().zip(operations) {
        add(&operation.identity().digest);
        add(&step.operation.to_string());
        add(&step.params.value.to_string());
    }
    Ok(hex(&hash.finalize()))
}

/// Hash of a spool's bytes.
pub(crate) fn spool_digest(spool: &Spool) -> Result<String, Failure> {
    let mut hash = Sha256::new();
    let opened = std::fs::File::open(spool.path());
    let copied = opened.and_then(|mut file| {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match io::Read::read(&mut file, &mut buffer)? {
                0 => return Ok(()),
                n => hash.update(&buffer[..n]),
            }
        }
    });
    copied.map_err(|e: io::Error| classify(&e, During::Scratch))?;
    Ok(hex(&hash.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
