//! Barriers that are objects in shared memory (PTX ISA section 9.7.13.15), and the bulk copies that report to them.
//!
//! An object counts arrivals down; when none is pending and no byte of a copy is outstanding, its phase ends and the next
//! begins. The ISA keeps its 64 bits to itself: here see [`Object`]. Copies take place at once, so they have always
//! arrived when a wait asks.

use crate::check::FenceScope;
use crate::exec::code::{BaseWidth, CopyBulk, Mbarrier, MbarrierOp, Op};
use crate::exec::ops::access::{memories, misplaced};
use crate::exec::ops::look::{ATOMIC, Kinds, LOAD, Looked, STORE, Strength};
use crate::exec::ops::place::{Addresses, Memories, Place, addresses};
use crate::exec::run::env::{Env, Faulty};
use crate::exec::run::warp::Warp;
use crate::fault::FaultKind;
use crate::lanes::{Lane, WARP};
use crate::ptx::Space;

/// The largest count of arrivals and of outstanding bytes.
const MOST: u32 = (1 << 20) - 1;
/// The two highest bits of an object that is one.
const MARK: u64 = 0b10;
/// What a bulk copy's addresses and size are multiples of.
const PIECE: u64 = 16;

/// A barrier, unpacked.
#[derive(Clone, Copy)]
struct Object {
    pending: u32,
    expected: u32,
    /// Bytes announced less bytes arrived; below zero where bytes arrive before they are announced.
    bytes: i32,
    phase: bool,
}

impl Object {
    fn unpack(word: u64) -> Option<Object> {
        let field = |at: u32| (word >> at) as u32 & MOST;
        let bytes = (word >> 40) as i32 & 0x1f_ffff;
        let object =
            Object { pending: field(0), expected: field(20), bytes: bytes - (1 << 20), phase: word >> 61 & 1 == 1 };
        (word >> 62 == MARK).then_some(object)
    }

    fn pack(self) -> u64 {
        let bytes = (self.bytes + (1 << 20)) as u64;
        u64::from(self.pending)
            | u64::from(self.expected) << 20
            | bytes << 40
            | u64::from(self.phase) << 61
            | MARK << 62
    }

    /// Ends the phase if nothing is pending.
    fn settle(&mut self) -> bool {
        let over = self.pending == 0 && self.bytes == 0;
        if over {
            self.phase = !self.phase;
            self.pending = self.expected;
        }
        over
    }

    fn arrive(&mut self, count: u32, may_complete: bool) -> Result<(), String> {
        if count == 0 || count > self.pending {
            return Err(format!("{count} arrivals at an mbarrier of which {} are pending", self.pending));
        }
        self.pending -= count;
        if self.settle() && !may_complete {
            return Err("an arrival without completion ends the phase".into());
        }
        Ok(())
    }

    fn announce(&mut self, bytes: i64) -> Result<(), String> {
        let sum = i64::from(self.bytes) + bytes;
        if sum.unsigned_abs() > MOST.into() {
            return Err(format!("{sum} outstanding bytes at an mbarrier, more than {MOST}"));
        }
        self.bytes = sum as i32;
        self.settle();
        Ok(())
    }
}

/// The barriers of some lanes, which must lie in shared memory; counted and looked at.
fn looked_at<'a, 'e: 'a>(
    warp: &'a Warp,
    env: &mut Env<'e, '_>,
    op: &Op,
    barrier: &Mbarrier,
    at: &Addresses,
    (mask, kind, pc): (u32, Kinds, u32),
) -> Faulty<Place<'a>> {
    let memories = memories!(warp, env);
    let place = match memories.place(barrier.address.bank, at, mask, 8) {
        Ok(place) if place.space == Space::Shared => place,
        Ok(place) => {
            let address = at[place.mask.trailing_zeros() as usize % WARP];
            let what = format!("an mbarrier at {address:#x}, which is not in shared memory");
            return Err(env.fault(FaultKind::OutOfBounds, warp.index, op, place.mask, Some(address), what));
        }
        Err(found) => return Err(misplaced(env, warp.index, op, found, "uses an mbarrier of")),
    };
    Looked { warp: warp.index, op, pc, kinds: kind, bytes: 8, strength: Strength { strong: true, warp_only: false } }
        .observe(env, &place, at, &|_, _| false)?;
    Ok(place)
}

