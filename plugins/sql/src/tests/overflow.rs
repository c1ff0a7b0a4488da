//! Whole numbers at the ends of their range: what fits is right, what does not is a failure that says what did not.

use arrow_array::types::{Int8Type, Int32Type, UInt64Type};
use arrow_array::{
    Decimal128Array, Decimal256Array, DurationMicrosecondArray, DurationNanosecondArray,
    PrimitiveArray,
};
use datafusion::arrow::datatypes::i256;
use odibi_sdk::failure::Kind;
use odibi_sdk::harness::{self, Cut};
use odibi_sdk::prelude::*;

const MAX: i64 = i64::MAX;
const MIN: i64 = i64::MIN;

/// `id` counts the rows; `k` is 1 but for the last row, where it is 2.
fn table(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    let rows = i64::try_from(columns[0].1.len()).unwrap();
    let id: ArrayRef = Arc::new((0..rows).collect::<Int64Array>());
    let k = (0..rows).map(|at| if at + 1 == rows { 2 } else { 1 });
    let k: ArrayRef = Arc::new(k.collect::<Int64Array>());
    let all = [("id", id), ("k", k)]
        .into_iter()
        .chain(columns.iter().cloned());
    RecordBatch::try_from_iter_with_nullable(all.map(|(name, array)| (name, array, true))).unwrap()
}

fn n(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    let n: ArrayRef = Arc::new(values.into_iter().collect::<Int64Array>());
    table(&[("n", n)])
}

/// The result as CSV without its header, a space for each end of a line.
#[track_caller]
fn gives_of(operation: &str, params: Value, input: &RecordBatch, expect: &str) {
    let what = format!("{operation} {params}");
    let got = harness::run(
        &crate::plugin(),
        operation,
        params,
        std::slice::from_ref(input),
    );
    let got = match got {
        Ok(got) => {
            let lines = harness::csv(&got);
            lines.lines().skip(1).collect::<Vec<_>>().join(" ")
        }
        Err(f) => format!("{}: {}", f.code, f.message),
    };
    assert_eq!(got, expect, "{what}");
}

#[track_caller]
fn gives(sql: &str, input: &RecordBatch, expect: &str) {
    gives_of("sql", json!({ "sql": sql }), input, expect);
}

/// However it is cut.
#[track_caller]
fn fails_of(operation: &str, params: &Value, input: &RecordBatch, expect: &str) {
    for batch_rows_max in [usize::MAX, 2, 1] {
        let cut = Cut {
            batch_rows_max,
            partitions: 1,
        };
        let what = format!("{operation} {params} in batches of {batch_rows_max}");
        let inputs = std::slice::from_ref(input);
        let got = harness::run_cut(&crate::plugin(), operation, params.clone(), inputs, cut);
        let failure = match got {
            Ok(got) => panic!("{what}: no failure but\n{}", harness::csv(&got)),
            Err(failure) => failure,
        };
        let said = (failure.code.as_str(), failure.message.as_str());
        assert_eq!(said, ("overflow", expect), "{what}");
        assert_eq!(failure.hints.len(), 1, "{what}");
        assert!(
            matches!(failure.kind, Kind::Data | Kind::Params),
            "{what}: {failure}"
        );
    }
}

#[track_caller]
fn fails(sql: &str, input: &RecordBatch, expect: &str) {
    fails_of("sql", &json!({ "sql": sql }), input, expect);
}

