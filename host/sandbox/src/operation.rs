//! One operation of one component: planning, and opening sessions.

use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use odibi_plan::GuestLimits;
use odibi_plan::plan::Grants;
use odibi_run::MemoryBudget;
use odibi_run::port::{
    Cancel, InputPlan, Operation, OperationPlan, Session, SessionContext, SortKey, Spread,
};
use odibi_story::event::{ComponentOrigin, OperationIdentity};
use odibi_story::failure::Failure;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::component::Loaded;
use crate::contract::{self, Columns, Feed};
use crate::exchange::{broken, schema};
use crate::failure::of_guest;
use crate::host_api::Logical;
use crate::host_api::output::Outlet;
use crate::instance::{Ready, Running};
use crate::limits::{Limits, exceeded};
use crate::session::Open;

/// An operation that was found.
pub(crate) struct Found {
    pub(crate) loaded: Arc<Loaded>,
    /// Its instances, with the limits of the step.
    pub(crate) ready: Ready,
    /// As the YAML names it.
    reference: String,
    /// Inside the component.
    pub(crate) name: String,
    origin: ComponentOrigin,
    /// What its sessions are granted. Planning is granted nothing: the same question must get the same answer.
    pub(crate) grants: Grants,
}

impl Found {
    pub(crate) fn new(loaded: Arc<Loaded>, reference: String, name: String) -> Self {
        Self {
            origin: loaded.charge(),
            ready: loaded.ready.clone(),
            loaded,
            reference,
            name,
            grants: Grants::default(),
        }
    }

    /// The same, with these limits over those that its component has.
    pub(crate) fn under(mut self, limits: &GuestLimits) -> Self {
        self.ready.limits = Arc::new(self.ready.limits.with(limits));
        self
    }
}

impl Operation for Found {
    fn identity(&self) -> OperationIdentity {
        OperationIdentity {
            reference: self.reference.clone(),
            plugin: self.loaded.manifest.name.clone(),
            version: self.loaded.manifest.version.clone(),
            digest: self.loaded.digest.clone(),
        }
    }

    fn origin(&self) -> Option<ComponentOrigin> {
        Some(self.origin)
    }

    fn grants(&self) -> Grants {
        self.grants
    }

    fn plan(&self, params: &Value, inputs: &[SchemaRef]) -> Result<OperationPlan, Failure> {
        self.plan_in(params, inputs, Cancel::default(), MemoryBudget::default())
    }

    fn plan_within(
        &self,
        params: &Value,
        inputs: &[SchemaRef],
        context: &SessionContext,
    ) -> Result<OperationPlan, Failure> {
        let (cancel, memory) = (context.cancel.clone(), context.memory.clone());
        self.plan_in(params, inputs, cancel, memory)
    }

    fn open(
        &self,
        plan: &Arc<OperationPlan>,
        context: &SessionContext,
    ) -> Result<Box<dyn Session>, Failure> {
        self.open_seeded(plan, context, seed(context))
    }
}

impl Found {
    fn plan_in(
        &self,
        params: &Value,
        inputs: &[SchemaRef],
        cancel: Cancel,
        memory: MemoryBudget,
    ) -> Result<OperationPlan, Failure> {
        // No time and no seed: the same question must get the same answer.
        let mut running = Running::start(&self.ready, Logical::default(), cancel, memory)?;
        let offered = inputs
            .iter()
            .map(|s| schema::write_offered(s))
            .collect::<Result<Vec<_>, _>>()?;
        let answer = running.plan((self.name.clone(), params.to_string(), offered))?;
        let plan = answer.map_err(|failure| of_guest(failure, params, false, running.guest()))?;
        checked(plan, params, inputs, &self.ready.limits)
    }

    /// Opens a session whose guest gets this seed.
    pub(crate) fn open_seeded(
        &self,
        plan: &Arc<OperationPlan>,
        context: &SessionContext,
        seed: u64,
    ) -> Result<Box<dyn Session>, Failure> {
        let run_time_ms = u64::try_from(context.logical_time.as_millisecond()).unwrap_or(0);
        let logical = Logical {
            run_time_ms,
            seed,
            grants: self.grants,
        };
        let mut running = Running::start(
            &self.ready,
            logical,
            context.cancel.clone(),
            context.memory.clone(),
        )?;
        running.guest_mut().outlet = Some(Box::new(Outlet::new(Arc::clone(plan))?));
        let guest_context = contract::Context {
            run_id: context.run_id.clone(),
            pipeline: context.pipeline.clone(),
            node: context.node.clone(),
            partition: context.partition,
            partitions: context.partitions,
            attempt: context.attempt,
        };
        let sent = plan.inputs.iter().map(|input| {
            let fields: Vec<Field> = input
                .need
                .iter()
                .map(|i| input.offered.field(*i).clone())
                .collect();
            schema::write(&Schema::new(fields))
        });
        let sent = sent.collect::<Result<Vec<_>, _>>()?;
        let params = plan.params.to_string();
        let answer = running.open((
            guest_context,
            self.name.clone(),
            params,
            plan.state.clone(),
            sent,
        ))?;
        let mut session = Open::new(running, Arc::clone(plan));
        session.accept(answer)?;
        Ok(Box::new(session))
    }
}