fn fence(env: &mut Env<'_, '_>, warp: u32) {
    if let Some(checks) = &mut env.checks {
        checks.fence(warp, FenceScope::Block);
    }
}

/// Does the operation; true if some lane waits for a phase that has not ended, so that others should get a turn.
pub(in crate::exec) fn run(
    warp: &mut Warp,
    env: &mut Env<'_, '_>,
    op: &Op,
    barrier: &Mbarrier,
    exec: u32,
    pc: u32,
) -> Faulty<bool> {
    let mut slots = env.grid.operands(op).iter().copied();
    let destination = if barrier.op.has_result() { slots.next() } else { None };
    let base = if barrier.address.base == BaseWidth::None { None } else { slots.next() };
    let at = addresses(&warp.lanes, &barrier.address, base);
    let values: [u64; WARP] = match (barrier.op, slots.next()) {
        (MbarrierOp::Wait { parity: false }, Some(slot)) => *warp.lanes.wide(slot),
        (_, Some(slot)) => warp.lanes.row(slot).map(u64::from),
        (_, None) => [1; WARP],
    };
    let waits = matches!(barrier.op, MbarrierOp::Wait { .. });
    if let (MbarrierOp::CopiesArrive { .. }, Some(checks)) = (barrier.op, &mut env.checks) {
        checks.cp_async_wait(warp.index, exec, None);
    }
    if !waits {
        fence(env, warp.index);
    }
    let kind = match barrier.op {
        MbarrierOp::Init | MbarrierOp::Invalidate => STORE,
        MbarrierOp::Wait { .. } => LOAD,
        _ => ATOMIC,
    };
    let (mut ended, mut tokens, mut rest) = (0u32, [0u64; WARP], exec);
    while rest != 0 {
        let place = looked_at(warp, env, op, barrier, &at, (rest, kind, pc))?;
        for lane in (0..WARP).filter(|l| place.mask >> l & 1 == 1) {
            let offset = place.offsets[lane] as usize;
            let word = place.cells.load64(offset);
            let changed = changed(barrier.op, word, values[lane])
                .map_err(|what| env.fault(FaultKind::Barrier, warp.index, op, 1 << lane, Some(at[lane]), what))?;
            match changed {
                Changed::To(new) => {
                    tokens[lane] = word;
                    place.cells.store64(offset, new);
                }
                Changed::Waited(over) => ended |= u32::from(over) << lane,
            }
        }
        rest &= !place.mask;
    }
    if let Some(slot) = destination {
        if waits {
            warp.lanes.set_predicate(slot, ended, exec);
        } else {
            u64::store(&mut warp.lanes, slot, tokens, exec);
        }
    }
    if ended != 0 {
        fence(env, warp.index);
    }
    Ok(waits && ended != exec)
}

/// What an operation makes of an object.
enum Changed {
    To(u64),
    /// Whether the phase waited for is over.
    Waited(bool),
}

