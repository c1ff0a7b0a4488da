//! `GROUP BY` one column of 32 or 64 bits: integers, dates, times.
//!
//! The engine's own operator looks up each key in a general hash table, which takes more than half of its time here. This
//! one keeps keys and their groups side by side in one array of places. All that is computed of the rows of a group is the
//! engine's, as are all other ways of grouping.

use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, ArrayRef, RecordBatch, make_array};
use arrow_schema::{DataType, SchemaRef};
use datafusion::arrow::array::ArrayData;
use datafusion::arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use datafusion::arrow::datatypes::ArrowNativeType;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::aggregates::{
    AggregateExec, AggregateMode, aggregate_expressions, evaluate_many,
};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PlanProperties,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::database::internal;
use crate::stream::EMIT_ROWS;

/// The plan, with this operator where it does.
pub(crate) fn replace(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let one = |node: Arc<dyn ExecutionPlan>| {
        let ours = node.downcast_ref::<AggregateExec>();
        let ours = ours.filter(|of| is_ours(of)).cloned();
        Ok(match ours {
            Some(of) => Transformed::yes(Arc::new(GroupsExec { of }) as Arc<dyn ExecutionPlan>),
            None => Transformed::no(node),
        })
    };
    plan.transform_up(one).map(|t| t.data)
}

fn is_ours(of: &AggregateExec) -> bool {
    let is_whole = matches!(
        of.mode(),
        AggregateMode::Single | AggregateMode::SinglePartitioned
    );
    let is_plain = of.group_expr().is_single()
        && of.group_expr().expr().len() == 1
        && *of.input_order_mode() == InputOrderMode::Linear
        && of.limit_options().is_none();
    let key = of.schema().field(0).data_type().clone();
    let known = |one: &Arc<datafusion::physical_expr::aggregate::AggregateFunctionExpr>| {
        one.order_bys().is_empty() && one.groups_accumulator_supported()
    };
    is_whole && is_plain && Keys::of(&key).is_some() && of.aggr_expr().iter().all(known)
}

/// What the engine's operator would do.
#[derive(Debug)]
struct GroupsExec {
    of: AggregateExec,
}

impl DisplayAs for GroupsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupsExec")
    }
}

impl ExecutionPlan for GroupsExec {
    fn name(&self) -> &'static str {
        "GroupsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.of.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.of.children()
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.of.apply_expressions(visit)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        replace(Arc::new(self.of.clone()).replace_children(children, options)?)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let mut input = self.of.input().execute(partition, context)?;
        let mut groups = Groups::new(&self.of)?;
        let answer = async move {
            while let Some(batch) = input.next().await {
                groups.add(&batch?)?;
            }
            let whole = groups.finish()?;
            let starts = (0..whole.num_rows()).step_by(EMIT_ROWS);
            let parts: Vec<_> = starts
                .map(|at| whole.slice(at, EMIT_ROWS.min(whole.num_rows() - at)))
                .collect();
            Ok::<_, DataFusionError>(stream::iter(parts.into_iter().map(Ok)))
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            stream::once(answer).try_flatten(),
        )))
    }
}

/// All groups so far.
struct Groups {
    schema: SchemaRef,
    key: Arc<dyn PhysicalExpr>,
    arguments: Vec<Vec<Arc<dyn PhysicalExpr>>>,
    filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    keys: Keys,
    /// The group of each row of a batch.
    of_rows: Vec<usize>,
}

impl Groups {
    fn new(of: &AggregateExec) -> Result<Self> {
        let schema = of.schema();
        let nothing = || internal("no key to group by");
        let (key, _) = of.group_expr().expr().first().ok_or_else(nothing)?;
        let accumulators = of
            .aggr_expr()
            .iter()
            .map(|one| one.create_groups_accumulator());
        Ok(Self {
            key: Arc::clone(key),
            arguments: aggregate_expressions(of.aggr_expr(), of.mode(), 1)?,
            filters: of.filter_expr().to_vec(),
            accumulators: accumulators.collect::<Result<_>>()?,
            keys: Keys::of(schema.field(0).data_type()).ok_or_else(nothing)?,
            schema,
            of_rows: Vec::new(),
        })
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        let array = |of: &Arc<dyn PhysicalExpr>| of.evaluate(batch)?.into_array(rows);
        let key = array(&self.key)?;
        self.keys.find(&key, &mut self.of_rows)?;
        let groups = self.keys.len();
        let arguments = evaluate_many(&self.arguments, batch)?;
        let all = self.accumulators.iter_mut().zip(&arguments);
        for ((accumulator, arguments), filter) in all.zip(&self.filters) {
            let filter = filter.as_ref().map(array).transpose()?;
            let filter = filter.as_ref().map(|filter| filter.as_boolean());
            accumulator.update_batch(arguments, &self.of_rows, filter, groups)?;
        }
        Ok(())
    }

