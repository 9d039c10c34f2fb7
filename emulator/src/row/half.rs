//! Arithmetic and comparison of half types (PTX ISA sections 9.7.4 to 9.7.7).

use super::{Level, Selected};
use crate::ptx::Instruction;

/// The row function of an instruction of this family.
pub(super) fn select(_instruction: &Instruction, _level: Level) -> Option<Selected> {
    None
}
