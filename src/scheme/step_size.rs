//! The step size.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The step size h.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum StepSize {
    /// `h = 1/N`, the method's: the deeper the net, the closer it is to an ODE and the smaller the error of going back.
    #[default]
    #[serde(rename = "1/N")]
    #[cfg_attr(feature = "clap", value(name = "1/N", alias = "1/n"))]
    OverDepth,
    /// `h = 1`, a plain residual network, which is close to no ODE at any depth.
    #[serde(rename = "1")]
    #[cfg_attr(feature = "clap", value(name = "1"))]
    One,
}

impl StepSize {
    /// h at N residual functions.
    pub const fn h(self, depth: usize) -> f64 {
        match self {
            Self::OverDepth => 1.0 / depth as f64,
            Self::One => 1.0,
        }
    }
}

impl fmt::Display for StepSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OverDepth => "1/N",
            Self::One => "1",
        })
    }
}
