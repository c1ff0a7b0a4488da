//! Rows that steps failed on, each with why, in files of their own: one for each step that rejects any, named by the run.
//!
//! The files are staged as a target is: nobody sees them before they are published, and a step without rejected rows
//! leaves none.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use arrow_select::take::take_record_batch;
use jiff::Timestamp;
use odibi_plan::plan::{Quarantine as Wanted, WriteFormat};
use odibi_story::event::{QuarantineFact, RejectionFact};
use odibi_story::failure::Failure;

use super::WriteTable;
use crate::failure::{During, classify, internal};
use crate::limits::{REASONS_MAX, ROWS_NAMED_MAX};
use crate::read::columns::{plain_schema, to_plain};
use crate::reason::Reason;
use crate::store::{Purpose, Stores, Upload, normal};

/// Columns added behind those of the input. One that is there already is written with a further underscore in front.
const ADDED: [&str; 4] = [
    "_rejection_reason",
    "_rejected_at",
    "_source_batch_id",
    "_row",
];
const UTC: &str = "UTC";

/// Where the rejected rows of a node go in one attempt.
pub(crate) struct Quarantine {
    format: WriteFormat,
    run_id: String,
    rejected_at: Timestamp,
    /// By index of the step; `None` for one whose rows cannot be told.
    files: Vec<Option<StepFile>>,
}

/// The files, and what is known of them.
pub(crate) type Finished = (Vec<Box<dyn Upload>>, Vec<QuarantineFact>);

struct StepFile {
    staged: Box<dyn Upload>,
    /// Of the rows.
    plain: SchemaRef,
    /// With what is added.
    schema: SchemaRef,
    /// From the first rejected row on.
    writer: Option<Box<dyn WriteTable>>,
    rows: u64,
    reasons: Vec<RejectionFact>,
    rows_of_other_reasons: u64,
}

impl Quarantine {
    /// Makes sure that every step can write; `inputs` holds for each step the columns of the rows it may reject.
    pub(crate) fn open(
        wanted: &Wanted,
        stores: &Stores,
        run_id: &str,
        rejected_at: Timestamp,
        inputs: impl Iterator<Item = Option<SchemaRef>>,
    ) -> Result<Self, Failure> {
        let store = stores.open(&wanted.connection, Purpose::Write)?;
        let file = |(step, schema): (usize, Option<SchemaRef>)| {
            let open = |schema: SchemaRef| {
                let (dir, number) = (&wanted.path, step + 1);
                let extension = wanted.format.extension();
                let path = format!("{dir}/{run_id}-step-{number}.{extension}");
                let path = normal(&path, Purpose::Write)?;
                // Without the run, so that what a killed run has left goes with the next one.
                let sweep_key = format!("{dir}-step-{number}");
                let staged = store.create_swept(&path, &sweep_key)?;
                Ok(StepFile::new(staged, &schema))
            };
            schema.map(open).transpose()
        };
        Ok(Self {
            format: wanted.format.clone(),
            run_id: run_id.to_owned(),
            rejected_at,
            files: inputs.enumerate().map(file).collect::<Result<_, _>>()?,
        })
    }

    /// Takes rows of a batch: for each its number from 1 in the input of the step, its place in the batch, and why.
    pub(crate) fn add(
        &mut self,
        step: usize,
        batch: &RecordBatch,
        rows: &[(u64, usize, Reason)],
    ) -> Result<(), Failure> {
        let Some(Some(file)) = self.files.get_mut(step) else {
            return Err(internal("a step without a quarantine rejected rows"));
        };
        let rejected = file.with_reasons(batch, rows, &self.run_id, self.rejected_at)?;
        let writer = match &mut file.writer {
            Some(writer) => writer,
            None => file.writer.insert(super::begin(
                &self.format,
                &file.schema,
                file.staged.writer()?,
                file.staged.shown(),
            )?),
        };
        writer.write(&rejected)?;
        file.rows += rows.len() as u64;
        rows.iter()
            .for_each(|(row, _, reason)| file.count(*row, reason));
        Ok(())
    }

    /// Ends the files; those without rows are gone.
    pub(crate) fn finish(self) -> Result<Finished, Failure> {
        let (mut staged, mut facts) = (Vec::new(), Vec::new());
        for (step, file) in self.files.into_iter().enumerate() {
            let Some(mut file) = file else { continue };
            let Some(writer) = file.writer.take() else {
                continue;
            };
            writer.finish()?;
            file.reasons
                .sort_by_key(|reason| std::cmp::Reverse(reason.rows));
            facts.push(QuarantineFact {
                step,
                rows: file.rows,
                reasons: file.reasons,
                rows_of_other_reasons: file.rows_of_other_reasons,
                file: file.staged.sync()?,
            });
            staged.push(file.staged);
        }
        Ok((staged, facts))
    }
}

impl StepFile {
    fn new(staged: Box<dyn Upload>, input: &SchemaRef) -> Self {
        let plain = plain_schema(input);
        Self {
            staged,
            schema: with_added(&plain),
            plain,
            writer: None,
            rows: 0,
            reasons: Vec::new(),
            rows_of_other_reasons: 0,
        }
    }

    fn with_reasons(
        &self,
        batch: &RecordBatch,
        rows: &[(u64, usize, Reason)],
        run_id: &str,
        rejected_at: Timestamp,
    ) -> Result<RecordBatch, Failure> {
        let fault = |e| classify(&e, During::Run);
        let places = UInt64Array::from_iter_values(rows.iter().map(|(_, at, _)| *at as u64));
        let taken = take_record_batch(batch, &places).map_err(fault)?;
        let mut columns: Vec<ArrayRef> = taken
            .columns()
            .iter()
            .zip(self.plain.fields())
            .map(|(column, field)| to_plain(column, field.data_type(), During::Run))
            .collect::<Result<_, _>>()?;
        let times = vec![rejected_at.as_microsecond(); rows.len()];
        let numbers = rows
            .iter()
            .map(|(row, _, _)| i64::try_from(*row).unwrap_or(i64::MAX));
        columns.extend([
            Arc::new(StringArray::from_iter_values(
                rows.iter().map(|(_, _, reason)| reason.to_string()),
            )) as ArrayRef,
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone(UTC)),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|_| run_id))),
            Arc::new(Int64Array::from_iter_values(numbers)),
        ]);
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(fault)
    }

    fn count(&mut self, row: u64, reason: &Reason) {
        let same = |fact: &&mut RejectionFact| {
            fact.code == reason.code() && fact.message == reason.message()
        };
        if let Some(fact) = self.reasons.iter_mut().find(same) {
            fact.rows += 1;
            if fact.rows_first.len() < ROWS_NAMED_MAX {
                fact.rows_first.push(row);
            }
        } else if self.reasons.len() < REASONS_MAX {
            self.reasons.push(RejectionFact {
                code: reason.code().to_owned(),
                message: reason.message().to_owned(),
                rows: 1,
                rows_first: vec![row],
            });
        } else {
            self.rows_of_other_reasons += 1;
        }
    }
}

fn with_added(plain: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<FieldRef> = plain.fields().iter().map(Arc::clone).collect();
    let taken: HashSet<&str> = plain.fields().iter().map(|f| f.name().as_str()).collect();
    let types = [
        DataType::Utf8,
        DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        DataType::Utf8,
        DataType::Int64,
    ];
    for (name, data_type) in ADDED.into_iter().zip(types) {
        let mut name = name.to_owned();
        while taken.contains(name.as_str()) {
            name.insert(0, '_');
        }
        fields.push(Arc::new(Field::new(name, data_type, false)));
    }
    Arc::new(Schema::new(fields))
}
