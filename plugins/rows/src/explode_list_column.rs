//! `explode_list_column`: a row for each element of a list. The other columns are repeated by the host and do not enter.

use std::ops::Range;

use arrow_array::UInt32Array;
use odibi_sdk::arrow::select::take::take;
use odibi_sdk::prelude::*;

/// Rows of one emitted batch, at most.
const OUTPUT_ROWS_MAX: usize = 65_536;

/// Params of `explode_list_column`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplodeListColumn {
    /// A column of lists; its elements take their place. The other columns are repeated.
    column: String,
    /// Keeps rows whose list is null or empty, with a null; otherwise they are left out.
    #[serde(default)]
    outer: bool,
}

impl Operation for ExplodeListColumn {
    const NAME: &'static str = "explode_list_column";
    const SUMMARY: &'static str = "Makes a row of each element of a list";

    fn examples() -> Vec<Example> {
        let table = "{\"order\":1,\"items\":[\"tea\",\"milk\"]}\n{\"order\":2,\"items\":[]}\n";
        vec![
            Example::new(
                "a row for each item",
                json!({ "column": "items" }),
                [table],
                "{\"order\":1,\"items\":\"tea\"}\n{\"order\":1,\"items\":\"milk\"}\n",
            ),
            Example::new(
                "keeps orders without items",
                json!({ "column": "items", "outer": true }),
                [table],
                "{\"order\":1,\"items\":\"tea\"}\n{\"order\":1,\"items\":\"milk\"}\n{\"order\":2,\"items\":null}\n",
            ),
        ]
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let schema = inputs
            .first()
            .ok_or_else(|| Failure::internal("no input"))?;
        let field = schema.field(find("/column", &self.column, schema)?);
        let Some(item) = item(field.data_type()) else {
            let message = format!(
                "column `{}` must be a list, is: {}",
                self.column,
                field.data_type()
            );
            let failure = Failure::param("/column", message).code("wrong-type");
            return Err(if odibi_sdk::text::is_text(field.data_type()) {
                failure.hint("make a list of the text first, for example with `parse_json`")
            } else {
                failure
            });
        };
        let element = Field::new(
            field.name(),
            item.data_type().clone(),
            item.is_nullable() || self.outer,
        );
        let outline = Outline::of(schema)
            .read("/column", &self.column)?
            .put(element);
        Ok(Plan::from(outline))
    }

    fn open(self, _start: Start) -> Result<Box<dyn Session>> {
        Ok(Box::new(Exploding { outer: self.outer }))
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others are no lists")]
fn item(data_type: &DataType) -> Option<&Field> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item)
        }
        _ => None,
    }
}

struct Exploding {
    outer: bool,
}

impl Session for Exploding {
    fn process(
        &mut self,
        _port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        let lists = Lists::of(batch.column(0))?;
        let mut elements: Vec<Option<u32>> = Vec::new();
        let mut rows: Vec<u32> = Vec::new();
        for row in 0..batch.num_rows() {
            let range = lists.range(row);
            let at = narrow(row)?;
            if range.is_empty() && self.outer {
                elements.push(None);
                rows.push(at);
            }
            for element in range {
                elements.push(Some(narrow(element)?));
                rows.push(at);
                if rows.len() == OUTPUT_ROWS_MAX {
                    if lists.emit(&elements, &rows, out)? == Appetite::Enough {
                        return Ok(Appetite::Enough);
                    }
                    elements.clear();
                    rows.clear();
                }
            }
        }
        lists.emit(&elements, &rows, out)
    }
}

fn narrow(number: usize) -> Result<u32> {
    u32::try_from(number).map_err(|_| Failure::internal("batch has more than 2^32 elements"))
}

/// A list column of any layout.
struct Lists<'a> {
    column: &'a ArrayRef,
    values: &'a ArrayRef,
    offsets: Vec<usize>,
}

impl<'a> Lists<'a> {
    fn of(column: &'a ArrayRef) -> Result<Self> {
        let (values, offsets) = if let Some(lists) = column.as_list_opt::<i32>() {
            let offsets = lists.offsets().iter().map(|o| usize::try_from(*o));
            (lists.values(), offsets.collect())
        } else if let Some(lists) = column.as_list_opt::<i64>() {
            let offsets = lists.offsets().iter().map(|o| usize::try_from(*o));
            (lists.values(), offsets.collect())
        } else if let Some(lists) = column.as_fixed_size_list_opt() {
            let offsets = (0..=lists.len()).map(|row| usize::try_from(lists.value_offset(row)));
            (lists.values(), offsets.collect())
        } else {
            return Err(Failure::internal(format!(
                "planned a list, was sent: {}",
                column.data_type()
            )));
        };
        let offsets: std::result::Result<Vec<usize>, std::num::TryFromIntError> = offsets;
        Ok(Self {
            column,
            values,
            offsets: offsets.map_err(|_| Failure::internal("list offsets are out of range"))?,
        })
    }

