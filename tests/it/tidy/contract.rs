//! The contract in wit/ and the record of its versions.

use sha2::{Digest, Sha256};

/// Complaints unless `record` holds the version of these WIT texts with the SHA-256 of all of them, one after the other.
///
/// A line of the record is `version<TAB>hash`. Released lines stay: a plugin in the wild was built against that text.
pub(super) fn unrecorded(texts: &[String], record: &str) -> Vec<String> {
    let version = texts.iter().find_map(|text| version(text));
    let Some(version) = version else {
        return vec!["no text in wit/ has a line `package odibi:node@VERSION;`".to_owned()];
    };
    let digest = Sha256::digest(texts.concat());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let rows: Vec<(&str, &str)> = record
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .collect();
    let mut complaints = Vec::new();
    match rows.iter().filter(|(recorded, _)| *recorded == version).collect::<Vec<_>>()[..] {
        [(_, recorded)] if *recorded == digest => {}
        [(_, recorded)] => complaints.push(format!(
            "wit/*.wit is not the text recorded for version {version} ({recorded}, now {digest}): give the package a \
             higher version; this test then says which line wit/versions.tsv lacks"
        )),
        [] => complaints.push(format!("add the line `{version}\t{digest}` to wit/versions.tsv")),
        [..] => complaints.push(format!("version {version} stands more than once in wit/versions.tsv")),
    }
    complaints
}

/// `0.1.0` of `package odibi:node@0.1.0;`.
fn version(text: &str) -> Option<String> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("package odibi:node@"))?;
    line.strip_suffix(';').map(str::to_owned)
}

const TEXT: &str = "package odibi:node@0.1.0;\n";
const HASH: &str = "fb683a9569525f9fc757e6e9c980d90471544b898055bc9f33277afed58fbfcc";

#[track_caller]
fn check(texts: &[&str], record: &str, expect: &[&str]) {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let complaints = unrecorded(&texts, record);
    assert_eq!(complaints.len(), expect.len(), "{complaints:?}");
    for (complaint, expect) in complaints.iter().zip(expect) {
        assert!(
            complaint.contains(expect),
            "{complaint}\ndoes not contain\n{expect}"
        );
    }
}

#[test]
fn a_recorded_version_with_its_text_is_fine() {
    check(&[TEXT], &format!("0.1.0\t{HASH}\n"), &[]);
    check(&[TEXT], &format!("0.0.9\tabc\n0.1.0\t{HASH}\n"), &[]);
}

#[test]
fn a_changed_text_under_an_old_version_is_found() {
    check(
        &[TEXT, "interface more {}\n"],
        &format!("0.1.0\t{HASH}\n"),
        &["higher version"],
    );
    check(
        &[&TEXT.replace("0.1.0", "0.2.0")],
        &format!("0.1.0\t{HASH}\n"),
        &["add the line `0.2.0\t"],
    );
}

#[test]
fn a_broken_record_is_found() {
    check(
        &[TEXT],
        &format!("0.1.0\t{HASH}\n0.1.0\t{HASH}\n"),
        &["more than once"],
    );
    check(&["interface more {}\n"], "", &["no text in wit/"]);
}
