//! Loads and stores.

use crate::exec::code::{Access, Address, Bank, BaseWidth, Op};
use crate::exec::ops::levels::at_levels;
use crate::exec::ops::look::{Against, LOAD, Looked, STORE, Strength};
use crate::exec::ops::place::{Addresses, Memories, Misplaced, Place, addresses};
use crate::exec::run::env::{Env, Faulty};
use crate::exec::run::warp::Warp;
use crate::fault::{Fault, FaultKind};
use crate::lanes::{Lane, Lanes, Slot, WARP, Width};
use crate::memory::{Cells, Origin, generic};
use crate::ptx::Space;

/// Where a warp's accesses may lie.
macro_rules! memories {
    ($warp:expr, $env:expr) => {
        Memories {
            global: $env.grid.global,
            shared: $env.shared,
            local: &$warp.local,
            local_bytes: u64::from($env.grid.code.local_bytes),
            parameters: $env.grid.parameters,
        }
    };
}
pub(in crate::exec) use memories;

/// The fault for an address that cannot be accessed.
pub(in crate::exec) fn misplaced(env: &Env<'_, '_>, warp: u32, op: &Op, found: Misplaced, verb: &str) -> Box<Fault> {
    match found {
        Misplaced::Misaligned { lane, address, bytes, space } => {
            let place = match space {
                Space::Shared => " of shared memory",
                Space::Local => " of local memory",
                Space::Param => " of the parameters",
                Space::Const | Space::Global => "",
            };
            let what = format!("{verb} {bytes} bytes at {address:#x}{place}, which is no multiple of {bytes}");
            let what = match env.grid.global.holding(address).filter(|_| place.is_empty()) {
                Some(found) => format!("{what}, in {}", found.describe()),
                None => what,
            };
            env.fault(FaultKind::Misaligned, warp, op, 1 << lane, Some(generic(space, address)), what)
        }
        Misplaced::OutOfBounds { lane, address, bytes, space } => {
            let lies = match space {
                Space::Shared => {
                    format!("out of bounds of the block's {} bytes of shared memory", env.shared.bytes())
                }
                Space::Local => format!("out of bounds of {} bytes of local memory", env.grid.code.local_bytes),
                Space::Param => format!("out of bounds of {} bytes of parameters", env.grid.parameters.bytes()),
                Space::Const | Space::Global => env.grid.global.neighbourhood(address),
            };
            let what = format!("{verb} {bytes} bytes at {address:#x}, which {lies}");
            let what = what.replace("which out of", "out of");
            env.fault(FaultKind::OutOfBounds, warp, op, 1 << lane, Some(generic(space, address)), what)
        }
    }
}

/// Where the lanes of `exec` access shared memory, if the address is one of 32 bits there, as most are, and nothing is wrong
/// with it. Lanes that take no part repeat the offset of one that does.
#[inline(always)]
pub(in crate::exec) fn shared_offsets(
    warp: &Warp,
    env: &Env<'_, '_>,
    address: &Address,
    base: Option<Slot>,
    exec: u32,
    bytes: u32,
) -> Option<[u32; WARP]> {
    if address.bank != Bank::Shared || address.base == BaseWidth::Wide || exec == 0 {
        return None;
    }
    if address.base == BaseWidth::None && u32::try_from(address.offset).is_err() {
        return None;
    }
    let mut offsets = [address.offset as u32; WARP];
    if let (BaseWidth::Short, Some(slot)) = (address.base, base) {
        let base = warp.lanes.row(slot);
        for lane in 0..WARP {
            offsets[lane] = offsets[lane].wrapping_add(base[lane]);
        }
    }
    if exec != u32::MAX {
        let some = offsets[exec.trailing_zeros() as usize % WARP];
        for (lane, offset) in offsets.iter_mut().enumerate() {
            *offset = if exec >> lane & 1 == 1 { *offset } else { some };
        }
    }
    let (mut low, mut largest) = (0, 0);
    for &offset in &offsets {
        low |= offset;
        largest = largest.max(offset);
    }
    let inside = u64::from(largest) + u64::from(bytes) <= env.shared.bytes() as u64;
    (inside && low & (bytes - 1) == 0).then_some(offsets)
}

