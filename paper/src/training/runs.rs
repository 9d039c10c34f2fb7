//! The folders of an experiment's runs, and training in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rewind::data::Dataset;
use rewind::device::Device;
use rewind::error::{Error, Result};
use rewind::field::{Basic, Bottleneck, Field};
use rewind_train::budget;
use rewind_train::checkpoint::Checkpoint;
use rewind_train::config::Block;
use rewind_train::folder::RunFolder;
use rewind_train::log::Log;
use rewind_train::progress::Progress;
use rewind_train::run::{Ending, Run};

use super::cell::{Divergence, Trained, Training};
use super::no_experiment;
use crate::cells::Cell;

/// A cell that trains.
pub trait Trains: Cell {
    /// Its run.
    fn training(&self) -> &Training;

    /// The run from whose weights it starts, if it does.
    fn start(&self) -> Option<&Training> {
        None
    }

    /// Trains in one of `runs`' folders; none if it was told to stop.
    ///
    /// # Errors
    /// As for [`Runs::train`].
    fn train<D: Device<Real = f32>>(
        &self,
        device: &D,
        dataset: &Arc<Dataset>,
        runs: &Runs,
        log: &mut Log,
        stop: &AtomicBool,
    ) -> Result<Option<Self::Result>>;
}

impl Trains for Training {
    fn training(&self) -> &Training {
        self
    }

    fn train<D: Device<Real = f32>>(
        &self,
        device: &D,
        dataset: &Arc<Dataset>,
        runs: &Runs,
        log: &mut Log,
        stop: &AtomicBool,
    ) -> Result<Option<Trained>> {
        runs.train(device, dataset, self, log, stop)
    }
}

/// Is shown a run between its epochs.
pub trait Watch<D: Device<Real = f32>>: Send {
    /// Looks at the run as it stands.
    ///
    /// # Errors
    /// Whatever the device reports; the run then ends with it.
    fn look<F: Field<D>>(&mut self, run: &mut Run<'_, D, F>) -> Result<()>;
}

/// Nobody looks.
impl<D: Device<Real = f32>> Watch<D> for () {
    fn look<F: Field<D>>(&mut self, _: &mut Run<'_, D, F>) -> Result<()> {
        Ok(())
    }
}

/// The folders of an experiment's training runs, one per run, beside its cells.
#[derive(Clone, Debug)]
pub struct Runs {
    folder: PathBuf,
}

impl Runs {
    /// Those in `folder`/runs, the experiment's folder.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.join("runs") }
    }

    fn path(&self, training: &Training) -> PathBuf {
        self.folder.join(training.key())
    }

    /// Where the run's checkpoint is, from its first step until it is removed: after [`Runs::train`] that of the trained net.
    pub fn checkpoint(&self, training: &Training) -> PathBuf {
        self.path(training).join("checkpoint.safetensors")
    }

    /// Trains to the end, from the start or from the run's checkpoint, to the same bits; does nothing where the checkpoint is
    /// of a run that is done. None if it was told to stop, with the checkpoint as far as it came. The run's folder stays until
    /// [`Runs::remove`].
    ///
    /// # Errors
    /// [`Error::PlanOverLimit`] if there is no room, [`Error::Io`] if a file cannot be written, and whatever the device reports;
    /// a loss that leaves the finite numbers is no error, nor is a block that cannot be rebuilt.
    pub fn train<D: Device<Real = f32>>(
        &self,
        device: &D,
        dataset: &Arc<Dataset>,
        training: &Training,
        log: &mut Log,
        stop: &AtomicBool,
    ) -> Result<Option<Trained>> {
        self.train_watched(device, dataset, training, log, stop, &mut ())
    }

    /// As [`Runs::train`], and shows `watch` the run before its first epoch, after each one, and where it diverged.
    ///
    /// # Errors
    /// As for [`Runs::train`], and what `watch` reports.
    pub fn train_watched<D: Device<Real = f32>>(
        &self,
        device: &D,
        dataset: &Arc<Dataset>,
        training: &Training,
        log: &mut Log,
        stop: &AtomicBool,
        watch: &mut impl Watch<D>,
    ) -> Result<Option<Trained>> {
        match training.config().block {
            Block::Basic => self.train_field::<D, Basic>(device, dataset, training, log, stop, watch),
            Block::Bottleneck => self.train_field::<D, Bottleneck>(device, dataset, training, log, stop, watch),
            Block::PreActivation => Err(no_experiment()),
        }
    }

