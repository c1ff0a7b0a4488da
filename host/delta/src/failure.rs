//! The one place where an error of delta-rs, or of what lies under it, becomes a [`Failure`].

use std::error::Error;
use std::io;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::TransactionError;
use object_store::Error as StoreError;
use object_store::client::{HttpError, HttpErrorKind};
use odibi_story::failure::{Failure, FailureClass, code};

/// What was done when an error came; each names the table.
#[derive(Debug, Clone, Copy)]
pub(crate) enum During<'a> {
    /// Reading the log or the rows of a source.
    Read(&'a str),
    /// Reading the log or the rows of a target, or writing it.
    Write(&'a str),
    /// Something in the scratch directory.
    Scratch(&'a str),
}

/// Why a commit did not take place, as far as is known.
#[derive(Debug)]
pub(crate) enum Trouble {
    Failure(Failure),
    Delta(DeltaTableError),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<DeltaTableError> for Trouble {
    fn from(error: DeltaTableError) -> Self {
        Self::Delta(error)
    }
}

impl During<'_> {
    fn shown(&self) -> &str {
        match self {
            Self::Read(shown) | Self::Write(shown) | Self::Scratch(shown) => shown,
        }
    }

    fn reads(&self) -> bool {
        matches!(self, Self::Read(_))
    }
}

/// Turns any error into a failure. A [`Failure`] inside it comes out as it went in.
pub(crate) fn classify(error: &(dyn Error + 'static), during: During<'_>) -> Failure {
    let mut next = Some(error);
    while let Some(at) = next {
        if let Some(failure) = at.downcast_ref::<Failure>() {
            return failure.clone();
        }
        if let Some(io) = at.downcast_ref::<io::Error>() {
            match io.get_ref() {
                Some(inner) => {
                    next = Some(inner);
                    continue;
                }
                None => return of_io(io, during),
            }
        }
        if let Some(delta) = at.downcast_ref::<DeltaTableError>()
            && let Some(failure) = of_delta(delta, during)
        {
            return failure;
        }
        if let Some(store) = at.downcast_ref::<StoreError>()
            && let Some(failure) = of_store(store, during)
        {
            return failure;
        }
        let datafusion = at
            .downcast_ref::<DataFusionError>()
            .or_else(|| at.downcast_ref::<Arc<DataFusionError>>().map(Arc::as_ref));
        if let Some(DataFusionError::ResourcesExhausted(message)) = datafusion {
            return no_memory(message);
        }
        next = match datafusion {
            Some(DataFusionError::Collection(all)) => {
                all.first().map(|e| e as &(dyn Error + 'static))
            }
            Some(DataFusionError::Shared(inner)) => Some(inner.as_ref() as &(dyn Error + 'static)),
            Some(_) | None => at.source(),
        };
    }
    of_text(&error.to_string(), during)
}

/// Some layers keep no more of an error than its text.
fn of_text(text: &str, during: During<'_>) -> Failure {
    if text.contains("Resources exhausted") {
        return no_memory(text);
    }
    let number = text.rsplit_once("(os error ").and_then(|(_, rest)| {
        let number = rest.split_once(')')?.0;
        number.parse::<i32>().ok()
    });
    if let Some(number) = number {
        return of_io(&io::Error::from_raw_os_error(number), during);
    }
    if says_later(text) || text.contains("HTTP error: ") {
        return failed(during).cause(first_line(text));
    }
    damaged(during).cause(first_line(text))
}

/// May a request to a store succeed another time? No answer came, or one that says so.
fn is_passing(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(at) = next {
        if let Some(http) = at.downcast_ref::<HttpError>() {
            return http.kind() != HttpErrorKind::Decode;
        }
        next = at.source();
    }
    says_later(&error.to_string())
}

/// As `object_store` words what a server answered; it keeps the type of that error to itself.
fn says_later(text: &str) -> bool {
    let status = text.split_once("status code: ").and_then(|(_, rest)| {
        let status = rest.get(..3)?;
        status.parse::<u16>().ok()
    });
    match status {
        Some(status) => matches!(status, 408 | 425 | 429 | 500..),
        None => text.contains("error response: "),
    }
}

/// It did not work, and may another time.
fn failed(during: During<'_>) -> Failure {
    let (code, message) = match during {
        During::Read(shown) => (code::READ_FAILED, format!("cannot read `{shown}`")),
        During::Write(shown) => (code::WRITE_FAILED, format!("cannot write `{shown}`")),
        During::Scratch(_) => (
            code::RESOURCES_DISK,
            "the scratch directory cannot be used".to_owned(),
        ),
    };
    Failure::new(FailureClass::Transient, code, message)
}

fn no_memory(text: &str) -> Failure {
    Failure::new(
        FailureClass::Limit,
        code::RESOURCES_MEMORY,
        "the memory of the run is used up",
    )
    .cause(first_line(text))
    .hint("give the run more memory, or make the batch smaller")
}

/// The run was asked to stop.
pub(crate) fn cancelled() -> Failure {
    Failure::new(
        FailureClass::Cancelled,
        code::RUN_CANCELLED,
        "the run was cancelled",
    )
}

/// The failure of something that cannot happen.
pub(crate) fn internal(message: impl Into<String>) -> Failure {
    Failure::new(FailureClass::Internal, code::ENGINE_INTERNAL, message)
}

/// Did another writer come first?
pub(crate) fn is_conflict(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(at) = next {
        if let Some(
            DeltaTableError::VersionAlreadyExists(_) | DeltaTableError::VersionMismatch(..),
        ) = at.downcast_ref::<DeltaTableError>()
        {
            return true;
        }
        if let Some(
            TransactionError::VersionAlreadyExists(_)
            | TransactionError::CommitConflict(_)
            | TransactionError::MaxCommitAttempts(_),
        ) = at.downcast_ref::<TransactionError>()
        {
            return true;
        }
        next = at.source();
    }
    false
}

/// A table whose log or files are not what they should be.
pub(crate) fn damaged(during: During<'_>) -> Failure {
    let shown = during.shown();
    if during.reads() {
        let message = format!("cannot read the Delta table `{shown}`");
        Failure::new(FailureClass::Data, code::READ_BAD_FILE, message)
    } else {
        let message = format!("cannot read or write the Delta table `{shown}`");
        Failure::new(FailureClass::Data, code::WRITE_BAD_TARGET, message)
    }
}

fn of_delta(error: &DeltaTableError, during: During<'_>) -> Option<Failure> {
    let shown = during.shown();
    if let DeltaTableError::Transaction { source } = error
        && let Some(what) = beyond(source)
    {
        let (code, does) = if during.reads() {
            (code::READ_UNSUPPORTED_TABLE, "read")
        } else {
            (code::WRITE_UNSUPPORTED_TABLE, "write")
        };
        let message = format!("cannot {does} the Delta table `{shown}`: {what}");
        return Some(Failure::new(FailureClass::Denied, code, message));
    }
    if is_conflict(error) {
        return Some(conflict(shown));
    }
    None
}

/// Another writer was faster, again and again.
pub(crate) fn conflict(shown: &str) -> Failure {
    Failure::new(
        FailureClass::Conflict,
        code::WRITE_CONFLICT,
        format!("others write the Delta table `{shown}` all the time"),
    )
    .hint("run it again, or write the table from fewer runs at once")
}

/// What a table asks for that is not there.
fn beyond(error: &TransactionError) -> Option<String> {
    match error {
        TransactionError::DeltaTableAppendOnly => {
            Some("it is append-only, and the write would remove rows".to_owned())
        }
        TransactionError::UnsupportedTableFeatures(features) => {
            let mut names: Vec<String> = features.iter().map(|f| format!("`{f}`")).collect();
            names.sort();
            Some(format!(
                "it uses features that odibi has not: {}",
                names.join(", ")
            ))
        }
        TransactionError::TableFeaturesRequired(feature) => Some(format!(
            "its columns need the feature `{feature}`, which is not enabled in it"
        )),
        TransactionError::VersionAlreadyExists(_)
        | TransactionError::SerializeLogJson { .. }
        | TransactionError::ObjectStore { .. }
        | TransactionError::CommitConflict(_)
        | TransactionError::MaxCommitAttempts(_)
        | TransactionError::LogStoreError { .. } => None,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the others say no more than their source does"
)]
fn of_store(error: &StoreError, during: During<'_>) -> Option<Failure> {
    let shown = during.shown();
    match error {
        StoreError::NotFound { path, .. } => {
            let failure = damaged(during);
            Some(failure.cause(format!("no such file: `{path}`")))
        }
        StoreError::Unauthenticated { .. } | StoreError::PermissionDenied { .. } => {
            Some(denied(shown, during.reads()))
        }
        StoreError::Generic { source, .. } if is_passing(source.as_ref()) => {
            Some(failed(during).cause(first_line(&error.to_string())))
        }
        _ => None,
    }
}

fn denied(shown: &str, reads: bool) -> Failure {
    let code = if reads {
        code::READ_DENIED
    } else {
        code::WRITE_DENIED
    };
    let does = if reads { "read" } else { "read or write" };
    let message = format!("not allowed to {does} the Delta table `{shown}`");
    Failure::new(FailureClass::Denied, code, message)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the others may pass when tried again"
)]
fn of_io(error: &io::Error, during: During<'_>) -> Failure {
    use io::ErrorKind as K;
    let shown = during.shown();
    let outside = [rustix::io::Errno::XDEV, rustix::io::Errno::LOOP]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
    let failure = match error.kind() {
        _ if outside => denied(shown, during.reads())
            .hint("a link in the table leads out of it: replace it by what it points to"),
        K::PermissionDenied | K::ReadOnlyFilesystem => denied(shown, during.reads()),
        K::StorageFull | K::QuotaExceeded | K::FileTooLarge => match during {
            During::Scratch(_) => Failure::new(
                FailureClass::Limit,
                code::RESOURCES_DISK,
                "no space left in the scratch directory",
            ),
            During::Read(_) | During::Write(_) => Failure::new(
                FailureClass::Limit,
                code::WRITE_DISK_FULL,
                format!("no space left to write `{shown}`"),
            )
            .hint("free some space, or write to another connection"),
        },
        K::NotFound | K::UnexpectedEof | K::InvalidData | K::NotADirectory | K::IsADirectory => {
            damaged(during)
        }
        _ => failed(during),
    };
    failure.cause(error.to_string())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_answers_is_no_damage_of_the_table() {
        use FailureClass::{Data, Transient};
        let status = "Error performing GET REDACTED in 1s, after 4 retries - Server returned non-2xx status code: ";
        for (text, class, code) in [
            (
                format!("{status}503 Service Unavailable: <x>\n</x>"),
                Transient,
                "write/failed",
            ),
            (
                format!("{status}429 Too Many Requests: "),
                Transient,
                "write/failed",
            ),
            (
                "Server returned error response: <Code>InternalError</Code>".to_owned(),
                Transient,
                "write/failed",
            ),
            (
                format!("{status}400 Bad Request: "),
                Data,
                "write/bad-target",
            ),
            ("unexpected end".to_owned(), Data, "write/bad-target"),
        ] {
            let whole = DeltaTableError::from(StoreError::Generic {
                store: "S3",
                source: text.clone().into(),
            });
            // Of some errors only the text is left.
            for error in [whole, DeltaTableError::generic(&text)] {
                let failure = classify(&error, During::Write("lake/t"));
                assert_eq!(
                    (failure.class, failure.code.as_str()),
                    (class, code),
                    "{error}: {failure:?}"
                );
                assert!(!failure.causes.concat().contains('\n'), "{failure:?}");
            }
        }
    }
}
