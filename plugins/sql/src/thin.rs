//! Operations that are one statement: params to SQL, and the rest is that of `sql`.

use std::borrow::Cow;

use odibi_sdk::prelude::*;

use crate::parse;
use crate::query::Query;
use crate::sql::MAIN;
use crate::statement::further;

/// An operation that is one statement. The type that implements it is its params.
pub(crate) trait Thin: odibi_sdk::params::Params {
    /// As of [`Operation`].
    const NAME: &'static str;
    /// As of [`Operation`].
    const SUMMARY: &'static str;
    /// As of [`Operation`]; the tables are called as `statement::further` says, whatever the param calls them.
    const FURTHER_INPUTS: FurtherInputs = FurtherInputs::None;

    /// As of [`Operation`].
    fn examples() -> Vec<Example>;

    /// Expressions among the params, with their pointers: checked for syntax even where no table is known.
    fn expressions(&self) -> Vec<(String, &str)> {
        Vec::new()
    }

    /// Does the result depend on the order of the rows?
    fn keeps_order(&self) -> bool {
        false
    }

    /// The statement.
    fn sql(&self, inputs: &[SchemaRef]) -> Result<String>;
}

/// A thin operation as an operation.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Of<T>(T);

/// Described as the params themselves, and not as a reference to them.
impl<T: Thin> JsonSchema for Of<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

impl<T: Thin> Operation for Of<T> {
    const NAME: &'static str = T::NAME;
    const SUMMARY: &'static str = T::SUMMARY;
    const FURTHER_INPUTS: FurtherInputs = T::FURTHER_INPUTS;

    fn examples() -> Vec<Example> {
        T::examples()
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        if Query::is_blind(inputs) {
            for (pointer, text) in self.0.expressions() {
                parse::expression(text).map_err(|f| f.at_param(pointer))?;
            }
            let inputs = inputs.iter().map(|_| InputPlan::only([]));
            return Ok(Plan::fresh(inputs, &Schema::empty()));
        }
        let mut plan = self.query(inputs)?.plan(inputs).map_err(without_place)?;
        if self.0.keeps_order() {
            for input in &mut plan.inputs {
                input.keep_order = true;
            }
        }
        Ok(plan)
    }

    fn open(self, start: Start) -> Result<Box<dyn Session>> {
        Query::open(&start)
    }
}

impl<T: Thin> Of<T> {
    /// The statement with the names of its tables.
    pub(crate) fn query(&self, inputs: &[SchemaRef]) -> Result<Query> {
        let further = (1..inputs.len()).map(further);
        Ok(Query {
            sql: self.0.sql(inputs)?,
            tables: std::iter::once(MAIN.to_owned())
                .chain(further)
                .map(|name| vec![name])
                .collect(),
        })
    }
}

/// A place in the statement says nothing to people who did not write it.
fn without_place(mut failure: Failure) -> Failure {
    failure.span = None;
    failure
}
