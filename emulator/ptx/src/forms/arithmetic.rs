//! Integer arithmetic, with carries (sections 9.7.1 and 9.7.2).

use super::super::expect::{Expect, Form, Slot, Ty, form};
use super::super::modifier::{AtomicOp, Flag, Modifier, Part};
use super::super::opcode::Opcode::*;
use super::super::types::ScalarType;
use super::words::*;

const LO_HI: Slot = Slot::First(&[Modifier::Part(Part::Lo), Modifier::Part(Part::Hi)]);
const HI: Slot = Slot::First(&[Modifier::Part(Part::Hi)]);
const WIDE: Slot = Slot::First(&[Modifier::Part(Part::Wide)]);
const CC: Slot = Slot::One(&[flag(Flag::Cc)]);
const MAYBE_CC: Slot = Slot::Maybe(&[flag(Flag::Cc)]);
const SATURATED: Slot = Slot::One(&[flag(Flag::Sat)]);
const RELU: Slot = Slot::One(&[flag(Flag::Relu)]);
const NARROW: Slot = Slot::One(&[U16, U32, S16, S32]);
const SIGNED: Slot = Slot::One(&[S16, S32, S64]);
const SUMMED: Slot = Slot::Maybe(&[Modifier::Atomic(AtomicOp::Add)]);
const S32_ONLY: Slot = Slot::One(&[S32]);
const DW: Expect = Expect::Write(Ty::Wide);
const AW: Expect = Expect::Read(Ty::Wide);
const D2: Expect = Expect::Write(Ty::Is(ScalarType::B32));
const A2: Expect = Expect::Read(Ty::Is(ScalarType::B32));

pub const FORMS: &[Form] = &[
    form(Add, &[INTEGERS], &[D, A, A]),
    form(Add, &[SATURATED, S32_ONLY], &[D, A, A]),
    form(Add, &[CC, INTEGERS32_64], &[D, A, A]),
    form(Add, &[PAIRS16], &[D, A, A]).since(90),
    form(Addc, &[MAYBE_CC, INTEGERS32_64], &[D, A, A]),
    form(Sub, &[INTEGERS], &[D, A, A]),
    form(Sub, &[SATURATED, S32_ONLY], &[D, A, A]),
    form(Sub, &[CC, INTEGERS32_64], &[D, A, A]),
    form(Subc, &[MAYBE_CC, INTEGERS32_64], &[D, A, A]),
    form(Mul, &[LO_HI, INTEGERS], &[D, A, A]),
    form(Mul, &[WIDE, NARROW], &[DW, A, A]),
    form(Mad, &[LO_HI, INTEGERS], &[D, A, A, A]),
    form(Mad, &[LO_HI, CC, INTEGERS32_64], &[D, A, A, A]),
    form(Mad, &[HI, SATURATED, S32_ONLY], &[D, A, A, A]),
    form(Mad, &[WIDE, NARROW], &[DW, A, A, AW]),
    form(Madc, &[LO_HI, MAYBE_CC, INTEGERS32_64], &[D, A, A, A]),
    form(Mul24, &[LO_HI, INTEGERS32], &[D, A, A]),
    form(Mad24, &[LO_HI, INTEGERS32], &[D, A, A, A]),
    form(Mad24, &[HI, SATURATED, S32_ONLY], &[D, A, A, A]),
    form(Sad, &[INTEGERS], &[D, A, A, A]),
    form(Div, &[INTEGERS], &[D, A, A]),
    form(Rem, &[INTEGERS], &[D, A, A]),
    form(Abs, &[SIGNED], &[D, A]),
    form(Neg, &[SIGNED], &[D, A]),
    form(Min, &[INTEGERS], &[D, A, A]),
    form(Max, &[INTEGERS], &[D, A, A]),
    form(Min, &[RELU, S32_ONLY], &[D, A, A]).since(90),
    form(Max, &[RELU, S32_ONLY], &[D, A, A]).since(90),
    form(Min, &[PAIRS16], &[D, A, A]).since(90),
    form(Max, &[PAIRS16], &[D, A, A]).since(90),
    // Results are unsigned 32-bit counts whatever the width of the source.
    form(Popc, &[BITS32_64], &[D32, A]),
    form(Clz, &[BITS32_64], &[D32, A]),
    form(Bfind, &[Slot::Maybe(&[flag(Flag::Shiftamt)]), INTEGERS32_64], &[D32, A]),
    form(Brev, &[BITS32_64], &[D, A]),
    form(Bfe, &[INTEGERS32_64], &[D, A, A32, A32]),
    form(Bfi, &[BITS32_64], &[D, A, A, A32, A32]),
    form(Bmsk, &[Slot::One(&[flag(Flag::Clamp), flag(Flag::Wrap)]), Slot::One(&[B32])], &[D, A32, A32]).since(70),
    form(Fns, &[Slot::One(&[B32])], &[D, A32, A32, Expect::Read(Ty::Is(ScalarType::S32))]),
    form(Dp4a, &[INTEGERS32, INTEGERS32], &[D2, A2, A2, A2]).since(61),
    form(Vabsdiff4, &[INTEGERS32, INTEGERS32, INTEGERS32, SUMMED], &[D2, A2, A2, A2]),
    form(Dp2a, &[LO_HI, INTEGERS32, INTEGERS32], &[D2, A2, A2, A2]).since(61),
];
