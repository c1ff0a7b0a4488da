//! A hash for maps and sets of a session: quick, and the same in every run, so that metered work is.
//!
//! It does not withstand keys that somebody chose to collide; what they cost is the guest's CPU time, which has a limit.

use std::hash::{BuildHasherDefault, Hasher};

/// For `HashMap::with_hasher` and its like.
pub type BuildQuick = BuildHasherDefault<Quick>;

/// 64 bits of the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Of another look, so that one does not undo the other.
const MIX: u64 = 0xd6e8_feb8_6659_fd93;

/// Takes words of eight bytes, and mixes once at the end. Two different words never have the same hash.
#[derive(Debug, Default, Clone, Copy)]
pub struct Quick(u64);

impl Quick {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(SPREAD);
    }
}

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let last = rest.iter().rev();
            self.add(last.fold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.add(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.add(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.add(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.add(value as u64);
    }

    /// Maps take the place from the lowest bits and compare the highest: both must depend on all.
    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ self.0 >> 32).wrapping_mul(MIX);
        mixed ^ mixed >> 29
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{BuildHasher as _, Hash};

    use super::*;

    fn hash(value: impl Hash) -> u64 {
        BuildQuick::default().hash_one(value)
    }

    #[test]
    fn it_is_the_same_in_every_run() {
        assert_eq!(hash(1_u64), 0x17fb_89ee_35ed_72b0);
        assert_eq!(
            hash(b"a text of some length".as_slice()),
            0x3e92_68c8_c178_6d89
        );
    }

    /// Numbers in a row, multiples of powers of two, floats, short texts, pairs: dice would reach 2589 of the 4096 places, and
    /// all 128 tags.
    #[test]
    fn places_are_spread() {
        const COUNT: u64 = 4096;
        let check = |what: &str, hashes: Vec<u64>| {
            let places: HashSet<u64> = hashes.iter().map(|h| h % COUNT).collect();
            let tags: HashSet<u64> = hashes.iter().map(|h| h >> 57).collect();
            assert!(places.len() > 2250, "{what}: {} places", places.len());
            assert_eq!(tags.len(), 128, "{what}");
        };
        check("in a row", (0..COUNT).map(hash).collect());
        for shift in [8, 16, 20, 32, 40, 48, 52] {
            let what = format!("shifted by {shift}");
            check(&what, (0..COUNT).map(|n| hash(n << shift)).collect());
        }
        let floats = (0..COUNT).map(|n| hash((n as f64 / 100.0).to_bits()));
        check("floats", floats.collect());
        let texts = (0..COUNT).map(|n| hash(format!("article-{n:07}").as_bytes()));
        check("texts", texts.collect());
        let pairs = (0..COUNT).map(|n| hash(u128::from(n % 64) << 64 | u128::from(n / 64)));
        check("pairs", pairs.collect());
    }

    #[test]
    fn length_and_zeros_count() {
        let zeros = [0_u8; 40];
        let hashes: HashSet<u64> = (0..=zeros.len()).map(|l| hash(&zeros[..l])).collect();
        assert_eq!(hashes.len(), zeros.len() + 1);
    }
}