#[test]
fn arithmetic_at_both_ends() {
    let ends = n([MAX, MIN]);
    gives("SELECT n + 0 AS x FROM df", &ends, &format!("{MAX} {MIN}"));
    gives("SELECT n - 0 AS x FROM df", &ends, &format!("{MAX} {MIN}"));
    gives("SELECT n * 1 AS x FROM df", &ends, &format!("{MAX} {MIN}"));
    gives(
        "SELECT n + id AS x FROM df",
        &n([MIN, MAX - 1]),
        &format!("{MIN} {MAX}"),
    );
    gives(
        "SELECT -n AS x FROM df",
        &n([MAX, MIN + 1]),
        &format!("{} {MAX}", -MAX),
    );
    gives(
        "SELECT n * n AS x FROM df",
        &n([3_037_000_499]),
        "9223372030926249001",
    );
    gives(
        "SELECT n * -4294967296 AS x FROM df",
        &n([2_147_483_648]),
        &MIN.to_string(),
    );
    fails(
        "SELECT n + 1 AS x FROM df",
        &n([1, MAX]),
        "`n + 1` does not fit into Int64: 9223372036854775807 + 1",
    );
    fails(
        "SELECT n - 1 AS x FROM df",
        &n([1, MIN]),
        "`n - 1` does not fit into Int64: -9223372036854775808 - 1",
    );
    fails(
        "SELECT n * n AS x FROM df",
        &n([1, 3_037_000_500]),
        "`n * n` does not fit into Int64: 3037000500 * 3037000500",
    );
    fails(
        "SELECT (n + id) * -k AS x FROM df",
        &n([MIN]),
        "`(n + id) * (-k)` does not fit into Int64: -9223372036854775808 * -2",
    );
    fails(
        "SELECT -n AS x FROM df",
        &n([MIN]),
        "`-n` does not fit into Int64: 0 - -9223372036854775808",
    );
    let sql = "SELECT n / -1 AS x FROM df";
    fails(
        sql,
        &n([MIN]),
        "overflow happened on: -9223372036854775808 / -1",
    );
}

#[test]
fn nulls_and_guards_do_not_overflow() {
    let some: ArrayRef = Arc::new(Int64Array::from(vec![Some(MAX), None]));
    let more: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(MAX)]));
    let input = table(&[("n", some), ("m", more)]);
    gives(
        "SELECT n + m AS x, n * m AS y, -m AS z FROM df",
        &input,
        &format!(",, ,,{}", -MAX),
    );
    gives(
        "SELECT CASE WHEN n < 10 THEN n * 2 END AS x FROM df",
        &n([1, MAX]),
        "2 \"\"",
    );
    gives("SELECT n + NULL AS x FROM df", &n([MAX]), "\"\"");
}

#[test]
fn other_integers() {
    let ints = |values: [i32; 2]| -> ArrayRef {
        Arc::new(PrimitiveArray::<Int32Type>::from(values.to_vec()))
    };
    let input = table(&[("a", ints([1, i32::MAX])), ("b", ints([1, 1]))]);
    fails(
        "SELECT a + b AS x FROM df",
        &input,
        "`a + b` does not fit into Int32: 2147483647 + 1",
    );
    gives(
        "SELECT CAST(a AS BIGINT) + b AS x FROM df",
        &input,
        "2 2147483648",
    );
    gives("SELECT a + 1 AS x FROM df", &input, "2 2147483648");
    gives(
        "SELECT sum(a) AS x, sum(a * 2) AS y FROM df",
        &input,
        "2147483648,4294967296",
    );

    let small: ArrayRef = Arc::new(PrimitiveArray::<Int8Type>::from(vec![100, -128]));
    let input = table(&[("a", small)]);
    fails(
        "SELECT a + a AS x FROM df",
        &input,
        "`a + a` does not fit into Int8: 100 + 100",
    );
    gives("SELECT sum(a) AS x FROM df", &input, "-28");

    let large = |values: [u64; 2]| -> ArrayRef {
        Arc::new(PrimitiveArray::<UInt64Type>::from(values.to_vec()))
    };
    let input = table(&[("a", large([u64::MAX, 0])), ("b", large([0, 1]))]);
    gives(
        "SELECT a + b AS x FROM df",
        &input,
        "18446744073709551615 1",
    );
    fails(
        "SELECT a - b AS x FROM df",
        &input,
        "`a - b` does not fit into UInt64: 0 - 1",
    );
    gives("SELECT sum(a) AS x FROM df", &input, "18446744073709551615");
    gives(
        "SELECT sum(DISTINCT a) AS x FROM df",
        &input,
        "18446744073709551615",
    );
    let input = table(&[("a", large([u64::MAX, 1]))]);
    fails(
        "SELECT sum(a) AS x FROM df",
        &input,
        "the sum of `a` does not fit into UInt64",
    );
    let sliding = "SELECT id, sum(a) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS x FROM df";
    fails(sliding, &input, "the sum of `a` does not fit into UInt64");
    let input = table(&[("a", large([u64::MAX, 0]))]);
    gives(
        sliding,
        &input,
        "0,18446744073709551615 1,18446744073709551615",
    );
}

