//! Randomness from a seed (SplitMix64), so that what went wrong can be repeated.

#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`; 0 when `n` is 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % (n.max(1) as u64)).unwrap()
    }

    /// True once in `n` times.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A number that somebody may have forgotten to think of, often one near `true_one`.
    pub(crate) fn number(&mut self, true_one: i64) -> i64 {
        const EXTREME: [i64; 16] = [
            0,
            1,
            -1,
            -8,
            7,
            8,
            64,
            255,
            65_536,
            i32::MAX as i64,
            i32::MIN as i64,
            1 << 32,
            1 << 60,
            i64::MAX,
            i64::MIN,
            i64::MAX - 7,
        ];
        let steps = [1, -1, 8, -8, 2, 4, 16, 64, -64, 1_000];
        match self.below(4) {
            0 => true_one.wrapping_add(self.pick(&steps)),
            1 => true_one.wrapping_mul(self.pick(&[2, 3, -1, 8, 1_000_000])),
            _ => self.pick(&EXTREME),
        }
    }
}
