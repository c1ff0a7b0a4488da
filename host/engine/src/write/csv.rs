//! CSV after RFC 4180, with `\n` line ends. Null is the empty field; an empty text is written as `""`. So is the null of a
//! table of one column, where an empty line would be no row.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use arrow_array::{Array as _, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, SchemaRef};
use odibi_plan::plan::CsvWrite;
use odibi_story::failure::{Failure, FailureClass, code};

use super::WriteTable;
use super::packed::Packed;
use super::times::check_times;
use crate::failure::{During, classify};

/// Text collected before it goes to the file.
const TEXT_BYTES: usize = 64 * 1024;

/// Writes CSV.
pub(crate) struct CsvWriter {
    file: Packed,
    options: CsvWrite,
    shown: String,
    /// There is no other column.
    alone: bool,
    text: String,
    cell: String,
}

impl CsvWriter {
    /// Writes the header, when there is to be one.
    pub(crate) fn new(
        schema: &SchemaRef,
        file: BufWriter<File>,
        options: &CsvWrite,
        shown: &str,
    ) -> Result<Self, Failure> {
        for field in schema.fields() {
            if nested(field.data_type()) {
                let message = format!(
                    "CSV cannot hold column `{}` of type {}",
                    field.name(),
                    field.data_type()
                );
                return Err(Failure::new(
                    FailureClass::Data,
                    code::WRITE_UNSUPPORTED_TYPE,
                    message,
                )
                .hint("write Parquet or JSON lines, or drop the column"));
            }
        }
        let mut writer = Self {
            file: Packed::new(file, options.compression, shown)?,
            options: options.clone(),
            shown: shown.to_owned(),
            alone: schema.fields().len() == 1,
            text: String::new(),
            cell: String::new(),
        };
        if options.mark {
            writer.text.push('\u{feff}');
        }
        if options.header {
            for (index, field) in schema.fields().iter().enumerate() {
                writer.cell.clone_from(field.name());
                writer.put(index, false);
            }
            writer.end_row()?;
        }
        Ok(writer)
    }

    /// Appends the cell to the row.
    fn put(&mut self, index: usize, null: bool) {
        let options = &self.options;
        if index > 0 {
            self.text.push(char::from(options.delimiter));
        }
        // An empty line is no row to a reader.
        if null && !(self.alone && options.null_value.is_empty()) {
            self.text.push_str(&options.null_value);
            return;
        }
        let (delimiter, quote) = (options.delimiter, options.quote);
        let special = |b: u8| b == delimiter || b == quote || b == b'\n' || b == b'\r';
        // A byte order mark at the very start would be taken for one; a text that is nothing, or what null is written as,
        // would be taken for null by a reader that looks at quotes; some readers skip lines of space.
        let blank =
            self.cell.is_empty() || (self.alone && self.cell.chars().all(char::is_whitespace));
        if options.quote_all
            || blank
            || self.cell == options.null_value
            || self.cell.bytes().any(special)
            || self.cell.starts_with('\u{feff}')
        {
            let quote = char::from(quote);
            self.text.push(quote);
            for c in self.cell.chars() {
                if c == quote {
                    self.text.push(quote);
                }
                self.text.push(c);
            }
            self.text.push(quote);
        } else {
            self.text.push_str(&self.cell);
        }
    }

    fn end_row(&mut self) -> Result<(), Failure> {
        self.text.push('\n');
        if self.text.len() >= TEXT_BYTES {
            self.flush_text()
        } else {
            Ok(())
        }
    }

    fn flush_text(&mut self) -> Result<(), Failure> {
        let written = self.file.write_all(self.text.as_bytes());
        self.text.clear();
        written.map_err(|e| classify(&e, During::Write(&self.shown)))
    }
}

