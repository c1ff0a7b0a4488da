//! The bytes of a file as text: unpacked and decoded to UTF-8 as they are read, in constant memory.
//!
//! Nothing is guessed: what cannot be unpacked or decoded is a failure that names the file, and the line where there is
//! one. What grows beyond all measure while it is unpacked is refused.

use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use encoding_rs::{Decoder, DecoderResult, UTF_16BE, UTF_16LE};
use flate2::read::MultiGzDecoder;
use odibi_plan::plan::{Encoding, TextCompression, TextRead};
use odibi_story::failure::{Failure, FailureClass, code};

use super::{bad_file, bad_row};
use crate::failure::{During, classify, internal};
use crate::limits::{
    UNPACKED_BYTES_MAX, UNPACKED_FREE_BYTES, UNPACKED_RATIO_MAX, ZSTD_WINDOW_LOG_MAX,
};
use crate::store::Blob;
use crate::store::blob::BlobReader;

/// Bytes read at once.
const BUFFER_BYTES: usize = 128 * 1024;
/// First bytes that tell what a file is.
const HEAD_BYTES: usize = 4;
const MARK: &[u8] = &[0xef, 0xbb, 0xbf];

/// A file as UTF-8, without a byte order mark. That it is valid is up to the reader, where the file itself is UTF-8.
pub(crate) fn text(
    blob: &Arc<dyn Blob>,
    shown: &str,
    options: TextRead,
) -> Result<Box<dyn Read + Send>, Failure> {
    let by_name = TextCompression::of_path(&blob.fact().path);
    let compression = options.compression.unwrap_or(by_name);
    let head = blob.read_at(0, HEAD_BYTES)?;
    if head.is_empty() && compression == TextCompression::None {
        return Ok(Box::new(io::empty()));
    }
    if compression == TextCompression::None {
        sniff(shown, &head, options.encoding)?;
    }
    let raw = Counted {
        inner: BlobReader::new(Arc::clone(blob)),
        taken: Arc::new(AtomicU64::new(0)),
    };
    match compression {
        TextCompression::None => {}
        TextCompression::Gzip => {
            if !head.starts_with(&[0x1f, 0x8b]) {
                return Err(not_packed(shown, "gzip"));
            }
        }
        TextCompression::Zstd => {
            // Also the frames that readers have to skip.
            let frame = head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
                || (head.len() == HEAD_BYTES
                    && head[0] & 0xf0 == 0x50
                    && head[1..] == [0x2a, 0x4d, 0x18]);
            if !frame {
                return Err(not_packed(shown, "zstd"));
            }
        }
    }
    decoded(unpacked(raw, compression, shown)?, shown, options.encoding)
}

/// The bytes of a packed file, as they were before.
pub(crate) fn bytes(
    raw: impl Read + Send + 'static,
    compression: TextCompression,
    shown: &str,
) -> Result<Box<dyn Read + Send>, Failure> {
    let taken = Arc::new(AtomicU64::new(0));
    unpacked(Counted { inner: raw, taken }, compression, shown)
}

fn unpacked<R: Read + Send + 'static>(
    raw: Counted<R>,
    compression: TextCompression,
    shown: &str,
) -> Result<Box<dyn Read + Send>, Failure> {
    let taken = Arc::clone(&raw.taken);
    Ok(match compression {
        TextCompression::None => Box::new(raw),
        TextCompression::Gzip => {
            let raw = io::BufReader::with_capacity(BUFFER_BYTES, raw);
            Box::new(Unpacked::new(MultiGzDecoder::new(raw), taken, shown))
        }
        TextCompression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(raw)
                .map_err(|e| classify(&e, During::Read(shown)))?;
            decoder
                .window_log_max(ZSTD_WINDOW_LOG_MAX)
                .map_err(|e| classify(&e, During::Read(shown)))?;
            Box::new(Unpacked::new(decoder, taken, shown))
        }
    })
}

fn not_packed(shown: &str, what: &str) -> Failure {
    bad_file(shown, &format!("it is not compressed with {what}"))
        .hint("set `compression: none` when the name of the file says so, or write it again")
}

