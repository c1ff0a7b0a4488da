//! What every store has to do, asked of each: a directory, S3 (moto), Azure (Azurite) and Google Cloud Storage (a stub).
//!
//! `tests/run` installs the servers and says in `ODIBI_TEST_SERVERS` how they are started; the first test that needs them
//! does.

pub(crate) mod lost;
pub(crate) mod places;
mod web;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use odibi_story::failure::FailureClass;

use self::places::{Place, places, shaky};
use super::blob::BlobReader;
use super::{Child, ChildKind, Expect, Purpose, Put, Store, normal};

const MIB: usize = 1024 * 1024;

/// Bytes that tell where they stand.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at % 251) as u8 ^ (at >> 16) as u8)
        .collect()
}

fn put(store: &dyn Store, path: &str, bytes: &[u8], expect: &Expect) -> Put {
    let mut upload = store.create(path).unwrap();
    upload.writer().unwrap().write_all(bytes).unwrap();
    upload.sync().unwrap();
    let put = upload.put(expect).unwrap();
    assert_eq!(upload.is_put(), put != Put::Changed);
    put
}

#[track_caller]
fn done(put: Put) -> String {
    match put {
        Put::Done(stat) => stat.version,
        Put::Changed => panic!("something else was there"),
    }
}

fn content(store: &dyn Store, path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reader = BlobReader::new(store.open(path).unwrap());
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

fn paths(store: &dyn Store, dir: &str) -> Vec<String> {
    store
        .list(dir)
        .unwrap()
        .into_iter()
        .map(|stat| stat.path)
        .collect()
}

/// Does it for every store.
fn each(case: impl Fn(&Place)) {
    for place in places() {
        // Where a case fails, this is the last line before the message.
        writeln!(std::io::stderr(), "store: {}", place.name).unwrap();
        case(&place);
    }
}

#[test]
fn of_sixteen_that_create_one_wins() {
    each(|place| {
        let won: Vec<String> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..16)
                .map(|n| {
                    let store = Arc::clone(&place.store);
                    scope.spawn(move || {
                        let text = format!("writer {n}");
                        let put = put(store.as_ref(), "race", text.as_bytes(), &Expect::Absent);
                        (put != Put::Changed).then_some(text)
                    })
                })
                .collect();
            writers
                .into_iter()
                .filter_map(|w| w.join().unwrap())
                .collect()
        });
        assert_eq!(won.len(), 1, "{won:?}");
        assert_eq!(content(place.store.as_ref(), "race"), won[0].as_bytes());
    });
}

#[test]
fn a_put_replaces_what_it_expects_and_nothing_else() {
    each(|place| {
        let store = place.store.as_ref();
        let first = done(put(store, "d/t", b"1", &Expect::Absent));
        assert_eq!(store.stat("d/t").unwrap().unwrap().version, first);
        assert_eq!(store.open("d/t").unwrap().version(), first);
        let first = Expect::Version(first);
        let second = done(put(store, "d/t", b"22", &first));
        assert_eq!(put(store, "d/t", b"333", &first), Put::Changed);
        assert_eq!(put(store, "d/none", b"4", &first), Put::Changed);
        assert_eq!(content(store, "d/t"), b"22");
        let third = done(put(store, "d/t", b"55", &Expect::Anything));
        assert_ne!(second, third);
        store.remove("d/t").unwrap();
        store.remove("d/t").unwrap();
        assert_eq!(store.stat("d/t").unwrap(), None);
        done(put(store, "d/t", b"", &Expect::Absent));
    });
}

#[test]
fn what_is_not_put_is_not_there_and_a_put_can_be_revoked() {
    each(|place| {
        let store = place.store.as_ref();
        let upload = store.create("never").unwrap();
        upload.writer().unwrap().write_all(b"x").unwrap();
        assert_eq!(paths(store, ""), Vec::<String>::new());
        drop(upload);
        let mut upload = store.create("taken/back").unwrap();
        upload.put(&Expect::Absent).unwrap();
        assert_eq!(paths(store, ""), ["taken/back"]);
        upload.revoke();
        assert_eq!(paths(store, ""), Vec::<String>::new());
        assert_eq!(paths(store, "taken"), Vec::<String>::new());
    });
}

