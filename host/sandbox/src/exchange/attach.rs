//! Columns that never entered the sandbox come back to the rows that left it, from the host's own buffers.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, make_array,
};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer};
use arrow_data::ArrayData;
use arrow_schema::{ArrowError, DataType};
use arrow_select::filter::FilterBuilder;
use arrow_select::take::take;
use odibi_run::port::OperationPlan;
use odibi_story::failure::{Failure, FailureClass};

use super::decode::mismatch;
use super::schema::same_type;
use super::{broken, layout, values};
use crate::limits::{Limits, exceeded};

/// How emitted rows relate to the batch being processed, checked.
#[derive(Debug, PartialEq)]
pub(crate) enum Rows {
    /// All rows, in place.
    Same,
    /// A stretch of rows: offset and length.
    Stretch(usize, usize),
    /// Those whose bit is set, and how many.
    Kept(BooleanBuffer, usize),
    /// Any rows in any order.
    Any(Vec<u32>),
}

impl Rows {
    /// Classifies `picked`, whose every index must be below `rows`.
    ///
    /// # Errors
    /// `contract/rows`.
    pub(crate) fn picked(picked: Vec<u32>, rows: usize) -> Result<Self, Failure> {
        // Without an early end, so that the compiler can compare several at once.
        let ascending = picked
            .iter()
            .zip(picked.iter().skip(1))
            .fold(true, |so_far, (a, b)| so_far & (a < b));
        let highest = if ascending {
            picked.last().copied()
        } else {
            picked.iter().copied().max()
        };
        if let Some(index) = highest.filter(|i| *i as usize >= rows) {
            return Err(broken(
                "rows",
                format!("a picked row lies outside the batch of {rows} rows: {index}"),
            ));
        }
        Ok(match (ascending, picked.first(), picked.last()) {
            (true, Some(first), Some(last)) if (last - first) as usize + 1 == picked.len() => {
                if picked.len() == rows {
                    Self::Same
                } else {
                    Self::Stretch(*first as usize, picked.len())
                }
            }
            (true, Some(_), Some(_)) => Self::Kept(mask(&picked, rows), picked.len()),
            (true, _, _) => Self::Stretch(0, 0),
            (false, _, _) => Self::Any(picked),
        })
    }

    /// Classifies the `kept` rows of a batch of `rows` rows.
    ///
    /// # Errors
    /// `contract/rows`.
    pub(crate) fn kept(bitmap: Buffer, rows: usize) -> Result<Self, Failure> {
        check_bitmap_bytes(bitmap.len(), rows)?;
        let stray = bitmap.last().filter(|_| !rows.is_multiple_of(8));
        if stray.is_some_and(|last| last >> (rows % 8) != 0) {
            return Err(broken(
                "rows",
                format!("a bitmap of kept rows has bits set past the last of {rows} rows"),
            ));
        }
        let bits = BooleanBuffer::new(bitmap, 0, rows);
        let count = bits.count_set_bits();
        let first = bits.set_slices().next();
        Ok(match first {
            _ if count == rows => Self::Same,
            None => Self::Stretch(0, 0),
            Some((start, end)) if end - start == count => Self::Stretch(start, count),
            Some(_) => Self::Kept(bits, count),
        })
    }

    /// How many.
    pub(crate) fn len(&self, input_rows: usize) -> usize {
        match self {
            Self::Same => input_rows,
            Self::Stretch(_, length) => *length,
            Self::Kept(_, count) => *count,
            Self::Any(rows) => rows.len(),
        }
    }
}

/// Whether a bitmap has the length that these rows need.
///
/// # Errors
/// `contract/rows`.
pub(crate) fn check_bitmap_bytes(bytes: usize, rows: usize) -> Result<(), Failure> {
    let expected = rows.div_ceil(8);
    if bytes == expected {
        return Ok(());
    }
    let why = format!("a bitmap of kept rows must have {expected} bytes for {rows} rows: {bytes}");
    Err(broken("rows", why))
}

