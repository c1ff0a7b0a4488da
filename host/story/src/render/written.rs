//! What a write did to its target, in words.

use super::words;
use crate::event::{WriteEffect, WriteFact};

/// `upsert: 3 rows inserted, 2 rows updated`; `None` for a plain overwrite, of which the count of rows says all.
pub(super) fn sentence(fact: &WriteFact) -> Option<String> {
    let counts = [
        (fact.rows_inserted, "inserted"),
        (fact.rows_updated, "updated"),
        (fact.rows_unchanged, "unchanged"),
        (fact.rows_present, "already present"),
        (fact.rows_duplicate, "left out as duplicates"),
    ];
    let counts = counts.into_iter().filter(|(rows, _)| *rows > 0);
    let counts: Vec<String> = counts
        .map(|(rows, what)| format!("{} {what}", words::count(rows, "row")))
        .collect();
    let mode = &fact.mode;
    match fact.effect {
        WriteEffect::Published if fact.mode == "overwrite" => None,
        WriteEffect::Published if counts.is_empty() => Some(format!("{mode}: no rows")),
        WriteEffect::Published => Some(format!("{mode}: {}", counts.join(", "))),
        WriteEffect::Unchanged if counts.is_empty() => Some(format!("{mode}: unchanged")),
        WriteEffect::Unchanged => Some(format!("{mode}: unchanged ({})", counts.join(", "))),
        WriteEffect::AlreadyApplied => Some(format!("{mode}: already applied")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mode: &str, effect: WriteEffect, counts: [u64; 5], expected: Option<&str>) {
        let [
            rows_inserted,
            rows_updated,
            rows_unchanged,
            rows_present,
            rows_duplicate,
        ] = counts;
        let fact = WriteFact {
            mode: mode.to_owned(),
            batch: "ab".to_owned(),
            effect,
            rows_inserted,
            rows_updated,
            rows_unchanged,
            rows_present,
            rows_duplicate,
            files_added: 0,
            files_removed: 0,
            version_before: None,
            version_after: None,
            evidence: None,
        };
        assert_eq!(sentence(&fact).as_deref(), expected);
    }

    #[test]
    fn every_effect_has_its_sentence() {
        use WriteEffect::{AlreadyApplied, Published, Unchanged};
        check("overwrite", Published, [9, 0, 0, 0, 0], None);
        check("append", Published, [0; 5], Some("append: no rows"));
        check(
            "upsert",
            Published,
            [1, 2, 3, 0, 4],
            Some(
                "upsert: 1 row inserted, 2 rows updated, 3 rows unchanged, 4 rows left out as duplicates",
            ),
        );
        check(
            "append_once",
            Unchanged,
            [0, 0, 0, 5, 0],
            Some("append_once: unchanged (5 rows already present)"),
        );
        check("upsert", Unchanged, [0; 5], Some("upsert: unchanged"));
        check(
            "append",
            AlreadyApplied,
            [0; 5],
            Some("append: already applied"),
        );
    }
}
