//! Tests of `union`: rows and order, columns that match, types that meet.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use arrow_array::types::{
    Date32Type, Date64Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{
    ArrowPrimitiveType, BinaryArray, BinaryViewArray, BooleanArray, Decimal128Array,
    DictionaryArray, Float64Array, Int64Array, LargeStringArray, PrimitiveArray, StringArray,
    StringViewArray,
};
use arrow_schema::TimeUnit;
use odibi_sdk::harness;
use proptest::prelude::*;

use super::*;
use crate::testing::{self, batch};

#[track_caller]
fn check(params: Value, tables: &[&str], expect: &str) {
    assert_eq!(
        harness::run_csv(&crate::plugin(), "union", params, tables).unwrap(),
        expect
    );
}

#[track_caller]
fn check_failure(params: Value, tables: &[&str], code: &str, param: Option<&str>, message: &str) {
    let failure = harness::run_csv(&crate::plugin(), "union", params, tables).unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.param.as_deref()),
        (code, param),
        "{failure}"
    );
    assert_eq!(failure.message, message);
}

#[track_caller]
fn run(tables: &[RecordBatch]) -> Result<RecordBatch> {
    let names: Vec<String> = (1..tables.len()).map(|i| format!("t{i}")).collect();
    harness::run(
        &crate::plugin(),
        "union",
        json!({ "datasets": names }),
        tables,
    )
}

/// Two columns of different types behind each other.
#[track_caller]
fn check_types(a: ArrayRef, b: ArrayRef, expect: ArrayRef) {
    let output = run(&[
        batch(vec![("c", Arc::clone(&a))]),
        batch(vec![("c", Arc::clone(&b))]),
    ])
    .unwrap();
    assert_eq!(output.column(0), &expect);
    let output = run(&[batch(vec![("c", b)]), batch(vec![("c", a)])]).unwrap();
    assert_eq!(
        output.column(0).data_type(),
        expect.data_type(),
        "the other way round"
    );
}

#[test]
fn tables_follow_each_other_in_the_order_of_the_params() {
    let tables = ["id,v\n1,a\n2,b\n", "id,v\n3,c\n", "id,v\n4,d\n1,a\n"];
    let expect = "id,v\n1,a\n2,b\n3,c\n4,d\n1,a\n";
    check(json!({ "datasets": ["x", "y"] }), &tables, expect);
    check(
        json!({ "datasets": ["x", "y"], "by_name": false }),
        &tables,
        expect,
    );
}

#[test]
fn columns_match_by_name_and_missing_ones_are_null() {
    let tables = ["id,größe\n1,5\n", "größe,id,neu\n6,2,ja\n", "alt\nx\n"];
    check(
        json!({ "datasets": ["x", "y"] }),
        &tables,
        "id,größe,neu,alt\n1,5,,\n2,6,ja,\n,,,x\n",
    );
}

#[test]
fn columns_match_by_position_under_the_names_of_the_input() {
    let tables = ["id,v\n1,5\n", "v,id\n6,2\n"];
    check(
        json!({ "datasets": ["x"], "by_name": false }),
        &tables,
        "id,v\n1,5\n6,2\n",
    );
    let message = "table `y` must have 2 columns as the input does, has: 1";
    let params = json!({ "datasets": ["x", "y"], "by_name": false });
    check_failure(
        params,
        &["a,b\n1,2\n", "a,b\n1,2\n", "a\n1\n"],
        "unlike-tables",
        Some("/datasets/1"),
        message,
    );
}

#[test]
fn empty_tables_add_columns_but_no_rows() {
    check(json!({ "datasets": ["x"] }), &["id\n", "id\n"], "id\n");
    check(
        json!({ "datasets": ["x"] }),
        &["id,a\n", "id,b\n1,2\n"],
        "id,a,b\n1,,2\n",
    );
    check(
        json!({ "datasets": ["x"] }),
        &["id,a\n1,2\n", "id,b\n"],
        "id,a,b\n1,2,\n",
    );
}

