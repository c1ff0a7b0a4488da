//! Plans in which every column passes through and none is read, and the session that goes with them.

use odibi_sdk::outline::duplicate_column;
use odibi_sdk::prelude::*;

/// Every column in its place, under its new name; `None` keeps the old one. The pointer is the param to blame when two
/// columns end up with one name.
///
/// # Errors
/// `duplicate-column`.
pub(crate) fn renamed(input: &Schema, names: &[Option<Renamed>]) -> Result<Plan> {
    let mut taken: std::collections::HashSet<&str> = input
        .fields()
        .iter()
        .zip(names)
        .filter(|(_, n)| n.is_none())
        .map(|(f, _)| f.name().as_str())
        .collect();
    let mut output = Vec::with_capacity(names.len());
    for (index, (field, new)) in input.fields().iter().zip(names).enumerate() {
        let field = match new {
            None => Arc::clone(field),
            Some(new) if taken.insert(&new.name) => {
                Arc::new(field.as_ref().clone().with_name(&new.name))
            }
            Some(new) => return Err(duplicate_column(&new.pointer, &new.name)),
        };
        output.push(OutputColumn::Passed {
            field,
            port: 0,
            input: index,
        });
    }
    Ok(Plan::new([InputPlan::only([])], output).spread(Spread::PerBatch))
}

/// What a column is called from now on, and which param says so.
pub(crate) struct Renamed {
    pub(crate) name: String,
    pub(crate) pointer: String,
}

/// Sends every batch on as it is.
pub(crate) struct Passing;

impl Session for Passing {
    fn process(
        &mut self,
        _port: usize,
        _batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        out.same_rows(Vec::new())
    }
}

/// The one input of an operation without further inputs.
///
/// # Errors
/// The SDK called it with none.
pub(crate) fn only_input(inputs: &[SchemaRef]) -> Result<&Schema> {
    inputs
        .first()
        .map(Arc::as_ref)
        .ok_or_else(|| Failure::internal("no input"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::{BooleanArray, Float64Array, Int64Array, StringArray};
    use odibi_sdk::harness;
    use proptest::prelude::*;

    use super::*;

    type Rows = Vec<(Option<i64>, Option<String>, Option<f64>, bool)>;

    fn table(rows: &Rows) -> RecordBatch {
        let ids: Int64Array = rows.iter().map(|r| r.0).collect();
        let notes: StringArray = rows.iter().map(|r| r.1.as_deref()).collect();
        let totals: Float64Array = rows.iter().map(|r| r.2).collect();
        let flags: BooleanArray = rows.iter().map(|r| Some(r.3)).collect();
        let columns: [(&str, ArrayRef); 4] = [
            ("id", Arc::new(ids)),
            ("note", Arc::new(notes)),
            ("total", Arc::new(totals)),
            ("flag", Arc::new(flags)),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))
            .unwrap()
    }

    /// The operation, its params, and where each output column comes from under which name.
    type Case = (&'static str, Value, Vec<(&'static str, usize)>);

    fn cases() -> Vec<Case> {
        vec![
            (
                "select_columns",
                json!({ "columns": ["total", "id"] }),
                vec![("total", 2), ("id", 0)],
            ),
            (
                "drop_columns",
                json!({ "columns": ["note"] }),
                vec![("id", 0), ("total", 2), ("flag", 3)],
            ),
            (
                "rename_columns",
                json!({ "mapping": { "id": "note", "note": "id" } }),
                vec![("note", 0), ("id", 1), ("total", 2), ("flag", 3)],
            ),
            (
                "add_prefix",
                json!({ "prefix": "x_", "exclude": ["id"] }),
                vec![("id", 0), ("x_note", 1), ("x_total", 2), ("x_flag", 3)],
            ),
            (
                "add_suffix",
                json!({ "suffix": "_x", "columns": ["id"] }),
                vec![("id_x", 0), ("note", 1), ("total", 2), ("flag", 3)],
            ),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn values_pass_untouched_and_unseen(
            rows in prop::collection::vec(
                (any::<Option<i64>>(), any::<Option<String>>(), any::<Option<f64>>(), any::<bool>()), 0..20),
            skipped in 0_usize..5,
        ) {
            let whole = table(&rows);
            let skipped = skipped.min(rows.len());
            let input = whole.slice(skipped, rows.len() - skipped);
            for (operation, params, expect) in cases() {
                let plugin = crate::plugin();
                let needs = harness::needs(&plugin, operation, params.clone(), std::slice::from_ref(&input)).unwrap();
                prop_assert_eq!(needs, vec![Vec::<usize>::new()]);
                let output = harness::run(&plugin, operation, params, std::slice::from_ref(&input)).unwrap();
                prop_assert_eq!(output.num_rows(), input.num_rows());
                let schema = output.schema();
                let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                let expect_names: Vec<&str> = expect.iter().map(|(name, _)| *name).collect();
                prop_assert_eq!(names, expect_names);
                for (column, (_, source)) in output.columns().iter().zip(expect) {
                    prop_assert_eq!(column.to_data(), input.column(source).to_data());
                }
            }
        }
    }
}