#[test]
fn constants() {
    let one = n([1]);
    let message = "`9223372036854775807 + 1` does not fit into Int64: 9223372036854775807 + 1";
    fails("SELECT 9223372036854775807 + 1 AS x FROM df", &one, message);
    fails("VALUES (9223372036854775807 + 1)", &one, message);
    fails(
        "SELECT y + 1 AS x FROM (SELECT 9223372036854775807 AS y FROM df) t",
        &one,
        "`y + 1` does not fit into Int64: 9223372036854775807 + 1",
    );
    fails(
        "SELECT -(-9223372036854775808) AS x FROM df",
        &one,
        "`--9223372036854775808` does not fit into Int64: 0 - -9223372036854775808",
    );
    fails(
        "SELECT n FROM df WHERE 4611686018427387904 * 2 > n",
        &one,
        "`4611686018427387904 * 2` does not fit into Int64: 4611686018427387904 * 2",
    );
    gives(
        "SELECT 9223372036854775806 + 1 AS x FROM df",
        &one,
        "9223372036854775807",
    );
    gives(
        "SELECT -9223372036854775808 AS x FROM df",
        &one,
        "-9223372036854775808",
    );
    gives("SELECT 2 + 3 * 4 - 1 AS x FROM df LIMIT 1 + 1", &one, "13");
}

#[test]
fn wherever_an_expression_stands() {
    let input = n([1, MAX]);
    let message = "`n + 1` does not fit into Int64: 9223372036854775807 + 1";
    for sql in [
        "SELECT id FROM df WHERE n + 1 > 0",
        "SELECT CASE WHEN id >= 0 THEN n + 1 END AS x FROM df",
        "SELECT abs(n + 1) AS x FROM df",
        "SELECT n + 1 AS g, count(*) AS c FROM df GROUP BY n + 1",
        "SELECT k, max(n + 1) AS m FROM df GROUP BY k",
        "SELECT sum(n + 1) AS s FROM df",
        "SELECT k, sum(id) FILTER (WHERE n + 1 > 0) AS s FROM df GROUP BY k",
        "SELECT id FROM df ORDER BY n + 1",
        "SELECT id, sum(id) OVER (PARTITION BY n + 1) AS s FROM df",
        "SELECT id, max(n + 1) OVER (ORDER BY id) AS s FROM df",
        "SELECT a.id FROM df a JOIN df b ON a.n + 1 = b.n",
        "SELECT a.id FROM df a JOIN df b ON a.k = b.k AND a.n + 1 > b.id",
        "SELECT id FROM df WHERE id IN (SELECT n + 1 FROM df)",
        "SELECT id FROM df d WHERE EXISTS (SELECT 1 FROM df e WHERE e.k = d.k AND e.n + 1 > 0)",
        "SELECT (SELECT max(n + 1) FROM df) AS x FROM df",
        "SELECT n + 1 AS x FROM df UNION ALL SELECT id FROM df",
        "SELECT DISTINCT n + 1 AS x FROM df",
        "WITH t AS (SELECT n + 1 AS x FROM df) SELECT max(x) AS m FROM t",
    ] {
        fails(sql, &input, message);
    }
    fails(
        "SELECT k, count(*) AS c FROM df GROUP BY k HAVING sum(id) - 9223372036854775807 - 2 < 0",
        &n([1]),
        "`(sum(df.id) - 9223372036854775807) - 2` does not fit into Int64: -9223372036854775807 - 2",
    );
}

#[test]
fn names_of_columns_stay() {
    let got = harness::run(
        &crate::plugin(),
        "sql",
        json!({ "sql": "SELECT n + 1, -n, (n - 2) * k, sum(n * 2) OVER (ORDER BY id) FROM df" }),
        &[n([1])],
    );
    let schema = got.unwrap().schema();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(
        names,
        [
            "df.n + Int64(1)",
            "(- df.n)",
            "df.n - Int64(2) * df.k",
            "sum(df.n * Int64(2)) ORDER BY [df.id ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
        ]
    );
}

