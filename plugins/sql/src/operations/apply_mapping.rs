//! `apply_mapping`: values looked up in a table.

use odibi_sdk::prelude::*;

use crate::sql::MAIN;
use crate::statement::{Columns, Scalar, column, column_of, further, name};
use crate::thin::Thin;

/// Params of `apply_mapping`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApplyMapping {
    /// Column whose values are looked up.
    column: String,
    /// The table to look them up in.
    #[expect(dead_code, reason = "the host reads it")]
    mapping_source: String,
    /// Its column of values to look for. Where one stands several times, the smallest of what it means counts.
    source_key: String,
    /// Its column of what they mean.
    source_value: String,
    /// Column that receives the result; `column` itself when left out. One of this name is replaced where it stands.
    #[serde(default)]
    output: Option<String>,
    /// What null means, a value that the table does not have, and one that means null; null when left out.
    #[serde(default)]
    default: Option<Scalar>,
}

impl Thin for ApplyMapping {
    const NAME: &'static str = "apply_mapping";
    const SUMMARY: &'static str = "Looks values up in another table";
    const FURTHER_INPUTS: FurtherInputs = FurtherInputs::One("mapping_source");

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "gives country codes their names",
                json!({ "column": "country", "mapping_source": "countries", "source_key": "code", "source_value": "name", "default": "unknown" }),
                [
                    "id,country\n1,DE\n2,XX\n3,\n",
                    "code,name\nDE,Germany\nFR,France\n",
                ],
                "id,country\n1,Germany\n2,unknown\n3,unknown\n",
            ),
            Example::new(
                "writes the result into a column of its own",
                json!({ "column": "size", "mapping_source": "sizes", "source_key": "size", "source_value": "factor", "output": "factor" }),
                ["size\nS\nM\n", "size,factor\nS,1\nL,3\n"],
                "size,factor\nS,1\nM,\n",
            ),
        ]
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let (main, source) = super::two(inputs)?;
        let of = super::field("/column", &self.column, main)?;
        let key = super::field("/source_key", &self.source_key, source)?;
        let value = super::field("/source_value", &self.source_value, source)?;
        if of.data_type().is_nested() || !super::alike(of.data_type(), key.data_type()) {
            let wanted = format!("of a type like column `{}` ({})", of.name(), of.data_type());
            return Err(super::wrong_type("/source_key", key, &wanted)
                .hint("cast one of them with `cast_columns` first"));
        }
        if value.data_type().is_nested() {
            return Err(super::wrong_type("/source_value", value, "a single value"));
        }
        let table = further(1);
        let key = column_of(&table, key.name());
        let means = column_of(&table, value.name());
        let (k, v) = (name("k"), name("v"));
        let of_table = name(&table);
        let known =
            format!("SELECT {key} AS {k}, min({means}) AS {v} FROM {of_table} GROUP BY {key}");
        let found = column_of(&table, "v");
        let found = match &self.default {
            Some(default) => {
                if !default.fits(value) {
                    let (name, kind) = (value.name(), value.data_type());
                    let shown = default.shown();
                    let message = format!("column `{name}` is {kind}, the default is: {shown}");
                    return Err(Failure::param("/default", message).code("unfit-value"));
                }
                format!("coalesce({found}, {})", default.literal())
            }
            None => found,
        };
        let mut columns = Columns::of(main);
        columns.put(self.output.as_ref().unwrap_or(&self.column), found);
        let (main, of) = (name(MAIN), column(&self.column));
        let on = column_of(&table, "k");
        columns.select(&format!(
            "FROM {main} LEFT JOIN ({known}) AS {of_table} ON {of} = {on}"
        ))
    }
}
