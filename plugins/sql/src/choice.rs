//! `CASE` over comparisons with values that are written out, such as `CASE WHEN price < 10 THEN 'low' ELSE 'high' END`.
//!
//! The engine takes the rows apart at each condition, since a later one may fail for rows that an earlier one takes, and puts
//! what comes of them together again. Where no condition can fail, all of them are asked of all rows, and each row picks
//! its value. Once all types are known, such a `CASE` is replaced by a function that does so.

use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, ArrayRef, BooleanArray, StringArray, UInt32Array};
use arrow_schema::{DataType, Field, FieldRef};
use datafusion::arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Cast, InList, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    Between, BinaryExpr, Case, ColumnarValue, Expr, ExprSchemable as _, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::database::internal;

/// With more conditions it is cheaper to ask each of the rows that are left only.
const CONDITIONS_MAX: usize = 16;
/// Values of a list in a condition, likewise.
const LISTED_MAX: usize = 16;
/// Texts up to this length are copied as one block of it.
const BLOCK_BYTES: usize = 16;
/// Longer texts are left to the engine.
const TEXT_BYTES_MAX: usize = 256;
/// Rows whose bits make one word.
const WORD_ROWS: usize = 64;

/// Replaces `CASE`; to run behind [`crate::exact`], which takes arithmetic out of the conditions that cannot fail.
#[derive(Debug)]
pub(crate) struct Replace;

impl FunctionRewrite for Replace {
    fn name(&self) -> &'static str {
        "choice"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        let replaced = match &expr {
            Expr::Case(case) => Choice::of(case, &expr, schema)?,
            _ => None,
        };
        Ok(match replaced {
            Some(replaced) => Transformed::yes(replaced),
            None => Transformed::no(expr),
        })
    }
}

/// Can it be asked of any row?
fn never_fails(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    let both = |a: &Expr, b: &Expr| Ok(never_fails(a, schema)? && never_fails(b, schema)?);
    match expr {
        Expr::Literal(..) => Ok(true),
        Expr::Column(_) => Ok(is_plain(&expr.get_type(schema)?)),
        Expr::Not(of) | Expr::IsNull(of) | Expr::IsNotNull(of) => never_fails(of, schema),
        Expr::BinaryExpr(BinaryExpr {
            left,
            op:
                Operator::And
                | Operator::Or
                | Operator::Eq
                | Operator::NotEq
                | Operator::Lt
                | Operator::LtEq
                | Operator::Gt
                | Operator::GtEq,
            right,
        }) => both(left, right),
        Expr::Between(Between {
            expr, low, high, ..
        }) => Ok(never_fails(expr, schema)? && both(low, high)?),
        Expr::InList(InList { expr, list, .. }) => {
            let are_literals = list.iter().all(|one| matches!(one, Expr::Literal(..)));
            Ok(are_literals && list.len() <= LISTED_MAX && never_fails(expr, schema)?)
        }
        Expr::Cast(Cast { expr, field }) => {
            Ok(widens(&expr.get_type(schema)?, field.data_type()) && never_fails(expr, schema)?)
        }
        _ => Ok(false),
    }
}

/// Has every two values of the type an order, without further ado?
fn is_plain(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Boolean
            | DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Timestamp(..)
            | DataType::Decimal128(..)
    ) || kind.is_integer()
        || kind.is_floating()
}

/// Has each number of the one type a place in the other?
fn widens(from: &DataType, to: &DataType) -> bool {
    let bytes = |kind: &DataType| kind.primitive_width().unwrap_or_default();
    let floats = to.is_floating() && bytes(to) >= 4;
    let wider = bytes(from) < bytes(to);
    let integers = from.is_integer() && to.is_integer();
    from == to
        || from.is_integer() && floats
        || from.is_floating() && floats && wider
        || integers && wider && (from.is_unsigned_integer() || to.is_signed_integer())
}

/// The value of each branch, and behind them that of `ELSE`. Its arguments are the conditions.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Choice {
    values: Vec<ScalarValue>,
    kind: DataType,
    /// As people may have written it.
    shown: String,
    signature: Signature,
}

