//! A cell that is a training run: minutes or hours, so that a stopped one goes on from its checkpoint.

use std::path::Path;

use rewind::data::Dataset;
use rewind::device::Device;
use rewind::error::Result;
use rewind::field::{Basic, Bottleneck};
use rewind::memory::Bytes;
use rewind::sweep::{Gradient, SweepSpec};
use rewind_train::budget;
use rewind_train::checkpoint::{Checkpoint, DatasetId};
use rewind_train::config::{Block, DeviceChoice, RunConfig};
use rewind_train::progress::{EpochRow, best_epoch};
use rewind_train::schedule::Schedule;
use rewind_train::settings::Settings;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::no_experiment;
use crate::cells::Cell;
use crate::method::evaluations;

/// Epochs after which the paper lets the learning rate fall.
const PAPER_DROPS: [usize; 2] = [30, 60];

/// What stem and head take of an image's time, in evaluations of a block.
const ENDS_EVALUATIONS: f64 = 3.0;

/// A training run, all epochs of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    key: String,
    config: RunConfig,
    data: DatasetId,
}

impl Training {
    /// The run that `config` describes, on its data; `key` tells it from the others of its experiment. The config names the
    /// device that was opened, never `auto`.
    ///
    /// # Errors
    /// [`Error::Usage`](rewind::error::Error::Usage) if the config makes no sense.
    pub fn new(key: String, config: RunConfig, data: DatasetId) -> Result<Self> {
        // a run is judged by its last epoch, so it has one
        let mut config = RunConfig { epochs: Some(config.epochs.unwrap_or(0)), max_steps: None, ..config };
        if config.lr_schedule == Schedule::Step {
            // those of the paper's recipe, however long the run is: an experiment that wants others names them
            config.lr_drop.get_or_insert(PAPER_DROPS.into());
        }
        config.validate()?;
        Ok(Self { key, config, data })
    }

    /// Its settings.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// What it is trained on.
    pub fn data(&self) -> &DatasetId {
        &self.data
    }

    /// The plan of the run, every byte by category; refused where there is no room for it.
    ///
    /// # Errors
    /// As [`budget::check_limit`].
    pub fn check_limit<D: Device>(&self, device: &D, dataset: &Dataset) -> Result<Bytes> {
        match self.config.block {
            Block::Basic => budget::check_limit::<D, Basic>(device, &self.config, dataset),
            Block::Bottleneck => budget::check_limit::<D, Bottleneck>(device, &self.config, dataset),
            Block::PreActivation => Err(no_experiment()),
        }
    }

    /// The same run, but from the weights of this checkpoint.
    pub fn starting_from(mut self, checkpoint: &Path) -> Self {
        self.config.init_from = Some(checkpoint.display().to_string());
        self
    }

    /// The settings that decide the result, but for where a run starts that starts from a checkpoint: its cell has to say what
    /// was trained there. One at its default is left out, so that a setting which the program learns later
    /// makes no old cell another one.
    fn deciding(&self) -> Map<String, Value> {
        let map = |config: &RunConfig| match serde_json::to_value(Settings::from(config)) {
            Ok(Value::Object(map)) => map,
            other => unreachable!("settings are plain numbers and names, not {other:?}"),
        };
        // those of the first cells: at today's, a cell of `corrected`, which says nothing of it, would be one of `auto`
        let sweep = SweepSpec { gradient: Gradient::Corrected, ..RunConfig::default().sweep };
        let defaults = RunConfig { sweep, lr_drop: Some(PAPER_DROPS.into()), ..RunConfig::default() };
        let (device, math) = match self.config.device {
            DeviceChoice::Cuda(_) => (DeviceChoice::Cuda(0), self.config.math),
            other => (other, defaults.math),
        };
        let (data, threads, memory_limit, init_from) = (None, None, None, None);
        let mut settings =
            map(&RunConfig { data, device, math, threads, memory_limit, init_from, ..self.config.clone() });
        let defaults = map(&defaults);
        settings.retain(|name, value| defaults.get(name) != Some(value));
        settings
    }
}

impl Serialize for Training {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        json!({ "data": self.data, "recipe_but_for": self.deciding() }).serialize(serializer)
    }
}

impl Cell for Training {
    type Result = Trained;

    fn key(&self) -> String {
        self.key.clone()
    }

    /// In evaluations of a block: those of all epochs, for one image.
    fn work(&self) -> f64 {
        let RunConfig { sweep, epochs, .. } = &self.config;
        let steps: usize = self.config.depths().iter().map(|depth| sweep.scheme.steps(*depth)).sum();
        let evaluations = (steps * sweep.scheme.stages()) as f64 * evaluations(sweep) as f64;
        epochs.unwrap_or(0) as f64 * (ENDS_EVALUATIONS + evaluations)
    }
}