#[test]
fn what_does_not_fit_is_shown_where_it_stands() {
    check_failure(
        json!({ "datasets": [] }),
        &["a\n1\n"],
        "invalid-param",
        Some("/datasets"),
        "at least one table must be named",
    );
    let message = "column `a` of table `y` is Utf8, before it column `a` is: Int64";
    let tables = ["a\n1\n", "b\n1\n", "b,a\n1,x\n"];
    check_failure(
        json!({ "datasets": ["x", "y"] }),
        &tables,
        "unlike-tables",
        Some("/datasets/1"),
        message,
    );
}

#[test]
fn columns_that_stay_as_they_are_do_not_enter_the_sandbox() {
    let tables = [
        harness::table("id,v,w\n1,5,x\n"),
        harness::table("v,id\n6.5,2\n"),
    ];
    let needs = harness::needs(
        &crate::plugin(),
        "union",
        json!({ "datasets": ["x"] }),
        &tables,
    )
    .unwrap();
    assert_eq!(needs, [vec![1], vec![0, 1]]);
}

#[test]
fn a_column_without_nulls_gets_them_when_another_table_has_some() {
    let fixed = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("k", DataType::Int64, false),
    ]);
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let main = RecordBatch::try_new(Arc::new(fixed), vec![Arc::clone(&ids), ids]).unwrap();
    let other = main.project(&[0]).unwrap();
    let output = run(&[main.clone(), other]).unwrap();
    let nullable: Vec<bool> = output
        .schema()
        .fields()
        .iter()
        .map(|f| f.is_nullable())
        .collect();
    assert_eq!((output.num_rows(), nullable), (2, vec![false, true]));
    let output = run(&[main.clone(), main]).unwrap();
    assert!(output.schema().fields().iter().all(|f| !f.is_nullable()));
}

fn numbers<T: ArrowPrimitiveType>(value: T::Native) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::from_iter([Some(value), None]))
}

/// Every pair of numeric types meets in a type that gives the number 7 back, or in none.
#[test]
fn numbers_of_all_types_keep_their_values() {
    let half = <Float16Type as ArrowPrimitiveType>::Native::from(7u8);
    let all = [
        numbers::<Int8Type>(7),
        numbers::<Int16Type>(7),
        numbers::<Int32Type>(7),
        numbers::<Int64Type>(7),
        numbers::<UInt8Type>(7),
        numbers::<UInt16Type>(7),
        numbers::<UInt32Type>(7),
        numbers::<UInt64Type>(7),
        numbers::<Float16Type>(half),
        numbers::<Float32Type>(7.0),
        numbers::<Float64Type>(7.0),
        Arc::new(
            Decimal128Array::from(vec![Some(700), None])
                .with_precision_and_scale(12, 2)
                .unwrap(),
        ),
    ];
    let mut apart = Vec::new();
    for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (a, b))) {
        let tables = [
            batch(vec![("c", Arc::clone(a))]),
            batch(vec![("c", Arc::clone(b))]),
        ];
        match run(&tables) {
            Ok(output) => {
                let column = output.column(0);
                assert_eq!(
                    column.slice(0, 2).to_data(),
                    column.slice(2, 2).to_data(),
                    "{a:?} {b:?}"
                );
                assert_eq!(column.null_count(), 2);
            }
            Err(failure) => {
                assert_eq!(failure.code, "unlike-tables");
                apart.push((a.data_type().clone(), b.data_type().clone()));
            }
        }
    }
    let signed = |t: &DataType| {
        matches!(
            t,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64
        )
    };
    let decimal = |t: &DataType| matches!(t, DataType::Decimal128(..));
    let hopeless = |a: &DataType, b: &DataType| {
        (*a == DataType::UInt64 && signed(b)) || (decimal(a) && b.is_floating())
    };
    assert!(
        apart.iter().all(|(a, b)| hopeless(a, b) || hopeless(b, a)),
        "{apart:?}"
    );
    assert_eq!(apart.len(), 2 * (4 + 3));
}

