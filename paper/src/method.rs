//! The ways to a gradient that the experiments train with.

use std::fmt;

use rewind::code::Bits;
use rewind::scheme::Scheme;
use rewind::sweep::{Gradient, SweepSpec};
use serde::{Deserialize, Serialize};

/// Evaluations of f a block and training step, a VJP counted as two.
pub(super) const fn evaluations(sweep: &SweepSpec) -> usize {
    let evaluations = match sweep.gradient {
        Gradient::Backprop => 3,
        Gradient::Checkpoint | Gradient::Coded => 4,
        Gradient::Adjoint | Gradient::Corrected | Gradient::Auto => 5,
    };
    evaluations + sweep.fixed_point
}

/// A gradient mode, with anchors or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Stored activations.
    Backprop,
    /// A state every sqrt N blocks, the rest recomputed.
    Checkpoint,
    /// The paper's method as its text has it: everything reconstructed from x_N.
    Adjoint,
    /// The paper's method as its code ran it: each state reconstructed from the true next one.
    #[value(name = "anchors-1")]
    #[serde(rename = "anchors-1")]
    AnchorsEach,
    /// The true state every sqrt N blocks, reconstructed between.
    AnchorsSqrt,
    /// The state carried on from the value that the gradient needs anyway.
    Corrected,
    /// Each increment's code kept, of one bit per element.
    #[value(name = "coded-1")]
    #[serde(rename = "coded-1")]
    Coded1,
    /// Of two bits.
    #[value(name = "coded-2")]
    #[serde(rename = "coded-2")]
    Coded2,
    /// Of four bits.
    #[value(name = "coded-4")]
    #[serde(rename = "coded-4")]
    Coded4,
    /// Of eight bits.
    #[value(name = "coded-8")]
    #[serde(rename = "coded-8")]
    Coded8,
    /// Reconstructed or coded, block by block, as the program's default chooses.
    Auto,
    /// The paper's with a pass more of every reverse step.
    #[value(name = "fixed-point-1")]
    #[serde(rename = "fixed-point-1")]
    FixedPoint1,
    /// With two.
    #[value(name = "fixed-point-2")]
    #[serde(rename = "fixed-point-2")]
    FixedPoint2,
    /// With three.
    #[value(name = "fixed-point-3")]
    #[serde(rename = "fixed-point-3")]
    FixedPoint3,
}

impl Method {
    /// Those that differentiate at states near the true ones, and do so alike at every step of a training: `auto`, which
    /// changes with what it measures, is none.
    pub const APPROXIMATE: [Self; 7] = [
        Self::Adjoint,
        Self::AnchorsEach,
        Self::AnchorsSqrt,
        Self::Corrected,
        Self::FixedPoint1,
        Self::FixedPoint2,
        Self::FixedPoint3,
    ];

    /// Those that code every block's increment.
    pub const CODED: [Self; 4] = [Self::Coded1, Self::Coded2, Self::Coded4, Self::Coded8];

    /// The sweep at this depth: statistics saved, updates in the sweep.
    pub fn sweep(self, scheme: Scheme, depth: usize) -> SweepSpec {
        let plain = |gradient| SweepSpec::new(scheme, gradient);
        let adjoint = plain(Gradient::Adjoint);
        let coded = |bits| SweepSpec { bits, ..plain(Gradient::Coded) };
        match self {
            Self::Backprop => plain(Gradient::Backprop),
            Self::Checkpoint => plain(Gradient::Checkpoint),
            Self::Adjoint => adjoint,
            Self::AnchorsEach => SweepSpec { anchors: Some(1), ..adjoint },
            Self::AnchorsSqrt => SweepSpec { anchors: Some(adjoint.segment_steps(depth)), ..adjoint },
            Self::Corrected => plain(Gradient::Corrected),
            Self::Coded1 => coded(Bits::One),
            Self::Coded2 => coded(Bits::Two),
            Self::Coded4 => coded(Bits::Four),
            Self::Coded8 => coded(Bits::Eight),
            Self::Auto => plain(Gradient::Auto),
            Self::FixedPoint1 => SweepSpec { fixed_point: 1, ..adjoint },
            Self::FixedPoint2 => SweepSpec { fixed_point: 2, ..adjoint },
            Self::FixedPoint3 => SweepSpec { fixed_point: 3, ..adjoint },
        }
    }

    /// The flags by which `train_cifar` trains so at this depth.
    pub fn flags(self, scheme: Scheme, depth: usize) -> String {
        let SweepSpec { gradient, fixed_point, anchors, bits, .. } = self.sweep(scheme, depth);
        let bits = if gradient == Gradient::Coded { format!(" --bits {bits}") } else { String::new() };
        let passes = if fixed_point > 0 { format!(" --fixed-point {fixed_point}") } else { String::new() };
        let anchors = anchors.map_or(String::new(), |every| format!(" --anchors {every}"));
        format!("--gradient {gradient}{bits}{passes}{anchors}")
    }

    /// Evaluations of f a block and training step, a VJP counted as two; of `auto` the most.
    pub fn evaluations(self) -> usize {
        evaluations(&self.sweep(Scheme::Euler, 1))
    }

    /// Whether it gets states back from later ones, so that the statistics of the recomputation matter.
    pub const fn reconstructs(self) -> bool {
        !matches!(self, Self::Backprop | Self::Checkpoint)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Backprop => "backprop",
            Self::Checkpoint => "checkpoint",
            Self::Adjoint => "adjoint",
            Self::AnchorsEach => "anchors-1",
            Self::AnchorsSqrt => "anchors-sqrt",
            Self::Corrected => "corrected",
            Self::Coded1 => "coded-1",
            Self::Coded2 => "coded-2",
            Self::Coded4 => "coded-4",
            Self::Coded8 => "coded-8",
            Self::Auto => "auto",
            Self::FixedPoint1 => "fixed-point-1",
            Self::FixedPoint2 => "fixed-point-2",
            Self::FixedPoint3 => "fixed-point-3",
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use rewind_train::cli::{Cli, resolve};

    #[test]
    fn its_flags_train_as_it_sweeps() {
        for scheme in [Scheme::Euler, Scheme::Heun] {
            let others = [Method::Backprop, Method::Checkpoint, Method::Auto];
            for method in Method::APPROXIMATE.into_iter().chain(Method::CODED).chain(others) {
                let line = format!("train_cifar --depth 12 --scheme {scheme} {}", method.flags(scheme, 12));
                let cli = Cli::try_parse_from(line.split_whitespace()).expect("flags");
                assert_eq!(resolve(&cli, None).expect("a config").sweep, method.sweep(scheme, 12), "{line}");
            }
        }
    }
}
