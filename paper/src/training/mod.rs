//! Cells that are training runs: minutes or hours, so that a stopped one goes on from its checkpoint.

mod cell;
pub(crate) mod diverged;
pub(crate) mod experiment;
pub(crate) mod images;
mod runs;

use rewind::error::Error;

/// Why no experiment is one of pre-activation blocks.
pub(crate) fn no_experiment() -> Error {
    Error::Usage("the experiments know no pre-activation blocks: give --block basic or bottleneck".into())
}

pub use self::cell::{Divergence, Trained, Training};
pub use self::runs::{Runs, Trains, Watch};
