//! What the parent tells the child before the component: a fixed number of bytes, read before anything untrusted is.

use std::io::{self, Read};

use crate::limits::CompileLimits;

/// Both ends are the same program, so there is one version of this; the magic finds out when they are not.
const MAGIC: u64 = u64::from_le_bytes(*b"odibi-c1");
const WORDS: usize = 6;

/// One compilation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// Settings of the engine that will run the artifact.
    pub(super) settings_hash: u64,
    /// The child ends when its parent is not this process any more.
    pub(super) parent_id: u64,
    /// Bytes of the component, which follows.
    pub(super) component_bytes: u64,
    /// CPU time, all threads together.
    pub(super) cpu_s_max: u64,
    /// Memory in addition to what the program takes before it begins.
    pub(super) memory_bytes_max: u64,
}

impl Terms {
    pub(super) fn new(limits: &CompileLimits, settings_hash: u64, component_bytes: u64) -> Self {
        Self {
            settings_hash,
            parent_id: u64::from(std::process::id()),
            component_bytes,
            cpu_s_max: limits.cpu_s_max(component_bytes),
            memory_bytes_max: limits.memory_bytes_max,
        }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let words: [u64; WORDS] = [
            MAGIC,
            self.settings_hash,
            self.parent_id,
            self.component_bytes,
            self.cpu_s_max,
            self.memory_bytes_max,
        ];
        words.into_iter().flat_map(u64::to_le_bytes).collect()
    }

    /// # Errors
    /// When the input ends early or is something else.
    pub(super) fn read(input: &mut dyn Read) -> io::Result<Self> {
        let mut words = [0; WORDS];
        for word in &mut words {
            let mut bytes = [0; size_of::<u64>()];
            input.read_exact(&mut bytes)?;
            *word = u64::from_le_bytes(bytes);
        }
        let [
            magic,
            settings_hash,
            parent_id,
            component_bytes,
            cpu_s_max,
            memory_bytes_max,
        ] = words;
        if magic != MAGIC {
            return Err(io::Error::other("these are not the words of a parent"));
        }
        Ok(Self {
            settings_hash,
            parent_id,
            component_bytes,
            cpu_s_max,
            memory_bytes_max,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn terms_arrive_as_they_were_sent_and_strangers_are_refused() {
        let terms = Terms::new(&CompileLimits::default(), 7, 8 << 20);
        let bytes = terms.to_bytes();
        assert_eq!(Terms::read(&mut bytes.as_slice()).unwrap(), terms);
        assert!(Terms::read(&mut &bytes[..bytes.len() - 1]).is_err());
        assert!(Terms::read(&mut vec![0; 64].as_slice()).is_err());
    }
}
