//! `clean_text`: trims texts and brings them into one case.

use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use crate::named;
use crate::text::{self, Cleaning};

/// Trims texts and brings them into one case. Null stays null.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CleanText {
    /// Text columns to clean.
    columns: Vec<String>,
    /// Whether to take white space (as Unicode defines it) off both ends.
    #[serde(default = "yes")]
    trim: bool,
    /// The case to bring letters into, by the full Unicode mapping: `ß` becomes `SS`.
    #[serde(default)]
    case: Case,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Case {
    /// Small letters.
    Lower,
    /// Capitals.
    Upper,
    /// As it is.
    #[default]
    Preserve,
}

fn yes() -> bool {
    true
}

impl CleanText {
    fn cleaning(&self) -> Cleaning {
        let case = match self.case {
            Case::Lower => Some(text::Case::Lower),
            Case::Upper => Some(text::Case::Upper),
            Case::Preserve => None,
        };
        Cleaning {
            trim: self.trim,
            case,
        }
    }
}

impl Columns for CleanText {
    const NAME: &'static str = "clean_text";
    const SUMMARY: &'static str = "trims texts and brings them into one case";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "trims names and writes them in capitals; null stays null",
                json!({ "columns": ["name"], "case": "upper" }),
                ["id,name,total\n1, ann ,10\n2,,20\n3,Bo Straße,30\n"],
                "id,name,total\n1,ANN,10\n2,,20\n3,BO STRASSE,30\n",
            ),
            Example::new(
                "changes the case only",
                json!({ "columns": ["code"], "trim": false, "case": "lower" }),
                ["id,code,total\n1,A-1,10\n2,B-x,20\n"],
                "id,code,total\n1,a-1,10\n2,b-x,20\n",
            ),
        ]
    }

    fn outline(&self, input: &Schema) -> Result<Outline> {
        let indices = named::each_once("/columns", &self.columns, input)?;
        for (i, index) in indices.iter().enumerate() {
            let field = input.field(*index);
            if !text::is_text(field.data_type()) {
                return Err(named::unfit(&child("/columns", i), field, "is not text"));
            }
        }
        let idle = self.cleaning()
            == Cleaning {
                trim: false,
                case: None,
            };
        text::outline(input, if idle { &[] } else { &indices })
    }

    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        batch
            .columns()
            .iter()
            .map(|column| text::clean(column, self.cleaning()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::types::Int8Type;
    use arrow_array::{DictionaryArray, LargeStringArray, StringArray};
    use odibi_sdk::harness;

    use super::*;
    use crate::testing::{check_csv, check_failure, run_column};

    const TABLE: &str = "id,name,code\n1, Ann ,x Y\n2,,İß\n";
    const OPERATION: &str = "clean_text";

    #[test]
    fn texts_are_trimmed_then_mapped() {
        let check = |params, expect| check_csv(OPERATION, params, TABLE, expect);
        check(
            json!({ "columns": ["name"] }),
            "id,name,code\n1,Ann,x Y\n2,,İß\n",
        );
        check(
            json!({ "columns": ["code", "name"], "case": "upper" }),
            "id,name,code\n1,ANN,X Y\n2,,İSS\n",
        );
        check(
            json!({ "columns": ["name", "code"], "case": "lower" }),
            "id,name,code\n1,ann,x y\n2,,i\u{307}ß\n",
        );
        check(
            json!({ "columns": ["name"], "trim": false, "case": "upper" }),
            "id,name,code\n1, ANN ,x Y\n2,,İß\n",
        );
        check(
            json!({ "columns": ["name"], "trim": false, "case": "preserve" }),
            TABLE,
        );
        check(json!({ "columns": [] }), TABLE);
        check_csv(OPERATION, json!({ "columns": ["b"] }), "a,b\n", "a,b\n");
        check_csv(
            OPERATION,
            json!({ "columns": ["b"] }),
            "a,b\n1,\n",
            "a,b\n1,\n",
        );
    }

    #[test]
    fn types_stay() {
        let params = || json!({ "columns": ["c"], "case": "lower" });
        let texts = [Some(" A"), None, Some("Ä ")];
        let plain: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        let large: ArrayRef = Arc::new(LargeStringArray::from(texts.to_vec()));
        let dictionary: ArrayRef =
            Arc::new(texts.into_iter().collect::<DictionaryArray<Int8Type>>());
        for array in [plain, large, dictionary] {
            let output = run_column(OPERATION, params(), &array).unwrap();
            assert_eq!(
                (output.data_type(), output.logical_null_count()),
                (array.data_type(), 1)
            );
        }
        let nulls: ArrayRef = Arc::new(StringArray::new_null(3));
        assert_eq!(&run_column(OPERATION, params(), &nulls).unwrap(), &nulls);
    }

    #[test]
    fn only_touched_columns_enter() {
        let plugin = crate::plugin();
        let needs =
            |params| harness::needs(&plugin, OPERATION, params, &[harness::table(TABLE)]).unwrap();
        assert_eq!(needs(json!({ "columns": ["code", "name"] })), [[2, 1]]);
        assert_eq!(
            needs(json!({ "columns": ["code"], "trim": false })),
            [[0; 0]]
        );
    }

    #[test]
    fn wrong_params_are_shown_where_they_stand() {
        let check = |params, code, param, message| {
            check_failure(OPERATION, params, TABLE, code, param, message)
        };
        let unknown = "unknown column `nme`, did you mean `name`?";
        check(
            json!({ "columns": ["code", "nme"] }),
            "unknown-column",
            "/columns/1",
            unknown,
        );
        let number = "column `id` is not text: Int64";
        check(
            json!({ "columns": ["name", "id"] }),
            "unfit-column",
            "/columns/1",
            number,
        );
        let twice = "column `name` is named twice";
        check(
            json!({ "columns": ["name", "name"] }),
            "repeated-column",
            "/columns/1",
            twice,
        );
        let case = "unknown variant `title`, expected one of `lower`, `upper`, `preserve`";
        check(
            json!({ "columns": ["name"], "case": "title" }),
            "invalid-param",
            "/case",
            case,
        );
        let trim = "invalid type: string \"yes\", expected a boolean";
        check(
            json!({ "columns": ["name"], "trim": "yes" }),
            "invalid-param",
            "/trim",
            trim,
        );
        check(json!({}), "invalid-param", "", "missing field `columns`");
    }
}
