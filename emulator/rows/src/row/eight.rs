//! Conversions of 8-bit floats, two at a time (PTX ISA section 9.7.9.21): e4m3 has no infinities and one NaN, e5m2 is
//! the upper byte of a half. The first source is the upper byte.

use super::half::{F16, Format};
use super::{Binary, Level, Selected, Unary, binary, unary};
use rewind_ptx::{Flag, Instruction, Opcode, ScalarType};

/// One of the two formats.
struct Eight {
    /// Bits of the fraction.
    fraction: u32,
    /// The exponent of the smallest normal number.
    least: i32,
    /// The largest finite value, and its bits.
    most: (f32, u8),
}

const E4M3: Eight = Eight { fraction: 3, least: -6, most: (448.0, 0x7e) };
const E5M2: Eight = Eight { fraction: 2, least: -14, most: (57344.0, 0x7b) };
const NAN: u8 = 0x7f;

const fn format(e4m3: bool) -> Eight {
    if e4m3 { E4M3 } else { E5M2 }
}

/// To nearest, ties to even; what is too large becomes the largest finite value (`.rn.satfinite`).
#[inline(always)]
fn narrow(format: Eight, x: f32, relu: bool) -> u8 {
    if x.is_nan() {
        return NAN;
    }
    if relu && x.is_sign_negative() {
        return 0;
    }
    let (sign, size) = ((x.to_bits() >> 31) as u8 * 0x80, x.abs());
    if size >= format.most.0 {
        return sign | format.most.1;
    }
    let exponent = ((size.to_bits() >> 23) as i32 - 127).max(format.least);
    // In units of the last place: a power of two that a single has, so the quotient is exact.
    let unit = f32::from_bits(((exponent - format.fraction as i32 + 127) as u32) << 23);
    let places = (size / unit).round_ties_even() as u32;
    // A carry out of the fraction moves the exponent up by itself.
    sign | ((((exponent - format.least) as u32) << format.fraction) + places) as u8
}

/// The half of the same value: both formats fit.
#[inline(always)]
fn widen(e4m3: bool, bits: u8, relu: bool) -> u16 {
    let (sign, size) = (u16::from(bits & 0x80) << 8, bits & 0x7f);
    if size == NAN || !e4m3 && size > 0x7c {
        return 0x7fff;
    }
    if relu && sign != 0 {
        return 0;
    }
    if !e4m3 {
        return sign | u16::from(size) << 8;
    }
    // As the fraction and exponent of a single, whose bias is 120 more.
    let value = f32::from_bits(u32::from(size) << 20) * f32::from_bits((127 + 120) << 23);
    sign | F16::narrow(value)
}

struct Pack<const E4M3: bool, const RELU: bool>;
impl<const E4M3: bool, const RELU: bool> Binary for Pack<E4M3, RELU> {
    type A = f32;
    type B = f32;
    type D = u16;
    #[inline(always)]
    fn of(a: f32, b: f32) -> u16 {
        u16::from(narrow(format(E4M3), a, RELU)) << 8 | u16::from(narrow(format(E4M3), b, RELU))
    }
}

struct Narrow<const E4M3: bool, const RELU: bool>;
impl<const E4M3: bool, const RELU: bool> Unary for Narrow<E4M3, RELU> {
    type A = u32;
    type D = u16;
    #[inline(always)]
    fn of(a: u32) -> u16 {
        Pack::<E4M3, RELU>::of(F16::widen((a >> 16) as u16), F16::widen(a as u16))
    }
}

struct Widen<const E4M3: bool, const RELU: bool>;
impl<const E4M3: bool, const RELU: bool> Unary for Widen<E4M3, RELU> {
    type A = u16;
    type D = u32;
    #[inline(always)]
    fn of(a: u16) -> u32 {
        let [low, high] = a.to_le_bytes().map(|byte| u32::from(widen(E4M3, byte, RELU)));
        high << 16 | low
    }
}

/// The row function of an instruction of this family.
pub(super) fn select(i: &Instruction, level: Level) -> Option<Selected> {
    use ScalarType::{E4m3x2, E5m2x2, F16x2, F32};
    if i.opcode != Opcode::Cvt {
        return None;
    }
    let [Some(to), Some(from), ..] = i.modifiers.types else { return None };
    Some(match (to, from, i.modifiers.has(Flag::Relu)) {
        (E4m3x2, F32, false) => binary::<Pack<true, false>>(level),
        (E4m3x2, F32, true) => binary::<Pack<true, true>>(level),
        (E5m2x2, F32, false) => binary::<Pack<false, false>>(level),
        (E5m2x2, F32, true) => binary::<Pack<false, true>>(level),
        (E4m3x2, F16x2, false) => unary::<Narrow<true, false>>(level),
        (E4m3x2, F16x2, true) => unary::<Narrow<true, true>>(level),
        (E5m2x2, F16x2, false) => unary::<Narrow<false, false>>(level),
        (E5m2x2, F16x2, true) => unary::<Narrow<false, true>>(level),
        (F16x2, E4m3x2, false) => unary::<Widen<true, false>>(level),
        (F16x2, E4m3x2, true) => unary::<Widen<true, true>>(level),
        (F16x2, E5m2x2, false) => unary::<Widen<false, false>>(level),
        (F16x2, E5m2x2, true) => unary::<Widen<false, true>>(level),
        _ => return None,
    })
}
