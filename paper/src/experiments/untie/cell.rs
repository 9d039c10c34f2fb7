//! A cell that is a training run which starts from the weights of another one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rewind::data::Dataset;
use rewind::device::Device;
use rewind::error::{Error, Result};
use rewind_train::log::Log;
use serde::{Deserialize, Serialize};

use crate::cells::Cell;
use crate::method::Method;
use crate::training::experiment::Labelled;
use crate::training::{Runs, Trained, Training, Trains};

/// The experiment's name, and that of its folder.
pub(super) const NAME: &str = "untie";

/// A training run, and the one whose weights it starts from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tuning {
    /// The run.
    #[serde(flatten)]
    pub training: Training,
    /// Where it starts; none for one that starts from drawn weights.
    pub from: Option<Training>,
}

/// What it gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    /// As any training run.
    pub trained: Trained,
    /// The fraction of the test images that the net classified correctly before its first epoch, for one that starts from
    /// another's weights.
    pub accuracy_before: Option<f64>,
}

impl Cell for Tuning {
    type Result = Tuned;

    fn key(&self) -> String {
        self.training.key()
    }

    fn work(&self) -> f64 {
        self.training.work()
    }
}

impl Trains for Tuning {
    fn training(&self) -> &Training {
        &self.training
    }

    fn start(&self) -> Option<&Training> {
        self.from.as_ref()
    }

    /// Trains; first the run that it starts from, if its checkpoint is not there. Both checkpoints stay. None if it was told to
    /// stop.
    ///
    /// # Errors
    /// As for [`Runs::train`]; [`Error::Usage`] if the run that it starts from diverged, which leaves nothing to start from.
    fn train<D: Device<Real = f32>>(
        &self,
        device: &D,
        dataset: &Arc<Dataset>,
        runs: &Runs,
        log: &mut Log,
        stop: &AtomicBool,
    ) -> Result<Option<Tuned>> {
        let Some(from) = &self.from else {
            let trained = runs.train(device, dataset, &self.training, log, stop)?;
            return Ok(trained.map(|trained| Tuned { trained, accuracy_before: None }));
        };
        // does nothing where it is done
        let Some(start) = runs.train(device, dataset, from, log, stop)? else { return Ok(None) };
        if start.diverged.is_some() {
            let key = from.key();
            return Err(Error::Usage(format!(
                "the run {key} ended before its time, so nothing can start from it: lower --lr, or use --base auto"
            )));
        }
        let training = self.training.clone().starting_from(&runs.checkpoint(from));
        let Some(before) = runs.test_start(device, dataset, &training, stop)? else { return Ok(None) };
        let trained = runs.train(device, dataset, &training, log, stop)?;
        Ok(trained.map(|trained| Tuned { trained, accuracy_before: Some(before) }))
    }
}

/// What became of the tied net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Fate {
    /// It was trained: nothing yet.
    Base,
    /// Trained further at the small rate, still tied.
    StillTied(Method),
    /// Untied, and fine-tuned.
    Untied(Method),
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::Base => "tied".into(),
            Self::StillTied(method) => format!("still-tied-{method}"),
            Self::Untied(method) => format!("untied-{method}"),
        })
    }
}

/// A run, and what became of its net.
pub(super) type Run = Labelled<Fate, Tuning>;

/// The runs so far, and what they gave.
pub(super) type Done<'a> = [(&'a Run, Tuned)];
