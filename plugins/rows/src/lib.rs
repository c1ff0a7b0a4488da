//! First-party operations on rows: keep some, order and number them, make several of one, put tables behind
//! each other. One module for each operation.

mod deduplicate;
mod distinct;
mod explode_list_column;
mod keys;
mod limit;
mod order;
mod row_number;
mod sample;
mod sessionize;
mod sort;
mod split_events_by_period;
mod ticks;
mod union;

#[cfg(test)]
mod testing;

odibi_sdk::export!(
    name = "rows",
    operations = [
        deduplicate::Deduplicate,
        distinct::Distinct,
        limit::Limit,
        union::Union,
        sort::Sort,
        row_number::RowNumber,
        sample::Sample,
        sessionize::Sessionize,
        explode_list_column::ExplodeListColumn,
        split_events_by_period::SplitEventsByPeriod,
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
            "explode_list_column": { "outer": false },
            "limit": { "offset": 0 },
            "row_number": { "output": "row_num" },
            "sessionize": { "threshold_seconds": 1800, "session_col": "session_id" },
            "sort": { "ascending": true },
            "split_events_by_period": { "shift_col": "shift_name", "period": "day" },
            "union": { "by_name": true },
        });
        odibi_sdk::harness::check_defaults(&crate::plugin(), &defaults);
    }

    /// `UPDATE_MANIFESTS=1 cargo test -p odibi-rows manifest` writes the file.
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
