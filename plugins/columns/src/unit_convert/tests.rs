//! Conversions with published results.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use odibi_sdk::harness;
use odibi_sdk::prelude::*;
use proptest::prelude::*;

use super::units;
use crate::testing::{check_csv, check_failure, run_column};

const OPERATION: &str = "unit_convert";

fn params(from: &str, to: &str) -> Value {
    json!({ "conversions": { "c": { "from": from, "to": to } } })
}

#[track_caller]
fn converted(params: Value, value: f64) -> f64 {
    let column: ArrayRef = Arc::new(Float64Array::from(vec![value]));
    let output = run_column(OPERATION, params, &column).unwrap();
    output
        .as_primitive::<arrow_array::types::Float64Type>()
        .value(0)
}

#[track_caller]
fn check(value: f64, from: &str, expect: f64, to: &str) {
    for (value, from, expect, to) in [(value, from, expect, to), (expect, to, value, from)] {
        let got = converted(params(from, to), value);
        let error = (got - expect).abs() / expect.abs().max(1e-300);
        assert!(
            error < 1e-12 || (got - expect).abs() < 1e-12,
            "{value} {from} in {to}: {got}"
        );
    }
}

/// NIST SP 811, B.8, unless said otherwise.
#[test]
fn factors_are_the_published_ones() {
    check(1.0, "in", 2.54, "cm");
    check(1.0, "mi", 1.609_344, "km");
    check(1.0, "acre", 4_046.856_422_4, "m2");
    check(1.0, "gal", 3.785_411_784, "L");
    check(1.0, "ft3", 2.831_684_659_2e-2, "m^3");
    check(1.0, "bbl", 0.158_987_294_928, "m3");
    check(1.0, "lb", 0.453_592_37, "kg");
    check(1.0, "oz", 28.349_523_125, "g");
    check(1.0, "ton", 907.184_74, "kg");
    check(1.0, "lbf", 4.448_221_615_260_5, "N");
    check(1.0, "psi", 6.894_757_293_168_361, "kPa");
    check(760.0, "torr", 1.0, "atm");
    check(1.0, "inHg", 3_386.388_640_341, "Pa");
    check(1.0, "inH2O", 249.088_91, "Pa");
    check(1.0, "BTU", 1.055_055_852_62, "kJ");
    check(1.0, "hp", 745.699_871_582_270_2, "W");
    check(1.0, "ft_lbf", 1.355_817_948_331_400_4, "J");
    check(1.0, "TR", 3_516.852_842_066_667, "W");
    check(1.0, "kWh", 3.6, "MJ");
    check(1.0, "mph", 1.609_344, "kph");
    check(1.0, "knot", 1.852, "km/h");
    check(60.0, "gpm", 1.0, "gal/s");
    check(1.0, "BTU/lb", 2.326, "kJ/kg");
    check(1.0, "BTU/lb/delta_degF", 4.186_8, "kJ/kg/delta_K");
    check(1.0, "lb/ft**3", 16.018_463_373_960_14, "kg*m^-3");
    check(90.0, "min", 1.5, "h");
    check(50.0, "%", 0.5, "fraction");
}

#[test]
fn temperatures_and_gauge_pressures_have_a_zero_of_their_own() {
    check(-40.0, "degF", -40.0, "degC");
    check(0.0, "degC", 273.15, "K");
    check(0.0, "K", -459.67, "degF");
    check(671.67, "degR", 212.0, "°F");
    check(9.0, "delta_degF", 5.0, "delta_degC");
    check(0.0, "psig", 14.696, "psia");
    check(1.0, "barg", 14.503_773_773_020_923, "psig");
    let mut params = params("barg", "bar");
    params["gauge_pressure_offset"] = json!("101.325 kPa");
    assert!((converted(params, 1.0) - 2.013_25).abs() < 1e-12);
}

#[test]
fn names_are_found_whatever_their_case_unless_two_units_differ_by_it() {
    check(1.0, "PSIG", 15.696, "Psi");
    check(1.0, "kpa", 1_000.0, "PA");
    check(1.0, "MW", 1e9, "mW");
    assert!(units::parse("Mw").is_err());
    let mut names: Vec<&str> = units::names().collect();
    let count = names.len();
    assert!(names.iter().all(|n| units::parse(n).is_ok()));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a name stands twice");
}

#[test]
fn columns_of_every_kind_are_read() {
    check_csv(
        OPERATION,
        params("km", "m"),
        "c\n1\n\n2\n",
        "c\n1000.0\n2000.0\n",
    );
    check_csv(OPERATION, params("km", "m"), "c\n", "c\n");
    let table = "ä,b\n\" 1.5 \",x\n,y\nn/a,z\n";
    let params = |errors: &str| json!({ "conversions": { "ä": { "from": "km", "to": "m", "output": "ö" } }, "errors": errors });
    check_csv(
        OPERATION,
        params("null"),
        table,
        "ä,b,ö\n 1.5 ,x,1500.0\n,y,\nn/a,z,\n",
    );
    let failure =
        harness::run_csv(&crate::plugin(), OPERATION, params("raise"), &["ä\nx\n"]).unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.at.unwrap().row),
        ("bad-value", Some(0))
    );
    let wrong = "`errors: ignore` needs numbers, column `ä` is text";
    check_failure(
        OPERATION,
        params("ignore"),
        table,
        "invalid-param",
        "/errors",
        wrong,
    );
}