/// Builds a whole output batch from the emitted columns and the passed ones. Says as well how many bytes of the host's own
/// columns were copied for it.
///
/// # Errors
/// `contract/port` when a passed column belongs to another port, `contract/schema`, `limit/output`, `limit/batch-output`.
pub(crate) fn attach(
    plan: &OperationPlan,
    emitted: Option<&RecordBatch>,
    rows: &Rows,
    port: usize,
    input: &RecordBatch,
    limits: &Limits,
) -> Result<(RecordBatch, u64), Failure> {
    let gather = Gather::new(rows);
    let mut emitted = emitted.map_or(&[][..], RecordBatch::columns).iter();
    let (mut gathered_bytes, mut written_out_bytes) = (0, 0);
    let mut columns = Vec::with_capacity(plan.pass_through.len());
    for (passed, field) in plan.pass_through.iter().zip(plan.output.fields()) {
        let column = match passed {
            None => emitted.next().map(Arc::clone),
            Some((from, _)) if *from != port => {
                return Err(broken(
                    "port",
                    format!("columns of port {from} cannot pass through with rows of port {port}"),
                ));
            }
            Some((_, index)) => match input.columns().get(*index) {
                Some(column) => {
                    gathered_bytes += gather.bytes(column);
                    if gathered_bytes > limits.gathered_bytes_max {
                        return Err(exceeded(
                            "gathered",
                            limits.gathered_bytes_max,
                            gathered_bytes,
                        ));
                    }
                    let gathered = gather.column(column).map_err(|e| internal(&e))?;
                    if let Gather::Take(_, _) = gather {
                        written_out_bytes =
                            values::written_out(field, &gathered, written_out_bytes, limits)?;
                    }
                    Some(gathered)
                }
                None => None,
            },
        };
        columns.push(
            column.ok_or_else(|| broken("schema", "an emitted batch lacks planned columns"))?,
        );
    }
    let batch = whole(plan, columns, rows.len(input.num_rows()))?;
    Ok((batch, gathered_bytes))
}

/// A batch of the planned output schema.
///
/// # Errors
/// `contract/schema`.
pub(crate) fn whole(
    plan: &OperationPlan,
    mut columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, Failure> {
    for (column, field) in columns.iter_mut().zip(plan.output.fields()) {
        if column.data_type() != field.data_type()
            && same_type(column.data_type(), field.data_type())
        {
            let data = retyped(column.to_data(), field.data_type()).map_err(|e| internal(&e))?;
            *column = make_array(data);
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(&plan.output), columns, &options)
        .map_err(|e| mismatch(&e))
}

/// The same values under a type that differs in the metadata of nested fields: the host's own columns keep theirs, which
/// no guest ever saw.
fn retyped(data: ArrayData, to: &DataType) -> Result<ArrayData, ArrowError> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all other types hold no fields"
    )]
    let types: Vec<&DataType> = match to {
        DataType::List(f)
        | DataType::LargeList(f)
        | DataType::FixedSizeList(f, _)
        | DataType::Map(f, _) => vec![f.data_type()],
        DataType::Struct(fields) => fields.iter().map(|f| f.data_type()).collect(),
        _ => return Ok(data),
    };
    let children = data.child_data().iter().cloned().zip(types);
    let children = children
        .map(|(child, to)| retyped(child, to))
        .collect::<Result<_, _>>()?;
    data.into_builder()
        .data_type(to.clone())
        .child_data(children)
        .build()
}

fn internal(error: &ArrowError) -> Failure {
    Failure::new(
        FailureClass::Internal,
        "internal/attach",
        "columns could not be brought back to their rows",
    )
    .cause(error.to_string())
}

/// Gathers rows of columns; what it needs is built once for all columns.
enum Gather<'a> {
    Same,
    Stretch(usize, usize),
    Mask(Box<arrow_select::filter::FilterPredicate>),
    Take(&'a [u32], UInt32Array),
}

impl<'a> Gather<'a> {
    fn new(rows: &'a Rows) -> Self {
        match rows {
            Rows::Same => Self::Same,
            Rows::Stretch(offset, length) => Self::Stretch(*offset, *length),
            Rows::Kept(bits, _) => {
                let mask = BooleanArray::new(bits.clone(), None);
                Self::Mask(Box::new(FilterBuilder::new(&mask).optimize().build()))
            }
            Rows::Any(picked) => Self::Take(picked, UInt32Array::from(picked.clone())),
        }
    }