#[test]
fn types_meet_where_nothing_is_lost() {
    let ints = |values: &[i64]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.5]));
    check_types(
        ints(&[1 << 53]),
        floats,
        Arc::new(Float64Array::from(vec![9_007_199_254_740_992.0, 0.5])),
    );
    let days: ArrayRef = Arc::new(PrimitiveArray::<Date32Type>::from(vec![Some(1), None]));
    let micros: ArrayRef = Arc::new(PrimitiveArray::<TimestampMicrosecondType>::from(vec![5]));
    let expect =
        PrimitiveArray::<TimestampMicrosecondType>::from(vec![Some(86_400_000_000), None, Some(5)]);
    check_types(days, micros, Arc::new(expect));
    let millis: ArrayRef = Arc::new(PrimitiveArray::<Date64Type>::from(vec![7]));
    let seconds: ArrayRef = Arc::new(PrimitiveArray::<TimestampSecondType>::from(vec![5]));
    let expect = arrow_array::TimestampMillisecondArray::from(vec![7, 5_000]);
    check_types(millis, seconds, Arc::new(expect));
    let text: ArrayRef = Arc::new(StringArray::from(vec![Some("ä"), None]));
    let large: ArrayRef = Arc::new(LargeStringArray::from(vec!["b"]));
    check_types(
        Arc::clone(&text),
        large,
        Arc::new(LargeStringArray::from(vec![Some("ä"), None, Some("b")])),
    );
    let view: ArrayRef = Arc::new(StringViewArray::from(vec![
        "a text longer than twelve bytes",
    ]));
    let both = StringArray::from(vec![
        Some("ä"),
        None,
        Some("a text longer than twelve bytes"),
    ]);
    check_types(Arc::clone(&text), view, Arc::new(both));
    let view: ArrayRef = Arc::new(BinaryViewArray::from(vec![b"x".as_slice()]));
    let binary: ArrayRef = Arc::new(BinaryArray::from(vec![b"y".as_slice()]));
    check_types(
        view,
        binary,
        Arc::new(BinaryArray::from(vec![b"x".as_slice(), b"y"])),
    );
    let small: DictionaryArray<Int8Type> = ["a", "b", "a"].into_iter().collect();
    let other: DictionaryArray<Int32Type> = ["b"].into_iter().collect();
    let words = StringArray::from(vec!["b", "a", "b"]);
    check_types(
        Arc::new(small.slice(1, 2)),
        Arc::new(other),
        Arc::new(StringArray::from(vec!["b", "a", "b"])),
    );
    check_types(
        Arc::new(small),
        text,
        Arc::new(StringArray::from(vec![
            Some("a"),
            Some("b"),
            Some("a"),
            Some("ä"),
            None,
        ])),
    );
    let nulls = new_null_array(&DataType::Null, 1);
    check_types(
        nulls,
        Arc::new(words),
        Arc::new(StringArray::from(vec![
            None,
            Some("b"),
            Some("a"),
            Some("b"),
        ])),
    );
}

#[test]
fn time_zones_are_not_guessed() {
    let stamp = |zone: Option<&str>| -> ArrayRef {
        Arc::new(PrimitiveArray::<TimestampSecondType>::from(vec![5]).with_timezone_opt(zone))
    };
    let meet = |a: ArrayRef, b: ArrayRef| run(&[batch(vec![("c", a)]), batch(vec![("c", b)])]);
    let output = meet(stamp(Some("UTC")), stamp(Some("+02:00"))).unwrap();
    assert_eq!(
        *output.column(0).data_type(),
        DataType::Timestamp(TimeUnit::Second, Some("UTC".into()))
    );
    assert_eq!(
        meet(stamp(Some("UTC")), stamp(None)).unwrap_err().code,
        "unlike-tables"
    );
    let days: ArrayRef = Arc::new(PrimitiveArray::<Date32Type>::from(vec![1]));
    assert_eq!(
        meet(stamp(Some("UTC")), days).unwrap_err().code,
        "unlike-tables"
    );
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
    assert_eq!(meet(flags, stamp(None)).unwrap_err().code, "unlike-tables");
}

#[track_caller]
fn check_bad_value(a: ArrayRef, b: ArrayRef, row: u64) {
    let failure = run(&[batch(vec![("c", a)]), batch(vec![("c", b)])]).unwrap_err();
    assert_eq!(failure.code, "bad-value");
    let at = failure.at.unwrap();
    assert_eq!((at.row, at.column.as_deref()), (Some(row), Some("c")));
}

