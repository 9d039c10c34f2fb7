//! How far the fused operations are taken apart, which shows what lies within them, and what fusing them is worth.

use std::fmt;

/// What the profiled step is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Grain {
    /// The device's own operations: the step as it runs in training.
    Whole,
    /// A block's step and its inverse by their definitions, of the smaller fused operations.
    Parts,
    /// Every fused operation by its definition in primitives.
    Primitives,
}

impl Grain {
    /// Whether a block's step and its inverse are taken apart.
    pub fn parts_blocks(self) -> bool {
        self != Self::Whole
    }

    /// Whether all fused operations are.
    pub fn parts_all(self) -> bool {
        self == Self::Primitives
    }
}

impl fmt::Display for Grain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Whole => "as trained",
            Self::Parts => "blocks in parts",
            Self::Primitives => "in primitives",
        })
    }
}
