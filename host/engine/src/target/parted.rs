//! A batch whose target has partitions: one file of the target's format for each of them, in the scratch directory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::take::take_record_batch;
use odibi_plan::plan::{ColumnName, Write};
use odibi_story::failure::Failure;
use tempfile::TempDir;

use super::source::{Dirs, Partition, Piece, check_partitions};
use super::spread::Spread;
use crate::failure::{During, classify};

/// The rows of a batch by partition.
#[derive(Debug)]
pub(crate) struct Parted {
    /// Holds the files, and goes with them.
    _dir: TempDir,
    parts: Vec<(PathBuf, Arc<Partition>)>,
}

impl Parted {
    /// Its files.
    pub(crate) fn pieces(&self) -> Vec<Piece> {
        let parts = self.parts.iter();
        parts
            .map(|(path, partition)| Piece::at(path, partition))
            .collect()
    }
}

/// Takes the rows of a batch.
pub(crate) struct Parter {
    write: Write,
    schema: SchemaRef,
    file_schema: SchemaRef,
    /// Columns of the batch that are in the files.
    kept: Vec<usize>,
    spread: Spread,
    partitions: HashMap<String, Arc<Partition>>,
    scratch: PathBuf,
    shown: String,
}

impl Parter {
    pub(crate) fn new(
        write: &Write,
        schema: &SchemaRef,
        scratch: &Path,
        shown: &str,
    ) -> Result<Self, Failure> {
        check_partitions(&write.partition_by, schema, shown)?;
        let (file_schema, kept) = file_columns(schema, &write.partition_by);
        // What the format cannot hold is refused before any row is made.
        let nothing = tempfile::tempfile_in(scratch).map_err(|e| classify(&e, During::Scratch))?;
        crate::write::begin(&write.format, &file_schema, nothing, shown)?;
        Ok(Self {
            write: write.clone(),
            schema: Arc::clone(schema),
            file_schema,
            kept,
            spread: Spread::new(scratch, shown)?,
            partitions: HashMap::new(),
            scratch: scratch.to_path_buf(),
            shown: shown.to_owned(),
        })
    }

    /// Takes rows of the whole schema.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let columns: Vec<(String, ArrayRef)> = self
            .write
            .partition_by
            .iter()
            .filter_map(|column| {
                let (at, _) = self.schema.column_with_name(&column.name)?;
                Some((column.name.clone(), Arc::clone(batch.column(at))))
            })
            .collect();
        let dirs = Dirs::new(&columns, &self.shown)?;
        // In the order of their first rows.
        let mut groups: Vec<(String, Vec<u32>)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for (row, number) in (0..batch.num_rows()).zip(0_u32..) {
            let dir = dirs.of(row)?;
            match places.get(&dir) {
                Some(at) => groups[*at].1.push(number),
                None => {
                    places.insert(dir.clone(), groups.len());
                    groups.push((dir, vec![number]));
                }
            }
        }
        let failed = |e| classify(&e, During::Run);
        let rows = batch.project(&self.kept).map_err(failed)?;
        for (dir, places) in groups {
            if !self.partitions.contains_key(&dir) {
                let partition = Partition::of_row(&columns, places[0], &dir)?;
                self.partitions.insert(dir.clone(), Arc::new(partition));
            }
            let some = take_record_batch(&rows, &UInt32Array::from(places)).map_err(failed)?;
            self.spread.push(&dir, some)?;
        }
        Ok(())
    }

    /// Writes a file for each partition. `note` goes into each, where the format has a place for it.
    pub(crate) fn finish(self, note: (&str, &str)) -> Result<Parted, Failure> {
        let dir = tempfile::Builder::new()
            .prefix("parts-")
            .tempdir_in(&self.scratch)
            .map_err(|e| classify(&e, During::Scratch))?;
        let mut parts = Vec::with_capacity(self.partitions.len());
        for (number, (name, rows)) in self.spread.finish()?.enumerate() {
            let path = dir.path().join(number.to_string());
            let file = std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)
                .map_err(|e| classify(&e, During::Scratch))?;
            let schema = &self.file_schema;
            let mut writer = crate::write::begin(&self.write.format, schema, file, &self.shown)?;
            writer.note(note.0, note.1);
            for rows in rows {
                writer.write(&rows?)?;
            }
            writer.finish()?;
            if let Some(partition) = self.partitions.get(&name) {
                parts.push((path, Arc::clone(partition)));
            }
        }
        Ok(Parted { _dir: dir, parts })
    }
}

/// The columns that are in the files, and which of the batch they are.
pub(crate) fn file_columns(
    schema: &SchemaRef,
    partition_by: &[ColumnName],
) -> (SchemaRef, Vec<usize>) {
    let is_kept = |name: &str| partition_by.iter().all(|column| column.name != name);
    let kept: Vec<usize> = (0..schema.fields().len())
        .filter(|at| is_kept(schema.field(*at).name()))
        .collect();
    let fields: Vec<_> = kept
        .iter()
        .map(|at| Arc::clone(&schema.fields()[*at]))
        .collect();
    (Arc::new(Schema::new(fields)), kept)
}
