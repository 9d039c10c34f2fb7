//! Images: the data sets, their augmentation, and the epochs' order.
//!
//! A data set stays as the bytes of its files where the device reads them; a batch becomes numbers only when it is drawn. Every random choice
//! comes from a stream keyed by what it is for, so neither threads nor batch splits nor a resumed run can change one.

pub mod augment;
pub mod epoch;
pub mod held;
pub mod mix;

pub mod random;

pub use augment::{Normalise, Normaliser};
pub use epoch::{Batches, EpochSpec, Place};
pub use held::{Held, Part, TABLES, held_bytes};
pub use mix::{Mix, MixSpec};

/// Rows and columns of an image of CIFAR and of the built-in set.
pub const IMAGE: usize = 32;
/// Colours of a pixel: red, green, blue.
pub const CHANNELS: usize = 3;
/// Bytes, or values, of one image of CIFAR.
pub const IMAGE_LEN: usize = image_len(IMAGE);

/// Bytes, or values, of one image of `side` rows and columns.
pub const fn image_len(side: usize) -> usize {
    side * side * CHANNELS
}

/// Images and their classes, in the order of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Rows and columns of an image.
    pub side: usize,
    /// Pixels `[n, side, side, 3]`, colour fastest, 0 to 255.
    pub pixels: Vec<u8>,
    /// The class of each image, from 0.
    pub labels: Vec<u16>,
}

impl Split {
    /// A split of images of `side` rows and columns, with room for `n` and none in it.
    pub fn with_capacity(side: usize, n: usize) -> Self {
        Self { side, pixels: Vec::with_capacity(n * image_len(side)), labels: Vec::with_capacity(n) }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The pixels `[side, side, 3]` of image `index`.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn image(&self, index: usize) -> &[u8] {
        let len = image_len(self.side);
        &self.pixels[index * len..][..len]
    }

    /// Keeps the first `n` images.
    pub fn truncate(&mut self, n: usize) {
        self.labels.truncate(n);
        self.pixels.truncate(n * image_len(self.side));
    }

    fn bytes(&self) -> u64 {
        (self.pixels.capacity() + self.labels.capacity() * size_of::<u16>()) as u64
    }
}

/// A data set: training and test images of the same classes and of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// What it is called: `cifar-10`, `synthetic`, the name of a folder of pictures.
    pub name: String,
    /// Number of classes; every label is below it.
    pub classes: usize,
    /// How its bytes become numbers.
    pub normalise: Normalise,
    /// What the weights are fitted to.
    pub train: Split,
    /// What accuracy is measured on.
    pub test: Split,
    /// What tells its images from all others, where that is not their bytes.
    pub fingerprint: Option<String>,
    /// Of what it holds a part at a time, if it does not hold all images.
    pub part_of: Option<Whole>,
}

/// A set of which a [`Dataset`] holds a batch at a time, see [`crate::device::Feed::refill`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Images to train on.
    pub train: usize,
    /// Images to test on.
    pub test: usize,
    /// Bytes that those take who fill it.
    pub bytes: u64,
}

impl Dataset {
    /// Bytes on the heap for images and labels, those of whoever fills it among them.
    pub fn bytes(&self) -> u64 {
        self.train.bytes() + self.test.bytes() + self.part_of.as_ref().map_or(0, |whole| whole.bytes)
    }

    /// Images of a part, all of them.
    pub fn images(&self, part: Part) -> usize {
        let (held, whole) = match part {
            Part::Train => (&self.train, self.part_of.as_ref().map(|whole| whole.train)),
            Part::Test => (&self.test, self.part_of.as_ref().map(|whole| whole.test)),
        };
        whole.unwrap_or(held.len())
    }

    /// Rows and columns of an image.
    pub fn side(&self) -> usize {
        self.train.side
    }

    /// What turns its images into numbers.
    pub fn normaliser(&self) -> Normaliser {
        Normaliser::new(self.side(), self.normalise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> Dataset {
        let pixels = (0..2 * image_len(5)).map(|i| i as u8).collect();
        let split = Split { side: 5, pixels, labels: vec![3, 1] };
        let normalise = Normalise::CIFAR_10;
        Dataset {
            name: "tiny".into(),
            classes: 4,
            normalise,
            train: split.clone(),
            test: split,
            fingerprint: None,
            part_of: None,
        }
    }

    #[test]
    fn bytes_are_those_of_both_splits() {
        assert_eq!(tiny().bytes(), 2 * (2 * 75 + 4));
    }
}
