//! What can go wrong, in one sentence each: what, where, what was expected, what to do. Settings stand in backticks by the names of their
//! fields; a program with a command line puts its own words for them there.

use std::path::{Path, PathBuf};

use crate::memory::bytes::{Category, human};
use crate::shape::Shape;

/// The library's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything the library refuses or fails at. Each message is one sentence for the user.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Settings that make no sense, alone or together; found before anything is done.
    #[error("{0}")]
    Usage(String),

    /// An operation was handed a tensor of another shape than its other operands imply.
    #[error("{op}: expected a tensor of shape {expected}, found {found}; this is a bug in the caller")]
    Shape {
        /// The operation's name.
        op: &'static str,
        /// The shape that the other operands imply.
        expected: Shape,
        /// The shape that was handed in.
        found: Shape,
    },

    /// The arena has no room left: the memory plan and the allocations disagree.
    #[error(
        "the memory plan has no room for {asked} more bytes of {category}: {used} of {capacity} bytes are in use; this is a bug in the plan"
    )]
    ArenaFull {
        /// What the buffer was for.
        category: Category,
        /// Bytes asked for.
        asked: u64,
        /// Bytes in use.
        used: u64,
        /// Bytes that the plan reserved.
        capacity: u64,
    },

    /// The machine refused the memory.
    #[error("the machine has no room for {bytes} bytes at once; lower `batch`, `channels` or `depth`, or see `plan`")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: u64,
    },

    /// The GPU has no memory for a recorded step.
    #[error(
        "the GPU has no room for a step recorded as a CUDA graph, which the driver keeps beside what `plan` counts: lower `depth`, `batch` or `channels`, or use `eager`, which launches kernel by kernel"
    )]
    NoRoomToRecord,

    /// The GPU or its driver refused or failed.
    #[error("{what}: {reason}")]
    Device {
        /// What was being done.
        what: &'static str,
        /// What the driver says, or what is missing.
        reason: String,
    },

    /// The plan is larger than what the user allowed or the device has.
    #[error("this run needs {} and {source_of_limit} {}: {advice}", human(*planned), human(*limit))]
    PlanOverLimit {
        /// Bytes that the plan asks for.
        planned: u64,
        /// Bytes allowed.
        limit: u64,
        /// Who set the limit, as the sentence's subject and verb.
        source_of_limit: &'static str,
        /// What would fit.
        advice: String,
        /// The plan as a table, printed before the sentence.
        table: String,
    },

    /// A data set's file is not what the format says.
    #[error("{}: {problem}", path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it, what was expected, what to do.
        problem: String,
    },

    /// A checkpoint cannot be used.
    #[error("{}: {problem}", path.display())]
    Checkpoint {
        /// The checkpoint file.
        path: PathBuf,
        /// What is wrong with it, what was expected, what to do.
        problem: String,
    },

    /// Training left the finite numbers.
    #[error(
        "training left the finite numbers at epoch {epoch}, step {step} (loss {loss}): {place} went non-finite first; {advice}; the last checkpoint is kept"
    )]
    NotFinite {
        /// Epoch, counted from 1.
        epoch: usize,
        /// Step in the epoch, counted from 1.
        step: usize,
        /// The loss that was found.
        loss: f64,
        /// The first place of the network, or the first parameter, whose values are not finite.
        place: String,
        /// What to do: which setting, and what it was.
        advice: String,
    },

    /// The sweep could not rebuild a block, again and again.
    #[error(
        "the sweep could not rebuild the state before block {block}{of_stage} in the last {sweeps} steps (local error {delta:.1e}, where 1 is as large as the state), so that blocks up to there were not trained: use `gradient` auto or coded, which rebuild any net; the last checkpoint is kept"
    )]
    Hopeless {
        /// The block, counted from 0.
        block: usize,
        /// Its stage, where there are several: " of stage 2".
        of_stage: String,
        /// Sweeps in a row that failed.
        sweeps: u64,
        /// What the last one measured there.
        delta: f64,
    },

    /// A download failed.
    #[error("cannot download {url}: {problem}")]
    Download {
        /// The address.
        url: String,
        /// What went wrong and what to do.
        problem: String,
    },

    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// A verb: read, write, create, ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
}

impl Error {
    /// Wraps an I/O error with the path and what was being done to it.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// The process's exit code: 2 when the user asked for something that makes no sense, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            _ => 1,
        }
    }
}
