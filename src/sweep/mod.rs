//! The gradient of the residual stack: one file a gradient mode.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::scheme::Scheme;

/// How the backward sweep gets the states that it differentiates at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Gradient {
    /// Stores every block's intermediates: exact, memory grows with depth, 3F.
    Backprop,
    /// Stores x every K blocks and recomputes between: exact, 4F.
    Checkpoint,
    /// The paper: reconstructs x_n by the reverse step, 5F, flat memory, error O(1/N).
    Adjoint,
    /// As adjoint, then carries on from `x_{n+1} - h f(x~_n)`: 5F, flat memory, smaller error and drift.
    Corrected,
    /// Guesses x~_n with the previous block's f and evaluates once: 4F, flat memory, experimental.
    Light,
}

impl Gradient {
    /// Whether the mode reconstructs states, and so has a drift.
    pub const fn reconstructs(self) -> bool {
        matches!(self, Self::Adjoint | Self::Corrected | Self::Light)
    }
}

impl fmt::Display for Gradient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Backprop => "backprop",
            Self::Checkpoint => "checkpoint",
            Self::Adjoint => "adjoint",
            Self::Corrected => "corrected",
            Self::Light => "light",
        })
    }
}

/// Which batch-norm statistics the sweep's recomputations use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum BnStatistics {
    /// The forward pass's, kept per block.
    Saved,
    /// Those of the reconstructed batch, as the paper does.
    Batch,
}

/// When the optimiser touches a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Update {
    /// As soon as the block's gradient is complete: gradients take O(1) memory.
    InSweep,
    /// After the sweep.
    After,
}

/// Everything that decides how a gradient is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepSpec {
    /// The scheme.
    pub scheme: Scheme,
    /// The gradient mode.
    pub gradient: Gradient,
    /// Extra passes `x <- x_{n+1} - h f(x)` of the reverse step, F each.
    pub fixed_point: usize,
    /// Store the true state every so many blocks and restart the reconstruction there.
    pub anchors: Option<usize>,
    /// Blocks between two stored states of `checkpoint`; none means about sqrt N.
    pub checkpoint_every: Option<usize>,
    /// Statistics of the recomputations.
    pub bn_stats: BnStatistics,
    /// When parameters are updated.
    pub update: Update,
}

impl SweepSpec {
    /// Refuses what makes no sense together.
    ///
    /// # Errors
    /// [`Error::Usage`] with one sentence.
    pub fn validate(&self, depth: usize) -> Result<()> {
        let refuse = |sentence: String| Err(Error::Usage(sentence));
        let gradient = self.gradient;
        if depth == 0 {
            return refuse("--depth 0 leaves no residual block: give 1 or more".into());
        }
        if self.scheme == Scheme::Heun && depth < 2 {
            return refuse("--scheme heun pairs neighbouring blocks and needs --depth 2 or more".into());
        }
        if self.anchors == Some(0) {
            return refuse("--anchors 0 would store no state ever: give 1 or more blocks, or leave it out".into());
        }
        if self.checkpoint_every == Some(0) {
            return refuse("--checkpoint-every 0 stores no state ever: give 1 or more blocks".into());
        }
        if self.anchors.is_some() && !gradient.reconstructs() {
            return refuse(format!(
                "--anchors restarts a reconstruction and --gradient {gradient} reconstructs nothing: leave it out, or use adjoint, corrected or light"
            ));
        }
        if self.fixed_point > 0 && !gradient.reconstructs() {
            return refuse(format!(
                "--fixed-point repeats a reverse step and --gradient {gradient} has none: leave it out, or use adjoint, corrected or light"
            ));
        }
        if self.checkpoint_every.is_some() && gradient != Gradient::Checkpoint {
            return refuse(format!("--checkpoint-every goes with --gradient checkpoint, not {gradient}"));
        }
        Ok(())
    }
}
