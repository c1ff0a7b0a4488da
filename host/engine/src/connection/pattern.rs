//! Paths with `*`, `?` and `[...]`: which files of a connection they name, in sorted order.

use odibi_story::failure::{Failure, FailureClass, code};
use rustix::io::Errno;

use super::Root;
use crate::limits::FILES_MAX;

/// The files that a path names. A path without wildcards names itself; so does one that exists literally.
pub(crate) fn expand(root: &Root, path: &str) -> Result<Vec<String>, Failure> {
    if !path.contains(['*', '?', '[']) || root.exists(path) {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = vec![String::new()];
    for part in path.split('/') {
        let mut next = Vec::new();
        for dir in &found {
            if part.contains(['*', '?', '[']) {
                next.extend(matches(root, dir, part)?);
            } else {
                next.push(join(dir, part));
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
        found = next;
    }
    found.retain(|file| root.exists(file) && !root.is_dir(file));
    found.sort();
    if found.is_empty() {
        let message = format!("no file matches `{}`", root.shown(path));
        return Err(root.with_nearest(
            Failure::new(FailureClass::Missing, code::READ_MISSING, message),
            path,
        ));
    }
    Ok(found)
}

fn matches(root: &Root, dir: &str, part: &str) -> Result<Vec<String>, Failure> {
    let names = match root.names(dir) {
        Ok(names) => names,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        Err(errno) => return Err(root.fault(errno, &root.shown(dir))),
    };
    let found: Vec<String> = names
        .iter()
        .filter(|n| fits(part, n))
        .map(|n| join(dir, n))
        .collect();
    // Leaving it out would drop its rows silently.
    match found.iter().find(|n| n.contains('\u{fffd}')) {
        Some(odd) => Err(Failure::new(
            FailureClass::Data,
            code::READ_BAD_FILE,
            format!("the name of a file is not UTF-8: `{}`", root.shown(odd)),
        )
        .hint("rename the file")),
        None => Ok(found),
    }
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        name.to_owned()
    } else {
        format!("{dir}/{name}")
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
    use std::path::Path;

    use odibi_plan::plan::{Connection, ConnectionKind};

    use super::super::Purpose;
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
        let kind = ConnectionKind::Local {
            base_path: dir.path().display().to_string(),
        };
        let root = Root::open(
            &Connection {
                name: "c".into(),
                kind,
            },
            Path::new(""),
            Purpose::Read,
        )
        .unwrap();
        for (pattern, expected) in [
            ("*/*.csv", vec!["a/1.csv", "b/1.csv", "b/2.csv"]),
            ("b/[0-1].csv", vec!["b/1.csv"]),
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
