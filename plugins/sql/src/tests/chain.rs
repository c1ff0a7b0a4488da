//! Chained steps give what the same steps give one after the other.

use odibi_sdk::harness;
use odibi_sdk::prelude::*;

use super::tables;

/// Steps as `(operation, params)`.
type Steps = Vec<(&'static str, Value)>;

fn sql(text: &str) -> (&'static str, Value) {
    ("sql", json!({ "sql": text }))
}

/// Over `df`: id, k, g (text), v (float), n (decimal), d (date), t (timestamp), b (boolean).
fn chains() -> Vec<Steps> {
    vec![
        vec![
            ("filter_rows", json!({ "condition": "k > 1" })),
            (
                "derive_columns",
                json!({ "derivations": { "v": "v * 2", "w": "v + k" } }),
            ),
        ],
        // What the first computes, passes through and leaves out.
        vec![
            sql("SELECT k AS a, upper(g) AS b, v, d FROM df WHERE v IS NOT NULL"),
            sql("SELECT b, a, a + 1 AS c, d FROM df WHERE v > 1 OR a IS NULL"),
            sql("SELECT c, concat(b, '!') AS b, d AS day FROM df WHERE b <> 'ANT'"),
        ],
        // The same names mean other columns in every step.
        vec![
            sql("SELECT k AS id, id AS k, g FROM df"),
            sql("SELECT k AS id, id AS k, g FROM df"),
            sql("SELECT k, id AS \"x.k\", g FROM df"),
            sql("SELECT \"x.k\" + k AS k, g FROM df"),
        ],
        // Filters above filters, and nothing left.
        vec![
            sql("SELECT * FROM df WHERE k > 0"),
            sql("SELECT * FROM df WHERE v < 12"),
            sql("SELECT * FROM df WHERE k % 2 = 0"),
        ],
        vec![
            sql("SELECT * FROM df WHERE k > 0"),
            sql("SELECT id FROM df WHERE k < 0 OR v > 1e9"),
        ],
        // Views and literals inside, which cross as something else.
        vec![
            sql("SELECT id, arrow_cast(g, 'Utf8View') AS g, 1 AS one FROM df"),
            (
                "concat_columns",
                json!({ "columns": ["g", "one"], "separator": "-", "output_col": "tag" }),
            ),
            (
                "regex_replace",
                json!({ "column": "tag", "pattern": "[aeiou]", "replacement": "." }),
            ),
        ],
        // No column of the first is needed by the second.
        vec![
            sql("SELECT id, k FROM df WHERE b"),
            sql("SELECT 1 AS one, 'x' AS x FROM df"),
        ],
        vec![
            (
                "case_when",
                json!({ "cases": [{ "condition": "k > 2", "value": "'high'" }], "default": "'low'", "output_col": "tier" }),
            ),
            ("cast_columns", json!({ "casts": { "k": "string" } })),
            (
                "coalesce_columns",
                json!({ "columns": ["g", "k"], "output_col": "either" }),
            ),
            (
                "split_part",
                json!({ "col": "either", "delimiter": "n", "index": 1 }),
            ),
            (
                "validate_and_flag",
                json!({ "rules": { "short": "length(either) < 3", "known": "v IS NOT NULL" } }),
            ),
        ],
        vec![
            ("date_trunc", json!({ "col": "t", "unit": "month" })),
            ("date_add", json!({ "col": "t", "value": 1, "unit": "day" })),
            (
                "date_diff",
                json!({ "start_col": "d", "end_col": "t", "unit": "hour" }),
            ),
            ("extract_date_parts", json!({ "source_col": "t" })),
            (
                "convert_timezone",
                json!({ "col": "t", "target_tz": "Asia/Tokyo" }),
            ),
        ],
    ]
}

fn params(steps: &Steps) -> Value {
    let steps: Vec<Value> = steps
        .iter()
        .map(|(operation, params)| json!({ "operation": operation, "params": params }))
        .collect();
    json!({ "steps": steps })
}

/// The steps one after the other.
fn apart(steps: &Steps, input: &RecordBatch) -> RecordBatch {
    steps
        .iter()
        .fold(input.clone(), |table, (operation, params)| {
            harness::run(&crate::plugin(), operation, params.clone(), &[table])
                .unwrap_or_else(|f| panic!("{operation} {params}: {f}"))
        })
}

#[test]
fn a_chain_gives_what_its_steps_give() {
    let mut rows = 0;
    for table in [tables::df(0, 1), tables::df(1, 2), tables::df(500, 3)] {
        for steps in chains() {
            let expect = apart(&steps, &table);
            let got = harness::run(
                &crate::plugin(),
                "chain",
                params(&steps),
                std::slice::from_ref(&table),
            );
            let got = got.unwrap_or_else(|f| panic!("{steps:?}: {f}"));
            assert_eq!(got.schema(), expect.schema(), "{steps:?}");
            assert_eq!(got, expect, "{steps:?}");
            rows += got.num_rows();
        }
    }
    assert!(rows > 2_000, "{rows}: this compares too little");
}

#[track_caller]
fn check_plan(steps: &Steps, expect: &str) {
    let offered = tables::df(0, 1).schema();
    let plugin = crate::plugin();
    let entry = plugin.find("chain").unwrap();
    let plan = entry
        .plan(&params(steps).to_string(), &[offered])
        .unwrap_or_else(|f| panic!("{steps:?}: {f}"));
    let Need::Only(need) = &plan.inputs[0].need else {
        panic!("all columns are needed");
    };
    let output = plan.output.iter().map(|column| match column {
        OutputColumn::Passed { field, input, .. } => format!("{}<{input}", field.name()),
        OutputColumn::Computed(field) => field.name().clone(),
    });
    let output: Vec<String> = output.collect();
    assert_eq!(
        format!("{:?} {need:?} {}", plan.spread, output.join(" ")),
        expect
    );
}

#[test]
fn only_what_the_result_is_made_of_enters_the_sandbox() {
    check_plan(
        &vec![
            sql("SELECT id, k AS key, upper(g) AS g, v + 1 AS lost, d FROM df"),
            sql("SELECT key, g, d AS day FROM df WHERE key > 1"),
        ],
        "PerBatch [1, 2] key<1 g day<5",
    );
    check_plan(
        &vec![
            sql("SELECT k AS a, v AS b FROM df"),
            sql("SELECT b AS a FROM df"),
        ],
        "PerBatch [] a<3",
    );
}

#[track_caller]
fn check_fault(steps: &Steps, expect: &str) {
    let table = tables::df(3, 1);
    let got = harness::run(&crate::plugin(), "chain", params(steps), &[table]);
    let failure = got.expect_err(&format!("{steps:?}"));
    let param = failure.param.as_deref().unwrap_or("-");
    assert_eq!(
        format!("{} {param} {}", failure.code, failure.message),
        expect,
        "{steps:?}"
    );
}

#[test]
fn what_cannot_be_chained_is_refused() {
    check_fault(
        &Vec::new(),
        "bad-chain /steps a chain has 1 to 64 steps, has: 0",
    );
    check_fault(
        &vec![sql("SELECT k FROM df"), sql("SELECT k FROM df ORDER BY k")],
        "not-per-batch /steps/1 the step does not answer batch by batch",
    );
    check_fault(
        &vec![sql("SELECT count(*) AS n FROM df")],
        "not-per-batch /steps/0 the step does not answer batch by batch",
    );
    check_fault(
        &vec![
            sql("SELECT k FROM df"),
            ("sample", json!({ "fraction": 0.5 })),
        ],
        "not-per-batch /steps/1/params `sample` cannot stand in a chain",
    );
    check_fault(
        &vec![
            sql("SELECT k FROM df"),
            ("filter_rows", json!({ "condition": "g = 'x'" })),
        ],
        "unknown-column /steps/1/params/condition column `g` does not exist",
    );
    check_fault(
        &vec![("filter_rows", json!({ "conditions": "k = 1" }))],
        "invalid-param /steps/0/params/conditions unknown field `conditions`, expected `condition`",
    );
}

#[test]
fn every_operation_over_one_table_has_been_thought_of() {
    const NOT_PER_BATCH: [&str; 5] = [
        "aggregate",
        "chain",
        "pivot",
        "unpivot",
        "window_calculation",
    ];
    for entry in &crate::plugin().operations {
        if entry.further_inputs != FurtherInputs::None || entry.name == "sql" {
            continue;
        }
        let steps = json!({ "steps": [{ "operation": entry.name, "params": { "no such": 1 } }] });
        let offered = tables::df(0, 1).schema();
        let plugin = crate::plugin();
        let failure = plugin
            .find("chain")
            .unwrap()
            .plan(&steps.to_string(), &[offered])
            .unwrap_err();
        let refused = failure.code == "not-per-batch";
        assert_eq!(
            refused,
            NOT_PER_BATCH.contains(&entry.name),
            "{}",
            entry.name
        );
    }
}
