//! A training run as another program starts it: from a config to the trained net, with a function that is told what happens.
//!
//! ```no_run
//! use std::sync::atomic::{AtomicBool, Ordering};
//!
//! use rewind_train::config::RunConfig;
//! use rewind_train::events::Event;
//! use rewind_train::training::Training;
//!
//! let stop = AtomicBool::new(false);
//! let config = RunConfig { depth: 64, epochs: Some(2), ..RunConfig::default() };
//! let trained = Training::new(config)
//!     .stop(&stop)
//!     .on(|event| {
//!         if let Event::Epoch(row) = event {
//!             println!("epoch {}: {:.1} % of the test images", row.epoch, 100.0 * row.test_accuracy);
//!             stop.store(row.test_accuracy > 0.9, Ordering::Relaxed);
//!         }
//!     })
//!     .train()?;
//! println!("{:?} after {} steps", trained.ending, trained.summary.steps);
//! # rewind::Result::Ok(())
//! ```

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rewind::data::{Dataset, Part};
use rewind::device::Device;
use rewind::error::{Error, Result};
use rewind::field::{Basic, Bottleneck, Field, PreActivation};
use rewind::memory::{Bytes, human};
use rewind::net::{Net, is_optimisers};

use crate::atomic::write_atomically;
use crate::budget;
use crate::checkpoint::{Checkpoint, saved_shape};
use crate::choose::{self, Wanted};
use crate::config::{Block, CIFAR_EPOCHS, DeviceChoice, RunConfig, listed};
use crate::events::{Event, Listener};
use crate::folder::{RunFolder, run_name};
use crate::pictures::{self, Stream};
use crate::progress::Progress;
use crate::report::Summary;
use crate::run::{Ending, Estimate, Run, Test};
use crate::source::{self, Names, Source};
use crate::weights::WeightsFile;

/// Who is told, kept with the run.
type Hear<'a> = Box<dyn FnMut(&Event<'_>) + Send + 'a>;

/// A run that nobody stops.
static NEVER: AtomicBool = AtomicBool::new(false);

/// A run that is about to start. Without more it reads the data that its config names, opens the device that its config names, and leaves
/// no file.
pub struct Training<'a> {
    config: RunConfig,
    dataset: Option<Arc<Dataset>>,
    place: Place,
    checkpoint: Option<Checkpoint>,
    eager: bool,
    stop: &'a AtomicBool,
    listener: Hear<'a>,
}

/// Where a run leaves its files.
enum Place {
    Nowhere,
    New(PathBuf),
    Named,
    Resumed(RunFolder),
}

