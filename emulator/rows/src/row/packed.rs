//! Integers packed into words: pairs of 16 bits, and dot products (PTX ISA section 9.7.1).

use super::lift::operations;
use super::{Level, Selected, binary, ternary};
use rewind_ptx::{Instruction, Modifiers, Opcode, Part, ScalarType};

/// Each half by itself, as unsigned numbers.
#[inline(always)]
fn halves(a: u32, b: u32, of: impl Fn(u16, u16) -> u16) -> u32 {
    u32::from(of(a as u16, b as u16)) | u32::from(of((a >> 16) as u16, (b >> 16) as u16)) << 16
}

#[inline(always)]
fn signed_halves(a: u32, b: u32, of: impl Fn(i16, i16) -> i16) -> u32 {
    halves(
        a,
        b,
        #[inline(always)]
        |a, b| of(a as i16, b as i16) as u16,
    )
}

/// Byte `n`, extended by its sign if it has one.
#[inline(always)]
fn byte<const SIGNED: bool>(a: u32, n: u32) -> u32 {
    let byte = (a >> (8 * n)) as u8;
    if SIGNED { byte as i8 as u32 } else { u32::from(byte) }
}

/// Half `n`, likewise.
#[inline(always)]
fn half<const SIGNED: bool>(a: u32, n: u32) -> u32 {
    let half = (a >> (16 * n)) as u16;
    if SIGNED { half as i16 as u32 } else { u32::from(half) }
}

operations! {
    fn Add16x2(a: u32, b: u32) -> u32 { halves(a, b, u16::wrapping_add) }
    fn MinU16x2(a: u32, b: u32) -> u32 { halves(a, b, u16::min) }
    fn MaxU16x2(a: u32, b: u32) -> u32 { halves(a, b, u16::max) }
    fn MinS16x2(a: u32, b: u32) -> u32 { signed_halves(a, b, i16::min) }
    fn MaxS16x2(a: u32, b: u32) -> u32 { signed_halves(a, b, i16::max) }
    // Modulo 2^32 the sums are the same whether the products are signed or not, once the factors are extended.
    fn Dp4a[SA: bool, SB: bool](a: u32, b: u32, c: u32) -> u32 {
        let mut sum = c;
        for n in 0..4 {
            sum = sum.wrapping_add(byte::<SA>(a, n).wrapping_mul(byte::<SB>(b, n)));
        }
        sum
    }
    /// With `ADD` the differences are added to `c`, otherwise each takes its byte's place.
    fn Difference[SA: bool, SB: bool, ADD: bool](a: u32, b: u32, c: u32) -> u32 {
        let mut sum = if ADD { c } else { 0 };
        for n in 0..4 {
            let size = (byte::<SA>(a, n) as i32).abs_diff(byte::<SB>(b, n) as i32);
            sum = if ADD { sum.wrapping_add(size) } else { sum | (size & 0xff) << (8 * n) };
        }
        sum
    }
    /// `FROM` is the first byte of `b` that counts.
    fn Dp2a[SA: bool, SB: bool, FROM: u32](a: u32, b: u32, c: u32) -> u32 {
        let mut sum = c;
        for n in 0..2 {
            sum = sum.wrapping_add(half::<SA>(a, n).wrapping_mul(byte::<SB>(b, FROM + n)));
        }
        sum
    }
}

fn dot(opcode: Opcode, modifiers: &Modifiers, level: Level) -> Option<Selected> {
    let [Some(a), Some(b), ..] = modifiers.types else { return None };
    let signed = (a == ScalarType::S32, b == ScalarType::S32);
    Some(match (opcode, modifiers.part, signed) {
        (Opcode::Dp4a, _, (false, false)) => ternary::<Dp4a<false, false>>(level),
        (Opcode::Dp4a, _, (false, true)) => ternary::<Dp4a<false, true>>(level),
        (Opcode::Dp4a, _, (true, false)) => ternary::<Dp4a<true, false>>(level),
        (Opcode::Dp4a, _, (true, true)) => ternary::<Dp4a<true, true>>(level),
        (_, Some(Part::Hi), (false, false)) => ternary::<Dp2a<false, false, 2>>(level),
        (_, Some(Part::Hi), (false, true)) => ternary::<Dp2a<false, true, 2>>(level),
        (_, Some(Part::Hi), (true, false)) => ternary::<Dp2a<true, false, 2>>(level),
        (_, Some(Part::Hi), (true, true)) => ternary::<Dp2a<true, true, 2>>(level),
        (_, _, (false, false)) => ternary::<Dp2a<false, false, 0>>(level),
        (_, _, (false, true)) => ternary::<Dp2a<false, true, 0>>(level),
        (_, _, (true, false)) => ternary::<Dp2a<true, false, 0>>(level),
        (_, _, (true, true)) => ternary::<Dp2a<true, true, 0>>(level),
    })
}

/// `vabsdiff4`: without saturation and with all four bytes selected (PTX ISA section 9.7.17.2).
fn difference(modifiers: &Modifiers, level: Level) -> Option<Selected> {
    let signed = |n: usize| Some(modifiers.types[n]? == ScalarType::S32);
    Some(match (signed(1)?, signed(2)?, modifiers.atomic.is_some()) {
        (false, false, false) => ternary::<Difference<false, false, false>>(level),
        (false, false, true) => ternary::<Difference<false, false, true>>(level),
        (false, true, false) => ternary::<Difference<false, true, false>>(level),
        (false, true, true) => ternary::<Difference<false, true, true>>(level),
        (true, false, false) => ternary::<Difference<true, false, false>>(level),
        (true, false, true) => ternary::<Difference<true, false, true>>(level),
        (true, true, false) => ternary::<Difference<true, true, false>>(level),
        (true, true, true) => ternary::<Difference<true, true, true>>(level),
    })
}

/// The row function of an instruction of this family.
pub(super) fn select(instruction: &Instruction, level: Level) -> Option<Selected> {
    use ScalarType::{S16x2, U16x2};
    match (instruction.opcode, instruction.modifiers.first_type()?) {
        (opcode @ (Opcode::Dp4a | Opcode::Dp2a), _) => dot(opcode, &instruction.modifiers, level),
        (Opcode::Vabsdiff4, _) => difference(&instruction.modifiers, level),
        (Opcode::Add, U16x2 | S16x2) => Some(binary::<Add16x2>(level)),
        (Opcode::Min, U16x2) => Some(binary::<MinU16x2>(level)),
        (Opcode::Max, U16x2) => Some(binary::<MaxU16x2>(level)),
        (Opcode::Min, S16x2) => Some(binary::<MinS16x2>(level)),
        (Opcode::Max, S16x2) => Some(binary::<MaxS16x2>(level)),
        _ => None,
    }
}