/// What a training run gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// Its epochs; of one that diverged those before.
    pub history: Vec<EpochRow>,
    /// Where it left the finite numbers, or was given up since its sweeps could not rebuild a block: a result like any other.
    pub diverged: Option<Divergence>,
    /// Classes of the data set.
    pub classes: usize,
    /// The device that trained it last.
    pub device: String,
}

/// Where a run ended before its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Step in the epoch, counted from 1.
    pub step: usize,
    /// The first place of the network whose values are not finite, or could not be rebuilt.
    pub place: String,
}

impl Trained {
    /// The fraction of the test images that were classified wrongly after the last epoch; that of guessing if the run diverged.
    pub fn test_error(&self) -> f64 {
        let last = self.history.last().filter(|_| self.diverged.is_none());
        last.map_or(self.chance(), |row| 1.0 - row.test_accuracy)
    }

    /// The smallest such fraction after any epoch, and the epoch: chosen on test data, so no fair estimate. That of guessing,
    /// and 0, if the run diverged in its first epoch.
    pub fn best_test_error(&self) -> (f64, usize) {
        best_epoch(&self.history).map_or((self.chance(), 0), |row| (1.0 - row.test_accuracy, row.epoch))
    }

    fn chance(&self) -> f64 {
        1.0 - 1.0 / self.classes.max(1) as f64
    }
}

impl Training {
    /// Whether a checkpoint was written on the way to this run's result.
    pub(super) fn is_held_by(&self, checkpoint: &Checkpoint) -> bool {
        let state = checkpoint.state();
        let held = Self { key: String::new(), config: state.config.clone(), data: state.dataset.clone() };
        held.data == self.data && held.deciding() == self.deciding()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn training(change: impl FnOnce(&mut RunConfig)) -> Value {
        let sweep = SweepSpec { gradient: Gradient::Corrected, ..RunConfig::default().sweep };
        let mut config = RunConfig { sweep, device: DeviceChoice::Cpu, epochs: Some(5), ..RunConfig::default() };
        change(&mut config);
        let data = DatasetId { name: "cifar-10".into(), fingerprint: "0123".into() };
        serde_json::to_value(Training::new("a".into(), config, data).unwrap()).unwrap()
    }

    #[test]
    fn a_cell_is_another_one_by_what_decides_its_result_alone() {
        let plain = training(|_| {});
        let same = training(|config| {
            config.data = Some("elsewhere".into());
            config.threads = Some(1);
            config.memory_limit = Some(1 << 30);
            config.math = rewind::device::Math::Fp32;
        });
        assert_eq!(plain, same);
        let expected = json!({ "data": { "name": "cifar-10", "fingerprint": "0123" }, "recipe_but_for": { "device": "cpu", "epochs": 5 } });
        assert_eq!(plain, expected);
        let changes: [fn(&mut RunConfig); 8] = [
            |config| config.seed = 1,
            |config| config.epochs = Some(6),
            |config| config.sweep.anchors = Some(1),
            |config| config.sweep.gradient = Gradient::Coded,
            |config| config.sweep.gradient = RunConfig::default().sweep.gradient,
            |config| config.lr_drop = Some(vec![3]),
            |config| config.augment = false,
            |config| config.device = DeviceChoice::Cuda(1),
        ];
        for (at, change) in changes.into_iter().enumerate() {
            assert_ne!(training(change), plain, "change {at}");
        }
        // which of the GPUs, does not; how it multiplies, does
        let gpu =
            |ordinal, math| training(move |config| (config.device, config.math) = (DeviceChoice::Cuda(ordinal), math));
        assert_eq!(gpu(0, rewind::device::Math::Fp32), gpu(1, rewind::device::Math::Fp32));
        assert_ne!(gpu(0, rewind::device::Math::Fp32), gpu(0, rewind::device::Math::Tf32));
    }

    #[test]
    fn a_run_that_diverged_counts_as_guessing() {
        let row = |epoch| EpochRow {
            epoch,
            train_loss: 1.5,
            train_accuracy: 0.4,
            test_loss: 1.6,
            test_accuracy: 0.3 + 0.1 * epoch as f64,
            learning_rate: 0.1,
            epoch_seconds: 21.5,
            images_per_second: 2325.6,
            drift: Some(1e-4),
            local_error: Some(1e-3),
            activation_peak_bytes: 31_457_280,
            peak_bytes: 62_914_560,
        };
        let history = vec![row(1), row(2)];
        let mut trained = Trained { history, diverged: None, classes: 10, device: "cpu".into() };
        let last = 1.0 - trained.history[1].test_accuracy;
        assert_eq!((trained.test_error(), trained.best_test_error()), (last, (last, 2)));
        trained.diverged = Some(Divergence { epoch: 3, step: 7, place: "the stem's output x_0".into() });
        assert_eq!((trained.test_error(), trained.best_test_error()), (0.9, (last, 2)));
        trained.history.clear();
        assert_eq!(trained.best_test_error(), (0.9, 0));
    }
}
