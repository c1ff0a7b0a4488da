//! First-party operations on columns: choose, rename, clean, fill, map, hash, convert. One module for each operation.

mod add_affix;
mod clean_text;
mod dict_based_mapping;
mod drop_columns;
mod fill_nulls;
mod generate_numeric_key;
mod generate_surrogate_key;
mod hash_columns;
mod joined;
mod lookup;
mod named;
mod normalize_column_names;
mod normalize_schema;
mod passing;
mod protect_columns;
mod rename_columns;
mod replace_values;
mod select_columns;
mod text;
mod trim_whitespace;
mod unit_convert;

odibi_sdk::export!(
    name = "columns",
    columns = [
        select_columns::SelectColumns,
        drop_columns::DropColumns,
        clean_text::CleanText,
        trim_whitespace::TrimWhitespace,
        fill_nulls::FillNulls,
        hash_columns::HashColumns,
        protect_columns::ProtectColumns,
        replace_values::ReplaceValues,
        dict_based_mapping::DictBasedMapping,
        generate_surrogate_key::GenerateSurrogateKey,
        generate_numeric_key::GenerateNumericKey,
        unit_convert::UnitConvert,
    ],
    operations = [
        rename_columns::RenameColumns,
        add_affix::AddPrefix,
        add_affix::AddSuffix,
        normalize_column_names::NormalizeColumnNames,
        normalize_schema::NormalizeSchema,
    ],
);

#[cfg(test)]
mod testing;

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
            "clean_text": { "trim": true, "case": "preserve" },
            "generate_numeric_key": { "separator": "|", "output_col": "numeric_key" },
            "generate_surrogate_key": { "separator": "-", "output_col": "surrogate_key" },
            "hash_columns": { "algorithm": "sha256" },
            "normalize_column_names": { "lowercase": true, "remove_special": true, "style": "snake_case" },
            "unit_convert": { "gauge_pressure_offset": "14.696 psia", "errors": "null" },
        });
        odibi_sdk::harness::check_defaults(&crate::plugin(), &defaults);
    }

    /// `UPDATE_MANIFESTS=1 cargo test -p odibi-columns` writes it anew.
    #[test]
    fn manifest_file_says_what_the_plugin_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/manifest.json");
        let said = serde_json::to_string_pretty(&crate::plugin().manifest()).unwrap() + "\n";
        #[expect(
            clippy::disallowed_methods,
            reason = "the person who runs the test says so there"
        )]
        let update = std::env::var("UPDATE_MANIFESTS").is_ok_and(|v| v == "1");
        if update {
            std::fs::write(path, &said).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == said,
            "manifest.json is out of date, run with UPDATE_MANIFESTS=1"
        );
    }
}
