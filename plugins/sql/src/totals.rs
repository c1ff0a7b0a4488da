//! Sums that do not wrap: what they add up to is known exactly, in whatever order it comes, and where it does not fit into
//! its type the query fails.
//!
//! The engine's own `sum` wraps, and so does its `avg` of durations. All else about the two is the engine's.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal128Type, Decimal256Type, Int32Type, Int64Type, UInt64Type,
};
use arrow_array::{Array as _, ArrayRef, ArrowNativeTypeOp, BooleanArray, PrimitiveArray};
use arrow_schema::{DataType, FieldRef, IntervalUnit};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::common::hash_utils::RandomState;
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{DataFusionError, HashMap, Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature,
};
use datafusion::physical_expr::NullState;

use crate::database::internal;
use crate::exact::overflow;

/// The engine's functions, with `sum` and `avg` replaced.
pub(crate) fn exact(functions: Vec<Arc<AggregateUDF>>) -> Vec<Arc<AggregateUDF>> {
    let one = |of: Arc<AggregateUDF>| match of.name() {
        "sum" | "avg" => Arc::new(AggregateUDF::new_from_impl(Exact { of })),
        _ => of,
    };
    functions.into_iter().map(one).collect()
}

/// A function of the engine's that adds up in our way. Not the engine's either is that `sum(x + 1)` becomes
/// `sum(x) + count(x)`: the first may fit where the second does not.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    of: Arc<AggregateUDF>,
}

/// `$make` for the numbers that a type holds; none for floats, which do not wrap, and for intervals of several parts.
macro_rules! of_numbers {
    ($make:ident, $label:expr) => {{
        let label = $label;
        match label.kind {
            DataType::Int64 | DataType::Decimal64(..) | DataType::Duration(_) => {
                Some($make::<Int64Type>(label))
            }
            DataType::UInt64 => Some($make::<UInt64Type>(label)),
            DataType::Decimal32(..) | DataType::Interval(IntervalUnit::YearMonth) => {
                Some($make::<Int32Type>(label))
            }
            DataType::Decimal128(..) => Some($make::<Decimal128Type>(label)),
            DataType::Decimal256(..) => Some($make::<Decimal256Type>(label)),
            _ => None,
        }
    }};
}

impl Exact {
    fn ours(&self, args: &AccumulatorArgs<'_>) -> Option<Box<dyn Accumulator>> {
        if self.of.name() == "avg" {
            let mean = || -> Box<dyn Accumulator> { Box::new(Mean::new(Label::of(args))) };
            return self.is_mean_of_durations(args).then(mean);
        }
        if args.is_distinct {
            of_numbers!(distinct, Label::of(args))
        } else {
            of_numbers!(sum, Label::of(args))
        }
    }

    fn is_mean_of_durations(&self, args: &AccumulatorArgs<'_>) -> bool {
        let durations = matches!(args.return_type(), DataType::Duration(_));
        self.of.name() == "avg" && durations && !args.is_distinct
    }
}

fn sum<T: Number>(label: Label) -> Box<dyn Accumulator> {
    Box::new(Sum::<T> {
        total: Total::default(),
        values: 0,
        label,
    })
}

fn distinct<T: Number<Native: Eq + Hash>>(label: Label) -> Box<dyn Accumulator> {
    Box::new(Distinct::<T> {
        total: Total::default(),
        times: HashMap::default(),
        label,
    })
}

fn groups<T: Number>(label: Label) -> Box<dyn GroupsAccumulator> {
    Box::new(Groups::<T> {
        sums: Vec::new(),
        rounds: BTreeMap::new(),
        seen: NullState::new(),
        label,
    })
}

impl AggregateUDFImpl for Exact {
    fn name(&self) -> &str {
        self.of.name()
    }

    fn aliases(&self) -> &[String] {
        self.of.aliases()
    }

    fn signature(&self) -> &Signature {
        self.of.signature()
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        self.of.return_type(kinds)
    }

