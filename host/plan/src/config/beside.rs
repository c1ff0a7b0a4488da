//! Files beside the project file: their path, relative to the file that names them, and their text.

use super::Text;
use super::path::normal_path;
use crate::diagnostic::{Diagnostic, Sources, codes, quoted};
use crate::limits::PATH_BYTES_MAX;

/// Why a file cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileFault {
    /// There is none.
    Missing,
    /// A symbolic link leads out of the project's directory.
    Outside,
    /// What the system says.
    Unreadable(String),
}

/// Reads a file of this path below the project's directory: all of it, or more than the number of bytes.
pub type ReadBeside<'a> = &'a dyn Fn(&str, usize) -> Result<Vec<u8>, FileFault>;

/// The path below the directory of the project file, `root`. It is written relative to the file that names it. `key`
/// is what names it, `kind` is what must stay in the project.
pub(super) fn below(
    sources: &Sources,
    root: &str,
    path: &Text,
    key: &str,
    kind: &str,
) -> Result<String, Box<Diagnostic>> {
    let fault = |what: &str| {
        let message = format!("{} {what}: {}", quoted(key), quoted(path.shown()));
        let made = Diagnostic::error(&codes::BAD_PATH, path.span, message);
        Box::new(made.hint(format!(
            "write it relative to this file, and keep {kind} in the directory of the project"
        )))
    };
    let drive = path.value.as_bytes().get(1) == Some(&b':');
    if path.value.len() > PATH_BYTES_MAX {
        return Err(fault("is longer than 1024 bytes"));
    }
    if path.value.chars().any(char::is_control) {
        return Err(fault("holds a control character"));
    }
    if path.value.contains('\\') {
        return Err(fault("holds a backslash"));
    }
    if path.value.starts_with('/') || path.value.contains("://") || drive {
        return Err(fault("is not relative"));
    }
    let from = directory(sources.name(path.span.file));
    let from = from.strip_prefix(root).unwrap_or_default();
    let mut parts: Vec<&str> = Vec::new();
    for part in from.split('/').chain(path.value.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => {
                return Err(fault("leaves the project's directory"));
            }
            ".." => {}
            part => parts.push(part),
        }
    }
    if parts.is_empty() || path.value.ends_with('/') {
        return Err(fault("names no file"));
    }
    Ok(normal_path(&parts.join("/")))
}

/// The text of a file below the directory of the project, without a byte order mark. `what` names its kind.
pub(super) fn text(
    read: ReadBeside<'_>,
    path: &Text,
    below: &str,
    what: &str,
    bytes_max: usize,
) -> Result<String, Box<Diagnostic>> {
    let fault = |why: String| {
        let message = format!("the {what} {} {why}", quoted(path.shown()));
        Diagnostic::error(&codes::UNREADABLE_FILE, path.span, message)
    };
    let bytes = read(below, bytes_max).map_err(|why| {
        Box::new(match why {
            FileFault::Missing => fault("does not exist".to_owned())
                .hint("the path is relative to the file that names it"),
            FileFault::Outside => fault("lies outside the project's directory".to_owned())
                .hint("copy it into the project"),
            FileFault::Unreadable(why) => fault(format!("cannot be read: {why}")),
        })
    })?;
    if bytes.len() > bytes_max {
        return Err(Box::new(fault(format!("is longer than {bytes_max} bytes"))));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Box::new(fault(format!("is not UTF-8 at byte {at}")).hint("save it as UTF-8"))
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())
}

/// What stands before the last `/`, with it.
pub(super) fn directory(name: &str) -> &str {
    name.rfind('/').map_or("", |at| &name[..=at])
}
