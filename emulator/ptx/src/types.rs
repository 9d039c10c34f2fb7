//! Scalar types and state spaces (sections 5.1 and 5.2).

use super::spelled::spelled;

spelled! {
    /// A type of an instruction, a register or a variable (section 5.2); packed types count as one scalar.
    ScalarType {
        B8 = "b8", B16 = "b16", B32 = "b32", B64 = "b64", B128 = "b128",
        U8 = "u8", U16 = "u16", U32 = "u32", U64 = "u64",
        S8 = "s8", S16 = "s16", S32 = "s32", S64 = "s64",
        F16 = "f16", F16x2 = "f16x2", Bf16 = "bf16", Bf16x2 = "bf16x2", Tf32 = "tf32", F32 = "f32", F64 = "f64",
        U16x2 = "u16x2", S16x2 = "s16x2", E4m3x2 = "e4m3x2", E5m2x2 = "e5m2x2",
        S4 = "s4", U4 = "u4",
        Pred = "pred",
    }
}

/// What values a type holds; registers and operands must agree in it (section 9.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    Bits,
    Integer,
    Float,
    Predicate,
}

impl ScalarType {
    /// Width in bits; 1 for predicates.
    pub const fn bits(self) -> u32 {
        use ScalarType::*;
        match self {
            Pred => 1,
            S4 | U4 => 4,
            B8 | U8 | S8 => 8,
            B16 | U16 | S16 | F16 | Bf16 | E4m3x2 | E5m2x2 => 16,
            B32 | U32 | S32 | F32 | F16x2 | Bf16x2 | U16x2 | S16x2 | Tf32 => 32,
            B64 | U64 | S64 | F64 => 64,
            B128 => 128,
        }
    }

    /// Width in bytes in memory; predicates have none, and give 0.
    pub const fn bytes(self) -> u64 {
        (self.bits() / 8) as u64
    }

    pub(super) const fn nature(self) -> Nature {
        use ScalarType::*;
        match self {
            Pred => Nature::Predicate,
            B8 | B16 | B32 | B64 | B128 => Nature::Bits,
            // Packed halves, single halves and tf32 live in registers of bits; the headers also use .u32 for them.
            F16 | F16x2 | Bf16 | Bf16x2 | Tf32 | U16x2 | S16x2 | E4m3x2 | E5m2x2 | S4 | U4 => Nature::Bits,
            U8 | U16 | U32 | U64 | S8 | S16 | S32 | S64 => Nature::Integer,
            F32 | F64 => Nature::Float,
        }
    }

    /// The type of that spelling, without its dot.
    pub fn from_spelling(word: &str) -> Option<ScalarType> {
        Self::ALL.iter().copied().find(|t| t.spelling() == word)
    }
}

spelled! {
    /// A state space (section 5.1). No space at all means generic addressing.
    Space {
        Const = "const", Global = "global", Local = "local", Param = "param", Shared = "shared",
    }
}

impl Space {
    /// The space of that spelling, without its dot; `shared::cta` and `param::entry`/`param::func` name their whole.
    pub fn from_spelling(word: &str) -> Option<Space> {
        match word {
            "shared::cta" => Some(Space::Shared),
            "param::entry" | "param::func" => Some(Space::Param),
            _ => Self::ALL.iter().copied().find(|s| s.spelling() == word),
        }
    }
}
