//! How far each gradient mode is from exact backprop, on one batch and one set of weights.

use rewind::net::{Body, NetSpec, Stem};
use rewind::scheme::{Scheme, StepSize};
use rewind::sweep::{BnStatistics, Masks, SweepSpec, Update};
use rewind_train::config::Block;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::errors::Measured;
use super::weights::Weights;
use crate::cells::Cell;
use crate::method::Method;

/// A cell and what it gave.
pub(super) type Done<'a> = [(&'a GradientSpec, Measured)];

/// What is measured: `auto` is not, since at one set of weights it is `corrected` or `coded`.
pub fn modes() -> Vec<Method> {
    [&Method::APPROXIMATE[..], &Method::CODED].concat()
}

/// The numbers that a gradient is computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// By the device that was chosen.
    F32,
    /// By the reference, which is slow.
    F64,
}

impl Precision {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    /// Time of an operation, in that of f32 on two cores.
    const fn slowness(self) -> f64 {
        match self {
            Self::F32 => 1.0,
            Self::F64 => 40.0,
        }
    }
}

/// A net and a batch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GradientSpec {
    /// Residual functions N, of all stages.
    pub depth: usize,
    /// The scheme.
    pub scheme: Scheme,
    /// Which kind of weights.
    pub weights: Weights,
    /// What decides the weights beside scheme, depth and seed: the training's settings, or the checkpoint's checksum.
    pub source: Value,
    /// Statistics of the sweep's recomputations.
    pub bn_stats: BnStatistics,
    /// Signs of the ReLUs' inputs in them.
    #[serde(skip_serializing_if = "Masks::is_recomputed")]
    pub masks: Masks,
    /// Of every number.
    pub precision: Precision,
    /// What is measured.
    pub modes: Vec<Method>,
    /// The device of the f32 side, and how it multiplies: others round otherwise.
    pub device: String,
    /// Decides the batch, and weights that are not given.
    pub seed: u64,
    /// Images.
    pub batch: usize,
    /// Channels of the residual stack.
    pub channels: usize,
    /// The convolution before it.
    pub stem: Stem,
    /// The step size.
    pub step_size: StepSize,
    /// The residual function; a checkpoint's checksum tells as much.
    #[serde(skip)]
    pub block: Block,
    /// What else the net is made of between stem and head, which it tells too.
    #[serde(skip)]
    pub body: Body,
    /// The data set's name and fingerprint.
    pub data: String,
    /// Time for training the net before it is measured, in that of an evaluation of a block for one image.
    #[serde(skip)]
    pub training_work: f64,
}

impl Cell for GradientSpec {
    type Result = Measured;

    fn key(&self) -> String {
        let Self { scheme, weights, bn_stats, masks, precision, seed, depth, .. } = self;
        let masks = if masks.is_recomputed() { "" } else { "-masks" };
        format!("{scheme}-{weights}-{}{masks}-{}-seed{seed}-depth{depth:04}", bn_stats.name(), precision.name())
    }

    fn work(&self) -> f64 {
        // a mode that codes is measured three times: in both passes, and in one of them with every state stored
        let more = self.modes.iter().filter(|mode| Method::CODED.contains(mode)).flat_map(|mode| [mode; 2]);
        let all = self.modes.iter().chain(more).chain([&Method::Backprop]);
        let evaluations: usize = all.map(|mode| mode.evaluations()).sum();
        let evaluations = (evaluations * self.depth * self.batch * self.scheme.stages()) as f64;
        evaluations * self.precision.slowness() + self.training_work
    }
}

impl GradientSpec {
    /// Channels of the stack, or of each stage.
    pub fn channels(&self) -> Vec<usize> {
        let stages = self.body.stages;
        stages.map_or(vec![self.channels], |stages| stages.each().map(|(_, channels)| channels).collect())
    }

    /// A mode's sweep of the net: the gradients are to be read, and the weights to stay.
    pub(super) fn sweep(&self, mode: Method) -> SweepSpec {
        let deepest = self.net(mode.sweep(self.scheme, self.depth), 1).deepest();
        let Self { bn_stats, masks, .. } = *self;
        SweepSpec { bn_stats, masks, update: Update::After, ..mode.sweep(self.scheme, deepest) }
    }

    /// The net with this sweep.
    pub(super) fn net(&self, sweep: SweepSpec, classes: usize) -> NetSpec {
        let Self { depth, channels, batch, stem, step_size, body, .. } = *self;
        NetSpec { depth, channels, batch, stem, classes, step_size, sweep, body, ..NetSpec::default() }
    }
}
