//! Which data a run uses: the named folder, what lies in the default folder, or the built-in set.

use std::path::{Path, PathBuf};

use rewind::data::Dataset;
use rewind::error::{Error, Result};

use crate::config::{RunConfig, SYNTHETIC};
use crate::pictures::{self, Pictures, Stream, Tell};
use crate::{cifar, synthetic};

/// Where CIFAR is looked for, and downloaded to, unless a folder is named.
pub const DEFAULT_FOLDER: &str = "datasets";

/// A data set, where it came from, and what the user should know about that.
pub struct Source {
    /// The data, or room for a batch of it.
    pub dataset: Dataset,
    /// Where batches come from if the set does not hold all images.
    pub stream: Option<Stream>,
    /// The folder, or `synthetic`: what the run's config keeps.
    pub origin: String,
    /// Says that the built-in set stands in for CIFAR; of pictures, what was found.
    pub notices: Vec<String>,
    /// The pictures that cannot be read, and why, a line each.
    pub broken: Vec<String>,
    /// What its classes and files are called.
    pub names: Names,
}

/// What parts of a data set are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The classes, in the order of the labels; empty where they have no names of their own.
    pub classes: Vec<String>,
    /// The files of the test images, as below the set's folder; empty where they have none of their own.
    pub test_files: Vec<PathBuf>,
}

impl Source {
    /// A set that is held whole, in which nothing has a name.
    fn whole(dataset: Dataset, origin: &str, notices: Vec<String>) -> Self {
        Self { dataset, stream: None, origin: origin.into(), notices, broken: Vec::new(), names: Names::default() }
    }
}

/// Opens the named data, else what lies in [`DEFAULT_FOLDER`], else generates the built-in set from the config's seed. What the config leaves open
/// about pictures is fixed in it; `tell` hears how far a long look at many is.
///
/// # Errors
/// As [`open_whole`] and [`pictures::open`], and [`Error::Usage`] if the config says of pictures what the data are not.
pub fn open(config: &mut RunConfig, tell: Tell<'_>) -> Result<Source> {
    let named = config.data.clone();
    let folder = named.as_deref().filter(|named| *named != SYNTHETIC && !cifar::is_in(Path::new(named)));
    let found = match folder {
        Some(folder) if pictures::may_be(Path::new(folder)) => return open_pictures(folder, config, tell),
        Some(folder) => open_arrays(folder)?,
        None => None,
    };
    let found = found.map_or_else(|| open_whole(named.as_deref(), config.seed, config.threads), Ok)?;
    refuse_what_is_of_pictures(config, &found.dataset.name)?;
    Ok(found)
}

/// Opens CIFAR where it is named, else what lies in [`DEFAULT_FOLDER`], else generates the built-in set from `seed` on so many `threads`, one per
/// core if none are given.
///
/// # Errors
/// [`Error::Usage`] if the system refuses the threads; as [`cifar::open`]: a folder that is named, or a data set that is there but damaged, is never passed over.
pub fn open_whole(named: Option<&str>, seed: u64, threads: Option<usize>) -> Result<Source> {
    let built_in = |notices| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build().map_err(|e| {
            Error::Usage(format!("cannot start the threads that make the built-in set ({e}): give fewer --threads"))
        })?;
        let dataset = pool.install(|| synthetic::generate(seed));
        Ok(Source::whole(dataset, SYNTHETIC, notices))
    };
    match named {
        Some(SYNTHETIC) => built_in(Vec::new()),
        Some(folder) => Ok(Source::whole(cifar::open(Path::new(folder))?, folder, Vec::new())),
        None if cifar::is_in(Path::new(DEFAULT_FOLDER)) => open_whole(Some(DEFAULT_FOLDER), seed, threads),
        None => built_in(vec![format!(
            "no CIFAR in the folder {DEFAULT_FOLDER}/: training on the built-in synthetic set; get the real one with --download, or name its folder with --data"
        )]),
    }
}

/// MNIST, one of its kin, or SVHN, if the folder holds one of them.
fn open_arrays(folder: &str) -> Result<Option<Source>> {
    let Some(dataset) = pictures::open_arrays(Path::new(folder))? else { return Ok(None) };
    let notice = format!("{}: --no-augment leaves out mirror images, of which digits are none", dataset.name);
    Ok(Some(Source::whole(dataset, folder, vec![notice])))
}

fn open_pictures(folder: &str, config: &mut RunConfig, tell: Tell<'_>) -> Result<Source> {
    let Pictures { dataset, stream, broken, mut notices, names } = pictures::open(Path::new(folder), config, tell)?;
    let broken: Vec<_> = broken.iter().map(|(path, reason)| format!("{}: {reason}", path.display())).collect();
    match &broken[..] {
        [] => {}
        [only] => notices.push(format!("a picture is left out, as it cannot be read: {only}")),
        [first, ..] => {
            let n = broken.len();
            notices.push(format!("{n} pictures are left out, as they cannot be read; the first: {first}"));
        }
    }
    Ok(Source { dataset, stream, origin: folder.into(), notices, broken, names })
}

/// Settings that other data have no use for.
fn refuse_what_is_of_pictures(config: &RunConfig, name: &str) -> Result<()> {
    let RunConfig { image, resize, crop, normalise, val_split, cache, .. } = config;
    // the images are of this size
    let image = image.filter(|side| *side != rewind::data::IMAGE);
    let given = [
        ("--image", image.is_some()),
        ("--resize", resize.is_some()),
        ("--crop", crop.is_some()),
        ("--normalise", normalise.is_some()),
        ("--val-split", val_split.is_some()),
        ("--cache", cache.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((flag, _)) => {
            Err(Error::Usage(format!("{flag} is for folders of pictures, and the data are {name}: leave it out")))
        }
    }
}