impl<'a> Training<'a> {
    /// A run of `config`.
    pub fn new(config: RunConfig) -> Self {
        let listener = Box::new(|_: &Event<'_>| {});
        Self { config, dataset: None, place: Place::Nowhere, checkpoint: None, eager: false, stop: &NEVER, listener }
    }

    /// Trains on these images in place of those that the config names.
    pub fn dataset(self, dataset: Arc<Dataset>) -> Self {
        Self { dataset: Some(dataset), ..self }
    }

    /// Leaves checkpoint, tables and pictures in this folder, which is made if need be and may hold no other run.
    pub fn folder(self, path: impl Into<PathBuf>) -> Self {
        Self { place: Place::New(path.into()), ..self }
    }

    /// Leaves them in a new folder under `runs/`, named after the settings.
    pub fn named_folder(self) -> Self {
        Self { place: Place::Named, ..self }
    }

    /// Goes on with the run in this folder from its checkpoint, and leaves the files there. The config is then the checkpoint's, but for
    /// the settings that are [free](crate::settings::Resume::Free).
    pub fn resume(self, folder: RunFolder, checkpoint: Checkpoint) -> Self {
        Self { place: Place::Resumed(folder), checkpoint: Some(checkpoint), ..self }
    }

    /// Tells `listener` what happens, in the thread that trains.
    pub fn on(self, listener: impl FnMut(&Event<'_>) + Send + 'a) -> Self {
        Self { listener: Box::new(listener), ..self }
    }

    /// Ends the run, with a checkpoint if it has a folder, after the step in which `stop` turns true. Another thread may set it, or the
    /// listener.
    pub fn stop(self, stop: &'a AtomicBool) -> Self {
        Self { stop, ..self }
    }

    /// Launches the kernels of a GPU one by one in place of replaying recorded steps: for profilers.
    pub fn eager(self, eager: bool) -> Self {
        Self { eager, ..self }
    }

    /// What the run would take. Nothing is taken.
    ///
    /// # Errors
    /// As for [`Training::train`], up to the plan.
    pub fn plan(self) -> Result<Plan> {
        self.start(ToPlan)
    }

    /// As [`Training::plan`], and how long the run would take, from a few steps that it takes the memory for; none if it was stopped
    /// meanwhile.
    ///
    /// # Errors
    /// As for [`Training::train`]; no file is written.
    pub fn estimate(self) -> Result<Option<(Plan, Estimate)>> {
        self.start(ToEstimate)
    }

    /// Mean loss and accuracy over the test images, of the checkpoint of [`Training::resume`] or else of the weights that the run would
    /// start from; none if it was stopped before the last image.
    ///
    /// # Errors
    /// As for [`Training::train`]; no file is written.
    pub fn test(self) -> Result<Option<Test>> {
        self.start(ToTest { leaves: false })
    }

    /// As [`Training::test`], and leaves in the folder of the run which classes are confused, how each of them fares, and which images the
    /// net gets most wrong.
    ///
    /// # Errors
    /// As for [`Training::train`]; [`Error::Usage`] if no run is resumed.
    pub fn report(self) -> Result<Option<Test>> {
        if !matches!(self.place, Place::Resumed(_)) {
            return Err(Error::Usage("a report is of a run that has a folder: resume one".into()));
        }
        self.start(ToTest { leaves: true })
    }

    /// Trains to the end.
    ///
    /// # Errors
    /// [`Error::Usage`] if the config makes no sense or contradicts what the resumed run has done, [`Error::Data`] if the data set is not
    /// what it should be, [`Error::PlanOverLimit`] if there is no room, [`Error::Checkpoint`] if a checkpoint is of another net or of other
    /// data, [`Error::NotFinite`] or [`Error::Hopeless`] if training fails, [`Error::Io`] if a file cannot be written, and whatever the
    /// device reports.
    pub fn train(self) -> Result<Trained> {
        self.start(ToTrain)
    }

    fn start<T: Task>(mut self, task: T) -> Result<T::Output> {
        self.config.validate()?;
        self.config.validate_rates()?;
        if let (true, Place::New(path)) = (T::WRITES, &self.place) {
            // before the data, which takes its time
            RunFolder::check_free(path)?;
        }
        let (mut stream, mut broken, mut names) = (None, Vec::new(), Names::default());
        let dataset = match self.dataset.take() {
            Some(dataset) => {
                self.config.epochs.get_or_insert(CIFAR_EPOCHS);
                self.config.validate_for_data(dataset.images(Part::Train), dataset.side())?;
                dataset
            }
            None => {
                let Source { dataset, stream: of_pictures, origin, notices, broken: left_out, names: called } =
                    self.open_data()?;
                self.config.settle(&origin);
                self.config.validate_for_data(dataset.images(Part::Train), dataset.side())?;
                notices.iter().for_each(|notice| self.listener.hear(&Event::Note(notice)));
                (stream, broken, names) = (of_pictures, left_out, called);
                Arc::new(dataset)
            }
        };
        // what is done to pictures is done on the threads of a stream
        let (dataset, stream) = match stream {
            None if self.config.changes_pictures() => {
                let (dataset, stream) = pictures::streamed(&dataset, &self.config)?;
                (Arc::new(dataset), Some(stream))
            }
            stream => (dataset, stream),
        };
        let RunConfig { device, math, threads, round_as, .. } = self.config;
        let wanted = Wanted { device, math, threads, round_as, eager: self.eager };
        let Self { config, place, checkpoint, stop, mut listener, .. } = self;
        let start = Start { config, dataset, stream, broken, names, place, checkpoint, stop };
        choose::on_device(wanted, &mut listener, Job { start, task })
    }
}

impl Training<'_> {
    /// The data that the config names. That of a resumed run may have been named from another folder.
    fn open_data(&mut self) -> Result<Source> {
        let Self { config, listener, checkpoint, .. } = self;
        let tell = &mut |text: &str| listener.hear(&Event::Note(text));
        source::open(config, tell).map_err(|error| match (error, &checkpoint) {
            (Error::Data { path, problem }, Some(_)) if !path.exists() => {
                let problem = format!("{problem}; where it is now may be named with --data");
                Error::Data { path, problem }
            }
            (error, _) => error,
        })
    }
}

/// What a run would take, see [`Training::plan`].
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The settings, with what was open until the data and the device were known.
    pub config: RunConfig,
    /// Bytes that it takes.
    pub planned: Bytes,
    /// Bytes that the same net would take with stored activations.
    pub stored: Bytes,
}

