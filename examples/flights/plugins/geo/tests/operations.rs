//! The operations, run natively through the real encoding by the SDK's harness.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use geo::plugin;
use odibi_sdk::harness::{check_examples, needs, run_csv, table};
use odibi_sdk::prelude::{Value, json};

const AIRPORTS: &str = "\
faa,name,lat,lon
JFK,John F Kennedy Intl,40.639751,-73.778925
LAX,Los Angeles Intl,33.942536,-118.408075
LHR,London Heathrow,51.4775,-0.461389
XXX,Nowhere,,
";

/// The last column of the result. Another machine's sine may differ in the last digits.
#[track_caller]
fn check(operation: &str, params: Value, inputs: &[&str], expect: &[Option<f64>]) {
    let text = run_csv(&plugin(), operation, params, inputs).unwrap();
    let found: Vec<Option<f64>> = text
        .lines()
        .skip(1)
        .map(|l| l.rsplit(',').next().unwrap().parse().ok())
        .collect();
    assert_eq!(found.len(), expect.len(), "{text}");
    for (found, expect) in found.iter().zip(expect) {
        let near = found
            .zip(*expect)
            .is_some_and(|(f, e)| (f - e).abs() < 1e-6);
        assert!(
            near || (found.is_none() && expect.is_none()),
            "{found:?}, should be {expect:?}:\n{text}"
        );
    }
}

#[track_caller]
fn check_failure(
    operation: &str,
    params: Value,
    inputs: &[&str],
    code: &str,
    param: Option<&str>,
    message: &str,
) {
    let failure = run_csv(&plugin(), operation, params, inputs).unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.param.as_deref()),
        (code, param),
        "{failure}"
    );
    assert!(
        failure.message.contains(message),
        "{failure}\ndoes not contain\n{message}"
    );
}

#[test]
fn the_examples_of_the_manifest_are_true() {
    check_examples(&plugin());
}

#[test]
fn a_lookup_gives_known_distances_and_null_without_a_place() {
    check(
        "route_distance",
        json!({ "airports": "airports", "output": "km" }),
        &[
            "flight,origin,dest\n1,JFK,LAX\n2,JFK,LHR\n3,JFK,BQN\n4,,LAX\n5,XXX,LAX\n",
            AIRPORTS,
        ],
        &[Some(3_974.205_452), Some(5_539.456_948), None, None, None],
    );
}

#[test]
fn a_coordinate_is_a_column_or_a_number() {
    let params = json!({ "lat1": "lat", "lon1": "lon", "lat2": 40.639751, "lon2": -73.778925 });
    check(
        "great_circle",
        params,
        &[AIRPORTS],
        &[Some(0.0), Some(3_974.205_452), Some(5_539.456_948), None],
    );
}

#[test]
fn only_codes_and_coordinates_enter_the_sandbox() {
    let inputs = [table("flight,origin,dest\n1,JFK,LAX\n"), table(AIRPORTS)];
    let needed = needs(
        &plugin(),
        "route_distance",
        json!({ "airports": "airports" }),
        &inputs,
    )
    .unwrap();
    assert_eq!(needed, [vec![1, 2], vec![0, 2, 3]]);
}

#[test]
fn a_place_that_is_on_no_globe_is_a_failure_of_the_data() {
    let params = json!({ "lat1": "lat", "lon1": "lon", "lat2": 0, "lon2": 0 });
    check_failure(
        "great_circle",
        params,
        &["lat,lon\n1,2\n91,2\n"],
        "bad-value",
        None,
        "no place on earth: 91, 2",
    );
    let params = json!({ "airports": "airports" });
    let routes = "origin,dest\nA,B\n";
    check_failure(
        "route_distance",
        params.clone(),
        &[routes, "faa,lat,lon\nA,1,181\n"],
        "bad-value",
        None,
        "1, 181",
    );
    let twice = "faa,lat,lon\nA,1,1\nA,2,2\n";
    check_failure(
        "route_distance",
        params,
        &[routes, twice],
        "duplicate-code",
        None,
        "`A` stands in",
    );
}

#[test]
fn a_wrong_param_is_named() {
    let params = |lat1: Value, output: &str| json!({ "lat1": lat1, "lon1": "lon", "lat2": 0, "lon2": 0, "output": output });
    let input = &["lat,lon,name\n1,2,x\n"];
    check_failure(
        "great_circle",
        params(json!("lad"), "km"),
        input,
        "unknown-column",
        Some("/lat1"),
        "mean `lat`",
    );
    check_failure(
        "great_circle",
        params(json!("name"), "km"),
        input,
        "wrong-type",
        Some("/lat1"),
        "must hold numbers",
    );
    check_failure(
        "great_circle",
        params(json!([]), "km"),
        input,
        "invalid-param",
        Some("/lat1"),
        "",
    );
    check_failure(
        "great_circle",
        params(json!("lat"), "lon"),
        input,
        "duplicate-column",
        Some("/output"),
        "`lon`",
    );
    let params = json!({ "airports": "airports", "code": "iata" });
    check_failure(
        "route_distance",
        params,
        &["origin,dest\nA,B\n", AIRPORTS],
        "unknown-column",
        Some("/code"),
        "`iata`",
    );
}
