//! Paths with `*`, `?` and `[...]`: which files of a connection they name, in sorted order.

use odibi_story::failure::{Failure, FailureClass, code};

use super::local::not_utf8;
use super::{ChildKind, Store, join, with_nearest};
use crate::limits::FILES_MAX;

/// Whether a path holds wildcards.
pub(crate) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// The files that a path names. A path without wildcards names itself; so does one that exists literally. `**` as a part
/// of its own stands for any number of directories.
pub(crate) fn expand(store: &dyn Store, path: &str) -> Result<Vec<String>, Failure> {
    if !is_pattern(path) || store.stat(path)?.is_some() {
        return Ok(vec![path.to_owned()]);
    }
    if path.split('/').any(|part| part == "**") {
        return expand_deep(store, path);
    }
    // Directories that fit so far; behind the last part, files.
    let mut found = vec![String::new()];
    let mut parts = path.split('/').peekable();
    // Parts without wildcards, not looked for yet.
    let mut plain = String::new();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        if !part.contains(['*', '?', '[']) && !is_last {
            plain = join(&plain, part);
            continue;
        }
        let mut next = Vec::new();
        for dir in &found {
            let dir = if plain.is_empty() {
                dir.clone()
            } else {
                join(dir, &plain)
            };
            if part.contains(['*', '?', '[']) {
                next.extend(matches(store, &dir, part, is_last)?);
            } else {
                match store.stat(&join(&dir, part)) {
                    Ok(Some(_)) => next.push(join(&dir, part)),
                    Ok(None) => {}
                    Err(failure) if failure.code == code::READ_BAD_FILE.name => {}
                    Err(failure) => return Err(failure),
                }
            }
            if next.len() > FILES_MAX {
                let message = format!("`{path}` names too many files");
                return Err(
                    Failure::new(FailureClass::Limit, code::READ_TOO_LARGE, message).of_limit(
                        "files",
                        FILES_MAX as u64,
                        next.len() as u64,
                    ),
                );
            }
        }
        plain.clear();
        found = next;
    }
    found.sort();
    some(store, path, found)
}

fn some(store: &dyn Store, path: &str, found: Vec<String>) -> Result<Vec<String>, Failure> {
    if found.is_empty() {
        let message = format!("no file matches `{}`", store.shown(path));
        let failure = Failure::new(FailureClass::Missing, code::READ_MISSING, message);
        return Err(with_nearest(store, failure, path));
    }
    if found.len() > FILES_MAX {
        let message = format!("`{path}` names too many files");
        let failure = Failure::new(FailureClass::Limit, code::READ_TOO_LARGE, message);
        return Err(failure.of_limit("files", FILES_MAX as u64, found.len() as u64));
    }
    Ok(found)
}

/// Lists everything below the part without wildcards.
fn expand_deep(store: &dyn Store, path: &str) -> Result<Vec<String>, Failure> {
    let parts: Vec<&str> = path.split('/').collect();
    let plain = parts.iter().take_while(|part| !is_pattern(part)).count();
    let dir = parts[..plain].join("/");
    let mut found = Vec::new();
    for stat in store.list(&dir)? {
        let below: Vec<&str> = stat.path.split('/').skip(plain).collect();
        if fits_deep(&parts[plain..], &below) {
            found.push(stat.path);
        }
    }
    some(store, path, found)
}

/// Does a path fit a pattern, part by part? Follows all places of the pattern at once.
fn fits_deep(pattern: &[&str], path: &[&str]) -> bool {
    let end = pattern.len();
    // Two stars in front of another part may stand for nothing.
    let reach = |states: &mut Vec<bool>| {
        for i in 0..end.saturating_sub(1) {
            states[i + 1] |= states[i] && pattern[i] == "**";
        }
    };
    let mut states = vec![false; end + 1];
    states[0] = true;
    reach(&mut states);
    for part in path {
        let mut next = vec![false; end + 1];
        for i in (0..end).filter(|i| states[*i]) {
            if pattern[i] == "**" {
                let visible = !part.starts_with('.');
                next[i] |= visible;
                next[end] |= visible && i + 1 == end;
            } else {
                next[i + 1] |= fits(pattern[i], part);
            }
        }
        reach(&mut next);
        states = next;
    }
    states[end]
}