/// A run that came to its end, see [`Training::train`].
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// How.
    pub ending: Ending,
    /// What it was and how it went.
    pub summary: Summary,
    /// How far it came, with a row per epoch.
    pub progress: Progress,
    /// Where its files are, if it leaves any.
    pub folder: Option<RunFolder>,
    /// Bytes that the same net would take with stored activations.
    pub stored: Bytes,
}

/// Everything that is settled before the device is opened.
struct Start<'a> {
    config: RunConfig,
    dataset: Arc<Dataset>,
    /// Where the images come from, if the set is of a batch.
    stream: Option<Stream>,
    /// Pictures that are left out, a line each.
    broken: Vec<String>,
    names: Names,
    place: Place,
    checkpoint: Option<Checkpoint>,
    stop: &'a AtomicBool,
}

/// What is done with it.
trait Task {
    type Output;

    /// Whether it leaves files.
    const WRITES: bool = false;

    fn on<D: Device<Real = f32>, F: Field<D>>(
        self,
        device: &D,
        start: Start<'_>,
        plan: Plan,
        listener: &mut Hear<'_>,
    ) -> Result<Self::Output>;
}

struct Job<'a, T> {
    start: Start<'a>,
    task: T,
}

impl<'h, T: Task> choose::Job<Hear<'h>, Error> for Job<'_, T> {
    type Output = T::Output;

    fn on<D: Device<Real = f32>>(self, device: &D, _: DeviceChoice, listener: &mut Hear<'h>) -> Result<Self::Output> {
        match self.start.config.block {
            Block::Basic => self.of::<D, Basic>(device, listener),
            Block::Bottleneck => self.of::<D, Bottleneck>(device, listener),
            Block::PreActivation => self.of::<D, PreActivation>(device, listener),
        }
    }
}

impl<T: Task> Job<'_, T> {
    /// With the residual functions known: refuses what has no room.
    fn of<D: Device<Real = f32>, F: Field<D>>(self, device: &D, listener: &mut Hear<'_>) -> Result<T::Output> {
        let Self { mut start, task } = self;
        if let Some(checkpoint) = &start.checkpoint {
            check_tensors::<D, F>(device, checkpoint, &start)?;
        }
        budget::check_saves::<D, F>(device, &start.config, &start.dataset)?;
        // a resumed run has what it was begun with
        if start.checkpoint.is_none()
            && let Some(less) = budget::fit_codes::<D, F>(device, &mut start.config, &start.dataset)?
        {
            listener.hear(&Event::Note(&less));
        }
        let Start { config, dataset, .. } = &start;
        let planned = budget::check_limit::<D, F>(device, config, dataset)?;
        let stored = budget::stored_backprop::<D, F>(device, config, dataset)?;
        let plan = Plan { config: config.clone(), planned, stored };
        task.on::<D, F>(device, start, plan, listener)
    }
}

/// Refuses a checkpoint that lacks a tensor of the net that its own config describes, before anything is built.
fn check_tensors<D: Device<Real = f32>, F: Field<D>>(
    device: &D,
    checkpoint: &Checkpoint,
    start: &Start<'_>,
) -> Result<()> {
    let spec = budget::net_spec(&checkpoint.state().config, &start.dataset);
    // a data set of other classes is refused as such
    let of_head = |name: &str| name.starts_with("head.") || (is_optimisers(name) && name.contains(".head."));
    Net::<D, F>::each_planned(device, &spec, &mut |name, shape| match of_head(name) {
        true => Ok(()),
        false => checkpoint.check_tensor(name, &saved_shape(shape)),
    })
}

