//! A set that is held whole, brought a batch at a time all the same: for what is done to pictures on the threads that bring them.

use std::sync::Arc;

use rewind::data::{Dataset, Part, Split};
use rewind::error::Result;
use rewind_pictures::Broken;
use rewind_pictures::loader::Loader;
use rewind_pictures::resize::{Filter, Seen};
use rewind_pictures::source::{Scratch, Source};

use super::changes::Changes;
use super::{AHEAD, Stream, brought, cores, data, stream};
use crate::checkpoint::DatasetId;
use crate::config::{CropKind, RunConfig};

/// A split of a set in memory, as a source of pictures.
struct InMemory {
    dataset: Arc<Dataset>,
    part: Part,
}

impl InMemory {
    fn split(&self) -> &Split {
        match self.part {
            Part::Train => &self.dataset.train,
            Part::Test => &self.dataset.test,
        }
    }
}

impl Source for InMemory {
    fn len(&self) -> usize {
        self.split().len()
    }

    fn picture<'a>(&'a self, index: usize, _: &'a mut Scratch) -> std::result::Result<Seen<'a>, Broken> {
        let side = self.split().side as u32;
        Ok(Seen { width: side, height: side, pixels: self.split().image(index) })
    }

    /// Pictures are copied as they are into the view.
    fn bytes_per_thread(&self, _: u32) -> u64 {
        0
    }

    /// Both splits are counted at once.
    fn held_bytes(&self) -> u64 {
        0
    }
}

/// The stream of a set that is held whole, and the set as a device then takes it. Crops are CIFAR's.
///
/// # Errors
/// [`rewind::Error::Usage`] if the set has no pixels or the config no batch.
pub fn streamed(dataset: &Arc<Dataset>, config: &RunConfig) -> Result<(Dataset, Stream)> {
    let threads = config.threads.unwrap_or_else(cores);
    let part = |part| {
        let labels = match part {
            Part::Train => dataset.train.labels.clone(),
            Part::Test => dataset.test.labels.clone(),
        };
        let source = Arc::new(InMemory { dataset: dataset.clone(), part });
        let loader = Loader::new(source, dataset.side() as u32, Filter::Bilinear, threads, AHEAD * threads);
        Ok(stream::Part { loader: loader.map_err(data)?, usable: (0..labels.len()).collect(), labels })
    };
    let fingerprint = dataset.fingerprint.clone().unwrap_or_else(|| DatasetId::of(dataset).fingerprint);
    let base = Dataset {
        name: dataset.name.clone(),
        train: Split::with_capacity(dataset.side(), 0),
        test: Split::with_capacity(dataset.side(), 0),
        fingerprint: Some(fingerprint),
        part_of: None,
        ..**dataset
    };
    let changes = Changes::of(config, dataset.normalise);
    Ok(brought(base, part(Part::Train)?, part(Part::Test)?, dataset.bytes(), CropKind::Shift, changes, config.batch))
}
