//! Comparison and selection (PTX ISA section 9.7.6).

use super::float::flush;
use super::integer::any_sign;
use super::lift::{levels, operations};
use super::{Binary, Level, Selected, ternary};
use crate::lanes::{Lane, Lanes, Slot, WARP, Width};
use rewind_ptx::{BoolOp, Comparison, Flag, Instruction, Opcode, Operand, RegisterClass, ScalarType};

operations! {
    // False when an operand is NaN.
    fn Eq<T: Comparable>(a: T, b: T) -> bool { a == b }
    fn Ne<T: Comparable>(a: T, b: T) -> bool { a.lt(&b) || a.gt(&b) }
    fn Lt<T: Comparable>(a: T, b: T) -> bool { a < b }
    fn Le<T: Comparable>(a: T, b: T) -> bool { a <= b }
    fn Gt<T: Comparable>(a: T, b: T) -> bool { a > b }
    fn Ge<T: Comparable>(a: T, b: T) -> bool { a >= b }
    // True then: the opposite comparison does not hold.
    fn Equ<T: Comparable>(a: T, b: T) -> bool { !(a.lt(&b) || a.gt(&b)) }
    fn Neu<T: Comparable>(a: T, b: T) -> bool { a != b }
    fn Ltu<T: Comparable>(a: T, b: T) -> bool { !a.ge(&b) }
    fn Leu<T: Comparable>(a: T, b: T) -> bool { !a.gt(&b) }
    fn Gtu<T: Comparable>(a: T, b: T) -> bool { !a.le(&b) }
    fn Geu<T: Comparable>(a: T, b: T) -> bool { !a.lt(&b) }
    // A number equals itself.
    fn Num<T: Comparable>(a: T, b: T) -> bool { a.eq(&a) && b.eq(&b) }
    fn Nan<T: Comparable>(a: T, b: T) -> bool { a.ne(&a) || b.ne(&b) }
    fn Selp<T: Lane>(a: T, b: T, c: bool) -> T { if c { a } else { b } }
    fn SlctInteger<T: Lane>(a: T, b: T, c: i32) -> T { if c >= 0 { a } else { b } }
    // NaN is not at least zero; a subnormal number below zero is with `.ftz`.
    fn SlctFloat<T: Lane>(a: T, b: T, c: f32) -> T { if c >= 0.0 { a } else { b } }
    fn SlctFlushed<T: Lane>(a: T, b: T, c: f32) -> T { if flush::<true>(c) >= 0.0 { a } else { b } }
}

/// A lane that can be compared.
pub(super) trait Comparable: Lane + PartialOrd {}
impl<T: Lane + PartialOrd> Comparable for T {}

/// `f32` of which subnormal numbers count as zeros.
#[derive(Clone, Copy, Default, PartialEq, PartialOrd)]
struct Flushed(f32);

impl Lane for Flushed {
    const WIDTH: Width = f32::WIDTH;
    #[inline(always)]
    fn load(lanes: &Lanes, slot: Slot) -> [Flushed; WARP] {
        let mut all = f32::load(lanes, slot).map(Flushed);
        for lane in &mut all {
            lane.0 = flush::<true>(lane.0);
        }
        all
    }
    #[inline(always)]
    fn store(lanes: &mut Lanes, slot: Slot, values: [Flushed; WARP], mask: u32) {
        f32::store(lanes, slot, values.map(|v| v.0), mask);
    }
}

/// How the result is joined with a predicate.
trait Join {
    /// There is one.
    const READS: bool;
    /// All lanes at once.
    fn of(compared: u32, with: u32) -> u32;
}
macro_rules! joins {
    ($($name:ident, $reads:literal, |$a:ident, $b:ident| $value:expr;)+) => {$(
        struct $name;
        impl Join for $name {
            const READS: bool = $reads;
            #[inline(always)]
            fn of($a: u32, $b: u32) -> u32 {
                $value
            }
        }
    )+};
}
joins! {
    Alone, false, |a, _b| a;
    And, true, |a, b| a & b;
    Or, true, |a, b| a | b;
    Xor, true, |a, b| a ^ b;
}

/// Whether a second predicate takes the inverse comparison.
trait Results {
    const TWO: bool;
}
struct One;
struct Two;
impl Results for One {
    const TWO: bool = false;
}
impl Results for Two {
    const TWO: bool = true;
}