struct ToPlan;

impl Task for ToPlan {
    type Output = Plan;

    fn on<D: Device<Real = f32>, F: Field<D>>(self, _: &D, _: Start<'_>, plan: Plan, _: &mut Hear<'_>) -> Result<Plan> {
        Ok(plan)
    }
}

struct ToEstimate;

impl Task for ToEstimate {
    type Output = Option<(Plan, Estimate)>;

    fn on<D: Device<Real = f32>, F: Field<D>>(
        self,
        device: &D,
        mut start: Start<'_>,
        plan: Plan,
        listener: &mut Hear<'_>,
    ) -> Result<Self::Output> {
        let stream = start.stream.take();
        let mut run = build::<D, F>(device, &start, stream, &plan, listener)?;
        let estimate = device.install(|| run.estimate())?;
        Ok(estimate.map(|estimate| (plan, estimate)))
    }
}

struct ToTest {
    /// Whether what each image was taken for is left in the folder.
    leaves: bool,
}

impl Task for ToTest {
    type Output = Option<Test>;

    fn on<D: Device<Real = f32>, F: Field<D>>(
        self,
        device: &D,
        mut start: Start<'_>,
        plan: Plan,
        listener: &mut Hear<'_>,
    ) -> Result<Option<Test>> {
        let stream = start.stream.take();
        let mut run = build::<D, F>(device, &start, stream, &plan, listener)?;
        let tested = device.install(|| run.test());
        if let (true, Ok(Some(_)), Place::Resumed(folder)) = (self.leaves, &tested, &start.place)
            && !device.install(|| run.leave_answers(folder, listener))?
        {
            return Ok(None);
        }
        tested.map_err(|error| match (error, &start.checkpoint) {
            (Error::NotFinite { loss, place, .. }, Some(checkpoint)) => checkpoint
                .error(format!("its test loss is {loss}: {place} went non-finite first; use another checkpoint")),
            (error, _) => error,
        })
    }
}

struct ToTrain;

impl Task for ToTrain {
    type Output = Trained;

    const WRITES: bool = true;

    fn on<D: Device<Real = f32>, F: Field<D>>(
        self,
        device: &D,
        mut start: Start<'_>,
        plan: Plan,
        listener: &mut Hear<'_>,
    ) -> Result<Trained> {
        let done = start.checkpoint.as_ref().map(|checkpoint| &checkpoint.state().progress);
        let finished = match done {
            Some(done) if !left_to_train(&start.config, done)? => Some(finished(&start.config, done)),
            _ => None,
        };
        let stream = start.stream.take();
        let mut run = build::<D, F>(device, &start, stream, &plan, listener)?;
        if let Some(drops) = drops_as_begun(&start) {
            listener.hear(&Event::Note(&drops));
        }
        let named = |out: Option<&Path>| RunFolder::claim(out, &run_name(&start.dataset.name, &start.config)).map(Some);
        let folder = match &start.place {
            Place::Nowhere => None,
            Place::New(path) => named(Some(path))?,
            Place::Named => named(None)?,
            Place::Resumed(folder) => Some(folder.clone().held()?),
        };
        if let Some(notice) = folder.as_ref().and_then(RunFolder::notice) {
            listener.hear(&Event::Note(&notice));
        }
        let trained = match (&finished, &folder) {
            (Some(sentence), folder) => {
                listener.hear(&Event::Note(sentence));
                run.look_after(folder.as_ref()).map(|summary| (Ending::Done, summary))
            }
            (None, folder) => {
                if let Some(folder) = folder {
                    if !start.broken.is_empty() {
                        let lines = start.broken.iter().map(|line| format!("{line}\n")).collect::<String>();
                        write_atomically(&folder.broken(), |file| file.write_all(lines.as_bytes()))?;
                    }
                    listener.hear(&Event::Note(&format!("results go to {}", folder.path().display())));
                }
                device.install(|| run.train(folder.as_ref(), listener))
            }
        };
        if let (Err(_), Some(folder)) = (&trained, &folder) {
            folder.remove_if_left_empty();
        }
        let (ending, summary) = trained?;
        if let Some(folder) = &folder {
            if finished.is_none() || !folder.raster().exists() {
                run.leave_raster(folder)?;
            }
            // of a run that did all its epochs; a finished one has them unless a session was killed before it came so far
            let all = ending == Ending::Done && Some(run.progress().epoch) == start.config.epochs;
            if all && (finished.is_none() || !folder.classes().exists()) {
                device.install(|| run.leave_answers(folder, listener))?;
            }
        }
        // the run is over, and another session may go on with it
        let folder = folder.map(RunFolder::released);
        Ok(Trained { ending, summary, progress: run.progress().clone(), folder, stored: plan.stored })
    }
}

