//! Integer arithmetic (PTX ISA sections 9.7.1 and 9.7.2).

use super::{Level, Selected};
use crate::ptx::Instruction;

/// The row function of an instruction of this family.
pub(super) fn select(_instruction: &Instruction, _level: Level) -> Option<Selected> {
    None
}
