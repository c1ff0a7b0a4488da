//! `derive_columns`: columns computed by expressions.

use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use crate::expression::Expressions;
use crate::ordered::Ordered;
use crate::statement::Columns;
use crate::thin::Thin;

/// Params of `derive_columns`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeriveColumns {
    /// Column to the SQL expression that computes it. Every expression sees the columns of the input, none sees another's
    /// result. A column that exists is replaced where it stands, others come at the end.
    derivations: Ordered<String>,
}

impl Thin for DeriveColumns {
    const NAME: &'static str = "derive_columns";
    const SUMMARY: &'static str = "Computes columns by SQL expressions";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "computes a total",
                json!({ "derivations": { "total": "price * quantity" } }),
                ["id,price,quantity\n1,2.5,4\n2,9.9,\n"],
                "id,price,quantity,total\n1,2.5,4,10.0\n2,9.9,,\n",
            ),
            Example::new(
                "replaces a column and adds another",
                json!({ "derivations": { "name": "trim(name)", "initial": "upper(left(trim(name), 1))" } }),
                ["id,name\n1, ann\n2,bob\n"],
                "id,name,initial\n1,ann,A\n2,bob,B\n",
            ),
        ]
    }

    fn expressions(&self) -> Vec<(String, &str)> {
        let each = self.derivations.iter();
        each.map(|(name, text)| (child("/derivations", name), text.as_str()))
            .collect()
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let input = super::main(inputs)?;
        super::not_empty("/derivations", self.derivations.is_empty())?;
        let expressions = Expressions::over(input)?;
        let mut columns = Columns::of(input);
        for (name, text) in self.derivations.iter() {
            let value = expressions.value(&child("/derivations", name), text)?;
            columns.put(name, value);
        }
        columns.over_main()
    }
}
