//! Pictures on their way to the net, a batch at a time.

use std::sync::Arc;

use rand_chacha::rand_core::Rng;
use rewind::data::augment::{Change, shift};
use rewind::data::random::{Purpose, stream};
use rewind::data::{EpochSpec, Place, image_len};
use rewind::error::{Error, Result};
use rewind_pictures::crop::RandomCrop;
use rewind_pictures::loader::{Asked, Loader, Loading};
use rewind_pictures::resize::View;

use super::changes::Changes;
use super::data;
use crate::config::CropKind;

/// A part of a set: where its pictures come from, which of them there are, and their classes.
pub(super) struct Part {
    pub loader: Loader,
    /// The numbers of the pictures that can be read, in the loader's source.
    pub usable: Vec<usize>,
    /// The class of each of those.
    pub labels: Vec<u16>,
}

/// The pictures of a set, in the order of each epoch, cropped and changed as each epoch draws it.
pub struct Stream {
    train: Part,
    test: Part,
    side: usize,
    crop: CropKind,
    changes: Changes,
    /// What is under way.
    pass: Option<Pass>,
    pixels: Vec<u8>,
    labels: Vec<u16>,
}

struct Pass {
    loading: Loading,
    /// The class of what stands at each place that is left.
    classes: std::vec::IntoIter<u16>,
}

impl Stream {
    pub(super) fn new(train: Part, test: Part, side: usize, crop: CropKind, changes: Changes, batch: usize) -> Self {
        let (pixels, labels) = (vec![0; batch * image_len(side)], vec![0; batch]);
        Self { train, test, side, crop, changes, pass: None, pixels, labels }
    }

    /// Begins an epoch, numbered from 1, at its image number `first`.
    ///
    /// # Errors
    /// [`Error::Usage`] if the system has no more threads.
    pub fn begin_epoch(&mut self, spec: EpochSpec, epoch: usize, first: usize) -> Result<()> {
        // what is under way has its threads
        self.pass = None;
        let Part { loader, usable, labels } = &self.train;
        let mut places = vec![Place::default(); usable.len()];
        spec.draw(epoch as u64, &mut places);
        let places: Vec<_> = places.into_iter().skip(first).collect();
        let order: Arc<[usize]> = places.iter().map(|place| usable[place.index as usize]).collect();
        let classes: Vec<_> = places.iter().map(|place| labels[place.index as usize]).collect();
        let random = self.crop == CropKind::Random && spec.augment;
        let (epoch, side, changes) = (epoch as u64, self.side, self.changes);
        let places: Arc<[Place]> = places.into();
        let drawn = places.clone();
        let view = move |Asked { position, width, height, .. }: Asked| {
            if !random {
                return View::Centre;
            }
            let index = u64::from(drawn[position].index);
            let seed = stream(spec.seed, Purpose::Crop, epoch, index).next_u64();
            View::Crop(RandomCrop::default().draw(seed, width, height))
        };
        let change = move |Asked { position, .. }: Asked, view: &mut [u8], scratch: &mut Vec<u8>| {
            let place = places[position];
            if !random && place.change() != Change::NONE {
                scratch.clear();
                scratch.extend_from_slice(view);
                shift(scratch, side, place.change(), view);
            }
            if spec.augment {
                changes.apply(spec.seed, epoch, place.index.into(), side, view, scratch);
            }
        };
        let loading = loader.start_changed(order, view, change).map_err(data)?;
        self.pass = Some(Pass { loading, classes: classes.into_iter() });
        Ok(())
    }

    /// Begins a pass over the pictures to test on: the middle of each.
    ///
    /// # Errors
    /// As [`Stream::begin_epoch`].
    pub fn begin_test(&mut self) -> Result<()> {
        self.pass = None;
        let Part { loader, usable, labels } = &self.test;
        let loading = loader.start(&usable[..], |_| View::Centre).map_err(data)?;
        self.pass = Some(Pass { loading, classes: labels.clone().into_iter() });
        Ok(())
    }

    /// The next `n` pictures, `[n, side, side, 3]`, and their classes.
    ///
    /// # Errors
    /// [`Error::Data`] if a picture cannot be read any more.
    ///
    /// # Panics
    /// If no pass was begun, or it has fewer left.
    pub fn next(&mut self, n: usize) -> Result<(&[u8], &[u16])> {
        let len = image_len(self.side);
        let Pass { loading, classes } = self.pass.as_mut().expect("a pass was begun");
        for (pixels, label) in self.pixels.chunks_exact_mut(len).zip(&mut self.labels).take(n) {
            let (Some(loaded), Some(class)) = (loading.next(), classes.next()) else {
                panic!("a pass has no more pictures than it was begun with")
            };
            let view = loaded.view.map_err(|broken| Error::Data {
                path: broken.path.clone(),
                problem: format!("this picture could be read when the run began, and now it cannot: {}", broken.reason),
            })?;
            pixels.copy_from_slice(view);
            *label = class;
        }
        Ok((&self.pixels[..n * len], &self.labels[..n]))
    }
}
