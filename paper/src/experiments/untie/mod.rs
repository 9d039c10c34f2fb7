//! `untie` (the paper's table 2): a net with tied weights is trained, every block is given weights of its own, and the net is
//! fine-tuned without storing activations; beside it with backprop, and, to tell what untying gives from what a small learning
//! rate gives, still tied.

pub mod cell;
mod picture;
mod tables;

use std::sync::atomic::AtomicBool;

use rewind::error::Result;
use rewind::memory::Bytes;
use rewind::scheme::Scheme;
use rewind_train::config::RunConfig;
use rewind_train::log::Log;
use rewind_train::schedule::Schedule;
use rewind_train::settings::{LrDrop, Sizes};

use self::cell::{Done, Fate, NAME, Run, Tuning};
use crate::cells::Ending;
use crate::method::Method;
use crate::options::Common;
use crate::options::staged::{Staged, recipe};
use crate::results::Results;
use crate::training::Training;
use crate::training::experiment::{Experiment, Labelled, Planned};
use crate::training::images::Images;

const QUICK_BLOCKS: [usize; 3] = [2, 2, 4];
/// The paper's: the third stage is the deep one.
const FULL_BLOCKS: [usize; 4] = [4, 4, 32, 4];
const QUICK_SEEDS: u64 = 2;
const FULL_SEEDS: u64 = 5;
/// Epochs of the tied net and of the fine-tuning.
const QUICK_EPOCHS: (usize, usize) = (6, 4);
const FULL_EPOCHS: (usize, usize) = (200, 50);
/// Learning rate of the fine-tuning. At the paper's, the small form's steps change hardly a prediction.
const QUICK_TUNE_LR: f64 = 1e-2;
const FULL_TUNE_LR: f64 = 1e-3;
/// Of the fine-tuning, the epochs after which its rate drops.
const QUICK_DROP: [usize; 1] = [3];
const FULL_DROP: [usize; 1] = [40];

#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    staged: Staged,
    /// Residual blocks of each stage [default: 4,4,32,4; quick: 2,2,4].
    #[arg(long, value_name = "N,N")]
    #[arg(help_heading = "Network")]
    blocks: Option<Sizes>,
    /// The way to the gradient in which the tied net is trained.
    #[arg(long, value_name = "MODE", default_value_t = Method::Corrected, hide_possible_values = true)]
    #[arg(help_heading = "Gradient")]
    base: Method,
    /// Ways to fine-tune the untied net: any of the modes of `tied`.
    #[arg(long, value_name = "MODE", value_delimiter = ',', hide_possible_values = true)]
    #[arg(default_value = "corrected,coded-2,auto,backprop")]
    #[arg(help_heading = "Gradient")]
    modes: Vec<Method>,
    /// Passes over the training images before untying [default: 200; quick: 6].
    #[arg(long, value_name = "N")]
    #[arg(help_heading = "Training")]
    epochs: Option<usize>,
    /// Learning rate before untying, from which a cosine goes down.
    #[arg(long, value_name = "X", default_value_t = RunConfig::default().lr, allow_negative_numbers = true)]
    #[arg(help_heading = "Training")]
    lr: f64,
    /// Passes after untying [default: 50; quick: 4].
    #[arg(long, value_name = "N")]
    #[arg(help_heading = "Training")]
    tune_epochs: Option<usize>,
    /// Learning rate after untying [default: 0.001; quick, which has some 60 times fewer steps: 0.01].
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    #[arg(help_heading = "Training")]
    tune_lr: Option<f64>,
    /// Epochs after untying after which it falls to a tenth, or none [default: 40; quick: 3].
    #[arg(long, value_name = "E,E")]
    #[arg(help_heading = "Training")]
    tune_lr_drop: Option<LrDrop>,
}

const NOTES: &str = "\
Time on two idle cores with AVX-512: before it had coded modes --quick took about 3 minutes; a mode more adds its \
share. The full form has the paper's stages, epochs and rates, and is for a GPU; the paper fine-tunes the third \
stage alone, this all of the net. Ctrl-C keeps everything: a run that was begun goes on from its last step.";

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
    arguments.staged.setting(common, log, stop)?.conduct(Untie { base: None }, planned, log)
}

/// Every run, in the order in which they are trained: a seed's tied net, and what becomes of it.
fn planned(arguments: &Arguments, common: &Common) -> Result<Vec<Planned<Fate>>> {
    let quick = common.quick;
    let usual: &[usize] = if quick { &QUICK_BLOCKS } else { &FULL_BLOCKS };
    let blocks = arguments.blocks.as_ref().map_or(usual.to_vec(), |blocks| blocks.0.clone());
    let (epochs, tune_epochs) = if quick { QUICK_EPOCHS } else { FULL_EPOCHS };
    let drop: &[usize] = if quick { &QUICK_DROP } else { &FULL_DROP };
    let deepest = blocks.iter().copied().max().unwrap_or(0);
    let mut planned = Vec::new();
    for seed in common.seeds(QUICK_SEEDS, FULL_SEEDS)? {
        let base = RunConfig {
            sweep: arguments.base.sweep(Scheme::Euler, deepest),
            epochs: Some(arguments.epochs.unwrap_or(epochs)),
            lr: arguments.lr,
            seed,
            ..arguments.staged.config(common, blocks.clone())
        };
        let tuned = |tied, method: Method| RunConfig {
            tied,
            sweep: method.sweep(Scheme::Euler, deepest),
            epochs: Some(arguments.tune_epochs.unwrap_or(tune_epochs)),
            lr: arguments.tune_lr.unwrap_or(if quick { QUICK_TUNE_LR } else { FULL_TUNE_LR }),
            lr_schedule: Schedule::Step,
            lr_drop: Some(arguments.tune_lr_drop.as_ref().map_or(drop.to_vec(), |drop| drop.0.clone())),
            ..base.clone()
        };
        let mut add =
            |fate: Fate, config| planned.push(Planned { label: fate, key: format!("seed{seed}-{fate}"), config });
        add(Fate::Base, base.clone());
        add(Fate::StillTied(arguments.base), tuned(true, arguments.base));
        arguments.modes.iter().for_each(|method| add(Fate::Untied(*method), tuned(false, *method)));
    }
    Ok(planned)
}

struct Untie {
    /// The tied net of the seed whose runs are made.
    base: Option<Training>,
}

impl Experiment for Untie {
    const NAME: &'static str = NAME;
    type Label = Fate;
    type Cell = Run;

    fn cell(&mut self, _: &Images, fate: Fate, training: Training, _: Bytes) -> Run {
        let from = if fate == Fate::Base { None } else { self.base.clone() };
        if fate == Fate::Base {
            self.base = Some(training.clone());
        }
        Labelled { label: fate, cell: Tuning { training, from } }
    }

    fn publish(&self, images: &Images, done: &Done<'_>, results: &Results) -> Result<String> {
        let about = done.first().map_or(String::new(), |(run, _)| {
            let config = run.cell.training.config();
            format!("{}, stages of {} residual blocks", recipe(config, images), Sizes(config.blocks.clone()))
        });
        results.table(NAME, &tables::csv(done))?;
        results.picture(NAME, picture::draw(done, &about))?;
        results.summary(&tables::summary(done, &about))?;
        Ok(tables::text(done, &about))
    }
}
