//! Whole numbers that do not wrap: `+`, `-` and `*` of integers fail where the result does not fit into its type.
//!
//! The engine's own operators wrap. Once all types are known, and before anything is folded or computed, they are replaced
//! by functions that fail: then whatever evaluates an expression, an operator, a batch or the optimiser, fails as well.

use std::sync::Arc;

use arrow_array::{ArrayRef, Datum};
use arrow_schema::{ArrowError, DataType, Field, FieldRef};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::{Cast, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable as _, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

use crate::database::internal;

/// An expression in a message is cut off behind so many characters.
const SHOWN_CHARS_MAX: usize = 80;

/// A result that does not fit into its type.
pub(crate) fn overflow(message: String) -> DataFusionError {
    ArrowError::ArithmeticOverflow(message).into()
}

/// Replaces the operators.
#[derive(Debug)]
pub(crate) struct Replace;

impl FunctionRewrite for Replace {
    fn name(&self) -> &'static str {
        "exact"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        let kind = match &expr {
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::Plus | Operator::Minus | Operator::Multiply,
                right,
            }) => match integer(left, schema)? {
                Some(kind) if integer(right, schema)?.as_ref() == Some(&kind) => Some(kind),
                _ => None,
            },
            Expr::Negative(of) => integer(of, schema)?,
            _ => None,
        };
        Ok(match (kind, expr) {
            (Some(kind), Expr::BinaryExpr(BinaryExpr { left, op, right })) => {
                Transformed::yes(Checked::over(op, kind, vec![*left, *right]))
            }
            (Some(kind), Expr::Negative(of)) => {
                Transformed::yes(Checked::over(Operator::Minus, kind, vec![*of]))
            }
            (_, expr) => Transformed::no(expr),
        })
    }
}

/// The type of an expression, if it is one of integers.
fn integer(expr: &Expr, schema: &DFSchema) -> Result<Option<DataType>> {
    let kind = match checked(expr) {
        // Asking the engine would take it through the whole expression again.
        Some(checked) => checked.kind.clone(),
        None => expr.get_type(schema)?,
    };
    Ok(Some(kind).filter(DataType::is_integer))
}

fn checked(expr: &Expr) -> Option<&Checked> {
    match expr {
        Expr::ScalarFunction(function) => function.func.inner().downcast_ref(),
        _ => None,
    }
}

/// An operator of integers, of one or two operands, as a function that fails.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operator: Operator,
    /// Of the operands and of the result.
    kind: DataType,
    /// How people may have written it.
    shown: String,
    signature: Signature,
}

impl Checked {
    fn over(operator: Operator, kind: DataType, operands: Vec<Expr>) -> Expr {
        let shown = match operands.as_slice() {
            [left, right] => format!("{} {operator} {}", shown(left), shown(right)),
            operands => format!(
                "{operator}{}",
                operands.iter().map(shown).collect::<String>()
            ),
        };
        let made = Self {
            operator,
            kind,
            shown: cut(shown),
            signature: Signature::any(operands.len(), Volatility::Immutable),
        };
        let function = Arc::new(ScalarUDF::new_from_impl(made));
        Expr::ScalarFunction(ScalarFunction::new_udf(function, operands))
    }

    /// The engine's word for an overflow in ours; other failures as they are.
    fn told(&self, error: DataFusionError) -> DataFusionError {
        let values = match &error {
            DataFusionError::ArrowError(error, _) => match error.as_ref() {
                ArrowError::ArithmeticOverflow(said) => said.rsplit(": ").next().map(str::to_owned),
                _ => None,
            },
            _ => None,
        };
        match values {
            Some(values) => overflow(format!(
                "`{}` does not fit into {}: {values}",
                self.shown, self.kind
            )),
            None => error,
        }
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &'static str {
        match self.operator {
            Operator::Plus => "+",
            Operator::Multiply => "*",
            _ => "-",
        }
    }

    /// As of the operator: columns without a name are called so.
    fn schema_name(&self, operands: &[Expr]) -> Result<String> {
        Ok(match operands {
            [left, right] => {
                let (left, right) = (left.schema_name(), right.schema_name());
                format!("{left} {} {right}", self.operator)
            }
            [of] => format!("(- {})", of.schema_name()),
            _ => self.shown.clone(),
        })
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.kind.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(
            &self.shown,
            self.kind.clone(),
            nullable,
        )))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let kernel: fn(&dyn Datum, &dyn Datum) -> Result<ArrayRef, ArrowError> = match self.operator
        {
            Operator::Plus => numeric::add,
            Operator::Multiply => numeric::mul,
            _ => numeric::sub,
        };
        let done = match args.args.as_slice() {
            [left, right] => apply(left, right, kernel),
            [of] => {
                let zero = ColumnarValue::Scalar(ScalarValue::new_zero(&self.kind)?);
                apply(&zero, of, kernel)
            }
            _ => Err(internal("another number of operands")),
        };
        done.map_err(|e| self.told(e))
    }
}

/// An operand, as people may have written it.
fn shown(expr: &Expr) -> String {
    match expr {
        Expr::Column(column) => column.name.clone(),
        Expr::Literal(value, _) => value.to_string(),
        Expr::Cast(Cast { expr, .. }) => shown(expr),
        other => match checked(other) {
            Some(checked) => format!("({})", checked.shown),
            None => other.schema_name().to_string(),
        },
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
