//! Counting an access and checking it, before it takes place.

use crate::check::{self, Finding};
use crate::counters::AccessKind;
use crate::exec::code::Op;
use crate::exec::ops::place::{Addresses, Place};
use crate::exec::run::env::{Env, Faulty};
use crate::fault::{Fault, FaultKind};
use crate::lanes::WARP;
use crate::memory::{Allocation, Origin};
use crate::ptx::Space;

/// What an access counts as, and what it is to the checks.
pub(in crate::exec) type Kinds = (AccessKind, check::Kind);
pub(in crate::exec) const LOAD: Kinds = (AccessKind::Load, check::Kind::Read);
pub(in crate::exec) const STORE: Kinds = (AccessKind::Store, check::Kind::Write);
pub(in crate::exec) const ATOMIC: Kinds = (AccessKind::Atomic, check::Kind::Atomic);
/// An atomic of which only the store matters; it may be the first to write its place.
pub(in crate::exec) const SETTING: Kinds = (AccessKind::Atomic, check::Kind::Write);

/// What the value that a lane writes is compared with.
#[derive(Clone, Copy, PartialEq)]
pub(in crate::exec) enum Against {
    /// What another lane writes there in the same instruction.
    Lane(usize),
    /// What is there already.
    Memory,
}

/// See [`check::Access`].
#[derive(Clone, Copy)]
pub(in crate::exec) struct Strength {
    pub strong: bool,
    pub warp_only: bool,
}

/// A warp's access: who does it and where in the text, what it is, and the bytes of each lane.
#[derive(Clone, Copy)]
pub(in crate::exec) struct Looked<'a> {
    pub warp: u32,
    pub op: &'a Op,
    pub pc: u32,
    pub kinds: Kinds,
    pub bytes: u32,
    pub strength: Strength,
}

