//! What the tests of this crate share: batches in memory, a table in a directory, and the whole way from one to the other.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod faults;
mod histories;
mod large;
mod pool;
mod tables;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, LazyLock};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::SchemaRef;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use odibi_engine::driver::{Batches, Driver as _, DriverBatch, DriverRows, Lent, Place, Reach};
use odibi_plan::diagnostic::{FileId, Span};
use odibi_plan::plan::{
    ColumnName, Connection, ConnectionKind, DeltaRead, DeltaWrite, DuplicateKeys, Keys, NullKeys,
    Read, ReadFormat, TableVersion, TargetLayout, Write, WriteFormat, WriteMode,
};
use odibi_run::port::{BatchLog, Cancel, MemoryBatchLog};
use odibi_story::event::{WriteEffect, WriteFact};
use odibi_story::failure::Failure;
use tokio::runtime::{Builder, Runtime};

use crate::DeltaDriver;
use crate::columns::How;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
});

const NOWHERE: Span = Span {
    file: FileId(0),
    start: 0,
    end: 0,
};

/// Batches in memory.
#[derive(Debug)]
struct Rows(Vec<RecordBatch>);

impl DriverRows for Rows {
    fn schema(&self) -> &SchemaRef {
        self.0[0].schema_ref()
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|b| b.num_rows() as u64).sum()
    }

    fn scan(&self) -> Result<Box<dyn Batches>, Failure> {
        Ok(Box::new(Each(self.0.clone().into_iter())))
    }
}

struct Each(std::vec::IntoIter<RecordBatch>);

impl Batches for Each {
    fn next(&mut self) -> Result<Option<RecordBatch>, Failure> {
        Ok(self.0.next())
    }
}

/// Tests that are run twice: with merges in memory, and with such that go over the disk.
macro_rules! both {
    ($($name:ident)*) => {
        mod in_memory {
            $(#[test] fn $name() { super::$name(super::Bench::new); })*
        }
        mod on_disk {
            $(#[test] fn $name() { super::$name(super::Bench::on_disk); })*
        }
    };
}
use both;

/// A directory with one table in it, and what is remembered of its batches.
struct Bench {
    dir: tempfile::TempDir,
    log: Arc<dyn BatchLog>,
    memory_bytes_max: usize,
    /// What the pool says that it has.
    memory_bytes_told: usize,
    /// The most that was reserved.
    reserved_bytes: Arc<AtomicUsize>,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            log: Arc::new(MemoryBatchLog::default()),
            memory_bytes_max: 256 << 20,
            memory_bytes_told: 256 << 20,
            reserved_bytes: Arc::default(),
        }
    }

    /// Not even a row fits into the memory that a merge is told of.
    fn on_disk() -> Self {
        Self {
            memory_bytes_told: 64,
            ..Self::new()
        }
    }

    fn limit_memory(&mut self, bytes: usize) {
        (self.memory_bytes_max, self.memory_bytes_told) = (bytes, bytes);
    }

    fn table(&self) -> std::path::PathBuf {
        self.dir.path().join("t")
    }

    fn lent(&self) -> Lent {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool::Watched::new(self)))
            .build_arc()
            .unwrap();
        let scratch = self.dir.path().to_path_buf();
        let log = Arc::clone(&self.log);
        let handle = RUNTIME.handle().clone();
        Lent::new(handle, Cancel::default(), log, scratch, 1024, runtime)
    }

    fn place(&self) -> Place {
        Place {
            connection: "c".into(),
            path: "t".into(),
            shown: "c/t".into(),
            name: "t@c".into(),
            reach: Reach::Directory(File::open(self.dir.path()).unwrap().into()),
        }
    }

    fn write(
        &self,
        batch: &str,
        mode: &WriteMode,
        rows: RecordBatch,
    ) -> Result<WriteFact, Failure> {
        self.write_how(batch, mode, How::default(), &[], vec![rows])
    }

    fn write_how(
        &self,
        batch: &str,
        mode: &WriteMode,
        how: How,
        partition_by: &[&str],
        rows: Vec<RecordBatch>,
    ) -> Result<WriteFact, Failure> {
        let write = Write {
            connection: connection(),
            format: WriteFormat::Delta(DeltaWrite {
                overwrite_schema: how.overwrite,
            }),
            path: "t".into(),
            layout: TargetLayout::File,
            partition_by: partition_by.iter().map(|name| named(name)).collect(),
            mode: mode.clone(),
            schema_policy: Some(how.policy),
            span: NOWHERE,
        };
        let mut target = DeltaDriver.target(self.place(), &write, &self.lent())?;
        target.stage(DriverBatch {
            id: batch.into(),
            slot: format!("slot of {batch}"),
            run_id: format!("run of {batch}"),
            pipeline: "p".into(),
            node: "n".into(),
            rows: Arc::new(Rows(rows)),
        })?;
        Ok(target.publish()?.write.unwrap())
    }

    fn read_at(&self, at: TableVersion) -> Result<Vec<RecordBatch>, Failure> {
        let read = Read {
            connection: connection(),
            format: ReadFormat::Delta(DeltaRead { at }),
            path: "t".into(),
            options: odibi_plan::plan::ReadOptions::default(),
            sensitive: odibi_plan::plan::Marks::None,
            writers: Vec::new(),
            span: NOWHERE,
        };
        let table = DeltaDriver.open(self.place(), &read, &self.lent())?;
        let columns: Vec<usize> = (0..table.schema().fields().len()).collect();
        let mut batches = table.scan(&columns, 1024)?;
        let mut all = Vec::new();
        while let Some(batch) = batches.next()? {
            all.push(batch);
        }
        Ok(all)
    }

    /// `id:text` of every row, sorted.
    fn rows(&self) -> Vec<String> {
        sorted(&self.read_at(TableVersion::Latest).unwrap())
    }

    fn versions(&self) -> usize {
        let log = std::fs::read_dir(self.table().join("_delta_log")).unwrap();
        let names = log.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".json")).count()
    }

    /// Data files, in the log or not.
    fn data_files(&self) -> usize {
        fn count(dir: &Path) -> usize {
            let entries = std::fs::read_dir(dir).unwrap();
            let entries = entries.map(|entry| entry.unwrap().path());
            let count = |path: std::path::PathBuf| match path.is_dir() {
                true if path.ends_with("_delta_log") => 0,
                true => count(&path),
                false => 1,
            };
            entries.map(count).sum()
        }
        count(&self.table())
    }
}

