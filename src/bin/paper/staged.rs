//! What the experiments on staged nets share: the net's sizes, the recipe, the data.

use std::sync::Arc;

use rewind::config::{DeviceChoice, NetKind, RunConfig};
use rewind::data::Dataset;
use rewind::data::source::{self, Source};
use rewind::error::{Error, Result};
use rewind::net::Block;
use rewind::schedule::Schedule;
use rewind::settings::Sizes;
use rewind::train::checkpoint::DatasetId;
use rewind::train::log::Log;

use crate::common::Common;

/// The small form's widths, and images of an epoch: maps of 32 x 32 are slow on a CPU.
const QUICK_WIDTHS: [usize; 3] = [8, 16, 32];
const QUICK_IMAGES: usize = 10_000;
/// Four stages, as the paper's net has.
const FULL_WIDTHS: [usize; 4] = [16, 32, 64, 128];
/// The paper's.
const BATCH: usize = 128;

#[derive(Debug, clap::Args)]
pub struct Staged {
    /// Folder of CIFAR's binary files, or synthetic [default: datasets/, or synthetic].
    #[arg(long, value_name = "DIR|synthetic")]
    data: Option<String>,
    /// Train on the first N images [default: all; quick: 10000].
    #[arg(long, value_name = "N")]
    images: Option<usize>,
    /// Channels of each stage [default: 16,32,64,128; quick: 8,16,32].
    #[arg(long, value_name = "C,C")]
    widths: Option<Sizes>,
    /// Residual function: basic or bottleneck.
    #[arg(long, value_name = "BLOCK", default_value_t = Block::Basic, hide_possible_values = true)]
    block: Block,
    /// Images a step.
    #[arg(long, value_name = "N", default_value_t = BATCH)]
    batch: usize,
    /// auto, cpu, cuda or cuda:1.
    #[arg(long, value_name = "DEVICE", default_value_t = RunConfig::default().device)]
    pub device: DeviceChoice,
    /// Threads that compute [default: one a core].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// The data that nets are trained on.
pub struct Images {
    pub dataset: Arc<Dataset>,
    pub id: DatasetId,
    pub origin: String,
}

impl Staged {
    pub fn widths(&self, common: &Common) -> Vec<usize> {
        let usual: &[usize] = if common.quick { &QUICK_WIDTHS } else { &FULL_WIDTHS };
        self.widths.as_ref().map_or(usual.into(), |widths| widths.0.clone())
    }

    /// A run on a net of so many residual blocks a stage, as far as these options decide it: weights tied, the learning rate on
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
            lr_drop: Vec::new(),
            threads: self.threads,
            ..RunConfig::default()
        }
    }

    /// # Errors
    /// [`Error::Usage`] if there are fewer images than were asked for; as [`source::open`].
    pub fn open(&self, common: &Common, log: &mut Log) -> Result<Images> {
        // always the same images, whatever the seeds of the nets
        let Source { mut dataset, origin, notice } = source::open(self.data.as_deref(), 0)?;
        if let Some(notice) = notice {
            log.note(&notice);
        }
        let there = dataset.train.len();
        let images = self.images.unwrap_or(if common.quick { QUICK_IMAGES.min(there) } else { there });
        if !(1..=there).contains(&images) {
            return Err(Error::Usage(format!("--images {images} must be from 1 to the data set's {there}")));
        }
        dataset.train.truncate(images);
        let id = DatasetId { name: dataset.name.clone(), fingerprint: dataset.fingerprint() };
        Ok(Images { dataset: Arc::new(dataset), id, origin })
    }
}

/// What the runs of an experiment have in common, as a person reads it.
pub fn recipe(config: &RunConfig, data: &DatasetId, images: usize) -> String {
    let RunConfig { widths, block, batch, .. } = config;
    format!("{}, {images} training images, widths {}, {block} blocks, batch {batch}", data.name, Sizes(widths.clone()))
}
