//! `gradient-error` (the paper's figure 3c): how far each gradient mode is from exact backprop, against depth, on real images.

mod picture;
mod tables;

use std::sync::atomic::AtomicBool;

use rewind::cpu::Cpu;
use rewind::data::source;
use rewind::error::{Error, Result};
use rewind::init::Init;
use rewind::paper::cells::{Cells, Ending};
use rewind::paper::gradient::errors::ModeErrors;
use rewind::paper::gradient::{GradientSpec, Precision};
use rewind::paper::results::Results;
use rewind::scheme::Scheme;
use rewind::sweep::BnStatistics;
use rewind::terminal::say;
use rewind::train::log::Log;

use crate::common::{Common, written};

const NAME: &str = "gradient-error";
const DEPTHS: [usize; 7] = [4, 8, 16, 32, 64, 128, 256];
/// The reference is slow: f64 stops at these depths.
const QUICK_F64_DEPTH: usize = 32;
const FULL_F64_DEPTH: usize = 64;
const QUICK_SEEDS: u64 = 2;
const FULL_SEEDS: u64 = 5;
const QUICK_BATCH: usize = 16;
/// The recipe's.
const FULL_BATCH: usize = 256;
const CHANNELS: usize = 16;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Folder of CIFAR's binary files, or synthetic [default: datasets/, or synthetic].
    #[arg(long, value_name = "DIR|synthetic")]
    data: Option<String>,
    /// Threads that compute [default: one a core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Images of the batch [default: 256; quick: 16].
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Deepest net [default: 256].
    #[arg(long, value_name = "N", default_value_t = DEPTHS[DEPTHS.len() - 1])]
    depth_to: usize,
    /// What table and picture show: relative, or the squared of the paper's code.
    #[arg(long, value_name = "METRIC", default_value = "relative", hide_possible_values = true)]
    metric: Metric,
}

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

/// A cell and what it gave.
pub type Done<'a> = [(&'a GradientSpec, Vec<ModeErrors>)];

/// The name of an init here, where gamma is 1 and neither is quite the paper's.
pub const fn init_name(init: Init) -> &'static str {
    match init {
        Init::Paper => "random",
        Init::Smooth => "smooth",
        Init::Plain => "plain",
    }
}

pub fn run(arguments: &Arguments, common: &Common, log: &mut Log, stop: &'static AtomicBool) -> anyhow::Result<Ending> {
    let seeds = common.seeds(QUICK_SEEDS, FULL_SEEDS)?;
    let batch = arguments.batch.unwrap_or(if common.quick { QUICK_BATCH } else { FULL_BATCH });
    let f64_depth = if common.quick { QUICK_F64_DEPTH } else { FULL_F64_DEPTH };
    let cpu = Cpu::new(arguments.threads)?;
    // always the same images, whatever the seeds of the nets
    let source::Source { dataset, notice, .. } = source::open(arguments.data.as_deref(), 0)?;
    if let Some(notice) = notice {
        log.note(&notice);
    }
    check(arguments, batch, dataset.train.len())?;
    let data = format!("{} {}", dataset.name, dataset.fingerprint());
    let mut specs = Vec::new();
    for (precision, deepest) in
        [(Precision::F32, arguments.depth_to), (Precision::F64, f64_depth.min(arguments.depth_to))]
    {
        for scheme in [Scheme::Euler, Scheme::Heun] {
            for init in [Init::Paper, Init::Smooth] {
                for bn_stats in [BnStatistics::Saved, BnStatistics::Batch] {
                    for seed in seeds.clone() {
                        let (data, channels) = (&data, CHANNELS);
                        specs.extend(DEPTHS.into_iter().filter(|depth| *depth <= deepest).map(|depth| {
                            let data = data.clone();
                            GradientSpec { depth, scheme, init, bn_stats, precision, seed, batch, channels, data }
                        }));
                    }
                }
            }
        }
    }
    let folder = common.folder(NAME);
    let cells = Cells::open(&folder)?;
    let results = Results::new(&folder);
    let (metric, mut text) = (arguments.metric, String::new());
    let ending = cells.complete(
        &specs,
        log,
        stop,
        |spec| spec.run(&cpu, &dataset, stop),
        |done| {
            text = tables::text(done, metric);
            results.table(NAME, &tables::csv(done))?;
            results.table("blocks", &tables::blocks_csv(done))?;
            results.picture(NAME, picture::draw(done, metric))?;
            results.summary(&tables::summary(done))
        },
    )?;
    say(&(text + &written(results.folder())))?;
    Ok(ending)
}

fn check(arguments: &Arguments, batch: usize, images: usize) -> Result<()> {
    if !(1..=images).contains(&batch) {
        return Err(Error::Usage(format!("--batch {batch} must be from 1 to the data set's {images} images")));
    }
    if arguments.depth_to < DEPTHS[0] {
        return Err(Error::Usage(format!("--depth-to {} must be {} or more", arguments.depth_to, DEPTHS[0])));
    }
    Ok(())
}
