//! `chain`: operations that answer batch by batch, one after the other on each batch, in one crossing.
//!
//! Nobody has to write it: steps that follow one another and can be chained are chained by the host.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::FieldRef;
use odibi_sdk::params::child;
use odibi_sdk::plan::OutputColumn;
use odibi_sdk::prelude::*;

use crate::batchwise::{Batchwise, Slot};
use crate::database::Database;
use crate::fault;
use crate::operations as op;
use crate::query::{Link, Query, State};
use crate::sql::Sql;
use crate::thin::Of;

/// Steps of one chain.
const STEPS_MAX: usize = 64;

/// Params of `chain`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chain {
    /// The operations, in order; each sees what the one before gives. They may be `sql` and those that are one statement,
    /// over no further table, where every batch answers for itself: no groups, windows, orders or limits.
    steps: Vec<Step>,
}

/// One operation of a chain.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Step {
    /// Its name.
    operation: String,
    /// Its params.
    #[serde(default)]
    params: serde_json::Map<String, Value>,
}

impl Operation for Chain {
    const NAME: &'static str = "chain";
    const SUMMARY: &'static str = "Runs operations one after the other on each batch";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "keeps rows, then computes a column of what is left",
                json!({ "steps": [
                    { "operation": "filter_rows", "params": { "condition": "quantity > 0" } },
                    { "operation": "derive_columns", "params": { "derivations": { "total": "price * quantity" } } },
                ] }),
                ["id,price,quantity\n1,2.5,4\n2,9.9,0\n3,1.0,1\n"],
                "id,price,quantity,total\n1,2.5,4,10.0\n3,1.0,1,1.0\n",
            ),
            Example::new(
                "a query over what a query gives",
                json!({ "steps": [
                    { "operation": "sql", "params": { "sql": "SELECT id, trim(name) AS name FROM df" } },
                    { "operation": "sql", "params": { "sql": "SELECT upper(name) AS name FROM df WHERE name <> ''" } },
                ] }),
                ["id,name\n1, ann\n2, \n3,bob\n"],
                "name\nANN\nBOB\n",
            ),
        ]
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        if self.steps.is_empty() || self.steps.len() > STEPS_MAX {
            let message = format!(
                "a chain has 1 to {STEPS_MAX} steps, has: {}",
                self.steps.len()
            );
            return Err(Failure::param("/steps", message).code("bad-chain"));
        }
        if Query::is_blind(inputs) {
            return Ok(Plan::fresh([InputPlan::only([])], &Schema::empty()));
        }
        let [offered] = inputs else {
            return Err(Failure::internal("not one input"));
        };
        let mut queries = Vec::with_capacity(self.steps.len());
        let chained = chained(offered, self.steps.len(), |at, schema| {
            let query = self.steps[at].query(schema).map_err(|f| within(f, at))?;
            queries.push(query.clone());
            Ok(query)
        })?;
        let need = chained.batchwise.need();
        let need = need.ok_or_else(|| Failure::internal("a column is not in its input"))?;
        let slots = chained.batchwise.slots();
        let output = slots.into_iter().zip(chained.fields);
        let output = output.map(|(slot, field)| match slot {
            Slot::Passed(input) => OutputColumn::Passed {
                field,
                port: 0,
                input,
            },
            Slot::Made => OutputColumn::Computed(field),
        });
        let state = State {
            query: queries,
            schemas: vec![Arc::clone(offered)],
        };
        Ok(Plan::new([InputPlan::only(need)], output.collect())
            .spread(Spread::PerBatch)
            .state(state.write()?))
    }

    fn open(self, start: Start) -> Result<Box<dyn Session>> {
        let State { query, schemas } = State::<Vec<Query>>::read(&start.state)?;
        let [offered] = &*schemas else {
            return Err(Failure::internal("not one schema"));
        };
        let chained = chained(offered, query.len(), |at, _| Ok(query[at].clone()))?;
        let database = Database::new(HashMap::new()).map_err(|e| fault::of_run(&e))?;
        chained.batchwise.open(&database, start.computed)
    }
}

/// All steps as one.
struct Chained {
    batchwise: Batchwise,
    fields: Vec<FieldRef>,
}

fn chained(
    offered: &SchemaRef,
    steps: usize,
    mut query: impl FnMut(usize, &SchemaRef) -> Result<Query>,
) -> Result<Chained> {
    let mut schema = Arc::clone(offered);
    let mut before: Option<(Batchwise, datafusion::common::DFSchemaRef)> = None;
    let mut fields = Vec::new();
    for at in 0..steps {
        let link = query(at, &schema)?
            .link(&schema)
            .map_err(|f| within(f, at))?;
        let Some(Link {
            batchwise,
            result,
            output,
        }) = link
        else {
            let message = "the step does not answer batch by batch";
            return Err(Failure::param(child("/steps", at), message)
                .code("not-per-batch")
                .hint("make it a step of its own"));
        };
        let batchwise = match before.take() {
            None => batchwise,
            Some((first, its_result)) => first
                .then(&its_result, batchwise)
                .map_err(|e| fault::of_run(&e))?,
        };
        before = Some((batchwise, result));
        fields = output.iter().map(|c| Arc::clone(c.field())).collect();
        schema = Arc::new(Schema::new(fields.clone()));
    }
    let (batchwise, _) = before.ok_or_else(|| Failure::internal("a chain without steps"))?;
    Ok(Chained { batchwise, fields })
}

/// A failure of a step as one of the chain.
fn within(mut failure: Failure, at: usize) -> Failure {
    if let Some(param) = &failure.param {
        failure.param = Some(format!("{}{param}", child(&child("/steps", at), "params")));
    }
    failure
}

impl Step {
    fn query(&self, offered: &SchemaRef) -> Result<Query> {
        let inputs = std::slice::from_ref(offered);
        macro_rules! one_of {
            ($($operation:ty),* $(,)?) => {
                $(if self.operation == <$operation>::NAME {
                    let text = Value::Object(self.params.clone()).to_string();
                    return odibi_sdk::params::read::<$operation>(&text)?.query(inputs);
                })*
            };
        }
        one_of!(
            Sql,
            Of<op::case_when::CaseWhen>,
            Of<op::cast_columns::CastColumns>,
            Of<op::coalesce_columns::CoalesceColumns>,
            Of<op::concat_columns::ConcatColumns>,
            Of<op::convert_timezone::ConvertTimezone>,
            Of<op::date_add::DateAdd>,
            Of<op::date_diff::DateDiff>,
            Of<op::date_trunc::DateTrunc>,
            Of<op::derive_columns::DeriveColumns>,
            Of<op::extract_date_parts::ExtractDateParts>,
            Of<op::filter_rows::FilterRows>,
            Of<op::regex_replace::RegexReplace>,
            Of<op::split_part::SplitPart>,
            Of<op::validate_and_flag::ValidateAndFlag>,
        );
        let message = format!("`{}` cannot stand in a chain", self.operation);
        Err(Failure::param("", message)
            .code("not-per-batch")
            .hint("make it a step of its own"))
    }
}
