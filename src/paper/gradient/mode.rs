//! The gradient modes that are compared with exact backprop.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::scheme::Scheme;
use crate::sweep::{Gradient, SweepSpec};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Exact but for rounding: compared only in f32, with f64's.
    Backprop,
    /// The paper's, as its text has it.
    Adjoint,
    /// The paper's as its CIFAR code runs it: each reverse step starts from the true state.
    AnchorsEach,
    /// With an anchor about every square root of the depth.
    AnchorsSqrt,
    /// Ours.
    Corrected,
    /// The experimental one, an evaluation cheaper.
    Light,
    /// The paper's with one pass more.
    FixedPoint1,
    /// With two.
    FixedPoint2,
    /// With three.
    FixedPoint3,
}

impl Mode {
    /// Those that have an error of their own.
    pub const ALL: [Self; 8] = [
        Self::Adjoint,
        Self::AnchorsEach,
        Self::AnchorsSqrt,
        Self::Corrected,
        Self::Light,
        Self::FixedPoint1,
        Self::FixedPoint2,
        Self::FixedPoint3,
    ];

    /// What the sweep does at this depth.
    pub fn sweep(self, scheme: Scheme, depth: usize) -> SweepSpec {
        let adjoint = SweepSpec::new(scheme, Gradient::Adjoint);
        match self {
            Self::Backprop => SweepSpec::new(scheme, Gradient::Backprop),
            Self::Adjoint => adjoint,
            Self::AnchorsEach => SweepSpec { anchors: Some(1), ..adjoint },
            Self::AnchorsSqrt => SweepSpec { anchors: Some(adjoint.segment_steps(depth)), ..adjoint },
            Self::Corrected => SweepSpec::new(scheme, Gradient::Corrected),
            Self::Light => SweepSpec::new(scheme, Gradient::Light),
            Self::FixedPoint1 => SweepSpec { fixed_point: 1, ..adjoint },
            Self::FixedPoint2 => SweepSpec { fixed_point: 2, ..adjoint },
            Self::FixedPoint3 => SweepSpec { fixed_point: 3, ..adjoint },
        }
    }

    /// The flags by which `train_cifar` trains so.
    pub fn flags(self, scheme: Scheme, depth: usize) -> String {
        let SweepSpec { gradient, fixed_point, anchors, .. } = self.sweep(scheme, depth);
        let passes = if fixed_point > 0 { format!(" --fixed-point {fixed_point}") } else { String::new() };
        let anchors = anchors.map_or(String::new(), |every| format!(" --anchors {every}"));
        format!("--gradient {gradient}{passes}{anchors}")
    }

    /// Evaluations of f a block, a VJP counted as two.
    pub const fn evaluations(self) -> f64 {
        match self {
            Self::Backprop => 3.0,
            Self::Light => 4.0,
            Self::Adjoint | Self::AnchorsEach | Self::AnchorsSqrt | Self::Corrected => 5.0,
            Self::FixedPoint1 => 6.0,
            Self::FixedPoint2 => 7.0,
            Self::FixedPoint3 => 8.0,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Backprop => "backprop",
            Self::Adjoint => "adjoint",
            Self::AnchorsEach => "anchors 1",
            Self::AnchorsSqrt => "anchors sqrt",
            Self::Corrected => "corrected",
            Self::Light => "light",
            Self::FixedPoint1 => "passes 1",
            Self::FixedPoint2 => "passes 2",
            Self::FixedPoint3 => "passes 3",
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, resolve};

    #[test]
    fn its_flags_train_as_it_sweeps() {
        for scheme in [Scheme::Euler, Scheme::Heun] {
            for mode in Mode::ALL {
                let line = format!("train_cifar --depth 12 --scheme {scheme} {}", mode.flags(scheme, 12));
                let cli = Cli::try_parse_from(line.split_whitespace()).expect("flags");
                assert_eq!(resolve(&cli, None).expect("a config").sweep, mode.sweep(scheme, 12), "{line}");
            }
        }
    }
}
