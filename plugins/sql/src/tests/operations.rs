//! Each thin operation: what it computes, what passes by the sandbox, and how it answers wrong params.
#![allow(clippy::too_many_lines, reason = "lists of cases")]

use std::panic::AssertUnwindSafe;

use odibi_sdk::harness;
use odibi_sdk::prelude::*;

use super::tables;

/// A table of every type that operations look at.
const TABLE: &str = "id,k,Größe,name,day,at,ok\n1,10,1.5,ann,2026-01-31,2026-01-31T10:30:00,true\n2,,,,,,\n3,10,-2.5,O'Brien,2024-02-29,2024-02-29T23:59:59,false\n";

#[track_caller]
pub(super) fn run(operation: &str, params: Value, inputs: &[&str]) -> Result<String> {
    harness::run_csv(&crate::plugin(), operation, params, inputs)
}

/// Cases that are all looked at, so that one run shows every wrong one.
#[derive(Default)]
pub(super) struct Cases(Vec<String>);

impl Cases {
    /// Rows in any order where the operation does not keep it.
    pub(super) fn gives(&mut self, operation: &str, params: Value, inputs: &[&str], expect: &str) {
        let what = format!("{operation} {params}");
        let got = std::panic::catch_unwind(|| run(operation, params, inputs));
        let got = match got {
            Ok(Ok(got)) => got,
            Ok(Err(f)) => f.to_string(),
            Err(_) => "panic".to_owned(),
        };
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if lines.len() > 1
                && matches!(operation, "aggregate" | "pivot" | "join" | "apply_mapping")
            {
                lines[1..].sort();
            }
            lines
        };
        if sorted(&got) != sorted(expect) {
            self.0.push(format!("{what}\n{got}\ninstead of\n{expect}"));
        }
    }

    /// `code param span message`; behind an ellipsis anything may follow.
    pub(super) fn fails(&mut self, operation: &str, params: Value, inputs: &[&str], expect: &str) {
        let what = format!("{operation} {params}");
        let got = std::panic::catch_unwind(|| run(operation, params, inputs));
        let got = match got {
            Ok(Ok(got)) => format!("no failure but\n{got}"),
            Ok(Err(f)) => {
                let param = f.param.as_deref().unwrap_or("-");
                let span = f.span.as_ref().map_or(String::new(), |s| format!(" {s:?}"));
                format!("{} {param}{span} {}", f.code, f.message)
            }
            Err(_) => "panic".to_owned(),
        };
        let fits = match expect.strip_suffix('…') {
            Some(start) => got.starts_with(start),
            None => got == expect,
        };
        if !fits {
            self.0
                .push(format!("{what}\n  {got}\ninstead of\n  {expect}"));
        }
    }

    #[track_caller]
    pub(super) fn done(&self) {
        assert!(self.0.is_empty(), "{}", self.0.join("\n\n"));
    }
}

/// Spread, offered columns that enter the sandbox, and `name<source` of each column of the result.
#[track_caller]
fn check_plan(operation: &str, params: Value, expect: &str) {
    let schemas = [tables::df(0, 1).schema(), tables::other(0, 1).schema()];
    let plugin = crate::plugin();
    let entry = plugin.find(operation).unwrap();
    let inputs = if entry.further_inputs == FurtherInputs::None {
        1
    } else {
        2
    };
    let plan = entry.plan(&params.to_string(), &schemas[..inputs]);
    let plan = plan.unwrap_or_else(|f| panic!("{operation} {params}: {f}"));
    let need: Vec<String> = plan
        .inputs
        .iter()
        .map(|input| match &input.need {
            Need::All => "all".to_owned(),
            Need::Only(columns) => format!("{columns:?}"),
        })
        .collect();
    let output = plan.output.iter().map(|column| match column {
        OutputColumn::Passed { field, input, .. } => format!("{}<{input}", field.name()),
        OutputColumn::Computed(field) => field.name().clone(),
    });
    let output: Vec<String> = output.collect();
    let got = format!("{:?} {} {}", plan.spread, need.join(" "), output.join(" "));
    assert_eq!(got, expect, "{operation} {params}");
}

