//! Approximate functions (PTX ISA section 9.7.3). The ISA bounds their errors and fixes their special values; what is
//! computed here is much closer: `f64` polynomials, rounded once. They use additions and multiplications alone, so every
//! machine gives the same bits, and no branches, so that SIMD can take them.

use super::float::{finish, flush};
use super::lift::operations;
use super::{Level, Selected, binary, double, unary};
use rewind_ptx::{Flag, Instruction, Opcode, ScalarType};

/// Added to a number below 2^51, it leaves the nearest integer in the lowest bits of the sum.
const INTEGER: f64 = 6_755_399_441_055_744.0;

/// `c[0] + c[1] x + ...`
#[inline(always)]
fn polynomial<const N: usize>(x: f64, coefficients: [f64; N]) -> f64 {
    let mut sum = 0.0;
    for c in coefficients.into_iter().rev() {
        sum = sum * x + c;
    }
    sum
}

/// `2^x`. Past 200 in size the result over- or underflows `f32` anyway.
#[inline(always)]
fn ex2(x: f64) -> f64 {
    let x = if x < -200.0 { -200.0 } else { x };
    let x = if x > 200.0 { 200.0 } else { x };
    let shifted = x + INTEGER;
    let t = (x - (shifted - INTEGER)) * std::f64::consts::LN_2;
    // |t| < 0.347: the first term left out is below 1e-12.
    let fraction = polynomial(
        t,
        [
            1.0,
            1.0,
            1.0 / 2.0,
            1.0 / 6.0,
            1.0 / 24.0,
            1.0 / 120.0,
            1.0 / 720.0,
            1.0 / 5040.0,
            1.0 / 40320.0,
            1.0 / 362_880.0,
            1.0 / 3_628_800.0,
        ],
    );
    fraction * f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52)
}

/// The logarithm to base 2.
#[inline(always)]
fn lg2(x: f64) -> f64 {
    const HALF_ROOT: u64 = std::f64::consts::FRAC_1_SQRT_2.to_bits();
    let bits = x.to_bits();
    let exponent = (bits.wrapping_sub(HALF_ROOT) as i64 >> 52) as u64;
    let mantissa = f64::from_bits(bits.wrapping_sub(exponent << 52));
    let exponent = f64::from_bits(INTEGER.to_bits().wrapping_add(exponent)) - INTEGER;
    // ln m = 2 artanh s; |s| < 0.172, so the first term left out is below 1e-13 of the first.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let series =
        polynomial(s * s, [1.0, 1.0 / 3.0, 1.0 / 5.0, 1.0 / 7.0, 1.0 / 9.0, 1.0 / 11.0, 1.0 / 13.0, 1.0 / 15.0]);
    let finite = exponent + s * series * (2.0 * std::f64::consts::LOG2_E);
    if x == 0.0 {
        f64::NEG_INFINITY
    } else if x > 0.0 && x < f64::INFINITY {
        finite
    } else if x > 0.0 {
        x
    } else {
        f64::NAN
    }
}

/// The sine of `x` plus so many quarter turns. Past 2^48 the argument has no fraction of a turn left to speak of, and
/// counts as whole turns; the ISA bounds the error up to 100 pi.
#[inline(always)]
fn sine(x: f64, quarters: u64) -> f64 {
    // pi/2 in two parts; a product of the first with a small integer is exact.
    const HIGH: f64 = f64::from_bits(0x3ff9_21fb_5440_0000);
    const LOW: f64 = f64::from_bits(0x3dd0_b461_1a62_6331);
    let x = if x.abs() < (1u64 << 48) as f64 { x } else { x * 0.0 };
    let shifted = x * std::f64::consts::FRAC_2_PI + INTEGER;
    let whole = shifted - INTEGER;
    let r = (x - whole * HIGH) - whole * LOW;
    let quadrant = shifted.to_bits().wrapping_add(quarters);
    let z = r * r;
    // |r| < 0.786: the first terms left out are below 1e-13.
    let sin = r * polynomial(
        z,
        [1.0, -1.0 / 6.0, 1.0 / 120.0, -1.0 / 5040.0, 1.0 / 362_880.0, -1.0 / 39_916_800.0, 1.0 / 6_227_020_800.0],
    );
    let cos = polynomial(
        z,
        [
            1.0,
            -1.0 / 2.0,
            1.0 / 24.0,
            -1.0 / 720.0,
            1.0 / 40320.0,
            -1.0 / 3_628_800.0,
            1.0 / 479_001_600.0,
            -1.0 / 87_178_291_200.0,
        ],
    );
    let value = if quadrant & 1 == 0 { sin } else { cos };
    if quadrant & 2 == 0 { value } else { -value }
}

/// The hyperbolic tangent.
#[inline(always)]
fn tanh(x: f64) -> f64 {
    let e = ex2(2.0 * std::f64::consts::LOG2_E * x);
    let z = x * x;
    // `e - 1` would cancel near 0; there the first term left out is below 1e-13.
    let near = x * polynomial(z, [1.0, -1.0 / 3.0, 2.0 / 15.0, -17.0 / 315.0]);
    let far = (e - 1.0) / (e + 1.0);
    if x.abs() < 1.0 / 32.0 { near } else { far }
}

