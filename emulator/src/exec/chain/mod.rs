//! How long a block takes at least because results take time: the longest chain of dependent instructions, in clocks.
//!
//! Each register of a warp has a time at which it is ready. An instruction issues when all that it reads is, and what it writes is ready
//! after its [latency](crate::profile::Latencies). PTX is not the order in which machine code issues: the assembler moves instructions.
//! So only this much order is kept: what stands in one round of a loop, or between loops, takes as many clocks as it has instructions
//! and issues before the round's backward branch does; no access to memory moves across a barrier or a wait for copies. Warps meet at
//! their block's barriers, and behind one no warp accesses memory before the last has come. So the block's time is what it would take
//! if every warp had its multiprocessor for itself; it is a lower bound, and says nothing of how many warps there are to wait for.
//!
//! What is left out makes it shorter, never longer:
//!
//! - Memory passes no times on, but through barriers: a load does not wait for the store of what it reads. Forward branches, which the
//!   assembler may turn into predicates, hold nothing back.
//! - A load takes L1's time if its block has touched the 128-byte line before, else L2's; device memory's is never taken. On hardware
//!   another block of the multiprocessor may have brought a line too, but about as late as this one would have.
//! - A loop that waits for another thread (the same strong load, atomic or `mbarrier` wait once more, and nothing stored in between)
//!   counts as if its first look had succeeded: how often it looks is the emulator's affair, not the hardware's.
//! - In cooperative launches all blocks are resident, and a word of memory to which every block has added k times is a barrier of the
//!   grid: whoever looks at it after its own k-th addition waits for the latest of these.
//!
//! Where a warp's lanes part, a register has one time for all of them, so that what both sides do with it adds up, as hardware runs one
//! side after the other. A kernel that reads a clock may wait for it, so that none of its times would mean anything: it has no chain. A loop in which all
//! warps of a block look for something and agree at a barrier is not recognised, and counts as often as the emulator went round.

mod arrivals;
mod block;
mod steps;
mod touched;
mod warp;

use crate::counters::Wait;
use crate::exec::code::{Action, Code};
use crate::options::Options;
use crate::profile::{self, Profile};

pub(in crate::exec) use arrivals::{Arrivals, Words};
pub(in crate::exec) use block::{BlockChain, Running};
pub(in crate::exec) use steps::Steps;

/// The latencies to follow, in clocks.
#[derive(Debug, Clone, Copy)]
pub(in crate::exec) struct Latencies {
    all: profile::Latencies,
    /// Those of results that do not come from memory, by [`place`].
    fixed: [u32; PLACES],
}

/// Places of [`Latencies::fixed`].
const PLACES: usize = 9;

/// Where a result's latency stands among the fixed ones; what comes from memory has none yet.
fn place(wait: Wait) -> u8 {
    match wait {
        Wait::Nothing | Wait::Memory { .. } => 0,
        Wait::Arithmetic => 1,
        Wait::Special => 2,
        Wait::ShortProduct => 3,
        Wait::Product => 4,
        Wait::Shuffle => 5,
        Wait::Matrices(count) => 6 + count.min(2),
    }
}

impl Latencies {
    /// None where nobody counts, or a clock is read.
    pub fn of(options: &Options, profile: &Profile, code: &Code) -> Option<Latencies> {
        let clock = || code.ops.iter().any(|op| matches!(op.action, Action::Clock(_)));
        let all = profile.latencies;
        let profile::Latencies { arithmetic, special, short_product, product, shuffle, matrices: [x1, x2, x4], .. } =
            all;
        let fixed = [0, arithmetic, special, short_product, product, shuffle, x1, x2, x4];
        (options.counters && !clock()).then_some(Latencies { all, fixed })
    }
}
