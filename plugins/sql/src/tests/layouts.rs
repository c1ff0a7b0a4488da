//! Thin operations on columns of other layouts than a CSV file gives, and on values at the ends of their range.

use arrow_array::types::{Int8Type, TimestampMicrosecondType};
use arrow_array::{
    Date32Array, Date64Array, DictionaryArray, LargeStringArray, NullArray, StringViewArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
};
use odibi_sdk::harness;
use odibi_sdk::prelude::*;

fn column(array: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([("c", array, true)]).unwrap()
}

/// Values of the last column as CSV.
#[track_caller]
fn check(operation: &str, params: Value, array: &ArrayRef, expect: &str) {
    let what = format!("{operation} {params} of {}", array.data_type());
    let got = harness::run(
        &crate::plugin(),
        operation,
        params,
        &[column(Arc::clone(array))],
    );
    let got = match got {
        Ok(got) => {
            let last = got.num_columns() - 1;
            let lines = harness::csv(&got.project(&[last]).unwrap());
            lines.lines().skip(1).collect::<Vec<_>>().join(" ")
        }
        Err(f) => format!("{} {}", f.code, f.message),
    };
    assert_eq!(got, expect, "{what}");
}

#[test]
fn text_of_every_layout() {
    let texts = [Some("a-ß"), None, Some("日")];
    let layouts: [ArrayRef; 4] = [
        Arc::new(StringArray::from_iter(texts)),
        Arc::new(LargeStringArray::from_iter(texts)),
        Arc::new(StringViewArray::from_iter(texts)),
        Arc::new(DictionaryArray::<Int8Type>::from_iter(texts)),
    ];
    for array in layouts {
        let c = |operation, params, expect| check(operation, params, &array, expect);
        c(
            "split_part",
            json!({"col": "c", "delimiter": "-", "index": 1}),
            "a \"\" 日",
        );
        c(
            "regex_replace",
            json!({"column": "c", "pattern": "ß", "replacement": "s"}),
            "a-s \"\" 日",
        );
        c(
            "concat_columns",
            json!({"columns": ["c"], "output_col": "x"}),
            "a-ß \"\" 日",
        );
        c(
            "coalesce_columns",
            json!({"columns": ["c"], "output_col": "x"}),
            "a-ß \"\" 日",
        );
        c("filter_rows", json!({"condition": "c = '日'"}), "日");
        c(
            "aggregate",
            json!({"group_by": [], "aggregations": {"c": "max"}}),
            "日",
        );
        c(
            "pivot",
            json!({"group_by": [], "pivot_col": "c", "agg_col": "c", "agg_func": "count", "values": ["日"]}),
            "1",
        );
    }
}

#[test]
fn times_of_every_layout() {
    // 2024-02-29T23:30:00
    let seconds = 1_709_249_400;
    let zoned = |zone: &str| -> ArrayRef {
        Arc::new(TimestampSecondArray::from(vec![seconds]).with_timezone(zone))
    };
    let naive: [ArrayRef; 3] = [
        Arc::new(TimestampSecondArray::from(vec![seconds])),
        Arc::new(TimestampMillisecondArray::from(vec![seconds * 1000])),
        Arc::new(TimestampNanosecondArray::from(vec![
            seconds * 1_000_000_000,
        ])),
    ];
    let hour = json!({"source_col": "c", "parts": ["hour"]});
    for array in &naive {
        check("extract_date_parts", hour.clone(), array, "23");
        let params = json!({"col": "c", "target_tz": "Asia/Tokyo"});
        check("convert_timezone", params, array, "2024-03-01T08:30:00");
        let params = json!({"start_col": "c", "end_col": "c", "unit": "hour"});
        check("date_diff", params, array, "0.0");
        let params = json!({"col": "c", "value": 1, "unit": "month"});
        check("date_add", params, array, "2024-03-29T23:30:00");
    }
    // Half an hour past midnight in Berlin.
    let berlin = zoned("Europe/Berlin");
    check("extract_date_parts", hour, &berlin, "0");
    let params = json!({"col": "c", "source_tz": "America/New_York", "target_tz": "Asia/Tokyo"});
    check("convert_timezone", params, &berlin, "2024-03-01T08:30:00");
    let params = json!({"col": "c", "unit": "month"});
    check("date_trunc", params, &berlin, "2024-03-01T00:00:00+01:00");
    let date64: ArrayRef = Arc::new(Date64Array::from(vec![seconds / 86_400 * 86_400_000]));
    let params = json!({"col": "c", "value": 1, "unit": "day"});
    check("date_add", params, &date64, "2024-03-01");
}

