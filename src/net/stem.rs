//! The stem's two forms: they decide how large the residual stack's maps are.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::shape::Conv;

/// The convolution between the images and the residual stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Stem {
    /// The paper's: 5x5, stride 3, padding 1, which makes 10 x 10 maps of 32 x 32 images.
    #[serde(rename = "5x5")]
    #[cfg_attr(feature = "clap", value(name = "5x5"))]
    Strided5x5,
    /// 3x3, stride 1, padding 1, which keeps the images' 32 x 32.
    #[serde(rename = "3x3")]
    #[cfg_attr(feature = "clap", value(name = "3x3"))]
    Same3x3,
}

impl fmt::Display for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Stem::Strided5x5 => "5x5",
            Stem::Same3x3 => "3x3",
        })
    }
}

impl Stem {
    /// Its geometry.
    pub const fn conv(self) -> Conv {
        match self {
            Stem::Strided5x5 => Conv::STEM_5X5,
            Stem::Same3x3 => Conv::SAME_3X3,
        }
    }
}
