//! Arrow IPC: the file format (Feather 2) and the stream format, message after message.
//!
//! A file is read as the stream that lies inside it. Every length is compared with what is there before memory is asked
//! for, and a message is held as a whole only up to a limit.

use std::io::{BufReader, Read};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::{Buffer, MutableBuffer};
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::{RecordBatch as BatchHeader, root_as_message};
use arrow_schema::SchemaRef;
use odibi_story::failure::{Failure, FailureClass, code};

use super::unify::Described;
use super::{Chunk, FileDecode, Wanted, bad_file, guarded, unpack};
use crate::failure::{During, classify};
use crate::limits::{BLOCK_BYTES_MAX, MESSAGE_ROWS_MAX};
use crate::store::Blob;
use crate::store::blob::BlobReader;

const MAGIC: &[u8] = b"ARROW1";
/// The magic and two zeros.
const HEAD_BYTES: u64 = 8;
/// Length of the footer, and the magic.
const TAIL_BYTES: u64 = 10;
const BUFFER_BYTES: usize = 256 * 1024;
const PADDING_BYTES_MAX: usize = 56;
const CONTINUATION: [u8; 4] = [0xff; 4];
/// What ends a stream.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
/// Length of a buffer that is not compressed.
const PREFIX_BYTES: usize = 8;
/// Instead of that length, for a buffer that is stored as it is.
const STORED: i64 = -1;

/// The columns of a file.
pub(crate) fn describe(blob: &Arc<dyn Blob>, shown: &str) -> Result<Described, Failure> {
    let mut messages = Messages::open(blob, shown)?;
    let schema = messages.schema()?;
    Described::typed(&schema, shown)
}

struct Messages {
    input: BufReader<BlobReader>,
    /// Bytes up to the end of the messages.
    left: u64,
    decoder: StreamDecoder,
    /// What the decoder has not taken yet.
    pending: Buffer,
    /// The end mark was given to the decoder.
    ended: bool,
    /// A file has a footer; a stream has to say that it is over.
    stream: bool,
    /// Bytes of all dictionaries, which are held to the end.
    dictionary_bytes: u64,
    shown: String,
}

impl Messages {
    fn open(blob: &Arc<dyn Blob>, shown: &str) -> Result<Self, Failure> {
        let bytes = blob.len();
        let head = blob.read_at(0, MAGIC.len())?;
        if head.starts_with(b"FEA1") {
            return Err(bad_file(shown, "it is Feather of version 1")
                .hint("write it again as Feather 2, which is Arrow IPC"));
        }
        let file = head.as_ref() == MAGIC;
        let (skipped, left) = if file {
            let cut = || {
                bad_file(shown, "the file has no Arrow footer")
                    .hint("look whether it was written to its end")
            };
            let tail_at = bytes.checked_sub(TAIL_BYTES).ok_or_else(cut)?;
            let tail = blob.read_at(tail_at, 10)?;
            if tail.len() < 10 || &tail[4..] != MAGIC {
                return Err(cut());
            }
            let footer = u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
            let ends = tail_at.checked_sub(u64::from(footer)).ok_or_else(cut)?;
            (HEAD_BYTES, ends.checked_sub(HEAD_BYTES).ok_or_else(cut)?)
        } else {
            (0, bytes)
        };
        // Writers fill up with zeros before the first message, Rust's up to 64 bytes.
        let padding = if file {
            let bytes = blob.read_at(skipped, PADDING_BYTES_MAX)?;
            let zeros = bytes.iter().take_while(|b| **b == 0).count() / 4 * 4;
            left.min(zeros as u64)
        } else {
            0
        };
        let (skipped, left) = (skipped + padding, left - padding);
        let input = BlobReader::starting_at(Arc::clone(blob), skipped);
        Ok(Self {
            input: BufReader::with_capacity(BUFFER_BYTES, input),
            left,
            decoder: StreamDecoder::new(),
            pending: Buffer::from([0_u8; 0]),
            ended: false,
            stream: !file,
            dictionary_bytes: 0,
            shown: shown.to_owned(),
        })
    }