fn sorted(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in batches {
        let ids = batch.column_by_name("id").unwrap();
        let texts = batch.column_by_name("t").unwrap();
        let ids = arrow_cast::cast(ids, &arrow_schema::DataType::Utf8).unwrap();
        let cell = |array: &ArrayRef, row: usize| {
            let array = array.as_any().downcast_ref::<StringArray>().unwrap();
            let null = arrow_array::Array::is_null(array, row);
            if null {
                "-".to_owned()
            } else {
                array.value(row).to_owned()
            }
        };
        for row in 0..batch.num_rows() {
            rows.push(format!("{}:{}", cell(&ids, row), cell(texts, row)));
        }
    }
    rows.sort();
    rows
}

fn connection() -> Connection {
    Connection {
        name: "c".into(),
        kind: ConnectionKind::Local {
            base_path: ".".into(),
        },
    }
}

fn named(name: &str) -> ColumnName {
    ColumnName {
        name: name.into(),
        span: NOWHERE,
    }
}

fn batch(rows: &[(Option<i64>, Option<&str>)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.0)));
    let texts: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|r| r.1)));
    RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("t", texts, true)]).unwrap()
}

fn few(rows: &[(i64, &'static str)]) -> RecordBatch {
    batch(
        &rows
            .iter()
            .map(|(id, t)| (Some(*id), Some(*t)))
            .collect::<Vec<_>>(),
    )
}

fn keys(null_keys: NullKeys, duplicate_keys: DuplicateKeys) -> Keys {
    Keys {
        columns: vec![named("id")],
        null_keys,
        duplicate_keys,
    }
}

fn upsert() -> WriteMode {
    WriteMode::Upsert(keys(NullKeys::Error, DuplicateKeys::Error))
}

fn once() -> WriteMode {
    WriteMode::AppendOnce(Some(keys(NullKeys::Error, DuplicateKeys::Error)))
}

#[track_caller]
fn effect(fact: &WriteFact, wanted: WriteEffect, inserted: u64, updated: u64) {
    assert_eq!(
        (fact.effect, fact.rows_inserted, fact.rows_updated),
        (wanted, inserted, updated),
        "{fact:?}"
    );
}
