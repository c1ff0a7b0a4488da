//! `trim_whitespace`: takes white space off both ends of texts.

use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use crate::named;
use crate::text::{self, Cleaning};

/// Takes white space, as Unicode defines it, off both ends of texts. Null stays null.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrimWhitespace {
    /// Text columns to trim; every text column when left out.
    columns: Option<Vec<String>>,
}

impl Columns for TrimWhitespace {
    const NAME: &'static str = "trim_whitespace";
    const SUMMARY: &'static str = "takes white space off both ends of texts";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "trims every text column",
                json!({}),
                ["id,name,city,total\n1, ann , new york,10\n2,,oslo ,20\n"],
                "id,name,city,total\n1,ann,new york,10\n2,,oslo,20\n",
            ),
            Example::new(
                "trims one column",
                json!({ "columns": ["city"] }),
                ["id,name,city,total\n1, ann , new york,10\n"],
                "id,name,city,total\n1, ann ,new york,10\n",
            ),
        ]
    }

    fn outline(&self, input: &Schema) -> Result<Outline> {
        let is_text = |index: &usize| text::is_text(input.field(*index).data_type());
        let Some(names) = &self.columns else {
            let indices: Vec<usize> = (0..input.fields().len()).filter(is_text).collect();
            return text::outline(input, &indices);
        };
        let indices = named::each_once("/columns", names, input)?;
        match indices.iter().position(|index| !is_text(index)) {
            Some(i) => Err(named::unfit(
                &child("/columns", i),
                input.field(indices[i]),
                "is not text",
            )),
            None => text::outline(input, &indices),
        }
    }

    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let how = Cleaning {
            trim: true,
            case: None,
        };
        batch
            .columns()
            .iter()
            .map(|column| text::clean(column, how))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::types::UInt16Type;
    use arrow_array::{DictionaryArray, StringArray};
    use odibi_sdk::harness;

    use super::*;
    use crate::testing::{check_csv, check_failure, run_column};

    const TABLE: &str = "id,a,b,total\n1, x , y,10\n2,,\u{3000}ü\u{a0},20\n";
    const OPERATION: &str = "trim_whitespace";

    #[test]
    fn named_or_all_text_columns_are_trimmed() {
        let all = "id,a,b,total\n1,x,y,10\n2,,ü,20\n";
        check_csv(OPERATION, json!({}), TABLE, all);
        check_csv(OPERATION, json!({ "columns": null }), TABLE, all);
        check_csv(OPERATION, json!({ "columns": ["b", "a"] }), TABLE, all);
        check_csv(
            OPERATION,
            json!({ "columns": ["b"] }),
            TABLE,
            "id,a,b,total\n1, x ,y,10\n2,,ü,20\n",
        );
        check_csv(OPERATION, json!({ "columns": [] }), TABLE, TABLE);
        check_csv(OPERATION, json!({}), "a,b\n", "a,b\n");
        check_csv(OPERATION, json!({}), "a,b\n1,2\n", "a,b\n1,2\n");
    }

    #[test]
    fn dictionaries_count_as_text() {
        let input: ArrayRef = Arc::new(
            [Some(" a"), None, Some("a")]
                .into_iter()
                .collect::<DictionaryArray<UInt16Type>>(),
        );
        let output = run_column(OPERATION, json!({}), &input).unwrap();
        assert_eq!(output.data_type(), input.data_type());
        let nulls: ArrayRef = Arc::new(StringArray::new_null(2));
        assert_eq!(&run_column(OPERATION, json!({}), &nulls).unwrap(), &nulls);
    }

    #[test]
    fn only_touched_columns_enter() {
        let plugin = crate::plugin();
        let needs =
            |params| harness::needs(&plugin, OPERATION, params, &[harness::table(TABLE)]).unwrap();
        assert_eq!(needs(json!({})), [[1, 2]]);
        assert_eq!(needs(json!({ "columns": ["b"] })), [[2]]);
    }

    #[test]
    fn wrong_params_are_shown_where_they_stand() {
        let check = |params, code, param, message| {
            check_failure(OPERATION, params, TABLE, code, param, message)
        };
        let number = "column `total` is not text: Int64";
        check(
            json!({ "columns": ["a", "total"] }),
            "unfit-column",
            "/columns/1",
            number,
        );
        check(
            json!({ "columns": ["A"] }),
            "unknown-column",
            "/columns/0",
            "unknown column `A`, did you mean `a`?",
        );
        let twice = "column `a` is named twice";
        check(
            json!({ "columns": ["a", "b", "a"] }),
            "repeated-column",
            "/columns/2",
            twice,
        );
        check(
            json!({ "column": "a" }),
            "invalid-param",
            "/column",
            "unknown field `column`, expected `columns`",
        );
    }
}
