//! What the experiment is told, in both of its forms.

use std::path::PathBuf;

use rewind::cpu::Rounding;
use rewind::device::Math;
use rewind::error::{Error, Result};
use rewind_train::choose::Wanted;
use rewind_train::config::DeviceChoice;

use super::errors::ModeErrors;
use super::weights::Weights;

const QUICK_BATCH: usize = 64;
/// The recipe's.
const FULL_BATCH: usize = 256;

#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Arguments {
    /// A run of train_cifar, or its checkpoint: measure that net, at its depth, instead of nets of many depths.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["weights", "depth_to", "compare_to", "train_to", "train_epochs", "channels", "metric"])]
    #[arg(help_heading = "Network")]
    pub checkpoint: Option<PathBuf>,
    /// Folder of the binary files of CIFAR, or synthetic [default: datasets/, or synthetic; with --checkpoint that of the run].
    #[arg(long, value_name = "DIR|synthetic")]
    #[arg(help_heading = "Data")]
    pub data: Option<String>,
    /// Weights: any of random, smooth, trained (at each depth), resampled (one trained net of depth 32, as in the paper's code).
    #[arg(
        long,
        value_name = "KINDS",
        value_delimiter = ',',
        default_value = "random,smooth,trained",
        hide_possible_values = true
    )]
    #[arg(help_heading = "Network")]
    pub weights: Vec<Weights>,
    /// Images of a batch [default: 256; quick: 64].
    #[arg(long, value_name = "N")]
    #[arg(help_heading = "Training")]
    pub batch: Option<usize>,
    /// Deepest net [default: 256].
    #[arg(long, value_name = "N")]
    #[arg(help_heading = "Network")]
    pub depth_to: Option<usize>,
    /// Deepest net that is trained [default: 256; quick: 16].
    #[arg(long, value_name = "N")]
    #[arg(help_heading = "Training")]
    pub train_to: Option<usize>,
    /// Epochs of training [default: 90; quick: 2].
    #[arg(long, value_name = "N")]
    #[arg(help_heading = "Training")]
    pub train_epochs: Option<usize>,
    /// Deepest net that is also measured with other statistics in the sweep, or with the signs of the forward pass [default: 256; quick: 32].
    #[arg(long, value_name = "N")]
    #[arg(help_heading = "Gradient")]
    pub compare_to: Option<usize>,
    /// Deepest net in f64, which is slow [default: 64; quick: 8, with --checkpoint 64].
    #[arg(long, value_name = "N")]
    #[arg(help_heading = "Gradient")]
    pub f64_to: Option<usize>,
    /// Channels of every block.
    #[arg(long, value_name = "C", default_value_t = 16)]
    #[arg(help_heading = "Network")]
    pub channels: usize,
    /// What table and picture show: relative, or the squared of the paper's code.
    #[arg(long, value_name = "METRIC", default_value = "relative", hide_possible_values = true)]
    #[arg(help_heading = "Tables and pictures")]
    pub metric: Metric,
    /// What computes in f32, and trains: auto, cpu, cuda or cuda:1.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    #[arg(help_heading = "Machine")]
    pub device: DeviceChoice,
    /// Products on a GPU: fp16, bf16, tf32 or fp32.
    #[arg(long, value_name = "MATH", default_value = "fp16", hide_possible_values = true)]
    #[arg(help_heading = "Machine")]
    pub math: Math,
    /// Round the operands of the CPU's convolutions, in f32 and in training, as tf32, fp16 or bf16 [default: no].
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    #[arg(help_heading = "Machine")]
    pub round_as: Option<Rounding>,
    /// Threads that compute [default: one per core].
    #[arg(long, value_name = "N")]
    #[arg(help_heading = "Machine")]
    pub threads: Option<usize>,
}

const NOTES: &str = "\
The error of a mode in f32 is its distance from backprop in f32, that in f64 from backprop in f64; the distance of \
backprop in f32 from backprop in f64 is rounding alone. Codes leave the forward pass plain, or alter it \
(--coded-pass of train_cifar): the altered pass's gradient is compared with the plain one's too, and with its own \
exact one, by the same sweep with every state stored. Nets are trained with backprop, by the paper's recipe, and \
kept in runs/ of the experiment's folder.

--quick has 112 cells of one seed and takes about 10 minutes of processor time, some 5 minutes on two idle cores: all \
modes to N = 256 by saved statistics, and less deep what else --compare-to, --train-to and --f64-to tell of. The full \
form is for a GPU, or for days.

With --checkpoint the seeds are those of batches, and results go to the folder gradient-error-checkpoint.";

/// A measure of a gradient's distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Metric {
    /// `|g - g*| / |g*|` over all blocks.
    Relative,
    /// The mean over tensors of `mean((g - g*)^2) / mean(g*^2)`, biases left out.
    Squared,
}

impl Metric {
    pub fn of(self, errors: &ModeErrors) -> f64 {
        match self {
            Self::Relative => errors.error,
            Self::Squared => errors.squared,
        }
    }

    pub const fn formula(self) -> &'static str {
        match self {
            Self::Relative => "|g - g*| / |g*|, all blocks",
            Self::Squared => "mean over tensors of mean((g - g*)^2) / mean(g*^2)",
        }
    }
}

impl Arguments {
    pub fn wanted(&self) -> Wanted {
        Wanted { math: self.math, round_as: self.round_as, ..Wanted::new(self.device, self.threads) }
    }

    /// How the f32 side computes, in the cells' settings.
    pub fn device_name(&self, opened: DeviceChoice) -> String {
        match (opened, self.round_as) {
            (DeviceChoice::Cuda(_), _) => format!("cuda {}", self.math),
            (other, Some(rounding)) => format!("{other} {rounding}"),
            (other, None) => other.to_string(),
        }
    }

    /// Images of a batch.
    ///
    /// # Errors
    /// [`Error::Usage`] if the data set of so many `images` has not so many.
    pub fn batch(&self, quick: bool, images: usize) -> Result<usize> {
        let batch = self.batch.unwrap_or(if quick { QUICK_BATCH } else { FULL_BATCH });
        if !(1..=images).contains(&batch) {
            return Err(Error::Usage(format!("--batch {batch} must be from 1 to the data set's {images} images")));
        }
        Ok(batch)
    }
}