#[test]
fn lists_know_every_name_and_no_marker() {
    each(|place| {
        let store = place.store.as_ref();
        let names = [
            "a.csv",
            "a b/ü ö.csv",
            "a b/c/1.csv",
            "a b/c/2.csv",
            "a b/c/+%41&=.csv",
            "a!/x",
            "ab/x",
            "日本/一.csv",
            "empty",
            "z/1",
            "z/2",
            "z/3",
            "z/4",
            "z/5",
            "z/6",
            "z/7",
            "z/8",
            "z/9",
        ];
        for name in names {
            let bytes: &[u8] = if name == "empty" { b"" } else { b"x" };
            done(put(store, name, bytes, &Expect::Absent));
        }
        place.mark("a b/c");
        place.mark("lonely");
        let mut expected: Vec<&str> = names.to_vec();
        expected.sort_unstable();
        assert_eq!(paths(store, ""), expected);
        assert_eq!(
            paths(store, "a b/c"),
            ["a b/c/+%41&=.csv", "a b/c/1.csv", "a b/c/2.csv"]
        );
        assert_eq!(
            paths(store, "a"),
            Vec::<String>::new(),
            "a directory, not the beginning of a name"
        );
        let dirs = |dir: &str, kind| -> Vec<String> {
            let found = store.children(dir).unwrap().into_iter();
            found
                .filter(|c: &Child| c.kind == kind)
                .map(|c| c.name)
                .collect()
        };
        assert_eq!(dirs("", ChildKind::File), ["a.csv", "empty"]);
        let below: BTreeSet<String> = dirs("", ChildKind::Dir)
            .into_iter()
            .filter(|d| d != "lonely")
            .collect();
        assert_eq!(
            below,
            ["a b", "a!", "ab", "z", "日本"].map(String::from).into()
        );
        assert_eq!(dirs("a b", ChildKind::Dir), ["c"]);
        assert_eq!(dirs("none", ChildKind::Dir), Vec::<String>::new());
        assert_eq!(content(store, "a b/c/+%41&=.csv"), b"x");
        let globbed = super::pattern::expand(store, "a b/*/[12].csv").unwrap();
        assert_eq!(globbed, ["a b/c/1.csv", "a b/c/2.csv"]);
    });
}

#[test]
fn ranges_are_exact_at_their_edges() {
    each(|place| {
        let store = place.store.as_ref();
        let whole = pattern(3 * MIB + 17);
        done(put(store, "big", &whole, &Expect::Absent));
        let blob = store.open("big").unwrap();
        assert_eq!(blob.len(), whole.len() as u64);
        let end = whole.len();
        for (from, bytes) in [
            (0, 1),
            (0, end),
            (0, end + 1),
            (MIB - 1, 2),
            (MIB, MIB),
            (2 * MIB - 3, MIB + 9),
            (end - 8, 8),
            (end - 1, 5),
            (end, 1),
            (end + 100, 1),
            (5, 0),
        ] {
            let expected = whole.get(from..(from + bytes).min(end)).unwrap_or_default();
            assert!(
                blob.read_at(from as u64, bytes).unwrap() == expected,
                "{bytes} from {from}"
            );
        }
        assert!(content(store, "big") == whole);
        done(put(store, "none", b"", &Expect::Absent));
        let empty = store.open("none").unwrap();
        assert_eq!((empty.len(), empty.read_at(0, 9).unwrap().len()), (0, 0));
    });
}

#[test]
fn twenty_mebibytes_go_in_parts_under_every_expectation() {
    each(|place| {
        let store = place.store.as_ref();
        let mut whole = pattern(20 * MIB + 1);
        let first = done(put(store, "big", &whole, &Expect::Absent));
        assert_eq!(put(store, "big", &whole, &Expect::Absent), Put::Changed);
        assert!(content(store, "big") == whole);
        whole[MIB] ^= 1;
        let second = done(put(store, "big", &whole, &Expect::Version(first.clone())));
        assert_ne!(first, second);
        assert_eq!(
            put(store, "big", &whole, &Expect::Version(first)),
            Put::Changed
        );
        whole[MIB] ^= 1;
        done(put(store, "big", &whole, &Expect::Anything));
        assert!(content(store, "big") == whole);
        assert_eq!(paths(store, ""), ["big"], "nothing is left beside it");
    });
}

#[test]
fn a_missing_file_is_missing_and_names_its_neighbour() {
    each(|place| {
        let store = place.store.as_ref();
        done(put(store, "raw/flights.csv", b"x", &Expect::Absent));
        for (path, hint) in [
            ("raw/flihgts.csv", "did you mean `raw/flights.csv`?"),
            ("rwa/flights.csv", "did you mean `raw`?"),
        ] {
            let failure = store.open(path).unwrap_err();
            assert_eq!(
                (failure.class, failure.code.as_str()),
                (FailureClass::Missing, "read/missing")
            );
            assert_eq!(failure.hints, [hint]);
        }
        assert_eq!(store.stat("raw/none").unwrap(), None);
        let failure = super::pattern::expand(store, "raw/*.parquet").unwrap_err();
        assert_eq!(failure.code, "read/missing");
    });
}

