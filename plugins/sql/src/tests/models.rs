//! Thin operations against naive models of them, on random tables with nulls and unicode.

use std::collections::BTreeMap;

use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Date32Array, TimestampMicrosecondArray};
use odibi_sdk::harness;
use odibi_sdk::prelude::*;
use proptest::prelude::*;
use proptest::strategy::Strategy;

type Number = Option<i64>;
type Word = Option<String>;

/// Each case runs in half a dozen cuts.
fn cases() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(16)
    }
}

fn number() -> impl Strategy<Value = Number> {
    proptest::option::weighted(0.8, -3..4i64)
}

fn word() -> impl Strategy<Value = Word> {
    proptest::option::weighted(0.8, "[aß日'\\-]{0,4}")
}

/// `id, k, g, v`
fn rows() -> impl Strategy<Value = Vec<(Number, Word, Number)>> {
    proptest::collection::vec((number(), word(), number()), 0..24)
}

fn numbers(values: impl IntoIterator<Item = Number>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Int64Array>())
}

fn words(values: impl IntoIterator<Item = Word>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))
        .unwrap()
}

fn table(rows: &[(Number, Word, Number)]) -> RecordBatch {
    batch(vec![
        ("id", numbers((0..).take(rows.len()).map(Some))),
        ("k", numbers(rows.iter().map(|r| r.0))),
        ("g", words(rows.iter().map(|r| r.1.clone()))),
        ("v", numbers(rows.iter().map(|r| r.2))),
    ])
}

fn run(operation: &str, params: Value, inputs: &[RecordBatch]) -> RecordBatch {
    let what = params.to_string();
    let got = harness::run(&crate::plugin(), operation, params, inputs);
    got.unwrap_or_else(|f| panic!("{operation} {what}: {f}"))
}

fn int(batch: &RecordBatch, name: &str) -> Vec<Number> {
    batch
        .column_by_name(name)
        .unwrap()
        .as_primitive::<Int64Type>()
        .iter()
        .collect()
}

fn text(batch: &RecordBatch, name: &str) -> Vec<Word> {
    let column = batch.column_by_name(name).unwrap().as_string::<i32>();
    column.iter().map(|v| v.map(str::to_owned)).collect()
}

/// The rows of some columns as text, sorted.
fn sorted<T: std::fmt::Debug>(rows: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut all: Vec<String> = rows.into_iter().map(|r| format!("{r:?}")).collect();
    all.sort();
    all
}

