//! Atomics (PTX ISA section 9.7.13.5): lane after lane, lowest first, each a true atomic of the host, since blocks on
//! other threads may reach the same place.

use std::sync::atomic::Ordering::Relaxed;

use crate::exec::code::{Atomic, Op};
use crate::exec::ops::access::{memories, misplaced};
use crate::exec::ops::look::{ATOMIC, Against, Looked, SETTING, Strength};
use crate::exec::ops::place::{Memories, addresses};
use crate::exec::run::env::{Env, Faulty, scope};
use crate::exec::run::warp::Warp;
use crate::fault::FaultKind;
use crate::lanes::{Lane, WARP, Width};
use crate::memory::{Cells, Origin};
use crate::ptx::{AtomicOp, ScalarType, Space};

pub(in crate::exec) fn run(
    warp: &mut Warp,
    env: &mut Env<'_, '_>,
    op: &Op,
    atomic: &Atomic,
    exec: u32,
    pc: u32,
) -> Faulty<()> {
    let slots = env.grid.operands(op);
    let based = usize::from(atomic.address.base != crate::exec::code::BaseWidth::None);
    let at = addresses(&warp.lanes, &atomic.address, slots.get(1).copied());
    let bytes = atomic.ty.bytes() as u32;
    let wide = crate::exec::code::width_of(atomic.ty) == Width::W64;
    let operand = |warp: &Warp, slot: usize| match slots.get(1 + based + slot) {
        Some(&slot) if wide => *warp.lanes.wide(slot),
        Some(&slot) => warp.lanes.row(slot).map(u64::from),
        None => [0; WARP],
    };
    let (first, second) = (operand(warp, 0), operand(warp, 1));
    if let (Some(wide), Some(checks)) = (atomic.fence, &mut env.checks) {
        checks.fence(warp.index, scope(wide));
    }
    let mut old = [0u64; WARP];
    let mut rest = exec;
    while rest != 0 {
        let memories = memories!(warp, env);
        let place = match memories.place(atomic.address.bank, &at, rest, u64::from(bytes)) {
            Ok(place) => place,
            Err(found) => return Err(misplaced(env, warp.index, op, found, "atomically changes")),
        };
        let constant = place.allocation.is_some_and(|a| matches!(a.origin, Origin::Constant(_)));
        if constant || place.space == Space::Param {
            let address = at[place.mask.trailing_zeros() as usize % WARP];
            let kind = if constant { "constant memory" } else { "the kernel's parameters" };
            let what = format!("atomically changes {bytes} bytes at {address:#x}, which lies in {kind}");
            return Err(env.fault(FaultKind::ReadOnly, warp.index, op, place.mask, Some(address), what));
        }
        let kind = if atomic.reads { ATOMIC } else { SETTING };
        Looked { warp: warp.index, op, pc, kinds: kind, bytes, strength: Strength { strong: true, warp_only: false } }
            .observe(env, &place, &at, &|_, against| against != Against::Memory)?;
        // Sums of floats lose subnormals in global memory and keep them in shared memory (PTX ISA section 9.7.13.5).
        let flushes = place.space == Space::Global && (atomic.op, atomic.ty) == (AtomicOp::Add, ScalarType::F32);
        for lane in (0..WARP).filter(|l| place.mask >> l & 1 == 1) {
            let offset = place.offsets[lane] as usize;
            old[lane] = change(place.cells, offset, atomic, flushes, first[lane], second[lane]);
        }
        crate::exec::ops::access::mark(&place, bytes);
        rest &= !place.mask;
    }
    if wide {
        u64::store(&mut warp.lanes, slots[0], old, exec);
    } else {
        u32::store(&mut warp.lanes, slots[0], old.map(|v| v as u32), exec);
    }
    if let (Some(wide), Some(checks)) = (atomic.fence, &mut env.checks) {
        checks.fence(warp.index, scope(wide));
    }
    Ok(())
}

