//! What is written while the run trains: rows of steps.csv, events for TensorBoard.

use rewind::data::Batches;
use rewind::device::Device;
use rewind::error::Result;
use rewind::field::Field;
use rewind::net::StepResult;

use super::Run;
use crate::folder::RunFolder;
use crate::progress::{EpochSums, Progress};
use crate::step_log::{StepLog, StepRow};
use crate::tensorboard::EventFile;

/// A training step that was looked at.
pub(super) struct Step {
    pub images: usize,
    pub learning_rate: f64,
    pub seconds: f64,
    pub result: StepResult,
}

/// The files that are added to, where they were asked for.
#[derive(Default)]
pub(super) struct Record {
    steps: Option<StepLog>,
    events: Option<EventFile>,
}

impl Record {
    /// Puts them on the disk, before a checkpoint that counts on them.
    pub fn sync(&self) -> Result<()> {
        self.steps.as_ref().map_or(Ok(()), StepLog::sync)?;
        self.events.as_ref().map_or(Ok(()), EventFile::sync)
    }

    /// Counts in the step that `progress` has come to, and writes a row where one ends with it. `train` is what an epoch consists of.
    pub fn add_step(&mut self, progress: &mut Progress, step: &Step, train: Batches) -> Result<()> {
        let Some(log) = &mut self.steps else { return Ok(()) };
        let Progress { epoch, global_step, sums, window, .. } = progress;
        let Step { images, learning_rate, seconds, result: StepResult { batch, drift } } = *step;
        window.add(images, batch.loss, batch.correct as u64, drift, seconds);
        if !log.ends_row(*global_step) {
            return Ok(());
        }
        let row = StepRow {
            epoch: *epoch + 1,
            step: *global_step,
            images: (*epoch * train.images) as u64 + sums.images,
            train_loss: window.mean_loss(),
            train_accuracy: window.accuracy(),
            learning_rate,
            drift: drift.map(|_| window.mean_drift()),
            images_per_second: window.images as f64 / window.seconds.max(f64::MIN_POSITIVE),
        };
        *window = EpochSums::default();
        log.add(&row)?;
        self.events.as_mut().map_or(Ok(()), |events| events.add_steps(&row))
    }
}

impl<D: Device<Real = f32>, F: Field<D>> Run<'_, D, F> {
    /// Opens the files, each up to where the run stands.
    pub(super) fn begin_record(&mut self, folder: &RunFolder) -> Result<()> {
        let done = self.progress.global_step;
        let every = self.config.log_steps;
        let steps = every.map(|every| StepLog::open(&folder.steps(), every, done)).transpose()?;
        let events = self.config.tensorboard.then(|| EventFile::open(&folder.events(), done)).transpose()?;
        self.record = Record { steps, events };
        self.record_epochs()
    }

    /// Tells TensorBoard of the epochs that it has not heard of.
    pub(super) fn record_epochs(&mut self) -> Result<()> {
        let Some(events) = &mut self.record.events else { return Ok(()) };
        events.add_epochs(&self.progress.history, self.train.count())
    }
}
