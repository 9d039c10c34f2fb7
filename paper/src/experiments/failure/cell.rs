//! Training runs that may fail: what the drift said on the way, and how wrong the gradient was.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rewind::data::Dataset;
use rewind::device::Device;
use rewind::error::Result;
use rewind::field::Field;
use rewind_train::drift::WINDOW;
use rewind_train::log::Log;
use rewind_train::run::Run;
use serde::{Deserialize, Serialize};

use super::probe::{Probe, probe};
use crate::cells::Cell;
use crate::distance::bounded;
use crate::method::Method;
use crate::training::{Runs, Trained, Training, Trains, Watch};

/// The experiment's name, and that of its folder.
pub(super) const NAME: &str = "failure";

/// The runs so far, and what they gave.
pub(super) type Done<'a> = [(&'a Trial, Outcome)];

/// A training run whose drift is kept step by step, and whose gradient is compared with backprop's after each epoch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// The run.
    #[serde(flatten)]
    pub training: Training,
    /// The way to the gradient.
    pub method: Method,
    /// Images of the batch on which gradients are compared.
    pub probe_images: usize,
    /// Steps of an epoch, which follow from the rest.
    #[serde(skip)]
    pub epoch_steps: usize,
}

/// What it gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// As any training run.
    pub trained: Trained,
    /// Mean drift of every [`WINDOW`] steps, of the last as many as there are; at most [`MOST`](crate::distance::MOST), empty where nothing is
    /// reconstructed.
    pub drifts: Vec<f64>,
    /// Before the first epoch and after each one; none where nothing is reconstructed.
    pub probes: Vec<Probe>,
}

impl Outcome {
    /// The largest mean drift of a window.
    pub fn largest_drift(&self) -> Option<f64> {
        self.drifts.iter().copied().reduce(f64::max)
    }

    /// The largest local error of a block that was rebuilt, of the last sweeps of all epochs; none where none was measured.
    pub fn largest_local_error(&self) -> Option<f64> {
        let errors = self.trained.history.iter().filter_map(|row| row.local_error);
        errors.map(bounded).reduce(f64::max)
    }

    /// The step after which a window's mean drift was first `level` or more.
    pub fn passed(&self, level: f64) -> Option<u64> {
        self.drifts.iter().zip(1..).find(|(drift, _)| **drift >= level).map(|(_, window)| window * WINDOW)
    }

    /// The largest mean drift of a window up to the end of each epoch, the one in which the run diverged included, and the test
    /// accuracy then, in per cent; that of guessing where it diverged.
    pub fn epochs(&self, epoch_steps: usize) -> Vec<(f64, f64)> {
        let trained = &self.trained;
        let diverged = trained.diverged.iter().map(|_| 100.0 * (1.0 - trained.test_error()));
        let accuracies = trained.history.iter().map(|row| 100.0 * row.test_accuracy).chain(diverged);
        let drift_to = |epoch: usize| {
            let windows = (epoch * epoch_steps).div_ceil(WINDOW as usize).min(self.drifts.len());
            self.drifts[..windows].iter().copied().fold(0.0, f64::max)
        };
        accuracies.zip(1..).map(|(accuracy, epoch)| (drift_to(epoch), accuracy)).collect()
    }

    /// Test accuracy after the last epoch, in per cent; that of guessing if the run diverged.
    pub fn accuracy(&self) -> f64 {
        100.0 * (1.0 - self.trained.test_error())
    }
}

impl Cell for Trial {
    type Result = Outcome;

    fn key(&self) -> String {
        self.training.key()
    }

    fn work(&self) -> f64 {
        self.training.work()
    }
}

impl Trains for Trial {
    fn training(&self) -> &Training {
        &self.training
    }

    /// Trains and probes; none if it was told to stop. What a stopped trial did is lost: the drift of its steps is kept nowhere.
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
    ) -> Result<Option<Outcome>> {
        runs.remove(&self.training)?;
        let mut prober = Prober { trial: self, device, dataset, drifts: Vec::new(), probes: Vec::new() };
        let trained = runs.train_watched(device, dataset, &self.training, log, stop, &mut prober)?;
        let Prober { drifts, probes, .. } = prober;
        Ok(trained.map(|trained| Outcome { trained, drifts, probes }))
    }
}

/// Takes down a run's drifts, and compares its gradient, whenever it looks.
struct Prober<'a, D> {
    trial: &'a Trial,
    device: &'a D,
    dataset: &'a Dataset,
    drifts: Vec<f64>,
    probes: Vec<Probe>,
}

impl<D: Device<Real = f32>> Watch<D> for Prober<'_, D> {
    fn look<F: Field<D>>(&mut self, run: &mut Run<'_, D, F>) -> Result<()> {
        self.drifts = run.drifts().chunks(WINDOW as usize).map(mean).collect();
        let epoch = run.progress().epoch;
        if self.trial.method.reconstructs() && self.probes.last().is_none_or(|last| last.epoch < epoch) {
            self.probes.push(probe(self.device, run.net(), epoch, self.dataset, self.trial.probe_images)?);
        }
        Ok(())
    }
}

fn mean(drifts: &[f64]) -> f64 {
    bounded(drifts.iter().sum::<f64>() / drifts.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::MOST;

    #[test]
    fn drifts_are_means_over_windows_and_stay_numbers() {
        assert_eq!([[1.0, 3.0], [0.0, f64::INFINITY], [f64::NAN, 0.0]].map(|drifts| mean(&drifts)), [2.0, MOST, MOST]);
    }

    #[test]
    fn an_outcome_tells_when_its_drift_passed() {
        let trained = Trained { history: Vec::new(), diverged: None, classes: 10, device: String::new() };
        let outcome = Outcome { trained, drifts: vec![0.1, 0.3, 0.2, 0.4], probes: Vec::new() };
        assert_eq!(outcome.largest_drift(), Some(0.4));
        assert_eq!(outcome.epochs(10), []);
        assert_eq!([0.05, 0.3, 0.4, 0.5].map(|level| outcome.passed(level)), [Some(10), Some(20), Some(40), None]);
    }
}
