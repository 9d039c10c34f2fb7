//! `ldmatrix` and `stmatrix` (PTX ISA sections 9.7.14.5.15 and 9.7.14.5.16): 8x8 matrices of 16-bit elements in shared
//! memory. Lane 8m + r names row r of matrix m; lane l holds elements 2(l mod 4) and the next of row l / 4, or, transposed,
//! of column l / 4.

use crate::exec::code::{BaseWidth, Matrices, Op};
use crate::exec::ops::access::{memories, misplaced, shared_offsets};
use crate::exec::ops::levels::at_levels;
use crate::exec::ops::look::{Kinds, LOAD, Looked, STORE, Strength};
use crate::exec::ops::place::{Memories, addresses};
use crate::exec::run::env::{Env, Faulty};
use crate::exec::run::warp::Warp;
use crate::fault::FaultKind;
use crate::lanes::{Lane, Slot, WARP};
use crate::memory::generic;
use crate::ptx::Space;

const ROW_BYTES: u32 = 16;

/// Where the rows of all matrices lie in shared memory, looked at. Lanes that name no row repeat an offset.
#[inline(always)]
fn rows(
    warp: &Warp,
    env: &mut Env<'_, '_>,
    op: &Op,
    matrices: &Matrices,
    (kinds, pc): (Kinds, u32),
) -> Faulty<[u32; WARP]> {
    let slots = env.grid.operands(op);
    let base = (matrices.address.base != BaseWidth::None).then(|| slots[usize::from(matrices.count)]);
    let mask = if matrices.count == 4 { u32::MAX } else { (1 << (8 * u32::from(matrices.count))) - 1 };
    let offsets = match shared_offsets(warp, env, &matrices.address, base, mask, ROW_BYTES) {
        Some(offsets) => offsets,
        None => anywhere(warp, env, op, matrices, base, mask)?,
    };
    let strength = Strength { strong: false, warp_only: false };
    let looked = Looked { warp: warp.index, op, pc, kinds, bytes: ROW_BYTES, strength };
    match looked.in_shared(env, &offsets, mask, &|_, _| false)? {
        None => Ok(offsets),
        Some(fault) => Err(fault),
    }
}

/// The same of addresses that may be generic, or wrong.
fn anywhere(
    warp: &Warp,
    env: &Env<'_, '_>,
    op: &Op,
    matrices: &Matrices,
    base: Option<Slot>,
    mask: u32,
) -> Faulty<[u32; WARP]> {
    let at = addresses(&warp.lanes, &matrices.address, base);
    let memories = memories!(warp, env);
    match memories.place(matrices.address.bank, &at, mask, ROW_BYTES.into()) {
        Ok(place) if place.mask == mask && place.space == Space::Shared => Ok(place.offsets.map(|o| o as u32)),
        Ok(place) => {
            let lanes = if place.space == Space::Shared { mask & !place.mask } else { place.mask };
            let address = at[lanes.trailing_zeros() as usize % WARP];
            let what = format!("moves the row of a matrix at {address:#x}, which is not all in shared memory");
            let address = Some(generic(Space::Shared, address));
            Err(env.fault(FaultKind::OutOfBounds, warp.index, op, lanes, address, what))
        }
        Err(found) => Err(misplaced(env, warp.index, op, found, "moves the row of a matrix,")),
    }
}

/// The eight elements of each row of a matrix.
type Matrix = [[u16; 8]; 8];

#[inline(always)]
fn load_rows(warp: &mut Warp, env: &mut Env<'_, '_>, op: &Op, matrices: &Matrices, _: u32, pc: u32) -> Faulty<()> {
    let offsets = rows(warp, env, op, matrices, (LOAD, pc))?;
    let slots = &env.grid.operands(op)[..usize::from(matrices.count)];
    let mut values = [[0; WARP]; 4];
    for (values, rows) in values.iter_mut().zip(offsets.as_chunks::<8>().0).take(slots.len()) {
        let mut matrix: Matrix = Default::default();
        for (row, &offset) in matrix.iter_mut().zip(rows) {
            let halves = [0, 8].map(|half| env.shared.load64(offset as usize + half));
            *row = bytemuck::cast(halves);
        }
        for (lane, value) in values.iter_mut().enumerate() {
            let (own, pair) = (lane / 4, 2 * (lane % 4));
            let [low, high] = match matrices.transposed {
                true => [matrix[pair][own], matrix[pair + 1][own]],
                false => [matrix[own][pair], matrix[own][pair + 1]],
            };
            *value = u32::from(high) << 16 | u32::from(low);
        }
    }
    for (slot, values) in slots.iter().zip(values) {
        u32::store(&mut warp.lanes, *slot, values, u32::MAX);
    }
    Ok(())
}

#[inline(always)]
fn store_rows(warp: &mut Warp, env: &mut Env<'_, '_>, op: &Op, matrices: &Matrices, _: u32, pc: u32) -> Faulty<()> {
    let offsets = rows(warp, env, op, matrices, (STORE, pc))?;
    let slots = &env.grid.operands(op)[..usize::from(matrices.count)];
    for (slot, rows) in slots.iter().zip(offsets.as_chunks::<8>().0) {
        let mut matrix: Matrix = Default::default();
        for (lane, &value) in warp.lanes.row(*slot).iter().enumerate() {
            let (own, pair) = (lane / 4, 2 * (lane % 4));
            let (low, high) = (value as u16, (value >> 16) as u16);
            if matrices.transposed {
                (matrix[pair][own], matrix[pair + 1][own]) = (low, high);
            } else {
                (matrix[own][pair], matrix[own][pair + 1]) = (low, high);
            }
        }
        for (row, &offset) in matrix.into_iter().zip(rows) {
            let halves: [u64; 2] = bytemuck::cast(row);
            (0..2).for_each(|half| env.shared.store64(offset as usize + 8 * half, halves[half]));
        }
    }
    Ok(())
}

at_levels! {
    /// `ldmatrix`
    load(Matrices) = load_rows;
    /// `stmatrix`
    store(Matrices) = store_rows;
}