#[test]
fn values_that_would_lose_something_are_refused() {
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.5]));
    let large = vec![Some(1), None, Some(-(1 << 53) - 1)];
    check_bad_value(Arc::new(Int64Array::from(large)), Arc::clone(&floats), 2);
    check_bad_value(floats, numbers::<UInt64Type>(u64::MAX), 0);
    let nanos: ArrayRef = Arc::new(arrow_array::TimestampNanosecondArray::from(vec![0]));
    check_bad_value(
        Arc::new(PrimitiveArray::<Date32Type>::from(vec![0, i32::MAX])),
        nanos,
        1,
    );
}

#[test]
fn decimals_get_room_for_both() {
    let decimals = |value: i128, precision, scale| -> ArrayRef {
        Arc::new(
            Decimal128Array::from(vec![value])
                .with_precision_and_scale(precision, scale)
                .unwrap(),
        )
    };
    let both = |a, b| Decimal128Array::from(vec![a, b]);
    let expect = both(12_300, 456).with_precision_and_scale(5, 3).unwrap();
    check_types(decimals(1_230, 4, 2), decimals(456, 4, 3), Arc::new(expect));
    let expect = both(7_00, 1).with_precision_and_scale(21, 2).unwrap();
    check_types(
        Arc::new(Int64Array::from(vec![7])),
        decimals(1, 3, 2),
        Arc::new(expect),
    );
    let tables = [
        batch(vec![("c", decimals(1, 38, 0))]),
        batch(vec![("c", decimals(1, 3, 2))]),
    ];
    assert_eq!(run(&tables).unwrap_err().code, "unlike-tables");
}

#[test]
fn dictionaries_of_one_type_stay_dictionaries() {
    let words = |words: &[&str]| -> ArrayRef {
        Arc::new(words.iter().copied().collect::<DictionaryArray<Int8Type>>())
    };
    let main = batch(vec![("d", words(&["a", "b"])), testing::ids(2)]);
    let other = batch(vec![
        ("d", words(&["c", "a", "c"])),
        ("e", words(&["x", "y", "z"])),
    ]);
    let output = run(&[main.clone(), other.slice(1, 2), main.slice(0, 1)]).unwrap();
    assert_eq!(output.column(0).data_type(), main.column(0).data_type());
    let text = |name: &str| {
        let column = output.column_by_name(name).unwrap();
        let values = widen::widen(column, &DataType::Utf8, name).unwrap();
        values
            .as_string::<i32>()
            .iter()
            .map(|v| v.map(str::to_owned))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        text("d"),
        ["a", "b", "a", "c", "a"].map(|w| Some(w.to_owned()))
    );
    assert_eq!(
        text("e"),
        [None, None, Some("y".into()), Some("z".into()), None]
    );
}

proptest! {
    #![proptest_config(testing::cases())]

    #[test]
    fn result_is_that_of_a_chain(tables in proptest::collection::vec((0..3u8, proptest::collection::vec((any::<i32>(), "[aä]{0,2}"), 0..12)), 2..5)) {
        let batches = tables.iter().map(|(shape, rows)| {
            let a = rows.iter().map(|r| i64::from(r.0)).collect::<Int64Array>();
            let b: ArrayRef = Arc::new(rows.iter().map(|r| Some(&r.1)).collect::<StringArray>());
            match shape {
                0 => batch(vec![("a", Arc::new(a)), ("b", b)]),
                1 => batch(vec![("b", b), ("a", Arc::new(a.unary::<_, Float64Type>(|v| v as f64)))]),
                _ => batch(vec![("a", Arc::new(a))]),
            }
        });
        let output = run(&batches.collect::<Vec<_>>()).unwrap();
        let expect: Vec<(i64, Option<&str>)> = tables
            .iter()
            .flat_map(|(shape, rows)| rows.iter().map(move |r| (i64::from(r.0), (*shape < 2).then_some(r.1.as_str()))))
            .collect();
        let a = widen::widen(output.column_by_name("a").unwrap(), &DataType::Float64, "a").unwrap();
        let a: Vec<String> = a.as_primitive::<Float64Type>().values().iter().map(|v| format!("{v}")).collect();
        prop_assert_eq!(a, expect.iter().map(|r| r.0.to_string()).collect::<Vec<_>>());
        if let Some(b) = output.column_by_name("b") {
            prop_assert_eq!(b.as_string::<i32>().iter().collect::<Vec<_>>(), expect.iter().map(|r| r.1).collect::<Vec<_>>());
        }
    }
}
