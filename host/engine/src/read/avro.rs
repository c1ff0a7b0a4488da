//! Avro object container files.
//!
//! Header and blocks are read here, with a limit for each length, and unpacked here; the decoder behind is given the
//! same file without compression.

use std::io::{self, BufReader, Cursor, Read};
use std::sync::Arc;

use arrow_avro::reader::{Reader as AvroReader, ReaderBuilder};
use arrow_schema::SchemaRef;
use flate2::Crc;
use flate2::read::DeflateDecoder;
use odibi_story::failure::{Failure, FailureClass, code};

use super::unify::Described;
use super::{Chunk, FileDecode, Wanted, bad_file, guarded, unpack};
use crate::failure::{During, classify};
use crate::limits::{AVRO_HEADER_BYTES_MAX, BLOCK_BYTES_MAX, ZSTD_WINDOW_LOG_MAX};
use crate::store::Blob;
use crate::store::blob::BlobReader;

const MAGIC: &[u8] = b"Obj\x01";
const SYNC_BYTES: usize = 16;
const BUFFER_BYTES: usize = 256 * 1024;
/// Of a Snappy block, behind its data.
const CHECKSUM_BYTES: usize = 4;
/// A whole number takes no more.
const VARINT_BYTES_MAX: usize = 10;

/// The columns of a file, from its header.
pub(crate) fn describe(blob: &Arc<dyn Blob>, shown: &str) -> Result<Described, Failure> {
    Described::typed(&reader(blob, shown, 1)?.schema(), shown)
}

