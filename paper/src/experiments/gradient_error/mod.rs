//! `gradient-error` (the paper's figure 3c): how far each gradient mode is from exact backprop, on real images; against depth,
//! or on a checkpoint of the user's.

mod arguments;
pub mod cell;
mod csv;
pub mod errors;
mod given;
pub mod measure;
mod nets;
mod numbers;
mod over_depth;
mod picture;
mod summary;
mod tables;
pub mod weights;

use std::sync::atomic::AtomicBool;

use rewind_train::log::Log;

pub(crate) use self::arguments::Arguments;
use crate::cells::Ending;
use crate::options::Common;

/// Computes the cells that are not there yet, and publishes all.
///
/// # Errors
/// [`Error::Usage`](rewind::error::Error::Usage) if the request makes no sense; whatever reading, computing or writing reports.
pub(crate) fn run(
    arguments: &Arguments,
    common: &Common,
    log: &mut Log,
    stop: &'static AtomicBool,
) -> anyhow::Result<Ending> {
    match &arguments.checkpoint {
        None => over_depth::run(arguments, common, log, stop),
        Some(path) => given::run(path, arguments, common, log, stop),
    }
}
