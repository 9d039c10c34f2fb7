//! Known recipes by a name: `--preset`.

use rewind::device::Decay;
use rewind::net::Stem;

use crate::config::{Betas, NetKind, Optimiser};
use crate::schedule::Schedule;
use crate::settings::Settings;
use crate::values::{RandAugmentBy, Sizes};

/// A known recipe. What is given beside it goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum KnownRecipe {
    /// For CIFAR on a processor: a net of three narrow stages, and a rate that rises and falls once.
    CifarFast,
    /// After procedure A2 of Wightman et al. 2021, "ResNet strikes back", with AdamW in the place of LAMB and cross-entropy in that of binary
    /// cross-entropy.
    ImagenetA2,
}

impl KnownRecipe {
    /// The settings that it stands for.
    pub fn settings(self) -> Settings {
        match self {
            Self::CifarFast => Settings {
                net: Some(NetKind::Staged),
                blocks: Some(Sizes(vec![1, 1, 1])),
                widths: Some(Sizes(vec![32, 64, 128])),
                stem: Some(Stem::Strided5x5),
                epochs: Some(14),
                batch: Some(128),
                lr: Some(0.1),
                nesterov: Some(true),
                decay: Some(Decay::Weights),
                lr_schedule: Some(Schedule::OneCycle),
                label_smoothing: Some(0.1),
                ..Settings::default()
            },
            Self::ImagenetA2 => Settings {
                epochs: Some(300),
                batch: Some(256),
                accumulate: Some(8),
                optimiser: Some(Optimiser::AdamW),
                lr: Some(2e-3),
                betas: Some(Betas([0.9, 0.95])),
                weight_decay: Some(0.02),
                decay: Some(Decay::Weights),
                lr_schedule: Some(Schedule::CosineSteps),
                warmup: Some(5),
                rand_augment: Some(RandAugmentBy([2, 7])),
                mixup: Some(0.1),
                cutmix: Some(1.0),
                ..Settings::default()
            },
        }
    }
}
