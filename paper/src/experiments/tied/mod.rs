//! `tied` (the paper's figure 3a): test accuracy against the blocks of each stage where all blocks of a stage share their
//! weights, so that a deeper net has no more parameters.

mod cell;
mod picture;
mod tables;

use std::sync::atomic::AtomicBool;

use rewind::error::Result;
use rewind::memory::Bytes;
use rewind::scheme::Scheme;
use rewind_train::config::RunConfig;
use rewind_train::log::Log;

use self::cell::{Done, Label, NAME, Run};
use crate::cells::Ending;
use crate::method::Method;
use crate::options::staged::{Staged, recipe};
use crate::options::{Common, positive};
use crate::results::Results;
use crate::training::Training;
use crate::training::experiment::{Experiment, Labelled, Planned};
use crate::training::images::Images;

const QUICK_BLOCKS: [usize; 3] = [1, 2, 4];
const FULL_BLOCKS: [usize; 6] = [1, 2, 4, 8, 16, 32];
const QUICK_SEEDS: u64 = 2;
const FULL_SEEDS: u64 = 5;
const QUICK_EPOCHS: usize = 6;
/// The paper's.
const FULL_EPOCHS: usize = 200;

#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    staged: Staged,
    /// Residual blocks of each stage, a net each [default: 1,2,4,8,16,32; quick: 1,2,4].
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = positive)]
    #[arg(help_heading = "Network")]
    blocks: Vec<usize>,
    /// Modes, any of backprop, checkpoint, adjoint, anchors-1, anchors-sqrt, corrected, coded-1, -2, -4 and -8, auto, fixed-point-1 to -3.
    #[arg(long, value_name = "MODE", value_delimiter = ',', hide_possible_values = true)]
    #[arg(default_value = "backprop,corrected,coded-2,auto")]
    #[arg(help_heading = "Gradient")]
    modes: Vec<Method>,
    /// Passes over the training images [default: 200; quick: 6].
    #[arg(long, value_name = "N")]
    #[arg(help_heading = "Training")]
    epochs: Option<usize>,
    /// Learning rate, from which a cosine goes down.
    #[arg(long, value_name = "X", default_value_t = RunConfig::default().lr, allow_negative_numbers = true)]
    #[arg(help_heading = "Training")]
    lr: f64,
}

const NOTES: &str = "\
Time on two idle cores with AVX-512: before it had coded modes --quick took about 5 minutes; a mode more adds its \
share. The full form has the paper's stages, batch, epochs and cosine, and is for a GPU. Ctrl-C keeps everything: a \
run that was begun goes on from its last step.";

/// Computes the cells that are not there yet, and publishes all.
///
/// # Errors
/// [`Error::Usage`](rewind::error::Error::Usage) if the request makes no sense; whatever reading, computing or writing reports.
pub(crate) fn run(
    arguments: &Arguments,
    common: &Common,
    log: &mut Log,
    stop: &'static AtomicBool,
) -> anyhow::Result<Ending> {
    let planned = planned(arguments, common)?;
    arguments.staged.setting(common, log, stop)?.conduct(Tied, planned, log)
}

/// Every run, in the order in which they are trained: all of one seed, shallow nets first.
fn planned(arguments: &Arguments, common: &Common) -> Result<Vec<Planned<(usize, Method)>>> {
    let seeds = common.seeds(QUICK_SEEDS, FULL_SEEDS)?;
    let usual: &[usize] = if common.quick { &QUICK_BLOCKS } else { &FULL_BLOCKS };
    let mut blocks = if arguments.blocks.is_empty() { usual.to_vec() } else { arguments.blocks.clone() };
    blocks.sort_unstable();
    blocks.dedup();
    let epochs = arguments.epochs.unwrap_or(if common.quick { QUICK_EPOCHS } else { FULL_EPOCHS });
    let stages = arguments.staged.widths(common).len();
    let mut planned = Vec::new();
    for seed in seeds {
        for blocks in &blocks {
            for method in &arguments.modes {
                let config = RunConfig {
                    sweep: method.sweep(Scheme::Euler, *blocks),
                    epochs: Some(epochs),
                    lr: arguments.lr,
                    seed,
                    ..arguments.staged.config(common, vec![*blocks; stages])
                };
                let key = format!("seed{seed}-blocks{blocks:04}-{method}");
                planned.push(Planned { label: (*blocks, *method), key, config });
            }
        }
    }
    Ok(planned)
}

struct Tied;

impl Experiment for Tied {
    const NAME: &'static str = NAME;
    type Label = (usize, Method);
    type Cell = Run;

    fn cell(&mut self, _: &Images, (blocks, method): (usize, Method), training: Training, planned: Bytes) -> Run {
        Labelled { label: Label { blocks, method, planned }, cell: training }
    }

    fn publish(&self, images: &Images, done: &Done<'_>, results: &Results) -> Result<String> {
        let about = done.first().map_or(String::new(), |(run, _)| {
            let config = run.cell.config();
            let recipe = recipe(config, images);
            format!("{recipe}, {} epochs, lr {} on a cosine", config.epochs.unwrap_or(0), config.lr)
        });
        results.table(NAME, &tables::csv(done))?;
        results.picture(NAME, picture::draw(done, &about))?;
        results.summary(&tables::summary(done, &about))?;
        Ok(tables::text(done, &about))
    }
}