    /// Reads up to the schema.
    fn schema(&mut self) -> Result<SchemaRef, Failure> {
        loop {
            if let Some(schema) = self.decoder.schema() {
                return Ok(schema);
            }
            if !self.feed()? {
                return Err(bad_file(&self.shown, "it holds no Arrow schema"));
            }
            self.decode()?;
        }
    }

    fn next(&mut self) -> Result<Option<RecordBatch>, Failure> {
        loop {
            if !self.feed()? {
                return Ok(None);
            }
            if let Some(batch) = self.decode()? {
                return Ok(Some(batch));
            }
        }
    }

    /// Has bytes for the decoder. False at the end. A message without a body comes out of the decoder only with the
    /// bytes behind it, so the end mark is among them.
    fn feed(&mut self) -> Result<bool, Failure> {
        if self.pending.is_empty() && !self.ended {
            self.pending = match self.message()? {
                Some(message) => message,
                None => {
                    self.ended = true;
                    Buffer::from(END)
                }
            };
        }
        Ok(!self.pending.is_empty())
    }

    fn decode(&mut self) -> Result<Option<RecordBatch>, Failure> {
        let (decoder, pending, shown) = (&mut self.decoder, &mut self.pending, &self.shown);
        guarded(shown, || {
            decoder
                .decode(pending)
                .map_err(|e| classify(&e, During::Read(shown)))
        })
    }

    /// The bytes of one whole message.
    fn message(&mut self) -> Result<Option<Buffer>, Failure> {
        let Some(mut word) = self.word()? else {
            if self.stream {
                return Err(bad_file(&self.shown, "the stream is not ended")
                    .hint("look whether it was written to its end"));
            }
            return Ok(None);
        };
        if word == CONTINUATION {
            word = self.word()?.ok_or_else(|| self.cut())?;
        }
        let length = u32::from_le_bytes(word);
        if length == 0 {
            self.left = 0;
            self.stream = false;
            return Ok(None);
        }
        if u64::from(length) > self.left {
            return Err(self.cut());
        }
        let mut bytes = MutableBuffer::new(8);
        bytes.extend_from_slice(&CONTINUATION);
        bytes.extend_from_slice(&word);
        self.fill(&mut bytes, u64::from(length))?;
        let body = self.body_bytes(&bytes[8..])?;
        if body > self.left {
            return Err(self.cut());
        }
        let body_at = bytes.len();
        self.fill(&mut bytes, body)?;
        self.check(&bytes[8..body_at], &bytes[body_at..])?;
        Ok(Some(bytes.into()))
    }

    fn body_bytes(&self, head: &[u8]) -> Result<u64, Failure> {
        let damaged = || bad_file(&self.shown, "a message of the Arrow file is damaged");
        let message = root_as_message(head).map_err(|_| damaged())?;
        let bytes = u64::try_from(message.bodyLength()).map_err(|_| damaged())?;
        if bytes > BLOCK_BYTES_MAX {
            return Err(self.too_large("message-bytes", BLOCK_BYTES_MAX, bytes));
        }
        Ok(bytes)
    }

    /// What a message claims must be there, and must not grow beyond all measure.
    fn check(&mut self, head: &[u8], body: &[u8]) -> Result<(), Failure> {
        let damaged = || bad_file(&self.shown, "a message of the Arrow file is damaged");
        let message = root_as_message(head).map_err(|_| damaged())?;
        let dictionary = message.header_as_dictionary_batch();
        let batch = match dictionary {
            Some(dictionary) => dictionary.data(),
            None => message.header_as_record_batch(),
        };
        let Some(batch) = batch else { return Ok(()) };
        let rows = u64::try_from(batch.length()).map_err(|_| damaged())?;
        if rows > MESSAGE_ROWS_MAX {
            return Err(self.too_large("message-rows", MESSAGE_ROWS_MAX, rows));
        }
        let unpacked = unpacked_bytes(&batch, body).ok_or_else(damaged)?;
        if unpacked > BLOCK_BYTES_MAX {
            return Err(self.too_large("message-bytes", BLOCK_BYTES_MAX, unpacked));
        }
        unpack::check_ratio(body.len() as u64, unpacked, &self.shown)?;
        if dictionary.is_some() {
            self.dictionary_bytes += unpacked;
            if self.dictionary_bytes > BLOCK_BYTES_MAX {
                let bytes = self.dictionary_bytes;
                return Err(self.too_large("dictionary-bytes", BLOCK_BYTES_MAX, bytes));
            }
        }
        Ok(())
    }

