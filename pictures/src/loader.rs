//! Views of pictures in a given order, decoded ahead on several threads.
//!
//! The bytes and their order are the same for any number of threads, because a view depends on its place in the order and on
//! its picture alone. Memory is bounded by [`Loader::bytes`], whatever the consumer does.

use std::sync::Arc;

use crate::ahead::Ahead;
use crate::error::{Broken, Error, Result};
use crate::resize::{Filter, View};
use crate::source::{Scratch, Source};

/// What is known of a picture when its view is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its place in the order.
    pub position: usize,
    /// Its number in the source.
    pub index: usize,
    /// Its width as prepared.
    pub width: u32,
    /// Its height as prepared.
    pub height: u32,
}

/// Makes views of a source.
#[derive(Clone)]
pub struct Loader {
    source: Arc<dyn Source>,
    image: u32,
    filter: Filter,
    threads: usize,
    ahead: usize,
}

impl Loader {
    /// Views of `image` pixels a side, on `threads` threads, at most `ahead` of them in memory at a time; each at least 1.
    ///
    /// # Errors
    /// [`Error::Usage`] if one of the numbers is 0.
    pub fn new(source: Arc<dyn Source>, image: u32, filter: Filter, threads: usize, ahead: usize) -> Result<Self> {
        if image == 0 || threads == 0 || ahead == 0 {
            return Err(Error::Usage(format!(
                "pictures of {image} pixels a side, {threads} threads and {ahead} pictures ahead were asked for: each is at least 1"
            )));
        }
        Ok(Self { source, image, filter, threads, ahead })
    }

    /// Bytes of one view: `image * image * 3`.
    pub fn view_bytes(&self) -> usize {
        self.image as usize * self.image as usize * 3
    }

    /// The most bytes that loading takes, beside those that the source holds: the views ahead, and each thread's own, with a view
    /// to change another by.
    pub fn bytes(&self) -> u64 {
        let view = self.view_bytes() as u64;
        self.ahead as u64 * view + self.threads as u64 * (self.source.bytes_per_thread(self.image) + view)
    }

    /// Begins to load the pictures `order` of the source. `view` says what is seen of each.
    ///
    /// # Errors
    /// [`Error::Usage`] if the source has no such picture, or the system no more threads.
    pub fn start(
        &self,
        order: impl Into<Arc<[usize]>>,
        view: impl Fn(Asked) -> View + Send + Sync + 'static,
    ) -> Result<Loading> {
        self.start_changed(order, view, |_, _, _| ())
    }

    /// As [`Loader::start`], where `change` then changes each view, on the thread that made it. It also gets memory of the thread's
    /// own, which is kept from picture to picture; [`Loader::bytes`] has room there for one view.
    ///
    /// # Errors
    /// As [`Loader::start`].
    pub fn start_changed(
        &self,
        order: impl Into<Arc<[usize]>>,
        view: impl Fn(Asked) -> View + Send + Sync + 'static,
        change: impl Fn(Asked, &mut [u8], &mut Vec<u8>) + Send + Sync + 'static,
    ) -> Result<Loading> {
        let order = order.into();
        if let Some(index) = order.iter().find(|&&index| index >= self.source.len()) {
            return Err(Error::Usage(format!("picture {index} was asked for of {}", self.source.len())));
        }
        let slots = (0..self.ahead).map(|_| Slot { view: vec![0; self.view_bytes()], broken: None }).collect();
        let (view, change) = (Arc::new(view), Arc::new(change));
        let ahead = Ahead::start(order.len(), slots, self.threads, || {
            let (source, order) = (self.source.clone(), order.clone());
            let (view, change) = (view.clone(), change.clone());
            let (image, filter) = (self.image, self.filter);
            let (mut scratch, mut resizer, mut spare) =
                (Scratch::default(), crate::resize::Resizer::default(), Vec::new());
            Box::new(move |position, slot: &mut Slot| {
                let index = order[position];
                slot.broken = match source.picture(index, &mut scratch) {
                    Ok(seen) => {
                        let asked = Asked { position, index, width: seen.width, height: seen.height };
                        resizer.view(seen, view(asked), filter, image, &mut slot.view);
                        change(asked, &mut slot.view, &mut spare);
                        None
                    }
                    Err(broken) => Some(broken),
                };
            })
        })
        .map_err(|e| {
            Error::Usage(format!("cannot start the threads that decode pictures ({e}): give fewer --threads"))
        })?;
        Ok(Loading { ahead, order, position: 0, lent: None })
    }
}

struct Slot {
    view: Vec<u8>,
    broken: Option<Broken>,
}

/// Pictures on their way. Dropped, it stops its threads.
pub struct Loading {
    ahead: Ahead<Slot>,
    order: Arc<[usize]>,
    position: usize,
    lent: Option<Slot>,
}

/// The next picture.
#[derive(Debug)]
pub struct Loaded<'a> {
    /// Its place in the order.
    pub position: usize,
    /// Its number in the source.
    pub index: usize,
    /// What is seen of it, `[image, image, 3]`, or why it is broken.
    pub view: std::result::Result<&'a [u8], &'a Broken>,
}

impl Loading {
    /// Waits for the next picture; none after the last. Its bytes are lent until the next call.
    ///
    /// # Panics
    /// If a function that chooses or changes views did, or chose a crop that does not lie in its picture.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend")]
    pub fn next(&mut self) -> Option<Loaded<'_>> {
        if let Some(slot) = self.lent.take() {
            self.ahead.give_back(slot);
        }
        let slot = self.lent.insert(self.ahead.next()?);
        let position = self.position;
        self.position += 1;
        let view = match &slot.broken {
            Some(broken) => Err(broken),
            None => Ok(&slot.view[..]),
        };
        Some(Loaded { position, index: self.order[position], view })
    }

    /// Pictures that are ready. If it is often 0, the consumer waits for pictures.
    pub fn ready(&self) -> usize {
        self.ahead.waiting()
    }
}
