//! Operations of each kind, and broken ones that the harness must catch.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use arrow_array::types::Int64Type;

use super::*;
use crate::plugin::Entry;
use crate::prelude::*;

/// A column in capitals.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Shout {
    column: String,
    output: String,
}

impl Columns for Shout {
    const NAME: &'static str = "shout";
    const SUMMARY: &'static str = "Writes a text column in capitals";

    fn examples() -> Vec<Example> {
        let params = json!({ "column": "b", "output": "loud" });
        vec![Example::new(
            "adds a column",
            params,
            ["a,b\n1,x\n2,\n"],
            "a,b,loud\n1,x,X\n2,,\n",
        )]
    }

    fn outline(&self, input: &Schema) -> Result<Outline> {
        Ok(Outline::of(input)
            .read("/column", &self.column)?
            .put(Field::new(&self.output, DataType::Utf8, true)))
    }

    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let loud: StringArray = batch
            .column(0)
            .as_string::<i32>()
            .iter()
            .map(|v| v.map(str::to_uppercase))
            .collect();
        Ok(vec![Arc::new(loud)])
    }
}

/// Two columns, put in an order that is not the output's, with a rename and a drop.
#[derive(Deserialize, JsonSchema)]
struct Shuffle {}

impl Columns for Shuffle {
    const NAME: &'static str = "shuffle";
    const SUMMARY: &'static str = "Test";

    fn outline(&self, input: &Schema) -> Result<Outline> {
        let outline = Outline::of(input).read("", "b")?.read("", "a")?;
        let outline = outline.add("", Field::new("doubled", DataType::Int64, false))?;
        outline
            .put(Field::new("a", DataType::Utf8, false))
            .rename("", "c", "z")?
            .drop_column("", "b")
    }

    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let [b, a] = [0, 1].map(|i| batch.column(i).as_primitive::<Int64Type>());
        let doubled: Int64Array = b.unary(|v| v * 2);
        let text = StringArray::from_iter_values(a.values().iter().map(|v| format!("a{v}")));
        Ok(vec![Arc::new(doubled), Arc::new(text)])
    }
}

/// Rows above a bound.
#[derive(Deserialize, JsonSchema)]
struct Above {
    column: String,
    min: i64,
}

impl Rows for Above {
    const NAME: &'static str = "above";
    const SUMMARY: &'static str = "Keeps rows above a bound";

    fn outline(&self, input: &Schema) -> Result<Outline> {
        Outline::of(input).read("/column", &self.column)
    }

    fn keep(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let values = batch.column(0).as_primitive::<Int64Type>();
        if let Some(row) = values.iter().position(|v| v == Some(-99)) {
            return Err(Failure::data(
                row,
                &self.column,
                "value is not allowed: -99",
            ));
        }
        Ok(values.iter().map(|v| v.map(|v| v > self.min)).collect())
    }
}

/// Sum for each key; with `partition: false` it forgets to ask for partitioning, with `sorted` it relies on order.
#[derive(Deserialize, JsonSchema)]
struct SumBy {
    #[serde(default)]
    spread_wrongly: bool,
}

struct SumBySession {
    sums: BTreeMap<String, i64>,
    schema: SchemaRef,
}

impl Operation for SumBy {
    const NAME: &'static str = "sum_by";
    const SUMMARY: &'static str = "Sum of v for each k";

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let (k, v) = (find("", "k", &inputs[0])?, find("", "v", &inputs[0])?);
        let output = Schema::new(vec![
            Field::new("k", DataType::Utf8, false),
            Field::new("total", DataType::Int64, false),
        ]);
        let input = InputPlan::only([v, k]);
        if self.spread_wrongly {
            return Ok(Plan::fresh([input], &output).spread(Spread::PerPartition));
        }
        Ok(Plan::fresh([input.partition_by([k])], &output).state(*b"mine"))
    }

    fn open(self, start: Start) -> Result<Box<dyn Session>> {
        assert!(self.spread_wrongly || start.state == b"mine");
        Ok(Box::new(SumBySession {
            sums: BTreeMap::new(),
            schema: start.computed,
        }))
    }
}

