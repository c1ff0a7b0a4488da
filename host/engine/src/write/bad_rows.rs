//! Rows of files that could not be understood: counted, and where the project asks for it, written to a file of their
//! own for each input, with file, line and reason.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use jiff::Timestamp;
use odibi_plan::plan::{OnBadRow, Quarantine as Wanted, WriteFormat};
use odibi_story::event::{RejectionFact, UnreadFact};
use odibi_story::failure::{Failure, FailureClass, code};

use super::WriteTable;
use crate::failure::{During, classify, internal};
use crate::limits::{QUARANTINE_ROWS_MAX, REASONS_MAX, ROWS_NAMED_MAX};
use crate::read::BadRows;
use crate::store::{Purpose, Stores, Upload, normal};

const UTC: &str = "UTC";

/// Files that are to be published, and what is to be told.
type Ended = (Vec<Box<dyn Upload>>, Vec<UnreadFact>);

/// The bad rows of all inputs of a node, in one attempt.
pub(crate) struct Unread {
    run_id: String,
    rejected_at: Timestamp,
    schema: SchemaRef,
    inputs: Vec<Input>,
}

struct Input {
    name: String,
    /// Where rows are written; otherwise they are counted.
    file: Option<BadFile>,
    rows: u64,
    reasons: Vec<RejectionFact>,
    rows_of_other_reasons: u64,
}

struct BadFile {
    staged: Box<dyn Upload>,
    format: WriteFormat,
    /// From the first row on.
    writer: Option<Box<dyn WriteTable>>,
}

impl Unread {
    /// Makes sure that there is a place for what is to be written. `inputs` are the names of all inputs, and what
    /// becomes of their bad rows.
    pub(crate) fn open<'a>(
        inputs: impl Iterator<Item = (&'a str, OnBadRow)>,
        wanted: Option<&Wanted>,
        stores: &Stores,
        run_id: &str,
        rejected_at: Timestamp,
    ) -> Result<Self, Failure> {
        let file = |name: &str| -> Result<BadFile, Failure> {
            let wanted = wanted.ok_or_else(|| internal("bad rows have no place to go"))?;
            let store = stores.open(&wanted.connection, Purpose::Write)?;
            let (dir, extension) = (&wanted.path, wanted.format.extension());
            let path = normal(
                &format!("{dir}/{run_id}-read-{name}.{extension}"),
                Purpose::Write,
            )?;
            Ok(BadFile {
                staged: store.create_swept(&path, &format!("{dir}-read-{name}"))?,
                format: wanted.format.clone(),
                writer: None,
            })
        };
        let inputs = inputs
            .map(|(name, on_bad_row)| {
                Ok(Input {
                    name: name.to_owned(),
                    file: match on_bad_row {
                        OnBadRow::Fail | OnBadRow::Skip => None,
                        OnBadRow::Quarantine => Some(file(name)?),
                    },
                    rows: 0,
                    reasons: Vec::new(),
                    rows_of_other_reasons: 0,
                })
            })
            .collect::<Result<_, Failure>>()?;
        let field = |name: &str, data_type| Field::new(name, data_type, false);
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
        Ok(Self {
            run_id: run_id.to_owned(),
            rejected_at,
            schema: Arc::new(Schema::new(vec![
                field("_file", DataType::Utf8),
                field("_line", DataType::Int64),
                field("_text", DataType::Utf8),
                field("_rejection_reason", DataType::Utf8),
                field("_rejected_at", time),
                field("_source_batch_id", DataType::Utf8),
            ])),
            inputs,
        })
    }

    /// Takes rows of an input.
    pub(crate) fn add(&mut self, input: usize, bad: &BadRows) -> Result<(), Failure> {
        let (schema, run_id) = (Arc::clone(&self.schema), self.run_id.clone());
        let time = self.rejected_at.as_microsecond();
        let Some(input) = self.inputs.get_mut(input) else {
            return Err(internal("an input without a place for bad rows has some"));
        };
        input.count(bad);
        let Some(file) = &mut input.file else {
            return Ok(());
        };
        if input.rows > QUARANTINE_ROWS_MAX {
            let message = format!("too many rows of `{}` cannot be understood", bad.path);
            return Err(
                Failure::new(FailureClass::Limit, code::READ_TOO_LARGE, message)
                    .of_limit("bad-rows", QUARANTINE_ROWS_MAX, input.rows)
                    .hint("check `delimiter`, `quote`, `encoding` and `schema` of the read"),
            );
        }
        let rows = &bad.rows;
        let line = |line: u64| i64::try_from(line).unwrap_or(i64::MAX);
        let texts = |texts: Vec<&str>| Arc::new(StringArray::from(texts)) as ArrayRef;
        let columns: Vec<ArrayRef> = vec![
            texts(rows.iter().map(|_| bad.path.as_str()).collect()),
            Arc::new(Int64Array::from_iter_values(
                rows.iter().map(|r| line(r.line)),
            )),
            texts(rows.iter().map(|r| r.text.as_str()).collect()),
            texts(rows.iter().map(|r| r.what.as_str()).collect()),
            Arc::new(TimestampMicrosecondArray::from(vec![time; rows.len()]).with_timezone(UTC)),
            texts(rows.iter().map(|_| run_id.as_str()).collect()),
        ];
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns)
            .map_err(|e| classify(&e, During::Run))?;
        let writer = match &mut file.writer {
            Some(writer) => writer,
            None => file.writer.insert(super::begin(
                &file.format,
                &schema,
                file.staged.writer()?,
                file.staged.shown(),
            )?),
        };
        writer.write(&batch)
    }

    /// Ends the files; those without rows are gone.
    pub(crate) fn finish(self) -> Result<Ended, Failure> {
        let (mut staged, mut facts) = (Vec::new(), Vec::new());
        for mut input in self.inputs {
            if input.rows == 0 {
                continue;
            }
            let mut fact = None;
            if let Some(mut file) = input.file {
                if let Some(writer) = file.writer.take() {
                    writer.finish()?;
                }
                fact = Some(file.staged.sync()?);
                staged.push(file.staged);
            }
            input
                .reasons
                .sort_by_key(|reason| std::cmp::Reverse(reason.rows));
            facts.push(UnreadFact {
                input: input.name,
                rows: input.rows,
                reasons: input.reasons,
                rows_of_other_reasons: input.rows_of_other_reasons,
                file: fact,
            });
        }
        Ok((staged, facts))
    }
}

impl Input {
    fn count(&mut self, bad: &BadRows) {
        self.rows += bad.rows.len() as u64;
        for row in &bad.rows {
            if let Some(fact) = self
                .reasons
                .iter_mut()
                .find(|fact| fact.message == row.what)
            {
                fact.rows += 1;
                if fact.rows_first.len() < ROWS_NAMED_MAX {
                    fact.rows_first.push(row.line);
                }
            } else if self.reasons.len() < REASONS_MAX {
                self.reasons.push(RejectionFact {
                    code: code::READ_BAD_ROW.name.to_owned(),
                    message: row.what.clone(),
                    rows: 1,
                    rows_first: vec![row.line],
                });
            } else {
                self.rows_of_other_reasons += 1;
            }
        }
    }
}
