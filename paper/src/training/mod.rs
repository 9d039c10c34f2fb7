//! Cells that are training runs: minutes or hours, so that a stopped one goes on from its checkpoint.

mod cell;
pub(crate) mod diverged;
pub(crate) mod experiment;
pub(crate) mod images;
mod runs;

pub use self::cell::{Divergence, Trained, Training};
pub use self::runs::{Runs, Trains, Watch};