#[test]
fn sums_are_exact_or_fail() {
    let too_large = "the sum of `n` does not fit into Int64";
    for values in [[MAX, 1, 0], [MIN, 0, -1], [MAX, MAX, MAX], [MIN, MIN, -1]] {
        fails("SELECT sum(n) AS x FROM df", &n(values), too_large);
    }
    let both = "SELECT sum(n) AS x, count(DISTINCT k) AS c FROM df";
    gives(both, &n([MAX, 1, -1, -1]), &format!("{},2", MAX - 1));
    fails(both, &n([MAX, 1, 0]), too_large);
    fails(both, &n([MAX, 0, 1]), "a sum does not fit into Int64");
    for values in [[MAX, 1, -1], [1, MAX, -1], [MIN, -5, 5], [MAX, MIN, MAX]] {
        let sum: i128 = values.iter().map(|v| i128::from(*v)).sum();
        gives("SELECT sum(n) AS x FROM df", &n(values), &sum.to_string());
    }
    gives("SELECT sum(n) AS x FROM df WHERE n > 5", &n([1]), "\"\"");
    gives(
        "SELECT sum(n) FILTER (WHERE n < 10) AS x FROM df",
        &n([MAX, MAX, 1]),
        "1",
    );
    gives(
        "SELECT sum(CAST(n AS DECIMAL(38, 0))) AS x FROM df",
        &n([MAX, MAX]),
        "18446744073709551614",
    );
}

#[test]
fn sums_of_groups() {
    let too_large = "the sum of `n` does not fit into Int64";
    let sql = "SELECT k, sum(n) AS x FROM df GROUP BY k ORDER BY k";
    gives(sql, &n([MAX, 1, -1, MIN]), &format!("1,{MAX} 2,{MIN}"));
    gives(sql, &n([MIN, -1, 1, MAX]), &format!("1,{MIN} 2,{MAX}"));
    fails(sql, &n([MAX, 1, 5]), too_large);
    fails(sql, &n([MIN, -1, 5]), too_large);
    let nothing = "SELECT k, sum(n) FILTER (WHERE n < 0) AS x FROM df GROUP BY k ORDER BY k";
    gives(nothing, &n([MAX, MAX, -7]), "1, 2,-7");
    // Sorted input: groups are handed out one by one.
    let sorted = "SELECT id / 3 AS g, sum(n) AS x FROM (SELECT * FROM df ORDER BY id) t GROUP BY id / 3 ORDER BY g";
    gives(
        sorted,
        &n([MAX, 1, -1, 2, MAX, -2]),
        &format!("0,{MAX} 1,{MAX}"),
    );
    fails(sorted, &n([1, 1, 1, MAX, 1, 1]), too_large);
    let in_order =
        "SELECT g, sum(n) AS x FROM (SELECT * FROM df ORDER BY g) t GROUP BY g ORDER BY g";
    let of = |values: [i64; 6]| {
        let g: ArrayRef = Arc::new(Int64Array::from(vec![1, 1, 2, 2, 2, 3]));
        table(&[("n", Arc::new(Int64Array::from(values.to_vec()))), ("g", g)])
    };
    let fits = of([MAX, -1, MAX, 1, -1, 5]);
    gives(in_order, &fits, &format!("1,{} 2,{MAX} 3,5", MAX - 1));
    fails(in_order, &of([MAX, -1, MAX, 1, 0, 5]), too_large);
    // In two phases: once for each table of a union, then together.
    let union = "SELECT k, sum(n) AS x FROM (SELECT k, n FROM df UNION ALL SELECT k, 1 AS n FROM df) t GROUP BY k ORDER BY k";
    gives(
        union,
        &n([MAX - 4, 1, -1, 5]),
        &format!("1,{} 2,6", MAX - 1),
    );
    fails(union, &n([MAX - 1, 1, 5]), too_large);
    fails(
        "SELECT sum(n) AS x FROM (SELECT n FROM df UNION ALL SELECT n FROM df) t",
        &n([MAX]),
        too_large,
    );
}