impl WriteTable for CsvWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        check_times(batch, &self.shown)?;
        let dates = self.options.date_format.clone();
        let options = cell_options(dates.as_deref());
        let formatters = batch
            .columns()
            .iter()
            .map(|c| ArrayFormatter::try_new(c.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| classify(&e, During::Write(&self.shown)))?;
        for row in 0..batch.num_rows() {
            for (index, (formatter, column)) in formatters.iter().zip(batch.columns()).enumerate() {
                let null = column.is_null(row) || column.data_type() == &DataType::Null;
                self.cell.clear();
                if !null {
                    let written = formatter.value(row).write(&mut self.cell);
                    // The message of the library may quote the value.
                    written.map_err(|_| {
                        bad_cell(&self.shown, batch.schema_ref().field(index).name())
                    })?;
                }
                self.put(index, null);
            }
            self.end_row()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        self.flush_text()?;
        self.file.finish(&self.shown)
    }
}

/// How values become text; `dates` is the format of dates and timestamps.
pub(crate) fn cell_options(dates: Option<&str>) -> FormatOptions<'_> {
    FormatOptions::new()
        .with_display_error(false)
        .with_date_format(dates)
        .with_datetime_format(dates)
        .with_timestamp_format(dates)
        .with_timestamp_tz_format(dates)
}

fn bad_cell(shown: &str, column: &str) -> Failure {
    let message =
        format!("cannot write `{shown}`: column `{column}` holds a value without a text form");
    Failure::new(FailureClass::Data, code::WRITE_BAD_VALUE, message)
}

