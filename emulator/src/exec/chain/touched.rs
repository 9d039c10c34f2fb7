//! Which lines of global memory a block has touched: those may be in L1.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use crate::counters::sectors::Multiply;
use crate::lanes::WARP;

/// Bytes of a line of L1.
const LINE: u64 = 128;
/// Lines of a word.
const LINES: u64 = 64;

/// The lines, a bit each.
#[derive(Debug, Clone, Default)]
pub(super) struct Touched(HashMap<u64, u64, BuildHasherDefault<Multiply>>);

impl Touched {
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Marks what the lanes of `mask` touch; whether any line of it is new.
    pub fn touch(&mut self, addresses: &[u64; WARP], mask: u32, bytes: u32) -> bool {
        let (mut word, mut lines, mut fresh) = (0, 0u64, false);
        let mut left = mask;
        while left != 0 {
            let address = addresses[left.trailing_zeros() as usize];
            left &= left - 1;
            let (first, last) = (address / LINE, address.saturating_add(u64::from(bytes).max(1) - 1) / LINE);
            for line in first..=last {
                if line / LINES != word {
                    fresh |= self.mark(word, lines);
                    (word, lines) = (line / LINES, 0);
                }
                lines |= 1 << (line % LINES);
            }
        }
        self.mark(word, lines) | fresh
    }

    fn mark(&mut self, word: u64, lines: u64) -> bool {
        if lines == 0 {
            return false;
        }
        let known = self.0.entry(word).or_insert(0);
        let fresh = lines & !*known != 0;
        *known |= lines;
        fresh
    }
}