/// Derived from pipeline, node and partition, so that a retry gives the same answers.
pub(crate) fn seed(context: &SessionContext) -> u64 {
    let mut hash = Sha256::new();
    for part in [
        context.pipeline.as_bytes(),
        context.node.as_bytes(),
        &context.partition.to_le_bytes(),
    ] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize()
        .iter()
        .take(8)
        .fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}

/// Believes nothing of a plan that was not checked against the schemas that were offered.
fn checked(
    plan: contract::NodePlan,
    params: &Value,
    offered: &[SchemaRef],
    limits: &Limits,
) -> Result<OperationPlan, Failure> {
    if plan.inputs.len() != offered.len() {
        let (got, expected) = (plan.inputs.len(), offered.len());
        return Err(broken(
            "plan",
            format!("the plan speaks of {got} inputs, offered were {expected}"),
        ));
    }
    let [output] = plan.outputs.as_slice() else {
        return Err(broken(
            "plan",
            format!("the plan must have one output: {}", plan.outputs.len()),
        ));
    };
    if plan.state.len() > limits.state_bytes_max {
        return Err(exceeded(
            "plan-state",
            limits.state_bytes_max as u64,
            plan.state.len() as u64,
        ));
    }
    let inputs = plan.inputs.iter().zip(offered).enumerate();
    let inputs = inputs
        .map(|(port, (input, offered))| checked_input(port, input, offered))
        .collect::<Result<Vec<_>, _>>()?;
    let planned = schema::read(&output.schema, limits)?;
    let (output, pass_through) = checked_output(&planned, &output.pass_through, offered)?;
    if plan.batch_rows == Some(0) {
        return Err(broken("plan", "the plan asks for batches of no rows"));
    }
    Ok(OperationPlan {
        params: params.clone(),
        inputs,
        output,
        pass_through,
        spread: match plan.spread {
            contract::Spread::Single => Spread::Single,
            contract::Spread::PerPartition => Spread::PerPartition,
            contract::Spread::PerBatch => Spread::PerBatch,
        },
        batch_rows_max: plan.batch_rows.map(|rows| rows as usize),
        state: plan.state,
    })
}

fn checked_input(
    port: usize,
    plan: &contract::InputPlan,
    offered: &SchemaRef,
) -> Result<InputPlan, Failure> {
    let count = offered.fields().len();
    let index = |i: u32, what: &str| {
        let found = usize::try_from(i).ok().filter(|i| *i < count);
        found.ok_or_else(|| {
            broken(
                "plan",
                format!("{what} of input {port} names a column that was not offered: {i}"),
            )
        })
    };
    let need = match &plan.need {
        Columns::All => (0..count).collect(),
        Columns::Only(need) => {
            let need = need
                .iter()
                .map(|i| index(*i, "`need`"))
                .collect::<Result<Vec<_>, _>>()?;
            let mut seen = vec![false; count];
            if need.iter().any(|i| std::mem::replace(&mut seen[*i], true)) {
                return Err(broken(
                    "plan",
                    format!("`need` of input {port} names a column twice"),
                ));
            }
            need
        }
    };
    let partition_by = plan
        .partition_by
        .iter()
        .map(|i| index(*i, "`partition-by`"))
        .collect::<Result<_, _>>()?;
    let sorted_by = plan.sorted_by.iter().map(|key| {
        let column = index(key.column, "`sorted-by`")?;
        Ok(SortKey {
            column,
            descending: key.descending,
            nulls_first: key.nulls_first,
        })
    });
    Ok(InputPlan {
        offered: Arc::clone(offered),
        need,
        drained_first: plan.feed == Feed::DrainedFirst,
        partition_by,
        sorted_by: sorted_by.collect::<Result<_, Failure>>()?,
        keep_order: plan.keep_order,
    })
}

type PassThrough = Vec<Option<(usize, usize)>>;

