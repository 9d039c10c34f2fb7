//! Integer arithmetic (PTX ISA section 9.7.1).

use super::lift::operations;
use super::{Level, Selected, binary, ternary, unary};
use crate::lanes::Lane;
use rewind_ptx::{Flag, Instruction, Opcode, Part, ScalarType};

/// A lane of integers.
pub(super) trait Integer: Lane + Ord {
    /// Sum, cut to the width.
    fn plus(self, other: Self) -> Self;
    /// Difference, cut to the width.
    fn minus(self, other: Self) -> Self;
    /// Lower half of the product.
    fn times(self, other: Self) -> Self;
    /// Upper half of the product.
    fn times_high(self, other: Self) -> Self;
    /// Quotient towards zero.
    fn over(self, other: Self) -> Self;
    /// Remainder with the sign of the dividend.
    fn modulo(self, other: Self) -> Self;
    /// `|self - other|`, cut to the width.
    fn distance(self, other: Self) -> Self;
    /// The lower 24 bits, extended to the width.
    fn low24(self) -> Self;
    /// Bits 16 to 47 of the product of two numbers of 24 bits.
    fn times24_high(self, other: Self) -> Self;
}

// A division by zero has an unspecified result by the ISA; hardware gives all ones for quotient and remainder.
macro_rules! integers {
    ($($ty:ident, $double:ty, |$a:ident, $b:ident| $over:expr;)+) => {$(
        impl Integer for $ty {
            #[inline(always)]
            fn plus(self, other: $ty) -> $ty {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn minus(self, other: $ty) -> $ty {
                self.wrapping_sub(other)
            }
            #[inline(always)]
            fn times(self, other: $ty) -> $ty {
                self.wrapping_mul(other)
            }
            #[inline(always)]
            fn times_high(self, other: $ty) -> $ty {
                (self as $double * other as $double >> $ty::BITS) as $ty
            }
            #[inline(always)]
            fn over(self, other: $ty) -> $ty {
                let ($a, $b) = (self, other);
                if other == 0 { !0 } else { $over }
            }
            #[inline(always)]
            fn modulo(self, other: $ty) -> $ty {
                if other == 0 { !0 } else { self.wrapping_sub(self.over(other).wrapping_mul(other)) }
            }
            #[inline(always)]
            fn distance(self, other: $ty) -> $ty {
                if self < other { other.wrapping_sub(self) } else { self.wrapping_sub(other) }
            }
            #[inline(always)]
            fn low24(self) -> $ty {
                const UNUSED: u32 = $ty::BITS.saturating_sub(24);
                self << UNUSED >> UNUSED
            }
            #[inline(always)]
            fn times24_high(self, other: $ty) -> $ty {
                (self.low24() as i64 * other.low24() as i64 >> 16) as $ty
            }
        }
    )+};
}

// 32-bit quotients go through f64, which SIMD can divide: a quotient that is no integer differs from the next one by
// at least one part in 2^32, so rounding to 53 bits cannot reach it.
integers! {
    u16, u32, |a, b| (f32::from(a) / f32::from(b)) as u16;
    i16, i32, |a, b| (i32::from(a).wrapping_div(i32::from(b))) as i16;
    u32, u64, |a, b| (f64::from(a) / f64::from(b)) as u32;
    i32, i64, |a, b| (f64::from(a) / f64::from(b)) as i64 as i32;
    u64, u128, |a, b| a / b;
    i64, i128, |a, b| a.wrapping_div(b);
}

operations! {
    fn Add<T: Integer>(a: T, b: T) -> T { a.plus(b) }
    fn Sub<T: Integer>(a: T, b: T) -> T { a.minus(b) }
    fn MulLo<T: Integer>(a: T, b: T) -> T { a.times(b) }
    fn MulHi<T: Integer>(a: T, b: T) -> T { a.times_high(b) }
    fn MadLo<T: Integer>(a: T, b: T, c: T) -> T { a.times(b).plus(c) }
    fn MadHi<T: Integer>(a: T, b: T, c: T) -> T { a.times_high(b).plus(c) }
    fn AddSat(a: i32, b: i32) -> i32 { a.saturating_add(b) }
    fn SubSat(a: i32, b: i32) -> i32 { a.saturating_sub(b) }
    fn MadHiSat(a: i32, b: i32, c: i32) -> i32 { a.times_high(b).saturating_add(c) }
    fn Mul24Lo<T: Integer>(a: T, b: T) -> T { a.low24().times(b.low24()) }
    fn Mul24Hi<T: Integer>(a: T, b: T) -> T { a.times24_high(b) }
    fn Mad24Lo<T: Integer>(a: T, b: T, c: T) -> T { a.low24().times(b.low24()).plus(c) }
    fn Mad24Hi<T: Integer>(a: T, b: T, c: T) -> T { a.times24_high(b).plus(c) }
    fn Mad24HiSat(a: i32, b: i32, c: i32) -> i32 { a.times24_high(b).saturating_add(c) }
    fn MulWideU16(a: u16, b: u16) -> u32 { u32::from(a) * u32::from(b) }
    fn MulWideS16(a: i16, b: i16) -> i32 { i32::from(a) * i32::from(b) }
    fn MulWideU32(a: u32, b: u32) -> u64 { u64::from(a) * u64::from(b) }
    fn MulWideS32(a: i32, b: i32) -> i64 { i64::from(a) * i64::from(b) }
    fn MadWideU16(a: u16, b: u16, c: u32) -> u32 { (u32::from(a) * u32::from(b)).wrapping_add(c) }
    fn MadWideS16(a: i16, b: i16, c: i32) -> i32 { (i32::from(a) * i32::from(b)).wrapping_add(c) }
    fn MadWideU32(a: u32, b: u32, c: u64) -> u64 { (u64::from(a) * u64::from(b)).wrapping_add(c) }
    fn MadWideS32(a: i32, b: i32, c: i64) -> i64 { (i64::from(a) * i64::from(b)).wrapping_add(c) }
    fn Sad<T: Integer>(a: T, b: T, c: T) -> T { a.distance(b).plus(c) }
    fn Div<T: Integer>(a: T, b: T) -> T { a.over(b) }
    fn Rem<T: Integer>(a: T, b: T) -> T { a.modulo(b) }
    /// The smallest number has no positive and stays.
    fn Abs<T: Integer>(a: T) -> T { a.distance(T::default()) }
    fn Neg<T: Integer>(a: T) -> T { T::default().minus(a) }
    fn Min<T: Integer>(a: T, b: T) -> T { if a < b { a } else { b } }
    fn Max<T: Integer>(a: T, b: T) -> T { if a < b { b } else { a } }
    fn MinRelu(a: i32, b: i32) -> i32 { a.min(b).max(0) }
    fn MaxRelu(a: i32, b: i32) -> i32 { a.max(b).max(0) }
}

/// An operation for the type of an instruction, where the sign matters.
macro_rules! signed {
    ($lift:ident, $op:ident, $ty:expr, $level:expr) => {
        match $ty {
            ScalarType::U16 => Some($lift::<$op<u16>>($level)),
            ScalarType::S16 => Some($lift::<$op<i16>>($level)),
            ScalarType::U32 => Some($lift::<$op<u32>>($level)),
            ScalarType::S32 => Some($lift::<$op<i32>>($level)),
            ScalarType::U64 => Some($lift::<$op<u64>>($level)),
            ScalarType::S64 => Some($lift::<$op<i64>>($level)),
            _ => None,
        }
    };
}

/// The same where it does not matter, and for types of mere bits.
macro_rules! any_sign {
    ($lift:ident, $op:ident, $ty:expr, $level:expr) => {
        match $ty {
            ScalarType::U16 | ScalarType::S16 | ScalarType::B16 => Some($lift::<$op<u16>>($level)),
            ScalarType::U32 | ScalarType::S32 | ScalarType::B32 => Some($lift::<$op<u32>>($level)),
            ScalarType::U64 | ScalarType::S64 | ScalarType::B64 => Some($lift::<$op<u64>>($level)),
            _ => None,
        }
    };
}
pub(super) use any_sign;

/// An operation of 32 bits.
macro_rules! only32 {
    ($lift:ident, $op:ident, $ty:expr, $level:expr) => {
        match $ty {
            ScalarType::U32 => Some($lift::<$op<u32>>($level)),
            ScalarType::S32 => Some($lift::<$op<i32>>($level)),
            _ => None,
        }
    };
}

/// The row function of an instruction of this family; those with the carry flag are a family of their own.
pub(super) fn select(instruction: &Instruction, level: Level) -> Option<Selected> {
    let modifiers = &instruction.modifiers;
    let ty = modifiers.first_type()?;
    if modifiers.has(Flag::Cc) {
        return None;
    }
    if ty == ScalarType::S32 && (modifiers.has(Flag::Sat) || modifiers.has(Flag::Relu)) {
        return limited(instruction, level);
    }
    match (instruction.opcode, modifiers.part) {
        (Opcode::Add, _) => any_sign!(binary, Add, ty, level),
        (Opcode::Sub, _) => any_sign!(binary, Sub, ty, level),
        (Opcode::Mul, Some(Part::Lo)) => any_sign!(binary, MulLo, ty, level),
        (Opcode::Mul, Some(Part::Hi)) => signed!(binary, MulHi, ty, level),
        (Opcode::Mul, Some(Part::Wide)) => match ty {
            ScalarType::U16 => Some(binary::<MulWideU16>(level)),
            ScalarType::S16 => Some(binary::<MulWideS16>(level)),
            ScalarType::U32 => Some(binary::<MulWideU32>(level)),
            ScalarType::S32 => Some(binary::<MulWideS32>(level)),
            _ => None,
        },
        (Opcode::Mad, Some(Part::Lo)) => any_sign!(ternary, MadLo, ty, level),
        (Opcode::Mad, Some(Part::Hi)) => signed!(ternary, MadHi, ty, level),
        (Opcode::Mad, Some(Part::Wide)) => match ty {
            ScalarType::U16 => Some(ternary::<MadWideU16>(level)),
            ScalarType::S16 => Some(ternary::<MadWideS16>(level)),
            ScalarType::U32 => Some(ternary::<MadWideU32>(level)),
            ScalarType::S32 => Some(ternary::<MadWideS32>(level)),
            _ => None,
        },
        (Opcode::Mul24, Some(Part::Lo)) => only32!(binary, Mul24Lo, ty, level),
        (Opcode::Mul24, Some(Part::Hi)) => only32!(binary, Mul24Hi, ty, level),
        (Opcode::Mad24, Some(Part::Lo)) => only32!(ternary, Mad24Lo, ty, level),
        (Opcode::Mad24, Some(Part::Hi)) => only32!(ternary, Mad24Hi, ty, level),
        (Opcode::Sad, _) => signed!(ternary, Sad, ty, level),
        (Opcode::Div, _) => signed!(binary, Div, ty, level),
        (Opcode::Rem, _) => signed!(binary, Rem, ty, level),
        (Opcode::Abs, _) => signed!(unary, Abs, ty, level),
        (Opcode::Neg, _) => any_sign!(unary, Neg, ty, level),
        (Opcode::Min, _) => signed!(binary, Min, ty, level),
        (Opcode::Max, _) => signed!(binary, Max, ty, level),
        _ => None,
    }
}

/// `.sat` and `.relu`.
fn limited(instruction: &Instruction, level: Level) -> Option<Selected> {
    match instruction.opcode {
        Opcode::Add => Some(binary::<AddSat>(level)),
        Opcode::Sub => Some(binary::<SubSat>(level)),
        Opcode::Mad => Some(ternary::<MadHiSat>(level)),
        Opcode::Mad24 => Some(ternary::<Mad24HiSat>(level)),
        Opcode::Min => Some(binary::<MinRelu>(level)),
        Opcode::Max => Some(binary::<MaxRelu>(level)),
        _ => None,
    }
}
