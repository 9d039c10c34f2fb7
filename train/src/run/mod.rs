//! A run from start to end: epochs of steps, tests, checkpoints, and what is left in the run folder.

mod answers;
mod estimate;
mod leave;
mod look;
mod record;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rewind::data::augment::Change;
use rewind::data::{Batches, Dataset, EpochSpec, Mix, Part, Place, TABLES};
use rewind::device::{DescentStep, Device};
use rewind::error::Result;
use rewind::field::{Basic, Field};
use rewind::memory::{Bytes, Category};
use rewind::net::{Net, Pass};
use rewind::recipe::Share;
use rewind::sweep::Gradient;

pub use self::estimate::Estimate;
use self::record::Record;
use super::atomic::write_atomically;
use super::budget::{held, net_spec, planned};
use super::checkpoint::{Checkpoint, DatasetId, saved_shape};
use super::events::{EpochExtent, Event, Listener};
use super::flight::Flight;
use super::folder::RunFolder;
use super::progress::{EpochSums, Progress};
use super::report::{self, Summary};
use super::start::start_from;
use crate::config::RunConfig;
use crate::picture_spec::PictureSpec;
use crate::pictures::Stream;
use crate::schedule::Course;
use crate::settings::flagged;
use crate::source::Names;

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All epochs, or `--max-steps` steps, are done.
    Done,
    /// The user stopped it; the checkpoint says where.
    Interrupted,
}

/// One training run on one device.
pub struct Run<'a, D: Device<Real = f32>, F: Field<D> = Basic> {
    device: &'a D,
    config: RunConfig,
    dataset: DatasetId,
    pictures: PictureSpec,
    /// The files of the test images; empty where they have none.
    test_files: Vec<PathBuf>,
    /// The data set, if it is held whole.
    whole: Option<Arc<Dataset>>,
    net: Net<D, F>,
    /// What an epoch's table is drawn from, and the last epoch that was.
    epochs: EpochSpec,
    drawn: usize,
    train: Batches,
    test: Batches,
    flight: Flight,
    progress: Progress,
    memory: Bytes,
    planned: Bytes,
    step_seconds: Vec<f64>,
    /// The largest local error of a block that the last sweep that was looked at reconstructed.
    local_error: Option<f64>,
    /// Coded and refined blocks as last told.
    told: Option<[usize; 2]>,
    /// Whether it was told that the file system does not sync.
    told_unsynced: bool,
    drifts: Vec<f64>,
    images_trained: u64,
    /// Where the images come from, step by step, if the device does not hold all of them.
    stream: Option<Stream>,
    /// Where rows and events go while the run trains.
    record: Record,
    stop: &'a AtomicBool,
}

impl<'a, D: Device<Real = f32>> Run<'a, D> {
    /// A run of a net of the paper's residual functions: see [`Run::build`].
    ///
    /// # Errors
    /// As there.
    pub fn new(
        device: &'a D,
        config: RunConfig,
        dataset: Arc<Dataset>,
        checkpoint: Option<&Checkpoint>,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        Self::build(device, config, dataset, checkpoint, stop)
    }
}

