//! The kernels as operations. None takes params.

use odibi_sdk::prelude::*;

use crate::{AGGREGATE, DERIVE, FILTER, Groups, PARSE, derive, derived, filter, parse, parsed};

/// Every column goes in and comes out again: what the crossing itself costs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {}

impl Operation for Identity {
    const NAME: &'static str = "identity";
    const SUMMARY: &'static str = "Sends every column back";

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let schema = inputs
            .first()
            .ok_or_else(|| Failure::internal("no input"))?;
        Ok(Plan::fresh([InputPlan::all()], schema))
    }

    fn open(self, _start: Start) -> Result<Box<dyn Session>> {
        Ok(Box::new(Echo))
    }
}

struct Echo;

impl Session for Echo {
    fn process(&mut self, _: usize, batch: RecordBatch, out: &mut Output<'_>) -> Result<Appetite> {
        out.fresh(&batch)
    }
}

/// Picks rows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {}

impl Rows for Filter {
    const NAME: &'static str = "filter";
    const SUMMARY: &'static str = "Keeps about half of the rows";

    fn outline(&self, input: &Schema) -> Result<Outline> {
        Outline::of(input).read_each("", &FILTER)
    }

    fn keep(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        Ok(filter(batch))
    }
}

/// Adds computed columns.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Derive {}

impl Columns for Derive {
    const NAME: &'static str = "derive";
    const SUMMARY: &'static str = "Adds four computed columns";

    fn outline(&self, input: &Schema) -> Result<Outline> {
        let outline = Outline::of(input).read_each("", &DERIVE)?;
        Ok(derived().into_iter().fold(outline, Outline::put))
    }

    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        Ok(derive(batch))
    }
}

/// Adds columns read out of text.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parse {}

impl Columns for Parse {
    const NAME: &'static str = "parse";
    const SUMMARY: &'static str = "Adds two columns of numbers read out of text";

    fn outline(&self, input: &Schema) -> Result<Outline> {
        let outline = Outline::of(input).read_each("", &PARSE)?;
        Ok(parsed().into_iter().fold(outline, Outline::put))
    }

    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        Ok(parse(batch))
    }
}

/// Sums by customer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Aggregate {}

impl Operation for Aggregate {
    const NAME: &'static str = "aggregate";
    const SUMMARY: &'static str = "Sums by customer";

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let schema = inputs
            .first()
            .ok_or_else(|| Failure::internal("no input"))?;
        let input = InputPlan::only(find_each("", &AGGREGATE, schema)?);
        Ok(Plan::fresh([input], &Groups::output()))
    }

    fn open(self, _start: Start) -> Result<Box<dyn Session>> {
        Ok(Box::new(Sums {
            groups: Groups::default(),
        }))
    }
}

struct Sums {
    groups: Groups,
}

impl Session for Sums {
    fn process(&mut self, _: usize, batch: RecordBatch, _: &mut Output<'_>) -> Result<Appetite> {
        self.groups.add(&batch);
        Ok(Appetite::More)
    }

    fn finish(&mut self, out: &mut Output<'_>) -> Result<Option<Value>> {
        out.fresh(&self.groups.finish()?)?;
        Ok(None)
    }
}
