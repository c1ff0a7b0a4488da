//! Tries a connection before a run needs it: is it there, may we read, may we write, and is a second writer refused?

use std::io::{Read as _, Write as _};
use std::path::Path;

use odibi_plan::plan::Connection;
use odibi_story::failure::{Failure, FailureClass, code};

use crate::failure::{During, classify, internal};
use crate::store::blob::BlobReader;
use crate::store::{Expect, Purpose, Put, Store, Stores, hidden_name};

/// What a try has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What the connection reaches, as messages show it.
    pub place: String,
    /// A file was written, a second writer of it refused, and the file removed.
    pub writes: bool,
}

/// Opens a connection. With `writes` it also puts a small file of a hidden name there and takes it back.
///
/// # Errors
/// What a run would fail with; and `write/unsafe` where a store lets two writers write one file.
pub fn probe(connection: &Connection, project_dir: &Path, writes: bool) -> Result<Probe, Failure> {
    let stores = Stores::new(project_dir, std::env::temp_dir());
    let purpose = if writes {
        Purpose::Write
    } else {
        Purpose::Read
    };
    let store = stores.open(connection, purpose)?;
    store.check()?;
    if writes {
        let path = hidden_name()?;
        let tried = try_write(store.as_ref(), &path);
        let removed = store.remove(&path);
        tried.and(removed)?;
    }
    Ok(Probe {
        place: store.shown(""),
        writes,
    })
}

fn try_write(store: &dyn Store, path: &str) -> Result<(), Failure> {
    const CONTENT: &[u8] = b"odibi tries whether it may write here";
    let put = |content: &[u8], expect: &Expect| {
        let mut upload = store.create(path)?;
        let written = upload.writer()?.write_all(content);
        written.map_err(|e| classify(&e, During::Write(upload.shown())))?;
        upload.put(expect)
    };
    let is_unsafe = |what: &str| {
        let message = format!("connection `{}` lets {what}", store.connection());
        let failure = Failure::new(FailureClass::Denied, code::WRITE_UNSAFE, message);
        Err(failure.hint(
            "use a store with conditional writes (`If-None-Match` and `If-Match`): here two runs at once could lose rows",
        ))
    };
    let Put::Done(first) = put(b"first", &Expect::Absent)? else {
        return Err(internal("a name that nobody has is taken"));
    };
    if put(b"somebody else", &Expect::Absent)? != Put::Changed {
        return is_unsafe("a second writer replace a file that is only to be made new");
    }
    let first = Expect::Version(first.version);
    if put(CONTENT, &first)? == Put::Changed {
        let message = format!("`{}` is not the file that was written", store.shown(path));
        return Err(Failure::new(
            FailureClass::Transient,
            code::WRITE_FAILED,
            message,
        ));
    }
    if put(b"somebody late", &first)? != Put::Changed {
        return is_unsafe("a writer replace a version of a file that it has not seen");
    }
    let mut found = Vec::new();
    let read = BlobReader::new(store.open(path)?).read_to_end(&mut found);
    read.map_err(|e| classify(&e, During::Read(&store.shown(path))))?;
    if found == CONTENT {
        Ok(())
    } else {
        let message = format!("`{}` does not hold what was written", store.shown(path));
        Err(Failure::new(
            FailureClass::Transient,
            code::READ_FAILED,
            message,
        ))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use odibi_plan::plan::ConnectionKind;

    use super::*;

    #[test]
    fn a_directory_is_tried_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let connection = |base_path: &str| Connection {
            name: "c".into(),
            kind: ConnectionKind::Local {
                base_path: base_path.into(),
            },
        };
        std::fs::create_dir(dir.path().join("data")).unwrap();
        let tried = probe(&connection("data"), dir.path(), true).unwrap();
        assert!(tried.writes && tried.place.ends_with("/data"), "{tried:?}");
        assert_eq!(
            std::fs::read_dir(dir.path().join("data")).unwrap().count(),
            0
        );
        let missing = probe(&connection("none"), dir.path(), false).unwrap_err();
        assert_eq!(missing.code, "read/missing");
        std::fs::write(dir.path().join("file"), "").unwrap();
        probe(&connection("file"), dir.path(), true).unwrap_err();
    }
}
