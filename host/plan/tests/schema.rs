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

/// `docs/configuration.md` has a row for every key of a project, a pipeline and a node.
#[test]
fn every_key_is_described() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let page = std::fs::read_to_string(path).unwrap();
    let schema = odibi_plan::config::schema();
    for (title, pointer) in [
        ("## Keys of a project", "/properties"),
        ("## Keys of a pipeline", "/$defs/pipeline/properties"),
        ("## Keys of a node", "/$defs/node/properties"),
    ] {
        let section = page.split(title).nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let keys = section.lines().filter(|line| line.starts_with('|'));
        let keys: Vec<&str> = keys.filter_map(|line| line.split('|').nth(1)).collect();
        for key in schema.pointer(pointer).unwrap().as_object().unwrap().keys() {
            let key = format!("`{key}`");
            assert!(keys.iter().any(|row| row.contains(&key)), "{title}: {key}");
        }
    }
}
