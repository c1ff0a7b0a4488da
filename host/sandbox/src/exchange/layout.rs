//! The layout of a record batch against the planned types: every node and buffer accounted for, every length and offset
//! inside the body and large enough. Values are arrow's business; with this done first, its decoder has nothing to slice
//! out of range.

use std::ops::Range;

use arrow_ipc::{FieldNode, RecordBatch};
use arrow_schema::{DataType, Field, Fields, IntervalUnit};
use odibi_story::failure::Failure;

use super::broken;
use crate::limits::{Limits, exceeded};

/// Checks one batch whose body takes `body` bytes, and returns its rows.
///
/// # Errors
/// `contract/ipc`, `contract/schema` for a null where none may be, `limit/batch-output`.
pub(crate) fn check(
    batch: RecordBatch<'_>,
    fields: &Fields,
    body: &Range<usize>,
    limits: &Limits,
) -> Result<usize, Failure> {
    if batch.compression().is_some() {
        return Err(broken(
            "ipc",
            "a batch is compressed, which the contract forbids",
        ));
    }
    let claimed = batch.length();
    let rows = usize::try_from(claimed)
        .map_err(|_| broken("ipc", format!("a batch claims this many rows: {claimed}")))?;
    if rows as u64 > limits.batch_rows_max {
        return Err(exceeded("batch-rows", limits.batch_rows_max, rows as u64));
    }
    let mut walk = Walk {
        nodes: batch.nodes().unwrap_or_default().iter(),
        buffers: batch.buffers().unwrap_or_default().iter(),
        variadic: batch.variadicBufferCounts().unwrap_or_default().iter(),
        body_bytes: body.len() as u64,
        used_bytes: 0,
        values_max: limits.batch_values_max,
    };
    if batch.nodes().is_none() || batch.buffers().is_none() {
        return Err(broken("ipc", "a batch lists no nodes or no buffers"));
    }
    for field in fields {
        let length = walk.field(field, field.is_nullable())?;
        if length != rows as u64 {
            return Err(broken(
                "ipc",
                format!(
                    "column `{}` has {length} rows in a batch of {rows}",
                    field.name()
                ),
            ));
        }
    }
    walk.end()?;
    Ok(rows)
}

struct Walk<N, B, V> {
    nodes: N,
    buffers: B,
    variadic: V,
    body_bytes: u64,
    /// Of the body, by the buffers so far.
    used_bytes: u64,
    values_max: u64,
}

