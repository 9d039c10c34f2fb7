//! Approximate functions of `f32` and `f64` (PTX ISA section 9.7.3).

use super::{Level, Selected};
use crate::ptx::Instruction;

/// The row function of an instruction of this family.
pub(super) fn select(_instruction: &Instruction, _level: Level) -> Option<Selected> {
    None
}
