//! "Did you mean": the candidate nearest to a misspelt name.

use crate::limits::{NEAREST_CANDIDATES_MAX, NEAREST_CHARS_MAX};

/// The candidate that a typing slip separates from `name`, if there is one: about one edit in three characters, letter
/// case aside, or a candidate of which `name` is a whole word (`drop` for `drop_columns`). The earlier wins a tie.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    let length = wanted.chars().count();
    if length == 0 || length > NEAREST_CHARS_MAX {
        return None;
    }
    let allowed = (length / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates.into_iter().take(NEAREST_CANDIDATES_MAX) {
        let other = candidate.chars().count();
        if candidate == name || other > NEAREST_CHARS_MAX {
            continue;
        }
        let distance = if other.abs_diff(length) <= allowed {
            strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase())
        } else {
            usize::MAX
        };
        let rank = if distance <= allowed {
            distance
        } else if length >= 3 && has_word(candidate, &wanted) {
            allowed + 1
        } else {
            continue;
        };
        if best.is_none_or(|(least, _)| rank < least) {
            best = Some((rank, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn has_word(candidate: &str, word: &str) -> bool {
    candidate
        .split('/')
        .any(|part| part == word || part.split('_').any(|w| w == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, candidates: &[&str], expect: Option<&str>) {
        assert_eq!(nearest(name, candidates.iter().copied()), expect);
    }

    #[test]
    fn nearest_finds_slips_and_leaves_strangers() {
        check("ordrs_raw", &["orders_raw", "orders"], Some("orders_raw"));
        check(
            "Connection",
            &["connections", "conection"],
            Some("connections"),
        );
        check("raed", &["write", "read"], Some("read"));
        check("xy", &["read", "write"], None);
        check("", &["a"], None);
        check("drop", &["limit", "drop_columns"], Some("drop_columns"));
        check(
            "great_circle",
            &["geo/great_circle"],
            Some("geo/great_circle"),
        );
        check("circle", &["geo/circle"], Some("geo/circle"));
        check("a", &["a"], None);
        check(&"x".repeat(500), &["x"], None);
    }
}
