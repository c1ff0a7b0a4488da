//! `validate_and_flag`: writes down which rules a row breaks.

use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use crate::expression::Expressions;
use crate::ordered::Ordered;
use crate::statement::{Columns, text};
use crate::thin::Thin;

/// Params of `validate_and_flag`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValidateAndFlag {
    /// Name of the rule to the SQL condition that must be true. A condition that is null is not broken.
    rules: Ordered<String>,
    /// Column that receives the names of the broken rules, separated by a comma and a blank; null where none is broken. A
    /// column of this name is replaced where it stands.
    #[serde(default = "issues")]
    flag_col: String,
}

fn issues() -> String {
    "_issues".to_owned()
}

impl Thin for ValidateAndFlag {
    const NAME: &'static str = "validate_and_flag";
    const SUMMARY: &'static str = "Writes into a column which rules a row breaks";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "names the rules that a row breaks",
                json!({ "rules": { "age_check": "age >= 0", "email_format": "email LIKE '%@%'" } }),
                ["id,age,email\n1,30,a@b.de\n2,-1,nobody\n3,-2,\n"],
                "id,age,email,_issues\n1,30,a@b.de,\n2,-1,nobody,\"age_check, email_format\"\n3,-2,,age_check\n",
            ),
            Example::new(
                "a missing value breaks a rule that says so",
                json!({ "flag_col": "data_issues", "rules": { "email_missing": "email IS NOT NULL" } }),
                ["id,email\n1,a@b.de\n2,\n"],
                "id,email,data_issues\n1,a@b.de,\n2,,email_missing\n",
            ),
        ]
    }

    fn expressions(&self) -> Vec<(String, &str)> {
        let each = self.rules.iter();
        each.map(|(name, text)| (child("/rules", name), text.as_str()))
            .collect()
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let input = super::main(inputs)?;
        super::not_empty("/rules", self.rules.is_empty())?;
        let expressions = Expressions::over(input)?;
        let mut broken = Vec::new();
        for (name, condition) in self.rules.iter() {
            let pointer = child("/rules", name);
            if name.is_empty() {
                let message = "the name of a rule must not be empty";
                return Err(Failure::param(pointer, message));
            }
            let condition = expressions.condition(&pointer, condition)?;
            broken.push(format!("CASE WHEN NOT {condition} THEN {} END", text(name)));
        }
        let mut columns = Columns::of(input);
        let flags = format!("nullif(concat_ws(', ', {}), '')", broken.join(", "));
        columns.put(&self.flag_col, flags);
        columns.over_main()
    }
}
