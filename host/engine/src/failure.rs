//! The one place where an error of Arrow, Parquet, DataFusion or the system becomes a [`Failure`].

use std::error::Error;
use std::io;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use odibi_story::failure::{Failure, FailureClass, code};
use parquet::errors::ParquetError;

/// What the engine was doing when an error came.
#[derive(Debug, Clone, Copy)]
pub(crate) enum During<'a> {
    /// Reading this file.
    Read(&'a str),
    /// Writing this target.
    Write(&'a str),
    /// Anything in the scratch directory.
    Scratch,
    /// Running the plan.
    Run,
}

/// Turns any error of a library or of the system into a failure. A [`Failure`] inside it comes out as it went in.
pub(crate) fn classify(error: &(dyn Error + 'static), during: During<'_>) -> Failure {
    let mut next = Some(error);
    while let Some(at) = next {
        if let Some(failure) = at.downcast_ref::<Failure>() {
            return failure.clone();
        }
        if let Some(io) = at.downcast_ref::<io::Error>()
            && io.get_ref().is_none()
        {
            return of_io(io, during);
        }
        if let Some(inner) = at.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            next = Some(inner);
            continue;
        }
        let datafusion = at
            .downcast_ref::<DataFusionError>()
            .or_else(|| at.downcast_ref::<Arc<DataFusionError>>().map(Arc::as_ref));
        if let Some(DataFusionError::ResourcesExhausted(message)) = datafusion {
            return Failure::new(
                FailureClass::Limit,
                code::RESOURCES_MEMORY,
                "the memory of the run is used up",
            )
            .cause(first_line(message))
            .hint("give the run more memory, or run fewer nodes side by side");
        }
        next = match datafusion {
            Some(DataFusionError::Collection(all)) => {
                all.first().map(|e| e as &(dyn Error + 'static))
            }
            Some(DataFusionError::Shared(inner)) => Some(inner.as_ref() as &(dyn Error + 'static)),
            Some(_) | None => at.source(),
        };
    }
    fallback(error, during)
}

/// The failure of a run that was interrupted.
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

/// The failure of a file of which another version is there than the one that was begun with. Another attempt begins anew.
pub(crate) fn changed_meanwhile(shown: &str) -> Failure {
    let message = format!("`{shown}` changed while it was read");
    Failure::new(FailureClass::Transient, code::READ_FAILED, message).hint("run again")
}

/// Carries a failure through DataFusion.
pub(crate) fn carry(failure: Failure) -> DataFusionError {
    DataFusionError::External(Box::new(failure))
}

/// The text of a panic.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

fn of_io(error: &io::Error, during: During<'_>) -> Failure {
    use FailureClass::{Data, Denied, Limit, Missing, Transient};
    use io::ErrorKind as K;
    let outside = error.raw_os_error() == Some(rustix::io::Errno::XDEV.raw_os_error());
    let many_links = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    let kind = error.kind();
    let full = kind == K::StorageFull || kind == K::QuotaExceeded;
    let refused = kind == K::PermissionDenied || kind == K::ReadOnlyFilesystem;
    let failure = match during {
        During::Read(file) if outside || many_links => Failure::new(
            Denied,
            code::READ_DENIED,
            format!("the path leaves the connection's root: `{file}`"),
        )
        .hint("name a path below `base_path`, without links that point outside"),
        During::Read(file) if kind == K::NotFound || kind == K::NotADirectory => {
            return Failure::new(
                Missing,
                code::READ_MISSING,
                format!("no such file: `{file}`"),
            );
        }
        During::Read(file) if refused => {
            Failure::new(Denied, code::READ_DENIED, format!("cannot read `{file}`"))
        }
        During::Read(file)
            if matches!(
                kind,
                K::UnexpectedEof | K::InvalidData | K::InvalidInput | K::IsADirectory
            ) =>
        {
            let message = format!("cannot read `{file}`");
            Failure::new(Data, code::READ_BAD_FILE, message.clone()).own_message(message)
        }
        During::Read(file) => Failure::new(
            Transient,
            code::READ_FAILED,
            format!("cannot read `{file}`"),
        ),
        During::Write(target) if outside || many_links => Failure::new(
            Denied,
            code::WRITE_DENIED,
            format!("the path leaves the connection's root: `{target}`"),
        )
        .hint("name a path below `base_path`, without links that point outside"),
        During::Write(target) if full => Failure::new(
            Limit,
            code::WRITE_DISK_FULL,
            format!("no space left to write `{target}`"),
        )
        .hint("free some space, or write to another connection"),
        During::Write(target) if refused => Failure::new(
            Denied,
            code::WRITE_DENIED,
            format!("cannot write `{target}`"),
        ),
        During::Write(target)
            if matches!(
                kind,
                K::NotADirectory | K::IsADirectory | K::NotFound | K::AlreadyExists
            ) =>
        {
            Failure::new(
                Denied,
                code::WRITE_BAD_TARGET,
                format!("cannot write `{target}`"),
            )
        }
        During::Write(target) => Failure::new(
            Transient,
            code::WRITE_FAILED,
            format!("cannot write `{target}`"),
        ),
        During::Scratch | During::Run if full => Failure::new(
            Limit,
            code::RESOURCES_DISK,
            "no space left in the scratch directory",
        ),
        During::Scratch | During::Run => Failure::new(
            Transient,
            code::RESOURCES_DISK,
            "the scratch directory cannot be used",
        ),
    };
    failure.cause(error.to_string())
}

fn fallback(error: &(dyn Error + 'static), during: During<'_>) -> Failure {
    let text = first_line(&error.to_string());
    match during {
        During::Read(file) => Failure::new(
            FailureClass::Data,
            code::READ_BAD_FILE,
            format!("cannot read `{file}`"),
        )
        .own_message(format!("cannot read `{file}`"))
        .cause(text),
        During::Write(target) => {
            let class = if error.downcast_ref::<ParquetError>().is_some() {
                code::WRITE_UNSUPPORTED_TYPE
            } else {
                code::WRITE_BAD_VALUE
            };
            Failure::new(
                FailureClass::Data,
                class,
                format!("cannot write `{target}`"),
            )
            .own_message(format!("cannot write `{target}`"))
            .cause(text)
        }
        During::Scratch | During::Run => internal("the data engine failed")
            .own_message("the data engine failed")
            .cause(text),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: DataFusionError, during: During<'_>, class: FailureClass, code: &str) {
        let failure = classify(&error, during);
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (class, code),
            "{failure:?}"
        );
        assert!(
            odibi_story::failure::explain(code).is_some(),
            "{code} has no explanation"
        );
    }

    fn os(errno: rustix::io::Errno) -> DataFusionError {
        DataFusionError::IoError(errno.into())
    }

    #[test]
    fn errors_get_their_class_and_code() {
        use FailureClass::{Data, Denied, Internal, Limit, Missing, Transient};
        use rustix::io::Errno;
        check(os(Errno::NOENT), During::Read("a"), Missing, "read/missing");
        check(os(Errno::ACCESS), During::Read("a"), Denied, "read/denied");
        check(os(Errno::XDEV), During::Read("a"), Denied, "read/denied");
        check(os(Errno::IO), During::Read("a"), Transient, "read/failed");
        check(
            os(Errno::NOSPC),
            During::Write("a"),
            Limit,
            "write/disk-full",
        );
        check(
            os(Errno::DQUOT),
            During::Write("a"),
            Limit,
            "write/disk-full",
        );
        check(
            os(Errno::ACCESS),
            During::Write("a"),
            Denied,
            "write/denied",
        );
        check(os(Errno::ROFS), During::Write("a"), Denied, "write/denied");
        check(
            os(Errno::ISDIR),
            During::Write("a"),
            Denied,
            "write/bad-target",
        );
        check(os(Errno::NOSPC), During::Scratch, Limit, "resources/disk");
        check(
            DataFusionError::ResourcesExhausted("x".into()),
            During::Run,
            Limit,
            "resources/memory",
        );
        check(
            DataFusionError::Internal("x".into()),
            During::Run,
            Internal,
            "engine/internal",
        );
        check(
            ParquetError::EOF("x".into()).into(),
            During::Read("a"),
            Data,
            "read/bad-file",
        );
        let wrapped = ParquetError::External(Box::new(io::Error::from(Errno::NOSPC)));
        check(wrapped.into(), During::Write("a"), Limit, "write/disk-full");
    }

    #[test]
    fn a_failure_survives_every_wrapping() {
        let failure = Failure::new(FailureClass::Guest, "guest/odd", "odd").at_step(3);
        let bare = || carry(failure.clone());
        let wrapped = [
            bare(),
            bare().context("somewhere"),
            DataFusionError::Shared(Arc::new(bare())),
            DataFusionError::External(Box::new(Arc::new(bare().context("shared")))),
            DataFusionError::Collection(vec![bare(), DataFusionError::Internal("second".into())]),
            arrow_schema::ArrowError::ExternalError(Box::new(bare())).into(),
        ];
        for error in wrapped {
            assert_eq!(classify(&error, During::Run), failure, "{error:?}");
        }
    }
}
