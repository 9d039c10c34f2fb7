//! Arithmetic of `f64` (PTX ISA section 9.7.3).

use super::exact;
use super::lift::operations;
use super::round::{self, RM, RN, RP, RZ};
use super::{Level, Selected, binary, ternary, unary};
use rewind_ptx::{Flag, Instruction, Opcode, ScalarType, TestProperty};

/// The NaN that arithmetic gives. The ISA leaves open which; one for all inputs is the same on every machine.
const NAN: f64 = f64::from_bits(0x7fff_ffff_ffff_ffff);

/// The one NaN, found by its bits: compilers fold a comparison of a result with itself, as if all NaN were one.
#[inline(always)]
pub(super) fn finish(a: f64) -> f64 {
    if a.to_bits() & !(1 << 63) > f64::INFINITY.to_bits() { NAN } else { a }
}

/// Orders numbers like `<`, and -0 before +0; NaN must be out of the way.
#[inline(always)]
fn key(a: f64) -> i64 {
    let bits = a.to_bits() as i64;
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

/// `min` and `max`: of a number and NaN the number.
#[inline(always)]
fn extreme<const MAX: bool>(a: f64, b: f64) -> f64 {
    let number = if (key(a) < key(b)) != MAX { a } else { b };
    match (a.is_nan(), b.is_nan()) {
        (false, false) => number,
        (true, false) => b,
        (false, true) => a,
        (true, true) => NAN,
    }
}

operations! {
    fn Add[MODE: u8](a: f64, b: f64) -> f64 {
        finish(if exact::directed(MODE) { exact::add(a, b, MODE) } else { a + b })
    }
    fn Sub[MODE: u8](a: f64, b: f64) -> f64 {
        finish(if exact::directed(MODE) { exact::add(a, -b, MODE) } else { a - b })
    }
    fn Mul[MODE: u8](a: f64, b: f64) -> f64 {
        finish(if exact::directed(MODE) { exact::mul(a, b, MODE) } else { a * b })
    }
    fn Fma[MODE: u8](a: f64, b: f64, c: f64) -> f64 {
        finish(if exact::directed(MODE) { exact::fma(a, b, c, MODE) } else { a.mul_add(b, c) })
    }
    fn Div[MODE: u8](a: f64, b: f64) -> f64 {
        finish(if exact::directed(MODE) { exact::div(a, b, MODE) } else { a / b })
    }
    fn Rcp[MODE: u8](a: f64) -> f64 {
        finish(if exact::directed(MODE) { exact::div(1.0, a, MODE) } else { 1.0 / a })
    }
    fn Sqrt[MODE: u8](a: f64) -> f64 {
        finish(if exact::directed(MODE) { exact::sqrt(a, MODE) } else { a.sqrt() })
    }
    // Signs alone, so NaN keeps its payload.
    fn Abs(a: f64) -> f64 { a.abs() }
    fn Neg(a: f64) -> f64 { -a }
    /// The sign of the first source on the second.
    fn Copysign(a: f64, b: f64) -> f64 { b.copysign(a) }
    fn Min(a: f64, b: f64) -> f64 { extreme::<false>(a, b) }
    fn Max(a: f64, b: f64) -> f64 { extreme::<true>(a, b) }
    fn Finite(a: f64) -> bool { a.is_finite() }
    fn Infinite(a: f64) -> bool { a.is_infinite() }
    fn Number(a: f64) -> bool { !a.is_nan() }
    fn NotANumber(a: f64) -> bool { a.is_nan() }
    // Zeros count as normal numbers.
    fn Normal(a: f64) -> bool { a.is_finite() && (a == 0.0 || a.abs() >= f64::MIN_POSITIVE) }
    fn Subnormal(a: f64) -> bool { a != 0.0 && a.abs() < f64::MIN_POSITIVE }
}

/// An operation for each rounding.
macro_rules! rounding {
    ($lift:ident, $op:ident, $instruction:expr, $level:expr) => {
        match round::mode($instruction) {
            RZ => $lift::<$op<RZ>>($level),
            RM => $lift::<$op<RM>>($level),
            RP => $lift::<$op<RP>>($level),
            _ => $lift::<$op<RN>>($level),
        }
    };
}

/// The row function of an instruction of this family; approximate ones are a family of their own.
pub(super) fn select(instruction: &Instruction, level: Level) -> Option<Selected> {
    let modifiers = &instruction.modifiers;
    if modifiers.first_type() != Some(ScalarType::F64) || modifiers.has(Flag::Approx) {
        return None;
    }
    Some(match instruction.opcode {
        Opcode::Add => rounding!(binary, Add, instruction, level),
        Opcode::Sub => rounding!(binary, Sub, instruction, level),
        Opcode::Mul => rounding!(binary, Mul, instruction, level),
        Opcode::Fma | Opcode::Mad => rounding!(ternary, Fma, instruction, level),
        Opcode::Div => rounding!(binary, Div, instruction, level),
        Opcode::Rcp => rounding!(unary, Rcp, instruction, level),
        Opcode::Sqrt => rounding!(unary, Sqrt, instruction, level),
        Opcode::Abs => unary::<Abs>(level),
        Opcode::Neg => unary::<Neg>(level),
        Opcode::Copysign => binary::<Copysign>(level),
        Opcode::Min => binary::<Min>(level),
        Opcode::Max => binary::<Max>(level),
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