    /// In the order in which the groups were first met.
    fn finish(mut self) -> Result<RecordBatch> {
        if self.keys.len() == 0 {
            return Ok(RecordBatch::new_empty(self.schema));
        }
        let mut columns = vec![self.keys.column(self.schema.field(0).data_type())?];
        for accumulator in &mut self.accumulators {
            columns.push(accumulator.evaluate(EmitTo::All)?);
        }
        Ok(RecordBatch::try_new(self.schema, columns)?)
    }
}

/// The keys of all groups, as bits.
enum Keys {
    Narrow(Places<u32>),
    Wide(Places<u64>),
}

impl Keys {
    fn of(data_type: &DataType) -> Option<Self> {
        // Floats have two zeros that are equal, and intervals of eight bytes lie at multiples of four.
        let is_one = matches!(data_type, DataType::Decimal32(..) | DataType::Decimal64(..))
            || data_type.is_integer()
            || (data_type.is_temporal() && !matches!(data_type, DataType::Interval(_)));
        match data_type.primitive_width() {
            Some(4) if is_one => Some(Self::Narrow(Places::default())),
            Some(8) if is_one => Some(Self::Wide(Places::default())),
            _ => None,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Narrow(places) => places.keys.len(),
            Self::Wide(places) => places.keys.len(),
        }
    }

    /// The group of each key.
    fn find(&mut self, keys: &ArrayRef, groups: &mut Vec<usize>) -> Result<()> {
        let data = keys.to_data();
        match self {
            Self::Narrow(places) => places.find(&bits(&data)?, keys.nulls(), groups),
            Self::Wide(places) => places.find(&bits(&data)?, keys.nulls(), groups),
        }
        Ok(())
    }

    fn column(&mut self, data_type: &DataType) -> Result<ArrayRef> {
        let groups = self.len();
        let (buffer, null) = match self {
            Self::Narrow(places) => (
                Buffer::from_vec(std::mem::take(&mut places.keys)),
                places.null,
            ),
            Self::Wide(places) => (
                Buffer::from_vec(std::mem::take(&mut places.keys)),
                places.null,
            ),
        };
        let nulls = null.map(|null| {
            (0..groups)
                .map(|group| group != null)
                .collect::<NullBuffer>()
        });
        let data = ArrayData::builder(data_type.clone())
            .len(groups)
            .add_buffer(buffer)
            .nulls(nulls);
        Ok(make_array(data.build()?))
    }
}

fn bits<K: ArrowNativeType>(data: &ArrayData) -> Result<ScalarBuffer<K>> {
    let values = data.buffers().first();
    let values = values.ok_or_else(|| internal("a key without values"))?;
    Ok(ScalarBuffer::new(values.clone(), data.offset(), data.len()))
}

/// Where a key is, if it is anywhere: there, or behind it up to the first place that is free.
struct Places<K> {
    /// A power of two, of which a quarter is free at least.
    slots: Vec<Slot<K>>,
    /// By group; anything for that of null.
    keys: Vec<K>,
    null: Option<usize>,
}

#[derive(Clone, Copy)]
struct Slot<K> {
    key: K,
    /// The memory of a guest has no room for as many groups as this has numbers.
    group: u32,
}

/// The group of a place that is free.
const FREE: u32 = u32::MAX;

const PLACES_MIN: usize = 1 << 10;

impl<K: Key> Default for Places<K> {
    fn default() -> Self {
        Self {
            slots: vec![Slot::free(); PLACES_MIN],
            keys: Vec::new(),
            null: None,
        }
    }
}

impl<K: Key> Slot<K> {
    fn free() -> Self {
        Self {
            key: K::default(),
            group: FREE,
        }
    }
}

impl<K: Key> Places<K> {
    fn find(&mut self, keys: &[K], nulls: Option<&NullBuffer>, groups: &mut Vec<usize>) {
        groups.clear();
        match nulls.filter(|nulls| nulls.null_count() > 0) {
            None => groups.extend(keys.iter().map(|key| self.group(*key))),
            Some(nulls) => groups.extend(keys.iter().zip(nulls).map(
                |(key, is_valid)| match is_valid {
                    true => self.group(*key),
                    false => self.group_of_null(),
                },
            )),
        }
    }

    fn group(&mut self, key: K) -> usize {
        let at = self.first(key);
        match self.slots.get(at) {
            Some(slot) if slot.key == key && slot.group != FREE => slot.group as usize,
            _ => self.look(key, at),
        }
    }

