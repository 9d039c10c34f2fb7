//! `wmma.load` and `wmma.store` (PTX ISA section 9.7.14.4): a warp's fragment of a matrix in memory.

use crate::exec::code::{BaseWidth, Op, Tile};
use crate::exec::ops::access::{mark, memories, misplaced};
use crate::exec::ops::look::{Kinds, LOAD, Looked, STORE, Strength};
use crate::exec::ops::place::{Addresses, Memories, Place, addresses};
use crate::exec::run::env::{Env, Faulty};
use crate::exec::run::warp::Warp;
use crate::fault::FaultKind;
use crate::lanes::{Lane, WARP};
use crate::memory::Origin;
use crate::ptx::Space;
use crate::row::dealt;

/// Where the matrix starts and how far its rows, or columns, are apart: the same for all lanes.
fn shape(warp: &Warp, env: &Env<'_, '_>, op: &Op, tile: &Tile) -> Faulty<(u64, u64)> {
    let mut slots = env.grid.operands(op)[usize::from(tile.registers)..].iter().copied();
    let base = if tile.address.base == BaseWidth::None { None } else { slots.next() };
    let at = addresses(&warp.lanes, &tile.address, base);
    let length = if tile.by_columns { tile.elements / tile.columns } else { tile.columns };
    let distances = match slots.next().filter(|_| tile.strided) {
        Some(slot) => *warp.lanes.row(slot),
        None => [length.into(); WARP],
    };
    if let Some(lane) = (1..WARP).find(|&l| at[l] != at[0] || distances[l] != distances[0]) {
        let what = format!(
            "lanes of one warp name different matrices: at {:#x} by {} and at {:#x} by {}",
            at[0], distances[0], at[lane], distances[lane]
        );
        return Err(env.fault(FaultKind::Convergence, warp.index, op, 1 << lane, Some(at[lane]), what));
    }
    Ok((at[0], distances[0].into()))
}

/// The addresses of one element of every lane.
fn element(tile: &Tile, (start, distance): (u64, u64), element: usize) -> Addresses {
    std::array::from_fn(|lane| {
        let at = dealt(element, lane, tile.elements.into()) as u64;
        let (row, column) = (at / u64::from(tile.columns), at % u64::from(tile.columns));
        let (line, within) = if tile.by_columns { (column, row) } else { (row, column) };
        start.wrapping_add(line.wrapping_mul(distance).wrapping_add(within).wrapping_mul(tile.bytes.into()))
    })
}

/// All lanes' elements lie in one piece of memory, or it is a fault.
fn looked_at<'a, 'e: 'a>(
    warp: &'a Warp,
    env: &mut Env<'e, '_>,
    op: &Op,
    tile: &Tile,
    at: &Addresses,
    (kind, pc): (Kinds, u32),
) -> Faulty<Place<'a>> {
    let memories = memories!(warp, env);
    let verb = if kind == LOAD { "loads" } else { "stores" };
    let place = match memories.place(tile.address.bank, at, u32::MAX, tile.bytes.into()) {
        Ok(place) => place,
        Err(found) => return Err(misplaced(env, warp.index, op, found, verb)),
    };
    if place.mask != u32::MAX {
        // The lanes that lie elsewhere, or nowhere.
        let memories = memories!(warp, env);
        let rest = memories.place(tile.address.bank, at, !place.mask, tile.bytes.into());
        let lanes = !place.mask;
        let address = at[lanes.trailing_zeros() as usize % WARP];
        return Err(match rest {
            Err(found) => misplaced(env, warp.index, op, found, verb),
            Ok(_) => {
                let what = format!("{verb} a matrix of which the element at {address:#x} lies in another allocation");
                env.fault(FaultKind::OutOfBounds, warp.index, op, lanes, Some(address), what)
            }
        });
    }
    if !matches!(place.space, Space::Global | Space::Shared) {
        let what = format!("{verb} a matrix at {:#x}, which lies neither in global nor in shared memory", at[0]);
        return Err(env.fault(FaultKind::OutOfBounds, warp.index, op, 1, Some(at[0]), what));
    }
    if kind == STORE && place.allocation.is_some_and(|a| matches!(a.origin, Origin::Constant(_))) {
        let what = format!("stores a matrix at {:#x}, which lies in constant memory", at[0]);
        return Err(env.fault(FaultKind::ReadOnly, warp.index, op, 1, Some(at[0]), what));
    }
    Looked {
        warp: warp.index,
        op,
        pc,
        kinds: kind,
        bytes: tile.bytes.into(),
        strength: Strength { strong: false, warp_only: false },
    }
    .observe(env, &place, at, &|_, _| false)?;
    Ok(place)
}

pub(in crate::exec) fn load(warp: &mut Warp, env: &mut Env<'_, '_>, op: &Op, tile: &Tile, pc: u32) -> Faulty<()> {
    let shape = shape(warp, env, op, tile)?;
    let slots = &env.grid.operands(op)[..tile.registers.into()];
    for (register, slot) in slots.iter().enumerate() {
        let mut values = [0u64; WARP];
        for i in 0..usize::from(tile.packed) {
            let at = element(tile, shape, register * usize::from(tile.packed) + i);
            let place = looked_at(warp, env, op, tile, &at, (LOAD, pc))?;
            for (value, &offset) in values.iter_mut().zip(&place.offsets) {
                let (cells, offset) = (place.cells, offset as usize);
                let found = match tile.bytes {
                    1 => cells.load8(offset).into(),
                    2 => cells.load16(offset).into(),
                    4 => cells.load32(offset).into(),
                    _ => cells.load64(offset),
                };
                *value |= found << (8 * usize::from(tile.bytes) * i);
            }
        }
        if tile.bytes == 8 {
            u64::store(&mut warp.lanes, *slot, values, u32::MAX);
        } else {
            u32::store(&mut warp.lanes, *slot, values.map(|v| v as u32), u32::MAX);
        }
    }
    Ok(())
}

pub(in crate::exec) fn store(warp: &mut Warp, env: &mut Env<'_, '_>, op: &Op, tile: &Tile, pc: u32) -> Faulty<()> {
    let shape = shape(warp, env, op, tile)?;
    let slots = &env.grid.operands(op)[..tile.registers.into()];
    for (register, slot) in slots.iter().enumerate() {
        for i in 0..usize::from(tile.packed) {
            let at = element(tile, shape, register * usize::from(tile.packed) + i);
            let place = looked_at(warp, env, op, tile, &at, (STORE, pc))?;
            for (lane, &offset) in place.offsets.iter().enumerate() {
                let offset = offset as usize;
                match tile.bytes {
                    2 => place.cells.store16(offset, (warp.lanes.row(*slot)[lane] >> (16 * i)) as u16),
                    8 => place.cells.store64(offset, warp.lanes.wide(*slot)[lane]),
                    _ => place.cells.store32(offset, warp.lanes.row(*slot)[lane]),
                }
            }
            mark(&place, tile.bytes.into());
        }
    }
    Ok(())
}
