//! `depth` (the paper's figure 4): test error against depth, for each scheme and gradient mode, trained from scratch.

mod axis;
mod cell;
mod picture;
mod tables;

use std::sync::atomic::AtomicBool;

use rewind::error::Result;
use rewind::memory::Bytes;
use rewind::scheme::Scheme;
use rewind::sweep::BnStatistics;
use rewind_train::config::RunConfig;
use rewind_train::log::Log;
use rewind_train::settings::LrDrop;

use self::cell::{Done, Metric, NAME, Run, Series};
use crate::cells::Ending;
use crate::method::Method;
use crate::options::plain::Plain;
use crate::options::{Common, positive};
use crate::results::Results;
use crate::training::Training;
use crate::training::experiment::{Experiment, Labelled, Planned};
use crate::training::images::Images;

const QUICK_DEPTHS: [usize; 3] = [2, 8, 32];
const FULL_DEPTHS: [usize; 6] = [2, 4, 8, 16, 32, 64];
const QUICK_SEEDS: u64 = 1;
const FULL_SEEDS: u64 = 5;
/// The small form leaves out the mode that stores every state.
const QUICK_MODES: [Method; 5] = [Method::Backprop, Method::Adjoint, Method::Corrected, Method::Coded2, Method::Auto];
const FULL_MODES: [Method; 6] =
    [Method::Backprop, Method::Adjoint, Method::AnchorsEach, Method::Corrected, Method::Coded2, Method::Auto];
/// Epochs, and those after which the learning rate drops.
const QUICK_EPOCHS: (usize, &[usize]) = (5, &[3]);
/// The recipe's.
const FULL_EPOCHS: (usize, &[usize]) = (90, &[30, 60]);

#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    plain: Plain,
    /// Depths N [default: 2,4,8,16,32,64; quick: 2,8,32].
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = positive)]
    #[arg(help_heading = "Network")]
    depths: Vec<usize>,
    /// Schemes, any of euler, heun and rk4.
    #[arg(
        long,
        value_name = "SCHEME",
        value_delimiter = ',',
        default_value = "euler,heun",
        hide_possible_values = true
    )]
    #[arg(help_heading = "Network")]
    schemes: Vec<Scheme>,
    /// Modes, any of backprop, checkpoint, adjoint, anchors-1, anchors-sqrt, corrected, coded-1, -2, -4 and -8, auto, fixed-point-1 to
    /// -3 [default: backprop,adjoint,anchors-1,corrected,coded-2,auto; quick: the same without anchors-1].
    #[arg(long, value_name = "MODE", value_delimiter = ',', hide_possible_values = true)]
    #[arg(help_heading = "Gradient")]
    modes: Vec<Method>,
    /// Statistics of the reverse step, saved or batch [default: saved, and adjoint, anchors-1 and corrected in Euler nets with both].
    #[arg(long, value_name = "WHICH", hide_possible_values = true)]
    #[arg(help_heading = "Gradient")]
    bn_stats: Option<BnStatistics>,
    /// Passes over the training set [default: 90; quick: 5].
    #[arg(long, value_name = "N")]
    #[arg(help_heading = "Training")]
    epochs: Option<usize>,
    /// Epochs after which lr falls to a tenth, or none [default: a third and two thirds; quick: 3 of 5].
    #[arg(long, value_name = "E,E")]
    #[arg(help_heading = "Training")]
    lr_drop: Option<LrDrop>,
    /// What is shown: last, or the best epoch as in the paper's code, which chooses it on test data.
    #[arg(long, value_name = "EPOCH", default_value = "last", hide_possible_values = true)]
    #[arg(help_heading = "Tables and pictures")]
    metric: Metric,
}

const NOTES: &str = "\
--quick trains one seed, 12 nets per depth. By the times of single epochs that is about 55 minutes on two cores with \
AVX-512, of which depth 32 takes most; with --depths 2,8 about 13. Every further seed takes as long. The full form is for a GPU, or for days. Ctrl-C \
keeps everything: a run that was begun goes on from its last step. Runs go by seed, then by depth, so that a part of \
them is a result.";

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
    let experiment = Depth { metric: arguments.metric };
    arguments.plain.setting(common, log, stop)?.conduct(experiment, planned, log)
}

struct Depth {
    metric: Metric,
}

impl Experiment for Depth {
    const NAME: &'static str = NAME;
    type Label = Series;
    type Cell = Run;

    fn cell(&mut self, _: &Images, series: Series, training: Training, _: Bytes) -> Run {
        Labelled { label: series, cell: training }
    }

    fn publish(&self, _: &Images, done: &Done<'_>, results: &Results) -> Result<String> {
        let metric = self.metric;
        results.table(NAME, &tables::csv(done))?;
        results.table("epochs", &tables::epochs_csv(done))?;
        results.picture(NAME, picture::draw(done, metric))?;
        if let Some(svg) = picture::draw_statistics(done, metric) {
            results.picture("statistics", svg)?;
        }
        results.summary(&tables::summary(done))?;
        Ok(tables::text(done, metric))
    }
}

/// Every run of the experiment, in the order in which they are trained: shallow nets of the first seed first.
fn planned(arguments: &Arguments, common: &Common) -> Result<Vec<Planned<Series>>> {
    let seeds = common.seeds(QUICK_SEEDS, FULL_SEEDS)?;
    let (epochs, drops) = if common.quick { QUICK_EPOCHS } else { FULL_EPOCHS };
    let asked = arguments.epochs.unwrap_or(epochs);
    let lr_drop = match &arguments.lr_drop {
        Some(drop) => drop.0.clone(),
        None => {
            let mut drops: Vec<usize> = drops.iter().map(|drop| (drop * asked).div_ceil(epochs)).collect();
            drops.dedup();
            drops.retain(|drop| (1..asked).contains(drop));
            drops
        }
    };
    let form: &[usize] = if common.quick { &QUICK_DEPTHS } else { &FULL_DEPTHS };
    let mut depths = if arguments.depths.is_empty() { form.to_vec() } else { arguments.depths.clone() };
    depths.sort_unstable();
    depths.dedup();
    let usual: &[Method] = if common.quick { &QUICK_MODES } else { &FULL_MODES };
    let modes = if arguments.modes.is_empty() { usual } else { &arguments.modes };
    let series = Series::all(&arguments.schemes, modes, arguments.bn_stats);
    let mut planned = Vec::new();
    for seed in seeds {
        for depth in &depths {
            for series in &series {
                let config = RunConfig {
                    depth: *depth,
                    sweep: series.sweep(*depth),
                    epochs: Some(asked),
                    lr_drop: Some(lr_drop.clone()),
                    seed,
                    ..arguments.plain.config()
                };
                planned.push(Planned { label: *series, key: series.key(&config), config });
            }
        }
    }
    Ok(planned)
}
