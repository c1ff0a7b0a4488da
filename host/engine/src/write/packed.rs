//! A file of text that may be compressed as a whole. The same text gives the same bytes: no times, no names.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use flate2::write::GzEncoder;
use odibi_plan::plan::TextCompression;
use odibi_story::failure::Failure;

use crate::failure::{During, classify};

const ZSTD_LEVEL: i32 = 3;

/// Takes text.
pub(crate) enum Packed {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl Packed {
    pub(crate) fn new(
        file: BufWriter<File>,
        compression: TextCompression,
        shown: &str,
    ) -> Result<Self, Failure> {
        Ok(match compression {
            TextCompression::None => Self::Plain(file),
            TextCompression::Gzip => {
                Self::Gzip(GzEncoder::new(file, flate2::Compression::default()))
            }
            TextCompression::Zstd => {
                let encoder = zstd::Encoder::new(file, ZSTD_LEVEL).and_then(|mut encoder| {
                    encoder.include_checksum(true)?;
                    Ok(encoder)
                });
                Self::Zstd(encoder.map_err(|e| classify(&e, During::Write(shown)))?)
            }
        })
    }

    /// Writes what is left.
    pub(crate) fn finish(self, shown: &str) -> Result<(), Failure> {
        let file = match self {
            Self::Plain(file) => Ok(file),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        };
        file.and_then(|mut file| file.flush())
            .map_err(|e| classify(&e, During::Write(shown)))
    }
}

impl Write for Packed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}