    fn column(&self, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Same => Ok(Arc::clone(column)),
            Self::Stretch(offset, length) => Ok(column.slice(*offset, *length)),
            Self::Mask(mask) => mask.filter(column),
            Self::Take(_, indices) => take(column, indices, None),
        }
    }

    /// Bytes that the gathered column will take; what is not copied takes none. That can be more than the column has: a
    /// guest may pick one large row a million times.
    fn bytes(&self, column: &ArrayRef) -> u64 {
        match self {
            Self::Same | Self::Stretch(_, _) => 0,
            // At most all of it.
            Self::Mask(_) => column.to_data().get_slice_memory_size().unwrap_or(0) as u64,
            Self::Take(picked, _) => {
                let data = column.to_data();
                match layout::bits(column.data_type()) {
                    Some(bits) => (picked.len() as u64).saturating_mul(bits) / 8,
                    None => picked.iter().fold(0, |sum: u64, i| {
                        sum.saturating_add(range_bytes(&data, *i as usize, 1))
                    }),
                }
            }
        }
    }
}

/// A bit for each row, set for those that were picked. A word is put together before it is stored: setting bits in memory
/// one by one makes each wait for the last.
fn mask(ascending: &[u32], rows: usize) -> BooleanBuffer {
    const BITS: usize = u64::BITS as usize;
    let mut words = vec![0_u64; rows.div_ceil(BITS)];
    let (mut at, mut word) = (0, 0);
    for row in ascending {
        let row = *row as usize;
        if row / BITS != at {
            words[at] = word;
            (at, word) = (row / BITS, 0);
        }
        word |= 1 << (row % BITS);
    }
    if let Some(last) = words.get_mut(at) {
        *last = word;
    }
    BooleanBuffer::new(Buffer::from_vec(words), 0, rows)
}

/// Bytes of some rows of an array, children included.
fn range_bytes(data: &ArrayData, start: usize, length: usize) -> u64 {
    let rows = length as u64;
    if let Some(bits) = layout::bits(data.data_type()) {
        return rows * bits / 8 + 1;
    }
    let start = data.offset() + start;
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the rest holds nothing of variable size worth counting"
    )]
    match data.data_type() {
        DataType::Utf8 | DataType::Binary => rows * 4 + span::<i32>(data, start, length).1 as u64,
        DataType::LargeUtf8 | DataType::LargeBinary => {
            rows * 8 + span::<i64>(data, start, length).1 as u64
        }
        // Views share their data; only the views are copied.
        DataType::Utf8View | DataType::BinaryView => rows * 16,
        DataType::List(_) | DataType::Map(_, _) => {
            child_bytes(data, span::<i32>(data, start, length)) + rows * 4
        }
        DataType::LargeList(_) => child_bytes(data, span::<i64>(data, start, length)) + rows * 8,
        DataType::FixedSizeList(_, size) => {
            let size = usize::try_from(*size).unwrap_or(0);
            child_bytes(data, (start * size, length * size))
        }
        DataType::Struct(_) => data
            .child_data()
            .iter()
            .map(|child| range_bytes(child, start, length))
            .sum(),
        _ => rows,
    }
}

fn child_bytes(data: &ArrayData, (start, length): (usize, usize)) -> u64 {
    data.child_data()
        .first()
        .map_or(0, |child| range_bytes(child, start, length))
}

