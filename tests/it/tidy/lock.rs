//! Which versions stand in Cargo.lock.

/// Crates whose types cross our seams, or that take minutes to build: a second copy is a mistake.
const ONCE: [&str; 4] = ["arrow-array", "object_store", "wasmtime", "datafusion"];

/// Crates of [`ONCE`] that do not stand in the lock file exactly once.
pub(super) fn doubled(lock: &str) -> Vec<String> {
    let wrong = ONCE
        .iter()
        .map(|name| (name, versions(lock, name)))
        .filter(|(_, versions)| versions.len() != 1);
    wrong
        .map(|(name, versions)| {
            format!("`{name}` must be locked in one version, found: {versions:?}")
        })
        .collect()
}

/// Locked crates below the floor that `floors` gives them, and floors that cannot be read.
pub(super) fn below_floor(lock: &str, floors: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut read = 0;
    for line in floors.lines().filter(|line| line.contains("minimum = \"")) {
        let (name, rest) = line.split_once('=').unwrap_or_default();
        let minimum = rest
            .split("minimum = \"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap_or_default();
        let (name, Some(floor)) = (name.trim(), numbers(minimum)) else {
            complaints.push(format!("unreadable floor: {line}"));
            continue;
        };
        read += 1;
        for version in versions(lock, name) {
            if numbers(&version).is_none_or(|version| version < floor) {
                complaints.push(format!(
                    "`{name}` {version} is locked, its security floor is {minimum}"
                ));
            }
        }
    }
    if read == 0 {
        complaints.push("no floor was read".to_owned());
    }
    complaints
}

/// Versions under which a crate is locked.
fn versions(lock: &str, name: &str) -> Vec<String> {
    let head = format!("name = \"{name}\"\nversion = \"");
    let found = lock.split(head.as_str()).skip(1);
    found
        .filter_map(|rest| rest.split('"').next())
        .map(str::to_owned)
        .collect()
}

/// `48.0.8` as numbers; a pre-release counts as below everything.
fn numbers(version: &str) -> Option<Vec<u64>> {
    let version = version.split('+').next().unwrap_or(version);
    let numbers: Option<Vec<u64>> = version.split('.').map(|part| part.parse().ok()).collect();
    numbers.filter(|numbers| numbers.len() == 3)
}

/// A lock file of these crates, and the four that must be there.
fn lock_of(crates: &[(&str, &str)]) -> String {
    let package = |(name, version): &(&str, &str)| {
        format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n\n")
    };
    crates.iter().map(package).collect()
}

#[test]
fn a_second_version_and_a_missing_crate_are_found() {
    let fine = [
        ("arrow-array", "59.3.2"),
        ("datafusion", "55.2.0"),
        ("object_store", "0.13.2"),
        ("wasmtime", "48.0.8"),
    ];
    assert_eq!(doubled(&lock_of(&fine)), [""; 0]);
    let twice = [
        fine[0],
        fine[1],
        fine[2],
        ("object_store", "0.14.0"),
        fine[3],
    ];
    let complaint = "`object_store` must be locked in one version, found: [\"0.13.2\", \"0.14.0\"]";
    assert_eq!(doubled(&lock_of(&twice)), [complaint]);
    assert_eq!(
        doubled(&lock_of(&fine[1..])),
        ["`arrow-array` must be locked in one version, found: []"]
    );
}

#[track_caller]
fn check_floor(version: &str, floors: &str, expect: &[&str]) {
    assert_eq!(
        below_floor(
            &lock_of(&[("wasmtime-wasi", "1.0.0"), ("wasmtime", version)]),
            floors
        ),
        expect
    );
}

#[test]
fn a_version_below_its_floor_is_found() {
    let floors = "[floors]\nwasmtime = { minimum = \"48.0.8\", reason = \"x\" }\n";
    check_floor("48.0.8", floors, &[]);
    check_floor("48.0.10", floors, &[]);
    check_floor("50.0.0", floors, &[]);
    check_floor(
        "48.0.7",
        floors,
        &["`wasmtime` 48.0.7 is locked, its security floor is 48.0.8"],
    );
    check_floor(
        "9.9.9",
        floors,
        &["`wasmtime` 9.9.9 is locked, its security floor is 48.0.8"],
    );
    check_floor(
        "49.0.0-rc.1",
        floors,
        &["`wasmtime` 49.0.0-rc.1 is locked, its security floor is 48.0.8"],
    );
}

#[test]
fn a_floor_that_cannot_be_read_is_not_passed_over() {
    check_floor("48.0.8", "", &["no floor was read"]);
    check_floor(
        "48.0.8",
        "wasmtime = { minimum = \"48\" }",
        &[
            "unreadable floor: wasmtime = { minimum = \"48\" }",
            "no floor was read",
        ],
    );
}
