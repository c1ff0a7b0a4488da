//! Paths below a connection: relative, without `..`, so that a project stays below the roots it names.

use super::Text;
use super::reader::Reader;
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::limits::PATH_BYTES_MAX;

/// What a path is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// One file or a pattern of files.
    Read,
    /// One file, or a directory of files when it ends in `/`.
    Write,
    /// A directory.
    Directory,
}

/// A required path that stays below its connection.
pub(super) fn read(reader: &mut Reader<'_>, purpose: Purpose) -> Option<Text> {
    let path = reader.required_text("path");
    let path = reader.filled(path, "path")?;
    check(reader, path, purpose)
}

pub(super) fn check(reader: &Reader<'_>, path: Text, purpose: Purpose) -> Option<Text> {
    let Some((what, hint)) = fault(&path.value, purpose) else {
        return Some(path);
    };
    let message = format!(
        "`path` of {} {what}: {}",
        reader.subject(),
        quoted(path.shown())
    );
    reader
        .context()
        .report(Diagnostic::error(&codes::BAD_PATH, path.span, message).hint(hint));
    None
}

pub(super) fn fault(path: &str, purpose: Purpose) -> Option<(&'static str, &'static str)> {
    let below = "write it relative to the `base_path` of the connection, or change `base_path`";
    let drive = path.as_bytes().get(1) == Some(&b':')
        && path.starts_with(|c: char| c.is_ascii_alphabetic());
    if path.len() > PATH_BYTES_MAX {
        return Some(("is longer than 1024 bytes", "shorten it"));
    }
    if path.chars().any(char::is_control) {
        return Some(("holds a control character", "remove it"));
    }
    if path.contains("://") {
        return Some(("is a URL", below));
    }
    if path.starts_with('/') || drive {
        return Some(("is absolute", below));
    }
    if path.contains('\\') {
        return Some(("holds a backslash", "write `/` between directories"));
    }
    if path.split('/').any(|part| part == "..") {
        return Some(("leaves its directory with `..`", below));
    }
    if normal_path(path).is_empty() && purpose != Purpose::Directory {
        return Some(("names no file", "add the name of a file"));
    }
    if purpose == Purpose::Write && path.contains(['*', '?']) {
        return Some(("holds a wildcard", "name one file"));
    }
    None
}

/// A path without `.` and empty parts, so that two spellings of one path compare as equal.
#[must_use]
pub fn normal_path(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if path.starts_with('/') {
        format!("/{}", parts.join("/"))
    } else {
        parts.join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, read: Option<&str>, write: Option<&str>) {
        let word = |purpose| fault(path, purpose).map(|(what, _)| what);
        assert_eq!(
            (word(Purpose::Read), word(Purpose::Write)),
            (read, write),
            "{path}"
        );
    }

    #[test]
    fn paths_stay_below_their_connection() {
        check("a/b.csv", None, None);
        check("./a..b/é 1.csv", None, None);
        check("a/*.csv", None, Some("holds a wildcard"));
        check("a/", None, None);
        check("a/*/", None, Some("holds a wildcard"));
        for (path, what) in [
            ("/etc/passwd", "is absolute"),
            ("C:/x", "is absolute"),
            ("c:x", "is absolute"),
            ("../x", "leaves its directory with `..`"),
            ("a/../../x", "leaves its directory with `..`"),
            ("a/..", "leaves its directory with `..`"),
            ("..\\x", "holds a backslash"),
            ("s3://b/x", "is a URL"),
            ("a\0b", "holds a control character"),
            ("a\nb", "holds a control character"),
            (".", "names no file"),
            ("./", "names no file"),
        ] {
            check(path, Some(what), Some(what));
        }
        assert_eq!(
            fault(&"x".repeat(1025), Purpose::Read).map(|(what, _)| what),
            Some("is longer than 1024 bytes")
        );
        assert_eq!(fault(".", Purpose::Directory), None);
    }

    #[test]
    fn spellings_of_one_path_are_equal() {
        assert_eq!(normal_path("./a//b/./c"), "a/b/c");
        assert_eq!(normal_path("/a/"), "/a");
        assert_eq!(normal_path("."), "");
    }
}