impl<'a, D: Device<Real = f32>, F: Field<D>> Run<'a, D, F> {
    /// Takes all memory and draws the weights, or takes them from the checkpoint that the config starts from, or goes on from
    /// `checkpoint`. `stop` ends the run after the step in which it turns true.
    ///
    /// # Errors
    /// If the machine has no room, or a checkpoint is of another net or of other data.
    pub fn build(
        device: &'a D,
        mut config: RunConfig,
        dataset: Arc<Dataset>,
        checkpoint: Option<&Checkpoint>,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        config.settle_drops();
        config.validate_for_data(dataset.images(Part::Train), dataset.side())?;
        let id = DatasetId::of(&dataset);
        let pictures = PictureSpec::of(&dataset, &[]);
        let mut net = Net::<D, F>::build(device, net_spec(&config, &dataset), config.init, config.seed)?;
        let mut progress = Progress::default();
        if let Some(checkpoint) = checkpoint {
            checkpoint.check_dataset(&id)?;
            checkpoint.check_net(&config)?;
            checkpoint.check_steps(
                Batches::of_training(dataset.images(Part::Train), config.batch).map_err(flagged)?.count(),
            )?;
            for (name, tensor) in net.checkpointed_mut() {
                let values = checkpoint.tensor(&name, &saved_shape(tensor.shape()))?;
                device.upload(&values, tensor)?;
            }
            progress = checkpoint.state().progress.clone();
            if config.sweep.gradient == Gradient::Auto && !net.set_ways(&progress.ways) {
                let problem = "its choice of coded blocks is of another net: use the checkpoint with its own settings";
                return Err(checkpoint.error(problem.into()));
            }
        } else if let Some(file) = &config.init_from {
            start_from(device, Path::new(file), &config, &mut net)?;
            net.begin_averages(device)?;
        }
        let planned = planned::<D, F>(device, &config, &dataset)?;
        let mut memory = net.memory().clone();
        memory.charge(Category::Data, held(&config, &dataset));
        let train = Batches::of_training(dataset.images(Part::Train), config.batch).map_err(flagged)?;
        let test = Batches { images: dataset.images(Part::Test), ..train };
        // one that is refilled belongs to the device alone
        let whole = dataset.part_of.is_none().then(|| dataset.clone());
        net.hold(device, dataset)?;
        // room for every step, so that no step allocates; a run longer than this drops the later ones
        let steps = config.epochs.unwrap_or(0).saturating_mul(train.count()).min(1 << 20);
        let drifts = if config.sweep.gradient.reconstructs() { steps } else { 0 };
        Ok(Self {
            device,
            dataset: id,
            pictures,
            test_files: Vec::new(),
            whole,
            net,
            epochs: EpochSpec { seed: config.seed, augment: config.augment },
            drawn: 0,
            train,
            test,
            flight: Flight::new(D::STEPS_AHEAD),
            progress,
            memory,
            planned,
            step_seconds: Vec::with_capacity(steps),
            local_error: None,
            told: None,
            told_unsynced: false,
            drifts: Vec::with_capacity(drifts),
            images_trained: 0,
            stream: None,
            record: Record::default(),
            config,
            stop,
        })
    }

    /// Calls classes and test images by their names.
    pub fn named(mut self, names: Names) -> Self {
        if names.classes.len() == self.pictures.classes.len() {
            self.pictures.classes = names.classes;
        }
        self.test_files = names.test_files;
        self
    }

