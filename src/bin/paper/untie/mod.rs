//! `untie` (the paper's table 2): a net with tied weights is trained, every block is given weights of its own, and the net is
//! fine-tuned without storing activations; beside it with backprop, and, to tell what untying gives from what a small learning
//! rate gives, still tied.

mod picture;
mod tables;

use std::fmt;
use std::sync::atomic::AtomicBool;

use rewind::choose::{self, Job};
use rewind::config::{DeviceChoice, RunConfig};
use rewind::device::Device;
use rewind::error::Result;
use rewind::paper::cells::{Cell, Cells, Ending};
use rewind::paper::method::Method;
use rewind::paper::results::Results;
use rewind::paper::training::{Runs, Training};
use rewind::paper::tuning::{Tuned, Tuning};
use rewind::schedule::Schedule;
use rewind::scheme::Scheme;
use rewind::settings::{LrDrop, Sizes};
use rewind::terminal::say;
use rewind::train::budget::check_limit;
use rewind::train::log::Log;
use serde::{Serialize, Serializer};

use crate::common::{Common, written};
use crate::staged::{Images, Staged, recipe};

const NAME: &str = "untie";
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
pub struct Arguments {
    #[command(flatten)]
    staged: Staged,
    /// Residual blocks of each stage [default: 4,4,32,4; quick: 2,2,4].
    #[arg(long, value_name = "N,N")]
    blocks: Option<Sizes>,
    /// The way to the gradient in which the tied net is trained.
    #[arg(long, value_name = "MODE", default_value_t = Method::Corrected, hide_possible_values = true)]
    base: Method,
    /// Ways to fine-tune the untied net.
    #[arg(long, value_name = "MODE", value_delimiter = ',', hide_possible_values = true)]
    #[arg(default_value = "corrected,backprop")]
    modes: Vec<Method>,
    /// Passes over the training images before untying [default: 200; quick: 6].
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Learning rate before untying, from which a cosine goes down.
    #[arg(long, value_name = "X", default_value_t = RunConfig::default().lr, allow_negative_numbers = true)]
    lr: f64,
    /// Passes after untying [default: 50; quick: 4].
    #[arg(long, value_name = "N")]
    tune_epochs: Option<usize>,
    /// Learning rate after untying [default: 0.001; quick, which has some 60 times fewer steps: 0.01].
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    tune_lr: Option<f64>,
    /// Epochs after untying after which it falls to a tenth, or none [default: 40; quick: 3].
    #[arg(long, value_name = "E,E")]
    tune_lr_drop: Option<LrDrop>,
}

const NOTES: &str = "\
Time on two idle cores: --quick takes an estimated quarter of an hour. The full form has the paper's
stages, epochs and rates, and is for a GPU; the paper fine-tunes the third stage alone, this all of
the net. Ctrl-C keeps everything: a run that was begun goes on from its last step.";

/// What became of the tied net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It was trained: nothing yet.
    Base,
    /// Trained further at the small rate, still tied.
    StillTied(Method),
    /// Untied, and fine-tuned.
    Untied(Method),
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::Base => "tied".into(),
            Self::StillTied(method) => format!("still-tied-{method}"),
            Self::Untied(method) => format!("untied-{method}"),
        })
    }
}

/// A training run, and what it does with the tied net.
pub struct UntieRun {
    pub fate: Fate,
    pub tuning: Tuning,
}

impl Serialize for UntieRun {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.tuning.serialize(serializer)
    }
}

impl Cell for UntieRun {
    type Result = Tuned;

    fn key(&self) -> String {
        self.tuning.key()
    }

    fn work(&self) -> f64 {
        self.tuning.work()
    }
}

/// The runs so far, and what they gave.
pub type Done<'a> = [(&'a UntieRun, Tuned)];

