//! What a run leaves: rows, tables, checkpoints, the summary.

use rewind::device::Device;
use rewind::error::Result;
use rewind::field::Field;
use rewind::sweep::{Gradient, Way};

use super::{Run, Test};
use crate::atomic::{Durability, keep_as};
use crate::checkpoint::{self, RunState, saved_shape};
use crate::config::RunConfig;
use crate::curves::write_curves;
use crate::events::{Event, Listener};
use crate::folder::RunFolder;
use crate::plausible::may_hold;
use crate::progress::{EpochRow, Progress, best_epoch};
use crate::report::{self, BlockReport, Summary, write_metrics};

impl<D: Device<Real = f32>, F: Field<D>> Run<'_, D, F> {
    pub(super) fn epoch_row(&self, epoch: usize, learning_rate: f64, test: Test) -> EpochRow {
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

    /// Writes the checkpoint, unless it holds what no net can go on from: the former one is then worth more.
    pub(super) fn save(&mut self, folder: &RunFolder, listener: &mut dyn Listener) -> Result<()> {
        self.record.sync()?;
        let auto = self.config.sweep.gradient == Gradient::Auto;
        let ways = if auto { self.net.ways().map(<[Way]>::to_vec).collect() } else { Vec::new() };
        let progress = Progress { ways, ..self.progress.clone() };
        let pictures = Some(self.pictures.clone());
        let state = RunState { config: self.config.clone(), progress, dataset: self.dataset.clone(), pictures };
        let durability = checkpoint::save(&folder.checkpoint(), &state, |visit| {
            self.net.each_checkpointed(&mut |name, tensor| {
                visit(name, &saved_shape(tensor.shape()), &|values| {
                    self.device.download(tensor, values)?;
                    let holds = values.iter().all(|value| may_hold(name, *value));
                    if holds { Ok(()) } else { Err(self.not_finite_in(name, values)) }
                })
            })
        })?;
        if durability == Durability::Unsynced && !self.told_unsynced {
            self.told_unsynced = true;
            listener.hear(&Event::Note(&format!(
                "the file system of {} does not sync: a power cut may take the last checkpoint with it",
                folder.path().display()
            )));
        }
        listener.hear(&Event::Checkpoint(&folder.checkpoint()));
        Ok(())
    }

    /// Keeps the checkpoint, which was just saved, under another name too, where it is that of an epoch to be kept.
    pub(super) fn keep(&self, folder: &RunFolder) -> Result<()> {
        let (Progress { epoch, step_in_epoch, history, .. }, config) = (&self.progress, &self.config);
        if *step_in_epoch > 0 || *epoch == 0 {
            return Ok(());
        }
        if config.keep_best && best_epoch(history).is_some_and(|best| best.epoch == *epoch) {
            keep_as(&folder.checkpoint(), &folder.best())?;
        }
        if config.keep_every.is_some_and(|every| epoch.is_multiple_of(every)) {
            keep_as(&folder.checkpoint(), &folder.of_epoch(*epoch))?;
        }
        Ok(())
    }

    /// Writes the table and the picture of all epochs so far, whatever an earlier session left there.
    pub(super) fn write_tables(&self, folder: &RunFolder) -> Result<()> {
        let history = &self.progress.history;
        write_metrics(&folder.metrics(), history)?;
        if history.is_empty() {
            return Ok(());
        }
        write_curves(&folder.curves(), &self.title(), history)
    }

    /// Draws the curves as a PNG too, if this program was built to.
    ///
    /// # Errors
    /// [`rewind::Error::Io`] if it cannot be written.
    pub fn leave_raster(&self, folder: &RunFolder) -> Result<()> {
        #[cfg(feature = "raster")]
        if !self.progress.history.is_empty() {
            crate::curves::write_raster(&folder.raster(), &self.title(), &self.progress.history)?;
        }
        let _ = folder;
        Ok(())
    }

    pub(super) fn title(&self) -> String {
        let RunConfig { sweep, seed, .. } = &self.config;
        let (net, scheme, gradient) = (self.config.net_name(), sweep.scheme, sweep.gradient);
        format!("{}: {net}, {scheme}, {gradient}, seed {seed}", self.dataset.name)
    }

    /// The run as it stands. `test` is of weights that no row of the history has seen.
    pub(super) fn summary(&self, test: Option<Test>) -> Summary {
        let RunConfig { batch, seed, sweep, .. } = self.config;
        let (depth, channels) = self.config.extent();
        let Progress { epoch, global_step, ref sums, ref history, .. } = self.progress;
        let last = history.last();
        let unfinished = sums.steps > 0;
        let seconds: f64 = self.step_seconds.iter().sum();
        let reconstructs = sweep.gradient.reconstructs();
        Summary {
            version: env!("CARGO_PKG_VERSION"),
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
            test_loss: test.map(|t| t.loss).or(last.map(|row| row.test_loss)),
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

    pub(super) fn block_reports(&self) -> Vec<Vec<BlockReport>> {
        if !self.config.sweep.gradient.reconstructs() {
            return Vec::new();
        }
        let report = |(way, error): (&Way, &_)| BlockReport::new(*way, *error);
        let stages = self.net.ways().zip(self.net.local_errors());
        stages.map(|(ways, errors)| ways.iter().zip(errors).map(report).collect()).collect()
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}
