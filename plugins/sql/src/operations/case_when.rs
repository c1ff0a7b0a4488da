//! `case_when`: the value of the first condition that is true.

use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use crate::expression::Expressions;
use crate::statement::Columns;
use crate::thin::Thin;

/// Params of `case_when`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaseWhen {
    /// Looked at in this order; the first whose condition is true counts.
    cases: Vec<Case>,
    /// SQL expression for rows that no condition is true of. Text stands in quotes of its own: `"'other'"`.
    #[serde(default = "null")]
    default: String,
    /// Column that receives the value; one of this name is replaced where it stands.
    output_col: String,
}

/// One case.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Case {
    /// SQL condition.
    condition: String,
    /// SQL expression of the value. Text stands in quotes of its own: `"'minor'"`.
    value: String,
}

fn null() -> String {
    "NULL".to_owned()
}

impl Thin for CaseWhen {
    const NAME: &'static str = "case_when";
    const SUMMARY: &'static str = "Gives each row the value of the first condition that is true";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "sorts people into groups by age",
                json!({
                    "output_col": "age_group",
                    "default": "'adult'",
                    "cases": [
                        { "condition": "age < 18", "value": "'minor'" },
                        { "condition": "age > 65", "value": "'senior'" },
                    ],
                }),
                ["id,age\n1,12\n2,70\n3,30\n4,\n"],
                "id,age,age_group\n1,12,minor\n2,70,senior\n3,30,adult\n4,,adult\n",
            ),
            Example::new(
                "replaces a column, null where nothing fits",
                json!({
                    "output_col": "price",
                    "cases": [{ "condition": "price > 0", "value": "price * 2" }],
                }),
                ["id,price\n1,1.5\n2,-1.0\n"],
                "id,price\n1,3.0\n2,\n",
            ),
        ]
    }

    fn expressions(&self) -> Vec<(String, &str)> {
        let mut all = Vec::new();
        for (i, case) in self.cases.iter().enumerate() {
            let pointer = child("/cases", i);
            all.push((child(&pointer, "condition"), case.condition.as_str()));
            all.push((child(&pointer, "value"), case.value.as_str()));
        }
        all.push(("/default".to_owned(), &self.default));
        all
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let input = super::main(inputs)?;
        super::not_empty("/cases", self.cases.is_empty())?;
        let expressions = Expressions::over(input)?;
        let mut sql = "CASE".to_owned();
        let mut typed = false;
        for (i, case) in self.cases.iter().enumerate() {
            let pointer = child("/cases", i);
            let condition =
                expressions.condition(&child(&pointer, "condition"), &case.condition)?;
            let value = expressions.part(&child(&pointer, "value"), &case.value)?;
            typed |= value.kind != DataType::Null;
            sql.push_str(&format!(" WHEN {condition} THEN {}", value.sql));
        }
        let default = expressions.part("/default", &self.default)?;
        if !typed && default.kind == DataType::Null {
            let message = "every value is null, so that the column has no type";
            return Err(Failure::param("/cases/0/value", message)
                .code("no-type")
                .hint("cast it: CAST(NULL AS VARCHAR)"));
        }
        sql.push_str(&format!(" ELSE {} END", default.sql));
        let mut columns = Columns::of(input);
        columns.put(&self.output_col, sql);
        columns.over_main()
    }
}
