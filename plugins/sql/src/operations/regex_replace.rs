//! `regex_replace`: replaces what a regular expression matches.

use odibi_sdk::prelude::*;

use crate::expression::Expressions;
use crate::statement::{Columns, text};
use crate::thin::Thin;

/// Params of `regex_replace`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegexReplace {
    /// Column of text, replaced where it stands.
    column: String,
    /// Regular expression of Rust's `regex` crate: no look-around, no back-references. Every match is replaced.
    pattern: String,
    /// What stands in the place of a match; `\1` is what the first group matched.
    replacement: String,
}

impl Thin for RegexReplace {
    const NAME: &'static str = "regex_replace";
    const SUMMARY: &'static str = "Replaces every match of a regular expression in a text column";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "keeps the digits of a phone number",
                json!({ "column": "phone", "pattern": "[^0-9]", "replacement": "" }),
                ["id,phone\n1,(030) 12-34\n2,\n"],
                "id,phone\n1,0301234\n2,\n",
            ),
            Example::new(
                "turns a name around",
                json!({ "column": "name", "pattern": "^(\\w+), (\\w+)$", "replacement": "\\2 \\1" }),
                ["name\n\"Lee, Ann\"\nBo\n"],
                "name\nAnn Lee\nBo\n",
            ),
        ]
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let input = super::main(inputs)?;
        let of = super::text_column("/column", &self.column, input)?;
        let (pattern, replacement) = (text(&self.pattern), text(&self.replacement));
        let replaced = |of: &str| format!("regexp_replace({of}, {pattern}, {replacement}, 'g')");
        if let Some(said) = Expressions::over(input)?.constant(&replaced("''"))? {
            // The last line says what is wrong, those before draw it.
            let said = said.lines().last().unwrap_or_default();
            let said = said.trim_start_matches("error: ").trim_end_matches('.');
            let message = format!("not a regular expression: {said}");
            return Err(Failure::param("/pattern", message).code("invalid-pattern"));
        }
        let mut columns = Columns::of(input);
        columns.put(&self.column, replaced(&of));
        columns.over_main()
    }
}