/// The first phase of two stops to group when it makes as many groups as there are rows, and hands values on as sums.
#[test]
fn sums_of_very_many_groups() {
    let rows = 120_000;
    let sql = "SELECT count(x) AS c, sum(x) AS s, max(x) AS m FROM (
        SELECT id, sum(n) FILTER (WHERE n % 2 = 0) AS x
        FROM (SELECT id, n FROM df UNION ALL SELECT id, n FROM df) t GROUP BY id) u";
    let cut = Cut {
        batch_rows_max: 10_000,
        partitions: 1,
    };
    let of = |last: i64| {
        let input = [n((0..rows - 1).chain([last]))];
        harness::run_cut(&crate::plugin(), "sql", json!({ "sql": sql }), &input, cut)
    };
    let half = rows / 2;
    let even = 2 * half * (half - 1);
    let last = (MAX - even) / 4 * 2;
    let expect = format!("c,s,m\n{},{},{}\n", half + 1, even + 2 * last, 2 * last);
    assert_eq!(harness::csv(&of(last).unwrap()), expect);
    let failure = of(MAX - 1).unwrap_err();
    assert_eq!(failure.message, "the sum of `n` does not fit into Int64");
}

#[test]
fn sums_of_different_values() {
    let too_large = "the sum of `n` does not fit into Int64";
    for (sql, too_large) in [
        (
            "SELECT sum(DISTINCT n) AS x FROM df",
            "a sum does not fit into Int64",
        ),
        // Of two kinds of distinct values the engine makes no groups.
        (
            "SELECT sum(DISTINCT n) AS x FROM df HAVING count(DISTINCT id) > 0",
            too_large,
        ),
    ] {
        gives(sql, &n([MAX, MAX, MAX]), &MAX.to_string());
        gives(sql, &n([MAX, 1, -1, 1, -1]), &MAX.to_string());
        fails(sql, &n([MAX, MAX, 1]), too_large);
        fails(sql, &n([MIN, -1]), too_large);
    }
    let groups =
        "SELECT k, sum(DISTINCT n) AS x, count(DISTINCT id) AS c FROM df GROUP BY k ORDER BY k";
    gives(groups, &n([MAX, MAX, MIN]), &format!("1,{MAX},2 2,{MIN},1"));
    fails(groups, &n([MAX, 2, MIN]), too_large);
    let sliding = "SELECT id, sum(DISTINCT n) OVER (ORDER BY id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS x FROM df";
    gives(
        sliding,
        &n([MAX, MAX, -1, 1, 0]),
        &format!("0,{MAX} 1,{MAX} 2,{} 3,{MAX} 4,0", MAX - 1),
    );
    fails(sliding, &n([0, MAX, MAX, 1]), too_large);
}

#[test]
fn sums_in_windows() {
    let too_large = "the sum of `n` does not fit into Int64";
    let running = "SELECT id, sum(n) OVER (ORDER BY id) AS x FROM df";
    gives(
        running,
        &n([MAX, -1, 1]),
        &format!("0,{MAX} 1,{} 2,{MAX}", MAX - 1),
    );
    fails(running, &n([MAX, 1, -1]), too_large);
    let whole = "SELECT id, sum(n) OVER () AS x FROM df";
    gives(whole, &n([MAX, 1, -1]), &format!("0,{MAX} 1,{MAX} 2,{MAX}"));
    fails(whole, &n([MAX, 1]), too_large);
    let sliding = "SELECT id, sum(n) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS x FROM df";
    gives(
        sliding,
        &n([MAX, -5, MAX, MIN, 0]),
        &format!("0,{MAX} 1,{} 2,{} 3,-1 4,{MIN}", MAX - 5, MAX - 5),
    );
    fails(sliding, &n([0, MAX, 1, 0]), too_large);
    fails(sliding, &n([0, MIN, -1, 0]), too_large);
    let empty = "SELECT id, sum(n) OVER (ORDER BY id ROWS BETWEEN 2 PRECEDING AND 1 PRECEDING) AS x FROM df";
    gives(empty, &n([MAX, MIN, 3]), &format!("0, 1,{MAX} 2,-1"));
}

