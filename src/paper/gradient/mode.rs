//! The gradient modes that are compared with backprop.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::scheme::Scheme;
use crate::sweep::{Gradient, SweepSpec};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
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
    /// All of them.
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

    /// Evaluations of f a block, a VJP counted as two.
    pub const fn evaluations(self) -> f64 {
        match self {
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