pub fn run(arguments: &Arguments, common: &Common, log: &mut Log, stop: &'static AtomicBool) -> anyhow::Result<Ending> {
    let configs = configs(arguments, common)?;
    let images = arguments.staged.open(common, log)?;
    for (_, config) in &configs {
        config.validate_for_data(images.dataset.train.len())?;
    }
    let Staged { device, threads, .. } = arguments.staged;
    let job = Experiment { configs, images, common, stop };
    choose::on_device(device, RunConfig::default().math, threads, log, job)
}

/// Every run, in the order in which they are trained: a seed's tied net, and what becomes of it.
fn configs(arguments: &Arguments, common: &Common) -> Result<Vec<(Fate, RunConfig)>> {
    let quick = common.quick;
    let usual: &[usize] = if quick { &QUICK_BLOCKS } else { &FULL_BLOCKS };
    let blocks = arguments.blocks.as_ref().map_or(usual.to_vec(), |blocks| blocks.0.clone());
    let (epochs, tune_epochs) = if quick { QUICK_EPOCHS } else { FULL_EPOCHS };
    let drop: &[usize] = if quick { &QUICK_DROP } else { &FULL_DROP };
    let deepest = blocks.iter().copied().max().unwrap_or(0);
    let mut configs = Vec::new();
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
            lr_drop: arguments.tune_lr_drop.as_ref().map_or(drop.to_vec(), |drop| drop.0.clone()),
            ..base.clone()
        };
        configs.push((Fate::Base, base.clone()));
        configs.push((Fate::StillTied(arguments.base), tuned(true, arguments.base)));
        configs.extend(arguments.modes.iter().map(|method| (Fate::Untied(*method), tuned(false, *method))));
    }
    configs.iter().try_for_each(|(_, config)| config.validate())?;
    Ok(configs)
}

/// Everything that is settled before the device is opened.
struct Experiment<'a> {
    configs: Vec<(Fate, RunConfig)>,
    images: Images,
    common: &'a Common,
    stop: &'static AtomicBool,
}

impl Job for Experiment<'_> {
    type Output = Ending;

    fn on<D: Device<Real = f32>>(self, device: &D, opened: DeviceChoice, log: &mut Log) -> anyhow::Result<Ending> {
        let Self { configs, images: Images { dataset, id, origin }, common, stop } = self;
        let folder = common.folder(NAME);
        let (runs, results) = (Runs::new(&folder), Results::new(&folder));
        let (mut cells, mut base) = (Vec::<UntieRun>::new(), None::<Training>);
        for (fate, config) in configs {
            let config = RunConfig { data: Some(origin.clone()), device: opened, ..config };
            let training = Training::new(format!("seed{}-{fate}", config.seed), config, id.clone())?;
            check_limit(device, training.config(), &dataset)?;
            let from = if fate == Fate::Base { None } else { base.clone() };
            if fate == Fate::Base {
                base = Some(training.clone());
            }
            cells.push(UntieRun { fate, tuning: Tuning { training, from } });
        }
        let mut text = String::new();
        let ending = Cells::open(&folder)?.complete(
            &cells,
            log,
            stop,
            |run| {
                // of its own: each run has its own bar and pace
                let mut log = common.log();
                log.note(&format!("training {}", run.key()));
                run.tuning.run(device, &dataset, &runs, &mut log, stop)
            },
            |done| {
                let about = done.first().map_or(String::new(), |(run, _)| {
                    let config = run.tuning.training.config();
                    let recipe = recipe(config, run.tuning.training.data(), dataset.train.len());
                    format!("{recipe}, stages of {} residual blocks", Sizes(config.blocks.clone()))
                });
                text = tables::text(done, &about);
                results.table(NAME, &tables::csv(done))?;
                results.picture(NAME, picture::draw(done, &about))?;
                results.summary(&tables::summary(done, &about))
            },
        )?;
        if ending == Ending::Complete {
            // their cells are kept
            cells.iter().try_for_each(|run| runs.remove(&run.tuning.training))?;
        }
        say(&(text + &written(results.folder())))?;
        Ok(ending)
    }
}