fn nested(data_type: &DataType) -> bool {
    data_type.is_nested() && !matches!(data_type, DataType::RunEndEncoded(_, _))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::io::{Read as _, Seek as _};
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array,
        Int64Array, ListArray, NullArray, StringArray, TimestampMicrosecondArray,
        TimestampNanosecondArray, types::Int64Type,
    };

    use super::*;

    fn written(
        columns: Vec<(&str, ArrayRef)>,
        header: bool,
        delimiter: u8,
    ) -> Result<String, Failure> {
        let options = CsvWrite {
            header,
            delimiter,
            ..CsvWrite::default()
        };
        written_as(columns, &options)
    }

    fn written_as(columns: Vec<(&str, ArrayRef)>, options: &CsvWrite) -> Result<String, Failure> {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let out = BufWriter::new(file.try_clone().unwrap());
        let mut writer = Box::new(CsvWriter::new(&batch.schema(), out, options, "t.csv")?);
        writer.write(&batch)?;
        writer.finish()?;
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        Ok(text)
    }

    #[track_caller]
    fn check(column: impl arrow_array::Array + 'static, expected: &str) {
        let two: ArrayRef = Arc::new(Int64Array::from(vec![7; column.len()]));
        assert_eq!(
            written(vec![("a", Arc::new(column)), ("b", two)], false, b',').unwrap(),
            expected
        );
    }

    #[test]
    fn values_of_every_type_have_their_text() {
        check(
            StringArray::from(vec![
                Some("x"),
                None,
                Some(""),
                Some("a,b"),
                Some("q\"q"),
                Some("l\nl"),
            ]),
            "x,7\n,7\n\"\",7\n\"a,b\",7\n\"q\"\"q\",7\n\"l\nl\",7\n",
        );
        check(
            BooleanArray::from(vec![Some(true), None, Some(false)]),
            "true,7\n,7\nfalse,7\n",
        );
        check(
            Float64Array::from(vec![1.0, 0.1, f64::NAN, f64::INFINITY, 1e300]),
            "1.0,7\n0.1,7\nNaN,7\ninf,7\n1e300,7\n",
        );
        check(
            Date32Array::from(vec![0, -1]),
            "1970-01-01,7\n1969-12-31,7\n",
        );
        check(
            TimestampMicrosecondArray::from(vec![1, 1_000_000]),
            "1970-01-01T00:00:00.000001,7\n1970-01-01T00:00:01,7\n",
        );
        check(
            TimestampMicrosecondArray::from(vec![0]).with_timezone("UTC"),
            "1970-01-01T00:00:00Z,7\n",
        );
        check(
            TimestampNanosecondArray::from(vec![1]).with_timezone("+01:00"),
            "1970-01-01T01:00:00.000000001+01:00,7\n",
        );
        check(
            Decimal128Array::from(vec![12_345])
                .with_precision_and_scale(10, 2)
                .unwrap(),
            "123.45,7\n",
        );
        check(BinaryArray::from(vec![&b"\x00\xff"[..]]), "00ff,7\n");
        check(NullArray::new(2), ",7\n,7\n");
    }

    #[test]
    fn headers_delimiters_and_single_columns() {
        let one = |v: Vec<Option<&str>>| -> ArrayRef { Arc::new(StringArray::from(v)) };
        assert_eq!(
            written(vec![("a b", one(vec![None, Some("x")]))], true, b',').unwrap(),
            "a b\n\"\"\nx\n"
        );
        let both = vec![
            ("a;b", one(vec![Some("1,2")])),
            ("c", one(vec![Some("x;y")])),
        ];
        assert_eq!(
            written(both, true, b';').unwrap(),
            "\"a;b\";c\n1,2;\"x;y\"\n"
        );
        assert_eq!(
            written(vec![("a", one(vec![])), ("b", one(vec![]))], true, b',').unwrap(),
            "a,b\n"
        );
        let blank = one(vec![Some(" "), Some("\t"), Some(""), Some(" x"), None]);
        assert_eq!(
            written(vec![("s", Arc::clone(&blank))], true, b',').unwrap(),
            "s\n\" \"\n\"\t\"\n\"\"\n x\n\"\"\n"
        );
        let two = one(vec![Some("2"); 5]);
        assert_eq!(
            written(vec![("s", blank), ("t", two)], true, b',').unwrap(),
            "s,t\n ,2\n\t,2\n\"\",2\n x,2\n,2\n"
        );
        assert_eq!(
            written(vec![("s", one(vec![Some("x\u{feff}")]))], true, b',').unwrap(),
            "s\nx\u{feff}\n"
        );
    }

    #[test]
    fn options_are_obeyed() {
        let columns = || -> Vec<(&str, ArrayRef)> {
            vec![
                (
                    "t",
                    Arc::new(StringArray::from(vec![
                        Some("x"),
                        None,
                        Some("NA"),
                        Some("it's"),
                    ])),
                ),
                (
                    "d",
                    Arc::new(Date32Array::from(vec![Some(0), None, Some(31), Some(59)])),
                ),
            ]
        };
        let options = CsvWrite {
            quote: b'\'',
            null_value: "NA".into(),
            date_format: Some("%d.%m.%Y".into()),
            mark: true,
            ..CsvWrite::default()
        };
        assert_eq!(
            written_as(columns(), &options).unwrap(),
            "\u{feff}t,d\nx,01.01.1970\nNA,NA\n'NA',01.02.1970\n'it''s',01.03.1970\n"
        );
        // An empty text is none that is missing, whatever null is.
        let texts = || -> ArrayRef { Arc::new(StringArray::from(vec![Some(""), None])) };
        assert_eq!(
            written_as(vec![("s", texts())], &options).unwrap(),
            "\u{feff}s\n''\nNA\n"
        );
        assert_eq!(
            written_as(vec![("s", texts()), ("t", texts())], &options).unwrap(),
            "\u{feff}s,t\n'',''\nNA,NA\n"
        );
        let options = CsvWrite {
            quote_all: true,
            ..CsvWrite::default()
        };
        assert_eq!(
            written_as(columns(), &options).unwrap(),
            "\"t\",\"d\"\n\"x\",\"1970-01-01\"\n,\n\"NA\",\"1970-02-01\"\n\"it's\",\"1970-03-01\"\n"
        );
    }

    #[test]
    fn lists_and_dates_out_of_range_are_failures() {
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some([
            Some(1),
        ])]));
        assert_eq!(
            written(vec![("a", list)], true, b',').unwrap_err().code,
            "write/unsupported-type"
        );
        let far: ArrayRef = Arc::new(Date32Array::from(vec![i32::MAX]));
        assert_eq!(
            written(vec![("a", far)], true, b',').unwrap_err().code,
            "write/bad-value"
        );
    }
}
