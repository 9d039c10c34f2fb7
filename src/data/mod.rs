//! Images: the data sets, their augmentation, and the epochs' order.
//!
//! A data set stays as the bytes of its files where the device reads them; a batch becomes numbers only when it is drawn. Every random choice
//! comes from a stream keyed by what it is for, so neither threads nor batch splits nor a resumed run can change one.

pub mod augment;
pub mod epoch;
pub mod held;

pub mod random;

pub use epoch::{Batches, EpochSpec, Place};
pub use held::{Held, Part, TABLES, held_bytes};

/// Rows and columns of an image.
pub const IMAGE: usize = 32;
/// Colours of a pixel: red, green, blue.
pub const CHANNELS: usize = 3;
/// Bytes, or values, of one image.
pub const IMAGE_LEN: usize = IMAGE * IMAGE * CHANNELS;

/// Images and their classes, in the order of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Pixels `[n, 32, 32, 3]`, colour fastest, 0 to 255.
    pub pixels: Vec<u8>,
    /// The class of each image, from 0.
    pub labels: Vec<u8>,
}

impl Split {
    /// A split with room for `n` images and none in it.
    pub fn with_capacity(n: usize) -> Self {
        Self { pixels: Vec::with_capacity(n * IMAGE_LEN), labels: Vec::with_capacity(n) }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The pixels `[32, 32, 3]` of image `index`.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn image(&self, index: usize) -> &[u8] {
        &self.pixels[index * IMAGE_LEN..][..IMAGE_LEN]
    }

    /// Keeps the first `n` images.
    pub fn truncate(&mut self, n: usize) {
        self.labels.truncate(n);
        self.pixels.truncate(n * IMAGE_LEN);
    }

    fn bytes(&self) -> u64 {
        (self.pixels.capacity() + self.labels.capacity()) as u64
    }
}

/// A data set: training and test images of the same classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// `cifar-10`, `cifar-100` or `synthetic`.
    pub name: String,
    /// Number of classes; every label is below it.
    pub classes: usize,
    /// What the weights are fitted to.
    pub train: Split,
    /// What accuracy is measured on.
    pub test: Split,
}

impl Dataset {
    /// Bytes held on the heap for images and labels.
    pub fn bytes(&self) -> u64 {
        self.train.bytes() + self.test.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> Dataset {
        let split = Split { pixels: (0..2 * IMAGE_LEN).map(|i| i as u8).collect(), labels: vec![3, 1] };
        Dataset { name: "tiny".into(), classes: 4, train: split.clone(), test: split }
    }

    #[test]
    fn bytes_are_those_of_both_splits() {
        assert_eq!(tiny().bytes(), 2 * (2 * IMAGE_LEN as u64 + 2));
    }
}
