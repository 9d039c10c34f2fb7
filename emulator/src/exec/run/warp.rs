//! A warp: 32 lanes that run together where they can.
//!
//! Lanes at the same instruction form a group. Of a warp's groups the one furthest behind runs, and groups that meet
//! merge: code that the compiler laid out in order reconverges where its branches do. A group that loops while others
//! wait gives them a turn now and then, so that lanes may wait for each other (PTX ISA section 3.1).

use super::env::{Env, Faulty};
use super::marks::Marks;
use crate::exec::code::Op;
use crate::fault::Fault;
use crate::lanes::{Lanes, Slot, WARP};
use crate::memory::Cells;

/// Backward branches that a group takes before the warp's other groups get a turn, and how long that is.
pub(super) const PATIENCE: u32 = 4096;
pub(super) const TURN: u64 = 4096;

/// What a group waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::exec) enum State {
    /// Nothing.
    Ready,
    /// At a warp operation, for the other lanes of its mask.
    Gather { mask: u32 },
    /// Behind a block barrier.
    Barrier { id: u32 },
}

/// Lanes at one place.
#[derive(Debug, Clone, Copy)]
pub(in crate::exec) struct Group {
    pub pc: u32,
    pub mask: u32,
    pub state: State,
    /// The operation that it waits at.
    pub at: u32,
}

/// Why a warp stops.
pub(in crate::exec) enum Stop {
    /// All lanes have ended.
    Done,
    /// Every group waits.
    Blocked,
    /// Its turn is over.
    Slice,
    /// Some lanes reached the barrier at this operation; they are parked behind it.
    Barrier { at: u32, mask: u32 },
}

/// One warp of a block.
pub(in crate::exec) struct Warp {
    pub index: u32,
    pub lanes: Lanes,
    pub local: Cells,
    /// A byte for each of local memory: written yet?
    pub local_written: Option<Cells>,
    /// Lanes that have not ended, and where those that have did.
    pub alive: u32,
    pub ended_at: [u32; WARP],
    pub groups: Vec<Group>,
    /// Registers whose value is of bytes that nobody wrote, while there are any.
    pub(super) marks: Option<Box<Marks>>,
    /// Instructions so far: also the clock.
    pub executed: u64,
    pub(super) patience: u32,
}

impl Warp {
    pub fn new(index: u32, lanes: Lanes, local: Cells, local_written: Option<Cells>) -> Warp {
        let (ended_at, groups) = ([0; WARP], Vec::with_capacity(4));
        let (marks, patience) = (None, PATIENCE);
        Warp { index, lanes, local, local_written, alive: 0, ended_at, groups, marks, executed: 0, patience }
    }

    /// Starts over with these lanes.
    pub fn start(&mut self, alive: u32) {
        self.lanes.reset();
        self.alive = alive;
        self.executed = 0;
        self.patience = PATIENCE;
        self.marks = None;
        self.groups.clear();
        self.groups.push(Group { pc: 0, mask: alive, state: State::Ready, at: 0 });
        if let Some(written) = &self.local_written {
            written.fill(0, written.bytes(), 0);
        }
    }

    pub fn is_ready(&self) -> bool {
        self.groups.iter().any(|g| g.state == State::Ready)
    }

    /// Lets groups that waited behind a barrier go on.
    pub fn release(&mut self, barrier: u32) {
        for group in &mut self.groups {
            if group.state == (State::Barrier { id: barrier }) {
                group.state = State::Ready;
            }
        }
    }

    /// Takes the ready group that is furthest behind, with all that are at the same place; or, for a turn, the one
    /// furthest ahead.
    pub(super) fn take(&mut self, ahead: bool) -> Option<(u32, u32)> {
        let ready = self.groups.iter().filter(|g| g.state == State::Ready).map(|g| g.pc);
        let pc = if ahead { ready.max() } else { ready.min() }?;
        let mut mask = 0;
        self.groups.retain(|g| {
            let here = g.pc == pc && matches!(g.state, State::Ready | State::Gather { .. });
            mask |= if here { g.mask } else { 0 };
            !here
        });
        Some((pc, mask))
    }

    /// The next place ahead where other lanes are.
    pub(super) fn meeting(&self, pc: u32) -> u32 {
        let waiting = self.groups.iter().filter(|g| g.pc > pc && !matches!(g.state, State::Barrier { .. }));
        waiting.map(|g| g.pc).min().unwrap_or(u32::MAX)
    }

    pub(super) fn park(&mut self, pc: u32, mask: u32, state: State, at: u32) {
        if mask != 0 {
            self.groups.push(Group { pc, mask, state, at });
        }
    }

    /// Ends lanes; those who wait for them look again.
    pub fn end(&mut self, lanes: u32, line: u32) {
        self.alive &= !lanes;
        for lane in (0..WARP).filter(|l| lanes >> l & 1 == 1) {
            self.ended_at[lane] = line;
        }
        if lanes != 0 {
            for group in self.groups.iter_mut().filter(|g| matches!(g.state, State::Gather { .. })) {
                group.state = State::Ready;
            }
        }
    }

    /// See [`Marks::follow`].
    ///
    /// # Errors
    /// A marked value reaches a store, an address or a branch.
    #[cold]
    pub fn follow(&mut self, env: &Env<'_, '_>, op: &Op, pc: u32, mask: u32, exec: u32) -> Faulty<()> {
        let Some(mut marks) = self.marks.take() else { return Ok(()) };
        marks.follow(&self.lanes, env, op, pc, (mask, exec))?;
        self.marks = Some(marks).filter(|m| !m.is_empty());
        Ok(())
    }

    /// See [`Marks::mark`].
    #[cold]
    pub fn mark(&mut self, fault: Fault, registers: impl Iterator<Item = (Slot, u32)>) {
        let mut marks = self.marks.take().unwrap_or_default();
        marks.mark(fault, registers);
        self.marks = Some(marks).filter(|m| !m.is_empty());
    }

    /// Whether any register holds values of bytes that nobody wrote.
    #[inline(always)]
    pub fn is_marked(&self) -> bool {
        self.marks.is_some()
    }

    /// The lanes of a register that hold such values.
    pub fn marked(&self, slot: Slot) -> u32 {
        self.marks.as_ref().map_or(0, |m| m.lanes(slot))
    }
}