fn matches(store: &dyn Store, dir: &str, part: &str, files: bool) -> Result<Vec<String>, Failure> {
    let children = store.children(dir)?.into_iter();
    let other = if files {
        ChildKind::Dir
    } else {
        ChildKind::File
    };
    let fitting = children.filter(|c| c.kind != other && fits(part, &c.name));
    let found: Vec<String> = fitting.map(|c| join(dir, &c.name)).collect();
    match found.iter().find(|n| n.contains('\u{fffd}')) {
        Some(odd) => Err(not_utf8(&store.shown(odd))),
        None => Ok(found),
    }
}

/// Does a name fit a pattern? A wildcard at the start does not fit a leading dot.
fn fits(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            Some('?') => Some(p + 1),
            Some('[') => match class(&pattern[p..], name[n]) {
                Some((true, length)) => Some(p + length),
                Some((false, _)) => None,
                None => (name[n] == '[').then_some(p + 1),
            },
            Some(c) => (*c == name[n]).then_some(p + 1),
            None => None,
        };
        match (step, star) {
            (Some(next), _) => {
                p = next;
                n += 1;
            }
            (None, Some((at, from))) => {
                p = at + 1;
                n = from + 1;
                star = Some((at, from + 1));
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Reads `[...]` at the start of a pattern: does it hold `c`, and how long is it? `None` when it is not closed.
fn class(pattern: &[char], c: char) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(1), Some('!' | '^'));
    let first = if negated { 2 } else { 1 };
    let close = pattern.iter().skip(first + 1).position(|x| *x == ']')? + first + 1;
    let mut held = false;
    let mut i = first;
    while i < close {
        if i + 2 < close && pattern[i + 1] == '-' {
            held |= (pattern[i]..=pattern[i + 2]).contains(&c);
            i += 3;
        } else {
            held |= pattern[i] == c;
            i += 1;
        }
    }
    Some((held != negated, close + 1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;

    use super::super::Purpose;
    use super::super::local::LocalStore;
    use super::*;

    #[test]
    fn names_fit_patterns() {
        for (pattern, name, expected) in [
            ("*.csv", "a.csv", true),
            ("*.csv", ".csv", false),
            (".*", ".csv", true),
            ("*.csv", "a.csv.gz", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a?c", "aéc", true),
            ("[abc]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[!a-c]x", "dx", true),
            ("[]]x", "]x", true),
            ("[ax", "[ax", true),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("**", "anything", true),
            ("[-a]", "-", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn two_stars_are_any_number_of_directories() {
        for (pattern, path, expected) in [
            ("**/*.csv", "a.csv", true),
            ("**/*.csv", "x/y/a.csv", true),
            ("**/*.csv", "x/.y/a.csv", false),
            ("a/**/b/*", "a/b/x", true),
            ("a/**/b/*", "a/1/2/b/x", true),
            ("a/**/b/*", "a/1/2/x", false),
            ("a/**", "a/b", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a/.b/c", false),
            ("**/**/x", "x", true),
            ("a/**b", "a/c/b", false),
            ("a/**b", "a/cb", true),
        ] {
            let parts = |text: &'static str| text.split('/').collect::<Vec<_>>();
            assert_eq!(
                fits_deep(&parts(pattern), &parts(path)),
                expected,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn patterns_name_files_in_sorted_order() {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "b/2.csv",
            "b/1.csv",
            "a/1.csv",
            "a/.hidden.csv",
            "a/x.txt",
            "lit[1].csv",
            "lit1.csv",
        ] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::create_dir(dir.path().join("a/dir.csv")).unwrap();
        let root = LocalStore::open("c", dir.path().to_owned(), Purpose::Read).unwrap();
        for (pattern, expected) in [
            ("*/*.csv", vec!["a/1.csv", "b/1.csv", "b/2.csv"]),
            ("b/[0-1].csv", vec!["b/1.csv"]),
            ("**/1.csv", vec!["a/1.csv", "b/1.csv"]),
            ("lit[1].csv", vec!["lit[1].csv"]),
            ("plain.csv", vec!["plain.csv"]),
        ] {
            assert_eq!(expand(&root, pattern).unwrap(), expected, "{pattern}");
        }
        let odd = std::ffi::OsStr::from_bytes(b"odd\xff.csv");
        fs::write(dir.path().join(odd), "").unwrap();
        assert_eq!(expand(&root, "o*.csv").unwrap_err().code, "read/bad-file");
        for pattern in ["c/*.csv", "*.parquet", "a/x.txt/*"] {
            assert_eq!(
                expand(&root, pattern).unwrap_err().code,
                "read/missing",
                "{pattern}"
            );
        }
    }
}