    /// Takes the images of every step from a stream. The data set is then of a batch, which is filled anew before each of them.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn fed_by(mut self, stream: Stream) -> Result<Self> {
        for table in 0..TABLES {
            let places = |places: &mut [Place]| {
                (0..).zip(places).for_each(|(index, place)| *place = Place::new(index, Change::NONE));
            };
            self.net.write_table(self.device, table, places)?;
        }
        self.stream = Some(stream);
        Ok(self)
    }

    /// Puts the next batch of the stream, if there is one, where the next step takes it.
    fn refill(&mut self, part: Part, n: usize) -> Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let (pixels, labels) = stream.next(n)?;
        self.net.refill(self.device, part, pixels, labels)
    }

    /// Trains to the end, keeps the run folder up to date if there is one, and tells `listener` what happens.
    ///
    /// # Errors
    /// [`rewind::Error::NotFinite`] if the loss of a step or of a test leaves the finite numbers, [`rewind::Error::Io`] if a file cannot be written; the last
    /// checkpoint stays whole.
    pub fn train<'f>(
        &mut self,
        folder: impl Into<Option<&'f RunFolder>>,
        listener: &mut dyn Listener,
    ) -> Result<(Ending, Summary)> {
        self.train_to(self.config.epochs.unwrap_or(0), folder, listener)
    }

    /// As [`Run::train`], but stops as if done when the run has done `epochs` epochs.
    ///
    /// # Errors
    /// As for [`Run::train`].
    pub fn train_to<'f>(
        &mut self,
        epochs: usize,
        folder: impl Into<Option<&'f RunFolder>>,
        listener: &mut dyn Listener,
    ) -> Result<(Ending, Summary)> {
        let folder = folder.into();
        if let Some(folder) = folder {
            // it may be refused, and then nothing has changed
            self.begin_record(folder)?;
            // The checkpoint comes first: a folder with any file of a run in it can be resumed, whenever the machine stops.
            self.save(folder, listener)?;
            write_atomically(&folder.config(), |file| file.write_all(self.config.to_toml().as_bytes()))?;
            self.write_tables(folder)?;
            self.keep(folder)?;
        }
        self.tell_choice(listener);
        while self.progress.epoch < epochs.min(self.config.epochs.unwrap_or(0)) {
            if !self.train_epoch(listener)? {
                // At the end of an epoch its row has the test. It comes before the checkpoint, which a net without a loss must not replace;
                // where the user wants to leave, there is none.
                let test = if self.progress.step_in_epoch > 0 { self.test()? } else { None };
                if let Some(folder) = folder {
                    self.save(folder, listener)?;
                }
                let interrupted = self.stop.load(Ordering::Relaxed);
                let summary = self.summary(test);
                if let Some(folder) = folder {
                    summary.write(&folder.summary())?;
                }
                return Ok((if interrupted { Ending::Interrupted } else { Ending::Done }, summary));
            }
            if let Some(folder) = folder {
                self.save(folder, listener)?;
                self.keep(folder)?;
                self.write_tables(folder)?;
                self.record_epochs()?;
                self.summary(None).write(&folder.summary())?;
            }
        }
        // of what this session trained, if it trained anything
        Ok((Ending::Done, self.look_after(folder)?))
    }

    /// What a run that is done has to show. A file of its folder that a session which was killed did not come to write is written; all
    /// others stay as they are: a session that trains nothing has no pace to tell, and the summary of the one that did knows more.
    ///
    /// # Errors
    /// [`rewind::Error::Io`] if a file cannot be written.
    pub fn look_after(&self, folder: Option<&RunFolder>) -> Result<Summary> {
        let summary = self.summary(None);
        let Some(folder) = folder else { return Ok(summary) };
        let rows = |text: String| text.lines().skip(1).count();
        if fs::read_to_string(folder.metrics()).ok().map(rows) != Some(self.progress.history.len()) {
            self.write_tables(folder)?;
        }
        if report::steps_in(&folder.summary()) != Some(self.progress.global_step) {
            summary.write(&folder.summary())?;
        }
        Ok(summary)
    }

    /// How the device launches the residual blocks: see [`Net::block_forms`].
    pub fn block_forms(&self) -> Vec<&'static str> {
        self.net.block_forms(self.device)
    }

    /// Trains what is left of the current epoch and tests; false if the run was stopped before the epoch was done.
    fn train_epoch(&mut self, listener: &mut dyn Listener) -> Result<bool> {
        let Progress { epoch, step_in_epoch, .. } = self.progress;
        let (epochs, steps) = (self.config.epochs.unwrap_or(0), self.train.count());
        let number = epoch + 1;
        let steps_after = ((epochs - number) * steps) as u64;
        let extent = EpochExtent { epoch: number, epochs, done: step_in_epoch, steps, steps_after };
        listener.hear(&Event::EpochStart(extent));
        let descent = self.descent(step_in_epoch);
        let changes = self.course().changes_within(number);
        self.draw(number)?;
        self.net.set_learning_rate(self.device, descent.lr())?;
        self.net.begin_pass(self.device, Pass::Train { table: number % TABLES }, step_in_epoch)?;
        if let Some(stream) = &mut self.stream {
            stream.begin_epoch(self.epochs, number, step_in_epoch * self.train.batch)?;
        }
        self.flight.begin();
        loop {
            let next = self.progress.step_in_epoch + self.flight.steps();
            let asked = self.progress.global_step + self.flight.steps() as u64;
            let over = next == steps
                || self.stop.load(Ordering::Relaxed)
                || self.config.max_steps.is_some_and(|max| asked >= max);
            // A step of fewer images might pass where the one before it failed, and then be taken for that one.
            let smaller = self.train.len(next) < self.config.batch;
            if over || self.flight.is_full() || smaller || self.chooses_after(asked, next == steps) {
                self.look(listener)?;
                // the listener may have seen enough
                if over || self.stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            self.refill(Part::Train, self.train.len(next))?;
            self.net.set_share(Share::of(next, steps, self.config.batches_per_update()));
            if changes {
                self.net.set_learning_rate(self.device, self.course().at(number, next))?;
            }
            // what reconstruction would be worth in coded blocks is looked at once per epoch
            match self.config.sweep.gradient == Gradient::Auto && next + 1 == steps {
                false => self.net.ask_train_step(self.device, self.train.len(next), descent)?,
                true => self.net.ask_probing_step(self.device, self.train.len(next), descent)?,
            }
            self.flight.add();
            // the device has something to do meanwhile
            if number < epochs {
                self.draw(number + 1)?;
            }
        }
        if self.progress.step_in_epoch < steps {
            return Ok(false);
        }
        let Some(test) = self.test()? else { return Ok(false) };
        let row = self.epoch_row(number, self.course().at(number, steps - 1), test);
        self.progress.history.push(row);
        self.progress.epoch = number;
        self.progress.step_in_epoch = 0;
        self.progress.sums = EpochSums::default();
        listener.hear(&Event::Epoch(&row));
        self.tell_choice(listener);
        Ok(true)
    }

    /// The learning rate over the run.
    fn course(&self) -> Course<'_> {
        Course::of(&self.config, self.train.count())
    }

    /// The optimiser's step number `step` of the current epoch.
    fn descent(&self, step: usize) -> DescentStep {
        self.config.step(self.course().at(self.progress.epoch + 1, step))
    }

    /// Draws an epoch into its table, unless it was drawn before.
    fn draw(&mut self, epoch: usize) -> Result<()> {
        if self.drawn >= epoch {
            return Ok(());
        }
        let (table, epochs, mix, side) = (epoch % TABLES, self.epochs, self.config.mix(), self.pictures.side);
        let mixes = |mixes: &mut [Mix]| {
            (0..).zip(mixes).for_each(|(step, of)| *of = mix.draw(epochs.seed, epoch as u64, step, side));
        };
        self.net.write_mixes(self.device, table, mixes)?;
        if self.stream.is_none() {
            self.net.write_table(self.device, table, |places| epochs.draw(epoch as u64, places))?;
        }
        self.drawn = epoch;
        Ok(())
    }

    /// Mean loss and accuracy over the test images; none if the run was stopped before the last of them.
    ///
    /// # Errors
    /// [`rewind::Error::NotFinite`] if the loss is no finite number, and whatever the device reports.
    pub fn test(&mut self) -> Result<Option<Test>> {
        self.net.begin_pass(self.device, Pass::Test, 0)?;
        if let Some(stream) = &mut self.stream {
            stream.begin_test()?;
        }
        self.flight.begin();
        let (mut loss, mut correct, mut read) = (0.0, 0, 0);
        while read < self.test.count() {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let next = read + self.flight.steps();
            if next < self.test.count() && !self.flight.is_full() {
                self.refill(Part::Test, self.test.len(next))?;
                self.net.ask_test_step(self.device, self.test.len(next))?;
                self.flight.add();
                continue;
            }
            for step in self.net.results(self.device, read, self.flight.steps())? {
                loss += step.batch.loss * self.test.len(read) as f64;
                correct += step.batch.correct;
                read += 1;
            }
            self.flight.land();
        }
        let images = self.test.images;
        let loss = loss / images as f64;
        if !loss.is_finite() {
            let place = self.net.first_non_finite_in_test(self.device)?;
            return Err(self.not_finite(Some(loss), format!("in the test {place}")));
        }
        Ok(Some(Test { loss, accuracy: correct as f64 / images as f64, images }))
    }

    /// The drift of every step of this session, up to some million; none in modes that reconstruct nothing.
    pub fn drifts(&self) -> &[f64] {
        &self.drifts
    }

    /// The network as the last step left it.
    pub fn net(&self) -> &Net<D, F> {
        &self.net
    }

    /// How far the run has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }
}

/// Mean loss and accuracy over the test images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Test {
    /// Mean loss an image.
    pub loss: f64,
    /// Fraction classified correctly.
    pub accuracy: f64,
    /// Images tested.
    pub images: usize,
}