#[test]
fn an_object_that_changes_while_it_is_read_is_noticed() {
    each(|place| {
        if place.name == "local" {
            // An open file of a disk stays what it was.
            return;
        }
        let store = place.store.as_ref();
        done(put(store, "t", &pattern(3 * MIB), &Expect::Absent));
        let blob = store.open("t").unwrap();
        blob.read_at(0, 10).unwrap();
        done(put(
            store,
            "t",
            &pattern(3 * MIB + 1)[1..],
            &Expect::Anything,
        ));
        blob.read_at(5, 10).unwrap();
        let failure = blob.read_at(2 * MIB as u64, 10).unwrap_err();
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (FailureClass::Transient, "read/failed")
        );
        assert!(
            failure.message.ends_with("changed while it was read"),
            "{failure:?}"
        );
    });
}

#[test]
fn what_may_not_be_touched_is_denied_and_a_missing_bucket_is_no_empty_one() {
    for (store, path, read, write) in shaky() {
        let name = store.shown(path);
        writeln!(std::io::stderr(), "store: {name}").unwrap();
        let failures = [
            store.open(path).unwrap_err(),
            store.stat(path).unwrap_err(),
            store.list("").unwrap_err(),
        ];
        for failure in failures {
            assert_eq!(failure.code, read, "{name}: {failure:?}");
            places::shows_no_secret(&failure);
        }
        let mut upload = store.create(path).unwrap();
        let failure = upload.put(&Expect::Absent).unwrap_err();
        assert!(!upload.is_put());
        assert_eq!(failure.code, write, "{name}: {failure:?}");
        places::shows_no_secret(&failure);
    }
}

#[test]
fn a_signature_that_lets_read_does_not_let_write() {
    let (place, reader) = places::with_reader();
    done(put(place.store.as_ref(), "t", b"x", &Expect::Absent));
    assert_eq!(content(reader.as_ref(), "t"), b"x");
    assert_eq!(paths(reader.as_ref(), ""), ["t"]);
    let refused = |path: &str, expect: Expect| reader.create(path).unwrap().put(&expect);
    for failure in [
        refused("t", Expect::Anything).unwrap_err(),
        refused("new", Expect::Absent).unwrap_err(),
        reader.remove("t").unwrap_err(),
    ] {
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (FailureClass::Denied, "write/denied"),
            "{failure:?}"
        );
        places::shows_no_secret(&failure);
    }
    assert_eq!(paths(place.store.as_ref(), ""), ["t"]);
    assert_eq!(content(place.store.as_ref(), "t"), b"x");
}

/// Paths that try to get out, or trip something up, from a seed.
fn hostile(seed: u64) -> impl Iterator<Item = String> {
    const PARTS: [&str; 24] = [
        "..",
        ".",
        "",
        "a",
        "b c",
        "%2e%2e",
        "%2E%2E%2F",
        "..%2f",
        "%00",
        "\\",
        "..\\",
        "~",
        "C:",
        "*",
        "?x=1",
        "#f",
        "&",
        "é",
        "\u{202e}",
        "a%2Fb",
        "...",
        " ",
        "con",
        "x\u{7f}",
    ];
    let mut state = seed;
    let mut next = move |below: usize| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    std::iter::repeat_with(move || {
        let count = 1 + next(6);
        let parts: Vec<&str> = (0..count).map(|_| PARTS[next(PARTS.len())]).collect();
        let slash = ["", "/", "./", "../", "//"][next(5)];
        format!("{slash}{}", parts.join("/"))
    })
}

#[test]
fn two_thousand_hostile_paths_stay_below_their_root() {
    each(|place| {
        let written_max = if place.name == "local" { 2_000 } else { 60 };
        let mut written = BTreeSet::new();
        for path in hostile(0x9e37_79b9_7f4a_7c15).take(2_000) {
            let Ok(normal) = normal(&path, Purpose::Write) else {
                continue;
            };
            assert!(
                normal
                    .split('/')
                    .all(|part| !matches!(part, "" | "." | "..")),
                "{path:?}"
            );
            if written.len() >= written_max {
                continue;
            }
            // A file in the way of a directory is refused, as is what a store has no name for.
            let Ok(mut upload) = place.store.create(&normal) else {
                continue;
            };
            upload.writer().unwrap().write_all(b"x").unwrap();
            if let Ok(Put::Done(_)) = upload.put(&Expect::Anything) {
                written.insert(normal);
            }
        }
        assert!(written.len() > 20, "{}", written.len());
        let outside = place.all();
        for key in &outside {
            assert!(
                key.starts_with(&format!("{}/", place.prefix)),
                "{key:?} left {}",
                place.prefix
            );
        }
        let listed: BTreeSet<String> = paths(place.store.as_ref(), "").into_iter().collect();
        assert_eq!(listed, written);
    });
}
