//! The part of `zstd` that `arrow-ipc` names. Blocks that cross the boundary are never compressed and the component has no
//! disk to spill to, so each of these ends in an error if it is ever reached.

use std::io::{Error, ErrorKind, Result};

/// No level exists.
#[must_use]
pub fn compression_level_range() -> std::ops::RangeInclusive<zstd_safe::CompressionLevel> {
    1..=0
}

/// Types of the C library.
pub mod zstd_safe {
    /// A level.
    pub type CompressionLevel = i32;
}

fn absent<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "zstd is not part of this component"))
}

/// Whole buffers.
pub mod bulk {
    use std::io::Result;
    use std::marker::PhantomData;

    /// Compresses nothing.
    #[derive(Debug)]
    pub struct Compressor<'a>(PhantomData<&'a ()>);

    impl Compressor<'_> {
        /// # Errors
        /// Always.
        pub fn new(_level: i32) -> Result<Self> {
            super::absent()
        }

        /// # Errors
        /// Always.
        pub fn compress(&mut self, _data: &[u8]) -> Result<Vec<u8>> {
            super::absent()
        }
    }

    /// Decompresses nothing.
    #[derive(Debug)]
    pub struct Decompressor<'a>(PhantomData<&'a ()>);

    impl Decompressor<'_> {
        /// # Errors
        /// Always.
        pub fn new() -> Result<Self> {
            super::absent()
        }

        /// # Errors
        /// Always.
        pub fn decompress(&mut self, _data: &[u8], _capacity: usize) -> Result<Vec<u8>> {
            super::absent()
        }
    }
}
