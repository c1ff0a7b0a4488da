//! JSON: one object for each row, on lines or in a list, nulls written out. JSON has no NaN and no infinity: they
//! become null.

use std::fs::File;
use std::io::BufWriter;

use arrow_array::RecordBatch;
use arrow_json::writer::{JsonArray, LineDelimited, Writer, WriterBuilder};
use odibi_plan::plan::{JsonLayout, JsonWrite};
use odibi_story::failure::Failure;

use super::WriteTable;
use super::packed::Packed;
use super::times::check_times;
use crate::failure::{During, classify};

/// Writes JSON.
pub(crate) struct JsonWriter {
    writer: Layout,
    shown: String,
}

enum Layout {
    Lines(Writer<Packed, LineDelimited>),
    Array(Writer<Packed, JsonArray>),
}

impl JsonWriter {
    pub(crate) fn new(
        file: BufWriter<File>,
        options: JsonWrite,
        shown: &str,
    ) -> Result<Self, Failure> {
        let builder = WriterBuilder::new().with_explicit_nulls(true);
        let packed = Packed::new(file, options.compression, shown)?;
        let writer = match options.layout {
            JsonLayout::Lines => Layout::Lines(builder.build(packed)),
            JsonLayout::Array => Layout::Array(builder.build(packed)),
        };
        Ok(Self {
            writer,
            shown: shown.to_owned(),
        })
    }
}

impl WriteTable for JsonWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        check_times(batch, &self.shown)?;
        let written = match &mut self.writer {
            Layout::Lines(writer) => writer.write(batch),
            Layout::Array(writer) => writer.write(batch),
        };
        written.map_err(|e| classify(&e, During::Write(&self.shown)))
    }

    fn finish(self: Box<Self>) -> Result<(), Failure> {
        let shown = self.shown;
        let fault = |e: arrow_schema::ArrowError| classify(&e, During::Write(&shown));
        let packed = match self.writer {
            Layout::Lines(mut writer) => {
                writer.finish().map_err(fault)?;
                writer.into_inner()
            }
            Layout::Array(mut writer) => {
                writer.finish().map_err(fault)?;
                writer.into_inner()
            }
        };
        packed.finish(&shown)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::io::{Read as _, Seek as _};
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, Date32Array, Decimal128Array, Float64Array, ListArray, StringArray,
        TimestampMicrosecondArray, types::Int64Type,
    };

    use super::*;

    #[track_caller]
    fn check(column: impl arrow_array::Array + 'static, expected: &str) {
        let column: ArrayRef = Arc::new(column);
        let batch = RecordBatch::try_from_iter_with_nullable([("a", column, true)]).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let out = BufWriter::new(file.try_clone().unwrap());
        let mut writer = Box::new(JsonWriter::new(out, JsonWrite::default(), "t").unwrap());
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, expected);
    }

    #[test]
    fn values_of_every_type_have_their_json() {
        check(
            StringArray::from(vec![Some("x\"\n"), None]),
            "{\"a\":\"x\\\"\\n\"}\n{\"a\":null}\n",
        );
        check(
            Float64Array::from(vec![1.5, f64::NAN]),
            "{\"a\":1.5}\n{\"a\":null}\n",
        );
        check(Date32Array::from(vec![0]), "{\"a\":\"1970-01-01\"}\n");
        check(
            TimestampMicrosecondArray::from(vec![1]),
            "{\"a\":\"1970-01-01T00:00:00.000001\"}\n",
        );
        check(
            TimestampMicrosecondArray::from(vec![0]).with_timezone("UTC"),
            "{\"a\":\"1970-01-01T00:00:00Z\"}\n",
        );
        check(
            Decimal128Array::from(vec![12_345])
                .with_precision_and_scale(10, 2)
                .unwrap(),
            "{\"a\":123.45}\n",
        );
        check(
            ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), None])]),
            "{\"a\":[1,null]}\n",
        );
    }

    #[test]
    fn a_date_out_of_range_is_a_failure_and_not_an_error_text() {
        let column: ArrayRef = Arc::new(Date32Array::from(vec![i32::MAX]));
        let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
        let out = BufWriter::new(tempfile::tempfile().unwrap());
        let mut writer = JsonWriter::new(out, JsonWrite::default(), "t").unwrap();
        assert_eq!(writer.write(&batch).unwrap_err().code, "write/bad-value");
    }
}
