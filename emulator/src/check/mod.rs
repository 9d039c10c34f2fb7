//! Checks while a kernel runs: data races in shared and global memory, reads of shared memory that nobody wrote, and
//! asynchronous copies whose destination is touched before the wait.
//!
//! Two accesses to a byte by different threads, at least one of them a write, race unless both are strong or one
//! happens before the other (PTX ISA sections 8.7 to 8.9). Happens-before is program order, block barriers,
//! `bar.warp.sync`, and fences with strong accesses between them: what a warp did before a fence is released by its
//! strong writes after it, and acquired by whoever reads one of those strongly and then passes a fence. Running in
//! lockstep orders nothing, and neither do shuffles and votes.
//!
//! [`LaunchChecks`] belongs to a launch and [`BlockChecks`] to a resident block. Each call must come before the access
//! it announces.
//!
//! # What may be missed
//!
//! A finding is always a race of the program that ran (for the one exception see below). Not every race is found:
//!
//! - What one lane acquires through a fence or a block barrier its whole warp knows, and what one lane releases
//!   includes all that its warp did. Only `bar.warp.sync` is tracked for each lane.
//! - Volatile reads of shared memory from which a predicate is computed count as strong, be they data or flags.
//! - Writes of the value that is there already are told ([`What::SameValueWrite`]), not as a race.
//! - A block barrier acquires what strong reads before it took up, without a fence of the reader, and lets every
//!   participant release what any of them had fenced. Programs rely on both.
//! - A strong write adds to what earlier writes to the same eight bytes released, as if it had read them. What is
//!   acquired is looked up when the reader next does a strong access or passes a fence or barrier, and may be of later.
//! - Scopes of strong accesses are taken as wide enough; accesses of different sizes are strong towards each other. A
//!   fence orders both ways, an acquire or release alone does too.
//! - Of neighbouring lanes that read the same place in one instruction, the first and the last are looked at.
//! - Of the readers that nothing orders, two are remembered, if possible of two warps. Of the strong writes that
//!   nothing orders, the last; a strong access also hides a weak one of the same thread to the same bytes.
//! - The PTX line of the other access is 0 past line 524287.
//!
//! The exception: `fence.sc` orders no more than other fences here, so that weak accesses guarded by a protocol that
//! relies on its total order (Dekker's, Peterson's) are reported.

mod block;
mod clock;
mod copies;
mod finding;
mod group;
mod launch;
mod shadow;
mod stamp;
mod warp;

pub use block::BlockChecks;
pub use finding::{Finding, Other, What};
pub use launch::LaunchChecks;

use crate::lanes::WARP;

/// What an access does to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Reads and writes in one; always strong.
    Atomic,
}

/// One memory instruction of a warp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The warp, counted in its block; below 32.
    pub warp: u32,
    /// Lanes that take part.
    pub mask: u32,
    /// Bytes of each lane: 1, 2, 4, 8 or 16.
    pub bytes: u32,
    /// What it does.
    pub kind: Kind,
    /// Volatile, relaxed, acquire or release (PTX ISA section 8.4); atomics are in any case.
    pub strong: bool,
    /// A volatile read that no thread waits with: strong towards its own warp, where old code relies on lockstep, and weak
    /// towards the other warps of the block, which only a barrier puts in order.
    pub warp_only: bool,
    /// Line of the PTX file.
    pub line: u32,
}

/// The threads that a fence concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FenceScope {
    /// Those of the block: `.cta`.
    Block,
    /// All of the device: `.cluster`, `.gpu` and `.sys`.
    Gpu,
}
