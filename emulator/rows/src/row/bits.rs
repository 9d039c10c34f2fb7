//! Counting, finding and moving bits of integers (PTX ISA section 9.7.1, from `popc` on).

use super::lift::operations;
use super::{Level, Selected, binary, quaternary, ternary, unary};
use rewind_ptx::{Flag, Instruction, Opcode, ScalarType};

/// Nothing was found.
const NONE: u32 = u32::MAX;

/// `bfe` and `bfi` look at the lower 8 bits of position and length.
#[inline(always)]
fn position(value: u32) -> u32 {
    value & 0xff
}

/// The lowest `len` bits, at most all.
#[inline(always)]
fn ones32(len: u32) -> u32 {
    if len >= 32 { !0 } else { (1 << (len & 31)) - 1 }
}

#[inline(always)]
fn ones64(len: u32) -> u64 {
    if len >= 64 { !0 } else { (1 << (len & 63)) - 1 }
}

#[inline(always)]
fn left32(a: u32, by: u32) -> u32 {
    if by >= 32 { 0 } else { a << (by & 31) }
}

#[inline(always)]
fn left64(a: u64, by: u32) -> u64 {
    if by >= 64 { 0 } else { a << (by & 63) }
}

/// Position of the highest set bit, or how far it is from the top.
#[inline(always)]
fn found<const SHIFT: bool>(zeros: u32, bits: u32) -> u32 {
    match (zeros == bits, SHIFT) {
        (true, _) => NONE,
        (false, true) => zeros,
        (false, false) => bits - 1 - zeros,
    }
}

operations! {
    fn Popc32(a: u32) -> u32 { a.count_ones() }
    fn Popc64(a: u64) -> u32 { a.count_ones() }
    fn Clz32(a: u32) -> u32 { a.leading_zeros() }
    fn Clz64(a: u64) -> u32 { a.leading_zeros() }
    fn Brev32(a: u32) -> u32 { a.reverse_bits() }
    fn Brev64(a: u64) -> u64 { a.reverse_bits() }
    fn BfindU32[SHIFT: bool](a: u32) -> u32 { found::<SHIFT>(a.leading_zeros(), 32) }
    fn BfindU64[SHIFT: bool](a: u64) -> u32 { found::<SHIFT>(a.leading_zeros(), 64) }
    // A negative number is inverted: the sign bits above become zeros.
    fn BfindS32[SHIFT: bool](a: i32) -> u32 { found::<SHIFT>((a ^ a >> 31).leading_zeros(), 32) }
    fn BfindS64[SHIFT: bool](a: i64) -> u32 { found::<SHIFT>((a ^ a >> 63).leading_zeros(), 64) }
    fn BfeU32(a: u32, b: u32, c: u32) -> u32 {
        let at = position(b);
        if at >= 32 { 0 } else { a >> (at & 31) & ones32(position(c)) }
    }
    fn BfeU64(a: u64, b: u32, c: u32) -> u64 {
        let at = position(b);
        if at >= 64 { 0 } else { a >> (at & 63) & ones64(position(c)) }
    }
    fn BfeS32(a: i32, b: u32, c: u32) -> i32 {
        let (at, len) = (position(b), position(c));
        let rest = a >> at.min(31);
        // The field is cut at the top, where the sign fills up anyway.
        let unused = 32 - len.min(32);
        if len == 0 { 0 } else { rest << (unused & 31) >> (unused & 31) }
    }
    fn BfeS64(a: i64, b: u32, c: u32) -> i64 {
        let (at, len) = (position(b), position(c));
        let rest = a >> at.min(63);
        let unused = 64 - len.min(64);
        if len == 0 { 0 } else { rest << (unused & 63) >> (unused & 63) }
    }
    fn Bfi32(a: u32, b: u32, c: u32, e: u32) -> u32 {
        let (at, field) = (position(c), ones32(position(e)));
        b & !left32(field, at) | left32(a & field, at)
    }
    fn Bfi64(a: u64, b: u64, c: u32, e: u32) -> u64 {
        let (at, field) = (position(c), ones64(position(e)));
        b & !left64(field, at) | left64(a & field, at)
    }
    fn BmskClamp(a: u32, b: u32) -> u32 { left32(ones32(b), a) }
    fn BmskWrap(a: u32, b: u32) -> u32 { left32(ones32(b & 31), a & 31) }
    /// A base past 31 is undefined by the ISA; here nothing is found from there.
    fn Fns(mask: u32, base: u32, offset: i32) -> u32 {
        if base > 31 {
            return NONE;
        }
        let bit = 1 << base;
        // The bits to walk over, those below the base mirrored so that both directions walk upwards.
        let (mut left, up) = match offset.signum() {
            0 => return if mask & bit != 0 { base } else { NONE },
            1 => (mask & !(bit - 1), true),
            _ => ((mask & (bit | (bit - 1))).reverse_bits(), false),
        };
        for _ in 1..offset.unsigned_abs().min(33) {
            left &= left.wrapping_sub(1);
        }
        match (left, up) {
            (0, _) => NONE,
            (left, true) => left.trailing_zeros(),
            (left, false) => 31 - left.trailing_zeros(),
        }
    }
}

/// The row function of an instruction of this family.
pub(super) fn select(instruction: &Instruction, level: Level) -> Option<Selected> {
    use ScalarType::*;
    let modifiers = &instruction.modifiers;
    let shift = modifiers.has(Flag::Shiftamt);
    match (instruction.opcode, modifiers.first_type()?) {
        (Opcode::Popc, B32) => Some(unary::<Popc32>(level)),
        (Opcode::Popc, B64) => Some(unary::<Popc64>(level)),
        (Opcode::Clz, B32) => Some(unary::<Clz32>(level)),
        (Opcode::Clz, B64) => Some(unary::<Clz64>(level)),
        (Opcode::Brev, B32) => Some(unary::<Brev32>(level)),
        (Opcode::Brev, B64) => Some(unary::<Brev64>(level)),
        (Opcode::Bfind, U32) if shift => Some(unary::<BfindU32<true>>(level)),
        (Opcode::Bfind, U64) if shift => Some(unary::<BfindU64<true>>(level)),
        (Opcode::Bfind, S32) if shift => Some(unary::<BfindS32<true>>(level)),
        (Opcode::Bfind, S64) if shift => Some(unary::<BfindS64<true>>(level)),
        (Opcode::Bfind, U32) => Some(unary::<BfindU32<false>>(level)),
        (Opcode::Bfind, U64) => Some(unary::<BfindU64<false>>(level)),
        (Opcode::Bfind, S32) => Some(unary::<BfindS32<false>>(level)),
        (Opcode::Bfind, S64) => Some(unary::<BfindS64<false>>(level)),
        (Opcode::Bfe, U32) => Some(ternary::<BfeU32>(level)),
        (Opcode::Bfe, U64) => Some(ternary::<BfeU64>(level)),
        (Opcode::Bfe, S32) => Some(ternary::<BfeS32>(level)),
        (Opcode::Bfe, S64) => Some(ternary::<BfeS64>(level)),
        (Opcode::Bfi, B32) => Some(quaternary::<Bfi32>(level)),
        (Opcode::Bfi, B64) => Some(quaternary::<Bfi64>(level)),
        (Opcode::Bmsk, B32) if modifiers.has(Flag::Wrap) => Some(binary::<BmskWrap>(level)),
        (Opcode::Bmsk, B32) => Some(binary::<BmskClamp>(level)),
        (Opcode::Fns, B32) => Some(ternary::<Fns>(level)),
        _ => None,
    }
}
