//! `cp.async` (PTX ISA section 9.7.9.25): the bytes move at once, and the checks see to it that nobody looks at them
//! before the wait.

use crate::check::{self, Kind};
use crate::counters::AccessKind;
use crate::exec::code::{BaseWidth, CopyAsync, Op};
use crate::exec::ops::access::{memories, misplaced};
use crate::exec::ops::look::{LOAD, Looked, Strength};
use crate::exec::ops::place::{Memories, addresses};
use crate::exec::run::env::{Env, Faulty};
use crate::exec::run::warp::Warp;
use crate::fault::FaultKind;
use crate::lanes::WARP;
use crate::ptx::Space;

pub(in crate::exec) fn start(
    warp: &mut Warp,
    env: &mut Env<'_, '_>,
    op: &Op,
    copy: &CopyAsync,
    exec: u32,
    pc: u32,
) -> Faulty<()> {
    let mut slots = env.grid.operands(op).iter().copied();
    let to_base = if copy.to.base == BaseWidth::None { None } else { slots.next() };
    let from_base = if copy.from.base == BaseWidth::None { None } else { slots.next() };
    let to = addresses(&warp.lanes, &copy.to, to_base);
    let from = addresses(&warp.lanes, &copy.from, from_base);
    let bytes = u32::from(copy.bytes);
    let sizes = match slots.next().filter(|_| copy.sized) {
        Some(slot) => *warp.lanes.row(slot),
        None => [bytes; WARP],
    };
    if let Some(lane) = (0..WARP).find(|&l| exec >> l & 1 == 1 && sizes[l] > bytes) {
        let what = format!("copies {} of {bytes} bytes", sizes[lane]);
        return Err(env.fault(FaultKind::OutOfBounds, warp.index, op, 1 << lane, None, what));
    }
    // What is read: lanes that read less than the whole are looked at byte for byte, those that read nothing not at all.
    let mut data = [[0u8; 16]; WARP];
    let asked = (0..WARP).filter(|&l| exec >> l & 1 == 1).fold(0u32, |asked, l| asked | 1 << sizes[l]);
    for size in [bytes].into_iter().chain((1..bytes).filter(|size| asked >> size & 1 == 1)) {
        let mut rest = (0..WARP).filter(|&l| exec >> l & 1 == 1 && sizes[l] == size).fold(0u32, |m, l| m | 1 << l);
        while rest != 0 {
            let memories = memories!(warp, env);
            // The address must be aligned to the whole size even where less is read.
            let odd = (0..WARP).find(|&l| rest >> l & 1 == 1 && from[l] & u64::from(bytes - 1) != 0);
            let place = match (odd, memories.place(copy.from.bank, &from, rest, 1)) {
                (None, Ok(place)) => place,
                (Some(lane), _) => {
                    let address = from[lane];
                    let found = crate::exec::ops::place::Misplaced::Misaligned {
                        lane,
                        address,
                        bytes: bytes.into(),
                        space: Space::Global,
                    };
                    return Err(misplaced(env, warp.index, op, found, "copies"));
                }
                (None, Err(found)) => return Err(misplaced(env, warp.index, op, found, "copies")),
            };
            for lane in (0..WARP).filter(|l| place.mask >> l & 1 == 1) {
                let end = place.offsets[lane] + u64::from(size);
                if end > place.cells.bytes() as u64 {
                    let space = place.space;
                    let found = crate::exec::ops::place::Misplaced::OutOfBounds {
                        lane,
                        address: from[lane],
                        bytes: size.into(),
                        space,
                    };
                    return Err(misplaced(env, warp.index, op, found, "copies"));
                }
            }
            if size.is_power_of_two() {
                Looked {
                    warp: warp.index,
                    op,
                    pc,
                    kinds: LOAD,
                    bytes: size,
                    strength: Strength { strong: false, warp_only: false },
                }
                .observe(env, &place, &from, &|_, _| true)?;
            }
            for lane in (0..WARP).filter(|l| place.mask >> l & 1 == 1) {
                place.cells.read(place.offsets[lane] as usize, &mut data[lane][..size as usize]);
            }
            rest &= !place.mask;
        }
    }
    let mut rest = exec;
    while rest != 0 {
        let memories = memories!(warp, env);
        let place = match memories.place(copy.to.bank, &to, rest, u64::from(bytes)) {
            Ok(place) => place,
            Err(found) => return Err(misplaced(env, warp.index, op, found, "copies to")),
        };
        let offsets = place.offsets.map(|o| o as u32);
        if let Some(counters) = &mut env.counters {
            counters.shared(pc, AccessKind::Store, &offsets, place.mask, bytes);
        }
        if let Some(checks) = &mut env.checks {
            let access = check::Access {
                warp: warp.index,
                mask: place.mask,
                bytes,
                kind: Kind::Write,
                strong: false,
                warp_only: false,
                line: op.line,
            };
            if let Err(finding) = checks.cp_async(&access, &offsets) {
                return Err(env.finding(finding, warp.index, op, place.allocation));
            }
        }
        for lane in (0..WARP).filter(|l| place.mask >> l & 1 == 1) {
            place.cells.write(place.offsets[lane] as usize, &data[lane][..bytes as usize]);
        }
        rest &= !place.mask;
    }
    Ok(())
}