#[test]
fn every_example_of_every_operation() {
    let mut wrong = Vec::new();
    for entry in &crate::plugin().operations {
        for example in entry.examples() {
            let inputs: Vec<&str> = example.inputs.iter().map(String::as_str).collect();
            let what = format!("{} {}", entry.name, example.params);
            let got = std::panic::catch_unwind(AssertUnwindSafe(|| {
                run(entry.name, example.params, &inputs)
            }));
            let Ok(got) = got else {
                wrong.push(format!("{what}\n  panics"));
                continue;
            };
            let got = got.unwrap_or_else(|f| f.to_string());
            let sorted = |text: &str| {
                let mut lines: Vec<&str> = text.lines().collect();
                lines.sort_unstable();
                lines.join("\n")
            };
            if sorted(&got) != sorted(&example.output) {
                wrong.push(format!("{what}\n{got}instead of\n{}", example.output));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn untouched_columns_pass_by_the_sandbox() {
    // df: id k g v n d t b
    let all = "id<0 k<1 g<2 v<3 n<4 d<5 t<6 b<7";
    let c = |operation, params, expect: &str| {
        check_plan(operation, params, &expect.replace("ALL", all));
    };
    c(
        "filter_rows",
        json!({"condition": "v > 0"}),
        "PerBatch [3] ALL",
    );
    c(
        "derive_columns",
        json!({"derivations": {"w": "v * 2", "g": "upper(g)"}}),
        "PerBatch [2, 3] id<0 k<1 g v<3 n<4 d<5 t<6 b<7 w",
    );
    c(
        "case_when",
        json!({"cases": [{"condition": "k = 1", "value": "v"}], "output_col": "c"}),
        "PerBatch [1, 3] ALL c",
    );
    c(
        "validate_and_flag",
        json!({"rules": {"r": "v > 0"}}),
        "PerBatch [3] ALL _issues",
    );
    c(
        "coalesce_columns",
        json!({"columns": ["k", "id"], "output_col": "c", "drop_source": true}),
        "PerBatch [0, 1] g<2 v<3 n<4 d<5 t<6 b<7 c",
    );
    c(
        "concat_columns",
        json!({"columns": ["g", "k"], "output_col": "c"}),
        "PerBatch [1, 2] ALL c",
    );
    c(
        "split_part",
        json!({"col": "g", "delimiter": "-", "index": 1}),
        "PerBatch [2] ALL g_part_1",
    );
    c(
        "regex_replace",
        json!({"column": "g", "pattern": "a", "replacement": "b"}),
        "PerBatch [2] id<0 k<1 g v<3 n<4 d<5 t<6 b<7",
    );
    c(
        "cast_columns",
        json!({"casts": {"k": "string", "v": "double"}}),
        "PerBatch [1] id<0 k g<2 v<3 n<4 d<5 t<6 b<7",
    );
    c(
        "date_add",
        json!({"col": "d", "value": 1, "unit": "day"}),
        "PerBatch [5] ALL d_future",
    );
    c(
        "date_diff",
        json!({"start_col": "d", "end_col": "t"}),
        "PerBatch [5, 6] ALL diff_day",
    );
    c(
        "date_trunc",
        json!({"col": "t", "unit": "hour"}),
        "PerBatch [6] ALL t_trunc",
    );
    c(
        "extract_date_parts",
        json!({"source_col": "t", "parts": ["year"]}),
        "PerBatch [6] ALL t_year",
    );
    c(
        "convert_timezone",
        json!({"col": "t", "target_tz": "Asia/Tokyo"}),
        "PerBatch [6] ALL t_converted",
    );
    c(
        "aggregate",
        json!({"group_by": ["k"], "aggregations": {"v": "sum"}}),
        "PerPartition [1, 3] k v",
    );
    c(
        "aggregate",
        json!({"group_by": [], "aggregations": {"v": "sum"}}),
        "Single [3] v",
    );
    c(
        "pivot",
        json!({"group_by": ["k"], "pivot_col": "g", "agg_col": "v", "values": ["a"]}),
        "PerPartition [1, 2, 3] k a",
    );
    c(
        "window_calculation",
        json!({"target_col": "r", "function": "row_number()", "partition_by": ["k"], "order_by": "id"}),
        "PerPartition [0, 1, 2, 3, 4, 5, 6, 7] id k g v n d t b r",
    );
    c(
        "unpivot",
        json!({"id_cols": ["id"], "value_vars": ["k", "v"]}),
        "Single [0, 1, 3] id variable value",
    );
    c(
        "join",
        json!({"right_dataset": "o", "on": "k", "how": "semi"}),
        "PerPartition [0, 1, 2, 3, 4, 5, 6, 7] [0] id k g v n d t b",
    );
    c(
        "apply_mapping",
        json!({"column": "k", "mapping_source": "o", "source_key": "k", "source_value": "label", "output": "l"}),
        "PerPartition [0, 1, 2, 3, 4, 5, 6, 7] [0, 2] id k g v n d t b l",
    );
}

#[test]
fn cross_check_reads_no_column() {
    let schemas = [
        tables::df(0, 1).schema(),
        tables::other(0, 1).schema(),
        tables::df(0, 1).schema(),
    ];
    let params = json!({"type": "row_count_diff", "inputs": ["a", "b"]});
    let plugin = crate::plugin();
    let plan = plugin
        .find("cross_check")
        .unwrap()
        .plan(&params.to_string(), &schemas)
        .unwrap();
    assert!(
        plan.inputs
            .iter()
            .all(|input| input.need == Need::Only(Vec::new()))
    );
    assert!(
        plan.output
            .iter()
            .all(|c| matches!(c, OutputColumn::Passed { .. }))
    );
}

#[test]
fn tables_are_compared() {
    let mut cases = Cases::default();
    let rows = |n: usize| format!("x\n{}", "1\n".repeat(n));
    let mut c = |a, b, threshold: f64, expect: Option<&str>| {
        let params =
            json!({"type": "row_count_diff", "inputs": ["a", "b"], "threshold": threshold});
        let (a, b) = (rows(a), rows(b));
        let inputs = ["id\n1\n2\n", a.as_str(), b.as_str()];
        match expect {
            None => cases.gives("cross_check", params, &inputs, "id\n1\n2\n"),
            Some(message) => cases.fails(
                "cross_check",
                params,
                &inputs,
                &format!("cross-check /inputs/1 {message}"),
            ),
        }
    };
    c(3, 3, 0.0, None);
    c(0, 0, 0.0, None);
    c(20, 19, 0.05, None);
    c(20, 21, 0.05, None);
    c(
        20,
        22,
        0.05,
        Some("`b` has 22 rows, `a` has 20: a difference of 10.00 %, allowed are 5.00 %"),
    );
    c(
        0,
        1,
        0.5,
        Some("`b` has 1 rows, `a` has 0: a difference of 100.00 %, allowed are 50.00 %"),
    );
    c(
        1,
        0,
        0.5,
        Some("`b` has 0 rows, `a` has 1: a difference of 100.00 %, allowed are 50.00 %"),
    );
    let mut schema = |a, b, expect| {
        let params = json!({"type": "schema_match", "inputs": ["a", "b"]});
        cases.fails("cross_check", params, &["id\n1\n", a, b], expect);
    };
    schema(
        "x,y\n1,2\n",
        "x,z\n1.5,2\n",
        "cross-check /inputs/1 columns of `b` are not those of `a`: `x` is Float64 and not Int64, `y` is missing, `z` is there in addition",
    );
    cases.gives(
        "cross_check",
        json!({"type": "schema_match", "inputs": ["a", "b"]}),
        &["id\n", "x,y\n1,a\n", "y,x\nb,3\n"],
        "id\n",
    );
    let mut fault =
        |params, expect| cases.fails("cross_check", params, &["id\n1\n", "x\n1\n"], expect);
    fault(
        json!({"type": "row_count_diff", "inputs": ["a"]}),
        "invalid-param /inputs at least two tables are wanted, are: 1",
    );
    fault(
        json!({"type": "row_count_diff", "inputs": ["a", "b"], "threshold": -1}),
        "invalid-param /threshold must be 0 or more, is: -1",
    );
    fault(
        json!({"type": "rows", "inputs": ["a", "b"]}),
        "invalid-param /type unknown variant `rows`, expected `row_count_diff` or `schema_match`",
    );
    cases.done();
}

#[test]
fn expressions_find_columns_whatever_their_case() {
    let mut cases = Cases::default();
    let id = |params, expect: &str| {
        let got = run("filter_rows", params, &[TABLE]).unwrap();
        let ids: Vec<&str> = got
            .lines()
            .skip(1)
            .map(|l| l.split(',').next().unwrap())
            .collect();
        assert_eq!(ids.join(" "), expect);
    };
    id(json!({"condition": "größe > 0"}), "1");
    id(json!({"condition": "\"Größe\" < 0 -- a comment"}), "3");
    id(json!({"condition": "name = 'O''Brien' /* ) */"}), "3");
    id(json!({"condition": "k IN (SELECT max(k) FROM df)"}), "1 3");
    id(json!({"condition": "NULL"}), "");
    id(json!({"condition": "ok OR k IS NULL"}), "1 2");
    // A replaced column is found under its old spelling.
    cases.gives(
        "derive_columns",
        json!({"derivations": {"Größe": "größe * 2", "b": "GRÖSSE"}}),
        &["Größe,grösse\n1,7\n"],
        "Größe,grösse,b\n2,7,7\n",
    );
    let mut c = |operation, params, expect| cases.gives(operation, params, &[TABLE], expect);
    c(
        "derive_columns",
        json!({"derivations": {"z": "df.größe + 1", "a": "k"}}),
        "id,k,Größe,name,day,at,ok,z,a\n1,10,1.5,ann,2026-01-31,2026-01-31T10:30:00,true,2.5,10\n2,,,,,,,,\n3,10,-2.5,O'Brien,2024-02-29,2024-02-29T23:59:59,false,-1.5,10\n",
    );
    cases.gives(
        "derive_columns",
        json!({"derivations": {"n": "row_number() OVER (ORDER BY id)"}}),
        &["id\n3\n1\n"],
        "id,n\n1,1\n3,2\n",
    );
    cases.done();
}

#[test]
fn faults_of_expressions_lie_in_their_own_text() {
    let mut cases = Cases::default();
    let mut f = |condition: &str, expect: &str| {
        cases.fails(
            "filter_rows",
            json!({"condition": condition}),
            &[TABLE],
            expect,
        )
    };
    f(
        "nme = 1",
        "unknown-column /condition 0..3 column `nme` does not exist",
    );
    f(
        "k = 1 AND\n nme = 1",
        "unknown-column /condition 11..14 column `nme` does not exist",
    );
    f(
        "k = ",
        "sql-syntax /condition expected: an expression, found: EOF",
    );
    f("", "empty-sql /condition the expression is empty");
    f(
        "  -- nothing",
        "empty-sql /condition the expression is empty",
    );
    f(
        "k = 1; DROP TABLE df",
        "sql-syntax /condition 5..6 found after the end of the expression: `;`",
    );
    f(
        "k = 1) OR (true",
        "sql-syntax /condition 5..6 found after the end of the expression: `)`",
    );
    f(
        "k = 1 UNION SELECT 1",
        "sql-syntax /condition 6..11 found after the end of the expression: `UNION`",
    );
    f(
        "true ORDER BY k",
        "sql-syntax /condition 5..10 found after the end of the expression: `ORDER`",
    );
    f(
        "k",
        "wrong-type /condition the condition must be true or false, is: Int64",
    );
    f(
        "upperr(name) = 'A'",
        "unknown-function /condition 0..6 function `upperr` does not exist",
    );
    f(
        "k > (SELECT max(x) FROM other)",
        "unknown-table /condition 24..29 a subquery may read `df` and nothing else: `other`",
    );
    f(
        "k IN (SELECT value FROM generate_series(1, 5))",
        "unknown-table /condition 24..39 a subquery may read `df` and nothing else: `generate_series`",
    );
    f(
        "sum(k) > 1",
        "aggregate-not-allowed /condition 0..3 `sum` looks at all rows together, which has no place here",
    );
    f(
        "row_number() OVER () = 1",
        "window-not-allowed /condition 0..10 `row_number` looks at other rows, which has no place here",
    );
    f(
        "unnest(make_array(k)) = 1",
        "not-supported /condition 0..6 `unnest` would make several rows of one, which has no place here",
    );
    f(
        "k = $1",
        "sql-syntax /condition 4..6 a placeholder has no value here: `$1`",
    );
    f(
        "k = 'open",
        "sql-syntax /condition 4..5 unterminated string literal",
    );
    f(
        "k /* open",
        "sql-syntax /condition 9..9 unexpected EOF while in a multi-line comment",
    );
    f(
        "name + 1 > ok",
        "invalid-sql /condition 0..4 cannot coerce arithmetic expression Utf8 + Int64 to valid types",
    );
    let mut d = |text: &str, expect: &str| {
        cases.fails(
            "derive_columns",
            json!({"derivations": {"a/b": text}}),
            &[TABLE],
            expect,
        )
    };
    d(
        "nme",
        "unknown-column /derivations/a~1b 0..3 column `nme` does not exist",
    );
    d(
        "NULL",
        "no-type /derivations/a~1b the value is always null and has no type",
    );
    d(
        "k, k",
        "sql-syntax /derivations/a~1b 1..2 found after the end of the expression: `,`",
    );
    d(
        "k AS j",
        "sql-syntax /derivations/a~1b 2..4 found after the end of the expression: `AS`",
    );
    d(
        "SELECT",
        "unknown-column /derivations/a~1b 0..6 column `select` does not exist",
    );
    d(
        "*",
        "sql-syntax /derivations/a~1b 0..1 expected: an expression, found: *",
    );
    cases.fails(
        "derive_columns",
        json!({"derivations": {}}),
        &[TABLE],
        "empty-param /derivations must not be empty",
    );
    cases.done();
}

#[test]
fn empty_tables_give_no_rows() {
    let plugin = crate::plugin();
    for entry in plugin.operations.iter().filter(|e| e.name != "sql") {
        for example in entry.examples() {
            let what = format!("{} {}", entry.name, example.params);
            // Types are those of the rows that were there.
            let inputs = example.inputs.iter();
            let inputs: Vec<RecordBatch> = inputs.map(|t| harness::table(t).slice(0, 0)).collect();
            let got = harness::run(&plugin, entry.name, example.params.clone(), &inputs);
            let got = harness::csv(&got.unwrap_or_else(|f| panic!("{what}: {f}")));
            let header = example.output.lines().next().unwrap();
            let whole = example.params["group_by"] == json!([]);
            match got.lines().collect::<Vec<_>>().as_slice() {
                [line] if !whole => assert_eq!(*line, header, "{what}"),
                [line, ",0"] if whole => assert_eq!(*line, header, "{what}"),
                other => panic!("{what}: {other:?}"),
            }
        }
    }
}
