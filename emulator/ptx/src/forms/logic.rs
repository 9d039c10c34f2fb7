//! Comparison, selection, logic and shifts (sections 9.7.6 to 9.7.8).

use super::super::expect::{Expect, Form, Slot, Ty, form};
use super::super::modifier::{BoolOp, Comparison, Flag, Modifier, PrmtMode};
use super::super::opcode::Opcode::*;
use super::super::types::ScalarType;
use super::words::*;

const fn cmp(c: Comparison) -> Modifier {
    Modifier::Comparison(c)
}
const EQ_NE: Slot = Slot::One(&[cmp(Comparison::Eq), cmp(Comparison::Ne)]);
const ORDER: Slot = Slot::One(&[
    cmp(Comparison::Eq),
    cmp(Comparison::Ne),
    cmp(Comparison::Lt),
    cmp(Comparison::Le),
    cmp(Comparison::Gt),
    cmp(Comparison::Ge),
]);
const UNSIGNED_ORDER: Slot =
    Slot::One(&[cmp(Comparison::Lo), cmp(Comparison::Ls), cmp(Comparison::Hi), cmp(Comparison::Hs)]);
const FLOAT_ORDER: Slot = Slot::One(&[
    cmp(Comparison::Eq),
    cmp(Comparison::Ne),
    cmp(Comparison::Lt),
    cmp(Comparison::Le),
    cmp(Comparison::Gt),
    cmp(Comparison::Ge),
    cmp(Comparison::Equ),
    cmp(Comparison::Neu),
    cmp(Comparison::Ltu),
    cmp(Comparison::Leu),
    cmp(Comparison::Gtu),
    cmp(Comparison::Geu),
    cmp(Comparison::Num),
    cmp(Comparison::Nan),
]);
const JOIN: Slot = Slot::One(&[Modifier::Bool(BoolOp::And), Modifier::Bool(BoolOp::Or), Modifier::Bool(BoolOp::Xor)]);
const BITS: Slot = Slot::One(&[B16, B32, B64]);
const UNSIGNED: Slot = Slot::One(&[U16, U32, U64]);
const LOGIC: Slot = Slot::One(&[B16, B32, B64, PRED]);
const F32_F16: Slot = Slot::One(&[F32, F16]);
const NO_FTZ: Slot = Slot::One(&[F64, BF16]);
const ANY: Slot = Slot::One(&[B16, B32, B64, U16, U32, U64, S16, S32, S64, F32, F64]);
const MASK: Slot = Slot::One(&[U32, S32, F32]);
const HALF_MASK: Slot = Slot::One(&[F16, U16, S16, U32, S32]);
const PACKED: Slot = Slot::One(&[F16X2]);
const PACKED_MASK: Slot = Slot::One(&[F16X2, U32, S32]);
const BRAIN_MASK: Slot = Slot::One(&[BF16, U16, S16, U32, S32]);
const PACKED_BRAIN: Slot = Slot::One(&[BF16X2]);
const PACKED_BRAIN_MASK: Slot = Slot::One(&[BF16X2, U32, S32]);
const PAIR: Expect = Expect::WritePair(Ty::Is(ScalarType::Pred));
const B: Expect = Expect::Read(Ty::Second);
const Q: Expect = Expect::Predicate;
const LUT: Expect = Expect::UpTo(255);

/// `setp` and `set` without and with a predicate to join.
macro_rules! compared {
    ($opcode:ident, $order:ident, [$($slot:ident),*], $to:ident, $from:ident) => {
        [
            form($opcode, &[$order, $($slot),*], &[$to, $from, $from]),
            form($opcode, &[$order, JOIN, $($slot),*], &[$to, $from, $from, Q]),
        ]
    };
}

const COMPARED: [[Form; 2]; 16] = [
    compared!(Setp, EQ_NE, [BITS], PAIR, A),
    compared!(Setp, ORDER, [INTEGERS], PAIR, A),
    compared!(Setp, UNSIGNED_ORDER, [UNSIGNED], PAIR, A),
    compared!(Setp, FLOAT_ORDER, [FTZ, F32_F16], PAIR, A),
    compared!(Setp, FLOAT_ORDER, [FTZ, PACKED], PAIR, A),
    compared!(Setp, FLOAT_ORDER, [NO_FTZ], PAIR, A),
    compared!(Setp, FLOAT_ORDER, [PACKED_BRAIN], PAIR, A),
    compared!(Set, EQ_NE, [MASK, BITS], D, B),
    compared!(Set, ORDER, [MASK, INTEGERS], D, B),
    compared!(Set, UNSIGNED_ORDER, [MASK, UNSIGNED], D, B),
    compared!(Set, FLOAT_ORDER, [FTZ, MASK, SINGLE], D, B),
    compared!(Set, FLOAT_ORDER, [MASK, DOUBLE], D, B),
    compared!(Set, FLOAT_ORDER, [FTZ, HALF_MASK, HALF_ONLY], D, B),
    compared!(Set, FLOAT_ORDER, [FTZ, PACKED_MASK, PACKED], D, B),
    compared!(Set, FLOAT_ORDER, [BRAIN_MASK, BRAIN_ONLY], D, B),
    compared!(Set, FLOAT_ORDER, [PACKED_BRAIN_MASK, PACKED_BRAIN], D, B),
];
const HALF_ONLY: Slot = Slot::One(&[F16]);
const BRAIN_ONLY: Slot = Slot::One(&[BF16]);

const PRMT_MODES: &[Modifier] = &[
    Modifier::Prmt(PrmtMode::F4e),
    Modifier::Prmt(PrmtMode::B4e),
    Modifier::Prmt(PrmtMode::Rc8),
    Modifier::Prmt(PrmtMode::Ecl),
    Modifier::Prmt(PrmtMode::Ecr),
    Modifier::Prmt(PrmtMode::Rc16),
];

/// All comparisons, flattened.
pub const COMPARISONS: &[Form] = COMPARED.as_flattened();

pub const FORMS: &[Form] = &[
    form(Selp, &[ANY], &[D, A, A, Expect::Predicate]),
    form(Slct, &[ANY, Slot::One(&[S32])], &[D, A, A, B]),
    form(Slct, &[FTZ, ANY, SINGLE], &[D, A, A, B]),
    form(And, &[LOGIC], &[D, A, A]),
    form(Or, &[LOGIC], &[D, A, A]),
    form(Xor, &[LOGIC], &[D, A, A]),
    form(Not, &[LOGIC], &[D, A]),
    form(Cnot, &[BITS], &[D, A]),
    form(Lop3, &[BITS32], &[D, A, A, A, LUT]),
    form(
        Lop3,
        &[Slot::One(&[Modifier::Bool(BoolOp::And), Modifier::Bool(BoolOp::Or)]), BITS32],
        &[Expect::WritePair(Ty::First), A, A, A, LUT, Q],
    ),
    form(Shl, &[BITS], &[D, A, A32]),
    form(Shr, &[Slot::One(&[B16, B32, B64, U16, U32, U64, S16, S32, S64])], &[D, A, A32]),
    form(
        Shf,
        &[
            Slot::First(&[flag(Flag::Left), flag(Flag::Right)]),
            Slot::One(&[flag(Flag::Clamp), flag(Flag::Wrap)]),
            BITS32,
        ],
        &[D, A, A, A32],
    ),
    form(Prmt, &[BITS32, Slot::Maybe(PRMT_MODES)], &[D, A, A, A32]),
];
