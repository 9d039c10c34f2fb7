//! A run from start to end: epochs of steps, tests, checkpoints, and what is left in the run folder.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rewind::code::Bits;
use rewind::data::{Batches, Dataset, EpochSpec, TABLES, held_bytes};
use rewind::device::{Device, SgdStep};
use rewind::error::{Error, Result};
use rewind::field::{Basic, Field};
use rewind::memory::{Bytes, Category};
use rewind::net::{BatchResult, Net, Pass, StepResult};
use rewind::sweep::auto::PASSES;
use rewind::sweep::{Gradient, Way};

use super::atomic::write_atomically;
use super::budget::{net_spec, planned};
use super::checkpoint::{self, Checkpoint, DatasetId, RunState, saved_shape};
use super::curves::write_curves;
use super::drift::LEVEL;
use super::flight::Flight;
use super::folder::RunFolder;
use super::log::{EpochExtent, Log, StepsReport};
use super::progress::{EpochRow, EpochSums, Progress, best_epoch};
use super::report::{self, BlockReport, Summary, write_metrics};
use super::start::start_from;
use crate::config::RunConfig;
use crate::schedule::learning_rate;

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All epochs, or `--max-steps` steps, are done.
    Done,
    /// The user stopped it; the checkpoint says where.
    Interrupted,
}

/// Sweeps in a row that may fail before the run ends.
const FAILED_MOST: u64 = 20;

/// Steps between two choices of `auto` on a device that is asked for steps ahead: a choice waits for it.
const CHOOSE_EVERY: u64 = 16;