impl Choice {
    fn of(case: &Case, whole: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
        let kind = whole.get_type(schema)?;
        let is_short = case.when_then_expr.len() <= CONDITIONS_MAX;
        if case.expr.is_some() || !is_short || !is_plain(&kind) {
            return Ok(None);
        }
        let mut conditions = Vec::with_capacity(case.when_then_expr.len());
        let mut values = Vec::with_capacity(case.when_then_expr.len() + 1);
        for (when, then) in &case.when_then_expr {
            let is_truth = when.get_type(schema)? == DataType::Boolean;
            match written(then, &kind) {
                Some(value) if is_truth && never_fails(when, schema)? => values.push(value),
                _ => return Ok(None),
            }
            conditions.push(when.as_ref().clone());
        }
        let otherwise = match &case.else_expr {
            Some(otherwise) => written(otherwise, &kind),
            None => ScalarValue::try_new_null(&kind).ok(),
        };
        let Some(otherwise) = otherwise else {
            return Ok(None);
        };
        values.push(otherwise);
        let made = Self {
            values,
            kind,
            shown: whole.schema_name().to_string(),
            signature: Signature::any(conditions.len(), Volatility::Immutable),
        };
        let function = Arc::new(ScalarUDF::new_from_impl(made));
        Ok(Some(Expr::ScalarFunction(ScalarFunction::new_udf(
            function, conditions,
        ))))
    }

    /// Of each row the value of its branch.
    fn pick(&self, branches: &[u8]) -> Result<ArrayRef> {
        if self.kind == DataType::Utf8 {
            return Ok(Arc::new(self.texts(branches)?));
        }
        let values = ScalarValue::iter_to_array(self.values.iter().cloned())?;
        let branches = UInt32Array::from_iter_values(branches.iter().map(|b| u32::from(*b)));
        Ok(arrow_select::take::take(&values, &branches, None)?)
    }

    fn texts(&self, branches: &[u8]) -> Result<StringArray> {
        let texts: Vec<Option<&str>> = self.values.iter().map(text).collect();
        let bytes_of: Vec<usize> = texts.iter().map(|t| t.map_or(0, str::len)).collect();
        let bytes: usize = branches.iter().map(|b| bytes_of[usize::from(*b)]).sum();
        i32::try_from(bytes).map_err(|_| internal("2 GiB of text in one batch"))?;
        let (written, ends) = if bytes_of.iter().all(|bytes| *bytes <= BLOCK_BYTES) {
            let block_of = |text: &Option<&str>| Block::of(text.unwrap_or_default());
            let blocks: Vec<Block> = texts.iter().map(block_of).collect();
            copied(&blocks, branches, bytes)
        } else {
            let mut written = Vec::with_capacity(bytes);
            for branch in branches {
                let text = texts[usize::from(*branch)].unwrap_or_default();
                written.extend_from_slice(text.as_bytes());
            }
            let bytes_of = branches.iter().map(|b| bytes_of[usize::from(*b)]);
            (written, OffsetBuffer::from_lengths(bytes_of))
        };
        let is_null: Vec<bool> = texts.iter().map(Option::is_none).collect();
        let nulls = is_null.contains(&true).then(|| {
            let there = branches.iter().map(|branch| !is_null[usize::from(*branch)]);
            there.collect::<NullBuffer>()
        });
        Ok(StringArray::try_new(
            ends,
            Buffer::from_vec(written),
            nulls,
        )?)
    }
}

/// A value that is written out, in the type of the result.
fn written(expr: &Expr, kind: &DataType) -> Option<ScalarValue> {
    let value = match expr {
        Expr::Literal(value, _) => value.clone(),
        Expr::Cast(Cast { expr, field }) => match expr.as_ref() {
            Expr::Literal(value, _) => value.cast_to(field.data_type()).ok()?,
            _ => return None,
        },
        _ => return None,
    };
    let value = match value {
        ScalarValue::Null => ScalarValue::try_new_null(kind).ok()?,
        value => value,
    };
    let fits = text(&value).is_none_or(|text| text.len() <= TEXT_BYTES_MAX);
    (fits && value.data_type() == *kind).then_some(value)
}

