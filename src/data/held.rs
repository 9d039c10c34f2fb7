//! The data set as the devices that compute on the host hold it: the files' bytes where they are, and the epochs' tables.

use std::sync::Arc;

use super::augment::{Change, Normaliser};
use super::epoch::Place;
use super::mix::Mix;
use super::{Dataset, Split};

/// Tables of places that a device holds: the epoch that trains reads one while the other is written.
pub const TABLES: usize = 2;

/// Which images a pass goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The training images, in the order of an epoch's table.
    Train,
    /// The test images, in their own order, only normalised.
    Test,
}

/// Bytes that holding a data set takes on any device, with room for the mixes of so many batches of an epoch.
pub fn held_bytes(dataset: &Dataset, mixes: usize) -> u64 {
    dataset.bytes() + (TABLES * (dataset.train.len() * size_of::<Place>() + mixes * size_of::<Mix>())) as u64
}

/// A data set in the host's memory.
///
/// Places beyond a split's last image begin again at its first: a set that is refilled holds a batch at a time.
pub struct Held {
    dataset: Arc<Dataset>,
    normaliser: Normaliser,
    tables: [Vec<Place>; TABLES],
    mixes: [Vec<Mix>; TABLES],
}

impl Held {
    /// Holds it; nothing is copied. With room for the mixes of so many batches of an epoch, none if images are never mixed.
    pub fn new(dataset: Arc<Dataset>, mixes: usize) -> Self {
        let tables = std::array::from_fn(|_| vec![Place::default(); dataset.train.len()]);
        let mixes = std::array::from_fn(|_| vec![Mix::default(); mixes]);
        Self { normaliser: dataset.normaliser(), dataset, tables, mixes }
    }

    /// Puts other images and classes in the place of a split's first ones. A set that others hold too is copied.
    ///
    /// # Panics
    /// If they are more than the split has.
    pub fn refill(&mut self, part: Part, pixels: &[u8], labels: &[u16]) {
        let Dataset { train, test, .. } = Arc::make_mut(&mut self.dataset);
        let Split { pixels: held, labels: classes, .. } = if part == Part::Train { train } else { test };
        held[..pixels.len()].copy_from_slice(pixels);
        classes[..labels.len()].copy_from_slice(labels);
    }

    /// Rows and columns of an image.
    pub fn side(&self) -> usize {
        self.dataset.side()
    }

    /// `out = normalise(change(image))` of image `n` of the `batch` that is step number `step` of a pass in steps of `each` images, mixed with the image before it, or
    /// the first with the last, where a training pass mixes. Gives its class, the other's, and the other's part of the right answer.
    /// `table` counts in training alone.
    pub fn draw(
        &self,
        part: Part,
        table: usize,
        (step, each): (usize, usize),
        (n, batch): (usize, usize),
        out: &mut [f32],
    ) -> (u16, u16, f32) {
        let (pixels, change, class) = self.at(part, table, step * each + n);
        self.normaliser.augment(pixels, change, out);
        let mixes = &self.mixes[table];
        let mix = match part {
            Part::Train if !mixes.is_empty() => mixes[step % mixes.len()],
            Part::Train | Part::Test => return (class, class, 0.0),
        };
        let (pixels, change, other) = self.at(part, table, step * each + (n + batch - 1) % batch);
        self.normaliser.mix(mix, pixels, change, out);
        (class, other, mix.share)
    }

    /// The mixes of a table's epoch, to be written.
    pub fn mixes_mut(&mut self, table: usize) -> &mut [Mix] {
        &mut self.mixes[table]
    }

    /// A table, to be written.
    pub fn table_mut(&mut self, table: usize) -> &mut [Place] {
        &mut self.tables[table]
    }

    fn at(&self, part: Part, table: usize, place: usize) -> (&[u8], Change, u16) {
        let (split, index, change) = match part {
            Part::Train => {
                let table = &self.tables[table];
                let drawn = table[place % table.len()];
                (&self.dataset.train, drawn.index as usize, drawn.change())
            }
            Part::Test => (&self.dataset.test, place % self.dataset.test.len(), Change::NONE),
        };
        (split.image(index), change, split.labels[index])
    }
}