/// Null in SQL: neither true nor false.
fn less(a: Number, b: Number) -> Option<bool> {
    Some(a? < b?)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn filter_rows(rows in rows()) {
        let got = run("filter_rows", json!({"condition": "k < v OR g = 'ß'"}), &[table(&rows)]);
        let keep = |r: &(Number, Word, Number)| {
            less(r.0, r.2) == Some(true) || r.1.as_deref() == Some("ß")
        };
        let expect: Vec<Number> = (0i64..).zip(&rows).filter(|(_, r)| keep(r)).map(|(i, _)| Some(i)).collect();
        prop_assert_eq!(int(&got, "id"), expect);
    }

    #[test]
    fn derive_columns(rows in rows()) {
        let params = json!({"derivations": {"sum": "k + v", "k": "coalesce(k, v * 2)", "long": "length(g)"}});
        let got = run("derive_columns", params, &[table(&rows)]);
        prop_assert_eq!(int(&got, "sum"), rows.iter().map(|r| Some(r.0? + r.2?)).collect::<Vec<_>>());
        prop_assert_eq!(int(&got, "k"), rows.iter().map(|r| r.0.or(r.2.map(|v| v * 2))).collect::<Vec<_>>());
        let long = arrow_cast::cast(got.column_by_name("long").unwrap(), &DataType::Int64).unwrap();
        let long: Vec<Number> = long.as_primitive::<Int64Type>().iter().collect();
        let expect: Vec<Number> = rows.iter().map(|r| r.1.as_ref().map(|g| g.chars().count() as i64)).collect();
        prop_assert_eq!(long, expect);
    }

    #[test]
    fn case_when(rows in rows()) {
        let params = json!({"cases": [{"condition": "k < v", "value": "g"}, {"condition": "k IS NULL", "value": "'日'"}], "default": "'-'", "output_col": "g"});
        let got = run("case_when", params, &[table(&rows)]);
        let expect: Vec<Word> = rows.iter().map(|r| {
            if less(r.0, r.2) == Some(true) {
                r.1.clone()
            } else if r.0.is_none() {
                Some("日".to_owned())
            } else {
                Some("-".to_owned())
            }
        }).collect();
        prop_assert_eq!(text(&got, "g"), expect);
    }

    #[test]
    fn coalesce_columns(rows in rows()) {
        let got = run("coalesce_columns", json!({"columns": ["v", "k"], "output_col": "c"}), &[table(&rows)]);
        prop_assert_eq!(int(&got, "c"), rows.iter().map(|r| r.2.or(r.0)).collect::<Vec<_>>());
    }

    #[test]
    fn concat_columns(rows in rows(), separator in "[ß', ]{0,2}") {
        let params = json!({"columns": ["g", "k", "v"], "separator": separator, "output_col": "c"});
        let got = run("concat_columns", params, &[table(&rows)]);
        let expect: Vec<Word> = rows.iter().map(|r| {
            let parts = [r.1.clone(), r.0.map(|k| k.to_string()), r.2.map(|v| v.to_string())];
            Some(parts.into_iter().flatten().collect::<Vec<_>>().join(&separator))
        }).collect();
        prop_assert_eq!(text(&got, "c"), expect);
    }

    #[test]
    fn split_part(rows in rows(), index in prop_oneof![-3i64..0, 1i64..4], delimiter in "[a'\\-]{1,2}") {
        let params = json!({"col": "g", "delimiter": delimiter, "index": index});
        let got = run("split_part", params, &[table(&rows)]);
        let expect: Vec<Word> = rows.iter().map(|r| {
            let parts: Vec<&str> = r.1.as_ref()?.split(delimiter.as_str()).collect();
            let at = if index > 0 { index - 1 } else { parts.len() as i64 + index };
            let part = usize::try_from(at).ok().and_then(|at| parts.get(at));
            Some(part.map_or_else(String::new, |p| (*p).to_owned()))
        }).collect();
        prop_assert_eq!(text(&got, &format!("g_part_{index}")), expect);
    }

    #[test]
    fn regex_replace(rows in rows()) {
        let params = json!({"column": "g", "pattern": "[ß日]", "replacement": "x'"});
        let got = run("regex_replace", params, &[table(&rows)]);
        let expect: Vec<Word> = rows.iter().map(|r| Some(r.1.as_ref()?.replace(['ß', '日'], "x'"))).collect();
        prop_assert_eq!(text(&got, "g"), expect);
    }

    #[test]
    fn validate_and_flag(rows in rows()) {
        let params = json!({"rules": {"z'": "k < v", "a ß": "g <> 'a'", "n": "v IS NOT NULL"}});
        let got = run("validate_and_flag", params, &[table(&rows)]);
        let expect: Vec<Word> = rows.iter().map(|r| {
            let mut broken = Vec::new();
            if less(r.0, r.2) == Some(false) {
                broken.push("z'");
            }
            if r.1.as_deref() == Some("a") {
                broken.push("a ß");
            }
            if r.2.is_none() {
                broken.push("n");
            }
            (!broken.is_empty()).then(|| broken.join(", "))
        }).collect();
        prop_assert_eq!(text(&got, "_issues"), expect);
    }

    #[test]
    fn aggregate(rows in rows()) {
        let params = json!({"group_by": ["g"], "aggregations": {"v": "sum", "k": "first", "id": "count"}});
        let got = run("aggregate", params, &[table(&rows)]);
        let mut groups: BTreeMap<Word, (Number, Number, i64)> = BTreeMap::new();
        for (k, g, v) in &rows {
            let group = groups.entry(g.clone()).or_default();
            group.0 = match (group.0, *v) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
            group.1 = group.1.or(*k);
            group.2 += 1;
        }
        let expect = groups.into_iter().map(|(g, (v, k, n))| (g, v, k, Some(n)));
        let got = text(&got, "g").into_iter().zip(int(&got, "v")).zip(int(&got, "k")).zip(int(&got, "id"));
        prop_assert_eq!(sorted(got.map(|(((g, v), k), n)| (g, v, k, n))), sorted(expect));
    }

    #[test]
    fn pivot(rows in rows(), function in prop_oneof![Just("min"), Just("count"), Just("avg")]) {
        let params = json!({"group_by": ["g"], "pivot_col": "k", "agg_col": "v", "agg_func": function, "values": [1, "0", -2]});
        let got = run("pivot", params, &[table(&rows)]);
        let mut groups: BTreeMap<Word, [Vec<i64>; 3]> = BTreeMap::new();
        for (k, g, v) in &rows {
            let group = groups.entry(g.clone()).or_default();
            let at = [1, 0, -2].iter().position(|p| Some(*p) == *k);
            if let (Some(at), Some(v)) = (at, v) {
                group[at].push(*v);
            }
        }
        let one = |values: &Vec<i64>| -> Option<f64> {
            match function {
                "count" => Some(values.len() as f64),
                "min" => values.iter().min().map(|v| *v as f64),
                _ => (!values.is_empty()).then(|| values.iter().sum::<i64>() as f64 / values.len() as f64),
            }
        };
        let expect = groups.iter().map(|(g, cells)| (g.clone(), one(&cells[0]), one(&cells[1]), one(&cells[2])));
        let float = |name: &str| -> Vec<Option<f64>> {
            let column = arrow_cast::cast(got.column_by_name(name).unwrap(), &DataType::Float64).unwrap();
            column.as_primitive::<Float64Type>().iter().collect()
        };
        let got = text(&got, "g").into_iter().zip(float("1")).zip(float("0")).zip(float("-2"));
        prop_assert_eq!(sorted(got.map(|(((g, a), b), c)| (g, a, b, c))), sorted(expect));
    }

    #[test]
    fn unpivot(rows in rows()) {
        let got = run("unpivot", json!({"id_cols": ["g"], "value_vars": ["v", "k"]}), &[table(&rows)]);
        let mut expect = Vec::new();
        for (k, g, v) in &rows {
            expect.push((g.clone(), Some("v".to_owned()), *v));
            expect.push((g.clone(), Some("k".to_owned()), *k));
        }
        let got = text(&got, "g").into_iter().zip(text(&got, "variable")).zip(int(&got, "value"));
        prop_assert_eq!(got.map(|((g, n), v)| (g, n, v)).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn join(rows in rows(), other in rows(), how in prop_oneof![Just("inner"), Just("left"), Just("right"), Just("full"), Just("semi"), Just("anti")]) {
        let right = batch(vec![
            ("g", words(other.iter().map(|r| r.1.clone()))),
            ("k", numbers(other.iter().map(|r| r.0))),
            ("w", numbers(other.iter().map(|r| r.2))),
        ]);
        let params = json!({"right_dataset": "r", "on": ["k", "g"], "how": how});
        let got = run("join", params, &[table(&rows), right]);
        let meets = |l: &(Number, Word, Number), r: &(Number, Word, Number)| {
            l.0.is_some() && l.1.is_some() && l.0 == r.0 && l.1 == r.1
        };
        // Key, v of the left, w of the right.
        let mut expect = Vec::new();
        for l in &rows {
            let partners: Vec<_> = other.iter().filter(|r| meets(l, r)).collect();
            let alone = matches!(how, "left" | "full") && partners.is_empty();
            let row = |w| (l.0, l.1.clone(), l.2, w);
            match how {
                "semi" if !partners.is_empty() => expect.push(row(None)),
                "anti" if partners.is_empty() => expect.push(row(None)),
                "semi" | "anti" => {}
                _ if alone => expect.push(row(None)),
                _ => expect.extend(partners.iter().map(|r| row(r.2))),
            }
        }
        if matches!(how, "right" | "full") {
            let lonely = other.iter().filter(|r| !rows.iter().any(|l| meets(l, r)));
            expect.extend(lonely.map(|r| (r.0, r.1.clone(), None, r.2)));
        }
        let w = if matches!(how, "semi" | "anti") { vec![None; got.num_rows()] } else { int(&got, "w") };
        let got = int(&got, "k").into_iter().zip(text(&got, "g")).zip(int(&got, "v")).zip(w);
        prop_assert_eq!(sorted(got.map(|(((k, g), v), w)| (k, g, v, w))), sorted(expect));
    }

    #[test]
    fn apply_mapping(rows in rows(), source in proptest::collection::vec((number(), word()), 0..8)) {
        let mapping = batch(vec![
            ("from", numbers(source.iter().map(|r| r.0))),
            ("to", words(source.iter().map(|r| r.1.clone()))),
        ]);
        let params = json!({"column": "k", "mapping_source": "m", "source_key": "from", "source_value": "to", "output": "o", "default": "'?"});
        let got = run("apply_mapping", params, &[table(&rows), mapping]);
        let means = |k: Number| {
            let found = source.iter().filter(|(from, _)| k.is_some() && *from == k);
            let least = found.filter_map(|(_, to)| to.clone()).min();
            Some(least.unwrap_or_else(|| "'?".to_owned()))
        };
        let expect = (0..).zip(&rows).map(|(id, r)| (Some(id), means(r.0)));
        prop_assert_eq!(sorted(int(&got, "id").into_iter().zip(text(&got, "o"))), sorted(expect));
    }

    #[test]
    fn window_calculation(rows in rows()) {
        let params = json!({"target_col": "s", "function": "sum(v)", "partition_by": ["g"], "order_by": "id DESC"});
        let got = run("window_calculation", params, &[table(&rows)]);
        let sum = |id: usize| {
            let same = rows.iter().enumerate().filter(|(i, r)| *i >= id && r.1 == rows[id].1);
            let values: Vec<i64> = same.filter_map(|(_, r)| r.2).collect();
            (!values.is_empty()).then(|| values.iter().sum::<i64>())
        };
        let expect = (0..rows.len()).map(|id| (Some(id as i64), sum(id)));
        prop_assert_eq!(sorted(int(&got, "id").into_iter().zip(int(&got, "s"))), sorted(expect));
    }

    #[test]
    fn dates(days in proptest::collection::vec((proptest::option::of(-40_000..40_000i32), proptest::option::of(-4_000_000_000_000_000..4_000_000_000_000_000i64)), 0..20), value in -1000..1000i32) {
        let input = batch(vec![
            ("d", Arc::new(days.iter().map(|d| d.0).collect::<Date32Array>())),
            ("t", Arc::new(days.iter().map(|d| d.1).collect::<TimestampMicrosecondArray>())),
        ]);
        const DAY: i64 = 86_400_000_000;
        let got = run("date_add", json!({"col": "d", "value": value, "unit": "day"}), std::slice::from_ref(&input));
        let moved = got.column_by_name("d_future").unwrap().as_primitive::<arrow_array::types::Date32Type>();
        let expect: Vec<Option<i32>> = days.iter().map(|d| Some(d.0? + value)).collect();
        prop_assert_eq!(moved.iter().collect::<Vec<_>>(), expect);
        let got = run("date_add", json!({"col": "t", "value": value, "unit": "minute"}), std::slice::from_ref(&input));
        let moved = got.column_by_name("t_future").unwrap().as_primitive::<arrow_array::types::TimestampMicrosecondType>();
        let expect: Vec<Number> = days.iter().map(|d| Some(d.1? + i64::from(value) * 60_000_000)).collect();
        prop_assert_eq!(moved.iter().collect::<Vec<_>>(), expect);
        let got = run("date_diff", json!({"start_col": "d", "end_col": "t"}), std::slice::from_ref(&input));
        let expect: Vec<Number> = days.iter().map(|d| Some(d.1?.div_euclid(DAY) - i64::from(d.0?))).collect();
        prop_assert_eq!(int(&got, "diff_day"), expect);
        let got = run("date_trunc", json!({"col": "t", "unit": "hour"}), &[input]);
        let cut = got.column_by_name("t_trunc").unwrap().as_primitive::<arrow_array::types::TimestampMicrosecondType>();
        let hour = 3_600_000_000;
        let expect: Vec<Number> = days.iter().map(|d| Some(d.1?.div_euclid(hour) * hour)).collect();
        prop_assert_eq!(cut.iter().collect::<Vec<_>>(), expect);
    }
}