impl<'a, N, B, V> Walk<N, B, V>
where
    N: Iterator<Item = &'a FieldNode>,
    B: Iterator<Item = &'a arrow_ipc::Buffer>,
    V: Iterator<Item = i64>,
{
    /// Checks a column and what is inside it; returns its length.
    fn field(&mut self, field: &Field, nulls_allowed: bool) -> Result<u64, Failure> {
        let data_type = field.data_type();
        let (length, nulls) = self.node(field)?;
        if nulls > 0 && !nulls_allowed {
            let name = field.name();
            return Err(broken(
                "schema",
                format!("column `{name}` was planned without nulls but has some: {nulls}"),
            ));
        }
        if *data_type == DataType::Null {
            if nulls != length {
                return Err(self.short(field, "null count"));
            }
            if length > 0 && !field.is_nullable() {
                let name = field.name();
                return Err(broken(
                    "schema",
                    format!("column `{name}` was planned without nulls but can hold nothing else"),
                ));
            }
            return Ok(length);
        }
        self.buffer(
            field,
            "validity",
            if nulls > 0 { length.div_ceil(8) } else { 0 },
            1,
        )?;
        self.values(field, length, nulls)?;
        Ok(length)
    }

    fn values(&mut self, field: &Field, length: u64, nulls: u64) -> Result<(), Failure> {
        let data_type = field.data_type();
        if let Some(bits) = bits(data_type) {
            // Booleans come in bits, and bytes of fixed size in threes, if one likes.
            let width = if matches!(data_type, DataType::FixedSizeBinary(_)) {
                1
            } else {
                bits.div_ceil(8)
            };
            return self.buffer(field, "values", bytes_of(length, bits), width);
        }
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "types outside the planned ones never get here"
        )]
        match data_type {
            DataType::Utf8 | DataType::Binary => {
                self.buffer(field, "offsets", offsets(length, 4), 4)?;
                self.buffer(field, "values", 0, 1)
            }
            DataType::LargeUtf8 | DataType::LargeBinary => {
                self.buffer(field, "offsets", offsets(length, 8), 8)?;
                self.buffer(field, "values", 0, 1)
            }
            DataType::Utf8View | DataType::BinaryView => {
                self.buffer(field, "views", bytes_of(length, 128), 16)?;
                let claimed = self.variadic.next();
                let count = claimed.and_then(|n| u32::try_from(n).ok());
                let count = count.ok_or_else(|| self.short(field, "number of data buffers"))?;
                (0..count).try_for_each(|_| self.buffer(field, "data", 0, 1))
            }
            DataType::List(item) | DataType::Map(item, _) => {
                self.buffer(field, "offsets", offsets(length, 4), 4)?;
                self.field(item, true).map(drop)
            }
            DataType::LargeList(item) => {
                self.buffer(field, "offsets", offsets(length, 8), 8)?;
                self.field(item, true).map(drop)
            }
            DataType::FixedSizeList(item, size) => {
                let needed = length.saturating_mul(u64::try_from(*size).unwrap_or(u64::MAX));
                let held = self.field(item, true)?;
                // Arrow marks each item whose list is null, though the items may take no bytes.
                let unmarked = item.is_nullable() || nulls == 0 || needed / 8 <= self.body_bytes;
                if held < needed || !unmarked {
                    Err(self.short(field, "items"))
                } else {
                    Ok(())
                }
            }
            DataType::Struct(children) => children.iter().try_for_each(|child| {
                // A child may be null under a null parent; arrow checks the rest.
                let held = self.field(child, true)?;
                if held == length {
                    Ok(())
                } else {
                    Err(self.short(child, "length"))
                }
            }),
            other => Err(broken(
                "ipc",
                format!(
                    "column `{}` has a type that cannot cross: {other}",
                    field.name()
                ),
            )),
        }
    }

    fn node(&mut self, field: &Field) -> Result<(u64, u64), Failure> {
        let node = self.nodes.next().ok_or_else(|| self.short(field, "node"))?;
        let (length, nulls) = (node.length(), node.null_count());
        let fits = |n: i64| u64::try_from(n).ok().filter(|n| *n <= self.values_max);
        match (fits(length), fits(nulls)) {
            (Some(length), Some(nulls)) if nulls <= length => Ok((length, nulls)),
            _ => {
                let name = field.name();
                Err(broken(
                    "ipc",
                    format!("column `{name}` cannot have {length} values and {nulls} nulls"),
                ))
            }
        }
    }

    /// The next buffer must lie in the body, hold at least `needed` bytes, and whole values of `width` bytes.
    fn buffer(
        &mut self,
        field: &Field,
        what: &str,
        needed: u64,
        width: u64,
    ) -> Result<(), Failure> {
        let buffer = self.buffers.next().ok_or_else(|| self.short(field, what))?;
        let (offset, length) = (buffer.offset(), buffer.length());
        let inside = match (u64::try_from(offset), u64::try_from(length)) {
            (Ok(offset), Ok(length)) => {
                offset % 8 == 0
                    && offset
                        .checked_add(length)
                        .is_some_and(|end| end <= self.body_bytes)
            }
            _ => false,
        };
        if !inside {
            let name = field.name();
            return Err(broken(
                "ipc",
                format!("the {what} of column `{name}` lie outside: {offset} + {length}"),
            ));
        }
        if length.unsigned_abs() < needed || length.unsigned_abs() % width != 0 {
            return Err(self.short(field, what));
        }
        // Columns that share their bytes would come out as many times what was sent.
        self.used_bytes = self.used_bytes.saturating_add(length.unsigned_abs());
        if self.used_bytes > self.body_bytes {
            let why = "the buffers of a batch overlap: together they are larger than its body";
            return Err(broken("ipc", why));
        }
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "reads better at the call sites")]
    fn short(&self, field: &Field, what: &str) -> Failure {
        broken(
            "ipc",
            format!(
                "column `{}` has too little or the wrong data: {what}",
                field.name()
            ),
        )
    }

    fn end(mut self) -> Result<(), Failure> {
        let left = self.nodes.next().is_some()
            || self.buffers.next().is_some()
            || self.variadic.next().is_some();
        if left {
            Err(broken(
                "ipc",
                "a batch holds more nodes or buffers than its columns need",
            ))
        } else {
            Ok(())
        }
    }
}

fn bytes_of(length: u64, bits: u64) -> u64 {
    length.saturating_mul(bits).div_ceil(8)
}

fn offsets(length: u64, width: u64) -> u64 {
    // An empty column may leave its offsets out.
    if length == 0 { 0 } else { (length + 1) * width }
}

/// Bits of a value of fixed width; keys, for a dictionary.
pub(crate) fn bits(data_type: &DataType) -> Option<u64> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all others have no fixed width"
    )]
    Some(match data_type {
        DataType::Boolean => 1,
        DataType::FixedSizeBinary(width) => u64::try_from(*width).ok()? * 8,
        DataType::Interval(IntervalUnit::MonthDayNano) => 128,
        DataType::Dictionary(key, _) => return bits(key),
        other => other.primitive_width()? as u64 * 8,
    })
}
