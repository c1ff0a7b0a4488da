//! A capsule: one failure of a plugin in one file, with all that is needed to see it again.
//!
//! ```text
//! odibi-replay\n   then parts, each: kind (1 byte) · length (8 bytes, little-endian) · that many bytes
//!   H  header, JSON            S  an offered schema, one for each input, as `plan` got it
//!   P  `state` of the plan     B  number of the input (4 bytes, little-endian), then a batch as `process` gets it
//!   D  number of the input: `drain`      F  `finish`
//!   E  SHA-256 of everything before this part; the last one
//! ```
//! Batches hold the columns that entered the sandbox and no others. Each is an `ipc` value of the contract, so that the
//! gate which reads what guests send reads capsules too: they may come from strangers.

pub(crate) mod header;

use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use odibi_story::failure::{Failure, FailureClass};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

pub use self::header::{Header, Phase};
use crate::host_api::report::clean;
use crate::limits::{CAPSULE_FILE_BYTES_MAX, CAPSULE_PARTS_MAX};

const MAGIC: &[u8] = b"odibi-replay\n";
/// How names of capsules end.
pub(crate) const EXTENSION: &str = "odibi-replay";
const PART_PREFIX_BYTES: usize = 9;

/// One call of the data path, its batch as a place in the bytes of the capsule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Process(u32, Range<usize>),
    Drain(u32),
    Finish,
}

impl Call {
    pub(crate) fn phase(&self) -> Phase {
        match self {
            Self::Process(..) => Phase::Process,
            Self::Drain(_) => Phase::Drain,
            Self::Finish => Phase::Finish,
        }
    }
}

/// A recorded failure, read and found whole.
#[derive(Debug)]
pub struct Capsule {
    pub(crate) header: Header,
    pub(crate) schemas: Vec<Range<usize>>,
    pub(crate) state: Range<usize>,
    pub(crate) calls: Vec<Call>,
    pub(crate) bytes: Vec<u8>,
}

impl Capsule {
    /// Reads a capsule.
    ///
    /// # Errors
    /// `replay/missing`, `replay/damaged`, `replay/version`.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            let message = format!("the capsule cannot be read: {}", path.display());
            Failure::new(FailureClass::Missing, "replay/missing", message).cause(error.to_string())
        };
        let mut file = File::open(path)
            .map_err(failed)?
            .take(CAPSULE_FILE_BYTES_MAX + 1);
        let mut bytes = Vec::new();
        // So little first, that a large file of another kind is not read.
        (&mut file)
            .take(MAGIC.len() as u64)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes == MAGIC {
            file.read_to_end(&mut bytes).map_err(failed)?;
        }
        if bytes.len() as u64 > CAPSULE_FILE_BYTES_MAX {
            return Err(damaged("it is larger than any capsule"));
        }
        Self::parse(bytes)
    }

    /// What it says of its failure.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Batches in it.
    #[must_use]
    pub fn batches(&self) -> usize {
        let batches = self.calls.iter();
        batches
            .filter(|call| matches!(call, Call::Process(..)))
            .count()
    }

    fn parse(bytes: Vec<u8>) -> Result<Self, Failure> {
        if !bytes.starts_with(MAGIC) {
            return Err(damaged("it does not begin as a capsule does"));
        }
        let mut parts = Parts {
            bytes: &bytes,
            at: MAGIC.len(),
            taken: 0,
        };
        let Some((b'H', range)) = parts.next()? else {
            return Err(damaged("it has no header"));
        };
        let header = read_header(&bytes[range])?;
        let (mut schemas, mut state, mut calls) = (Vec::new(), None, Vec::new());
        loop {
            let start = parts.at;
            let Some((kind, range)) = parts.next()? else {
                return Err(damaged("its end is missing"));
            };
            match kind {
                b'S' => schemas.push(range),
                b'P' if state.is_none() => state = Some(range),
                b'B' => {
                    let (port, range) = port(&bytes, range)?;
                    calls.push(Call::Process(port, range));
                }
                b'D' => calls.push(Call::Drain(port(&bytes, range)?.0)),
                b'F' => calls.push(Call::Finish),
                b'E' => {
                    if bytes[range] != Sha256::digest(&bytes[..start])[..] {
                        return Err(damaged("it was changed after it was written"));
                    }
                    break;
                }
                other => {
                    return Err(damaged(&format!(
                        "a part of it is of no known kind: {other}"
                    )));
                }
            }
        }
        if parts.at != bytes.len() {
            return Err(damaged("something stands behind its end"));
        }
        check_calls(&header, &schemas, &calls)?;
        Ok(Self {
            header,
            schemas,
            state: state.unwrap_or_default(),
            calls,
            bytes,
        })
    }
}

