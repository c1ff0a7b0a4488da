//! `filter_rows`: keeps the rows for which a condition is true.

use odibi_sdk::prelude::*;

use crate::expression::Expressions;
use crate::sql::MAIN;
use crate::statement::{Columns, name};
use crate::thin::Thin;

/// Params of `filter_rows`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilterRows {
    /// SQL condition, as it would stand behind WHERE. A row for which it is false or null is left out.
    condition: String,
}

impl Thin for FilterRows {
    const NAME: &'static str = "filter_rows";
    const SUMMARY: &'static str = "Keeps the rows for which a SQL condition is true";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "keeps grown-up members",
                json!({ "condition": "age >= 18 AND status = 'active'" }),
                ["id,age,status\n1,30,active\n2,12,active\n3,40,gone\n4,,active\n"],
                "id,age,status\n1,30,active\n",
            ),
            Example::new(
                "keeps rows that have a value",
                json!({ "condition": "email IS NOT NULL" }),
                ["id,email\n1,a@b.de\n2,\n"],
                "id,email\n1,a@b.de\n",
            ),
        ]
    }

    fn expressions(&self) -> Vec<(String, &str)> {
        vec![("/condition".to_owned(), &self.condition)]
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let input = super::main(inputs)?;
        let condition = Expressions::over(input)?.filter("/condition", &self.condition)?;
        Columns::of(input).select(&format!("FROM {} WHERE {condition}", name(MAIN)))
    }
}
