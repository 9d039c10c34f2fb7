//! Floating-point arithmetic: single and double, half and bfloat (sections 9.7.3 and 9.7.4).

use super::super::expect::{Form, Slot, form};
use super::super::modifier::{Flag, Modifier, TestProperty};
use super::super::opcode::Opcode::*;
use super::words::*;

const ROUND: Slot = Slot::One(IEEE);
const MAYBE_ROUND: Slot = Slot::Maybe(IEEE);
const NEAREST: Slot = Slot::One(&[RN]);
const MAYBE_NEAREST: Slot = Slot::Maybe(&[RN]);
const FLUSH: Slot = Slot::One(&[flag(Flag::Ftz)]);
const FULL: Slot = Slot::One(&[flag(Flag::Full)]);
const RELU: Slot = Slot::Maybe(&[flag(Flag::Relu)]);
const NAN: Slot = Slot::Maybe(&[flag(Flag::NaN)]);
const NAN_WINS: Slot = Slot::One(&[flag(Flag::NaN)]);
const XORSIGN: Slot = Slot::One(&[flag(Flag::XorsignAbs)]);
const MAGNITUDE: Slot = Slot::Word(&["abs"]);
const FLOATS: Slot = Slot::One(&[F32, F64]);
const F32_HALVES: Slot = Slot::One(&[F32, F16, F16X2]);
const PROPERTY: Slot = Slot::One(&[
    Modifier::Test(TestProperty::Finite),
    Modifier::Test(TestProperty::Infinite),
    Modifier::Test(TestProperty::Number),
    Modifier::Test(TestProperty::NotANumber),
    Modifier::Test(TestProperty::Normal),
    Modifier::Test(TestProperty::Subnormal),
]);

pub const FORMS: &[Form] = &[
    form(Add, &[MAYBE_ROUND, FTZ, SAT, SINGLE], &[D, A, A]),
    form(Add, &[MAYBE_ROUND, DOUBLE], &[D, A, A]),
    form(Add, &[MAYBE_NEAREST, FTZ, SAT, HALVES], &[D, A, A]).since(53),
    form(Add, &[MAYBE_NEAREST, BRAIN], &[D, A, A]).since(90),
    form(Sub, &[MAYBE_ROUND, FTZ, SAT, SINGLE], &[D, A, A]),
    form(Sub, &[MAYBE_ROUND, DOUBLE], &[D, A, A]),
    form(Sub, &[MAYBE_NEAREST, FTZ, SAT, HALVES], &[D, A, A]).since(53),
    form(Sub, &[MAYBE_NEAREST, BRAIN], &[D, A, A]).since(90),
    form(Mul, &[MAYBE_ROUND, FTZ, SAT, SINGLE], &[D, A, A]),
    form(Mul, &[MAYBE_ROUND, DOUBLE], &[D, A, A]),
    form(Mul, &[MAYBE_NEAREST, FTZ, SAT, HALVES], &[D, A, A]).since(53),
    form(Mul, &[MAYBE_NEAREST, BRAIN], &[D, A, A]).since(90),
    form(Fma, &[ROUND, FTZ, SAT, SINGLE], &[D, A, A, A]),
    form(Fma, &[ROUND, DOUBLE], &[D, A, A, A]),
    form(Fma, &[NEAREST, FTZ, SAT, HALVES], &[D, A, A, A]).since(53),
    form(Fma, &[NEAREST, FTZ, Slot::One(&[flag(Flag::Relu)]), HALVES], &[D, A, A, A]).since(80),
    form(Fma, &[NEAREST, RELU, BRAIN], &[D, A, A, A]).since(80),
    // Since sm_20 the same as fma.
    form(Mad, &[ROUND, FTZ, SAT, SINGLE], &[D, A, A, A]),
    form(Mad, &[ROUND, DOUBLE], &[D, A, A, A]),
    form(Div, &[ROUND, FTZ, SINGLE], &[D, A, A]),
    form(Div, &[APPROX, FTZ, SINGLE], &[D, A, A]),
    form(Div, &[FULL, FTZ, SINGLE], &[D, A, A]),
    form(Div, &[ROUND, DOUBLE], &[D, A, A]),
    form(Abs, &[FTZ, F32_HALVES], &[D, A]),
    form(Abs, &[DOUBLE], &[D, A]),
    form(Abs, &[BRAIN], &[D, A]).since(80),
    form(Neg, &[FTZ, F32_HALVES], &[D, A]),
    form(Neg, &[DOUBLE], &[D, A]),
    form(Neg, &[BRAIN], &[D, A]).since(80),
    form(Min, &[FTZ, SINGLE], &[D, A, A]),
    form(Min, &[FTZ, NAN_WINS, SINGLE], &[D, A, A]).since(80),
    form(Min, &[FTZ, NAN, HALVES], &[D, A, A]).since(80),
    form(Min, &[FTZ, NAN, XORSIGN, MAGNITUDE, F32_HALVES], &[D, A, A]).since(86),
    form(Min, &[DOUBLE], &[D, A, A]),
    form(Min, &[NAN, BRAIN], &[D, A, A]).since(80),
    form(Min, &[NAN, XORSIGN, MAGNITUDE, BRAIN], &[D, A, A]).since(86),
    form(Max, &[FTZ, SINGLE], &[D, A, A]),
    form(Max, &[FTZ, NAN_WINS, SINGLE], &[D, A, A]).since(80),
    form(Max, &[FTZ, NAN, HALVES], &[D, A, A]).since(80),
    form(Max, &[FTZ, NAN, XORSIGN, MAGNITUDE, F32_HALVES], &[D, A, A]).since(86),
    form(Max, &[DOUBLE], &[D, A, A]),
    form(Max, &[NAN, BRAIN], &[D, A, A]).since(80),
    form(Max, &[NAN, XORSIGN, MAGNITUDE, BRAIN], &[D, A, A]).since(86),
    form(Copysign, &[FLOATS], &[D, A, A]),
    form(Testp, &[PROPERTY, FLOATS], &[P, A]),
    form(Rcp, &[APPROX, FTZ, SINGLE], &[D, A]),
    form(Rcp, &[ROUND, FTZ, SINGLE], &[D, A]),
    form(Rcp, &[ROUND, DOUBLE], &[D, A]),
    form(Rcp, &[APPROX, FLUSH, DOUBLE], &[D, A]),
    form(Sqrt, &[APPROX, FTZ, SINGLE], &[D, A]),
    form(Sqrt, &[ROUND, FTZ, SINGLE], &[D, A]),
    form(Sqrt, &[ROUND, DOUBLE], &[D, A]),
    form(Rsqrt, &[APPROX, FTZ, FLOATS], &[D, A]),
    form(Sin, &[APPROX, FTZ, SINGLE], &[D, A]),
    form(Cos, &[APPROX, FTZ, SINGLE], &[D, A]),
    form(Lg2, &[APPROX, FTZ, SINGLE], &[D, A]),
    form(Ex2, &[APPROX, FTZ, SINGLE], &[D, A]),
    form(Ex2, &[APPROX, HALVES], &[D, A]).since(75),
    form(Ex2, &[APPROX, FLUSH, BRAIN], &[D, A]).since(90),
    form(Tanh, &[APPROX, F32_HALVES], &[D, A]).since(75),
    form(Tanh, &[APPROX, BRAIN], &[D, A]).since(90),
];