impl Session for SumBySession {
    fn process(
        &mut self,
        _port: usize,
        batch: RecordBatch,
        _out: &mut Output<'_>,
    ) -> Result<Appetite> {
        let values = batch.column(0).as_primitive::<Int64Type>();
        for (key, value) in batch.column(1).as_string::<i32>().iter().zip(values) {
            *self
                .sums
                .entry(key.unwrap_or_default().to_owned())
                .or_default() += value.unwrap_or_default();
        }
        Ok(Appetite::More)
    }

    fn finish(&mut self, out: &mut Output<'_>) -> Result<Option<Value>> {
        let keys = StringArray::from_iter_values(self.sums.keys());
        let sums = Int64Array::from_iter_values(self.sums.values().copied());
        let batch = RecordBatch::try_new(
            Arc::clone(&self.schema),
            vec![Arc::new(keys), Arc::new(sums)],
        )?;
        out.fresh(&batch)?;
        Ok(Some(json!({ "groups": self.sums.len() })))
    }
}

/// Looks the name of `k` up in a second table; the first one's columns pass through, rows without a name are left out.
#[derive(Deserialize, JsonSchema)]
struct Lookup {
    #[serde(rename = "with")]
    _with: String,
}

#[derive(Default)]
struct LookupSession {
    names: BTreeMap<String, String>,
}

impl Operation for Lookup {
    const NAME: &'static str = "lookup";
    const SUMMARY: &'static str = "Adds a name";
    const FURTHER_INPUTS: FurtherInputs = FurtherInputs::One("with");

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let outline = Outline::of(&inputs[0])
            .read("", "k")?
            .add("", Field::new("name", DataType::Utf8, false))?;
        let keys = find_each("", &["k", "name"], &inputs[1])?;
        Ok(Plan::from(outline)
            .input(1, InputPlan::only(keys).drained_first())
            .spread(Spread::PerPartition))
    }

    fn open(self, _start: Start) -> Result<Box<dyn Session>> {
        Ok(Box::new(LookupSession::default()))
    }
}

impl Session for LookupSession {
    fn process(
        &mut self,
        port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        let keys = batch.column(0).as_string::<i32>();
        if port == 1 {
            let names = batch.column(1).as_string::<i32>();
            let pairs = keys
                .iter()
                .zip(names)
                .filter_map(|(k, n)| Some((k?.to_owned(), n?.to_owned())));
            self.names.extend(pairs);
            return Ok(Appetite::More);
        }
        let found = keys
            .iter()
            .zip(0..)
            .filter_map(|(key, row)| Some((self.names.get(key?)?.as_str(), row)));
        let (names, rows): (Vec<&str>, Vec<u32>) = found.unzip();
        out.picked(vec![Arc::new(StringArray::from(names))], &rows)
    }
}

/// Says it is stateless, and counts.
#[derive(Deserialize, JsonSchema)]
struct Liar {}

struct LiarSession(i64);

impl Operation for Liar {
    const NAME: &'static str = "liar";
    const SUMMARY: &'static str = "Test";

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        Ok(Outline::of(&inputs[0])
            .add("", Field::new("row", DataType::Int64, false))?
            .into())
    }

    fn open(self, _start: Start) -> Result<Box<dyn Session>> {
        Ok(Box::new(LiarSession(0)))
    }
}

impl Session for LiarSession {
    fn process(
        &mut self,
        _port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        let rows = i64::try_from(batch.num_rows()).unwrap();
        let numbers = Int64Array::from_iter_values(self.0..self.0 + rows);
        self.0 += rows;
        out.same_rows(vec![Arc::new(numbers)])
    }
}

/// The first rows only: has enough soon.
#[derive(Deserialize, JsonSchema)]
struct Head {
    rows: u32,
}

impl Operation for Head {
    const NAME: &'static str = "head";
    const SUMMARY: &'static str = "The first rows";

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let plan = Plan::from(Outline::of(&inputs[0])).spread(Spread::Single);
        Ok(plan.input(0, InputPlan::only([]).keep_order()))
    }

    fn open(self, _start: Start) -> Result<Box<dyn Session>> {
        Ok(Box::new(self))
    }
}

