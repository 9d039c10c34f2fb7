//! The loader: prepares the next batch on its own thread while the network trains on the current one.
//!
//! A fixed pool of buffers goes round between the two threads, so nothing is allocated once the loader exists. What a batch
//! holds depends on the seed, the epoch and its place in the epoch alone, never on timing.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rand::RngExt;

use super::augment::{Change, augment, normalise};
use super::random::{Purpose, stream};
use super::{Dataset, IMAGE_LEN};
use crate::error::{Error, Result};

/// Batches in the pool: the one trained on, the one that waits, and the one being filled.
const POOL: usize = 3;

/// Images and classes, ready for the network.
#[derive(Clone, Debug)]
pub struct HostBatch {
    /// Normalised pixels `[batch, 32, 32, 3]`; the first `n` images are valid.
    pub images: Vec<f32>,
    /// The class of each image, from 0; the first `n` are valid.
    pub labels: Vec<f32>,
    /// Images in this batch: the batch size, or what is left for the last batch of an epoch.
    pub n: usize,
}

impl HostBatch {
    fn new(batch: usize) -> Self {
        Self { images: vec![0.0; batch * IMAGE_LEN], labels: vec![0.0; batch], n: 0 }
    }
}

/// What the batches are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderSpec {
    /// Seed of the order and of the augmentation.
    pub seed: u64,
    /// Images in a batch.
    pub batch: usize,
    /// Whether training images are cropped and mirrored at random; test images never are.
    pub augment: bool,
}

/// What one pass over the data goes through.
#[derive(Clone, Copy, Debug)]
enum Pass {
    Train { epoch: u64, skip: usize },
    Test,
}