/// One training run on one device.
pub struct Run<'a, D: Device<Real = f32>, F: Field<D> = Basic> {
    device: &'a D,
    config: RunConfig,
    dataset: DatasetId,
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
    drifts: Vec<f64>,
    images_trained: u64,
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
        config: RunConfig,
        dataset: Arc<Dataset>,
        checkpoint: Option<&Checkpoint>,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        config.validate_for_data(dataset.train.len())?;
        let id = DatasetId::of(&dataset);
        let mut net = Net::<D, F>::build(device, net_spec(&config, &dataset), config.init, config.seed)?;
        let mut progress = Progress::default();
        if let Some(checkpoint) = checkpoint {
            checkpoint.check_dataset(&id)?;
            checkpoint.check_net(&config)?;
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
            start_from(device, &Checkpoint::open(Path::new(file))?, &config, &mut net)?;
        }
        let planned = planned::<D, F>(device, &config, &dataset);
        let mut memory = net.memory().clone();
        memory.charge(Category::Data, held_bytes(&dataset));
        let train = Batches::of_training(dataset.train.len(), config.batch)?;
        let test = Batches { images: dataset.test.len(), ..train };
        net.hold(device, dataset)?;
        // room for every step, so that no step allocates; a run longer than this drops the later ones
        let steps = config.epochs.unwrap_or(0).saturating_mul(train.count()).min(1 << 20);
        let drifts = if config.sweep.gradient.reconstructs() { steps } else { 0 };
        Ok(Self {
            device,
            dataset: id,
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
            drifts: Vec::with_capacity(drifts),
            images_trained: 0,
            config,
            stop,
        })
    }

    /// Trains to the end and keeps the run folder up to date.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the loss leaves the finite numbers, [`Error::Io`] if a file cannot be written; the last
    /// checkpoint stays whole.
    pub fn train(&mut self, folder: &RunFolder, log: &mut Log) -> Result<(Ending, Summary)> {
        self.train_to(self.config.epochs.unwrap_or(0), folder, log)
    }

    /// As [`Run::train`], but stops as if done when the run has done `epochs` epochs.
    ///
    /// # Errors
    /// As for [`Run::train`].
    pub fn train_to(&mut self, epochs: usize, folder: &RunFolder, log: &mut Log) -> Result<(Ending, Summary)> {
        // The checkpoint comes first: a folder with any file of a run in it can be resumed, whenever the machine stops.
        self.save(folder)?;
        write_atomically(&folder.config(), |file| file.write_all(self.config.to_toml().as_bytes()))?;
        self.write_tables(folder)?;
        self.tell_choice(log);
        while self.progress.epoch < epochs.min(self.config.epochs.unwrap_or(0)) {
            if !self.train_epoch(log)? {
                self.save(folder)?;
                // at the end of an epoch its row has the test
                let test = if self.progress.step_in_epoch > 0 { self.test()? } else { None };
                let interrupted = self.stop.load(Ordering::Relaxed);
                let summary = self.summary(test);
                summary.write(&folder.summary())?;
                return Ok((if interrupted { Ending::Interrupted } else { Ending::Done }, summary));
            }
            self.save(folder)?;
            self.write_tables(folder)?;
            self.summary(None).write(&folder.summary())?;
        }
        let summary = self.summary(None);
        // a session that trained nothing has no pace to tell: the summary of the one that did knows more
        if !self.step_seconds.is_empty() || !folder.summary().exists() {
            summary.write(&folder.summary())?;
        }
        Ok((Ending::Done, summary))
    }

    /// Trains what is left of the current epoch and tests; false if the run was stopped before the epoch was done.
    fn train_epoch(&mut self, log: &mut Log) -> Result<bool> {
        let Progress { epoch, step_in_epoch, .. } = self.progress;
        let (epochs, steps) = (self.config.epochs.unwrap_or(0), self.train.count());
        let number = epoch + 1;
        let steps_after = ((epochs - number) * steps) as u64;
        log.epoch_start(EpochExtent { epoch: number, epochs, done: step_in_epoch, steps, steps_after });
        let sgd = self.sgd();
        self.draw(number)?;
        self.net.set_learning_rate(self.device, sgd.lr)?;
        self.net.begin_pass(self.device, Pass::Train { table: number % TABLES }, step_in_epoch)?;
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
                self.look(log)?;
            }
            if over {
                break;
            }
            // what reconstruction would be worth in coded blocks is looked at once per epoch
            match self.config.sweep.gradient == Gradient::Auto && next + 1 == steps {
                false => self.net.ask_train_step(self.device, self.train.len(next), sgd)?,
                true => self.net.ask_probing_step(self.device, self.train.len(next), sgd)?,
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
        let row = self.epoch_row(number, sgd.lr, test);
        self.progress.history.push(row);
        self.progress.epoch = number;
        self.progress.step_in_epoch = 0;
        self.progress.sums = EpochSums::default();
        log.epoch_end(&row);
        self.tell_choice(log);
        Ok(true)
    }

    /// Says, in the mode `auto`, how many blocks are coded, where that is new.
    fn tell_choice(&mut self, log: &mut Log) {
        if self.config.sweep.gradient != Gradient::Auto {
            return;
        }
        let of = |wanted: fn(&Way) -> bool| self.net.ways().flatten().filter(|way| wanted(way)).count();
        let (coded, refined) = (of(|way| matches!(way, Way::Coded(_))), of(|way| *way == Way::Refined));
        if self.told == Some([coded, refined]) {
            return;
        }
        let all = of(|_| true);
        let bits = self.config.sweep.bits;
        let how = format!("in {bits} bit{}", if bits == Bits::One { "" } else { "s" });
        let text = match (coded, refined) {
            (0, 0) => format!("auto: all {all} blocks are rebuilt by their reverse step, nothing is stored"),
            (coded, 0) if coded == all => format!("auto: all {all} blocks are coded {how}"),
            (coded, 0) => {
                format!("auto: {coded} of {all} blocks are coded {how}, the others rebuilt by their reverse step")
            }
            (coded, refined) => format!(
                "auto: {coded} of {all} blocks are coded {how}, {refined} take {PASSES} fixed-point passes, since there is no room \
                 to code them"
            ),
        };
        log.note(&text);
        self.told = Some([coded, refined]);
    }

    /// Whether `auto` chooses anew once `step` steps are done in all: at steps that follow from their number alone, so that a run
    /// is the same however often the host looks.
    fn chooses_after(&self, step: u64, epoch_ends: bool) -> bool {
        let every = if D::STEPS_AHEAD == 1 { 1 } else { CHOOSE_EVERY };
        self.config.sweep.gradient == Gradient::Auto && step > 0 && (epoch_ends || step.is_multiple_of(every))
    }

    fn sgd(&self) -> SgdStep {
        let RunConfig { lr, lr_schedule, lr_drop, momentum, weight_decay, epochs, .. } = &self.config;
        let lr = learning_rate(*lr_schedule, *lr, lr_drop, self.progress.epoch + 1, epochs.unwrap_or(0));
        SgdStep { lr, momentum: *momentum, weight_decay: *weight_decay }
    }

    /// Draws an epoch into its table, unless it was drawn before.
    fn draw(&mut self, epoch: usize) -> Result<()> {
        if self.drawn < epoch {
            let epochs = self.epochs;
            self.net.write_table(self.device, epoch % TABLES, |places| epochs.draw(epoch as u64, places))?;
            self.drawn = epoch;
        }
        Ok(())
    }

    /// Waits for the steps in flight and takes in their results, in order. Allocates nothing, unless the log draws.
    fn look(&mut self, log: &mut Log) -> Result<()> {
        let (first, count) = (self.progress.step_in_epoch, self.flight.steps());
        if count == 0 {
            return Ok(());
        }
        let results = self.net.results(self.device, first, count)?;
        let seconds = self.flight.land();
        let progress = &mut self.progress;
        let (mut images, mut failed, mut last_drift) = (0, None, None);
        for StepResult { batch: BatchResult { loss, correct }, drift } in results {
            let n = self.train.len(progress.step_in_epoch);
            if !loss.is_finite() {
                failed = Some(loss);
                break;
            }
            if self.step_seconds.len() < self.step_seconds.capacity() {
                self.step_seconds.push(seconds);
            }
            progress.sums.add(n, loss, correct as u64, drift, seconds);
            let failed = drift.is_some_and(|drift| !drift.is_finite());
            progress.failed_in_a_row = if failed { progress.failed_in_a_row + 1 } else { 0 };
            progress.failed_sweeps += u64::from(failed);
            progress.step_in_epoch += 1;
            progress.global_step += 1;
            if let Some(drift) = drift {
                if self.drifts.len() < self.drifts.capacity() {
                    self.drifts.push(drift);
                }
                if self.config.sweep.gradient != Gradient::Auto
                    && let Some(warning) = progress.drift.add(progress.global_step, drift, LEVEL)
                {
                    log.note(&warning.sentence(&self.config.sweep));
                }
            }
            images += n;
            last_drift = drift;
        }
        self.images_trained += images as u64;
        if let Some(loss) = failed {
            let (epoch, step) = (progress.epoch + 1, progress.step_in_epoch + 1);
            let place = self.net.first_non_finite(self.device)?;
            return Err(Error::NotFinite { epoch, step, loss, place });
        }
        self.look_at_errors()?;
        let Progress { step_in_epoch, sums, .. } = &self.progress;
        log.steps(&StepsReport {
            step: *step_in_epoch,
            steps: count,
            images,
            loss: sums.mean_loss(),
            accuracy: sums.accuracy(),
            drift: last_drift,
            local_error: self.local_error,
            activation_peak_bytes: self.memory.activations(),
        });
        Ok(())
    }

    /// Reads what the last step's sweep measured of each block, and has `auto` choose by it where it is time to.
    fn look_at_errors(&mut self) -> Result<()> {
        if !self.config.sweep.gradient.measures_errors() {
            return Ok(());
        }
        self.net.look_at_errors(self.device)?;
        self.local_error = self.largest_local_error();
        let Progress { global_step, step_in_epoch, failed_in_a_row, .. } = self.progress;
        if self.chooses_after(global_step, step_in_epoch == self.train.count()) {
            self.net.choose_ways();
        }
        if failed_in_a_row >= FAILED_MOST { Err(self.hopeless()) } else { Ok(()) }
    }

    /// Of the blocks that the last sweep reconstructed.
    fn largest_local_error(&self) -> Option<f64> {
        let blocks = self.net.ways().zip(self.net.local_errors()).flat_map(|(ways, errors)| ways.iter().zip(errors));
        let reconstructed = blocks.filter(|(way, _)| !matches!(way, Way::Coded(_)));
        // what is no number is the largest there is
        let largest = |a: f64, b: f64| if a.is_nan() || a > b { a } else { b };
        reconstructed.filter_map(|(_, error)| error.map(|error| error.delta)).reduce(largest)
    }

    /// The block nearest to the head whose reconstruction was worth nothing.
    fn hopeless(&self) -> Error {
        let sweeps = self.progress.failed_in_a_row;
        let stages: Vec<_> = self.net.local_errors().collect();
        let worst = stages.iter().enumerate().rev().find_map(|(stage, errors)| {
            let block = errors.iter().rposition(|error| error.is_some_and(|error| error.is_hopeless()))?;
            Some((stage, block, errors[block].map_or(f64::NAN, |error| error.delta)))
        });
        let (stage, block, delta) = worst.unwrap_or((0, 0, f64::NAN));
        let of_stage = if stages.len() > 1 { format!(" of stage {stage}") } else { String::new() };
        Error::Hopeless { block, of_stage, sweeps, delta }
    }

    /// Mean loss and accuracy over the test images; none if the run was stopped before the last of them.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn test(&mut self) -> Result<Option<Test>> {
        self.net.begin_pass(self.device, Pass::Test, 0)?;
        self.flight.begin();
        let (mut loss, mut correct, mut read) = (0.0, 0, 0);
        while read < self.test.count() {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let next = read + self.flight.steps();
            if next < self.test.count() && !self.flight.is_full() {
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
        Ok(Some(Test { loss: loss / images as f64, accuracy: correct as f64 / images as f64, images }))
    }

    fn epoch_row(&self, epoch: usize, learning_rate: f64, test: Test) -> EpochRow {
        let sums = &self.progress.sums;
        EpochRow {
            epoch,
            train_loss: sums.mean_loss(),
            train_accuracy: sums.accuracy(),
            test_loss: test.loss,
            test_accuracy: test.accuracy,
            learning_rate,
            epoch_seconds: sums.seconds,
            images_per_second: sums.images as f64 / sums.seconds.max(f64::MIN_POSITIVE),
            drift: self.config.sweep.gradient.reconstructs().then(|| sums.mean_drift()),
            local_error: self.local_error,
            activation_peak_bytes: self.memory.activations(),
            peak_bytes: self.memory.total(),
        }
    }

    /// Writes the checkpoint, unless it holds what is not finite: the former one is then worth more.
    fn save(&self, folder: &RunFolder) -> Result<()> {
        let auto = self.config.sweep.gradient == Gradient::Auto;
        let ways = if auto { self.net.ways().map(<[Way]>::to_vec).collect() } else { Vec::new() };
        let progress = Progress { ways, ..self.progress.clone() };
        let state = RunState { config: self.config.clone(), progress, dataset: self.dataset.clone() };
        checkpoint::save(&folder.checkpoint(), &state, |visit| {
            self.net.each_checkpointed(&mut |name, tensor| {
                visit(name, &saved_shape(tensor.shape()), &|values| {
                    self.device.download(tensor, values)?;
                    if values.iter().all(|value| value.is_finite()) { Ok(()) } else { Err(self.not_finite_in(name)) }
                })
            })
        })
    }

    /// The last step's update made a tensor non-finite.
    fn not_finite_in(&self, name: &str) -> Error {
        let Progress { epoch, step_in_epoch, ref sums, ref history, .. } = self.progress;
        let (epoch, step, loss) = match (step_in_epoch, history.last()) {
            (0, Some(row)) => (epoch, self.train.count(), row.train_loss),
            _ => (epoch + 1, step_in_epoch, sums.mean_loss()),
        };
        Error::NotFinite { epoch, step, loss, place: name.into() }
    }

    /// Writes the table and the picture of all epochs so far, whatever an earlier session left there.
    fn write_tables(&self, folder: &RunFolder) -> Result<()> {
        let history = &self.progress.history;
        write_metrics(&folder.metrics(), history)?;
        if history.is_empty() {
            return Ok(());
        }
        write_curves(&folder.curves(), &self.title(), history)
    }

    fn title(&self) -> String {
        let RunConfig { sweep, seed, .. } = &self.config;
        let (net, scheme, gradient) = (self.config.net_name(), sweep.scheme, sweep.gradient);
        format!("{}: {net}, {scheme}, {gradient}, seed {seed}", self.dataset.name)
    }

    /// The run as it stands. `test` is of weights that no row of the history has seen.
    fn summary(&self, test: Option<Test>) -> Summary {
        let RunConfig { batch, seed, sweep, .. } = self.config;
        let (depth, channels) = self.config.extent();
        let Progress { epoch, global_step, ref sums, ref history, .. } = self.progress;
        let last = history.last();
        let unfinished = sums.steps > 0;
        let seconds: f64 = self.step_seconds.iter().sum();
        let reconstructs = sweep.gradient.reconstructs();
        Summary {
            device: self.device.name(),
            dataset: self.dataset.name.clone(),
            scheme: sweep.scheme,
            gradient: sweep.gradient,
            net: self.config.net_name(),
            depth,
            channels,
            batch,
            seed,
            epochs: epoch,
            steps: global_step,
            test_accuracy: test.map(|t| t.accuracy).or(last.map(|row| row.test_accuracy)),
            best_test_accuracy: best_epoch(history).map(|row| row.test_accuracy),
            train_loss: if unfinished { Some(sums.mean_loss()) } else { last.map(|row| row.train_loss) },
            step_seconds_median: median(&self.step_seconds),
            images_per_second: (seconds > 0.0).then(|| self.images_trained as f64 / seconds),
            drift: match (reconstructs, unfinished) {
                (false, _) => None,
                (true, true) => Some(sums.mean_drift()),
                (true, false) => last.and_then(|row| row.drift),
            },
            failed_sweeps: self.progress.failed_sweeps,
            blocks: self.block_reports(),
            drift_warning: self.progress.drift.warning,
            memory: self.memory.clone(),
            activation_peak_bytes: self.memory.activations(),
            planned_peak_bytes: self.planned.total(),
            peak_bytes: self.memory.total(),
            rss_peak_bytes: report::rss_peak_bytes(),
            device_memory: self.device.device_memory().map(Into::into),
        }
    }

    fn block_reports(&self) -> Vec<Vec<BlockReport>> {
        if !self.config.sweep.gradient.reconstructs() {
            return Vec::new();
        }
        let report = |(way, error): (&Way, &_)| BlockReport::new(*way, *error);
        let stages = self.net.ways().zip(self.net.local_errors());
        stages.map(|(ways, errors)| ways.iter().zip(errors).map(report).collect()).collect()
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

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}
