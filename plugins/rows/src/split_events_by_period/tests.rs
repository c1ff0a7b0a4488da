//! Events with known parts, and a naive model that counts seconds.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use arrow_array::TimestampSecondArray;
use arrow_array::types::TimestampSecondType;
use odibi_sdk::harness;
use odibi_sdk::prelude::*;
use proptest::prelude::*;

use crate::testing::{self, batch, check_csv, check_failure};

const OPERATION: &str = "split_events_by_period";

fn params(more: Value) -> Value {
    let mut params = json!({ "start_col": "from", "end_col": "to" });
    let Value::Object(more) = more else {
        panic!("not an object");
    };
    params.as_object_mut().unwrap().extend(more);
    params
}

fn shifts() -> Value {
    json!([
        { "name": "früh", "start": "06:00", "end": "14:00" },
        { "name": "Nacht", "start": "22:00", "end": "6:00" },
    ])
}

#[test]
fn events_are_cut_at_borders() {
    let check = |more, table, expect| check_csv(OPERATION, params(more), table, expect);
    check(
        json!({ "period": "hour" }),
        "to,from\n2026-01-01T02:00:00,2026-01-01T00:30:00\n",
        "to,from\n2026-01-01T01:00:00,2026-01-01T00:30:00\n2026-01-01T02:00:00,2026-01-01T01:00:00\n",
    );
    check(
        json!({ "period": "shift", "shifts": shifts(), "duration_col": "m" }),
        "from,to\n2026-01-01T13:00:00,2026-01-02T06:30:00\n",
        "from,to,m,shift_name\n\
        2026-01-01T13:00:00,2026-01-01T14:00:00,60.0,früh\n\
        2026-01-01T14:00:00,2026-01-01T22:00:00,480.0,\n\
        2026-01-01T22:00:00,2026-01-02T06:00:00,480.0,Nacht\n\
        2026-01-02T06:00:00,2026-01-02T06:30:00,30.0,früh\n",
    );
    check(
        json!({ "period": "shift", "shifts": shifts(), "shift_col": null }),
        "from,to\n2026-01-01T13:00:00,2026-01-01T14:00:00\n",
        "from,to\n2026-01-01T13:00:00,2026-01-01T14:00:00\n",
    );
    check(
        json!({ "period": "shift", "shifts": [{ "name": "all", "start": "07:00", "end": "07:00" }] }),
        "from,to\n2026-01-01T06:00:00,2026-01-01T08:00:00\n",
        "from,to,shift_name\n2026-01-01T06:00:00,2026-01-01T07:00:00,all\n2026-01-01T07:00:00,2026-01-01T08:00:00,all\n",
    );
}

#[test]
fn nulls_moments_and_times_before_1970() {
    let check = |more, table, expect| check_csv(OPERATION, params(more), table, expect);
    check(
        json!({ "duration_col": "m" }),
        "from,to\n2026-01-01T13:00:00,\n,2026-01-01T13:00:00\n2026-01-02T00:00:00,2026-01-02T00:00:00\n",
        "from,to,m\n2026-01-01T13:00:00,,\n,2026-01-01T13:00:00,\n2026-01-02T00:00:00,2026-01-02T00:00:00,0.0\n",
    );
    check(
        json!({}),
        "from,to\n1969-12-30T23:00:00,1969-12-31T01:00:00\n",
        "from,to\n1969-12-30T23:00:00,1969-12-31T00:00:00\n1969-12-31T00:00:00,1969-12-31T01:00:00\n",
    );
    let times: ArrayRef = Arc::new(TimestampSecondArray::from(Vec::<i64>::new()));
    let table = batch(vec![("from", Arc::clone(&times)), ("to", times)]);
    let output = harness::run(&crate::plugin(), OPERATION, params(json!({})), &[table]).unwrap();
    assert_eq!(output.num_rows(), 0);
}

#[test]
fn long_events_come_in_several_batches() {
    let hours = 150_000;
    let ends = TimestampSecondArray::from(vec![hours * 3600]);
    let table = batch(vec![
        ("from", Arc::new(TimestampSecondArray::from(vec![0]))),
        ("to", Arc::new(ends)),
    ]);
    let params = params(json!({ "period": "hour" }));
    let output = harness::run(&crate::plugin(), OPERATION, params, &[table]).unwrap();
    assert_eq!(output.num_rows(), usize::try_from(hours).unwrap());
}

#[test]
fn an_event_that_ends_before_it_begins_is_a_bad_value() {
    let table = harness::table("from,to\n2026-01-02T00:00:00,2026-01-01T00:00:00\n");
    let failure =
        harness::run(&crate::plugin(), OPERATION, params(json!({})), &[table]).unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.at.unwrap().row),
        ("bad-value", Some(0))
    );
}

