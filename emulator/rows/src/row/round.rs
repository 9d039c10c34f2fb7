//! Rounding of `f32` results to nearest, towards zero, down or up (PTX ISA section 9.7.3), without the FPU's modes.
//!
//! The exact result is held as a sum of two `f64`, the smaller below half an ulp of the larger. Its rounding to nearest
//! is one of the two `f32` around it; the sign of what is left over tells which, and the other modes take the neighbour
//! where that one lies on the wrong side.

use rewind_ptx::{Instruction, Rounding};

/// To nearest, ties to even.
pub(super) const RN: u8 = 0;
/// Towards zero.
pub(super) const RZ: u8 = 1;
/// Towards minus infinity.
pub(super) const RM: u8 = 2;
/// Towards plus infinity.
pub(super) const RP: u8 = 3;

/// An instruction's rounding; to nearest where it names none.
pub(super) fn mode(instruction: &Instruction) -> u8 {
    match instruction.modifiers.rounding {
        Some(Rounding::Rz) => RZ,
        Some(Rounding::Rm) => RM,
        Some(Rounding::Rp) => RP,
        _ => RN,
    }
}

/// Knuth's sum: the rounded sum and what the rounding lost, exactly.
#[inline(always)]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_seen = sum - a;
    (sum, (a - (sum - b_seen)) + (b - b_seen))
}

/// Moves a result that was rounded to nearest to the side that `MODE` asks for: `above` and `below` say on which side
/// of the exact result it lies.
#[inline(always)]
fn sided<const MODE: u8>(nearest: f32, above: bool, below: bool) -> f32 {
    let bits = nearest.to_bits();
    let negative = bits >> 31 == 1;
    let (towards_zero, away) = (f32::from_bits(bits.wrapping_sub(1)), f32::from_bits(bits.wrapping_add(1)));
    let (up, down) = if negative { (towards_zero, away) } else { (away, towards_zero) };
    let too_high = match MODE {
        RM => above,
        RZ => above && !negative,
        _ => false,
    };
    let too_low = match MODE {
        RP => below,
        RZ => below && negative,
        _ => false,
    };
    if too_high {
        down
    } else if too_low {
        up
    } else {
        nearest
    }
}

/// The `f32` next to `high + low`. Infinities and NaN pass: their `low` is NaN, and no comparison holds.
#[inline(always)]
fn rounded<const MODE: u8>(high: f64, low: f64) -> f32 {
    let nearest = high as f32;
    let seen = f64::from(nearest);
    sided::<MODE>(nearest, seen > high || seen == high && low < 0.0, seen < high || seen == high && low > 0.0)
}

/// `a + b`
#[inline(always)]
pub(super) fn add<const MODE: u8>(a: f32, b: f32) -> f32 {
    if MODE == RN {
        return a + b;
    }
    let any_negative = a.is_sign_negative() || b.is_sign_negative();
    rounded_sum::<MODE>(a.into(), b.into(), any_negative)
}

/// The sum of two `f64` that are exact.
#[inline(always)]
fn rounded_sum<const MODE: u8>(a: f64, b: f64, any_negative: bool) -> f32 {
    let (high, low) = two_sum(a, b);
    let sum = rounded::<MODE>(high, low);
    // A sum that is zero, and not merely rounded to it, is negative when rounding down unless both terms were positive.
    if MODE == RM && high == 0.0 && any_negative { -0.0 } else { sum }
}

/// `a * b`: the product of two `f32` is exact in `f64`.
#[inline(always)]
pub(super) fn mul<const MODE: u8>(a: f32, b: f32) -> f32 {
    if MODE == RN { a * b } else { rounded::<MODE>(f64::from(a) * f64::from(b), 0.0) }
}

/// `a * b + c`, rounded once.
#[inline(always)]
pub(super) fn fma<const MODE: u8>(a: f32, b: f32, c: f32) -> f32 {
    if MODE == RN {
        return a.mul_add(b, c);
    }
    let product = f64::from(a) * f64::from(b);
    rounded_sum::<MODE>(product, c.into(), product.is_sign_negative() || c.is_sign_negative())
}

/// `a / b`. The remainder of a quotient rounded to nearest is exact in `f64`, and so is the product in it.
#[inline(always)]
pub(super) fn div<const MODE: u8>(a: f32, b: f32) -> f32 {
    let nearest = a / b;
    if MODE == RN {
        return nearest;
    }
    // Infinite where the quotient overflows, NaN where an operand is infinite or the divisor zero: then nothing moves.
    let left = f64::from(a) - f64::from(nearest) * f64::from(b);
    let left = if b.is_sign_negative() { -left } else { left };
    sided::<MODE>(nearest, left < 0.0, left > 0.0)
}

/// The square root of `a`, by the same means.
#[inline(always)]
pub(super) fn sqrt<const MODE: u8>(a: f32) -> f32 {
    let nearest = a.sqrt();
    if MODE == RN {
        return nearest;
    }
    let left = f64::from(a) - f64::from(nearest) * f64::from(nearest);
    sided::<MODE>(nearest, left < 0.0, left > 0.0)
}
