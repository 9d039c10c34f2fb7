//! Arithmetic of `f32` (PTX ISA section 9.7.3).

use super::lift::operations;
use super::round::{self, RM, RN, RP, RZ};
use super::{Level, Selected, binary, ternary, unary};
use rewind_ptx::{Flag, Instruction, Opcode, ScalarType, TestProperty};

/// The NaN that arithmetic gives, whatever NaN went in.
const NAN: f32 = f32::from_bits(0x7fff_ffff);

/// Whether it is NaN, by its bits: compilers fold a comparison of a result with itself, as if all NaN were one.
#[inline(always)]
fn is_nan(a: f32) -> bool {
    a.to_bits() & 0x7fff_ffff > 0x7f80_0000
}

/// `.ftz`: subnormal numbers become zeros of the same sign.
#[inline(always)]
pub(super) fn flush<const FTZ: bool>(a: f32) -> f32 {
    if FTZ && a.abs() < f32::MIN_POSITIVE { f32::from_bits(a.to_bits() & 1 << 31) } else { a }
}

/// What is done with a result: `.ftz`, `.sat` (to 0 to 1, of NaN 0), and the one NaN.
#[inline(always)]
pub(super) fn finish<const FTZ: bool, const SAT: bool>(a: f32) -> f32 {
    let a = flush::<FTZ>(a);
    if !SAT {
        return if is_nan(a) { NAN } else { a };
    }
    if a >= 1.0 {
        1.0
    } else if a > 0.0 {
        a
    } else {
        0.0
    }
}