/// The lanes where the comparison holds.
#[inline(always)]
fn compared<C: Binary<D = bool>>(lanes: &Lanes, a: Slot, b: Slot) -> u32 {
    let (a, b) = (C::A::load(lanes, a), C::B::load(lanes, b));
    let mut bits = 0;
    for i in 0..WARP {
        bits |= u32::from(C::of(a[i], b[i])) << i;
    }
    bits
}

#[inline(always)]
fn setp_row<C: Binary<D = bool>, J: Join, R: Results>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    let (d, second, a, b, with) = match (R::TWO, J::READS, slots) {
        (false, false, &[d, a, b]) => (d, None, a, b, None),
        (false, true, &[d, a, b, with]) => (d, None, a, b, Some(with)),
        (true, false, &[d, second, a, b]) => (d, Some(second), a, b, None),
        (true, true, &[d, second, a, b, with]) => (d, Some(second), a, b, Some(with)),
        _ => unreachable!("lowered with the operands of its form"),
    };
    let bits = compared::<C>(lanes, a, b);
    let with = with.map_or(0, |with| lanes.predicate(with));
    lanes.set_predicate(d, J::of(bits, with), mask);
    if let Some(second) = second {
        lanes.set_predicate(second, J::of(!bits, with), mask);
    }
}

/// Results of `set`: all ones, or 1.0.
trait Truth: Lane {
    const TRUE: Self;
}
impl Truth for u32 {
    const TRUE: u32 = !0;
}
impl Truth for f32 {
    const TRUE: f32 = 1.0;
}

#[inline(always)]
fn set_row<C: Binary<D = bool>, J: Join, T: Truth>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    let (d, a, b, with) = match (J::READS, slots) {
        (false, &[d, a, b]) => (d, a, b, 0),
        (true, &[d, a, b, with]) => (d, a, b, lanes.predicate(with)),
        _ => unreachable!("lowered with the operands of its form"),
    };
    let bits = J::of(compared::<C>(lanes, a, b), with);
    let mut out = [T::default(); WARP];
    for (i, lane) in out.iter_mut().enumerate() {
        *lane = if bits >> i & 1 == 1 { T::TRUE } else { T::default() };
    }
    T::store(lanes, d, out, mask);
}

levels! {
    fn setp_fn<C: Comparing> = setp_plain_row;
}

/// A comparison of two lanes.
trait Comparing: Binary<D = bool> {}
impl<C: Binary<D = bool>> Comparing for C {}

#[inline(always)]
fn setp_plain_row<C: Comparing>(lanes: &mut Lanes, slots: &[Slot], mask: u32) {
    setp_row::<C, Alone, One>(lanes, slots, mask);
}

/// What surrounds the comparison.
struct Shape {
    opcode: Opcode,
    join: Option<BoolOp>,
    two: bool,
    to_float: bool,
}

/// The common shape at every level; the others, which are rare and would be thousands, as plain code.
fn lifted<C: Binary<D = bool>>(shape: &Shape, level: Level) -> Selected {
    let run = match (shape.opcode == Opcode::Set, shape.two || shape.to_float, shape.join) {
        (false, false, None) => setp_fn::<C>(level),
        (false, false, Some(BoolOp::And)) => setp_row::<C, And, One>,
        (false, false, Some(BoolOp::Or)) => setp_row::<C, Or, One>,
        (false, false, Some(BoolOp::Xor)) => setp_row::<C, Xor, One>,
        (false, true, None) => setp_row::<C, Alone, Two>,
        (false, true, Some(BoolOp::And)) => setp_row::<C, And, Two>,
        (false, true, Some(BoolOp::Or)) => setp_row::<C, Or, Two>,
        (false, true, Some(BoolOp::Xor)) => setp_row::<C, Xor, Two>,
        (true, false, None) => set_row::<C, Alone, u32>,
        (true, false, Some(BoolOp::And)) => set_row::<C, And, u32>,
        (true, false, Some(BoolOp::Or)) => set_row::<C, Or, u32>,
        (true, false, Some(BoolOp::Xor)) => set_row::<C, Xor, u32>,
        (true, true, None) => set_row::<C, Alone, f32>,
        (true, true, Some(BoolOp::And)) => set_row::<C, And, f32>,
        (true, true, Some(BoolOp::Or)) => set_row::<C, Or, f32>,
        (true, true, Some(BoolOp::Xor)) => set_row::<C, Xor, f32>,
    };
    let mut operands = vec![if shape.opcode == Opcode::Set { Width::W32 } else { Width::Pred }];
    operands.extend(shape.two.then_some(Width::Pred));
    operands.extend([C::A::WIDTH, C::B::WIDTH]);
    operands.extend(shape.join.map(|_| Width::Pred));
    Selected { run, operands }
}

