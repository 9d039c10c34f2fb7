//! Loads and stores.

use crate::check;
use crate::counters::AccessKind;
use crate::exec::code::{Access, Op};
use crate::exec::ops::place::{Addresses, Memories, Misplaced, Place, addresses};
use crate::exec::run::env::{Env, Faulty};
use crate::exec::run::warp::Warp;
use crate::fault::{Fault, FaultKind};
use crate::lanes::{Lane, WARP, Width};
use crate::memory::{Cells, Origin, generic};
use crate::ptx::Space;
use crate::row::Level;

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

/// As [`look`], where bytes that nobody wrote may not be read.
#[inline(always)]
pub(in crate::exec) fn observe(
    warp_index: u32,
    env: &mut Env<'_, '_>,
    op: &Op,
    place: &Place<'_>,
    at: &Addresses,
    (kinds, bytes, strong, pc): (Kinds, u32, bool, u32),
    same_value: &dyn Fn(usize, Against) -> bool,
) -> Faulty<()> {
    let strength = Strength { strong, warp_only: false };
    look(warp_index, env, op, place, at, (kinds, bytes, strength, pc), same_value)?.map_or(Ok(()), Err)
}

/// See [`check::Access`].
#[derive(Clone, Copy)]
pub(in crate::exec) struct Strength {
    pub strong: bool,
    pub warp_only: bool,
}

/// Counts an access and looks at it: unwritten bytes, races, pending copies. `same_value` compares what lanes write. Gives
/// the fault of a load that reads bytes which nobody wrote, for when they are used.
#[inline(always)]
pub(in crate::exec) fn look(
    warp_index: u32,
    env: &mut Env<'_, '_>,
    op: &Op,
    place: &Place<'_>,
    at: &Addresses,
    ((counted, kind), bytes, Strength { strong, warp_only }, pc): (Kinds, u32, Strength, u32),
    same_value: &dyn Fn(usize, Against) -> bool,
) -> Faulty<Option<Box<Fault>>> {
    if let Some(counters) = &mut env.counters {
        match place.space {
            Space::Global => counters.global(pc, counted, at, place.mask, bytes),
            Space::Shared => counters.shared(pc, counted, &place.offsets.map(|o| o as u32), place.mask, bytes),
            _ => {}
        }
        if let Some(chain) = &mut env.chain {
            chain.access(pc, (place.space, counted), at, place.mask, bytes);
        }
    }
    let Some(checks) = &mut env.checks else { return Ok(None) };
    let access = check::Access { warp: warp_index, mask: place.mask, bytes, kind, strong, warp_only, line: op.line };
    let held = |lane: u32| same_value(lane as usize, Against::Memory);
    let mut unwritten = None;
    let found = match place.space {
        Space::Global => {
            let mut found = Ok(());
            if let Some(allocation) = place.allocation {
                let mut known = access;
                if kind != check::Kind::Write && allocation.may_be_unwritten() {
                    for lane in (0..WARP).filter(|l| place.mask >> l & 1 == 1) {
                        let offset = place.offsets[lane] as usize;
                        if let Some(byte) = allocation.unwritten(offset, bytes as usize) {
                            // Whether that read matters depends on what becomes of the value.
                            known.mask &= !(1 << lane);
                            let address = allocation.base + byte as u64;
                            unwritten.get_or_insert((1 << lane, address, byte));
                        }
                    }
                }
                // Constants and variables that are only read cannot race.
                if !matches!(allocation.origin, Origin::Constant(_)) {
                    found = checks.global_store(&known, at, &held);
                }
            }
            found
        }
        Space::Shared => {
            let offsets = place.offsets.map(|o| o as u32);
            match checks.shared_store(&access, &offsets, &held) {
                // What the system keeps there was set when the block started.
                Err(finding)
                    if finding.what == check::What::UninitialisedShared && env.grid.is_reserved(finding.address) =>
                {
                    checks.shared(&check::Access { kind: check::Kind::Write, strong: true, ..access }, &offsets)
                }
                found => found,
            }
        }
        _ => Ok(()),
    };
    if let Some((lanes, address, byte)) = unwritten {
        let allocation = place.allocation.map(|a| a.describe()).unwrap_or_default();
        let what = format!("reads {address:#x}, byte {byte} of {allocation}, which nobody has written");
        let fault = env.fault(FaultKind::Uninitialised, warp_index, op, lanes, Some(address), what);
        return match (found, kind) {
            (Ok(()), check::Kind::Read) => Ok(Some(fault)),
            _ => Err(fault),
        };
    }
    match found {
        Ok(()) => Ok(None),
        Err(finding) => {
            match finding.what {
                check::What::SameInstructionWrite => {}
                check::What::UninitialisedShared if kind == check::Kind::Read => {
                    return Ok(Some(env.finding(finding, warp_index, op, place)));
                }
                check::What::SameValueWrite => {
                    env.note(op.line, finding.other.map_or(0, |o| o.line), finding.text);
                    return Ok(None);
                }
                _ => return Err(env.finding(finding, warp_index, op, place)),
            }
            // The finding names the first two lanes; those may agree and later ones differ from them.
            let lanes = || (0..WARP).filter(|l| place.mask >> l & 1 == 1);
            let differs = |&lane: &usize, first: usize| {
                place.offsets[lane] == place.offsets[first] && !same_value(lane, Against::Lane(first))
            };
            for first in lanes() {
                if let Some(lane) = lanes().filter(|&l| l > first).find(|l| differs(l, first)) {
                    let address = if place.space == Space::Shared { place.offsets[lane] } else { at[lane] };
                    let finding = finding.between(&access, lane as u32, first as u32, address);
                    return Err(env.finding(finding, warp_index, op, place));
                }
            }
            let text = env.grid.code.text(op.line).trim();
            env.note(op.line, op.line, format!("several lanes write the same value at line {} (`{text}`)", op.line));
            Ok(None)
        }
    }
}

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