/// As YAML writes it: `errors: null`, `errors:` and `errors: "null"`.
#[test]
fn null_without_quotes_is_the_word() {
    let with = |errors: Value| {
        let mut params = params("km", "m");
        params["errors"] = errors;
        params
    };
    for errors in [Value::Null, json!("null")] {
        check_csv(
            OPERATION,
            with(errors),
            "c,d\n1,x\nn/a,y\n",
            "c,d\n1000.0,x\n,y\n",
        );
    }
    let wrong = "unknown variant `none`, expected one of `null`, `raise`, `ignore`";
    check_failure(
        OPERATION,
        with(json!("none")),
        "c\n1\n",
        "invalid-param",
        "/errors",
        wrong,
    );
}

#[test]
fn results_that_are_too_large_are_errors() {
    let run = |errors: &str| {
        let mut params = params("km", "nm");
        params["errors"] = json!(errors);
        let column: ArrayRef = Arc::new(Float64Array::from(vec![1e300, f64::INFINITY]));
        run_column(OPERATION, params, &column)
    };
    let values = |array: ArrayRef| {
        array
            .as_primitive::<arrow_array::types::Float64Type>()
            .iter()
            .collect::<Vec<_>>()
    };
    assert_eq!(values(run("null").unwrap()), [None, Some(f64::INFINITY)]);
    assert_eq!(
        values(run("ignore").unwrap()),
        [Some(1e300), Some(f64::INFINITY)]
    );
    assert_eq!(
        run("raise").unwrap_err().message,
        "the result is too large for a number"
    );
}

#[test]
fn wrong_params_are_shown_where_they_stand() {
    let table = "c,d,b\n1,2,true\n";
    let check = |params, code, param, message| {
        check_failure(OPERATION, params, table, code, param, message);
    };
    let near = "unknown unit `psigg`, did you mean `psig`?";
    check(
        params("psigg", "psi"),
        "unknown-unit",
        "/conversions/c/from",
        near,
    );
    let wrong = "`kg` cannot be converted to `m`, they measure different things";
    check(params("kg", "m"), "unfit-unit", "/conversions/c/to", wrong);
    let wrong = "`K` cannot be converted to `delta_degC`, they measure different things";
    check(
        params("K", "delta_degC"),
        "unfit-unit",
        "/conversions/c/to",
        wrong,
    );
    let wrong = "`degC` has a zero of its own and cannot be part of `J/degC`";
    check(
        params("J/degC", "J"),
        "unknown-unit",
        "/conversions/c/from",
        wrong,
    );
    let wrong = "expected a unit such as `kg/m^3`: `kg//m`";
    check(
        params("kg//m", "J"),
        "unknown-unit",
        "/conversions/c/from",
        wrong,
    );
    let exists = "column `d` exists already";
    let output = json!({ "conversions": { "c": { "from": "m", "to": "km", "output": "d" } } });
    check(output, "duplicate-column", "/conversions/c/output", exists);
    let near = "unknown column `C`, did you mean `c`?";
    let unknown = json!({ "conversions": { "C": { "from": "m", "to": "km" } } });
    check(unknown, "unknown-column", "/conversions/C", near);
    let wrong = "column `b` must be a number, or text that reads as one, is: Boolean";
    let flag = json!({ "conversions": { "b": { "from": "m", "to": "km" } } });
    check(flag, "wrong-type", "/conversions/b", wrong);
    let air = |air: Value| {
        let mut params = params("psig", "psi");
        params["gauge_pressure_offset"] = air;
        params
    };
    let pointer = "/gauge_pressure_offset";
    let wrong = "`psig` needs the pressure of the air";
    check(air(Value::Null), "invalid-param", pointer, wrong);
    let wrong = "expected a number and a unit: `14.7`";
    check(air(json!("14.7")), "invalid-param", pointer, wrong);
    let wrong = "`psig` is not an absolute pressure";
    check(air(json!("1 psig")), "invalid-param", pointer, wrong);
}

proptest! {
    #[test]
    fn there_and_back_is_the_same(value in -1e6..1e6f64, from in 0..1000usize, to in 0..1000usize) {
        let names: Vec<&str> = units::names().collect();
        let (from, to) = (names[from % names.len()], names[to % names.len()]);
        let column: ArrayRef = Arc::new(Float64Array::from(vec![value]));
        // Most pairs measure different things.
        if run_column(OPERATION, params(from, to), &column).is_ok() {
            let back = converted(params(to, from), converted(params(from, to), value));
            prop_assert!((back - value).abs() <= 1e-9 * value.abs().max(1e3), "{value} {from} {to}: {back}");
        }
    }
}
