//! The data set as the devices that compute on the host hold it: the files' bytes where they are, and the epochs' tables.

use std::sync::Arc;

use super::Dataset;
use super::augment::Change;
use super::epoch::Place;

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

/// Bytes that holding a data set takes on any device.
pub fn held_bytes(dataset: &Dataset) -> u64 {
    dataset.bytes() + (TABLES * dataset.train.len() * size_of::<Place>()) as u64
}

/// A data set in the host's memory.
pub struct Held {
    dataset: Arc<Dataset>,
    tables: [Vec<Place>; TABLES],
}

impl Held {
    /// Holds it; nothing is copied.
    pub fn new(dataset: Arc<Dataset>) -> Self {
        let tables = std::array::from_fn(|_| vec![Place::default(); dataset.train.len()]);
        Self { dataset, tables }
    }

    /// A table, to be written.
    pub fn table_mut(&mut self, table: usize) -> &mut [Place] {
        &mut self.tables[table]
    }

    /// The pixels at a place of a pass, their change, and their class. `table` counts in training alone.
    pub fn at(&self, part: Part, table: usize, place: usize) -> (&[u8], Change, u8) {
        let (split, index, change) = match part {
            Part::Train => {
                let drawn = self.tables[table][place];
                (&self.dataset.train, drawn.index as usize, drawn.change())
            }
            Part::Test => (&self.dataset.test, place, Change::NONE),
        };
        (split.image(index), change, split.labels[index])
    }
}