#[inline(always)]
fn load_row(warp: &mut Warp, env: &mut Env<'_, '_>, op: &Op, access: &Access, exec: u32, pc: u32) -> Faulty<()> {
    let slots = env.grid.code.operands(op);
    let count = usize::from(access.count);
    let at = addresses(&warp.lanes, &access.address, slots.get(count).copied());
    let bytes = u32::from(access.bytes) * u32::from(access.count);
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
        let strength = Strength { strong: access.strong, warp_only: access.warp_only };
        let mut unwritten = look(*index, env, op, &place, &at, (LOAD, bytes, strength, pc), &|_, _| true)?;
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
        let mut offsets = place.offsets;
        for slot in &slots[..count] {
            match (access.bytes, access.width) {
                (4, Width::W32) => {
                    let values = place.cells.gather32(&offsets);
                    u32::store(lanes, *slot, values, place.mask);
                }
                (8, _) => u64::store(lanes, *slot, offsets.map(|o| place.cells.load64(o as usize)), place.mask),
                (size, width) => {
                    let values = offsets.map(|o| element(place.cells, o as usize, size, access.signed));
                    match width {
                        Width::W64 => u64::store(lanes, *slot, values, place.mask),
                        Width::W16 => u32::store(lanes, *slot, values.map(|v| v as u32 & 0xffff), place.mask),
                        _ => u32::store(lanes, *slot, values.map(|v| v as u32), place.mask),
                    }
                }
            }
            for offset in &mut offsets {
                *offset += u64::from(access.bytes);
            }
        }
        let mask = place.mask;
        if let Some(fault) = unwritten {
            let lanes = marked(&place, env, local_written.as_ref(), access);
            warp.mark(*fault, slots[..count].iter().copied().zip(lanes));
        }
        rest &= !mask;
    }
    if let (Some(wide), Some(checks)) = (access.fence, &mut env.checks) {
        checks.fence(warp.index, crate::exec::run::env::scope(wide));
    }
    Ok(())
}

/// For each element of a load, the lanes of which nobody wrote all its bytes.
#[cold]
fn marked(place: &Place<'_>, env: &Env<'_, '_>, local: Option<&Cells>, access: &Access) -> Vec<u32> {
    let bytes = usize::from(access.bytes);
    let missing = |at: usize| match (place.space, place.allocation) {
        (Space::Global, Some(allocation)) => allocation.unwritten(at, bytes).is_some(),
        (Space::Shared, _) => env.checks.as_ref().is_some_and(|c| c.shared_unwritten(at as u32, bytes as u32)),
        (Space::Local, _) => local.is_some_and(|written| (at..at + bytes).any(|b| written.load8(b) == 0)),
        _ => false,
    };
    let lanes = |element: usize| {
        let at = |lane: usize| place.offsets[lane] as usize + element * bytes;
        (0..WARP).filter(|l| place.mask >> l & 1 == 1 && missing(at(*l))).fold(0, |m, l| m | 1 << l)
    };
    (0..access.count.into()).map(lanes).collect()
}

/// Whether memory holds what a lane is going to store. What blocks on other host threads announced before, they store at
/// once: it is waited for a little.
#[cold]
fn holds(place: &Place<'_>, access: &Access, lane: usize, values: &dyn Fn(usize) -> u64) -> bool {
    let bytes = usize::from(access.bytes);
    let there = |element: usize| {
        let at = place.offsets[lane] as usize + element * bytes;
        let mut found = [0; 8];
        place.cells.read(at, &mut found[..bytes]);
        found[..bytes] == values(element).to_le_bytes()[..bytes]
    };
    let all = || (0..access.count.into()).all(there);
    let patience = if place.space == Space::Global { 200 } else { 0 };
    all()
        || (0..patience).any(|_| {
            std::thread::yield_now();
            all()
        })
}