/// Integers and bits: those names that are for unsigned numbers are the same as the others.
fn ordered<T: Comparable>(comparison: Comparison, shape: &Shape, level: Level) -> Option<Selected> {
    Some(match comparison {
        Comparison::Eq => lifted::<Eq<T>>(shape, level),
        Comparison::Ne => lifted::<Neu<T>>(shape, level),
        Comparison::Lt | Comparison::Lo => lifted::<Lt<T>>(shape, level),
        Comparison::Le | Comparison::Ls => lifted::<Le<T>>(shape, level),
        Comparison::Gt | Comparison::Hi => lifted::<Gt<T>>(shape, level),
        Comparison::Ge | Comparison::Hs => lifted::<Ge<T>>(shape, level),
        _ => return None,
    })
}

fn float<T: Comparable>(comparison: Comparison, shape: &Shape, level: Level) -> Option<Selected> {
    Some(match comparison {
        Comparison::Ne => lifted::<Ne<T>>(shape, level),
        Comparison::Equ => lifted::<Equ<T>>(shape, level),
        Comparison::Neu => lifted::<Neu<T>>(shape, level),
        Comparison::Ltu => lifted::<Ltu<T>>(shape, level),
        Comparison::Leu => lifted::<Leu<T>>(shape, level),
        Comparison::Gtu => lifted::<Gtu<T>>(shape, level),
        Comparison::Geu => lifted::<Geu<T>>(shape, level),
        Comparison::Num => lifted::<Num<T>>(shape, level),
        Comparison::Nan => lifted::<Nan<T>>(shape, level),
        _ => return ordered::<T>(comparison, shape, level),
    })
}

/// `setp` and `set` except on half types.
fn comparison(instruction: &Instruction, level: Level) -> Option<Selected> {
    use ScalarType::*;
    let modifiers = &instruction.modifiers;
    let (to, from) = match (instruction.opcode, modifiers.types) {
        (Opcode::Setp, [Some(from), ..]) => (None, from),
        (Opcode::Set, [Some(to @ (U32 | S32 | F32)), Some(from), ..]) => (Some(to), from),
        _ => return None,
    };
    let shape = Shape {
        opcode: instruction.opcode,
        join: modifiers.bool_op,
        two: matches!(instruction.operands.first()?, Operand::Pair(..)),
        to_float: to == Some(F32),
    };
    let comparison = modifiers.comparison?;
    match from {
        B16 | U16 => ordered::<u16>(comparison, &shape, level),
        B32 | U32 => ordered::<u32>(comparison, &shape, level),
        B64 | U64 => ordered::<u64>(comparison, &shape, level),
        S16 => ordered::<i16>(comparison, &shape, level),
        S32 => ordered::<i32>(comparison, &shape, level),
        S64 => ordered::<i64>(comparison, &shape, level),
        F32 if modifiers.has(Flag::Ftz) => float::<Flushed>(comparison, &shape, level),
        F32 => float::<f32>(comparison, &shape, level),
        F64 => float::<f64>(comparison, &shape, level),
        _ => None,
    }
}

/// The type of bits as wide.
fn bits(ty: ScalarType) -> ScalarType {
    match RegisterClass::of(ty) {
        RegisterClass::B16 => ScalarType::B16,
        RegisterClass::B32 => ScalarType::B32,
        RegisterClass::B64 => ScalarType::B64,
        RegisterClass::Pred | RegisterClass::B128 => ty,
    }
}

/// The row function of an instruction of this family.
pub(super) fn select(instruction: &Instruction, level: Level) -> Option<Selected> {
    let modifiers = &instruction.modifiers;
    let ty = bits(modifiers.first_type()?);
    match (instruction.opcode, modifiers.types[1]) {
        (Opcode::Setp | Opcode::Set, _) => comparison(instruction, level),
        (Opcode::Selp, _) => any_sign!(ternary, Selp, ty, level),
        (Opcode::Slct, Some(ScalarType::S32)) => any_sign!(ternary, SlctInteger, ty, level),
        (Opcode::Slct, _) if modifiers.has(Flag::Ftz) => any_sign!(ternary, SlctFlushed, ty, level),
        (Opcode::Slct, _) => any_sign!(ternary, SlctFloat, ty, level),
        _ => None,
    }
}
