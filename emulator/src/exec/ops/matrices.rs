//! `ldmatrix` and `stmatrix` (PTX ISA sections 9.7.14.5.15 and 9.7.14.5.16): 8x8 matrices of 16-bit elements in shared
//! memory. Lane 8m + r names row r of matrix m; lane l holds elements 2(l mod 4) and the next of row l / 4, or, transposed,
//! of column l / 4.

use crate::exec::code::{BaseWidth, Matrices, Op};
use crate::exec::ops::access::{Kinds, LOAD, STORE, memories, misplaced, observe};
use crate::exec::ops::place::{Addresses, Memories, Place, addresses};
use crate::exec::run::env::{Env, Faulty};
use crate::exec::run::warp::Warp;
use crate::fault::FaultKind;
use crate::lanes::{Lane, WARP};
use crate::memory::generic;
use crate::ptx::Space;

const ROW_BYTES: u32 = 16;

/// Where the rows of all matrices lie, looked at.
fn rows<'a, 'e: 'a>(
    warp: &'a Warp,
    env: &mut Env<'e, '_>,
    op: &Op,
    matrices: &Matrices,
    (kind, pc): (Kinds, u32),
) -> Faulty<(Place<'a>, Addresses)> {
    let slots = env.grid.code.operands(op);
    let base = (matrices.address.base != BaseWidth::None).then(|| slots[usize::from(matrices.count)]);
    let at = addresses(&warp.lanes, &matrices.address, base);
    let mask = if matrices.count == 4 { u32::MAX } else { (1 << (8 * u32::from(matrices.count))) - 1 };
    let memories = memories!(warp, env);
    let place = match memories.place(matrices.address.bank, &at, mask, ROW_BYTES.into()) {
        Ok(place) if place.mask == mask && place.space == Space::Shared => place,
        Ok(place) => {
            let lanes = if place.space == Space::Shared { mask & !place.mask } else { place.mask };
            let address = at[lanes.trailing_zeros() as usize % WARP];
            let what = format!("moves the row of a matrix at {address:#x}, which is not all in shared memory");
            return Err(env.fault(
                FaultKind::OutOfBounds,
                warp.index,
                op,
                lanes,
                Some(generic(Space::Shared, address)),
                what,
            ));
        }
        Err(found) => return Err(misplaced(env, warp.index, op, found, "moves the row of a matrix,")),
    };
    observe(warp.index, env, op, &place, &at, (kind, ROW_BYTES, false, pc), &|_, _| false)?;
    Ok((place, at))
}

/// Byte offset of the first element that a lane holds of a matrix, and of the second.
fn elements(offsets: &Addresses, matrix: usize, lane: usize, transposed: bool) -> [usize; 2] {
    let (own, pair) = (lane / 4, 2 * (lane % 4));
    [pair, pair + 1].map(|other| {
        let (row, column) = if transposed { (other, own) } else { (own, other) };
        offsets[8 * matrix + row] as usize + 2 * column
    })
}

pub(in crate::exec) fn load(
    warp: &mut Warp,
    env: &mut Env<'_, '_>,
    op: &Op,
    matrices: &Matrices,
    pc: u32,
) -> Faulty<()> {
    let mut values = [[0u32; WARP]; 4];
    let (place, _) = rows(warp, env, op, matrices, (LOAD, pc))?;
    for (matrix, values) in values.iter_mut().enumerate().take(matrices.count.into()) {
        for (lane, value) in values.iter_mut().enumerate() {
            let [first, second] = elements(&place.offsets, matrix, lane, matrices.transposed);
            let (low, high) = (place.cells.load16(first), place.cells.load16(second));
            *value = u32::from(high) << 16 | u32::from(low);
        }
    }
    let slots = &env.grid.code.operands(op)[..usize::from(matrices.count)];
    for (slot, values) in slots.iter().zip(values) {
        u32::store(&mut warp.lanes, *slot, values, u32::MAX);
    }
    Ok(())
}

pub(in crate::exec) fn store(
    warp: &mut Warp,
    env: &mut Env<'_, '_>,
    op: &Op,
    matrices: &Matrices,
    pc: u32,
) -> Faulty<()> {
    let (place, _) = rows(warp, env, op, matrices, (STORE, pc))?;
    let slots = &env.grid.code.operands(op)[..usize::from(matrices.count)];
    for (matrix, slot) in slots.iter().enumerate() {
        for (lane, &value) in warp.lanes.row(*slot).iter().enumerate() {
            let [first, second] = elements(&place.offsets, matrix, lane, matrices.transposed);
            place.cells.store16(first, value as u16);
            place.cells.store16(second, (value >> 16) as u16);
        }
    }
    Ok(())
}