impl Session for Head {
    fn process(
        &mut self,
        _port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        assert!(self.rows > 0, "was fed after it had enough");
        let taken = self.rows.min(u32::try_from(batch.num_rows()).unwrap());
        self.rows -= taken;
        out.picked(Vec::new(), &(0..taken).collect::<Vec<u32>>())?;
        Ok(if self.rows == 0 {
            Appetite::Enough
        } else {
            Appetite::More
        })
    }
}

crate::export!(
    name = "tests",
    columns = [Shout, Shuffle],
    rows = [Above],
    operations = [SumBy, Lookup, Liar, Head]
);

#[track_caller]
fn check(operation: &str, params: Value, inputs: &[&str], expect: &str) {
    assert_eq!(
        run_csv(&plugin(), operation, params, inputs).unwrap(),
        expect
    );
}

#[track_caller]
fn check_failure(operation: &str, params: Value, inputs: &[&str], expect: &str) {
    assert_eq!(
        run_csv(&plugin(), operation, params, inputs)
            .unwrap_err()
            .to_string(),
        expect
    );
}

/// The plugin author's test fails with a message that holds this.
#[track_caller]
fn check_panic(operation: &str, params: &Value, inputs: &[&str], expect: &str) {
    let result = std::panic::catch_unwind(|| run_csv(&plugin(), operation, params.clone(), inputs));
    let panic = result.unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains(expect), "{message}");
}

#[test]
fn columns_add_and_replace() {
    check(
        "shout",
        json!({ "column": "b", "output": "c" }),
        &["a,b\n1,x\n2,\n3,z\n"],
        "a,b,c\n1,x,X\n2,,\n3,z,Z\n",
    );
    check(
        "shout",
        json!({ "column": "b", "output": "b" }),
        &["b,a\nx,1\n,2\n"],
        "b,a\nX,1\n,2\n",
    );
}

#[test]
fn columns_come_in_output_order_whatever_the_order_of_computing() {
    check(
        "shuffle",
        json!({}),
        &["a,b,c\n1,2,3\n4,5,6\n"],
        "a,z,doubled\na1,3,4\na4,6,10\n",
    );
}

#[test]
fn rows_filter_and_null_is_false() {
    let table = "a,t\n1,p\n,q\n5,r\n7,s\n";
    check(
        "above",
        json!({ "column": "a", "min": 4 }),
        &[table],
        "a,t\n5,r\n7,s\n",
    );
    check(
        "above",
        json!({ "column": "a", "min": 40 }),
        &[table],
        "a,t\n",
    );
    check(
        "above",
        json!({ "column": "a", "min": -1 }),
        &["a\n1\n2\n"],
        "a\n1\n2\n",
    );
}

#[test]
fn state_stays_in_its_partition() {
    let table = "x,k,v\n0,a,1\n0,b,2\n0,a,3\n0,c,4\n0,b,5\n0,a,6\n";
    check("sum_by", json!({}), &[table], "k,total\na,10\nb,7\nc,4\n");
}

#[test]
fn a_second_table_is_drained_first_and_reaches_everybody() {
    let tables = ["id,k\n1,x\n2,y\n3,x\n4,z\n5,\n", "name,k\nEx,x\nZed,z\n"];
    check(
        "lookup",
        json!({ "with": "names" }),
        &tables,
        "id,k,name\n1,x,Ex\n3,x,Ex\n4,z,Zed\n",
    );
}

#[test]
fn an_operation_with_enough_is_fed_no_more() {
    check(
        "head",
        json!({ "rows": 3 }),
        &["a\n1\n2\n3\n4\n5\n"],
        "a\n1\n2\n3\n",
    );
}

#[test]
fn failures_come_back_with_their_place() {
    let above = json!({ "column": "a", "min": 0 });
    let place = "[bad-value] value is not allowed: -99\n  at: port 0, row 1, column `a`";
    check_failure("above", above, &["a\n1\n-99\n"], place);
    let unknown = "[unknown-column] unknown column `colum`\nhint: use one of `a`\n  param: /column";
    check_failure(
        "above",
        json!({ "column": "colum", "min": 0 }),
        &["a\n1\n"],
        unknown,
    );
    let missing = "[unknown-operation] unknown operation `shut`, did you mean `shout`?\n";
    assert!(
        run_csv(&plugin(), "shut", json!({}), &["a\n1\n"])
            .unwrap_err()
            .to_string()
            .starts_with(missing)
    );
    check_failure(
        "lookup",
        json!({ "with": "n" }),
        &["k\nx\n"],
        "[wrong-inputs] `lookup` takes two inputs, offered were: 1",
    );
}

