//! Initial weights: PyTorch's defaults with the paper's zero second batch norm, from seeded streams.

use serde::{Deserialize, Serialize};

/// How the blocks start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// Every block draws its own weights.
    Paper,
    /// All blocks start equal, so weights are smooth in depth from the first step.
    Smooth,
}
