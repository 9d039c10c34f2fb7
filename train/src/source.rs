//! Which data a run uses: the named folder, what lies in the default folder, or the built-in set.

use std::path::Path;

use rewind::data::Dataset;
use rewind::error::{Error, Result};

use crate::config::SYNTHETIC;
use crate::{cifar, synthetic};

/// Where CIFAR is looked for, and downloaded to, unless a folder is named.
pub const DEFAULT_FOLDER: &str = "datasets";

/// A data set, where it came from, and what the user should know about that.
pub struct Source {
    /// The data.
    pub dataset: Dataset,
    /// The folder, or `synthetic`: what the run's config keeps.
    pub origin: String,
    /// Says that the built-in set stands in for CIFAR.
    pub notice: Option<String>,
}

/// Opens the named data, else what lies in [`DEFAULT_FOLDER`], else generates the built-in set from `seed` on so many `threads`, one per
/// core if none are given.
///
/// # Errors
/// [`Error::Usage`] if the system refuses the threads; as [`cifar::open`]: a folder that is named, or a data set that is there but damaged, is never passed over.
pub fn open(named: Option<&str>, seed: u64, threads: Option<usize>) -> Result<Source> {
    let built_in = |notice| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build().map_err(|e| {
            Error::Usage(format!("cannot start the threads that make the built-in set ({e}): give fewer --threads"))
        })?;
        Ok(Source { dataset: pool.install(|| synthetic::generate(seed)), origin: SYNTHETIC.into(), notice })
    };
    match named {
        Some(SYNTHETIC) => built_in(None),
        Some(folder) => Ok(Source { dataset: cifar::open(Path::new(folder))?, origin: folder.into(), notice: None }),
        None if cifar::is_in(Path::new(DEFAULT_FOLDER)) => open(Some(DEFAULT_FOLDER), seed, threads),
        None => built_in(Some(format!(
            "no CIFAR in the folder {DEFAULT_FOLDER}/: training on the built-in synthetic set; get the real one with --download, or name its folder with --data"
        ))),
    }
}