    fn first(&self, key: K) -> usize {
        let mixed = key.mixed();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low bits are what is wanted"
        )]
        let mixed = mixed as usize;
        mixed & (self.slots.len() - 1)
    }

    #[inline(never)]
    fn look(&mut self, key: K, first: usize) -> usize {
        let mut at = first;
        loop {
            let slot = self.slots[at];
            if slot.group == FREE {
                break;
            }
            if slot.key == key {
                return slot.group as usize;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        let group = self.keys.len();
        self.keys.push(key);
        self.slots[at] = Slot {
            key,
            group: u32::try_from(group).unwrap_or(FREE - 1),
        };
        if self.keys.len() > self.slots.len() / 4 * 3 {
            self.grow();
        }
        group
    }

    fn grow(&mut self) {
        let more = vec![Slot::free(); self.slots.len() * 2];
        let fewer = std::mem::replace(&mut self.slots, more);
        for slot in fewer.into_iter().filter(|slot| slot.group != FREE) {
            let mut at = self.first(slot.key);
            while self.slots[at].group != FREE {
                at = (at + 1) & (self.slots.len() - 1);
            }
            self.slots[at] = slot;
        }
    }

    fn group_of_null(&mut self) -> usize {
        *self.null.get_or_insert_with(|| {
            self.keys.push(K::default());
            self.keys.len() - 1
        })
    }
}

trait Key: ArrowNativeType {
    /// Its low bits depend on all bits of the key, so that keys in a row, and multiples of anything, are spread.
    fn mixed(self) -> u64;
}

impl Key for u32 {
    fn mixed(self) -> u64 {
        // The middle of the product depends on all bits.
        u64::from(self).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
    }
}

impl Key for u64 {
    fn mixed(self) -> u64 {
        let folded = (self ^ self >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (folded ^ folded >> 29).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Keys that a multiplication alone would put side by side, or all into one place.
    fn keys(count: u64) -> impl Iterator<Item = u64> {
        let shifts = [0, 3, 12, 20, 32, 40, 52];
        (0..count).flat_map(move |n| shifts.map(|by| n.rotate_left(by)))
    }

    fn check<K: Key + Eq + std::hash::Hash>(keys: &[K], nulls: Option<&NullBuffer>) {
        let mut places = Places::<K>::default();
        let mut known: HashMap<Option<K>, usize> = HashMap::new();
        let mut found = Vec::new();
        let mut at = 0;
        for part in keys.chunks(700) {
            let of_part = nulls.map(|nulls| nulls.slice(at, part.len()));
            places.find(part, of_part.as_ref(), &mut found);
            assert_eq!(found.len(), part.len());
            for (row, (key, group)) in part.iter().zip(&found).enumerate() {
                let is_null = of_part.as_ref().is_some_and(|nulls| nulls.is_null(row));
                let next = known.len();
                let expected = *known.entry((!is_null).then_some(*key)).or_insert(next);
                assert_eq!(*group, expected, "{key:?} in row {}", at + row);
            }
            at += part.len();
        }
        assert_eq!(places.keys.len(), known.len());
        let in_order = places.keys.iter().enumerate();
        for (group, key) in in_order.filter(|(group, _)| places.null != Some(*group)) {
            assert_eq!(known.get(&Some(*key)), Some(&group));
        }
    }

    #[test]
    fn every_key_has_one_group_however_many_there_are() {
        let wide: Vec<u64> = keys(9_000).chain(keys(3_000)).collect();
        let nulls: NullBuffer = (0..wide.len()).map(|row| row % 7 != 3).collect();
        check(&wide, None);
        check(&wide, Some(&nulls));
        #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
        let narrow: Vec<u32> = wide.iter().map(|key| *key as u32).collect();
        check(&narrow, None);
        check(&narrow, Some(&nulls));
    }

    /// Half of the places are taken: of keys that lie by chance, one is found in one and a half looks.
    #[test]
    fn keys_are_spread() {
        for by in [0, 1, 7, 12, 20, 31, 32, 33, 44, 50] {
            let mut places = Places::<u64>::default();
            let keys: Vec<u64> = (0..8_192_u64).map(|n| n.rotate_left(by)).collect();
            let mut found = Vec::new();
            places.find(&keys, None, &mut found);
            let looks = |key: &u64| {
                let mut at = places.first(*key);
                let mut looks = 1;
                while places.slots[at].key != *key {
                    at = (at + 1) & (places.slots.len() - 1);
                    looks += 1;
                }
                looks
            };
            let looks: usize = keys.iter().map(looks).sum();
            assert!(looks < keys.len() * 2, "{looks} looks, by {by}");
        }
    }

    #[test]
    fn what_lies_in_memory_as_one_number_is_a_key() {
        use arrow_schema::{IntervalUnit, TimeUnit};
        let known = [
            DataType::Int32,
            DataType::UInt64,
            DataType::Date32,
            DataType::Time64(TimeUnit::Microsecond),
            DataType::Timestamp(TimeUnit::Second, Some("+01:00".into())),
            DataType::Decimal64(12, 2),
        ];
        let others = [
            DataType::Int16,
            DataType::Boolean,
            DataType::Float64,
            DataType::Utf8,
            DataType::Decimal128(12, 2),
            DataType::Interval(IntervalUnit::DayTime),
        ];
        assert!(known.iter().all(|kind| Keys::of(kind).is_some()));
        assert!(others.iter().all(|kind| Keys::of(kind).is_none()));
    }
}
