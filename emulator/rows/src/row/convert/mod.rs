//! `cvt` (PTX ISA section 9.7.9.21).
//!
//! What programs use often has a row function that vectorizes: integers among themselves, integers and singles or
//! doubles, rounding to integral values, narrowing to nearest. All else goes through one slow path, [`any`].
//!
//! A register may be wider than the type (section 9.4.1): sources are chopped, results extended by the sign of their
//! type. Where the ISA leaves the NaN of a result open it is 0x7fff of 16 bits and 0x7fffffff of 32, but singles and
//! bfloats that widen, and doubles made integral, keep their sign and payload.

mod any;
mod floats;
mod integers;
mod soft;

use super::half::{Bf16, F16};
use super::{Level, Selected};
use crate::lanes::Width;
use any::{Clamp, Plan};
use rewind_ptx::{Flag, Instruction, Opcode, Operand, RegisterClass, Rounding, ScalarType};

/// The row function of an instruction of this family.
pub(super) fn select(instruction: &Instruction, level: Level) -> Option<Selected> {
    if instruction.opcode != Opcode::Cvt {
        return None;
    }
    let modifiers = &instruction.modifiers;
    let (to, from) = (modifiers.types[0]?, modifiers.types[1]?);
    let [d, a, more @ ..] = &*instruction.operands else { return None };
    let clamp = if modifiers.has(Flag::Sat) {
        Clamp::Sat
    } else if modifiers.has(Flag::Relu) {
        Clamp::Relu
    } else {
        Clamp::None
    };
    // Widening is exact and names no rounding.
    let rounding = modifiers.rounding.unwrap_or(Rounding::Rn);
    if !more.is_empty() {
        let toward_zero = rounding == Rounding::Rz;
        return match to {
            ScalarType::F16x2 => Some(floats::pack::<F16>(toward_zero, clamp, level)),
            ScalarType::Bf16x2 => Some(floats::pack::<Bf16>(toward_zero, clamp, level)),
            _ => None,
        };
    }
    let operands = vec![width(d, to)?, width(a, from)?];
    let ftz = modifiers.has(Flag::Ftz);
    let plan = Plan { to, to_width: operands[0], from, from_width: operands[1], rounding, ftz, clamp };
    let fast = match (is_integer(from), is_integer(to)) {
        (true, true) => integers::among(plan, level),
        (true, false) => integers::to_float(plan, level),
        (false, true) => integers::from_float(plan, level),
        (false, false) => floats::select(plan, modifiers.rounding, level),
    };
    let run = match fast {
        Some(selected) => selected.run,
        None => plan.function()?,
    };
    Some(Selected { run, operands })
}

const fn is_integer(ty: ScalarType) -> bool {
    use ScalarType::{S8, S16, S32, S64, U8, U16, U32, U64};
    matches!(ty, U8 | U16 | U32 | U64 | S8 | S16 | S32 | S64)
}

/// How an operand lies: a register as its class says, a constant as the type.
fn width(operand: &Operand, ty: ScalarType) -> Option<Width> {
    let class = match operand {
        Operand::Register(register) => register.class,
        Operand::Immediate(_) | Operand::Special(_) => RegisterClass::of(ty),
        _ => return None,
    };
    match class {
        RegisterClass::B16 => Some(Width::W16),
        RegisterClass::B32 => Some(Width::W32),
        RegisterClass::B64 => Some(Width::W64),
        RegisterClass::Pred | RegisterClass::B128 => None,
    }
}