#[test]
fn ends_of_the_range_are_no_panic() {
    let days: ArrayRef = Arc::new(Date32Array::from(vec![i32::MAX, i32::MIN, 90_000_000]));
    let plugin = crate::plugin();
    for unit in ["year", "month", "day", "hour", "minute", "second"] {
        for value in [
            i64::MIN,
            -73_000_000,
            -200_000,
            200_000,
            73_000_000,
            i64::MAX,
        ] {
            let params = json!({"col": "c", "value": value, "unit": unit});
            let got = harness::run_cut(
                &plugin,
                "date_add",
                params.clone(),
                &[column(Arc::clone(&days))],
                harness::Cut::WHOLE,
            );
            if let Err(f) = got {
                let kind = odibi_sdk::failure::Kind::Internal;
                assert_ne!(f.kind, kind, "{params}: {f}");
            }
        }
    }
    let last: ArrayRef = Arc::new(Date32Array::from(vec![i32::MAX]));
    let params = json!({"col": "c", "value": 1, "unit": "day"});
    let input = [column(last)];
    let got = harness::run_cut(&plugin, "date_add", params, &input, harness::Cut::WHOLE);
    assert_eq!(got.unwrap_err().code, "bad-value");
    let micros = i64::MAX / 2;
    let far: ArrayRef = Arc::new(
        arrow_array::PrimitiveArray::<TimestampMicrosecondType>::from(vec![micros, -micros]),
    );
    for operation in ["date_trunc", "date_add"] {
        let mut params = json!({"col": "c", "unit": "year"});
        if operation == "date_add" {
            params["value"] = json!(200_000);
        }
        let input = [column(Arc::clone(&far))];
        let _ = harness::run_cut(&plugin, operation, params, &input, harness::Cut::WHOLE);
    }
}

/// The last column as CSV, or what is wrong.
fn answer(operation: &str, params: Value, input: &RecordBatch) -> String {
    let input = std::slice::from_ref(input);
    match harness::run_cut(
        &crate::plugin(),
        operation,
        params,
        input,
        harness::Cut::WHOLE,
    ) {
        Ok(got) => harness::csv(&got.project(&[got.num_columns() - 1]).unwrap()),
        Err(f) => format!("{} {}", f.code, f.message),
    }
}

/// The last moment of chrono's calendar.
const LAST: i64 = 8_210_266_876_799_999_999;

/// The ends of what is near, of chrono's calendar, and of the type.
const TICKS: [Option<i64>; 12] = [
    None,
    Some(0),
    Some(-1),
    Some(1_709_249_400_123_456),
    Some(1 << 61),
    Some((1 << 61) + 1),
    Some(-(1 << 61) - 1),
    Some(1 << 62),
    Some(LAST),
    Some(LAST + 1),
    Some(i64::MIN),
    Some(i64::MAX),
];

fn micros(ticks: &[Option<i64>]) -> ArrayRef {
    let ticks = ticks.iter().copied();
    Arc::new(ticks.collect::<arrow_array::PrimitiveArray<TimestampMicrosecondType>>())
}

/// Near 1970 no calendar is asked for a difference; it is that of one, and so is the failure of a time that none has.
#[test]
fn differences_near_and_far_are_made_alike() {
    let asked = |name: &str| {
        let column = format!("\"df\".\"{name}\"");
        format!("CAST(arrow_cast({column}, 'Timestamp(Microsecond, Some(\"+00:00\"))') AS BIGINT)")
    };
    let (a, b) = (asked("a"), asked("b"));
    let hours = format!("CAST({b} - {a} AS DOUBLE) / CAST('3600000000' AS DOUBLE)");
    let sql = format!("SELECT *, {hours} AS diff_hour FROM df");
    let check = |a: ArrayRef, b: ArrayRef| {
        let columns = [("a", a, true), ("b", b, true)];
        let input = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let params = json!({"start_col": "a", "end_col": "b", "unit": "hour"});
        let expect = answer("sql", json!({ "sql": sql }), &input);
        assert_eq!(answer("date_diff", params, &input), expect, "{input:?}");
    };
    for a in TICKS {
        for b in TICKS {
            check(micros(&[a]), micros(&[b]));
        }
    }
    check(micros(&TICKS[..9]), micros(&TICKS[..9]));
    let zoned = TimestampMillisecondArray::from(vec![Some(5), None, Some(-7)]);
    let zoned = Arc::new(zoned.with_timezone("Asia/Tokyo"));
    check(micros(&TICKS[1..4]), zoned);
    let nanos = TimestampNanosecondArray::from(vec![Some(1_999), None, Some(-1_999)]);
    check(Arc::new(nanos), micros(&TICKS[1..4]));
}

/// Nor is it asked what UTC shows: the same as another zone of this clock, which is asked.
#[test]
fn utc_is_what_a_zone_of_its_clock_is() {
    let check = |array: ArrayRef, target: &str| {
        let input = column(array);
        let convert = |source: &str| {
            let params = json!({"col": "c", "source_tz": source, "target_tz": target});
            answer("convert_timezone", params, &input)
        };
        let expect = convert("Etc/Universal");
        for source in ["UTC", "Etc/UTC", "+00:00"] {
            assert_eq!(convert(source), expect, "{source} to {target}: {input:?}");
        }
    };
    for target in ["Europe/Berlin", "America/New_York", "UTC", "-03:30"] {
        // The last moment is beyond the calendar elsewhere.
        for tick in TICKS.into_iter().filter(|tick| *tick != Some(LAST)) {
            check(micros(&[tick]), target);
        }
        check(micros(&TICKS[..8]), target);
        let nanos = TimestampNanosecondArray::from(vec![Some(1_999), None, Some(-1_999)]);
        check(Arc::new(nanos), target);
        let texts = [Some("2026-07-01T12:00:00.5"), None, Some("0000-01-01")];
        check(Arc::new(StringArray::from_iter(texts)), target);
    }
}

/// FIXME: a column without a type passes by the sandbox and could stay; `types::output` refuses it like one that is made.
#[test]
fn a_column_of_nulls_without_a_type_is_refused() {
    let nulls: ArrayRef = Arc::new(NullArray::new(2));
    check(
        "filter_rows",
        json!({"condition": "true"}),
        &nulls,
        "no-type column `c` of the result is null and has no type",
    );
}
