//! One set of features everywhere: what tests and benchmarks ask for must not compile the heavy crates a second time.

use std::collections::BTreeMap;

/// Crates that are compiled with other features for the program than for everything together. Both texts are lines of
/// `NAME VERSION FEATURES`.
pub(super) fn differing(program: &str, all: &str) -> Vec<String> {
    let all = by_crate(all);
    let differing = by_crate(program).into_iter().filter_map(|(name, sets)| {
        let theirs = all.get(name)?;
        let apart: Vec<&str> = sets
            .iter()
            .filter(|s| !theirs.contains(s))
            .copied()
            .collect();
        (!apart.is_empty()).then(|| {
            format!(
                "`{name}` has the features {apart:?} in the program, {theirs:?} in the workspace"
            )
        })
    });
    differing.collect()
}

/// Name and version, and each set of features that stands behind it.
fn by_crate(lines: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut found = BTreeMap::<&str, Vec<&str>>::new();
    for line in lines.lines() {
        let line = line.trim_end_matches(" (*)").trim_end();
        let end = line
            .match_indices(' ')
            .nth(1)
            .map_or(line.len(), |(at, _)| at);
        let (name, features) = line.split_at(end);
        let sets = found.entry(name).or_default();
        if !sets.contains(&features) {
            sets.push(features);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::differing;

    #[test]
    fn another_set_is_found_and_a_crate_of_tests_is_not() {
        let program = "regex v1.0.0 std\nserde v1.0.0 \nsha2 v0.1.0 oid\nsha2 v0.1.0 mac (*)\n";
        let same = "regex v1.0.0 std (*)\nserde v1.0.0\nproptest v1.0.0 std\nsha2 v0.1.0 mac\nsha2 v0.1.0 oid";
        assert_eq!(differing(program, same), Vec::<String>::new());
        let other = same.replace("regex v1.0.0 std", "regex v1.0.0 perf,std");
        let complaints = differing(program, &other);
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].starts_with("`regex v1.0.0` has the features [\" std\"]"));
    }
}
