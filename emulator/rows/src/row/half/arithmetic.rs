//! Sums, products and signs of halves (PTX ISA sections 9.7.4.1 to 9.7.4.6).

use std::marker::PhantomData;

use super::super::Selected;
use super::format::Format;
use super::{Binary16, Shape, Ternary16, Unary16};
use rewind_ptx::Opcode;

const ADD: u8 = 0;
const SUB: u8 = 1;
const MUL: u8 = 2;

/// A sum, difference or product through single precision.
///
/// Rounding twice, to 24 bits and then to 11 or 8, gives what rounding once gives. Sums: 24 >= 2 * 11 + 2 bits are
/// enough for that (Figueroa 1995), and a subnormal result is a multiple of the smallest subnormal and so exact before.
/// Products of halves have 22 bits and are exact. Products of bfloats have 16: from 2^-134 on their last bit is at least
/// 2^-149 and they are exact; smaller ones become a single of at most 2^-134, which gives zero, as it should.
struct Arithmetic<F, const OP: u8, const FTZ: bool, const SAT: bool>(PhantomData<F>);

impl<F: Format, const OP: u8, const FTZ: bool, const SAT: bool> Binary16 for Arithmetic<F, OP, FTZ, SAT> {
    #[inline(always)]
    fn of(a: u16, b: u16) -> u16 {
        let (a, b) = if FTZ { (F::flush(a), F::flush(b)) } else { (a, b) };
        let (a, b) = (F::widen(a), F::widen(b));
        let d = F::narrow(match OP {
            ADD => a + b,
            SUB => a - b,
            _ => a * b,
        });
        finish::<F, FTZ, SAT, false>(d)
    }
}

#[inline(always)]
fn finish<F: Format, const FTZ: bool, const SAT: bool, const RELU: bool>(d: u16) -> u16 {
    let d = if FTZ { F::flush(d) } else { d };
    let d = if SAT { F::saturate(d) } else { d };
    if RELU { F::relu(d) } else { d }
}

struct Fma<F, const FTZ: bool, const SAT: bool, const RELU: bool>(PhantomData<F>);

impl<F: Format, const FTZ: bool, const SAT: bool, const RELU: bool> Ternary16 for Fma<F, FTZ, SAT, RELU> {
    #[inline(always)]
    fn of(a: u16, b: u16, c: u16) -> u16 {
        let (a, b, c) = if FTZ { (F::flush(a), F::flush(b), F::flush(c)) } else { (a, b, c) };
        finish::<F, FTZ, SAT, RELU>(F::fma(a, b, c))
    }
}

/// Signs are bits, also those of a NaN.
struct Neg<F, const FTZ: bool>(PhantomData<F>);

impl<F: Format, const FTZ: bool> Unary16 for Neg<F, FTZ> {
    #[inline(always)]
    fn of(a: u16) -> u16 {
        (if FTZ { F::flush(a) } else { a }) ^ 0x8000
    }
}

struct Abs<F, const FTZ: bool>(PhantomData<F>);

impl<F: Format, const FTZ: bool> Unary16 for Abs<F, FTZ> {
    #[inline(always)]
    fn of(a: u16) -> u16 {
        (if FTZ { F::flush(a) } else { a }) & 0x7fff
    }
}

pub(super) fn binary<F: Format>(opcode: Opcode, ftz: bool, sat: bool, shape: Shape) -> Selected {
    fn with<F: Format, const FTZ: bool, const SAT: bool>(opcode: Opcode, shape: Shape) -> Selected {
        match opcode {
            Opcode::Add => shape.binary::<Arithmetic<F, ADD, FTZ, SAT>>(),
            Opcode::Sub => shape.binary::<Arithmetic<F, SUB, FTZ, SAT>>(),
            _ => shape.binary::<Arithmetic<F, MUL, FTZ, SAT>>(),
        }
    }
    match (ftz, sat) {
        (false, false) => with::<F, false, false>(opcode, shape),
        (false, true) => with::<F, false, true>(opcode, shape),
        (true, false) => with::<F, true, false>(opcode, shape),
        (true, true) => with::<F, true, true>(opcode, shape),
    }
}

/// The tables list no form with both `.sat` and `.relu`.
pub(super) fn fma<F: Format>(ftz: bool, sat: bool, relu: bool, shape: Shape) -> Selected {
    match (ftz, sat, relu) {
        (false, false, false) => shape.ternary::<Fma<F, false, false, false>>(),
        (false, true, _) => shape.ternary::<Fma<F, false, true, false>>(),
        (false, false, true) => shape.ternary::<Fma<F, false, false, true>>(),
        (true, false, false) => shape.ternary::<Fma<F, true, false, false>>(),
        (true, true, _) => shape.ternary::<Fma<F, true, true, false>>(),
        (true, false, true) => shape.ternary::<Fma<F, true, false, true>>(),
    }
}

pub(super) fn neg<F: Format>(ftz: bool, shape: Shape) -> Selected {
    if ftz { shape.unary::<Neg<F, true>>() } else { shape.unary::<Neg<F, false>>() }
}

pub(super) fn abs<F: Format>(ftz: bool, shape: Shape) -> Selected {
    if ftz { shape.unary::<Abs<F, true>>() } else { shape.unary::<Abs<F, false>>() }
}