#[inline(always)]
fn load_row(warp: &mut Warp, env: &mut Env<'_, '_>, op: &Op, access: &Access, exec: u32, pc: u32) -> Faulty<()> {
    let slots = env.grid.operands(op);
    let count = usize::from(access.count);
    let base = slots.get(count).copied();
    let slots = &slots[..count];
    let bytes = u32::from(access.bytes) * u32::from(access.count);
    let strength = Strength { strong: access.strong, warp_only: access.warp_only };
    let looked = Looked { warp: warp.index, op, pc, kinds: LOAD, bytes, strength };
    if access.fence.is_none()
        && let Some(offsets) = shared_offsets(warp, env, &access.address, base, exec, bytes)
    {
        let unwritten = looked.in_shared(env, &offsets, exec, &|_, _| true)?;
        fetch(&mut warp.lanes, env.shared, &offsets, access, slots, exec);
        if let Some(fault) = unwritten {
            let missing = |at| env.checks.as_ref().is_some_and(|c| c.shared_unwritten(at as u32, access.bytes.into()));
            let lanes = marked(&offsets.map(u64::from), exec, access, &missing);
            warp.mark(*fault, env.grid.code.names(op).iter().copied().zip(lanes));
        }
        return Ok(());
    }
    let at = addresses(&warp.lanes, &access.address, base);
    let mut rest = exec;
    while rest != 0 {
        let Warp { lanes, local, local_written, index, .. } = &mut *warp;
        let memories = Memories {
            global: env.grid.global,
            shared: env.shared,
            local,
            local_bytes: u64::from(env.grid.code.local_bytes),
            parameters: env.grid.parameters,
        };
        let place = match memories.place(access.address.bank, &at, rest, u64::from(bytes)) {
            Ok(place) => place,
            Err(found) => return Err(misplaced(env, *index, op, found, "loads")),
        };
        let mut unwritten = looked.at(env, &place, &at, &|_, _| true)?;
        if let (Space::Local, Some(written)) = (place.space, &*local_written) {
            for lane in (0..WARP).filter(|l| place.mask >> l & 1 == 1) {
                let offset = place.offsets[lane] as usize;
                if (offset..offset + bytes as usize).any(|b| written.load8(b) == 0) {
                    let what = format!("reads {bytes} bytes of local memory, not all of which it has written");
                    let (kind, address) = (FaultKind::Uninitialised, Some(generic(Space::Local, at[lane])));
                    unwritten = Some(env.fault(kind, *index, op, 1 << lane, address, what));
                    break;
                }
            }
        }
        fetch(lanes, place.cells, &place.offsets, access, slots, place.mask);
        let mask = place.mask;
        if let Some(fault) = unwritten {
            let size = usize::from(access.bytes);
            let missing = |at: usize| match (place.space, place.allocation) {
                (Space::Global, Some(allocation)) => allocation.unwritten(at, size).is_some(),
                (Space::Shared, _) => env.checks.as_ref().is_some_and(|c| c.shared_unwritten(at as u32, size as u32)),
                (Space::Local, _) => {
                    local_written.as_ref().is_some_and(|written| (at..at + size).any(|b| written.load8(b) == 0))
                }
                _ => false,
            };
            let lanes = marked(&place.offsets, mask, access, &missing);
            warp.mark(*fault, env.grid.code.names(op).iter().copied().zip(lanes));
        }
        rest &= !mask;
    }
    if let (Some(wide), Some(checks)) = (access.fence, &mut env.checks) {
        checks.fence(warp.index, crate::exec::run::env::scope(wide));
    }
    Ok(())
}