    /// Empty for null, under which elements may lie.
    fn range(&self, row: usize) -> Range<usize> {
        if self.column.is_null(row) {
            return 0..0;
        }
        self.offsets[row]..self.offsets[row + 1]
    }

    fn emit(
        &self,
        elements: &[Option<u32>],
        rows: &[u32],
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        let elements: UInt32Array = elements.iter().copied().collect();
        out.picked(vec![take(self.values, &elements, None)?], rows)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::types::Int32Type;
    use arrow_array::{FixedSizeListArray, Int32Array, LargeListArray, ListArray};
    use odibi_sdk::arrow::buffer::{NullBuffer, OffsetBuffer};
    use odibi_sdk::harness;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{self, batch, check_failure, int_column};

    const OPERATION: &str = "explode_list_column";

    type Cells = Vec<Option<Vec<Option<i32>>>>;

    #[track_caller]
    fn check(lists: ArrayRef, outer: bool, expect: &[(i64, Option<i32>)]) {
        let rows = lists.len();
        let table = batch(vec![("l", lists), testing::ids(rows)]);
        let params = json!({ "column": "l", "outer": outer });
        let output = harness::run(&crate::plugin(), OPERATION, params, &[table]).unwrap();
        let elements = output.column(0).as_primitive::<Int32Type>();
        let ids = int_column(&output, "id").into_iter().flatten();
        assert_eq!(ids.zip(elements).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn each_layout_gives_a_row_for_each_element() {
        let cells: Cells = vec![
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
            Some(vec![Some(4)]),
        ];
        let narrow = ListArray::from_iter_primitive::<Int32Type, _, _>(cells.clone());
        let wide = LargeListArray::from_iter_primitive::<Int32Type, _, _>(cells);
        for lists in [Arc::new(narrow) as ArrayRef, Arc::new(wide)] {
            check(
                Arc::clone(&lists),
                false,
                &[(0, Some(1)), (0, None), (3, Some(4))],
            );
            let outer = [(0, Some(1)), (0, None), (1, None), (2, None), (3, Some(4))];
            check(Arc::clone(&lists), true, &outer);
            check(lists.slice(0, 0), true, &[]);
            check(lists.slice(2, 2), false, &[(1, Some(4))]);
        }
        let pairs = vec![
            Some(vec![Some(1), Some(2)]),
            None,
            Some(vec![None, Some(3)]),
        ];
        let fixed = FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(pairs, 2);
        let expect = [(0, Some(1)), (0, Some(2)), (2, None), (2, Some(3))];
        check(Arc::new(fixed), false, &expect);
    }

    #[test]
    fn elements_under_a_null_do_not_come_out() {
        let values = Arc::new(Int32Array::from(vec![1, 2, 3]));
        let item = Arc::new(Field::new_list_field(DataType::Int32, true));
        let nulls = NullBuffer::from(vec![false, true]);
        let lists = ListArray::new(
            item,
            OffsetBuffer::from_lengths([2, 1]),
            values,
            Some(nulls),
        );
        check(Arc::new(lists), false, &[(1, Some(3))]);
    }

    #[test]
    fn long_lists_come_in_several_batches() {
        let count = OUTPUT_ROWS_MAX * 2 + 1;
        let cells = vec![Some(
            (0..i32::try_from(count).unwrap())
                .map(Some)
                .collect::<Vec<_>>(),
        )];
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(cells));
        let table = batch(vec![("l", lists)]);
        let params = json!({ "column": "l" });
        let output = harness::run(&crate::plugin(), OPERATION, params, &[table]).unwrap();
        assert_eq!(output.num_rows(), count);
    }

    #[test]
    fn wrong_params_are_shown_where_they_stand() {
        let check = |params, code, param, message| {
            check_failure(OPERATION, params, "größe,a\n1,x\n", code, param, message);
        };
        let near = "unknown column `grösse`, did you mean `größe`?";
        check(
            json!({ "column": "grösse" }),
            "unknown-column",
            "/column",
            near,
        );
        let wrong = "column `größe` must be a list, is: Int64";
        check(json!({ "column": "größe" }), "wrong-type", "/column", wrong);
        let wrong = "invalid type: string \"x\", expected a boolean";
        check(
            json!({ "column": "a", "outer": "x" }),
            "invalid-param",
            "/outer",
            wrong,
        );
    }

    proptest! {
        #![proptest_config(testing::cases())]

        #[test]
        fn result_is_that_of_two_loops(
            cells in proptest::collection::vec(
                proptest::option::of(proptest::collection::vec(proptest::option::of(0..9i32), 0..4)), 0..20),
            outer: bool,
        ) {
            let mut expect = Vec::new();
            for (id, cell) in (0i64..).zip(&cells) {
                let elements = cell.clone().unwrap_or_default();
                if elements.is_empty() && outer {
                    expect.push((id, None));
                }
                expect.extend(elements.into_iter().map(|e| (id, e)));
            }
            check(Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(cells)), outer, &expect);
        }
    }
}
