//! A collector of this machine takes traces and metrics, and what it took is read as protobuf.

use opentelemetry::trace::TraceId;

use super::*;
use crate::testing::recorder::{Recorder, Reply};
use crate::testing::{CANARY, story};

fn destination(recorder: &Recorder) -> Destination {
    Destination {
        endpoint: Secret::new(recorder.url("")),
        headers: vec![("x-api-key".to_owned(), Secret::new(CANARY))],
        service_name: "shop-runs".to_owned(),
        timeout_ms: 10_000,
        environment: Some("prod".to_owned()),
        parent: None,
    }
}

/// The fields of a message: number, and bytes or number.
#[derive(Debug, Clone)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

/// Reads one message, and nothing that is no message.
fn message(mut bytes: &[u8]) -> Vec<(u64, Field)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => Field::Number(u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                Field::Bytes(take(&mut bytes, length).to_vec())
            }
            5 => {
                let word = u32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap());
                Field::Number(u64::from(word))
            }
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a number without an end");
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

/// The messages below a path of fields.
fn below(bytes: &[u8], path: &[u64]) -> Vec<Vec<u8>> {
    let Some((first, rest)) = path.split_first() else {
        return vec![bytes.to_vec()];
    };
    let fields = message(bytes).into_iter();
    let inside = fields.filter_map(|(number, field)| match field {
        Field::Bytes(bytes) if number == *first => Some(bytes),
        Field::Bytes(_) | Field::Number(_) => None,
    });
    inside.flat_map(|bytes| below(&bytes, rest)).collect()
}

fn text(bytes: &[u8], path: &[u64]) -> String {
    let found = below(bytes, path);
    let first = found.first().cloned().unwrap_or_default();
    String::from_utf8(first).unwrap()
}

fn number(bytes: &[u8], wanted: u64) -> Option<u64> {
    let mut fields = message(bytes).into_iter();
    fields.find_map(|(number, field)| match field {
        Field::Number(value) if number == wanted => Some(value),
        Field::Number(_) | Field::Bytes(_) => None,
    })
}

/// `key=value` of attributes; only texts have a value here.
fn attributes(bytes: &[u8], field: u64) -> Vec<String> {
    let all = below(bytes, &[field]);
    all.iter()
        .map(|pair| format!("{}={}", text(pair, &[1]), text(pair, &[2, 1])))
        .collect()
}

#[test]
fn trace_has_the_run_its_nodes_attempts_and_steps() {
    let recorder = Recorder::start([]);
    send(&destination(&recorder), &[&story()]).unwrap();
    let recorded = recorder.taken();
    assert_eq!(recorded[0].path, "/v1/traces");
    assert_eq!(recorded[0].headers["x-api-key"], CANARY);
    assert_eq!(
        recorded[0].headers["content-type"],
        "application/x-protobuf"
    );
    let body = &recorded[0].body;
    let resource = attributes(&below(body, &[1, 1])[0], 1);
    for expected in [
        "service.name=shop-runs",
        "odibi.project=shop",
        "host.name=build-7",
        "deployment.environment.name=prod",
    ] {
        assert!(resource.contains(&expected.to_owned()), "{resource:?}");
    }
    // Spans by name, each with the name of its parent.
    let spans = below(body, &[1, 2, 2]);
    let name_of = |id: &[u8]| {
        let span = spans.iter().find(|span| below(span, &[2])[0] == id);
        span.map_or_else(String::new, |span| text(span, &[5]))
    };
    let tree: Vec<String> = spans
        .iter()
        .map(|span| {
            let parent = below(span, &[4]);
            let parent = parent.first().map(|id| name_of(id)).unwrap_or_default();
            format!("{} < {parent}", text(span, &[5]))
        })
        .collect();
    assert_eq!(
        tree,
        [
            "run shop < ",
            "node orders.load < run shop",
            "attempt 1 of orders.load < node orders.load",
            "attempt 2 of orders.load < node orders.load",
            "step 1 clean_text < attempt 2 of orders.load",
            "node orders.clean < run shop",
            "attempt 1 of orders.clean < node orders.clean",
        ]
    );
    // The trace has the run's id, and times are those of the events.
    let trace = below(&spans[0], &[1]);
    assert_eq!(
        trace[0],
        0x0190_aaaa_0000_7000_8000_0000_0000_0001_u128.to_be_bytes()
    );
    let ms = |field| number(&spans[3], field).unwrap() / 1_000_000 - 1_800_000_000_000;
    assert_eq!((ms(7), ms(8)), (400, 500));
    let first = |field| number(&spans[2], field).unwrap() / 1_000_000 - 1_800_000_000_000;
    assert_eq!((first(7), first(8)), (200, 350), "it ends before the pause");
    // Ok is 1, an error 2.
    let status = |span: &[u8]| number(&below(span, &[15])[0], 3);
    assert_eq!(status(&spans[1]), Some(1));
    assert_eq!(status(&spans[5]), Some(2));
    assert_eq!(text(&spans[5], &[15, 2]), "guest/params");
    assert!(attributes(&spans[5], 9).contains(&"error.type=guest/params".to_owned()));
    // What a failure says may be data.
    let bytes = String::from_utf8_lossy(body);
    assert!(!bytes.contains(CANARY));
}