/// Brings what lies at these offsets into registers.
#[inline(always)]
fn fetch<O: Copy + Into<u64>>(
    lanes: &mut Lanes,
    cells: &Cells,
    offsets: &[O; WARP],
    access: &Access,
    slots: &[Slot],
    mask: u32,
) {
    match (access.bytes, access.width, slots) {
        (4, Width::W32, &[a]) => u32::store(lanes, a, cells.gather32(offsets), mask),
        (4, Width::W32, &[a, b]) => {
            let rows = cells.gather_pairs::<_, 1>(offsets);
            [a, b].into_iter().zip(rows.as_flattened()).for_each(|(slot, row)| u32::store(lanes, slot, *row, mask));
        }
        (4, Width::W32, &[a, b, c, d]) => {
            let rows = cells.gather_pairs::<_, 2>(offsets);
            let slots = [a, b, c, d].into_iter();
            slots.zip(rows.as_flattened()).for_each(|(slot, row)| u32::store(lanes, slot, *row, mask));
        }
        _ => {
            let mut offsets = offsets.map(|o| o.into() as usize);
            for &slot in slots {
                match (access.bytes, access.width) {
                    (8, _) => u64::store(lanes, slot, offsets.map(|at| cells.load64(at)), mask),
                    (size, width) => {
                        let values = offsets.map(|at| element(cells, at, size, access.signed));
                        match width {
                            Width::W64 => u64::store(lanes, slot, values, mask),
                            Width::W16 => u32::store(lanes, slot, values.map(|v| v as u32 & 0xffff), mask),
                            _ => u32::store(lanes, slot, values.map(|v| v as u32), mask),
                        }
                    }
                }
                offsets.iter_mut().for_each(|at| *at += usize::from(access.bytes));
            }
        }
    }
}

/// For each element of a load, the lanes of which nobody wrote all its bytes: those for whose offset `missing` says so.
#[cold]
fn marked(offsets: &Addresses, mask: u32, access: &Access, missing: &dyn Fn(usize) -> bool) -> Vec<u32> {
    let lanes = |element: usize| {
        let at = |lane: usize| offsets[lane] as usize + element * usize::from(access.bytes);
        (0..WARP).filter(|l| mask >> l & 1 == 1 && missing(at(*l))).fold(0, |m, l| m | 1 << l)
    };
    (0..access.count.into()).map(lanes).collect()
}

/// Whether memory holds what a lane is going to store there. What blocks on other host threads announced before, they store
/// at once: it is waited for a little.
#[cold]
fn holds(cells: &Cells, at: usize, space: Space, access: &Access, values: &dyn Fn(usize) -> u64) -> bool {
    let bytes = usize::from(access.bytes);
    let there = |element: usize| {
        let mut found = [0; 8];
        cells.read(at + element * bytes, &mut found[..bytes]);
        found[..bytes] == values(element).to_le_bytes()[..bytes]
    };
    let all = || (0..access.count.into()).all(there);
    let patience = if space == Space::Global { 200 } else { 0 };
    all()
        || (0..patience).any(|_| {
            std::thread::yield_now();
            all()
        })
}

/// One, two or four bytes, widened.
#[inline(always)]
fn element(cells: &Cells, at: usize, bytes: u8, signed: bool) -> u64 {
    match (bytes, signed) {
        (1, false) => cells.load8(at).into(),
        (1, true) => cells.load8(at) as i8 as u64,
        (2, false) => cells.load16(at).into(),
        (2, true) => cells.load16(at) as i16 as u64,
        (_, false) => cells.load32(at).into(),
        (_, true) => cells.load32(at) as i32 as u64,
    }
}

