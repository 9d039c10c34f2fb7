//! What the operations of a block work with: the launch that all its blocks share, shared memory, checks, counters; and the way a
//! fault goes out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::check::{BlockChecks, FenceScope, Finding, LaunchChecks, What};
use crate::counters::Counters;
use crate::exec::Launch;
use crate::exec::chain::{Arrivals, BlockChain, Latencies};
use crate::exec::code::{Code, File, Op, dynamic_start};
use crate::fault::{Fault, FaultKind};
use crate::lanes::{Slot, WARP};
use crate::memory::{Allocation, Cells, GlobalMemory, SHARED_WINDOW};
use crate::options::Options;
use crate::profile::Profile;

/// A fault on its way out.
pub(in crate::exec) type Faulty<T> = Result<T, Box<Fault>>;

/// Bytes of shared memory that the system keeps in every block: on hardware in front of all else, here behind it, and
/// only for kernels that ask where it is (cooperative groups keep the barriers of tiles of several warps there).
pub(in crate::exec) const RESERVED: u32 = 1024;

/// What all blocks of a launch share.
pub(in crate::exec) struct Grid<'a> {
    pub kernel: &'a str,
    pub code: &'a Code,
    /// Where its registers lie.
    pub file: &'a File,
    pub launch: &'a Launch,
    pub options: &'a Options,
    pub profile: &'a Profile,
    pub global: &'a GlobalMemory,
    pub parameters: &'a Cells,
    pub checks: Option<Arc<LaunchChecks>>,
    /// The launch's number, `%gridid`.
    pub serial: u64,
    /// Address of the cooperative launch's barrier.
    pub workspace: u64,
    /// What the kernel printed.
    pub printed: Mutex<String>,
    /// What is worth a note and no fault, by the lines concerned: of each pair of lines the first in order of text.
    pub notes: Mutex<BTreeMap<(u32, u32), String>>,
    /// How long results take, if that is followed.
    pub latencies: Option<Latencies>,
    /// What blocks have added to words that they may wait at.
    pub arrivals: Arrivals,
}

impl<'a> Grid<'a> {
    /// An operation's operands.
    #[inline(always)]
    pub fn operands(&self, op: &Op) -> &'a [Slot] {
        &self.file.slots[op.slots.0 as usize..op.slots.1 as usize]
    }

    /// Shared memory of a block that is the kernel's own.
    fn own_shared_bytes(&self) -> u64 {
        let fixed = u64::from(self.code.static_shared);
        let dynamic = u64::from(self.launch.dynamic_shared);
        if dynamic > 0 { dynamic_start(fixed) + dynamic } else { fixed }
    }

    /// Where the system's part of shared memory starts.
    pub fn reserved_start(&self) -> u32 {
        self.own_shared_bytes().next_multiple_of(RESERVED.into()) as u32
    }

    /// Whether this byte of shared memory is the system's.
    pub fn is_reserved(&self, offset: u64) -> bool {
        offset >= self.reserved_start().into()
    }

    /// Shared memory of a block.
    pub fn shared_bytes(&self) -> usize {
        if self.code.specials.iter().any(|(special, _)| special.is_reserved_smem()) {
            (self.reserved_start() + RESERVED) as usize
        } else {
            self.own_shared_bytes() as usize
        }
    }
}

/// What the operations of one block work with.
pub(in crate::exec) struct Env<'a, 'b> {
    pub grid: &'a Grid<'a>,
    pub shared: &'a Cells,
    pub checks: Option<&'b mut BlockChecks>,
    pub counters: Option<&'b mut Counters>,
    /// Only beside counters.
    pub chain: Option<&'b mut BlockChain>,
    /// Index in the grid.
    pub block: [u32; 3],
}

/// The checks' scope of a fence.
pub(in crate::exec) fn scope(wide: bool) -> FenceScope {
    if wide { FenceScope::Gpu } else { FenceScope::Block }
}

impl Env<'_, '_> {
    /// A fault of the lowest lane of `lanes`.
    pub fn fault(
        &self,
        kind: FaultKind,
        warp: u32,
        op: &Op,
        lanes: u32,
        address: Option<u64>,
        what: String,
    ) -> Box<Fault> {
        let lane = lanes.trailing_zeros() % WARP as u32;
        Box::new(Fault {
            kind,
            kernel: self.grid.kernel.into(),
            line: op.line,
            text: self.grid.code.text(op.line).trim().into(),
            block: self.block,
            warp,
            lane,
            thread: thread(self.grid.launch.block, warp * WARP as u32 + lane),
            address,
            what,
        })
    }

    /// Takes a note about two lines.
    pub fn note(&self, line: u32, other: u32, what: String) {
        let lines = (line.min(other), line.max(other));
        let mut notes = self.grid.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = notes.entry(lines).or_insert_with(|| what.clone());
        if what < *known {
            *known = what;
        }
    }

    /// What the checks found, as a fault: in this allocation, or in shared memory.
    pub fn finding(&self, finding: Finding, warp: u32, op: &Op, allocation: Option<&Allocation>) -> Box<Fault> {
        let kind = match finding.what {
            What::SharedRace | What::GlobalRace | What::SameInstructionWrite => FaultKind::Race,
            What::SameValueWrite => FaultKind::Race,
            What::UninitialisedShared => FaultKind::Uninitialised,
            What::AsyncCopyNotWaited => FaultKind::AsyncCopy,
        };
        let (address, allocation) = match allocation {
            None => (SHARED_WINDOW + finding.address, String::new()),
            Some(found) => (finding.address, format!(", in {}", found.describe())),
        };
        let what = format!("{}{allocation}", finding.text);
        self.fault(kind, warp, op, 1 << finding.lane, Some(address), what)
    }
}

/// A thread's index in a block of this shape.
pub(in crate::exec) fn thread(shape: [u32; 3], linear: u32) -> [u32; 3] {
    let [x, y, _] = shape;
    [linear % x, linear / x % y, linear / x / y]
}