/// Says what a text file is when its first bytes show that it is none, or another one.
fn sniff(shown: &str, head: &[u8], encoding: Encoding) -> Result<(), Failure> {
    let (what, hint) = match head {
        [0x1f, 0x8b, ..] => ("it is compressed with gzip", "set `compression: gzip`"),
        [0x28, 0xb5, 0x2f, 0xfd] => ("it is compressed with zstd", "set `compression: zstd`"),
        [b'P', b'K', 3, 4] => ("it is a zip archive", "unpack it first"),
        b"PAR1" => ("it is a Parquet file", "set `format: parquet`"),
        b"ARRO" => ("it is an Arrow file", "set `format: arrow`"),
        [b'O', b'b', b'j', 1] => ("it is an Avro file", "set `format: avro`"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] if encoding == Encoding::Utf8 => {
            ("it is UTF-16 text", "set `encoding: utf-16`")
        }
        _ => return Ok(()),
    };
    Err(bad_file(shown, what).hint(hint))
}

fn decoded(
    mut bytes: Box<dyn Read + Send>,
    shown: &str,
    encoding: Encoding,
) -> Result<Box<dyn Read + Send>, Failure> {
    let mut head = [0; HEAD_BYTES];
    let mut filled = 0;
    while filled < HEAD_BYTES {
        match bytes.read(&mut head[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(classify(&e, During::Read(shown))),
        }
    }
    let head = &head[..filled];
    sniff(shown, head, encoding)?;
    let (mark, coder): (usize, Option<Coder>) = match encoding {
        Encoding::Utf8 if head.starts_with(MARK) => (MARK.len(), None),
        Encoding::Utf8 => (0, None),
        Encoding::Latin1 => (0, Some(Coder::Latin1)),
        Encoding::Utf16 => match head {
            [0xff, 0xfe, ..] => (2, Some(Coder::of(UTF_16LE))),
            [0xfe, 0xff, ..] => (2, Some(Coder::of(UTF_16BE))),
            [] => (0, None),
            _ => {
                return Err(bad_file(
                    shown,
                    "it is UTF-16 without a byte order mark, or no UTF-16",
                )
                .hint("set `encoding: utf-16le` or `utf-16be`"));
            }
        },
        Encoding::Other(name) => {
            let found = encoding_rs::Encoding::for_label(name.as_bytes())
                .ok_or_else(|| internal("an encoding of the plan is not known"))?;
            let mark = match head {
                [0xff, 0xfe, ..] if found == UTF_16LE => 2,
                [0xfe, 0xff, ..] if found == UTF_16BE => 2,
                _ => 0,
            };
            (mark, Some(Coder::of(found)))
        }
    };
    let whole = Cursor::new(head[mark..].to_vec()).chain(bytes);
    Ok(match coder {
        None => Box::new(whole),
        Some(coder) => Box::new(Transcoded::new(whole, coder, shown)),
    })
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.taken.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// What comes out of an unpacker, as long as it stays within the caps.
struct Unpacked<R> {
    inner: R,
    taken: Arc<AtomicU64>,
    given: u64,
    shown: String,
}

impl<R> Unpacked<R> {
    fn new(inner: R, taken: Arc<AtomicU64>, shown: &str) -> Self {
        Self {
            inner,
            taken,
            given: 0,
            shown: shown.to_owned(),
        }
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer).map_err(|e| {
            let is_failure = e.get_ref().is_some_and(|inner| inner.is::<Failure>());
            if is_failure || e.kind() == io::ErrorKind::Interrupted || e.raw_os_error().is_some() {
                return e;
            }
            let what = if e.kind() == io::ErrorKind::UnexpectedEof {
                "the compressed data ends too early"
            } else {
                "the compressed data is damaged"
            };
            io::Error::other(bad_file(&self.shown, what).cause(e.to_string()))
        })?;
        self.given += n as u64;
        check_ratio(self.taken.load(Ordering::Relaxed), self.given, &self.shown)
            .map_err(io::Error::other)?;
        Ok(n)
    }
}

/// Refuses what grows too much, or too far, when it is unpacked.
pub(crate) fn check_ratio(packed: u64, unpacked: u64, shown: &str) -> Result<(), Failure> {
    let too_large = |name: &str, limit: u64, found: u64| {
        let message = format!("`{shown}` grows beyond a limit when it is unpacked");
        Err(
            Failure::new(FailureClass::Limit, code::READ_TOO_LARGE, message)
                .of_limit(name, limit, found)
                .hint("if the file is what it should be, unpack it first"),
        )
    };
    if unpacked > UNPACKED_BYTES_MAX {
        return too_large("unpacked-bytes", UNPACKED_BYTES_MAX, unpacked);
    }
    let ratio = unpacked / packed.max(1);
    if unpacked > UNPACKED_FREE_BYTES && ratio > UNPACKED_RATIO_MAX {
        return too_large("unpacked-ratio", UNPACKED_RATIO_MAX, ratio);
    }
    Ok(())
}

enum Coder {
    Latin1,
    Web {
        decoder: Box<Decoder>,
        name: &'static str,
        /// Bytes that the encoding does not define become control characters; they are refused.
        no_controls: bool,
    },
}

impl Coder {
    fn of(encoding: &'static encoding_rs::Encoding) -> Self {
        Self::Web {
            decoder: Box::new(encoding.new_decoder_without_bom_handling()),
            name: encoding.name(),
            no_controls: encoding.name().starts_with("windows-"),
        }
    }
}

/// Text in UTF-8, of text in another encoding.
struct Transcoded<R> {
    inner: R,
    coder: Coder,
    raw: Box<[u8]>,
    at: usize,
    filled: usize,
    ended: bool,
    out: Vec<u8>,
    given: usize,
    line: u64,
    shown: String,
}

impl<R: Read> Transcoded<R> {
    fn new(inner: R, coder: Coder, shown: &str) -> Self {
        Self {
            inner,
            coder,
            raw: vec![0; BUFFER_BYTES].into_boxed_slice(),
            at: 0,
            filled: 0,
            ended: false,
            out: Vec::new(),
            given: 0,
            line: 1,
            shown: shown.to_owned(),
        }
    }

    /// Decodes more; nothing more comes when `out` stays empty.
    fn decode(&mut self) -> io::Result<()> {
        self.out.clear();
        self.given = 0;
        while self.out.is_empty() && !self.ended {
            if self.at == self.filled {
                self.at = 0;
                self.filled = self.inner.read(&mut self.raw)?;
            }
            let last = self.filled == 0;
            let source = &self.raw[self.at..self.filled];
            let fault = match &mut self.coder {
                Coder::Latin1 => {
                    let chars = source.iter().map(|b| char::from(*b));
                    self.out
                        .extend_from_slice(chars.collect::<String>().as_bytes());
                    self.at = self.filled;
                    self.ended = last;
                    None
                }
                Coder::Web {
                    decoder,
                    name,
                    no_controls,
                } => {
                    self.out.resize(BUFFER_BYTES, 0);
                    let (result, read, written) =
                        decoder.decode_to_utf8_without_replacement(source, &mut self.out, last);
                    self.out.truncate(written);
                    self.at += read;
                    self.ended = last && matches!(result, DecoderResult::InputEmpty);
                    let malformed = matches!(result, DecoderResult::Malformed(_, _));
                    let control = if *no_controls {
                        control(&self.out)
                    } else {
                        None
                    };
                    match (control, malformed) {
                        (Some(at), _) => Some((at, *name)),
                        (None, true) => Some((self.out.len(), *name)),
                        (None, false) => None,
                    }
                }
            };
            let lines = |text: &[u8]| text.iter().map(|b| u64::from(*b == b'\n')).sum::<u64>();
            if let Some((at, name)) = fault {
                let line = self.line + lines(&self.out[..at]);
                let what = format!("there are bytes that are not {name}");
                return Err(io::Error::other(
                    bad_row(&self.shown, line, &what).hint("set `encoding` to that of the file"),
                ));
            }
            self.line += lines(&self.out);
        }
        Ok(())
    }
}

/// Where a control character of the range U+0080 to U+009F stands.
fn control(text: &[u8]) -> Option<usize> {
    text.windows(2)
        .position(|pair| pair[0] == 0xc2 && (0x80..0xa0).contains(&pair[1]))
}

impl<R: Read> Read for Transcoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.out.len() {
            self.decode()?;
        }
        let n = buffer.len().min(self.out.len() - self.given);
        buffer[..n].copy_from_slice(&self.out[self.given..self.given + n]);
        self.given += n;
        Ok(n)
    }
}
