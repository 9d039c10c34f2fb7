//! One epoch: the order of the training images and each one's change, drawn by the host and kept where the device reads them.
//!
//! What stands at a place depends on the seed, the epoch and the place alone, never on the batch size, on threads or on what
//! ran before.

use rand::RngExt;
use rayon::prelude::*;

use super::augment::Change;
use super::random::{Purpose, stream};
use crate::error::{Error, Result};

/// Places drawn as one task.
const TASK: usize = 1 << 10;

/// What stands at one place of an epoch: an image and how it is changed. kernels/draw_batch.cu declares the same struct.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Place {
    /// The image's number in the training split.
    pub index: u32,
    /// `top + 16 left + 256 flip`.
    change: u32,
}

impl Place {
    /// Image `index`, changed.
    pub fn new(index: u32, change: Change) -> Self {
        Self { index, change: (change.top + 16 * change.left + 256 * usize::from(change.flip)) as u32 }
    }

    /// How the image is changed.
    pub fn change(self) -> Change {
        let change = self.change as usize;
        Change { top: change % 16, left: change / 16 % 16, flip: change / 256 == 1 }
    }
}

/// What the epochs are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochSpec {
    /// Seed of the order and of the augmentation.
    pub seed: u64,
    /// Whether training images are cropped and mirrored at random; test images never are.
    pub augment: bool,
}

impl EpochSpec {
    /// Draws an epoch: every image once, by Fisher and Yates, and its change.
    pub fn draw(&self, epoch: u64, places: &mut [Place]) {
        for (index, place) in (0..).zip(places.iter_mut()) {
            *place = Place::new(index, Change::NONE);
        }
        let mut rng = stream(self.seed, Purpose::Shuffle, epoch, 0);
        for last in (1..places.len()).rev() {
            places.swap(last, rng.random_range(0..=last));
        }
        if self.augment {
            places.par_chunks_mut(TASK).flatten_iter().for_each(|place| {
                *place = Place::new(place.index, Change::draw(self.seed, epoch, place.index.into()));
            });
        }
    }
}

/// How a split is cut into batches, the last of which may be smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// Images of the split.
    pub images: usize,
    /// Images of a batch.
    pub batch: usize,
}

impl Batches {
    /// Cuts a training split.
    ///
    /// # Errors
    /// [`Error::Usage`] if the batch is 0 or larger than the split.
    pub fn of_training(images: usize, batch: usize) -> Result<Self> {
        if batch == 0 || batch > images {
            return Err(Error::Usage(format!(
                "a batch of {batch} images makes no sense for {images} training images: choose `batch` from 1 to {images}"
            )));
        }
        Ok(Self { images, batch })
    }

    /// Batches, the smaller last one included.
    pub const fn count(self) -> usize {
        self.images.div_ceil(self.batch)
    }

    /// Images of batch number `step`.
    pub fn len(self, step: usize) -> usize {
        self.batch.min(self.images.saturating_sub(step * self.batch))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::data::augment::PADDING;

    fn drawn(len: usize, epoch: u64, augment: bool) -> Vec<Place> {
        let mut places = vec![Place::default(); len];
        EpochSpec { seed: 7, augment }.draw(epoch, &mut places);
        places
    }

    proptest! {
        #[test]
        fn an_epoch_shows_each_image_once_with_its_own_change(len in 0usize..3000, epoch: u64) {
            let places = drawn(len, epoch, true);
            let mut seen: Vec<u32> = places.iter().map(|p| p.index).collect();
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..len as u32));
            for place in places {
                prop_assert_eq!(place.change(), Change::draw(7, epoch, place.index.into()));
            }
        }

        #[test]
        fn batches_cover_the_split(images in 1usize..1000, batch in 1usize..1000) {
            let batches = Batches::of_training(images, batch.min(images)).unwrap();
            let lens: Vec<usize> = (0..batches.count()).map(|step| batches.len(step)).collect();
            prop_assert_eq!(lens.iter().sum::<usize>(), images);
            prop_assert!(lens[..lens.len() - 1].iter().all(|n| *n == batch.min(images)));
            prop_assert!(lens[lens.len() - 1] > 0 && batches.len(batches.count()) == 0);
        }
    }

    #[test]
    fn epochs_differ_and_repeat() {
        let (one, two) = (drawn(50, 1, true), drawn(50, 2, true));
        assert_ne!(one, two);
        assert_eq!(one, drawn(50, 1, true));
    }

    #[test]
    fn threads_do_not_change_a_place() {
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let several = rayon::ThreadPoolBuilder::new().num_threads(5).build().unwrap();
        assert_eq!(alone.install(|| drawn(5000, 3, true)), several.install(|| drawn(5000, 3, true)));
    }

    #[test]
    fn without_augmentation_the_order_is_the_same_and_nothing_is_changed() {
        let (with, without) = (drawn(50, 3, true), drawn(50, 3, false));
        assert!(with.iter().zip(&without).all(|(a, b)| a.index == b.index && b.change() == Change::NONE));
    }

    #[test]
    fn every_change_survives_packing() {
        for (top, left) in (0..=2 * PADDING).flat_map(|top| (0..=2 * PADDING).map(move |left| (top, left))) {
            for flip in [false, true] {
                let change = Change { top, left, flip };
                assert_eq!(Place::new(9, change).change(), change);
            }
        }
    }

    #[test]
    fn a_batch_that_makes_no_sense_is_refused() {
        for batch in [0, 6] {
            let error = Batches::of_training(5, batch).unwrap_err();
            assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("from 1 to 5"), "{error}");
        }
    }
}
