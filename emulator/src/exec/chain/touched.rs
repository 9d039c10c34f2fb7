//! Which lines of global memory a block has touched: those may be in L1.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use crate::counters::sectors::{Multiply, regular};
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
        let bytes = u64::from(bytes).max(1);
        let last = |address: u64| address.saturating_add(bytes - 1) / LINE;
        if mask == u32::MAX && regular(addresses, bytes) {
            return self.range(addresses[0] / LINE, last(addresses[WARP - 1]));
        }
        let (mut word, mut lines, mut fresh) = (0, 0u64, false);
        let mut left = mask;
        while left != 0 {
            let address = addresses[left.trailing_zeros() as usize];
            left &= left - 1;
            for line in address / LINE..=last(address) {
                if line / LINES != word {
                    fresh |= self.mark(word, lines);
                    (word, lines) = (line / LINES, 0);
                }
                lines |= 1 << (line % LINES);
            }
        }
        self.mark(word, lines) | fresh
    }

    /// Marks the lines from `first` to `last`; none if a row runs over the end of all addresses.
    fn range(&mut self, first: u64, last: u64) -> bool {
        let mut fresh = false;
        let mut line = first;
        while line <= last {
            let end = last.min(line | (LINES - 1));
            fresh |= self.mark(line / LINES, u64::MAX >> (LINES - 1 - (end - line)) << (line % LINES));
            line = end + 1;
        }
        fresh
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
