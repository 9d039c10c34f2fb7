//! What the experiments on staged nets share: the net's sizes, the recipe, the data.

use std::sync::atomic::AtomicBool;

use rewind::error::Result;
use rewind_train::config::{Block, DeviceChoice, NetKind, RunConfig};
use rewind_train::log::Log;
use rewind_train::schedule::Schedule;
use rewind_train::settings::Sizes;

use crate::options::Common;
use crate::training::experiment::Setting;
use crate::training::images::Images;

/// The small form's widths, and images of an epoch: maps of 32 x 32 are slow on a CPU.
const QUICK_WIDTHS: [usize; 3] = [8, 16, 32];
const QUICK_IMAGES: usize = 10_000;
/// Four stages, as the paper's net has.
const FULL_WIDTHS: [usize; 4] = [16, 32, 64, 128];
/// The paper's.
const BATCH: usize = 128;

#[derive(Debug, clap::Args)]
pub struct Staged {
    /// Folder of the binary files of CIFAR, or synthetic [default: datasets/, or synthetic].
    #[arg(long, value_name = "DIR|synthetic")]
    #[arg(help_heading = "Data")]
    data: Option<String>,
    /// Train on the first N images [default: all; quick: 10000].
    #[arg(long, value_name = "N")]
    #[arg(help_heading = "Data")]
    images: Option<usize>,
    /// Channels of each stage [default: 16,32,64,128; quick: 8,16,32].
    #[arg(long, value_name = "C,C")]
    #[arg(help_heading = "Network")]
    widths: Option<Sizes>,
    /// Residual function: basic or bottleneck.
    #[arg(long, value_name = "BLOCK", default_value_t = Block::Basic, hide_possible_values = true)]
    #[arg(help_heading = "Network")]
    block: Block,
    /// Images per step.
    #[arg(long, value_name = "N", default_value_t = BATCH)]
    #[arg(help_heading = "Training")]
    batch: usize,
    /// Device: auto, cpu, cuda or cuda:1.
    #[arg(long, value_name = "DEVICE", default_value_t = RunConfig::default().device)]
    #[arg(help_heading = "Machine")]
    device: DeviceChoice,
    /// Threads that compute [default: one per core].
    #[arg(long, value_name = "N")]
    #[arg(help_heading = "Machine")]
    threads: Option<usize>,
}

impl Staged {
    pub fn widths(&self, common: &Common) -> Vec<usize> {
        let usual: &[usize] = if common.quick { &QUICK_WIDTHS } else { &FULL_WIDTHS };
        self.widths.as_ref().map_or(usual.into(), |widths| widths.0.clone())
    }

    /// A run on a net of so many residual blocks per stage, as far as these options decide it: weights tied, the learning rate on
    /// a cosine.
    pub fn config(&self, common: &Common, blocks: Vec<usize>) -> RunConfig {
        RunConfig {
            net: NetKind::Staged,
            blocks,
            widths: self.widths(common),
            block: self.block,
            tied: true,
            batch: self.batch,
            lr_schedule: Schedule::Cosine,
            lr_drop: None,
            threads: self.threads,
            ..RunConfig::default()
        }
    }

    /// The data and the machine that were asked for.
    ///
    /// # Errors
    /// As for [`Images::open`].
    pub fn setting<'a>(&self, common: &'a Common, log: &mut Log, stop: &'static AtomicBool) -> Result<Setting<'a>> {
        let quick = common.quick.then_some(QUICK_IMAGES);
        let images = Images::open(self.data.as_deref(), self.images, quick, log)?;
        Ok(Setting { images, device: self.device, threads: self.threads, common, stop })
    }
}

/// What the runs of an experiment have in common, as a person reads it.
pub fn recipe(config: &RunConfig, images: &Images) -> String {
    let (data, images) = (&images.id, images.dataset.train.len());
    let RunConfig { widths, block, batch, .. } = config;
    format!("{}, {images} training images, widths {}, {block} blocks, batch {batch}", data.name, Sizes(widths.clone()))
}
