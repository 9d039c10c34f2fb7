//! Moves and conversions (section 9.7.9: mov, cvt, cvta, isspacep).

use super::super::expect::{Expect, Form, Slot, Ty, form};
use super::super::modifier::{Flag, Modifier, Rounding};
use super::super::opcode::Opcode::*;
use super::super::types::{ScalarType, Space};
use super::words::*;

const fn round(r: Rounding) -> Modifier {
    Modifier::Rounding(r)
}
const MOVED: Slot = Slot::One(&[B16, B32, B64, U16, U32, U64, S16, S32, S64, F32, F64, PRED]);
const INTEGERS8: Slot = Slot::One(&[U8, S8, U16, S16, U32, S32, U64, S64]);
const ROUND: Slot = Slot::One(IEEE);
const RN_RZ: Slot = Slot::One(&[RN, round(Rounding::Rz)]);
const TO_INTEGER: Slot =
    Slot::One(&[round(Rounding::Rni), round(Rounding::Rzi), round(Rounding::Rmi), round(Rounding::Rpi)]);
const TO_INTEGRAL: Slot =
    Slot::Maybe(&[round(Rounding::Rni), round(Rounding::Rzi), round(Rounding::Rmi), round(Rounding::Rpi)]);
const AWAY: Slot = Slot::One(&[round(Rounding::Rna)]);
const FLOATS: Slot = Slot::One(&[F16, F32, F64]);
const F16_ONLY: Slot = Slot::One(&[F16]);
const BF16_ONLY: Slot = Slot::One(&[BF16]);
const WIDER: Slot = Slot::One(&[F32, F64]);
const F16_F64: Slot = Slot::One(&[F16, F64]);
const F16X2_ONLY: Slot = Slot::One(&[F16X2]);
const BF16X2_ONLY: Slot = Slot::One(&[BF16X2]);
const TF32_ONLY: Slot = Slot::One(&[TF32]);
const RELU: Slot = Slot::Maybe(&[flag(Flag::Relu)]);
const EIGHTS: Slot = Slot::One(&[ty(ScalarType::E4m3x2), ty(ScalarType::E5m2x2)]);
const NEAREST: Slot = Slot::One(&[RN]);
const SATFINITE: Slot = Slot::One(&[flag(Flag::Satfinite)]);
const ADDRESS: Slot = Slot::One(&[U64]);
const SPACES: Slot = Slot::One(&[
    Modifier::Space(Space::Const),
    Modifier::Space(Space::Global),
    Modifier::Space(Space::Local),
    Modifier::Space(Space::Param),
    Modifier::Space(Space::Shared),
]);
const DL: Expect = Expect::WriteLoose(Ty::First);
const AL: Expect = Expect::ReadLoose(Ty::Second);
const DX: Expect = Expect::Write(Ty::First);
const AX: Expect = Expect::Read(Ty::Second);

pub const FORMS: &[Form] = &[
    form(Mov, &[MOVED], &[D, Expect::ReadAny(Ty::First)]),
    form(Mov, &[BITS32_64], &[D, Expect::ReadParts(Ty::First)]),
    form(Mov, &[BITS32_64], &[Expect::WriteParts(Ty::First), A]),
    form(Cvta, &[SPACES, ADDRESS], &[D, Expect::ReadAny(Ty::First)]),
    form(CvtaTo, &[SPACES, ADDRESS], &[D, A]),
    form(Isspacep, &[SPACES], &[P, Expect::Read(Ty::Is(ScalarType::U64))]),
    // Integers among themselves.
    form(Cvt, &[SAT, INTEGERS8, INTEGERS8], &[DL, AL]),
    // Integers to floats must say how they round, and floats to integers too.
    form(Cvt, &[ROUND, FTZ, SAT, FLOATS, INTEGERS8], &[DX, AL]),
    form(Cvt, &[TO_INTEGER, FTZ, SAT, INTEGERS8, FLOATS], &[DL, AX]),
    form(Cvt, &[ROUND, BF16_ONLY, INTEGERS8], &[DX, AL]).since(90),
    form(Cvt, &[TO_INTEGER, INTEGERS8, BF16_ONLY], &[DL, AX]).since(90),
    // Within one format: to an integral value, saturated to [0, 1], or just copied.
    form(Cvt, &[TO_INTEGRAL, FTZ, SAT, SINGLE, SINGLE], &[DX, AX]),
    form(Cvt, &[TO_INTEGRAL, SAT, DOUBLE, DOUBLE], &[DX, AX]),
    form(Cvt, &[TO_INTEGRAL, FTZ, SAT, F16_ONLY, F16_ONLY], &[DX, AX]),
    form(Cvt, &[TO_INTEGER, BF16_ONLY, BF16_ONLY], &[DX, AX]).since(90),
    // Widening is exact and does not round.
    form(Cvt, &[FTZ, SAT, WIDER, F16_ONLY], &[DX, AX]),
    form(Cvt, &[FTZ, SAT, DOUBLE, SINGLE], &[DX, AX]),
    form(Cvt, &[SAT, SINGLE, BF16_ONLY], &[DX, AX]).since(80),
    form(Cvt, &[DOUBLE, BF16_ONLY], &[DX, AX]).since(90),
    // Narrowing must say how it rounds.
    form(Cvt, &[ROUND, FTZ, SAT, SINGLE, DOUBLE], &[DX, AX]),
    form(Cvt, &[ROUND, FTZ, SAT, F16_ONLY, WIDER], &[DX, AX]),
    form(Cvt, &[RN_RZ, Slot::One(&[flag(Flag::Relu)]), F16_ONLY, SINGLE], &[DX, AX]).since(80),
    form(Cvt, &[RN_RZ, RELU, BF16_ONLY, SINGLE], &[DX, AX]).since(80),
    form(Cvt, &[ROUND, BF16_ONLY, F16_F64], &[DX, AX]).since(90),
    form(Cvt, &[RN_RZ, RELU, F16X2_ONLY, SINGLE], &[DX, AX, AX]).since(80),
    form(Cvt, &[RN_RZ, RELU, BF16X2_ONLY, SINGLE], &[DX, AX, AX]).since(80),
    form(Cvt, &[NEAREST, SATFINITE, RELU, EIGHTS, SINGLE], &[DX, AX, AX]).since(89),
    form(Cvt, &[NEAREST, SATFINITE, RELU, EIGHTS, F16X2_ONLY], &[DX, AX]).since(89),
    form(Cvt, &[NEAREST, RELU, F16X2_ONLY, EIGHTS], &[DX, AX]).since(89),
    form(Cvt, &[AWAY, TF32_ONLY, SINGLE], &[DX, AX]).since(80),
    form(Cvt, &[Slot::One(&[RN, round(Rounding::Rz)]), RELU, TF32_ONLY, SINGLE], &[DX, AX]).since(90),
];