fn text(value: &ScalarValue) -> Option<&str> {
    match value {
        ScalarValue::Utf8(text) => text.as_deref(),
        _ => None,
    }
}

/// A short text, and what is copied of it.
struct Block {
    bytes: [u8; BLOCK_BYTES],
    length: usize,
}

impl Block {
    fn of(text: &str) -> Self {
        let mut bytes = [0; BLOCK_BYTES];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        let length = text.len();
        Self { bytes, length }
    }
}

/// The texts of the branches, and where each ends. Whole blocks are copied, which is one move each; the next one covers
/// what was too much.
fn copied(blocks: &[Block], branches: &[u8], bytes: usize) -> (Vec<u8>, OffsetBuffer<i32>) {
    let mut written = vec![0; bytes + BLOCK_BYTES];
    let mut ends = vec![0; branches.len() + 1];
    let mut at = 0;
    for (branch, end) in branches.iter().zip(&mut ends[1..]) {
        let block = &blocks[usize::from(*branch)];
        let place = written
            .get_mut(at..)
            .and_then(|rest| rest.first_chunk_mut());
        if let Some(place) = place {
            *place = block.bytes;
        }
        at += block.length;
        // There are fewer bytes than that.
        *end = i32::try_from(at).unwrap_or(i32::MAX);
    }
    written.truncate(bytes);
    (written, OffsetBuffer::new(ends.into()))
}

/// For each byte of a bitmap the eight rows of it, those that are set with all bits.
const ROWS_OF: [u64; 256] = {
    let mut rows_of = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut bit = 0;
        while bit < 8 {
            if byte >> bit & 1 == 1 {
                rows_of[byte] |= 0xff << (8 * bit);
            }
            bit += 1;
        }
        byte += 1;
    }
    rows_of
};

/// Gives this branch to the rows that meet its condition.
fn mark(condition: &BooleanArray, branch: u8, branches: &mut [u8]) {
    let met = match condition.nulls() {
        Some(there) => condition.values() & there.inner(),
        None => condition.values().clone(),
    };
    let eight = u64::from_ne_bytes([branch; 8]);
    let words = met.bit_chunks();
    for (rows, word) in branches.chunks_mut(WORD_ROWS).zip(words.iter_padded()) {
        for (rows, bits) in rows.chunks_mut(8).zip(word.to_le_bytes()) {
            let ours = ROWS_OF[usize::from(bits)];
            match rows.first_chunk_mut::<8>() {
                Some(rows) => {
                    let before = u64::from_le_bytes(*rows);
                    *rows = (before & !ours | eight & ours).to_le_bytes();
                }
                None => {
                    let is_set = |at: usize| bits >> at & 1 == 1;
                    let rows = rows.iter_mut().enumerate();
                    rows.filter(|(at, _)| is_set(*at))
                        .for_each(|(_, row)| *row = branch);
                }
            }
        }
    }
}

impl ScalarUDFImpl for Choice {
    fn name(&self) -> &'static str {
        "case"
    }

    /// As of the `CASE`: a column without a name is called so.
    fn schema_name(&self, _: &[Expr]) -> Result<String> {
        Ok(self.shown.clone())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.kind.clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = self.values.iter().any(ScalarValue::is_null);
        Ok(Arc::new(Field::new(
            &self.shown,
            self.kind.clone(),
            nullable,
        )))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let branch = |at: usize| u8::try_from(at).map_err(|_| internal("too many branches"));
        let otherwise = branch(args.args.len())?;
        let mut branches = vec![otherwise; args.number_rows];
        // The last one first: a row keeps the first condition that it meets.
        for (at, condition) in args.args.iter().enumerate().rev() {
            match condition {
                ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))) => {
                    branches.fill(branch(at)?);
                }
                ColumnarValue::Scalar(_) => {}
                ColumnarValue::Array(condition) => {
                    let condition = condition.as_boolean_opt();
                    let condition = condition.ok_or_else(|| internal("a condition of no truth"))?;
                    mark(condition, branch(at)?, &mut branches);
                }
            }
        }
        Ok(ColumnarValue::Array(self.pick(&branches)?))
    }
}