    /// Four bytes; `None` at the end.
    fn word(&mut self) -> Result<Option<[u8; 4]>, Failure> {
        if self.left < 4 {
            return Ok(None);
        }
        let mut word = [0; 4];
        self.input
            .read_exact(&mut word)
            .map_err(|e| classify(&e, During::Read(&self.shown)))?;
        self.left -= 4;
        Ok(Some(word))
    }

    fn fill(&mut self, into: &mut MutableBuffer, bytes: u64) -> Result<(), Failure> {
        let from = into.len();
        let length = usize::try_from(bytes).map_err(|_| self.cut())?;
        into.resize(from + length, 0);
        self.input
            .read_exact(&mut into[from..])
            .map_err(|e| classify(&e, During::Read(&self.shown)))?;
        self.left -= bytes;
        Ok(())
    }

    fn cut(&self) -> Failure {
        bad_file(&self.shown, "the Arrow data ends too early")
            .hint("look whether it was written to its end")
    }

    fn too_large(&self, name: &str, limit: u64, found: u64) -> Failure {
        let message = format!("`{}` holds a message that is too large", self.shown);
        Failure::new(FailureClass::Limit, code::READ_TOO_LARGE, message)
            .of_limit(name, limit, found)
            .hint("write it with smaller batches")
    }
}

/// Bytes of all buffers of a batch when they are unpacked. `None` when one lies outside of the body.
fn unpacked_bytes(batch: &BatchHeader<'_>, body: &[u8]) -> Option<u64> {
    let packed = batch.compression().is_some();
    let mut total: u64 = 0;
    for buffer in batch.buffers()? {
        let (from, length) = (
            usize::try_from(buffer.offset()).ok()?,
            usize::try_from(buffer.length()).ok()?,
        );
        let bytes = body.get(from..from.checked_add(length)?)?;
        let unpacked = match bytes.first_chunk::<PREFIX_BYTES>() {
            Some(prefix) if packed => match i64::from_le_bytes(*prefix) {
                STORED => bytes.len() as u64,
                length => u64::try_from(length).ok()?,
            },
            Some(_) | None => bytes.len() as u64,
        };
        total = total.checked_add(unpacked)?;
    }
    Some(total)
}

/// Rows of a file.
pub(crate) struct ArrowDecoder {
    messages: Messages,
    places: Vec<usize>,
    batch_rows: usize,
    /// What is left of the last message, which may hold any number of rows.
    rest: Option<RecordBatch>,
}

impl ArrowDecoder {
    pub(crate) fn open(
        blob: &Arc<dyn Blob>,
        shown: &str,
        wanted: &[Wanted],
        batch_rows: usize,
    ) -> Result<Self, Failure> {
        Ok(Self {
            messages: Messages::open(blob, shown)?,
            places: wanted.iter().map(|w| w.place).collect(),
            batch_rows,
            rest: None,
        })
    }
}

impl FileDecode for ArrowDecoder {
    fn next(&mut self) -> Result<Option<Chunk>, Failure> {
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match self.messages.next()? {
                Some(batch) => batch,
                None => return Ok(None),
            },
        };
        let rows = batch.num_rows().min(self.batch_rows);
        if rows < batch.num_rows() {
            self.rest = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        let shown = &self.messages.shown;
        let column = |place: &usize| {
            let found = batch.columns().get(*place);
            found
                .map(|array| array.slice(0, rows))
                .ok_or_else(|| bad_file(shown, "the file changed while it was read"))
        };
        let arrays = self.places.iter().map(column).collect::<Result<_, _>>()?;
        Ok(Some(Chunk::new(arrays, rows)))
    }
}
