//! The trained nets: trained when a cell first needs one, and kept beside the cells.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rewind::data::Dataset;
use rewind::device::Device;
use rewind::error::{Error, Result};
use rewind::scheme::Scheme;
use rewind::sweep::{Gradient, SweepSpec};
use rewind_train::checkpoint::{Checkpoint, DatasetId};
use rewind_train::config::RunConfig;
use rewind_train::log::Log;

use super::cell::GradientSpec;
use super::weights::Weights;
use crate::training::{Runs, Training};

/// The depth of the net that is resampled to all others, the paper's code's.
const RESAMPLED_DEPTH: usize = 32;

pub struct Nets {
    runs: Runs,
    recipe: RunConfig,
    data: DatasetId,
}

impl Nets {
    /// Those in the experiment's folder, trained by `recipe` but for scheme, depth and seed.
    pub fn new(folder: &Path, recipe: RunConfig, data: DatasetId) -> Self {
        Self { runs: Runs::new(folder), recipe, data }
    }

    /// The training of the net that weights which are not drawn belong to: by backprop, so that the net owes nothing to a mode
    /// that is measured.
    ///
    /// # Errors
    /// [`Error::Usage`] if the recipe makes no sense.
    pub fn training(&self, weights: Weights, scheme: Scheme, depth: usize, seed: u64) -> Result<Training> {
        let depth = if weights == Weights::Resampled { RESAMPLED_DEPTH } else { depth };
        let sweep = SweepSpec::new(scheme, Gradient::Backprop);
        let config = RunConfig { depth, sweep, seed, ..self.recipe.clone() };
        Training::new(format!("{scheme}-seed{seed}-depth{depth:04}"), config, self.data.clone())
    }

    /// The trained net, which is trained first if it is not there; none if that was told to stop.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the training diverged; whatever it or the checkpoint's file reports.
    pub fn trained<D: Device<Real = f32>>(
        &self,
        device: &D,
        dataset: &Arc<Dataset>,
        spec: &GradientSpec,
        log: &mut Log,
        stop: &AtomicBool,
    ) -> Result<Option<Checkpoint>> {
        let training = self.training(spec.weights, spec.scheme, spec.depth, spec.seed)?;
        let path = self.runs.checkpoint(&training);
        if !path.exists() {
            log.note(&format!(
                "training with backprop: {} of depth {}, seed {}",
                spec.scheme,
                training.config().depth,
                spec.seed
            ));
        }
        let Some(trained) = self.runs.train(device, dataset, &training, log, stop)? else { return Ok(None) };
        if let Some(divergence) = trained.diverged {
            let (epoch, step, place) = (divergence.epoch, divergence.step, divergence.place);
            return Err(Error::NotFinite { epoch, step, loss: f64::NAN, place, advice: "try a lower `lr`".into() });
        }
        Checkpoint::open(&path).map(Some)
    }
}