#[test]
fn results_that_depend_on_the_cut_are_caught() {
    let wrongly = json!({ "spread_wrongly": true });
    check_panic(
        "sum_by",
        &wrongly,
        &["k,v\na,1\na,2\na,3\n"],
        "the number of rows depends on the cut",
    );
    check_panic(
        "liar",
        &json!({}),
        &["a\n1\n2\n3\n4\n5\n6\n7\n8\n"],
        "column `row` differs in row",
    );
}

#[test]
fn examples_are_demanded_and_run() {
    let of = |entry: Entry| Plugin {
        name: "t",
        version: "1",
        operations: vec![entry],
    };
    check_examples(&of(Entry::columns::<Shout>()));
    let none = std::panic::catch_unwind(|| check_examples(&of(Entry::rows::<Above>())));
    assert_eq!(
        none.unwrap_err().downcast_ref::<String>().unwrap(),
        "`above` has no example"
    );
}

/// Params that may be left out. The default of `unseen` is of a type that cannot be written.
macro_rules! lenient {
    ($name:ident, $how:ident) => {
        #[derive(Deserialize, JsonSchema)]
        #[expect(dead_code, reason = "only their schema is looked at")]
        struct $name {
            needed: String,
            #[serde(default)]
            maybe: Option<String>,
            #[serde(default)]
            count: u32,
            #[serde(default)]
            how: $how,
        }

        impl Columns for $name {
            const NAME: &'static str = "lenient";
            const SUMMARY: &'static str = "Test";

            fn outline(&self, input: &Schema) -> Result<Outline> {
                Ok(Outline::of(input))
            }

            fn compute(&self, _: &RecordBatch) -> Result<Vec<ArrayRef>> {
                Ok(Vec::new())
            }
        }
    };
}

#[derive(Default, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Shown {
    #[default]
    Quick,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Unseen {
    #[default]
    Quick,
}

lenient!(Lenient, Shown);
lenient!(Forgetful, Unseen);

#[test]
fn defaults_are_demanded_and_compared() {
    let of = |entry: Entry| Plugin {
        name: "t",
        version: "1",
        operations: vec![Entry::columns::<Shout>(), entry],
    };
    let lenient = of(Entry::columns::<Lenient>());
    check_defaults(
        &lenient,
        &json!({ "lenient": { "how": "quick", "count": 0 } }),
    );
    let said = |plugin: &Plugin, expect: &Value| -> String {
        let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check_defaults(plugin, expect);
        }));
        said.unwrap_err().downcast_ref::<String>().unwrap().clone()
    };
    assert_eq!(
        said(&of(Entry::columns::<Forgetful>()), &json!({})),
        "param `how` of `lenient` may be left out, and the schema does not show its default"
    );
    for wrong in [
        json!({}),
        json!({ "lenient": { "count": 0 } }),
        json!({ "lenient": { "count": 1, "how": "quick" } }),
        json!({ "lenient": { "count": 0, "how": "quick", "maybe": null } }),
    ] {
        let message = said(&lenient, &wrong);
        assert!(message.starts_with("defaults are {"), "{message}");
    }
}

#[test]
fn manifest_says_what_the_operations_are() {
    let manifest = plugin().manifest();
    assert_eq!(manifest["interface"], "0.2.0");
    assert_eq!(manifest["version"], env!("CARGO_PKG_VERSION"));
    let [shout, lookup] = [0, 4].map(|i| &manifest["operations"][i]);
    assert_eq!(shout["name"], "shout");
    assert_eq!(shout["further_inputs"], Value::Null);
    assert_eq!(shout["params"]["properties"]["column"]["type"], "string");
    assert_eq!(shout["examples"][0]["inputs"], json!(["a,b\n1,x\n2,\n"]));
    assert_eq!(
        lookup["further_inputs"],
        json!({ "param": "with", "many": false })
    );
}