impl Looked<'_> {
    #[inline(always)]
    fn access(&self, mask: u32) -> check::Access {
        let Looked { warp, op, bytes, strength: Strength { strong, warp_only }, .. } = *self;
        check::Access { warp, mask, bytes, kind: self.kinds.1, strong, warp_only, line: op.line }
    }

    /// As [`Looked::at`], where bytes that nobody wrote may not be read.
    #[inline(always)]
    pub fn observe(
        &self,
        env: &mut Env<'_, '_>,
        place: &Place<'_>,
        at: &Addresses,
        same_value: &dyn Fn(usize, Against) -> bool,
    ) -> Faulty<()> {
        self.at(env, place, at, same_value)?.map_or(Ok(()), Err)
    }

    /// Counts an access and looks at it: unwritten bytes, races, pending copies. `same_value` compares what lanes write. Gives
    /// the fault of a load that reads bytes which nobody wrote, for when they are used.
    #[inline(always)]
    pub fn at(
        &self,
        env: &mut Env<'_, '_>,
        place: &Place<'_>,
        at: &Addresses,
        same_value: &dyn Fn(usize, Against) -> bool,
    ) -> Faulty<Option<Box<Fault>>> {
        match (place.space, place.allocation) {
            (Space::Shared, _) => self.in_shared(env, &place.offsets.map(|o| o as u32), place.mask, same_value),
            (Space::Global, Some(allocation)) => self.in_global(env, place, allocation, at, same_value),
            _ => {
                if let (Some(_), Some(chain)) = (&env.counters, &mut env.chain) {
                    chain.access(self.pc, (place.space, self.kinds.0), at, place.mask, self.bytes);
                }
                Ok(None)
            }
        }
    }

    /// The same in shared memory: the lanes of `mask` at these offsets.
    #[inline(always)]
    pub fn in_shared(
        &self,
        env: &mut Env<'_, '_>,
        offsets: &[u32; WARP],
        mask: u32,
        same_value: &dyn Fn(usize, Against) -> bool,
    ) -> Faulty<Option<Box<Fault>>> {
        if let Some(counters) = &mut env.counters {
            counters.shared(self.pc, self.kinds.0, offsets, mask, self.bytes);
            if let Some(chain) = &mut env.chain {
                chain.access_shared(self.pc, self.kinds.0);
            }
        }
        let Some(checks) = &mut env.checks else { return Ok(None) };
        let access = self.access(mask);
        match checks.shared_store(&access, offsets, &|lane| same_value(lane as usize, Against::Memory)) {
            Ok(()) => Ok(None),
            // What the system keeps there was set when the block started.
            Err(finding)
                if finding.what == check::What::UninitialisedShared && env.grid.is_reserved(finding.address) =>
            {
                let set = check::Access { kind: check::Kind::Write, strong: true, ..access };
                match checks.shared(&set, offsets) {
                    Ok(()) => Ok(None),
                    Err(finding) => self.judge(env, finding, None, &offsets.map(u64::from), mask, same_value),
                }
            }
            Err(finding) => self.judge(env, finding, None, &offsets.map(u64::from), mask, same_value),
        }
    }

    #[inline(always)]
    fn in_global(
        &self,
        env: &mut Env<'_, '_>,
        place: &Place<'_>,
        allocation: &Allocation,
        at: &Addresses,
        same_value: &dyn Fn(usize, Against) -> bool,
    ) -> Faulty<Option<Box<Fault>>> {
        let (counted, kind) = self.kinds;
        if let Some(counters) = &mut env.counters {
            counters.global(self.pc, counted, at, place.mask, self.bytes);
            if let Some(chain) = &mut env.chain {
                chain.access(self.pc, (place.space, counted), at, place.mask, self.bytes);
            }
        }
        let Some(checks) = &mut env.checks else { return Ok(None) };
        let access = self.access(place.mask);
        let mut known = access;
        let mut unwritten = None;
        if kind != check::Kind::Write && allocation.may_be_unwritten() && !all_written(place, allocation, self.bytes) {
            for lane in (0..WARP).filter(|l| place.mask >> l & 1 == 1) {
                let offset = place.offsets[lane] as usize;
                if let Some(byte) = allocation.unwritten(offset, self.bytes as usize) {
                    // Whether that read matters depends on what becomes of the value.
                    known.mask &= !(1 << lane);
                    let address = allocation.base + byte as u64;
                    unwritten.get_or_insert((1 << lane, address, byte));
                }
            }
        }
        // Constants and variables that are only read cannot race.
        let found = match allocation.origin {
            Origin::Constant(_) => Ok(()),
            _ => checks.global_store(&known, at, &|lane| same_value(lane as usize, Against::Memory)),
        };
        match (unwritten, found) {
            (None, Ok(())) => Ok(None),
            (None, Err(finding)) => self.judge(env, finding, Some(allocation), at, place.mask, same_value),
            (Some((lanes, address, byte)), found) => {
                let what =
                    format!("reads {address:#x}, byte {byte} of {}, which nobody has written", allocation.describe());
                let fault = env.fault(FaultKind::Uninitialised, self.warp, self.op, lanes, Some(address), what);
                match (found, kind) {
                    (Ok(()), check::Kind::Read) => Ok(Some(fault)),
                    _ => Err(fault),
                }
            }
        }
    }

    /// What a finding comes to: a fault at once, a fault once the value is used, or a note.
    #[cold]
    fn judge(
        &self,
        env: &Env<'_, '_>,
        finding: Finding,
        allocation: Option<&Allocation>,
        at: &Addresses,
        mask: u32,
        same_value: &dyn Fn(usize, Against) -> bool,
    ) -> Faulty<Option<Box<Fault>>> {
        let fault = |finding| env.finding(finding, self.warp, self.op, allocation);
        match finding.what {
            check::What::SameInstructionWrite => {}
            check::What::UninitialisedShared if self.kinds.1 == check::Kind::Read => return Ok(Some(fault(finding))),
            check::What::SameValueWrite => {
                env.note(self.op.line, finding.other.map_or(0, |o| o.line), finding.text);
                return Ok(None);
            }
            _ => return Err(fault(finding)),
        }
        // The finding names the first two lanes; those may agree and later ones differ from them.
        let lanes = || (0..WARP).filter(|l| mask >> l & 1 == 1);
        let differs = |&lane: &usize, first: usize| at[lane] == at[first] && !same_value(lane, Against::Lane(first));
        for first in lanes() {
            if let Some(lane) = lanes().filter(|&l| l > first).find(|l| differs(l, first)) {
                return Err(fault(finding.between(&self.access(mask), lane as u32, first as u32, at[lane])));
            }
        }
        let line = self.op.line;
        let text = env.grid.code.text(line).trim();
        env.note(line, line, format!("several lanes write the same value at line {line} (`{text}`)"));
        Ok(None)
    }
}

/// Whether a row without gaps was all written: one look for all lanes.
#[inline(always)]
fn all_written(place: &Place<'_>, allocation: &Allocation, bytes: u32) -> bool {
    place.is_consecutive(bytes) && allocation.unwritten(place.offsets[0] as usize, WARP * bytes as usize).is_none()
}
