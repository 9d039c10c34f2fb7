//! What the experiments on plain nets, all blocks alike, are told in the same way.

use std::sync::atomic::AtomicBool;

use rewind::error::Result;
use rewind_train::config::{DeviceChoice, RunConfig};
use rewind_train::log::Log;

use crate::options::Common;
use crate::training::experiment::Setting;
use crate::training::images::Images;

#[derive(Debug, clap::Args)]
pub struct Plain {
    /// Folder of the binary files of CIFAR, or synthetic [default: datasets/, or synthetic].
    #[arg(long, value_name = "DIR|synthetic")]
    #[arg(help_heading = "Data")]
    data: Option<String>,
    /// Learning rate.
    #[arg(long, value_name = "X", default_value_t = RunConfig::default().lr, allow_negative_numbers = true)]
    #[arg(help_heading = "Training")]
    lr: f64,
    /// Images per step.
    #[arg(long, value_name = "N", default_value_t = RunConfig::default().batch)]
    #[arg(help_heading = "Training")]
    batch: usize,
    /// Channels of every block.
    #[arg(long, value_name = "C", default_value_t = RunConfig::default().channels)]
    #[arg(help_heading = "Network")]
    channels: usize,
    /// Device: auto, cpu, cuda or cuda:1.
    #[arg(long, value_name = "DEVICE", default_value_t = RunConfig::default().device)]
    #[arg(help_heading = "Machine")]
    device: DeviceChoice,
    /// Threads that compute [default: one per core].
    #[arg(long, value_name = "N")]
    #[arg(help_heading = "Machine")]
    threads: Option<usize>,
}

impl Plain {
    /// A run, as far as these options decide it.
    pub fn config(&self) -> RunConfig {
        let Self { lr, batch, channels, threads, .. } = *self;
        RunConfig { lr, batch, channels, threads, ..RunConfig::default() }
    }

    /// The data and the machine that were asked for.
    ///
    /// # Errors
    /// As for [`Images::open`].
    pub fn setting<'a>(&self, common: &'a Common, log: &mut Log, stop: &'static AtomicBool) -> Result<Setting<'a>> {
        let images = Images::open(self.data.as_deref(), None, None, log)?;
        Ok(Setting { images, device: self.device, threads: self.threads, common, stop })
    }
}

/// The end of a run's name: what tells it from those of other recipes that a user may try next.
pub fn unusual(config: &RunConfig) -> String {
    let usual = RunConfig::default();
    let values = [
        ("lr", config.lr, usual.lr),
        ("batch", config.batch as f64, usual.batch as f64),
        ("channels", config.channels as f64, usual.channels as f64),
    ];
    let unusual = values.into_iter().filter(|(_, value, usual)| value != usual);
    unusual.map(|(name, value, _)| format!("-{name}{value}")).collect()
}
