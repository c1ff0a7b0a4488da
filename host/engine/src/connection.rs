//! A local connection: a root directory, and paths that cannot leave it.
//!
//! Every file is opened relative to the root with `openat2` and `RESOLVE_BENEATH`, so that neither `..` nor a symbolic
//! link reaches outside, not even one that is swapped in between. Where the system has no `openat2`, the resolved path
//! is compared with the resolved root instead.

pub(crate) mod pattern;
pub(crate) mod staged;

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use odibi_plan::plan::{Connection, ConnectionKind};
use odibi_story::event::FileFact;
use odibi_story::failure::{Failure, FailureClass, code};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::failure::{During, classify};
use crate::limits::PATH_BYTES_MAX;

/// Similarity (0 to 1) from which a file name is offered as a correction.
const SIMILARITY_MIN: f64 = 0.5;
/// Tries of `openat2` when directories are renamed under it.
const RESOLVE_TRIES_MAX: usize = 32;

/// What a path is wanted for; decides the codes of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Read,
    Write,
}

/// The open root directory of a connection.
#[derive(Debug)]
pub(crate) struct Root {
    connection: String,
    path: PathBuf,
    dir: OwnedFd,
    purpose: Purpose,
}

impl Root {
    /// Opens the root; for writing, creates it first.
    pub(crate) fn open(
        connection: &Connection,
        project_dir: &Path,
        purpose: Purpose,
    ) -> Result<Self, Failure> {
        let ConnectionKind::Local { base_path } = &connection.kind;
        let path = project_dir.join(base_path);
        if purpose == Purpose::Write {
            fs::create_dir_all(&path)
                .map_err(|e| classify(&e, During::Write(&path.display().to_string())))?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&path, flags, Mode::empty()).map_err(|e| {
            let shown = path.display().to_string();
            let failure = match purpose {
                Purpose::Read => classify(&std::io::Error::from(e), During::Read(&shown)),
                Purpose::Write => classify(&std::io::Error::from(e), During::Write(&shown)),
            };
            failure.hint(format!(
                "check `base_path` of connection `{}`",
                connection.name
            ))
        })?;
        Ok(Self {
            connection: connection.name.clone(),
            path,
            dir,
            purpose,
        })
    }

    /// A path below the root, as messages show it.
    pub(crate) fn shown(&self, path: &str) -> String {
        let joined: PathBuf = self.path.join(path).components().collect();
        joined
            .strip_prefix("./")
            .unwrap_or(&joined)
            .display()
            .to_string()
    }

