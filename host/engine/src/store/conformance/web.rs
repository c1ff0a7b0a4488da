//! A web server as a store: read-only, with the habits that real servers have.

use odibi_plan::plan::{HttpAuth, Secret};
use odibi_story::failure::FailureClass;

use super::places::{open, shows_no_secret, web};
use super::{MIB, content};

/// The bytes that the server of the tests makes up.
fn made_up(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| u8::try_from((at % 251 * 31 + 7) % 251).unwrap())
        .collect()
}

#[test]
fn files_come_whole_whatever_the_server_can() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(web(HttpAuth::None), &dir);
    for habit in ["plain", "noranges", "nohead", "nolength", "flaky"] {
        for bytes in [0, 1, 1_000, 3 * MIB + 1] {
            let path = format!("{habit}/{bytes}");
            assert!(content(store.as_ref(), &path) == made_up(bytes), "{path}");
        }
    }
    assert_eq!(
        content(store.as_ref(), "plain/text/a b+%é.csv"),
        "/plain/text/a%20b+%25%C3%A9.csv".as_bytes()
    );
    // Where the server says nothing of versions, the bytes do.
    let version = |path: &str| store.open(path).unwrap().version().to_owned();
    assert_eq!(version("nolength/text/a"), version("nolength/text/a"));
    assert_ne!(version("nolength/text/a"), version("nolength/text/b"));
    let blob = store.open("plain/3000000").unwrap();
    assert_eq!(
        blob.read_at(2_999_999, 5).unwrap(),
        made_up(3_000_000)[2_999_999..]
    );
}

#[test]
fn credentials_open_what_needs_them_and_go_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let header = |name: &str, value: &str| HttpAuth::Header {
        name: name.into(),
        value: Secret::new(value),
    };
    let basic = |password: &str| HttpAuth::Basic {
        username: "me".into(),
        password: Secret::new(password),
    };
    for (auth, habit, opens) in [
        (header("Authorization", "Bearer hunter2"), "bearer", true),
        (header("Authorization", "Bearer hunter2x"), "bearer", false),
        (basic("hunter2"), "basic", true),
        (basic("hunter2x"), "basic", false),
        (header("X-Api-Key", "hunter2"), "key", true),
        (HttpAuth::None, "key", false),
    ] {
        let store = open(web(auth), &dir);
        let opened = store.open(&format!("{habit}/10"));
        match opened {
            Ok(blob) => assert!(
                opens && blob.read_at(0, 10).unwrap() == made_up(10),
                "{habit}"
            ),
            Err(failure) => {
                assert!(!opens, "{failure:?}");
                assert_eq!(
                    (failure.class, failure.code.as_str()),
                    (FailureClass::Denied, "read/denied")
                );
                shows_no_secret(&failure);
            }
        }
    }
    let store = open(web(header("X-Api-Key", "hunter2")), &dir);
    shows_no_secret(&store.open("away/10").unwrap_err());
    let store = open(web(HttpAuth::None), &dir);
    assert_eq!(content(store.as_ref(), "away/10"), made_up(10));
}

#[test]
fn a_server_that_is_read_only_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(web(HttpAuth::None), &dir);
    let missing = store.open("plain/none").unwrap_err();
    assert_eq!(missing.code, "read/missing");
    assert_eq!(store.stat("plain/none").unwrap(), None);
    assert_eq!(store.stat("plain/12").unwrap().unwrap().bytes, 12);
    assert_eq!(store.list("plain").unwrap_err().code, "read/denied");
    let wild = crate::store::pattern::expand(store.as_ref(), "plain/*.csv").unwrap_err();
    assert_eq!(wild.hints, ["name one file in `path`, without wildcards"]);
    assert_eq!(store.create("plain/t").unwrap_err().code, "write/denied");
    assert_eq!(store.remove("plain/t").unwrap_err().code, "write/denied");
}

#[test]
fn a_file_that_ends_too_early_is_a_failure_and_not_a_short_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(web(HttpAuth::None), &dir);
    let blob = store.open("broken/1000").unwrap();
    assert!(blob.read_at(0, 1_000).is_err());
}