fn reader(
    blob: &Arc<dyn Blob>,
    shown: &str,
    batch_rows: usize,
) -> Result<AvroReader<BufReader<Plain>>, Failure> {
    let plain = BufReader::with_capacity(BUFFER_BYTES, Plain::open(blob, shown)?);
    guarded(shown, || {
        ReaderBuilder::new()
            .with_batch_size(batch_rows)
            .build(plain)
            .map_err(|e| classify(&e, During::Read(shown)))
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
}

/// The file without compression.
struct Plain {
    input: BufReader<BlobReader>,
    /// Bytes up to the end.
    left: u64,
    codec: Codec,
    sync: [u8; SYNC_BYTES],
    out: Cursor<Vec<u8>>,
    shown: String,
}

impl Plain {
    fn open(blob: &Arc<dyn Blob>, shown: &str) -> Result<Self, Failure> {
        let mut this = Self {
            input: BufReader::with_capacity(BUFFER_BYTES, BlobReader::new(Arc::clone(blob))),
            left: blob.len(),
            codec: Codec::Null,
            sync: [0; SYNC_BYTES],
            out: Cursor::default(),
            shown: shown.to_owned(),
        };
        let magic = this.fetch(MAGIC.len() as u64);
        if magic.ok().as_deref() != Some(MAGIC) {
            return Err(bad_file(shown, "it is no Avro object file"));
        }
        let schema = this.header()?;
        let mut head = MAGIC.to_vec();
        put_long(&mut head, 2);
        for (key, value) in [(&b"avro.schema"[..], &schema[..]), (b"avro.codec", b"null")] {
            put_long(&mut head, key.len() as u64);
            head.extend_from_slice(key);
            put_long(&mut head, value.len() as u64);
            head.extend_from_slice(value);
        }
        head.push(0);
        head.extend_from_slice(&this.sync);
        this.out = Cursor::new(head);
        Ok(this)
    }

    /// Reads the header up to its end, and returns the schema.
    fn header(&mut self) -> Result<Vec<u8>, Failure> {
        let mut room = AVRO_HEADER_BYTES_MAX as u64;
        let mut schema = None;
        loop {
            let mut entries = self.long()?;
            if entries == 0 {
                break;
            }
            if entries < 0 {
                entries = entries.checked_neg().ok_or_else(|| self.damaged())?;
                self.long()?;
            }
            for _ in 0..entries {
                let key = self.bytes(&mut room)?;
                let value = self.bytes(&mut room)?;
                match &key[..] {
                    b"avro.schema" => schema = Some(value),
                    b"avro.codec" => self.codec = self.codec_of(&value)?,
                    _ => {}
                }
            }
        }
        let sync = self.fetch(SYNC_BYTES as u64)?;
        self.sync.copy_from_slice(&sync);
        schema.ok_or_else(|| bad_file(&self.shown, "the Avro file has no schema"))
    }

    fn codec_of(&self, name: &[u8]) -> Result<Codec, Failure> {
        match name {
            b"null" => Ok(Codec::Null),
            b"deflate" => Ok(Codec::Deflate),
            b"snappy" => Ok(Codec::Snappy),
            b"zstandard" => Ok(Codec::Zstandard),
            other => {
                let name = String::from_utf8_lossy(&other[..other.len().min(32)]).into_owned();
                let what =
                    format!("the Avro file has a compression that is not supported: `{name}`");
                Err(bad_file(&self.shown, &what)
                    .hint("write it with `deflate`, `snappy`, `zstandard` or `null`"))
            }
        }
    }

    /// The next block, unpacked. False at the end of the file.
    fn block(&mut self) -> Result<bool, Failure> {
        if self.left == 0 {
            return Ok(false);
        }
        let rows = u64::try_from(self.long()?).map_err(|_| self.damaged())?;
        let bytes = u64::try_from(self.long()?).map_err(|_| self.damaged())?;
        if bytes > BLOCK_BYTES_MAX {
            return Err(self.too_large(bytes));
        }
        let packed = self.fetch(bytes)?;
        let sync = self.fetch(SYNC_BYTES as u64)?;
        if sync != self.sync {
            return Err(self.damaged());
        }
        let data = self.unpack(packed)?;
        // Every row takes a byte, but for those of a schema without values.
        if rows > data.len() as u64 {
            return Err(bad_file(
                &self.shown,
                "an Avro block has more rows than bytes",
            ));
        }
        let mut out = Vec::with_capacity(data.len() + 2 * VARINT_BYTES_MAX + SYNC_BYTES);
        put_long(&mut out, rows);
        put_long(&mut out, data.len() as u64);
        out.extend_from_slice(&data);
        out.extend_from_slice(&self.sync);
        self.out = Cursor::new(out);
        Ok(true)
    }

    fn unpack(&self, packed: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let fault = |e: io::Error| {
            bad_file(&self.shown, "a block of the Avro file is damaged").cause(e.to_string())
        };
        let packed_bytes = packed.len() as u64;
        let mut data = Vec::new();
        match self.codec {
            Codec::Null => return Ok(packed),
            Codec::Deflate => {
                let decoder = DeflateDecoder::new(&packed[..]);
                decoder
                    .take(BLOCK_BYTES_MAX + 1)
                    .read_to_end(&mut data)
                    .map_err(fault)?;
            }
            Codec::Zstandard => {
                let mut decoder = zstd::stream::read::Decoder::new(&packed[..]).map_err(fault)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(fault)?;
                decoder
                    .take(BLOCK_BYTES_MAX + 1)
                    .read_to_end(&mut data)
                    .map_err(fault)?;
            }
            Codec::Snappy => {
                let at = packed.len().checked_sub(CHECKSUM_BYTES);
                let (body, sum) = packed.split_at(at.ok_or_else(|| self.damaged())?);
                let length = snap::raw::decompress_len(body).map_err(|e| fault(e.into()))? as u64;
                if length > BLOCK_BYTES_MAX {
                    return Err(self.too_large(length));
                }
                unpack::check_ratio(packed_bytes, length, &self.shown)?;
                let mut decoder = snap::raw::Decoder::new();
                data = decoder.decompress_vec(body).map_err(|e| fault(e.into()))?;
                let mut crc = Crc::new();
                crc.update(&data);
                if crc.sum().to_be_bytes() != sum {
                    return Err(self.damaged());
                }
            }
        }
        if data.len() as u64 > BLOCK_BYTES_MAX {
            return Err(self.too_large(data.len() as u64));
        }
        unpack::check_ratio(packed_bytes, data.len() as u64, &self.shown)?;
        Ok(data)
    }

    /// A number in zigzag.
    fn long(&mut self) -> Result<i64, Failure> {
        let mut value: u64 = 0;
        for index in 0..VARINT_BYTES_MAX {
            let byte = self.fetch(1)?[0];
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                let half = (value >> 1).cast_signed();
                return Ok(if value & 1 == 0 { half } else { !half });
            }
        }
        Err(self.damaged())
    }

    fn bytes(&mut self, room: &mut u64) -> Result<Vec<u8>, Failure> {
        let length = u64::try_from(self.long()?).map_err(|_| self.damaged())?;
        *room = room
            .checked_sub(length)
            .ok_or_else(|| self.too_large(length))?;
        self.fetch(length)
    }

    fn fetch(&mut self, bytes: u64) -> Result<Vec<u8>, Failure> {
        let left = self.left.checked_sub(bytes).ok_or_else(|| {
            bad_file(&self.shown, "the Avro file ends too early")
                .hint("look whether it was written to its end")
        })?;
        let length = usize::try_from(bytes).map_err(|_| self.damaged())?;
        let mut found = vec![0; length];
        self.input
            .read_exact(&mut found)
            .map_err(|e| classify(&e, During::Read(&self.shown)))?;
        self.left = left;
        Ok(found)
    }

    fn damaged(&self) -> Failure {
        bad_file(&self.shown, "a block of the Avro file is damaged")
    }

    fn too_large(&self, bytes: u64) -> Failure {
        let message = format!("`{}` holds a block that is too large", self.shown);
        Failure::new(FailureClass::Limit, code::READ_TOO_LARGE, message).of_limit(
            "block-bytes",
            BLOCK_BYTES_MAX,
            bytes,
        )
    }
}

fn put_long(out: &mut Vec<u8>, value: u64) {
    let mut rest = value << 1;
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

impl Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.out.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            if !self.block().map_err(io::Error::other)? {
                return Ok(0);
            }
        }
    }
}

/// Rows of a file.
pub(crate) struct AvroDecoder {
    reader: AvroReader<BufReader<Plain>>,
    schema: SchemaRef,
    places: Vec<usize>,
    shown: String,
}

impl AvroDecoder {
    pub(crate) fn open(
        blob: &Arc<dyn Blob>,
        shown: &str,
        wanted: &[Wanted],
        batch_rows: usize,
    ) -> Result<Self, Failure> {
        let reader = reader(blob, shown, batch_rows)?;
        let schema = reader.schema();
        Ok(Self {
            reader,
            schema,
            places: wanted.iter().map(|w| w.place).collect(),
            shown: shown.to_owned(),
        })
    }
}

impl FileDecode for AvroDecoder {
    fn next(&mut self) -> Result<Option<Chunk>, Failure> {
        let (reader, shown) = (&mut self.reader, &self.shown);
        let next = guarded(shown, || {
            reader
                .next()
                .transpose()
                .map_err(|e| classify(&e, During::Read(shown)))
        })?;
        let Some(batch) = next else { return Ok(None) };
        if batch.num_columns() != self.schema.fields().len() {
            return Err(bad_file(shown, "the file changed while it was read"));
        }
        let column = |place: &usize| Arc::clone(batch.column(*place));
        let arrays = self.places.iter().map(column).collect();
        Ok(Some(Chunk::new(arrays, batch.num_rows())))
    }
}