/// The upper word of a double, where the gross approximations of `f64` take their argument and put their result.
#[inline(always)]
fn upper(x: f64) -> f64 {
    const WORD: u64 = !0 << 32;
    // Subnormal numbers become zeros.
    let x = if x.abs() < f64::MIN_POSITIVE { 0.0f64.copysign(x) } else { x };
    f64::from_bits(x.to_bits() & WORD)
}

/// `of` on upper words; NaN must not lose its payload on the way and become infinite.
#[inline(always)]
fn gross(x: f64, y: f64) -> f64 {
    if x.is_nan() || y.is_nan() {
        return upper(double::finish(f64::NAN));
    }
    // Rounded to the nearest upper word; no result is so large that this overflows.
    let half = if y.is_infinite() { 0 } else { 1 << 31 };
    upper(f64::from_bits(y.to_bits().wrapping_add(half)))
}

operations! {
    // Correctly rounded, which is within the ISA's bounds.
    fn Rcp[FTZ: bool](a: f32) -> f32 { finish::<FTZ, false>(1.0 / flush::<FTZ>(a)) }
    fn Sqrt[FTZ: bool](a: f32) -> f32 { finish::<FTZ, false>(flush::<FTZ>(a).sqrt()) }
    fn Rsqrt[FTZ: bool](a: f32) -> f32 { finish::<FTZ, false>((1.0 / f64::from(flush::<FTZ>(a)).sqrt()) as f32) }
    fn DivFull[FTZ: bool](a: f32, b: f32) -> f32 { finish::<FTZ, false>(flush::<FTZ>(a) / flush::<FTZ>(b)) }
    // As `a * (1/b)`: the reciprocal of a divisor past 2^126 counts as zero.
    fn Div[FTZ: bool](a: f32, b: f32) -> f32 {
        const LARGE: f32 = f32::from_bits(253 << 23);
        let (a, b) = (flush::<FTZ>(a), flush::<FTZ>(b));
        let quotient = if b.abs() > LARGE && b.is_finite() { a * 0.0f32.copysign(b) } else { a / b };
        finish::<FTZ, false>(quotient)
    }
    fn Sin[FTZ: bool](a: f32) -> f32 { finish::<FTZ, false>(sine(flush::<FTZ>(a).into(), 0) as f32) }
    fn Cos[FTZ: bool](a: f32) -> f32 { finish::<FTZ, false>(sine(flush::<FTZ>(a).into(), 1) as f32) }
    fn Lg2[FTZ: bool](a: f32) -> f32 { finish::<FTZ, false>(lg2(flush::<FTZ>(a).into()) as f32) }
    fn Ex2[FTZ: bool](a: f32) -> f32 { finish::<FTZ, false>(ex2(flush::<FTZ>(a).into()) as f32) }
    fn Tanh(a: f32) -> f32 { finish::<false, false>(tanh(a.into()) as f32) }
    fn RcpF64(a: f64) -> f64 { gross(a, 1.0 / upper(a)) }
    fn RsqrtF64[FTZ: bool](a: f64) -> f64 {
        if FTZ { gross(a, 1.0 / upper(a).sqrt()) } else { double::finish(1.0 / a.sqrt()) }
    }
}

/// An operation with and without `.ftz`.
macro_rules! flushing {
    ($lift:ident, $op:ident, $ftz:expr, $level:expr) => {
        if $ftz { $lift::<$op<true>>($level) } else { $lift::<$op<false>>($level) }
    };
}

/// The row function of an instruction of this family.
pub(super) fn select(instruction: &Instruction, level: Level) -> Option<Selected> {
    let modifiers = &instruction.modifiers;
    let ftz = modifiers.has(Flag::Ftz);
    if !(modifiers.has(Flag::Approx) || modifiers.has(Flag::Full)) {
        return None;
    }
    Some(match (instruction.opcode, modifiers.first_type()?) {
        (Opcode::Rcp, ScalarType::F32) => flushing!(unary, Rcp, ftz, level),
        (Opcode::Sqrt, ScalarType::F32) => flushing!(unary, Sqrt, ftz, level),
        (Opcode::Rsqrt, ScalarType::F32) => flushing!(unary, Rsqrt, ftz, level),
        (Opcode::Div, ScalarType::F32) if modifiers.has(Flag::Full) => flushing!(binary, DivFull, ftz, level),
        (Opcode::Div, ScalarType::F32) => flushing!(binary, Div, ftz, level),
        (Opcode::Sin, ScalarType::F32) => flushing!(unary, Sin, ftz, level),
        (Opcode::Cos, ScalarType::F32) => flushing!(unary, Cos, ftz, level),
        (Opcode::Lg2, ScalarType::F32) => flushing!(unary, Lg2, ftz, level),
        (Opcode::Ex2, ScalarType::F32) => flushing!(unary, Ex2, ftz, level),
        (Opcode::Tanh, ScalarType::F32) => unary::<Tanh>(level),
        (Opcode::Rcp, ScalarType::F64) => unary::<RcpF64>(level),
        (Opcode::Rsqrt, ScalarType::F64) => flushing!(unary, RsqrtF64, ftz, level),
        _ => return None,
    })
}
