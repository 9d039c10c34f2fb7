//! What is said of a module that cannot be loaded.

use crate::memory::MemoryError;
use crate::ptx::PtxError;

/// Why a module cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The text is refused.
    #[error(transparent)]
    Ptx(#[from] PtxError),
    /// It reads, but an instruction cannot be executed here.
    #[error("kernel {kernel}, PTX line {line}: {what}, in `{text}`")]
    Refused {
        /// The kernel.
        kernel: String,
        /// Line, from 1.
        line: u32,
        /// That line.
        text: String,
        /// The complaint.
        what: String,
    },
    /// Its variables do not fit.
    #[error("the module's variables: {0}")]
    Memory(#[from] MemoryError),
}
