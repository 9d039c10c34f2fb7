//! Arithmetic and comparison of half types (PTX ISA sections 9.7.4 to 9.7.7).

mod approximate;
mod arithmetic;
mod compare;
mod extremum;
mod format;

pub(super) use format::{Bf16, F16, Format};

use std::marker::PhantomData;

use super::{Binary, Level, Selected, Ternary, Unary, binary, ternary, unary};
use rewind_ptx::{Flag, Instruction, Opcode, ScalarType};

/// The row function of an instruction of this family.
pub(super) fn select(instruction: &Instruction, level: Level) -> Option<Selected> {
    let modifiers = &instruction.modifiers;
    match instruction.opcode {
        Opcode::Setp => return compare::select_setp(instruction),
        Opcode::Set => return compare::select_set(instruction),
        _ => {}
    }
    let shape = Shape { packed: false, level };
    match modifiers.first_type()? {
        ScalarType::F16 => select_in::<F16>(instruction, shape),
        ScalarType::F16x2 => select_in::<F16>(instruction, Shape { packed: true, level }),
        ScalarType::Bf16 => select_in::<Bf16>(instruction, shape),
        ScalarType::Bf16x2 => select_in::<Bf16>(instruction, Shape { packed: true, level }),
        _ => None,
    }
}

fn select_in<F: Format + 'static>(instruction: &Instruction, shape: Shape) -> Option<Selected> {
    let flag = |flag| instruction.modifiers.has(flag);
    let ftz = flag(Flag::Ftz);
    match instruction.opcode {
        Opcode::Add | Opcode::Sub | Opcode::Mul => {
            Some(arithmetic::binary::<F>(instruction.opcode, ftz, flag(Flag::Sat), shape))
        }
        Opcode::Fma => Some(arithmetic::fma::<F>(ftz, flag(Flag::Sat), flag(Flag::Relu), shape)),
        Opcode::Neg => Some(arithmetic::neg::<F>(ftz, shape)),
        Opcode::Abs => Some(arithmetic::abs::<F>(ftz, shape)),
        Opcode::Min | Opcode::Max => {
            let largest = instruction.opcode == Opcode::Max;
            Some(extremum::select::<F>(largest, ftz, flag(Flag::NaN), flag(Flag::XorsignAbs), shape))
        }
        Opcode::Ex2 => Some(approximate::ex2::<F>(ftz, shape)),
        Opcode::Tanh => Some(approximate::tanh::<F>(shape)),
        _ => None,
    }
}

/// One half or two in a register, and the SIMD level.
#[derive(Clone, Copy)]
struct Shape {
    packed: bool,
    level: Level,
}

/// An operation on one half. `of` must be `#[inline(always)]`.
trait Unary16 {
    fn of(a: u16) -> u16;
}

/// The same of two.
trait Binary16 {
    fn of(a: u16, b: u16) -> u16;
}

/// The same of three.
trait Ternary16 {
    fn of(a: u16, b: u16, c: u16) -> u16;
}

impl Shape {
    fn unary<O: Unary16>(self) -> Selected {
        if self.packed { unary::<Packed<O>>(self.level) } else { unary::<Single<O>>(self.level) }
    }

    fn binary<O: Binary16>(self) -> Selected {
        if self.packed { binary::<Packed<O>>(self.level) } else { binary::<Single<O>>(self.level) }
    }

    fn ternary<O: Ternary16>(self) -> Selected {
        if self.packed { ternary::<Packed<O>>(self.level) } else { ternary::<Single<O>>(self.level) }
    }
}

/// One half in a 16-bit register.
struct Single<O>(PhantomData<O>);

/// Two halves in a 32-bit register.
struct Packed<O>(PhantomData<O>);

/// Lower and upper half.
#[inline(always)]
const fn halves(packed: u32) -> (u16, u16) {
    (packed as u16, (packed >> 16) as u16)
}

#[inline(always)]
const fn pack(lower: u16, upper: u16) -> u32 {
    lower as u32 | (upper as u32) << 16
}

impl<O: Unary16> Unary for Single<O> {
    type A = u16;
    type D = u16;
    #[inline(always)]
    fn of(a: u16) -> u16 {
        O::of(a)
    }
}

impl<O: Unary16> Unary for Packed<O> {
    type A = u32;
    type D = u32;
    #[inline(always)]
    fn of(a: u32) -> u32 {
        let a = halves(a);
        pack(O::of(a.0), O::of(a.1))
    }
}

impl<O: Binary16> Binary for Single<O> {
    type A = u16;
    type B = u16;
    type D = u16;
    #[inline(always)]
    fn of(a: u16, b: u16) -> u16 {
        O::of(a, b)
    }
}

impl<O: Binary16> Binary for Packed<O> {
    type A = u32;
    type B = u32;
    type D = u32;
    #[inline(always)]
    fn of(a: u32, b: u32) -> u32 {
        let (a, b) = (halves(a), halves(b));
        pack(O::of(a.0, b.0), O::of(a.1, b.1))
    }
}

impl<O: Ternary16> Ternary for Single<O> {
    type A = u16;
    type B = u16;
    type C = u16;
    type D = u16;
    #[inline(always)]
    fn of(a: u16, b: u16, c: u16) -> u16 {
        O::of(a, b, c)
    }
}

impl<O: Ternary16> Ternary for Packed<O> {
    type A = u32;
    type B = u32;
    type C = u32;
    type D = u32;
    #[inline(always)]
    fn of(a: u32, b: u32, c: u32) -> u32 {
        let (a, b, c) = (halves(a), halves(b), halves(c));
        pack(O::of(a.0, b.0, c.0), O::of(a.1, b.1, c.1))
    }
}