#[test]
fn wrong_params_are_shown_where_they_stand() {
    let table = "from,to,n\n2026-01-01T13:00:00,2026-01-01T14:00:00,1\n";
    let check = |more, code, param, message: &str| {
        check_failure(OPERATION, params(more), table, code, param, message);
    };
    let near = "unknown column `form`, did you mean `from`?";
    check(
        json!({ "start_col": "form" }),
        "unknown-column",
        "/start_col",
        near,
    );
    let wrong = "column `n` must be a timestamp, is: Int64";
    check(json!({ "end_col": "n" }), "wrong-type", "/end_col", wrong);
    let wrong = "an event begins and ends in different columns";
    check(
        json!({ "end_col": "from" }),
        "invalid-param",
        "/end_col",
        wrong,
    );
    let wrong = "unknown variant `week`, expected one of `day`, `hour`, `shift`";
    check(
        json!({ "period": "week" }),
        "invalid-param",
        "/period",
        wrong,
    );
    let wrong = "`period: shift` needs `shifts`, a list of `name`, `start` and `end`";
    check(
        json!({ "period": "shift" }),
        "invalid-param",
        "/period",
        wrong,
    );
    let wrong = "`shifts` are only for `period: shift`";
    check(
        json!({ "shifts": shifts() }),
        "invalid-param",
        "/shifts",
        wrong,
    );
    let exists = "column `n` exists already";
    check(
        json!({ "duration_col": "n" }),
        "duplicate-column",
        "/duration_col",
        exists,
    );
    let more = json!({ "period": "shift", "shifts": shifts(), "shift_col": "n" });
    check(more, "duplicate-column", "/shift_col", exists);
    let check_shifts = |shifts: Value, param, message: &str| {
        let more = json!({ "period": "shift", "shifts": shifts });
        check(more, "invalid-param", param, message);
    };
    check_shifts(json!([]), "/shifts", "at least one shift is needed");
    let overlapping = json!([
        { "name": "a", "start": "22:00", "end": "06:00" },
        { "name": "b", "start": "05:00", "end": "07:00" },
    ]);
    check_shifts(overlapping, "/shifts/1", "shift `b` overlaps shift `a`");
    for wrong in ["25:00", "6", "06:60", "٠٦:00", "", "06:00:00:00", "+6:00"] {
        let shifts = json!([{ "name": "a", "start": "06:00", "end": wrong }]);
        let message = format!("expected a time of day such as `06:00`: `{wrong}`");
        check_shifts(shifts, "/shifts/0/end", &message);
    }
}

proptest! {
    #![proptest_config(testing::cases())]

    /// Hours as units: an event is as many hours as its parts have together, none of which crosses a border.
    #[test]
    fn parts_are_those_of_a_walk_hour_by_hour(
        events in proptest::collection::vec((-80..80i64, 0..60i64), 0..12),
        borders in proptest::collection::btree_set(0..24i64, 2..5),
    ) {
        let borders: Vec<i64> = borders.into_iter().collect();
        let shifts: Vec<Value> = borders.windows(2).enumerate().filter(|(i, _)| i % 2 == 0).map(|(i, w)| {
            json!({ "name": i.to_string(), "start": format!("{:02}:00", w[0]), "end": format!("{:02}:00", w[1]) })
        }).collect();
        let shift_of = |hour: i64| {
            let of_day = hour.rem_euclid(24);
            borders.windows(2).position(|w| w[0] <= of_day && of_day < w[1]).filter(|i| i % 2 == 0)
        };
        let mut expect = Vec::new();
        for (start, length) in &events {
            let mut part = (*start, *start, shift_of(*start));
            for hour in *start..start + length {
                if shift_of(hour) != part.2 {
                    expect.push(part);
                    part = (hour, hour, shift_of(hour));
                }
                part.1 = hour + 1;
            }
            expect.push(part);
        }
        let column = |values: Vec<i64>| -> ArrayRef {
            Arc::new(values.into_iter().map(|v| Some(v * 3600)).collect::<TimestampSecondArray>())
        };
        let table = batch(vec![
            ("from", column(events.iter().map(|e| e.0).collect())),
            ("to", column(events.iter().map(|e| e.0 + e.1).collect())),
        ]);
        let params = params(json!({ "period": "shift", "shifts": shifts }));
        let output = harness::run(&crate::plugin(), OPERATION, params, &[table]).unwrap();
        let hours = |i: usize| output.column(i).as_primitive::<TimestampSecondType>().values().iter().map(|v| v / 3600).collect::<Vec<_>>();
        let names = output.column(2).as_string::<i32>();
        let got: Vec<(i64, i64, Option<usize>)> = hours(0).into_iter().zip(hours(1)).zip(names)
            .map(|((from, to), name)| (from, to, name.map(|n| n.parse().unwrap()))).collect();
        prop_assert_eq!(got, expect);
    }
}
