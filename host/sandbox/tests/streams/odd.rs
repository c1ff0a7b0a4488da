//! What a fuzz runner asks of chance besides.

use crate::random::Random;

impl Random {
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