/// What the two threads share. Every batch of the pool is in `free`, in `ready`, or with one of the threads.
struct State {
    free: Vec<HostBatch>,
    /// Batches of the current pass, the next one last: at most `POOL`, so shifting them costs nothing.
    ready: Vec<HostBatch>,
    /// The pass that the worker has not taken up yet.
    request: Option<Pass>,
    /// Number of passes asked for: a batch filled for an earlier pass is stale.
    pass: u64,
    /// Whether all batches of the current pass are in `ready` or handed out.
    complete: bool,
    /// The owner is gone, or the worker is.
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    /// The state, whoever panicked while holding it: every change to it is complete in itself.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

/// Hands out the batches of one pass over the data after the other.
pub struct Loader {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
    current: Option<HostBatch>,
    train_len: usize,
    test_len: usize,
    batch: usize,
}

impl Loader {
    /// Starts the loader's thread, which waits for a pass. All its memory is allocated here.
    ///
    /// # Errors
    /// [`Error::Usage`] if the batch is 0 or larger than the training split; [`Error::Io`] if the system refuses a thread.
    pub fn new(dataset: Arc<Dataset>, spec: LoaderSpec) -> Result<Self> {
        let (train_len, test_len) = (dataset.train.len(), dataset.test.len());
        if spec.batch == 0 || spec.batch > train_len {
            return Err(Error::Usage(format!(
                "a batch of {} images makes no sense for {train_len} training images: choose --batch from 1 to {train_len}",
                spec.batch
            )));
        }
        let state = State {
            free: (0..POOL).map(|_| HostBatch::new(spec.batch)).collect(),
            ready: Vec::with_capacity(POOL),
            request: None,
            pass: 0,
            complete: true,
            closed: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let worker = Worker { shared: shared.clone(), dataset, spec, order: vec![0; train_len] };
        let thread = std::thread::Builder::new().name("loader".into());
        let worker = thread.spawn(move || worker.run()).map_err(Error::io("start", "the loader's thread".as_ref()))?;
        Ok(Self { shared, worker: Some(worker), current: None, train_len, test_len, batch: spec.batch })
    }

    /// Bytes that a loader holds beside the data set: its pool of batches, and the order of the training images.
    pub const fn bytes(batch: usize, train_len: usize) -> u64 {
        (POOL * batch * (IMAGE_LEN + 1) * size_of::<f32>() + train_len * size_of::<u32>()) as u64
    }

    /// Batches of a training epoch, the smaller last one included.
    pub const fn train_batches(&self) -> usize {
        self.train_len.div_ceil(self.batch)
    }

    /// Batches of a pass over the test images, the smaller last one included.
    pub const fn test_batches(&self) -> usize {
        self.test_len.div_ceil(self.batch)
    }

    /// Starts a pass over all training images in the order of `epoch`, without its first `skip_batches` batches: those cost
    /// nothing. A pass that is under way is dropped.
    pub fn start_train_epoch(&mut self, epoch: u64, skip_batches: usize) {
        self.start(Pass::Train { epoch, skip: skip_batches });
    }

    /// Starts a pass over all test images, in their order. A pass that is under way is dropped.
    pub fn start_test(&mut self) {
        self.start(Pass::Test);
    }

    fn start(&mut self, pass: Pass) {
        let mut state = self.shared.lock();
        let State { free, ready, .. } = &mut *state;
        free.append(ready);
        free.extend(self.current.take());
        state.request = Some(pass);
        state.pass += 1;
        state.complete = false;
        self.shared.changed.notify_all();
    }

    /// The next batch of the pass, or `None` after its last one (and before the first pass). Waits if it is not ready. The
    /// batch before it goes back to be filled again.
    ///
    /// # Panics
    /// If the loader's thread ended by a bug of its own.
    pub fn next_batch(&mut self) -> Option<&HostBatch> {
        let mut state = self.shared.lock();
        if let Some(used) = self.current.take() {
            state.free.push(used);
            self.shared.changed.notify_all();
        }
        while state.ready.is_empty() && !state.complete {
            assert!(!state.closed, "the loader's thread ended by a bug of its own");
            state = self.shared.wait(state);
        }
        self.current = state.ready.pop();
        self.current.as_ref()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.close();
        if let Some(worker) = self.worker.take() {
            // A panic of the worker was printed when it happened; a second one here could end the process.
            let _ = worker.join();
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    dataset: Arc<Dataset>,
    spec: LoaderSpec,
    order: Vec<u32>,
}

/// Tells the owner that the worker is gone, also when it panicked: else the owner would wait for ever.
struct Farewell(Arc<Shared>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Worker {
    fn run(mut self) {
        let _farewell = Farewell(self.shared.clone());
        let shared = self.shared.clone();
        let mut state = shared.lock();
        while !state.closed {
            let Some(pass) = state.request.take() else {
                state = shared.wait(state);
                continue;
            };
            let number = state.pass;
            drop(state);
            let (mut at, batches) = self.begin(pass);
            state = shared.lock();
            while state.pass == number && !state.closed && at < batches {
                let Some(mut batch) = state.free.pop() else {
                    state = shared.wait(state);
                    continue;
                };
                drop(state);
                self.fill(pass, at, &mut batch);
                at += 1;
                state = shared.lock();
                if state.pass == number {
                    state.ready.insert(0, batch);
                    shared.changed.notify_all();
                } else {
                    state.free.push(batch);
                }
            }
            if state.pass == number {
                state.complete = true;
                shared.changed.notify_all();
            }
        }
    }

    /// Puts the images in the order of the pass; returns its first batch and the batch after its last.
    fn begin(&mut self, pass: Pass) -> (usize, usize) {
        match pass {
            Pass::Train { epoch, skip } => {
                shuffle(self.spec.seed, epoch, &mut self.order);
                (skip, self.order.len().div_ceil(self.spec.batch))
            }
            Pass::Test => (0, self.dataset.test.len().div_ceil(self.spec.batch)),
        }
    }

    fn fill(&self, pass: Pass, at: usize, batch: &mut HostBatch) {
        let split = match pass {
            Pass::Train { .. } => &self.dataset.train,
            Pass::Test => &self.dataset.test,
        };
        let start = at * self.spec.batch;
        batch.n = self.spec.batch.min(split.len() - start);
        let places = start..start + batch.n;
        for ((place, out), label) in places.zip(batch.images.chunks_exact_mut(IMAGE_LEN)).zip(&mut batch.labels) {
            let index = match pass {
                Pass::Train { epoch, .. } => {
                    let index = self.order[place] as usize;
                    let change = match self.spec.augment {
                        true => Change::draw(self.spec.seed, epoch, index as u64),
                        false => Change::NONE,
                    };
                    augment(split.image(index), change, out);
                    index
                }
                Pass::Test => {
                    normalise(split.image(place), out);
                    place
                }
            };
            *label = f32::from(split.labels[index]);
        }
    }
}

/// The order of the training images in `epoch`: every index once, by Fisher and Yates.
pub fn shuffle(seed: u64, epoch: u64, order: &mut [u32]) {
    let mut rng = stream(seed, Purpose::Shuffle, epoch, 0);
    for (place, index) in (0..).zip(order.iter_mut()) {
        *index = place;
    }
    for last in (1..order.len()).rev() {
        order.swap(last, rng.random_range(0..=last));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::data::Split;

    /// Image `i` is filled with byte `i`, and so is its label: what comes out tells which image went in.
    fn dataset(train: usize, test: usize) -> Arc<Dataset> {
        let split = |n: usize| Split {
            pixels: (0..n * IMAGE_LEN).map(|b| (b / IMAGE_LEN) as u8).collect(),
            labels: (0..n).map(|i| i as u8).collect(),
        };
        Arc::new(Dataset { name: "numbered".into(), classes: 256, train: split(train), test: split(test) })
    }

    fn loader(set: &Arc<Dataset>, batch: usize, augment: bool) -> Loader {
        Loader::new(set.clone(), LoaderSpec { seed: 7, batch, augment }).unwrap()
    }

    /// The rest of the pass: labels and pixels, batch by batch.
    fn drain(loader: &mut Loader) -> Vec<(Vec<f32>, Vec<f32>)> {
        let mut batches = Vec::new();
        while let Some(batch) = loader.next_batch() {
            batches.push((batch.labels[..batch.n].to_vec(), batch.images[..batch.n * IMAGE_LEN].to_vec()));
        }
        assert!(loader.next_batch().is_none());
        batches
    }

    fn labels(batches: &[(Vec<f32>, Vec<f32>)]) -> Vec<f32> {
        batches.iter().flat_map(|b| b.0.iter().copied()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn an_epoch_shows_each_image_once(train in 1usize..60, test in 0usize..20, batch in 1usize..60, epoch: u64) {
            let batch = batch.min(train);
            let mut loader = loader(&dataset(train, test), batch, true);
            loader.start_train_epoch(epoch, 0);
            let batches = drain(&mut loader);
            prop_assert_eq!(batches.len(), loader.train_batches());
            prop_assert!(batches[..batches.len() - 1].iter().all(|b| b.0.len() == batch));
            let mut seen = labels(&batches);
            seen.sort_by(f32::total_cmp);
            prop_assert_eq!(seen, (0..train).map(|i| i as f32).collect::<Vec<_>>());
            loader.start_test();
            let batches = drain(&mut loader);
            prop_assert_eq!(batches.len(), loader.test_batches());
            prop_assert_eq!(labels(&batches), (0..test).map(|i| i as f32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn pixels_depend_on_the_key_and_not_on_the_batch_size() {
        let set = dataset(50, 3);
        let flat = |batch| {
            let mut loader = loader(&set, batch, true);
            loader.start_train_epoch(3, 0);
            drain(&mut loader).into_iter().flat_map(|b| b.1).collect::<Vec<_>>()
        };
        let whole = flat(50);
        assert_eq!(whole, flat(7));
        assert_eq!(whole, flat(1));
        let mut order = vec![0; 50];
        shuffle(7, 3, &mut order);
        let mut expected = vec![0.0; IMAGE_LEN];
        for (out, &index) in whole.chunks_exact(IMAGE_LEN).zip(&order) {
            augment(set.train.image(index as usize), Change::draw(7, 3, index.into()), &mut expected);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn epochs_differ_and_repeat() {
        let mut loader = loader(&dataset(50, 3), 8, true);
        let mut epoch = |epoch| {
            loader.start_train_epoch(epoch, 0);
            drain(&mut loader)
        };
        let (one, two) = (epoch(1), epoch(2));
        assert_ne!(labels(&one), labels(&two));
        assert_eq!(one, epoch(1));
    }

    #[test]
    fn skipped_batches_leave_the_rest_as_it_was() {
        let mut loader = loader(&dataset(50, 3), 8, true);
        loader.start_train_epoch(5, 0);
        let whole = drain(&mut loader);
        for skip in [0, 1, 6, 7, 9] {
            loader.start_train_epoch(5, skip);
            assert_eq!(drain(&mut loader), whole[skip.min(7)..]);
        }
    }

    #[test]
    fn without_augmentation_images_are_only_normalised() {
        let set = dataset(20, 3);
        let mut loader = loader(&set, 6, false);
        loader.start_train_epoch(1, 0);
        let mut expected = vec![0.0; IMAGE_LEN];
        for (labels, images) in drain(&mut loader) {
            for (image, label) in images.chunks_exact(IMAGE_LEN).zip(labels) {
                normalise(set.train.image(label as usize), &mut expected);
                assert_eq!(image, expected);
            }
        }
    }

    #[test]
    fn a_pass_can_be_dropped_at_any_point() {
        let set = dataset(50, 9);
        for taken in 0..8 {
            let mut loader = loader(&set, 8, true);
            assert!(loader.next_batch().is_none(), "no pass was started");
            loader.start_train_epoch(1, 0);
            for _ in 0..taken {
                loader.next_batch();
            }
            loader.start_test();
            loader.start_train_epoch(2, 0);
            assert_eq!(labels(&drain(&mut loader)).len(), 50);
            loader.start_train_epoch(3, 0);
            for _ in 0..taken {
                loader.next_batch();
            }
            // Dropped here, in the middle of the pass.
        }
    }

    #[test]
    #[should_panic(expected = "the loader's thread ended")]
    fn a_thread_that_panicked_is_not_waited_for() {
        let mut broken = Dataset::clone(&dataset(5, 3));
        broken.train.pixels.pop();
        let mut loader = loader(&Arc::new(broken), 5, true);
        loader.start_train_epoch(1, 0);
        loader.next_batch();
    }

    #[test]
    fn a_batch_that_makes_no_sense_is_refused() {
        let set = dataset(5, 3);
        for batch in [0, 6] {
            let error = Loader::new(set.clone(), LoaderSpec { seed: 0, batch, augment: true }).err().unwrap();
            assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("from 1 to 5"), "{error}");
        }
    }
}