fn checked_output(
    planned: &Schema,
    passed: &[contract::PassedColumn],
    offered: &[SchemaRef],
) -> Result<(SchemaRef, PassThrough), Failure> {
    let mut fields: Vec<Field> = planned
        .fields()
        .iter()
        .map(|f| f.as_ref().clone())
        .collect();
    let mut pass_through: PassThrough = vec![None; fields.len()];
    for passed in passed {
        let (output, port, input) = (
            passed.output as usize,
            passed.port as usize,
            passed.input as usize,
        );
        let source = offered.get(port).and_then(|s| s.fields().get(input));
        let source = source.ok_or_else(|| {
            broken(
                "plan",
                format!(
                    "a column that was not offered cannot pass through: {input} of input {port}"
                ),
            )
        })?;
        let (Some(field), Some(slot)) = (fields.get_mut(output), pass_through.get_mut(output))
        else {
            return Err(broken(
                "plan",
                format!(
                    "a column passes through to an output column that does not exist: {output}"
                ),
            ));
        };
        if slot.replace((port, input)).is_some() {
            return Err(broken(
                "plan",
                format!("two columns pass through to one: `{}`", field.name()),
            ));
        }
        if !schema::same_type(source.data_type(), field.data_type()) {
            let (name, from, to) = (field.name(), source.data_type(), field.data_type());
            return Err(broken(
                "plan",
                format!("column `{name}` cannot pass through with another type: {from} to {to}"),
            ));
        }
        if source.is_nullable() && !field.is_nullable() {
            return Err(broken(
                "plan",
                format!(
                    "column `{}` may hold nulls, but was planned without",
                    field.name()
                ),
            ));
        }
        // The host's own column comes back, so its metadata, at any depth, stays true.
        *field = Field::new(
            field.name(),
            source.data_type().clone(),
            field.is_nullable(),
        )
        .with_metadata(source.metadata().clone());
    }
    Ok((Arc::new(Schema::new(fields)), pass_through))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_schema::DataType;

    use super::*;
    use crate::contract::{NodePlan, OutputPlan, PassedColumn};

    fn offered() -> Vec<SchemaRef> {
        let fields = vec![
            Field::new("a", DataType::Int64, false),
            Field::new("b", DataType::Utf8, true),
        ];
        vec![Arc::new(Schema::new(fields))]
    }

    fn honest() -> NodePlan {
        let output = Schema::new(vec![
            Field::new("b", DataType::Utf8, true),
            Field::new("n", DataType::Int8, false),
        ]);
        NodePlan {
            inputs: vec![contract::InputPlan {
                need: Columns::Only(vec![0]),
                feed: Feed::Streamed,
                partition_by: vec![],
                sorted_by: vec![],
                keep_order: false,
            }],
            outputs: vec![OutputPlan {
                schema: schema::write(&output).unwrap(),
                pass_through: vec![PassedColumn {
                    output: 0,
                    port: 0,
                    input: 1,
                }],
            }],
            spread: contract::Spread::PerBatch,
            batch_rows: Some(10),
            state: vec![1],
        }
    }

    #[test]
    fn an_honest_plan_is_taken_over() {
        let plan = checked(honest(), &Value::Null, &offered(), &Limits::default()).unwrap();
        assert_eq!(plan.pass_through, [Some((0, 1)), None]);
        assert_eq!(plan.inputs[0].need, [0]);
        assert_eq!(plan.batch_rows_max, Some(10));
    }

    #[track_caller]
    fn refused(code: &str, word: &str, spoil: impl FnOnce(&mut NodePlan)) {
        let mut plan = honest();
        spoil(&mut plan);
        let failure = checked(plan, &Value::Null, &offered(), &Limits::default()).unwrap_err();
        assert_eq!(failure.code, code, "{failure}");
        assert!(failure.message.contains(word), "{failure}");
    }

    #[test]
    fn plans_that_contradict_themselves_are_refused() {
        refused("contract/plan", "inputs", |p| p.inputs.clear());
        refused("contract/plan", "one output", |p| p.outputs.clear());
        refused("contract/plan", "not offered", |p| {
            p.inputs[0].need = Columns::Only(vec![2])
        });
        refused("contract/plan", "twice", |p| {
            p.inputs[0].need = Columns::Only(vec![0, 0])
        });
        refused("contract/plan", "not offered", |p| {
            p.inputs[0].partition_by = vec![u32::MAX]
        });
        refused("contract/plan", "not offered", |p| {
            p.outputs[0].pass_through[0].port = 1
        });
        refused("contract/plan", "not exist", |p| {
            p.outputs[0].pass_through[0].output = 2
        });
        refused("contract/plan", "another type", |p| {
            p.outputs[0].pass_through[0].input = 0
        });
        refused("contract/plan", "two columns", |p| {
            let again = p.outputs[0].pass_through[0];
            p.outputs[0].pass_through.push(again);
        });
        refused("contract/plan", "no rows", |p| p.batch_rows = Some(0));
        refused("limit/plan-size", "plan", |p| {
            p.state = vec![0; (1 << 20) + 1]
        });
        refused("contract/ipc", "cut short", |p| {
            p.outputs[0].schema.truncate(3)
        });
    }

    #[test]
    fn a_column_with_nulls_cannot_pass_as_one_without() {
        refused("contract/plan", "nulls", |p| {
            let output = Schema::new(vec![
                Field::new("b", DataType::Utf8, false),
                Field::new("n", DataType::Int8, false),
            ]);
            p.outputs[0].schema = schema::write(&output).unwrap();
        });
    }
}