    /// Opens a regular file for reading.
    pub(crate) fn open_file(&self, path: &str) -> Result<File, Failure> {
        let shown = self.shown(path);
        // Without NONBLOCK, opening a named pipe waits for its writer.
        let opened = self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC);
        let file = File::from(opened.map_err(|e| {
            let failure = self.fault(e, &shown);
            if failure.code == code::READ_MISSING.name {
                self.with_nearest(failure, path)
            } else {
                failure
            }
        })?);
        let meta = file
            .metadata()
            .map_err(|e| classify(&e, During::Read(&shown)))?;
        if meta.is_dir() {
            return Err(Failure::new(
                FailureClass::Data,
                code::READ_BAD_FILE,
                format!("`{shown}` is a directory"),
            )
            .hint(format!(
                "name its files, for example `{}/*`",
                path.trim_end_matches('/')
            )));
        }
        if !meta.is_file() {
            return Err(Failure::new(
                FailureClass::Data,
                code::READ_BAD_FILE,
                format!("`{shown}` is not a regular file"),
            ));
        }
        Ok(file)
    }

    /// What is known of an open file.
    pub(crate) fn fact(&self, path: &str, file: &File) -> Result<FileFact, Failure> {
        let meta = file
            .metadata()
            .map_err(|e| classify(&e, self.during(&self.shown(path))))?;
        Ok(FileFact {
            connection: self.connection.clone(),
            path: path.to_owned(),
            bytes: meta.len(),
            modified: meta
                .modified()
                .ok()
                .and_then(|t| Timestamp::try_from(t).ok()),
        })
    }

    /// Opens a directory below the root; `""` is the root itself.
    pub(crate) fn open_dir(&self, path: &str) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "." } else { path };
        self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)
    }

    /// Names in a directory, sorted. What is not UTF-8 in a name becomes U+FFFD.
    pub(crate) fn names(&self, dir: &str) -> Result<Vec<String>, Errno> {
        let fd = self.open_dir(dir)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(fd.as_fd())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if name != "." && name != ".." {
                names.push(name.into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// True for a directory, links followed.
    pub(crate) fn is_dir(&self, path: &str) -> bool {
        self.resolve(path, OFlags::PATH | OFlags::CLOEXEC)
            .and_then(|fd| rustix::fs::fstat(&fd))
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// True when something lies there, links not followed.
    pub(crate) fn exists(&self, path: &str) -> bool {
        let (dir, name) = split(path);
        self.open_dir(dir)
            .is_ok_and(|fd| rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok())
    }

    /// The failure of a system call on a path.
    pub(crate) fn fault(&self, errno: Errno, shown: &str) -> Failure {
        classify(&std::io::Error::from(errno), self.during(shown))
    }

    /// Adds the name in the same directory that is most like the last part of `path`.
    pub(crate) fn with_nearest(&self, failure: Failure, path: &str) -> Failure {
        let mut dir = split(path).0;
        while !dir.is_empty() && self.open_dir(dir).is_err() {
            dir = split(dir).0;
        }
        let rest = path[dir.len()..].trim_start_matches('/');
        let wanted = rest.split('/').next().unwrap_or_default();
        let names = self.names(dir).unwrap_or_default();
        let best = names
            .iter()
            .filter(|n| !n.starts_with('.'))
            .map(|n| {
                (
                    strsim::normalized_damerau_levenshtein(
                        &n.to_lowercase(),
                        &wanted.to_lowercase(),
                    ),
                    n,
                )
            })
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match best {
            Some((score, name)) if score >= SIMILARITY_MIN => {
                let near = if dir.is_empty() {
                    name.clone()
                } else {
                    format!("{dir}/{name}")
                };
                failure.hint(format!("did you mean `{near}`?"))
            }
            Some(_) | None => failure.hint(format!(
                "check the path; `{}` holds {} entries",
                self.shown(dir),
                names.len()
            )),
        }
    }

    fn during<'a>(&self, shown: &'a str) -> During<'a> {
        match self.purpose {
            Purpose::Read => During::Read(shown),
            Purpose::Write => During::Write(shown),
        }
    }

    fn resolve(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..RESOLVE_TRIES_MAX {
            match rustix::fs::openat2(&self.dir, path, flags, Mode::empty(), beneath) {
                Err(Errno::AGAIN) => {}
                // Some sandboxes answer an unknown system call with EPERM.
                Err(Errno::NOSYS | Errno::PERM) => return self.resolve_by_name(path, flags),
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    fn resolve_by_name(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let errno = |e: std::io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
        let root = self.path.canonicalize().map_err(errno)?;
        let full = root.join(path).canonicalize().map_err(errno)?;
        if !full.starts_with(&root) {
            return Err(Errno::XDEV);
        }
        rustix::fs::open(&full, flags | OFlags::NOFOLLOW, Mode::empty())
    }
}

/// A path as the YAML gives it, checked and without `.` and empty parts.
pub(crate) fn normal(path: &str, purpose: Purpose) -> Result<String, Failure> {
    let deny = |what: &str| {
        let code = if purpose == Purpose::Read {
            code::READ_DENIED
        } else {
            code::WRITE_DENIED
        };
        Err(
            Failure::new(FailureClass::Denied, code, format!("{what}: `{path}`"))
                .hint("name a path below the connection's `base_path`"),
        )
    };
    if path.len() > PATH_BYTES_MAX {
        return deny("the path is too long");
    }
    if path.contains('\0') {
        return deny("the path holds a zero byte");
    }
    if path.starts_with('/') {
        return deny("the path is absolute");
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return deny("the path leaves the connection's root"),
            name => parts.push(name),
        }
    }
    if parts.is_empty() {
        return deny("the path names no file");
    }
    Ok(parts.join("/"))
}

/// Directory and name of a path.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;

    fn root(dir: &Path) -> Root {
        let kind = ConnectionKind::Local {
            base_path: "data".into(),
        };
        fs::create_dir_all(dir.join("data")).unwrap();
        Root::open(
            &Connection {
                name: "c".into(),
                kind,
            },
            dir,
            Purpose::Read,
        )
        .unwrap()
    }

    #[test]
    fn paths_that_leave_the_root_are_denied() {
        for path in [
            "..",
            "../x",
            "a/../../x",
            "/etc/passwd",
            "a\0b",
            "",
            ".",
            "./",
            "a/..",
        ] {
            let failure = normal(path, Purpose::Read).unwrap_err();
            assert_eq!(
                (failure.class, failure.code.as_str()),
                (FailureClass::Denied, "read/denied"),
                "{path:?}"
            );
        }
        assert_eq!(
            normal("./a//b/./c.csv", Purpose::Read).unwrap(),
            "a/b/c.csv"
        );
        assert_eq!(normal("a..b/..c", Purpose::Read).unwrap(), "a..b/..c");
    }

    #[test]
    fn links_inside_the_root_work_and_links_outside_are_denied() {
        let dir = tempfile::tempdir().unwrap();
        let root = root(dir.path());
        fs::write(dir.path().join("secret"), "s").unwrap();
        fs::write(dir.path().join("data/a"), "inside").unwrap();
        symlink("a", dir.path().join("data/near")).unwrap();
        symlink("../secret", dir.path().join("data/far")).unwrap();
        symlink(dir.path().join("secret"), dir.path().join("data/absolute")).unwrap();
        symlink("..", dir.path().join("data/up")).unwrap();
        symlink("loop", dir.path().join("data/loop")).unwrap();
        let mut text = String::new();
        root.open_file("near")
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "inside");
        for path in ["far", "absolute", "up/secret", "loop"] {
            let failure = root.open_file(path).unwrap_err();
            assert_eq!(failure.code, "read/denied", "{path}: {failure:?}");
        }
        let outside = root.resolve_by_name("far", OFlags::RDONLY).unwrap_err();
        assert_eq!(outside, Errno::XDEV, "the way without openat2 denies too");
    }

    #[test]
    fn a_missing_file_names_the_nearest() {
        let dir = tempfile::tempdir().unwrap();
        let root = root(dir.path());
        fs::create_dir(dir.path().join("data/raw")).unwrap();
        fs::write(dir.path().join("data/raw/flights.csv"), "").unwrap();
        for (path, hint) in [
            ("raw/flihgts.csv", "did you mean `raw/flights.csv`?"),
            ("rwa/flights.csv", "did you mean `raw`?"),
            ("raw/zzzz", "check the path; "),
        ] {
            let failure = root.open_file(path).unwrap_err();
            assert_eq!(
                (failure.class, failure.code.as_str()),
                (FailureClass::Missing, "read/missing")
            );
            assert!(failure.hints[0].starts_with(hint), "{failure:?}");
        }
    }

    #[test]
    fn directories_and_pipes_are_not_files() {
        let dir = tempfile::tempdir().unwrap();
        let root = root(dir.path());
        fs::create_dir(dir.path().join("data/d")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("data/p"),
            FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        for path in ["d", "p"] {
            assert_eq!(
                root.open_file(path).unwrap_err().code,
                "read/bad-file",
                "{path}"
            );
        }
    }
}
