//! `depth` (the paper's figure 4): test error against depth, for each scheme and gradient mode, trained from scratch.

mod axis;
mod picture;
mod series;
mod tables;

use std::sync::atomic::AtomicBool;

use rewind::device::Device;
use rewind::error::Result;
use rewind::scheme::Scheme;
use rewind::sweep::BnStatistics;
use rewind_paper::cells::Ending;
use rewind_paper::method::Method;
use rewind_paper::results::Results;
use rewind_paper::training::{Trained, Training};
use rewind_train::config::RunConfig;
use rewind_train::log::Log;
use rewind_train::settings::LrDrop;

use self::series::Series;
use crate::common::{Common, positive};
use crate::plain::Plain;
use crate::trained::{Experiment, Images, Labelled, Planned};

const NAME: &str = "depth";
const QUICK_DEPTHS: [usize; 3] = [2, 8, 32];
const FULL_DEPTHS: [usize; 6] = [2, 4, 8, 16, 32, 64];
const QUICK_SEEDS: u64 = 3;
const FULL_SEEDS: u64 = 5;
/// Epochs, and those after which the learning rate drops.
const QUICK_EPOCHS: (usize, &[usize]) = (5, &[3]);
/// The recipe's.
const FULL_EPOCHS: (usize, &[usize]) = (90, &[30, 60]);

#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub struct Arguments {
    #[command(flatten)]
    plain: Plain,
    /// Depths N [default: 2,4,8,16,32,64; quick: 2,8,32].
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = positive)]
    depths: Vec<usize>,
    /// Of euler, heun and rk4.
    #[arg(
        long,
        value_name = "SCHEME",
        value_delimiter = ',',
        default_value = "euler,heun",
        hide_possible_values = true
    )]
    schemes: Vec<Scheme>,
    /// Of backprop, checkpoint, adjoint, anchors-1, anchors-sqrt, corrected, coded-1, -2, -4 and -8, auto, fixed-point-1 to -3.
    #[arg(long, value_name = "MODE", value_delimiter = ',', hide_possible_values = true)]
    #[arg(default_value = "backprop,adjoint,anchors-1,corrected,coded-2,auto")]
    modes: Vec<Method>,
    /// Statistics of the reverse step, saved or batch [default: saved, and Euler's adjoint, anchors-1 and corrected with both].
    #[arg(long, value_name = "WHICH", hide_possible_values = true)]
    bn_stats: Option<BnStatistics>,
    /// Passes over the training set [default: 90; quick: 5].
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Epochs after which lr falls to a tenth, or none [default: a third and two thirds; quick: 3 of 5].
    #[arg(long, value_name = "E,E")]
    lr_drop: Option<LrDrop>,
    /// What is shown: last, or the best epoch as in the paper's code, which chooses it on test data.
    #[arg(long, value_name = "EPOCH", default_value = "last", hide_possible_values = true)]
    metric: Metric,
}

const NOTES: &str = "\
Time on two idle cores with AVX-512: before it had coded modes --quick took about 75 minutes, of which
depth 32 took most, and with --depths 2,8 it took 17; a mode more adds its share. The full form is for a
GPU, or for days. Ctrl-C keeps everything: a run
that was begun goes on from its last step. Runs go by seed, then by depth, so that a part of them is
a result.";

/// Which epoch's test error is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Metric {
    /// The last one's.
    Last,
    /// The smallest, chosen on test data.
    Best,
}

impl Metric {
    /// Per cent of the test images.
    fn of(self, trained: &Trained) -> f64 {
        100.0
            * match self {
                Self::Last => trained.test_error(),
                Self::Best => trained.best_test_error().0,
            }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Last => "after the last epoch",
            Self::Best => "of the best epoch, chosen on test data",
        }
    }
}

type Run = Labelled<Series, Training>;

/// The runs so far, and what they gave.
pub type Done<'a> = [(&'a Run, Trained)];

pub fn run(arguments: &Arguments, common: &Common, log: &mut Log, stop: &'static AtomicBool) -> anyhow::Result<Ending> {
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

    fn cell<D: Device<Real = f32>>(&mut self, _: &D, _: &Images, series: Series, training: Training) -> Run {
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
    let series = Series::all(&arguments.schemes, &arguments.modes, arguments.bn_stats);
    let mut planned = Vec::new();
    for seed in seeds {
        for depth in &depths {
            for series in &series {
                let config = RunConfig {
                    depth: *depth,
                    sweep: series.sweep(*depth),
                    epochs: Some(asked),
                    lr_drop: lr_drop.clone(),
                    seed,
                    ..arguments.plain.config()
                };
                planned.push(Planned { label: *series, key: series.key(&config), config });
            }
        }
    }
    Ok(planned)
}
