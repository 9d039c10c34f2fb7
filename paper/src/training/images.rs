//! The data that nets are trained on.

use std::sync::Arc;

use rewind::data::Dataset;
use rewind::error::{Error, Result};
use rewind_train::checkpoint::DatasetId;
use rewind_train::log::Log;
use rewind_train::source::{self, Source};

/// The data that nets are trained on.
pub struct Images {
    pub dataset: Arc<Dataset>,
    pub id: DatasetId,
    /// Where it came from, as `--data` names it.
    pub origin: String,
}

impl Images {
    /// The data set of a folder, or the built-in one; of its training images only the first, if a number is given, and at
    /// most so many unless it is. Always the same ones, whatever the seeds of the nets.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are fewer images than were asked for; as [`source::open`].
    pub fn open(data: Option<&str>, images: Option<usize>, at_most: Option<usize>, log: &mut Log) -> Result<Self> {
        let Source { mut dataset, origin, notices, .. } = source::open_whole(data, 0, None)?;
        for notice in notices {
            log.note(&notice);
        }
        let there = dataset.train.len();
        let images = images.unwrap_or(at_most.map_or(there, |most| most.min(there)));
        if !(1..=there).contains(&images) {
            return Err(Error::Usage(format!("--images {images} must be from 1 to the data set's {there}")));
        }
        dataset.train.truncate(images);
        let id = DatasetId::of(&dataset);
        Ok(Self { dataset: Arc::new(dataset), id, origin })
    }
}