fn changed(op: MbarrierOp, word: u64, value: u64) -> Result<Changed, String> {
    let count = value as u32;
    if op == MbarrierOp::Init {
        if count == 0 || count > MOST {
            return Err(format!("an mbarrier for {count} arrivals; 1 to {MOST} are possible"));
        }
        return Ok(Changed::To(Object { pending: count, expected: count, bytes: 0, phase: false }.pack()));
    }
    let Some(mut object) = Object::unpack(word) else {
        return Err("uses an mbarrier that was not initialised, or was overwritten".into());
    };
    match op {
        MbarrierOp::Init | MbarrierOp::Invalidate => return Ok(Changed::To(0)),
        MbarrierOp::Arrive { drop, may_complete } => {
            if drop {
                object.expected = object.expected.checked_sub(count).ok_or("drops more arrivals than are expected")?;
            }
            object.arrive(count, may_complete)?;
        }
        MbarrierOp::ArriveExpecting { drop } => {
            object.announce(i64::from(count))?;
            object.expected -= u32::from(drop && object.expected > 0);
            object.arrive(1, true)?;
        }
        MbarrierOp::Expect => object.announce(i64::from(count))?,
        MbarrierOp::Complete => object.announce(-i64::from(count))?,
        // Without `.noinc` the arrival is first added to those pending, which leaves them as they were.
        MbarrierOp::CopiesArrive { counted: false } => {}
        MbarrierOp::CopiesArrive { counted: true } => object.arrive(1, true)?,
        MbarrierOp::Wait { parity: true } => return Ok(Changed::Waited(object.phase != (value & 1 == 1))),
        MbarrierOp::Wait { parity: false } => {
            let token = Object::unpack(value).ok_or("waits with a state that no arrival gave")?;
            return Ok(Changed::Waited(object.phase != token.phase));
        }
    }
    Ok(Changed::To(object.pack()))
}

/// Arrivals pending in a state that an arrival gave: `mbarrier.pending_count`.
pub(in crate::exec) fn pending_count(state: u64) -> u32 {
    Object::unpack(state).map_or(0, |object| object.pending)
}

/// `cp.async.bulk` from global to shared memory: moves the bytes, then tells the barrier.
pub(in crate::exec) fn copy(
    warp: &mut Warp,
    env: &mut Env<'_, '_>,
    op: &Op,
    copy: &CopyBulk,
    exec: u32,
    pc: u32,
) -> Faulty<()> {
    let mut slots = env.grid.operands(op).iter().copied();
    let mut row = |address: &crate::exec::code::Address| {
        let base = if address.base == BaseWidth::None { None } else { slots.next() };
        addresses(&warp.lanes, address, base)
    };
    let (to, from) = (row(&copy.to), row(&copy.from));
    let sizes = slots.next().map_or([0; WARP], |slot| *warp.lanes.row(slot));
    let base = if copy.barrier.address.base == BaseWidth::None { None } else { slots.next() };
    let at = addresses(&warp.lanes, &copy.barrier.address, base);
    for lane in (0..WARP).filter(|l| exec >> l & 1 == 1) {
        let (mask, bytes) = (1 << lane, u64::from(sizes[lane]));
        if !bytes.is_multiple_of(PIECE) {
            let what = format!("a bulk copy of {bytes} bytes, which is no multiple of {PIECE}");
            return Err(env.fault(FaultKind::Misaligned, warp.index, op, mask, None, what));
        }
        for piece in (0..bytes).step_by(PIECE as usize) {
            let mut data = [0; PIECE as usize];
            for (start, address, kind) in [(copy.from, from[lane], LOAD), (copy.to, to[lane], STORE)] {
                let here = [address.wrapping_add(piece); WARP];
                let memories = memories!(warp, env);
                let place = match memories.place(start.bank, &here, mask, PIECE) {
                    Ok(place) => place,
                    Err(found) => return Err(misplaced(env, warp.index, op, found, "copies")),
                };
                Looked {
                    warp: warp.index,
                    op,
                    pc,
                    kinds: kind,
                    bytes: PIECE as u32,
                    strength: Strength { strong: false, warp_only: false },
                }
                .observe(env, &place, &here, &|_, _| false)?;
                let offset = place.offsets[lane] as usize;
                if kind == LOAD {
                    place.cells.read(offset, &mut data);
                } else {
                    place.cells.write(offset, &data);
                }
            }
        }
        fence(env, warp.index);
        let place = looked_at(warp, env, op, &copy.barrier, &at, (mask, ATOMIC, pc))?;
        let offset = place.offsets[lane] as usize;
        match changed(MbarrierOp::Complete, place.cells.load64(offset), bytes) {
            Ok(Changed::To(new)) => place.cells.store64(offset, new),
            Ok(Changed::Waited(_)) => {}
            Err(what) => return Err(env.fault(FaultKind::Barrier, warp.index, op, mask, Some(at[lane]), what)),
        }
    }
    Ok(())
}