    fn is_nullable(&self) -> bool {
        self.of.is_nullable()
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match self.ours(&args) {
            Some(ours) => Ok(ours),
            None => self.of.accumulator(args),
        }
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        match self.ours(&args) {
            Some(ours) => Ok(ours),
            None => self.of.create_sliding_accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.of.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !self.is_mean_of_durations(&args) && self.of.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let ours = match self.of.name() {
            "sum" => of_numbers!(groups, Label::of(&args)),
            _ => None,
        };
        match ours {
            Some(ours) => Ok(ours),
            None => self.of.create_groups_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.of.reverse_udf()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.of.order_sensitivity()
    }

    fn set_monotonicity(&self, kind: &DataType) -> SetMonotonicity {
        self.of.inner().set_monotonicity(kind)
    }
}

/// What numbers of a type are stored as.
trait Number: ArrowPrimitiveType + fmt::Debug + Send {}

impl<T: ArrowPrimitiveType + fmt::Debug + Send> Number for T {}

/// What a sum is called, and its type.
#[derive(Debug)]
struct Label {
    shown: String,
    kind: DataType,
}

impl Label {
    fn of(args: &AccumulatorArgs<'_>) -> Self {
        let name = args.expr_fields.first().map_or("", |field| field.name());
        // The engine's own names: of what it computes once for several, and for values that it first makes distinct.
        let inner = name.starts_with("__")
            || name
                .strip_prefix("alias")
                .is_some_and(|rest| rest.parse::<u32>().is_ok());
        let shown = if inner {
            "a sum".to_owned()
        } else if name.contains('@') {
            format!("`{}`", args.name)
        } else {
            format!("the sum of `{name}`")
        };
        Self {
            shown,
            kind: args.return_type().clone(),
        }
    }

    fn too_large(&self) -> DataFusionError {
        overflow(format!("{} does not fit into {}", self.shown, self.kind))
    }

    /// The values in the type of the sum.
    fn array<T: Number>(&self, values: PrimitiveArray<T>) -> Result<ArrayRef> {
        let typed = values.into_data().into_builder();
        Ok(arrow_array::make_array(
            typed.data_type(self.kind.clone()).build()?,
        ))
    }

    fn scalar<T: Number>(&self, value: Option<T::Native>) -> Result<ScalarValue> {
        let array = self.array(PrimitiveArray::<T>::from_iter([value]))?;
        ScalarValue::try_from_array(&array, 0)
    }
}

/// The first argument as what its numbers are stored as.
fn numbers<T: Number>(arguments: &[ArrayRef]) -> Result<PrimitiveArray<T>> {
    let of = arguments.first().ok_or_else(|| internal("no argument"))?;
    if let Some(same) = of.as_primitive_opt::<T>() {
        return Ok(same.clone());
    }
    let stored = of.to_data().into_builder().data_type(T::DATA_TYPE);
    Ok(PrimitiveArray::from(stored.build()?))
}

fn each<T: Number>(values: &PrimitiveArray<T>, mut then: impl FnMut(T::Native)) {
    if values.null_count() == 0 {
        values.values().iter().for_each(|value| then(*value));
    } else {
        values.iter().flatten().for_each(then);
    }
}

fn many<T: Number>(values: &PrimitiveArray<T>) -> u64 {
    (values.len() - values.null_count()) as u64
}

/// A sum: what its type can hold of it, and how often it went round the range of the type, upwards less downwards.
#[derive(Debug, Default)]
struct Total<N> {
    rest: N,
    rounds: i64,
}

impl<N: ArrowNativeTypeOp> Total<N> {
    #[inline]
    fn add(&mut self, value: N) {
        let rest = self.rest.add_wrapping(value);
        let down = value.is_lt(N::ZERO);
        if rest.is_lt(self.rest) != down {
            self.rounds += if down { -1 } else { 1 };
        }
        self.rest = rest;
    }

    #[inline]
    fn subtract(&mut self, value: N) {
        let rest = self.rest.sub_wrapping(value);
        let up = value.is_lt(N::ZERO);
        if rest.is_gt(self.rest) != up {
            self.rounds += if up { 1 } else { -1 };
        }
        self.rest = rest;
    }

    fn fitting(&self, label: &Label) -> Result<N> {
        match self.rounds {
            0 => Ok(self.rest),
            _ => Err(label.too_large()),
        }
    }
}

/// The sum of all values, or of those in the frame of a window.
#[derive(Debug)]
struct Sum<T: Number> {
    total: Total<T::Native>,
    /// How many are in it: of none the sum is null.
    values: u64,
    label: Label,
}

impl<T: Number> Accumulator for Sum<T> {
    fn update_batch(&mut self, arguments: &[ArrayRef]) -> Result<()> {
        let values = numbers::<T>(arguments)?;
        self.values += many(&values);
        each(&values, |value| self.total.add(value));
        Ok(())
    }

    fn retract_batch(&mut self, arguments: &[ArrayRef]) -> Result<()> {
        let values = numbers::<T>(arguments)?;
        self.values -= many(&values);
        each(&values, |value| self.total.subtract(value));
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = match self.values {
            0 => None,
            _ => Some(self.total.fitting(&self.label)?),
        };
        self.label.scalar::<T>(value)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sum of the different values.
#[derive(Debug)]
struct Distinct<T: Number> {
    total: Total<T::Native>,
    /// How often each value is there.
    times: HashMap<T::Native, u64, RandomState>,
    label: Label,
}

impl<T: Number<Native: Eq + Hash>> Accumulator for Distinct<T> {
    fn update_batch(&mut self, arguments: &[ArrayRef]) -> Result<()> {
        let Self { total, times, .. } = self;
        each(&numbers::<T>(arguments)?, |value| {
            let times = times.entry(value).or_insert(0);
            if *times == 0 {
                total.add(value);
            }
            *times += 1;
        });
        Ok(())
    }

    fn retract_batch(&mut self, arguments: &[ArrayRef]) -> Result<()> {
        let Self { total, times, .. } = self;
        each(&numbers::<T>(arguments)?, |value| {
            match times.get_mut(&value) {
                Some(many) if *many > 1 => *many -= 1,
                Some(_) => {
                    times.remove(&value);
                    total.subtract(value);
                }
                None => {}
            }
        });
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = match self.times.len() {
            0 => None,
            _ => Some(self.total.fitting(&self.label)?),
        };
        self.label.scalar::<T>(value)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = PrimitiveArray::<T>::from_iter_values(self.times.keys().copied());
        let list = SingleRowListArrayBuilder::new(self.label.array(values)?);
        Ok(vec![list.build_list_scalar()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states.first().ok_or_else(|| internal("no state"))?;
        for values in lists.as_list::<i32>().iter().flatten() {
            self.update_batch(&[values])?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.times.capacity() * size_of::<(T::Native, u64)>()
    }
}

/// The mean of durations, which are whole numbers of their unit.
#[derive(Debug)]
struct Mean {
    sum: i128,
    values: u64,
    label: Label,
}

impl Mean {
    fn new(label: Label) -> Self {
        Self {
            sum: 0,
            values: 0,
            label,
        }
    }

    fn scalar(&self, value: i128) -> Result<ScalarValue> {
        let value = i64::try_from(value).map_err(|_| self.label.too_large())?;
        let value = (self.values > 0).then_some(value);
        self.label.scalar::<Int64Type>(value)
    }
}

impl Accumulator for Mean {
    fn update_batch(&mut self, arguments: &[ArrayRef]) -> Result<()> {
        let values = numbers::<Int64Type>(arguments)?;
        self.values += many(&values);
        each(&values, |value| self.sum += i128::from(value));
        Ok(())
    }

    fn retract_batch(&mut self, arguments: &[ArrayRef]) -> Result<()> {
        let values = numbers::<Int64Type>(arguments)?;
        self.values -= many(&values);
        each(&values, |value| self.sum -= i128::from(value));
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.scalar(self.sum / i128::from(self.values.max(1)))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::from(self.values), self.scalar(self.sum)?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [values, sums] = states else {
            return Err(internal("another number of states"));
        };
        each(values.as_primitive::<UInt64Type>(), |more| {
            self.values += more;
        });
        each(&numbers::<Int64Type>(std::slice::from_ref(sums))?, |sum| {
            self.sum += i128::from(sum);
        });
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sum of each group.
struct Groups<T: Number> {
    /// What the type can hold of each.
    sums: Vec<T::Native>,
    /// Of the few sums that went round: how often, upwards less downwards.
    rounds: BTreeMap<usize, i64>,
    /// Which have seen a value: of none the sum is null.
    seen: NullState,
    label: Label,
}

impl<T: Number> GroupsAccumulator for Groups<T> {
    fn update_batch(
        &mut self,
        arguments: &[ArrayRef],
        group_of: &[usize],
        only: Option<&BooleanArray>,
        groups: usize,
    ) -> Result<()> {
        let values = numbers::<T>(arguments)?;
        let Self {
            sums, rounds, seen, ..
        } = self;
        sums.resize(groups, T::default_value());
        seen.accumulate(group_of, &values, only, groups, |group, value| {
            let mut total = Total {
                rest: sums[group],
                rounds: 0,
            };
            total.add(value);
            sums[group] = total.rest;
            if total.rounds != 0 {
                *rounds.entry(group).or_insert(0) += total.rounds;
            }
        });
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let sums = emit.take_needed(&mut self.sums);
        let nulls = self.seen.build(emit);
        let later = self.rounds.split_off(&sums.len());
        if self.rounds.values().any(|rounds| *rounds != 0) {
            return Err(self.label.too_large());
        }
        let renumbered = later
            .into_iter()
            .map(|(at, rounds)| (at - sums.len(), rounds));
        self.rounds = renumbered.collect();
        self.label
            .array(PrimitiveArray::<T>::new(sums.into(), nulls))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit)?])
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        group_of: &[usize],
        groups: usize,
    ) -> Result<()> {
        self.update_batch(states, group_of, None, groups)
    }

    /// Each value as the sum of a group of its own.
    fn convert_to_state(
        &self,
        arguments: &[ArrayRef],
        only: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = numbers::<T>(arguments)?;
        let (_, stored, nulls) = values.into_parts();
        let kept = only.map(|only| match only.nulls() {
            Some(known) => NullBuffer::new(only.values() & known.inner()),
            None => NullBuffer::new(only.values().clone()),
        });
        let nulls = NullBuffer::union(nulls.as_ref(), kept.as_ref());
        let values = PrimitiveArray::<T>::new(stored, nulls);
        Ok(vec![self.label.array(values)?])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<T::Native>() + self.seen.size()
    }
}