/// Changes one place; gives what was there.
fn change(cells: &Cells, at: usize, atomic: &Atomic, flushes: bool, a: u64, b: u64) -> u64 {
    let new = |old: u64| match flushes {
        true => flushed(result(atomic.op, atomic.ty, flushed(old), flushed(a), b)),
        false => result(atomic.op, atomic.ty, old, a, b),
    };
    macro_rules! update {
        ($cell:ident, $ty:ty) => {{
            let cell = cells.$cell(at);
            let mut old = cell.load(Relaxed);
            loop {
                match cell.compare_exchange_weak(old, new(old.into()) as $ty, Relaxed, Relaxed) {
                    Ok(_) => return old.into(),
                    Err(now) => old = now,
                }
            }
        }};
    }
    match atomic.ty.bytes() {
        2 => update!(atomic16, u16),
        4 => update!(atomic32, u32),
        _ => update!(atomic64, u64),
    }
}

/// A float, or a zero of its sign if it is subnormal.
fn flushed(bits: u64) -> u64 {
    if bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { bits }
}

/// What an atomic leaves in memory.
fn result(op: AtomicOp, ty: ScalarType, old: u64, a: u64, b: u64) -> u64 {
    use ScalarType::{Bf16, Bf16x2, F16, F16x2, F32, F64, S32, S64};
    let word = |v: u32| u64::from(v);
    match (op, ty) {
        (AtomicOp::Add, F32) => {
            let sum = f32::from_bits(old as u32) + f32::from_bits(a as u32);
            // The canonical NaN of PTX, the same on every host.
            if sum.is_nan() { 0x7fff_ffff } else { word(sum.to_bits()) }
        }
        (AtomicOp::Add, F64) => (f64::from_bits(old) + f64::from_bits(a)).to_bits(),
        (AtomicOp::Add, F16 | F16x2 | Bf16 | Bf16x2) => {
            let brain = matches!(ty, Bf16 | Bf16x2);
            let sum = |x: u64, y: u64| half_add(x as u16, y as u16, brain);
            let (low, high) = (sum(old, a), sum(old >> 16, a >> 16));
            if ty.bytes() == 2 { low.into() } else { u64::from(high) << 16 | u64::from(low) }
        }
        (AtomicOp::Add, _) => old.wrapping_add(a),
        (AtomicOp::Min, S32) => word((old as i32).min(a as i32) as u32),
        (AtomicOp::Max, S32) => word((old as i32).max(a as i32) as u32),
        (AtomicOp::Min, S64) => (old as i64).min(a as i64) as u64,
        (AtomicOp::Max, S64) => (old as i64).max(a as i64) as u64,
        (AtomicOp::Min, _) => old.min(a),
        (AtomicOp::Max, _) => old.max(a),
        (AtomicOp::Inc, _) => {
            if old >= a {
                0
            } else {
                old + 1
            }
        }
        (AtomicOp::Dec, _) => {
            if old == 0 || old > a {
                a
            } else {
                old - 1
            }
        }
        (AtomicOp::And, _) => old & a,
        (AtomicOp::Or, _) => old | a,
        (AtomicOp::Xor, _) => old ^ a,
        (AtomicOp::Exch, _) => a,
        (AtomicOp::Cas, _) => {
            if old == a {
                b
            } else {
                old
            }
        }
    }
}

/// The sum of two halves, rounded to nearest: 24 bits hold the exact sum, or err so little that rounding twice is as
/// rounding once (both formats have fewer than half of its bits).
fn half_add(a: u16, b: u16, brain: bool) -> u16 {
    if brain {
        let sum = f32::from_bits(u32::from(a) << 16) + f32::from_bits(u32::from(b) << 16);
        half::bf16::from_f32(sum).to_bits()
    } else {
        half::f16::from_f32(half::f16::from_bits(a).to_f32() + half::f16::from_bits(b).to_f32()).to_bits()
    }
}
