//! Short names for what the tables repeat.

use super::super::expect::{Expect, Slot, Ty};
use super::super::modifier::{Flag, Modifier, Rounding};
use super::super::types::ScalarType;

pub const fn ty(t: ScalarType) -> Modifier {
    Modifier::Type(t)
}
pub const fn flag(f: Flag) -> Modifier {
    Modifier::Flag(f)
}

pub const B8: Modifier = ty(ScalarType::B8);
pub const B16: Modifier = ty(ScalarType::B16);
pub const B32: Modifier = ty(ScalarType::B32);
pub const B64: Modifier = ty(ScalarType::B64);
pub const U8: Modifier = ty(ScalarType::U8);
pub const U16: Modifier = ty(ScalarType::U16);
pub const U32: Modifier = ty(ScalarType::U32);
pub const U64: Modifier = ty(ScalarType::U64);
pub const S8: Modifier = ty(ScalarType::S8);
pub const S16: Modifier = ty(ScalarType::S16);
pub const S32: Modifier = ty(ScalarType::S32);
pub const S64: Modifier = ty(ScalarType::S64);
pub const F16: Modifier = ty(ScalarType::F16);
pub const F16X2: Modifier = ty(ScalarType::F16x2);
pub const BF16: Modifier = ty(ScalarType::Bf16);
pub const BF16X2: Modifier = ty(ScalarType::Bf16x2);
pub const TF32: Modifier = ty(ScalarType::Tf32);
pub const F32: Modifier = ty(ScalarType::F32);
pub const F64: Modifier = ty(ScalarType::F64);
pub const PRED: Modifier = ty(ScalarType::Pred);

pub const INTEGERS: Slot = Slot::One(&[U16, U32, U64, S16, S32, S64]);
pub const INTEGERS32: Slot = Slot::One(&[U32, S32]);
pub const INTEGERS32_64: Slot = Slot::One(&[U32, S32, U64, S64]);
pub const PAIRS16: Slot = Slot::One(&[ty(ScalarType::U16x2), ty(ScalarType::S16x2)]);
pub const HALVES: Slot = Slot::One(&[F16, F16X2]);
pub const BRAIN: Slot = Slot::One(&[BF16, BF16X2]);
pub const SINGLE: Slot = Slot::One(&[F32]);
pub const DOUBLE: Slot = Slot::One(&[F64]);
pub const BITS32: Slot = Slot::One(&[B32]);
pub const BITS32_64: Slot = Slot::One(&[B32, B64]);

pub const SYNC: Slot = Slot::Word(&["sync"]);
pub const ALIGNED: Slot = Slot::Word(&["aligned"]);
pub const M8N8: Slot = Slot::Word(&["m8n8"]);

pub const RN: Modifier = Modifier::Rounding(Rounding::Rn);
pub const IEEE: &[Modifier] =
    &[RN, Modifier::Rounding(Rounding::Rz), Modifier::Rounding(Rounding::Rm), Modifier::Rounding(Rounding::Rp)];
pub const FTZ: Slot = Slot::Maybe(&[flag(Flag::Ftz)]);
pub const SAT: Slot = Slot::Maybe(&[flag(Flag::Sat)]);
pub const APPROX: Slot = Slot::One(&[flag(Flag::Approx)]);

/// Destination and source of the instruction's first type.
pub const D: Expect = Expect::Write(Ty::First);
pub const A: Expect = Expect::Read(Ty::First);
pub const D32: Expect = Expect::Write(Ty::Is(ScalarType::U32));
pub const A32: Expect = Expect::Read(Ty::Is(ScalarType::U32));
pub const P: Expect = Expect::Write(Ty::Is(ScalarType::Pred));