#[test]
fn operations_that_are_sql() {
    let input = n([MAX, 2, 3]);
    fails_of(
        "derive_columns",
        &json!({"derivations": {"total": "n * k"}}),
        &n([1, MAX]),
        "`n * k` does not fit into Int64: 9223372036854775807 * 2",
    );
    fails_of(
        "filter_rows",
        &json!({"condition": "n + 1 > 0"}),
        &input,
        "`n + 1` does not fit into Int64: 9223372036854775807 + 1",
    );
    fails_of(
        "chain",
        &json!({"steps": [
            {"operation": "derive_columns", "params": {"derivations": {"m": "n - 1"}}},
            {"operation": "filter_rows", "params": {"condition": "m + 2 > 0"}},
        ]}),
        &input,
        "`m + 2` does not fit into Int64: 9223372036854775806 + 2",
    );
    let too_large = "the sum of `n` does not fit into Int64";
    fails_of(
        "aggregate",
        &json!({"group_by": ["k"], "aggregations": {"n": "sum"}}),
        &input,
        too_large,
    );
    fails_of(
        "pivot",
        &json!({"group_by": [], "pivot_col": "k", "agg_col": "n", "values": [1, 2]}),
        &input,
        too_large,
    );
    fails_of(
        "window_calculation",
        &json!({"target_col": "x", "function": "sum(n)", "order_by": "id"}),
        &input,
        too_large,
    );
    gives_of(
        "pivot",
        json!({"group_by": [], "pivot_col": "k", "agg_col": "n", "values": [1, 2]}),
        &n([MAX, 0, MIN]),
        &format!("{MAX},{MIN}"),
    );
}

#[test]
fn decimals() {
    let many = |values: [i128; 2]| {
        let array = Decimal128Array::from(values.to_vec()).with_precision_and_scale(38, 0);
        table(&[("d", Arc::new(array.unwrap()) as ArrayRef)])
    };
    let nines = 10_i128.pow(38) - 1;
    let sum = "SELECT sum(d) AS x FROM df";
    gives(sum, &many([nines, -1]), &(nines - 1).to_string());
    // Beyond the bytes of the type, and then only beyond its digits.
    fails(
        sum,
        &many([nines, nines]),
        "the sum of `d` does not fit into Decimal128(38, 0)",
    );
    let value = "a value of column `x` does not fit into Decimal128(38, 0)";
    fails(sum, &many([nines, 1]), value);
    fails(sum, &many([-nines, -1]), value);
    let groups = "SELECT sum(d) AS x FROM df GROUP BY k < 3";
    fails(
        groups,
        &many([-nines, -nines]),
        "the sum of `d` does not fit into Decimal128(38, 0)",
    );
    fails("SELECT d + 1 AS x FROM df", &many([1, nines]), value);
    gives(
        "SELECT d + 0 AS x FROM df",
        &many([nines, -nines]),
        &format!("{nines} -{nines}"),
    );
    fails(
        "SELECT d + d AS x FROM df",
        &many([nines, 0]),
        &format!("overflow happened on: {nines} + {nines}"),
    );
    let wide = Decimal256Array::from(vec![i256::MINUS_ONE, i256::ONE]);
    let wide = wide.with_precision_and_scale(76, 0);
    let wide = table(&[("d", Arc::new(wide.unwrap()) as ArrayRef)]);
    gives("SELECT sum(d) AS x FROM df", &wide, "0");
}

#[test]
fn durations() {
    let nanos: ArrayRef = Arc::new(DurationNanosecondArray::from(vec![MAX, MAX, MAX - 3]));
    let input = table(&[("d", nanos)]);
    let mean = format!("{}", MAX - 1);
    let as_number = |of: &str| format!("SELECT CAST({of} AS BIGINT) AS x FROM df");
    gives(&as_number("avg(d)"), &input, &mean);
    gives(
        &format!("{} GROUP BY id < 9", as_number("avg(d)")),
        &input,
        &mean,
    );
    gives(
        "SELECT id, CAST(avg(d) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS BIGINT) AS x FROM df",
        &input,
        &format!("0,{MAX} 1,{MAX} 2,{}", MAX - 2),
    );
    gives(
        "SELECT CAST(avg(d) AS BIGINT) AS x FROM df WHERE id > 9",
        &input,
        "\"\"",
    );
    let message = "the sum of `d` does not fit into Duration(ns)";
    fails(&as_number("sum(d)"), &input, message);
    fails(
        &format!("{} GROUP BY id < 9", as_number("sum(d)")),
        &input,
        message,
    );
    let micros: ArrayRef = Arc::new(DurationMicrosecondArray::from(vec![MAX, -7, 7]));
    let input = table(&[("d", micros)]);
    gives(&as_number("sum(d)"), &input, &MAX.to_string());
}
