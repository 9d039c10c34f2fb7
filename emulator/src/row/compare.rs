//! Comparison and selection (PTX ISA section 9.7.6).

use super::{Level, Selected};
use crate::ptx::Instruction;

/// The row function of an instruction of this family.
pub(super) fn select(_instruction: &Instruction, _level: Level) -> Option<Selected> {
    None
}
