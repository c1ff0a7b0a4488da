//! JSON lines: one object for each row, nulls written out. JSON has no NaN and no infinity: they become null.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use arrow_array::RecordBatch;
use arrow_json::writer::{LineDelimited, Writer, WriterBuilder};
use odibi_story::failure::Failure;

use super::WriteTable;
use super::times::check_times;
use crate::failure::{During, classify};

/// Writes JSON lines.
pub(crate) struct JsonWriter {
    writer: Writer<BufWriter<File>, LineDelimited>,
    shown: String,
}

impl JsonWriter {
    pub(crate) fn new(file: BufWriter<File>, shown: &str) -> Self {
        let writer = WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, LineDelimited>(file);
        Self {
            writer,
            shown: shown.to_owned(),
        }
    }
}

impl WriteTable for JsonWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        check_times(batch, &self.shown)?;
        self.writer
            .write(batch)
            .map_err(|e| classify(&e, During::Write(&self.shown)))
    }

    fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        self.writer
            .finish()
            .map_err(|e| classify(&e, During::Write(&self.shown)))?;
        self.writer
            .get_mut()
            .flush()
            .map_err(|e| classify(&e, During::Write(&self.shown)))
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
        let mut writer = Box::new(JsonWriter::new(
            BufWriter::new(file.try_clone().unwrap()),
            "t",
        ));
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
        let mut writer = JsonWriter::new(BufWriter::new(tempfile::tempfile().unwrap()), "t");
        assert_eq!(writer.write(&batch).unwrap_err().code, "write/bad-value");
    }
}
