//! `flatten_struct`: makes columns of the fields of a struct.

use std::num::NonZeroU32;

use odibi_sdk::prelude::*;

use crate::leaves::{self, Naming};

/// Makes columns of the fields of a struct.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FlattenStruct {
    /// Column of structs.
    column: String,
    /// Stands in front of each new name, as it is: `meta_` makes `meta_owner` of the field `owner`. Left out, it is the
    /// name of the column and the separator.
    #[serde(default)]
    prefix: Option<String>,
    /// How many levels are taken apart. Structs below them stay structs.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    depth: NonZeroU32,
    /// Stands between the names of nested fields.
    #[serde(default = "underscore")]
    separator: String,
    /// Leaves the struct out of the result.
    #[serde(default = "yes")]
    drop_source: bool,
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn underscore() -> String {
    "_".to_owned()
}

fn yes() -> bool {
    true
}

impl FlattenStruct {
    fn levels(&self) -> usize {
        usize::try_from(self.depth.get()).unwrap_or(usize::MAX)
    }
}

impl Columns for FlattenStruct {
    const NAME: &'static str = "flatten_struct";
    const SUMMARY: &'static str = "Makes columns of the fields of a struct, level by level";

    fn examples() -> Vec<Example> {
        let table = "{\"id\":1,\"meta\":{\"owner\":{\"name\":\"Ann\"},\"version\":2}}\n{\"id\":2,\"meta\":{\"owner\":{\"name\":\"Bo\"},\"version\":5}}\n";
        vec![
            Example::new(
                "takes one level apart",
                json!({ "column": "meta" }),
                [table],
                "{\"id\":1,\"meta_owner\":{\"name\":\"Ann\"},\"meta_version\":2}\n{\"id\":2,\"meta_owner\":{\"name\":\"Bo\"},\"meta_version\":5}\n",
            ),
            Example::new(
                "takes two levels apart, with a prefix and a separator of one's own",
                json!({ "column": "meta", "depth": 2, "prefix": "m_", "separator": "." }),
                [table],
                "{\"id\":1,\"m_owner.name\":\"Ann\",\"m_version\":2}\n{\"id\":2,\"m_owner.name\":\"Bo\",\"m_version\":5}\n",
            ),
            Example::new(
                "keeps the struct; a null struct has null fields",
                json!({ "column": "at", "drop_source": false }),
                ["{\"at\":{\"x\":1}}\n{\"at\":null}\n"],
                "{\"at\":{\"x\":1},\"at_x\":1}\n{\"at\":null,\"at_x\":null}\n",
            ),
        ]
    }

    fn outline(&self, input: &Schema) -> Result<Outline> {
        let (fields, nullable) = leaves::of_struct(input, &self.column)?;
        let own = format!("{}{}", self.column, self.separator);
        let naming = Naming {
            prefix: self.prefix.as_deref().unwrap_or(&own),
            separator: &self.separator,
            depth: self.levels(),
        };
        let mut outline = Outline::of(input).read("/column", &self.column)?;
        if self.drop_source {
            outline = outline.drop_column("/column", &self.column)?;
        }
        let pointer = match self.prefix {
            Some(_) => "/prefix",
            None => "/column",
        };
        for field in leaves::fields(fields, nullable, &naming) {
            outline = outline
                .add(pointer, field)
                .map_err(|f| f.hint("choose another `prefix` or `separator`"))?;
        }
        Ok(outline)
    }

    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        leaves::arrays(batch.column(0), self.levels())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::StructArray;
    use odibi_sdk::arrow::buffer::NullBuffer;
    use odibi_sdk::harness;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{self, check_failure, check_json, nested};

    const OPERATION: &str = "flatten_struct";
    const TABLE: &str = "{\"id\":1,\"größe\":{\"ä\":\"😀\",\"b\":{\"c\":{\"d\":1}}},\"text\":\"{}\"}\n\
        {\"id\":2,\"größe\":{\"ä\":null,\"b\":null},\"text\":null}\n\
        {\"id\":3,\"größe\":null,\"text\":\"\"}\n";

