//! Powers of two and hyperbolic tangents of halves (PTX ISA sections 9.7.4.9 and 9.7.4.10).
//!
//! Computed in single precision and rounded once, so the errors are half an ulp of the format and a little: less than
//! what the ISA allows. Hardware rounds otherwise within those bounds, so the bits may differ from it.

use std::marker::PhantomData;

use super::super::Selected;
use super::format::Format;
use super::{Shape, Unary16};

/// `2^n` for n in -126..=127.
#[inline(always)]
fn power(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

/// `2^x` within a relative error of 2^-21 for x in [-250, 250].
#[inline(always)]
fn exp2(x: f32) -> f32 {
    // Adding 3 * 2^22 leaves the nearest integer in the last bits of the sum.
    const SHIFT: f32 = 12_582_912.0;
    let shifted = x + SHIFT;
    let n = shifted.to_bits().wrapping_sub(SHIFT.to_bits()) as i32;
    let t = (x - (shifted - SHIFT)) * std::f32::consts::LN_2;
    // The series of e^t up to t^6; |t| <= 0.35, so that the rest is below 1.3e-7.
    let e = (((((t / 720.0 + 1.0 / 120.0) * t + 1.0 / 24.0) * t + 1.0 / 6.0) * t + 0.5) * t + 1.0) * t + 1.0;
    // In two steps, as a bfloat's smallest powers leave the exponents of normal singles.
    let half = n >> 1;
    e * power(half) * power(n.wrapping_sub(half))
}

struct Ex2<F, const FTZ: bool>(PhantomData<F>);

impl<F: Format, const FTZ: bool> Unary16 for Ex2<F, FTZ> {
    #[inline(always)]
    fn of(a: u16) -> u16 {
        let x = F::widen(if FTZ { F::flush(a) } else { a });
        // Beyond these both formats overflow or vanish. NaN fails both comparisons and stays.
        let x = if x > 250.0 { 250.0 } else { x };
        let x = if x < -250.0 { -250.0 } else { x };
        let d = F::narrow(if F::is_nan(a) { f32::NAN } else { exp2(x) });
        if FTZ { F::flush(d) } else { d }
    }
}

struct Tanh<F>(PhantomData<F>);

impl<F: Format> Unary16 for Tanh<F> {
    #[inline(always)]
    fn of(a: u16) -> u16 {
        let x = F::widen(a & 0x7fff);
        // From 20 on it is 1 in single precision.
        let x = if x > 20.0 { 20.0 } else { x };
        // Near zero the quotient cancels; the series up to x^9 has a relative error below 1e-5 where |x| < 1/2.
        let square = x * x;
        let series = (62.0 / 2835.0 * square - 17.0 / 315.0) * square + 2.0 / 15.0;
        let small = x * ((series * square - 1.0 / 3.0) * square + 1.0);
        let large = 1.0 - 2.0 / (exp2(x * (2.0 * std::f32::consts::LOG2_E)) + 1.0);
        let value = if x < 0.5 { small } else { large };
        let sign = if F::is_nan(a) { 0 } else { a & 0x8000 };
        F::narrow(if F::is_nan(a) { f32::NAN } else { value }) | sign
    }
}

pub(super) fn ex2<F: Format>(ftz: bool, shape: Shape) -> Selected {
    if ftz { shape.unary::<Ex2<F, true>>() } else { shape.unary::<Ex2<F, false>>() }
}

pub(super) fn tanh<F: Format>(shape: Shape) -> Selected {
    shape.unary::<Tanh<F>>()
}