/// One, two or four bytes, widened.
#[inline(always)]
fn element(cells: &crate::memory::Cells, at: usize, bytes: u8, signed: bool) -> u64 {
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
    let slots = env.grid.code.operands(op);
    let count = usize::from(access.count);
    let at = addresses(&warp.lanes, &access.address, slots.get(count).copied());
    let bytes = u32::from(access.bytes) * u32::from(access.count);
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
        let value = |lane: usize, element: usize| match access.width {
            Width::W64 => lanes.wide(slots[element])[lane],
            _ => lanes.row(slots[element])[lane].into(),
        };
        let same = |lane: usize, against: Against| match against {
            Against::Lane(other) => (0..count).all(|element| value(lane, element) == value(other, element)),
            Against::Memory => holds(&place, access, lane, &|element| value(lane, element)),
        };
        observe(*index, env, op, &place, &at, (STORE, bytes, access.strong, pc), &same)?;
        if let (Space::Local, Some(written)) = (place.space, local_written) {
            for lane in (0..WARP).filter(|l| place.mask >> l & 1 == 1) {
                written.fill(place.offsets[lane] as usize, bytes as usize, 1);
            }
            if warp.is_marked() {
                let size = usize::from(access.bytes);
                for (element, &slot) in slots[..count].iter().enumerate() {
                    let lanes = warp.marked(slot) & place.mask;
                    for lane in (0..WARP).filter(|l| lanes >> l & 1 == 1) {
                        written.fill(place.offsets[lane] as usize + element * size, size, 0);
                    }
                }
            }
        }
        let mut offsets = place.offsets;
        for slot in &slots[..count] {
            let each = (0..WARP).filter(|l| place.mask >> l & 1 == 1);
            let narrow = |lane: usize| match access.width {
                Width::W64 => lanes.wide(*slot)[lane] as u32,
                _ => lanes.row(*slot)[lane],
            };
            match (access.bytes, access.width) {
                (4, Width::W32) => place.cells.scatter32(&offsets, lanes.row(*slot), place.mask),
                (8, _) => {
                    let values = lanes.wide(*slot);
                    each.for_each(|lane| place.cells.store64(offsets[lane] as usize, values[lane]));
                }
                (1, _) => each.for_each(|lane| place.cells.store8(offsets[lane] as usize, narrow(lane) as u8)),
                (2, _) => each.for_each(|lane| place.cells.store16(offsets[lane] as usize, narrow(lane) as u16)),
                _ => each.for_each(|lane| place.cells.store32(offsets[lane] as usize, narrow(lane))),
            }
            for offset in &mut offsets {
                *offset += u64::from(access.bytes);
            }
        }
        mark(&place, bytes);
        rest &= !place.mask;
    }
    Ok(())
}

/// Notes bytes of global memory as written.
#[inline(always)]
pub(in crate::exec) fn mark(place: &Place<'_>, bytes: u32) {
    if let Some(allocation) = place.allocation.filter(|a| a.may_be_unwritten()) {
        for lane in (0..WARP).filter(|l| place.mask >> l & 1 == 1) {
            allocation.mark(place.offsets[lane] as usize, bytes as usize);
        }
    }
}

/// Compiles a memory operation for each SIMD level: its loops over 32 addresses are most of the time it takes.
macro_rules! at_levels {
    ($($(#[$doc:meta])* $name:ident = $row:ident;)+) => {$(
        $(#[$doc])*
        pub(in crate::exec) fn $name(
            warp: &mut Warp,
            env: &mut Env<'_, '_>,
            op: &Op,
            access: &Access,
            exec: u32,
            pc: u32,
        ) -> Faulty<()> {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2(w: &mut Warp, env: &mut Env<'_, '_>, op: &Op, a: &Access, exec: u32, pc: u32) -> Faulty<()> {
                    $row(w, env, op, a, exec, pc)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
                fn avx512(w: &mut Warp, env: &mut Env<'_, '_>, op: &Op, a: &Access, exec: u32, pc: u32) -> Faulty<()> {
                    $row(w, env, op, a, exec, pc)
                }
                // SAFETY: lowered for the SIMD level that this machine was found to have.
                #[allow(unsafe_code)]
                match env.grid.code.level {
                    Level::Avx512 => return unsafe { avx512(warp, env, op, access, exec, pc) },
                    Level::Avx2 => return unsafe { avx2(warp, env, op, access, exec, pc) },
                    Level::Portable => {}
                }
            }
            $row(warp, env, op, access, exec, pc)
        }
    )+};
}
at_levels! {
    /// `ld`
    load = load_row;
    /// `st`
    store = store_row;
}