#[test]
fn metrics_count_rows_bytes_times_and_failures() {
    let recorder = Recorder::start([]);
    send(&destination(&recorder), &[&story()]).unwrap();
    let recorded = recorder.taken();
    let request = recorded.iter().find(|r| r.path == "/v1/metrics").unwrap();
    let metrics = below(&request.body, &[1, 2, 2]);
    let metric = |name: &str| {
        let found = metrics.iter().find(|metric| text(metric, &[1]) == name);
        found.unwrap_or_else(|| panic!("no metric {name}"))
    };
    // A sum is field 7, its points field 1; whole numbers are field 6 of a point, others field 4.
    let whole = |name: &str| -> u64 {
        let points = below(metric(name), &[7, 1]);
        points.iter().filter_map(|point| number(point, 6)).sum()
    };
    assert_eq!(whole("odibi.rows.read"), 100);
    assert_eq!(whole("odibi.rows.written"), 97);
    assert_eq!(whole("odibi.rows.quarantined"), 3);
    assert_eq!(whole("odibi.bytes.written"), 4_096);
    assert_eq!(whole("odibi.attempts"), 3);
    assert_eq!(whole("odibi.failures"), 2);
    let cpu = below(metric("odibi.guest.cpu"), &[7, 1]);
    assert_eq!(number(&cpu[0], 4).map(f64::from_bits), Some(1.5));
    // A histogram is field 9; the sum of a point is field 5.
    let took = below(metric("odibi.node.duration"), &[9, 1]);
    let sums = took.iter().filter_map(|point| number(point, 5));
    let total: f64 = sums.map(f64::from_bits).sum();
    assert!((total - 0.4).abs() < 1e-9, "{total}");
    // Delta: 1.
    assert_eq!(
        number(&below(metric("odibi.rows.read"), &[7])[0], 2),
        Some(1)
    );
}

#[test]
fn run_is_part_of_the_trace_that_has_started_it() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let parent = Parent::parse(parent).unwrap();
    let spans = spans::of(&[&story()], Some(&parent));
    let trace = TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736").unwrap();
    assert!(
        spans
            .iter()
            .all(|span| span.span_context.trace_id() == trace)
    );
    assert_eq!(spans[0].parent_span_id.to_string(), "00f067aa0ba902b7");
    assert!(spans[0].parent_span_is_remote);
    for bad in [
        "",
        "00",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473x-00f067aa0ba902b7-01",
    ] {
        assert_eq!(Parent::parse(bad), None, "{bad}");
    }
}

#[test]
fn collector_that_refuses_or_is_gone_is_told_without_its_address() {
    let refuses = Recorder::start([Reply::Status(400)]);
    let failure = send(&destination(&refuses), &[&story()]).unwrap_err();
    assert_eq!(failure.code, "telemetry/undelivered");
    assert!(
        failure
            .message
            .starts_with("the traces of the run could not be sent")
    );
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let gone = Destination {
        endpoint: Secret::new(format!("http://127.0.0.1:{port}/{CANARY}")),
        ..destination(&refuses)
    };
    let failure = send(&gone, &[&story()]).unwrap_err();
    let said = format!("{failure:?}");
    assert!(
        !said.contains(CANARY) && !said.contains(&port.to_string()),
        "{said}"
    );
}