#[inline(always)]
fn store_row(warp: &mut Warp, env: &mut Env<'_, '_>, op: &Op, access: &Access, exec: u32, pc: u32) -> Faulty<()> {
    let slots = env.grid.operands(op);
    let count = usize::from(access.count);
    let base = slots.get(count).copied();
    let slots = &slots[..count];
    let bytes = u32::from(access.bytes) * u32::from(access.count);
    let strength = Strength { strong: access.strong, warp_only: false };
    let looked = Looked { warp: warp.index, op, pc, kinds: STORE, bytes, strength };
    let value = |lanes: &Lanes, lane: usize, element: usize| match access.width {
        Width::W64 => lanes.wide(slots[element])[lane],
        _ => lanes.row(slots[element])[lane].into(),
    };
    // What two lanes store, or a lane and memory.
    let same = |lanes: &Lanes, (cells, at, space): (&Cells, usize, Space), lane: usize, against: Against| match against
    {
        Against::Lane(other) => (0..count).all(|element| value(lanes, lane, element) == value(lanes, other, element)),
        Against::Memory => holds(cells, at, space, access, &|element| value(lanes, lane, element)),
    };
    if access.fence.is_none()
        && let Some(offsets) = shared_offsets(warp, env, &access.address, base, exec, bytes)
    {
        let cells = env.shared;
        looked.in_shared(env, &offsets, exec, &|lane, against| {
            same(&warp.lanes, (cells, offsets[lane] as usize, Space::Shared), lane, against)
        })?;
        put(&warp.lanes, cells, &offsets, access, slots, exec);
        return Ok(());
    }
    let at = addresses(&warp.lanes, &access.address, base);
    if let (Some(wide), Some(checks)) = (access.fence, &mut env.checks) {
        checks.fence(warp.index, crate::exec::run::env::scope(wide));
    }
    let mut rest = exec;
    while rest != 0 {
        let Warp { lanes, local_written, index, .. } = &*warp;
        let memories = memories!(warp, env);
        let place = match memories.place(access.address.bank, &at, rest, u64::from(bytes)) {
            Ok(place) => place,
            Err(found) => return Err(misplaced(env, *index, op, found, "stores")),
        };
        let constant = place.allocation.is_some_and(|a| matches!(a.origin, Origin::Constant(_)));
        if constant || place.space == Space::Param {
            let lane = place.mask.trailing_zeros() as usize % WARP;
            let kind = if constant { "constant memory" } else { "the kernel's parameters" };
            let what = format!("stores {bytes} bytes at {:#x}, which lies in {kind}", at[lane]);
            return Err(env.fault(FaultKind::ReadOnly, *index, op, place.mask, Some(at[lane]), what));
        }
        looked.observe(env, &place, &at, &|lane, against| {
            same(lanes, (place.cells, place.offsets[lane] as usize, place.space), lane, against)
        })?;
        if let (Space::Local, Some(written)) = (place.space, local_written) {
            for lane in (0..WARP).filter(|l| place.mask >> l & 1 == 1) {
                written.fill(place.offsets[lane] as usize, bytes as usize, 1);
            }
            if warp.is_marked() {
                let size = usize::from(access.bytes);
                for (element, &slot) in env.grid.code.names(op)[..count].iter().enumerate() {
                    let lanes = warp.marked(slot) & place.mask;
                    for lane in (0..WARP).filter(|l| lanes >> l & 1 == 1) {
                        written.fill(place.offsets[lane] as usize + element * size, size, 0);
                    }
                }
            }
        }
        put(lanes, place.cells, &place.offsets, access, slots, place.mask);
        mark(&place, bytes);
        rest &= !place.mask;
    }
    Ok(())
}

/// Brings registers to these offsets; of lanes that store to one place the highest comes last.
#[inline(always)]
fn put<O: Copy + Into<u64>>(
    lanes: &Lanes,
    cells: &Cells,
    offsets: &[O; WARP],
    access: &Access,
    slots: &[Slot],
    mask: u32,
) {
    match (access.bytes, access.width, slots) {
        (4, Width::W32, &[a]) => cells.scatter32(offsets, lanes.row(a), mask),
        (4, Width::W32, &[a, b]) => cells.scatter_pairs(offsets, [[a, b].map(|slot| lanes.row(slot))], mask),
        (4, Width::W32, &[a, b, c, d]) => {
            cells.scatter_pairs(offsets, [[a, b], [c, d]].map(|pair| pair.map(|slot| lanes.row(slot))), mask);
        }
        _ => {
            for (element, &slot) in slots.iter().enumerate() {
                for lane in (0..WARP).filter(|l| mask >> l & 1 == 1) {
                    let at = offsets[lane].into() as usize + element * usize::from(access.bytes);
                    let narrow = || match access.width {
                        Width::W64 => lanes.wide(slot)[lane] as u32,
                        _ => lanes.row(slot)[lane],
                    };
                    match access.bytes {
                        8 => cells.store64(at, lanes.wide(slot)[lane]),
                        1 => cells.store8(at, narrow() as u8),
                        2 => cells.store16(at, narrow() as u16),
                        _ => cells.store32(at, narrow()),
                    }
                }
            }
        }
    }
}

/// Notes bytes of global memory as written.
#[inline(always)]
pub(in crate::exec) fn mark(place: &Place<'_>, bytes: u32) {
    if let Some(allocation) = place.allocation.filter(|a| a.may_be_unwritten()) {
        if place.is_consecutive(bytes) {
            return allocation.mark(place.offsets[0] as usize, WARP * bytes as usize);
        }
        for lane in (0..WARP).filter(|l| place.mask >> l & 1 == 1) {
            allocation.mark(place.offsets[lane] as usize, bytes as usize);
        }
    }
}

at_levels! {
    /// `ld`
    load(Access) = load_row;
    /// `st`
    store(Access) = store_row;
}