/// Start and length in the child or value buffer of rows from `start`, which counts from the start of the buffer.
fn span<O: ArrowNativeType>(data: &ArrayData, start: usize, length: usize) -> (usize, usize) {
    let offsets = data
        .buffers()
        .first()
        .map(Buffer::typed_data::<O>)
        .unwrap_or_default();
    match (offsets.get(start), offsets.get(start + length)) {
        (Some(from), Some(to)) => (from.as_usize(), to.as_usize() - from.as_usize()),
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::builder::{ListBuilder, StringBuilder};
    use arrow_array::types::Int64Type;
    use arrow_array::{Int64Array, StringArray};
    use arrow_schema::{Field, Schema};
    use odibi_run::port::Spread;

    use super::*;

    #[track_caller]
    fn check(picked: &[u32], rows: usize, expect: Result<Rows, &str>) {
        let got = Rows::picked(picked.to_vec(), rows).map_err(|f| f.code);
        assert_eq!(got, expect.map_err(str::to_owned));
    }

    #[test]
    fn picked_rows_are_classified_and_bounded() {
        check(&[], 3, Ok(Rows::Stretch(0, 0)));
        check(&[0, 1, 2], 3, Ok(Rows::Same));
        check(&[1, 2], 3, Ok(Rows::Stretch(1, 2)));
        check(
            &[0, 2],
            3,
            Ok(Rows::Kept([true, false, true].into_iter().collect(), 2)),
        );
        check(&[2, 0], 3, Ok(Rows::Any(vec![2, 0])));
        check(&[1, 1], 3, Ok(Rows::Any(vec![1, 1])));
        check(&[0, 3], 3, Err("contract/rows"));
        check(&[u32::MAX], 3, Err("contract/rows"));
        check(&[0], 0, Err("contract/rows"));
    }

    #[track_caller]
    fn check_kept(bitmap: &[u8], rows: usize, expect: Result<Rows, &str>) {
        let got = Rows::kept(Buffer::from(bitmap), rows).map_err(|f| f.code);
        assert_eq!(got, expect.map_err(str::to_owned));
    }

    #[test]
    fn kept_rows_are_classified_and_counted() {
        let bits = |bits: &[bool]| bits.iter().copied().collect::<BooleanBuffer>();
        check_kept(&[], 0, Ok(Rows::Same));
        check_kept(&[0b111], 3, Ok(Rows::Same));
        check_kept(&[0xff, 0xff], 16, Ok(Rows::Same));
        check_kept(&[0], 3, Ok(Rows::Stretch(0, 0)));
        check_kept(&[0b110], 3, Ok(Rows::Stretch(1, 2)));
        check_kept(&[0b1000_0000, 0b11], 10, Ok(Rows::Stretch(7, 3)));
        check_kept(&[0b101], 3, Ok(Rows::Kept(bits(&[true, false, true]), 2)));
    }

    #[test]
    fn bitmaps_of_other_lengths_are_refused() {
        for (bytes, rows) in [
            (0, 1),
            (1, 0),
            (1, 9),
            (2, 8),
            (3, 16),
            (9, 64),
            (1 << 20, 8),
        ] {
            check_kept(&vec![0; bytes], rows, Err("contract/rows"));
        }
    }

    #[test]
    fn bits_past_the_last_row_are_refused() {
        check_kept(&[0b1000], 3, Err("contract/rows"));
        check_kept(&[0xff], 7, Err("contract/rows"));
        check_kept(&[0, 0b1000_0000], 15, Err("contract/rows"));
    }

    fn input() -> RecordBatch {
        let fields = vec![
            Field::new("n", DataType::Int64, false),
            Field::new("s", DataType::Utf8, true),
        ];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![10, 11, 12, 13])),
            Arc::new(StringArray::from(vec![
                Some("a"),
                None,
                Some("ccc"),
                Some("d"),
            ])),
        ];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    fn plan(input: &RecordBatch) -> OperationPlan {
        OperationPlan {
            params: serde_json::Value::Null,
            inputs: Vec::new(),
            output: input.schema(),
            pass_through: vec![Some((0, 0)), Some((0, 1))],
            spread: Spread::PerBatch,
            batch_rows_max: None,
            state: Vec::new(),
        }
    }

    #[test]
    fn every_way_of_gathering_agrees_with_take() {
        let input = input();
        let plan = plan(&input);
        for picked in [
            vec![],
            vec![0, 1, 2, 3],
            vec![1, 2],
            vec![0, 2, 3],
            vec![3, 3, 0],
        ] {
            let rows = Rows::picked(picked.clone(), 4).unwrap();
            let (got, _) = attach(&plan, None, &rows, 0, &input, &Limits::default()).unwrap();
            let mut bitmap = vec![0; input.num_rows().div_ceil(8)];
            picked
                .iter()
                .for_each(|row| bitmap[*row as usize / 8] |= 1_u8 << (row % 8));
            if picked.is_sorted() {
                assert_eq!(Rows::kept(bitmap.into(), 4).unwrap(), rows);
            }
            let indices = UInt32Array::from(picked);
            let expect: Vec<ArrayRef> = input
                .columns()
                .iter()
                .map(|c| take(c, &indices, None).unwrap())
                .collect();
            assert_eq!(got.columns(), expect, "{rows:?}");
        }
    }

    #[test]
    fn masks_have_the_picked_bits_and_no_other() {
        for (picked, rows) in [
            (vec![], 0),
            (vec![], 70),
            (vec![0, 63, 64, 69], 70),
            (vec![130], 131),
            (vec![1, 200], 256),
        ] {
            let got: Vec<u32> = mask(&picked, rows).set_indices_u32().collect();
            assert_eq!(got, picked, "{rows}");
        }
    }

    #[test]
    fn one_large_row_picked_often_is_stopped_before_it_is_copied() {
        let input = input();
        let limits = Limits {
            gathered_bytes_max: 10_000,
            ..Limits::default()
        };
        let rows = Rows::picked(vec![2; 5_000], 4).unwrap();
        let failure = attach(&plan(&input), None, &rows, 0, &input, &limits).unwrap_err();
        assert_eq!(failure.code, "limit/output");
    }

    #[test]
    fn one_large_word_picked_often_is_stopped_although_only_keys_are_copied() {
        let word = "x".repeat(100);
        let words: arrow_array::DictionaryArray<arrow_array::types::Int8Type> =
            [word.as_str(), "y"].into_iter().collect();
        let views = arrow_array::StringViewArray::from(vec![word.as_str(), "y"]);
        let limits = Limits {
            gathered_bytes_max: 10_000,
            ..Limits::default()
        };
        for column in [Arc::new(words) as ArrayRef, Arc::new(views)] {
            let input = RecordBatch::try_from_iter([("c", column)]).unwrap();
            let plan = OperationPlan {
                pass_through: vec![Some((0, 0))],
                ..plan(&input)
            };
            let pick = |row| {
                let rows = Rows::picked(vec![row; 200], 2).unwrap();
                attach(&plan, None, &rows, 0, &input, &limits).map_err(|f| f.code)
            };
            assert_eq!(pick(0).unwrap_err(), "limit/batch-output");
            assert!(pick(1).is_ok());
        }
    }

    #[test]
    fn nested_rows_are_measured_through_their_offsets() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        for row in [vec!["x"; 1], vec!["yyyyyyyyyy"; 100], vec![]] {
            row.iter().for_each(|v| lists.values().append_value(v));
            lists.append(true);
        }
        let data = lists.finish().slice(1, 2).to_data();
        assert!(
            range_bytes(&data, 0, 1) >= 1_000,
            "{}",
            range_bytes(&data, 0, 1)
        );
        assert!(range_bytes(&data, 1, 1) < 50);
    }

    #[test]
    fn nested_metadata_of_the_hosts_columns_stays_with_fresh_rows() {
        let column = |item: Field| {
            let lists = [Some(vec![Some(1), None]), None];
            let plain = arrow_array::ListArray::from_iter_primitive::<Int64Type, _, _>(lists);
            let (_, offsets, values, nulls) = plain.into_parts();
            let list = arrow_array::ListArray::new(Arc::new(item), offsets, values, nulls);
            Arc::new(list) as ArrayRef
        };
        let item = Field::new("item", DataType::Int64, true);
        let note = std::collections::HashMap::from([("id".to_owned(), "7".to_owned())]);
        let (sent, kept) = (column(item.clone()), column(item.with_metadata(note)));
        let output = RecordBatch::try_from_iter(vec![("l", Arc::clone(&kept))]).unwrap();
        let got = whole(&plan(&output), vec![sent], 2).unwrap();
        assert_eq!(got, output);
    }

    #[test]
    fn columns_of_another_port_cannot_pass_through() {
        let input = input();
        let failure = attach(
            &plan(&input),
            None,
            &Rows::Same,
            1,
            &input,
            &Limits::default(),
        )
        .unwrap_err();
        assert_eq!(failure.code, "contract/port");
    }
}