/// Says, where a run is to be longer than it was begun, that its learning rate falls when it would have.
fn drops_as_begun(start: &Start<'_>) -> Option<String> {
    let begun = &start.checkpoint.as_ref()?.state().config;
    let drops = begun.lr_drop.as_deref().filter(|drops| !drops.is_empty() && begun.epochs < start.config.epochs)?;
    Some(format!("the learning rate falls after epochs {}, as when this run was begun", listed(drops)))
}

/// Says that a run is finished, and how it would go on.
fn finished(config: &RunConfig, done: &Progress) -> String {
    let epochs = config.epochs.unwrap_or(0);
    match done.epoch < epochs {
        true => format!("this run is finished: {} steps are done; give more with --max-steps", done.global_step),
        false => format!("this run is finished: {} of {epochs} epochs are done; give more with --epochs", done.epoch),
    }
}

/// Takes the memory of a run, and says what it is.
fn build<'d, D: Device<Real = f32>, F: Field<D>>(
    device: &'d D,
    start: &Start<'d>,
    stream: Option<Stream>,
    plan: &Plan,
    listener: &mut Hear<'_>,
) -> Result<Run<'d, D, F>> {
    let Start { config, dataset, checkpoint, stop, .. } = start;
    listener.hear(&Event::Planned { planned: &plan.planned, stored: &plan.stored });
    listener.hear(&Event::Note(&format!(
        "{} on {}: {}, {}, gradient {}; activations {} (backprop: {})",
        dataset.name,
        device.name(),
        config.net_name(),
        config.sweep.scheme,
        config.sweep.gradient,
        human(plan.planned.activations()),
        human(plan.stored.activations()),
    )));
    if let (None, Some(file)) = (checkpoint, &config.init_from)
        && let Some(weights) = WeightsFile::open(Path::new(file))?
        && let Some(notice) = weights.notice(dataset.classes)
    {
        listener.hear(&Event::Note(&notice));
    }
    if config.clip.is_some() && checkpoint.is_none() {
        listener
            .hear(&Event::Note("--clip keeps the gradients of all blocks until the sweep is done (--update after)"));
    }
    if config.ema.is_some() && checkpoint.is_none() {
        listener.hear(&Event::Note("tests go by the average of the weights over steps (--ema)"));
    }
    let run = Run::<D, F>::build(device, config.clone(), dataset.clone(), checkpoint.as_ref(), stop)?;
    let run = run.named(start.names.clone());
    let run = match stream {
        Some(stream) => run.fed_by(stream)?,
        None => run,
    };
    let forms = run.block_forms();
    if !forms.is_empty() {
        listener.hear(&Event::Note(&format!("on the GPU: {}", forms.join("; then "))));
    }
    Ok(run)
}

/// Whether a resumed run has steps to do.
///
/// # Errors
/// [`Error::Usage`] if it has done more than was asked for.
fn left_to_train(config: &RunConfig, done: &Progress) -> Result<bool> {
    let (epochs, steps) = (config.epochs.unwrap_or(0), config.max_steps.unwrap_or(u64::MAX));
    let less = |flag: &str, wanted: u64, done: u64, what: &str| {
        Err(Error::Usage(format!("{flag} {wanted} is less than the {done} {what} that this run has done: give more")))
    };
    if done.epoch > epochs {
        return less("--epochs", epochs as u64, done.epoch as u64, "epochs");
    }
    if done.global_step > steps {
        return less("--max-steps", steps, done.global_step, "steps");
    }
    Ok(done.epoch < epochs && done.global_step < steps)
}