/// The header and the calls must tell the same story, or a replay would compare what cannot be compared.
fn check_calls(header: &Header, schemas: &[Range<usize>], calls: &[Call]) -> Result<(), Failure> {
    let fits = match (header.phase, calls.last()) {
        (Phase::Plan | Phase::Open, last) => last.is_none(),
        (phase, Some(last)) => last.phase() == phase,
        (_, None) => false,
    };
    let ports = calls.iter().filter_map(|call| match call {
        Call::Process(port, _) | Call::Drain(port) => Some(*port as usize),
        Call::Finish => None,
    });
    let planned = header.phase == Phase::Plan || header.need.len() == schemas.len();
    if fits && planned && ports.max().is_none_or(|port| port < schemas.len()) {
        Ok(())
    } else {
        Err(damaged("its parts do not fit its header"))
    }
}

/// The version comes first: of a newer format nothing else may be expected.
fn read_header(json: &[u8]) -> Result<Header, Failure> {
    let unread = |error: serde_json::Error| {
        damaged("its header cannot be read").cause(clean(&error.to_string(), 500))
    };
    let value: serde_json::Value = serde_json::from_slice(json).map_err(unread)?;
    if let Some(version) = value["format_version"].as_u64()
        && version > u64::from(header::FORMAT_VERSION)
    {
        let message = format!(
            "the capsule has a newer format than this odibi reads, version {}: {version}",
            header::FORMAT_VERSION
        );
        return Err(Failure::new(FailureClass::Data, "replay/version", message)
            .hint("replay it with the version of odibi that recorded it"));
    }
    serde_json::from_value(value).map_err(unread)
}

fn port(bytes: &[u8], range: Range<usize>) -> Result<(u32, Range<usize>), Failure> {
    match bytes[range.clone()].first_chunk::<4>() {
        Some(number) => Ok((u32::from_le_bytes(*number), range.start + 4..range.end)),
        None => Err(damaged("a part of it names no input")),
    }
}

struct Parts<'a> {
    bytes: &'a [u8],
    at: usize,
    taken: usize,
}

impl Parts<'_> {
    fn next(&mut self) -> Result<Option<(u8, Range<usize>)>, Failure> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        self.taken += 1;
        if self.taken > CAPSULE_PARTS_MAX {
            return Err(damaged("it has more parts than any capsule"));
        }
        let cut = || damaged("it is cut short");
        let prefix = rest.first_chunk::<PART_PREFIX_BYTES>().ok_or_else(cut)?;
        let [kind, length @ ..] = *prefix;
        let start = self.at + PART_PREFIX_BYTES;
        let length = usize::try_from(u64::from_le_bytes(length)).ok();
        let end = length
            .and_then(|length| start.checked_add(length))
            .filter(|end| *end <= self.bytes.len())
            .ok_or_else(cut)?;
        self.at = end;
        Ok(Some((kind, start..end)))
    }
}

fn damaged(why: &str) -> Failure {
    Failure::new(
        FailureClass::Data,
        "replay/damaged",
        format!("the capsule cannot be used, {why}"),
    )
    .hint("copy it again, or record the failure again")
}

/// Bytes of a call as a part of a capsule.
pub(crate) fn write_batch(to: &mut dyn Write, port: u32, message: &[u8]) -> io::Result<()> {
    write_prefix(to, b'B', message.len() as u64 + 4)?;
    to.write_all(&port.to_le_bytes())?;
    to.write_all(message)
}

/// See [`write_batch`].
pub(crate) fn write_drain(to: &mut dyn Write, port: u32) -> io::Result<()> {
    write_part(to, b'D', &port.to_le_bytes())
}

/// See [`write_batch`].
pub(crate) fn write_finish(to: &mut dyn Write) -> io::Result<()> {
    write_part(to, b'F', &[])
}

fn write_part(to: &mut dyn Write, kind: u8, bytes: &[u8]) -> io::Result<()> {
    write_prefix(to, kind, bytes.len() as u64)?;
    to.write_all(bytes)
}

fn write_prefix(to: &mut dyn Write, kind: u8, length: u64) -> io::Result<()> {
    to.write_all(&[kind])?;
    to.write_all(&length.to_le_bytes())
}

/// Writes a capsule under a name that must be free. It is there whole or not at all, and only this user may read it.
pub(crate) fn write(
    dir: &Path,
    name: &str,
    header: &Header,
    schemas: &[Vec<u8>],
    state: &[u8],
    calls: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let mut file = Hashing {
        // Made with mode 0600.
        to: io::BufWriter::new(NamedTempFile::new_in(dir)?),
        hash: Sha256::new(),
    };
    file.write_all(MAGIC)?;
    write_part(&mut file, b'H', &serde_json::to_vec_pretty(header)?)?;
    for schema in schemas {
        write_part(&mut file, b'S', schema)?;
    }
    write_part(&mut file, b'P', state)?;
    calls(&mut file)?;
    let digest = file.hash.clone().finalize();
    write_part(&mut file, b'E', &digest)?;
    let file = file
        .to
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.as_file().sync_all()?;
    let path = dir.join(name);
    file.persist_noclobber(&path).map_err(|e| e.error)?;
    Ok(path)
}

/// Makes the directory of capsules, for this user only, unless it is there.
pub(crate) fn make_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

struct Hashing<W> {
    to: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