    #[test]
    fn each_level_is_taken_apart_only_as_far_as_asked() {
        check_json(
            OPERATION,
            json!({ "column": "größe" }),
            TABLE,
            "{\"id\":1,\"text\":\"{}\",\"größe_ä\":\"😀\",\"größe_b\":{\"c\":{\"d\":1}}}\n\
             {\"id\":2,\"text\":null,\"größe_ä\":null,\"größe_b\":null}\n\
             {\"id\":3,\"text\":\"\",\"größe_ä\":null,\"größe_b\":null}\n",
        );
        for depth in [3, 4, 4_294_967_295u32] {
            check_json(
                OPERATION,
                json!({ "column": "größe", "depth": depth, "prefix": "", "separator": "→" }),
                TABLE,
                "{\"id\":1,\"text\":\"{}\",\"ä\":\"😀\",\"b→c→d\":1}\n\
                 {\"id\":2,\"text\":null,\"ä\":null,\"b→c→d\":null}\n\
                 {\"id\":3,\"text\":\"\",\"ä\":null,\"b→c→d\":null}\n",
            );
        }
    }

    #[test]
    fn a_table_without_rows_has_the_columns() {
        let empty = harness::table(TABLE).slice(0, 0);
        let params = json!({ "column": "größe", "depth": 2 });
        let output = harness::run(&crate::plugin(), OPERATION, params, &[empty]).unwrap();
        let schema = output.schema();
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(names, ["id", "text", "größe_ä", "größe_b_c"]);
        assert_eq!(output.num_rows(), 0);
    }

    #[test]
    fn values_under_a_null_struct_do_not_come_out() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let fields = vec![Field::new("n", DataType::Int64, false)];
        let nulls = NullBuffer::from(vec![true, false, true]);
        let structs = StructArray::new(fields.into(), vec![numbers], Some(nulls));
        let table = testing::batch(vec![("s", Arc::new(structs))]);
        let params = json!({ "column": "s" });
        let output = harness::run(&crate::plugin(), OPERATION, params, &[table]).unwrap();
        assert_eq!(
            testing::int_column(&output, "s_n"),
            [Some(1), None, Some(3)]
        );
    }

    #[test]
    fn columns_without_nulls_stay_so() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let inner = vec![Field::new("n", DataType::Int64, false)];
        let structs: ArrayRef = Arc::new(StructArray::new(inner.into(), vec![numbers], None));
        let schema = Schema::new(vec![Field::new("s", structs.data_type().clone(), false)]);
        let table = RecordBatch::try_new(Arc::new(schema), vec![structs]).unwrap();
        let params = json!({ "column": "s" });
        let output = harness::run(&crate::plugin(), OPERATION, params, &[table]).unwrap();
        assert!(!output.schema().field(0).is_nullable());
    }

    #[test]
    fn wrong_params_are_shown_where_they_stand() {
        let check = |params, code, param, message| {
            check_failure(OPERATION, params, TABLE, code, param, message);
        };
        check(
            json!({ "column": "grösse" }),
            "unknown-column",
            "/column",
            "unknown column `grösse`, did you mean `größe`?",
        );
        check(
            json!({ "column": "text" }),
            "wrong-type",
            "/column",
            "column `text` must be a struct, is: Utf8",
        );
        check(
            json!({ "column": "id" }),
            "wrong-type",
            "/column",
            "column `id` must be a struct, is: Int64",
        );
        check(
            json!({ "column": "größe", "depth": 0 }),
            "invalid-param",
            "/depth",
            "invalid value: integer `0`, expected a nonzero u32",
        );
        check(
            json!({ "column": "größe", "drop_source": "no" }),
            "invalid-param",
            "/drop_source",
            "invalid type: string \"no\", expected a boolean",
        );
        let table = "{\"s\":{\"x\":{\"y\":1},\"x_y\":1},\"s_x\":1}\n";
        let check = |params, param, message| {
            check_failure(OPERATION, params, table, "duplicate-column", param, message);
        };
        let taken = "column `s_x` exists already";
        check(json!({ "column": "s" }), "/column", taken);
        check(
            json!({ "column": "s", "depth": 2, "prefix": "p" }),
            "/prefix",
            "column `px_y` exists already",
        );
    }

    proptest! {
        #![proptest_config(testing::cases())]

        #[test]
        fn result_is_that_of_walking_each_row(
            rows in nested::rows(), depth in 1..4usize, from in 0..3usize,
        ) {
            let table = nested::table(&rows).slice(from.min(rows.len()), rows.len() - from.min(rows.len()));
            let params = json!({ "column": "s", "depth": depth, "separator": "." });
            let output = harness::run(&crate::plugin(), OPERATION, params, &[table]).unwrap();
            let expect: Vec<Value> = rows.iter().skip(from).map(|row| nested::flat(row, "s.", ".", depth)).collect();
            prop_assert_eq!(nested::read(&output), expect);
        }
    }
}
