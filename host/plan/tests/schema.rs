//! The JSON Schema of project files is committed, for editors that know no odibi.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[test]
fn committed_copy_is_equal() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/odibi.schema.json");
    let made = format!("{:#}\n", odibi_plan::config::schema());
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch for the person who runs the tests"
    )]
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(committed == made, "run again with UPDATE_EXPECT=1");
}