/// Orders numbers like `<`, and -0 before +0; NaN must be out of the way.
#[inline(always)]
fn key(a: f32) -> i32 {
    let bits = a.to_bits() as i32;
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// `min` and `max`: of a number and NaN the number, with `.NaN` NaN.
#[inline(always)]
fn extreme<const MAX: bool, const FTZ: bool, const NAN_WINS: bool, const XORSIGN: bool>(a: f32, b: f32) -> f32 {
    let sign = (a.to_bits() ^ b.to_bits()) & 1 << 31;
    let (a, b) = (flush::<FTZ>(a), flush::<FTZ>(b));
    let (a, b) = if XORSIGN { (a.abs(), b.abs()) } else { (a, b) };
    let number = if (key(a) < key(b)) != MAX { a } else { b };
    let (nan, number) = match (a.is_nan(), b.is_nan()) {
        (false, false) => (false, number),
        (true, false) => (NAN_WINS, b),
        (false, true) => (NAN_WINS, a),
        (true, true) => (true, a),
    };
    match (nan, XORSIGN) {
        (true, _) => NAN,
        (false, true) => f32::from_bits(number.to_bits() | sign),
        (false, false) => number,
    }
}

operations! {
    fn Add[MODE: u8, FTZ: bool, SAT: bool](a: f32, b: f32) -> f32 {
        finish::<FTZ, SAT>(round::add::<MODE>(flush::<FTZ>(a), flush::<FTZ>(b)))
    }
    fn Sub[MODE: u8, FTZ: bool, SAT: bool](a: f32, b: f32) -> f32 {
        finish::<FTZ, SAT>(round::add::<MODE>(flush::<FTZ>(a), -flush::<FTZ>(b)))
    }
    fn Mul[MODE: u8, FTZ: bool, SAT: bool](a: f32, b: f32) -> f32 {
        finish::<FTZ, SAT>(round::mul::<MODE>(flush::<FTZ>(a), flush::<FTZ>(b)))
    }
    fn Fma[MODE: u8, FTZ: bool, SAT: bool](a: f32, b: f32, c: f32) -> f32 {
        finish::<FTZ, SAT>(round::fma::<MODE>(flush::<FTZ>(a), flush::<FTZ>(b), flush::<FTZ>(c)))
    }
    fn Div[MODE: u8, FTZ: bool, SAT: bool](a: f32, b: f32) -> f32 {
        finish::<FTZ, SAT>(round::div::<MODE>(flush::<FTZ>(a), flush::<FTZ>(b)))
    }
    fn Rcp[MODE: u8, FTZ: bool, SAT: bool](a: f32) -> f32 {
        finish::<FTZ, SAT>(round::div::<MODE>(1.0, flush::<FTZ>(a)))
    }
    fn Sqrt[MODE: u8, FTZ: bool, SAT: bool](a: f32) -> f32 {
        finish::<FTZ, SAT>(round::sqrt::<MODE>(flush::<FTZ>(a)))
    }
    // Signs alone, so NaN keeps its payload.
    fn Abs[FTZ: bool](a: f32) -> f32 { flush::<FTZ>(a).abs() }
    fn Neg[FTZ: bool](a: f32) -> f32 { -flush::<FTZ>(a) }
    /// The sign of the first source on the second.
    fn Copysign(a: f32, b: f32) -> f32 { b.copysign(a) }
    fn Min[FTZ: bool, NAN_WINS: bool, XORSIGN: bool](a: f32, b: f32) -> f32 {
        extreme::<false, FTZ, NAN_WINS, XORSIGN>(a, b)
    }
    fn Max[FTZ: bool, NAN_WINS: bool, XORSIGN: bool](a: f32, b: f32) -> f32 {
        extreme::<true, FTZ, NAN_WINS, XORSIGN>(a, b)
    }
    fn Finite(a: f32) -> bool { a.is_finite() }
    fn Infinite(a: f32) -> bool { a.is_infinite() }
    fn Number(a: f32) -> bool { !a.is_nan() }
    fn NotANumber(a: f32) -> bool { a.is_nan() }
    // Zeros count as normal numbers.
    fn Normal(a: f32) -> bool { a.is_finite() && (a == 0.0 || a.abs() >= f32::MIN_POSITIVE) }
    fn Subnormal(a: f32) -> bool { a != 0.0 && a.abs() < f32::MIN_POSITIVE }
}

/// An operation for each rounding, with and without `.ftz` and `.sat`.
macro_rules! rounding {
    ($lift:ident, $op:ident, $instruction:expr, $level:expr) => {{
        let modifiers = &$instruction.modifiers;
        let flags = (modifiers.has(Flag::Ftz), modifiers.has(Flag::Sat));
        match round::mode($instruction) {
            RZ => rounding!(@flags $lift, $op, RZ, flags, $level),
            RM => rounding!(@flags $lift, $op, RM, flags, $level),
            RP => rounding!(@flags $lift, $op, RP, flags, $level),
            _ => rounding!(@flags $lift, $op, RN, flags, $level),
        }
    }};
    (@flags $lift:ident, $op:ident, $mode:ident, $flags:ident, $level:expr) => {
        match $flags {
            (false, false) => $lift::<$op<$mode, false, false>>($level),
            (false, true) => $lift::<$op<$mode, false, true>>($level),
            (true, false) => $lift::<$op<$mode, true, false>>($level),
            (true, true) => $lift::<$op<$mode, true, true>>($level),
        }
    };
}

/// `min` and `max` with their three flags.
macro_rules! extremes {
    ($op:ident, $modifiers:expr, $level:expr) => {
        match ($modifiers.has(Flag::Ftz), $modifiers.has(Flag::NaN), $modifiers.has(Flag::XorsignAbs)) {
            (false, false, false) => binary::<$op<false, false, false>>($level),
            (false, false, true) => binary::<$op<false, false, true>>($level),
            (false, true, false) => binary::<$op<false, true, false>>($level),
            (false, true, true) => binary::<$op<false, true, true>>($level),
            (true, false, false) => binary::<$op<true, false, false>>($level),
            (true, false, true) => binary::<$op<true, false, true>>($level),
            (true, true, false) => binary::<$op<true, true, false>>($level),
            (true, true, true) => binary::<$op<true, true, true>>($level),
        }
    };
}

/// The row function of an instruction of this family; approximate ones are a family of their own.
pub(super) fn select(instruction: &Instruction, level: Level) -> Option<Selected> {
    let modifiers = &instruction.modifiers;
    if modifiers.first_type() != Some(ScalarType::F32) || modifiers.has(Flag::Approx) || modifiers.has(Flag::Full) {
        return None;
    }
    let ftz = modifiers.has(Flag::Ftz);
    Some(match instruction.opcode {
        Opcode::Add => rounding!(binary, Add, instruction, level),
        Opcode::Sub => rounding!(binary, Sub, instruction, level),
        Opcode::Mul => rounding!(binary, Mul, instruction, level),
        Opcode::Fma | Opcode::Mad => rounding!(ternary, Fma, instruction, level),
        Opcode::Div => rounding!(binary, Div, instruction, level),
        Opcode::Rcp => rounding!(unary, Rcp, instruction, level),
        Opcode::Sqrt => rounding!(unary, Sqrt, instruction, level),
        Opcode::Abs if ftz => unary::<Abs<true>>(level),
        Opcode::Abs => unary::<Abs<false>>(level),
        Opcode::Neg if ftz => unary::<Neg<true>>(level),
        Opcode::Neg => unary::<Neg<false>>(level),
        Opcode::Copysign => binary::<Copysign>(level),
        Opcode::Min => extremes!(Min, modifiers, level),
        Opcode::Max => extremes!(Max, modifiers, level),
        Opcode::Testp => match modifiers.test? {
            TestProperty::Finite => unary::<Finite>(level),
            TestProperty::Infinite => unary::<Infinite>(level),
            TestProperty::Number => unary::<Number>(level),
            TestProperty::NotANumber => unary::<NotANumber>(level),
            TestProperty::Normal => unary::<Normal>(level),
            TestProperty::Subnormal => unary::<Subnormal>(level),
        },
        _ => return None,
    })
}
