//! `shfl.sync`: which lane reads which (PTX ISA section 9.7.9.6).

use crate::lanes::WARP;

/// Which lane a shuffle reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shuffle {
    /// `.up`
    Up,
    /// `.down`
    Down,
    /// `.bfly`
    Butterfly,
    /// `.idx`
    Index,
}

impl Shuffle {
    /// The lane that a shuffle reads, by the ISA's formulas: the segment of a lane is given by the upper bits of the clamp
    /// operand. Where they point outside, that is the lane itself, and the second is false.
    pub fn source(self, lane: usize, b: u32, c: u32) -> (usize, bool) {
        let (own, delta) = (lane as i32, (b & 31) as i32);
        let (limit, segment) = ((c & 31) as i32, (c >> 8 & 31) as i32);
        let last = (own & segment) | (limit & !segment);
        let first = own & segment;
        let (from, valid) = match self {
            Shuffle::Up => (own - delta, own - delta >= last),
            Shuffle::Down => (own + delta, own + delta <= last),
            Shuffle::Butterfly => (own ^ delta, own ^ delta <= last),
            Shuffle::Index => {
                let from = first | (delta & !segment);
                (from, from <= last)
            }
        };
        (if valid { from as usize % WARP } else { lane }, valid)
    }
}
