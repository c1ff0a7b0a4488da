//! First-party operations on nested data: texts that hold JSON become structs, structs become columns. One module for
//! each operation.

mod decode;
mod flatten_struct;
mod json;
mod leaves;
mod normalize_json;
mod number;
mod parse_json;
mod shape;
mod unpack_struct;

#[cfg(test)]
mod testing;

odibi_sdk::export!(
    name = "nested",
    columns = [
        parse_json::ParseJson,
        normalize_json::NormalizeJson,
        flatten_struct::FlattenStruct,
        unpack_struct::UnpackStruct,
    ],
);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    #[test]
    fn every_example_gives_what_it_shows() {
        let plugin = crate::plugin();
        odibi_sdk::harness::check_examples(&plugin);
        for entry in &plugin.operations {
            let name = entry.name;
            assert!(
                entry.examples().len() >= 2,
                "`{name}` has fewer than two examples"
            );
        }
    }

    #[test]
    fn the_schema_shows_what_is_left_out() {
        let defaults = serde_json::json!({
            "flatten_struct": { "depth": 1, "separator": "_", "drop_source": true },
            "normalize_json": { "sep": "_" },
        });
        odibi_sdk::harness::check_defaults(&crate::plugin(), &defaults);
    }

    /// `UPDATE_MANIFESTS=1 cargo test -p odibi-nested manifest` writes the file.
    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "the switch that rewrites a committed file"
    )]
    fn manifest_is_the_committed_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/manifest.json");
        let manifest = serde_json::to_string_pretty(&crate::plugin().manifest()).unwrap() + "\n";
        if std::env::var_os("UPDATE_MANIFESTS").is_some() {
            std::fs::write(path, &manifest).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == manifest,
            "manifest.json is out of date: run this test with UPDATE_MANIFESTS=1"
        );
    }
}