    fn train_field<D: Device<Real = f32>, F: Field<D>>(
        &self,
        device: &D,
        dataset: &Arc<Dataset>,
        training: &Training,
        log: &mut Log,
        stop: &AtomicBool,
        watch: &mut impl Watch<D>,
    ) -> Result<Option<Trained>> {
        let config = training.config().clone();
        budget::check_limit::<D, F>(device, &config, dataset)?;
        let (folder, checkpoint) = match self.unfinished(training, log)? {
            Some(checkpoint) => (RunFolder::open(&self.path(training))?, Some(checkpoint)),
            None => (RunFolder::claim(Some(&self.path(training)), &training.key())?, None),
        };
        let mut run = Run::<D, F>::build(device, config, dataset.clone(), checkpoint.as_ref(), stop)?;
        let epochs = training.config().epochs.unwrap_or(0);
        device.install(|| watch.look(&mut run))?;
        let diverged = loop {
            let next = run.progress().epoch + 1;
            let ended = device.install(|| run.train_to(next, &folder, log));
            if !matches!(ended, Ok((Ending::Interrupted, _))) {
                device.install(|| watch.look(&mut run))?;
            }
            match ended {
                Ok((Ending::Done, _)) if run.progress().epoch < epochs => {}
                Ok((Ending::Done, _)) => break None,
                Ok((Ending::Interrupted, _)) => return Ok(None),
                Err(Error::NotFinite { epoch, step, place, .. }) => break Some(Divergence { epoch, step, place }),
                Err(Error::Hopeless { block, of_stage, .. }) => {
                    let Progress { epoch, step_in_epoch: step, .. } = *run.progress();
                    let place = format!("the state before block {block}{of_stage}, which the sweep could not rebuild");
                    break Some(Divergence { epoch: epoch + 1, step, place });
                }
                Err(error) => return Err(error),
            }
        };
        log.finish();
        let history = run.progress().history.clone();
        Ok(Some(Trained { history, diverged, classes: dataset.classes, device: device.name() }))
    }

    /// The fraction of the test images that the run's net classifies correctly before its first step; none if it was told to
    /// stop.
    ///
    /// # Errors
    /// As for [`Runs::train`].
    pub fn test_start<D: Device<Real = f32>>(
        &self,
        device: &D,
        dataset: &Arc<Dataset>,
        training: &Training,
        stop: &AtomicBool,
    ) -> Result<Option<f64>> {
        let config = training.config().clone();
        let dataset = dataset.clone();
        let test = match config.block {
            Block::Basic => {
                let mut run = Run::<D, Basic>::build(device, config, dataset, None, stop)?;
                device.install(|| run.test())
            }
            Block::Bottleneck => {
                let mut run = Run::<D, Bottleneck>::build(device, config, dataset, None, stop)?;
                device.install(|| run.test())
            }
            Block::PreActivation => return Err(no_experiment()),
        };
        Ok(test?.map(|test| test.accuracy))
    }

    /// The checkpoint that the run left when it was stopped. What else is in its place, half of a file or another run's, is
    /// removed: the run starts anew.
    fn unfinished(&self, training: &Training, log: &mut Log) -> Result<Option<Checkpoint>> {
        let path = self.checkpoint(training);
        if path.exists() {
            match Checkpoint::open(&path) {
                Ok(checkpoint) if training.is_held_by(&checkpoint) => return Ok(Some(checkpoint)),
                Ok(_) => log.note(&format!("{} is of other settings: starting anew", path.display())),
                Err(error) => log.note(&format!("{error}; starting anew")),
            }
        }
        self.remove(training)?;
        Ok(None)
    }

    /// Removes what the run left. Its cell has to be kept before: nothing else knows its result.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be removed.
    pub fn remove(&self, training: &Training) -> Result<()> {
        let path = self.path(training);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(Error::io("remove the folder", &path))?;
            // the last one takes the folder of all runs with it: only an empty folder can be removed this way
            let _ = fs::remove_dir(&self.folder);
        }
        Ok(())
    }
}
