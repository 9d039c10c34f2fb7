//! `tied` (the paper's figure 3a): test accuracy against the blocks of each stage where all blocks of a stage share their
//! weights, so that a deeper net has no more parameters.

mod picture;
mod tables;

use std::sync::atomic::AtomicBool;

use rewind::choose::{self, Job};
use rewind::config::{DeviceChoice, RunConfig};
use rewind::device::Device;
use rewind::error::Result;
use rewind::memory::Bytes;
use rewind::paper::cells::{Cell, Cells, Ending};
use rewind::paper::method::Method;
use rewind::paper::results::Results;
use rewind::paper::training::{Runs, Trained, Training};
use rewind::scheme::Scheme;
use rewind::terminal::say;
use rewind::train::budget;
use rewind::train::log::Log;
use serde::{Serialize, Serializer};

use crate::common::{Common, written};
use crate::staged::{Images, Staged, recipe};

const NAME: &str = "tied";
const QUICK_BLOCKS: [usize; 3] = [1, 2, 4];
const FULL_BLOCKS: [usize; 6] = [1, 2, 4, 8, 16, 32];
const QUICK_SEEDS: u64 = 2;
const FULL_SEEDS: u64 = 5;
const QUICK_EPOCHS: usize = 6;
/// The paper's.
const FULL_EPOCHS: usize = 200;

#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub struct Arguments {
    #[command(flatten)]
    staged: Staged,
    /// Residual blocks of each stage, a net each [default: 1,2,4,8,16,32; quick: 1,2,4].
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    blocks: Vec<usize>,
    /// Of backprop, checkpoint, adjoint, anchors-1, anchors-sqrt, corrected, light and fixed-point-1 to -3.
    #[arg(long, value_name = "MODE", value_delimiter = ',', hide_possible_values = true)]
    #[arg(default_value = "backprop,corrected")]
    modes: Vec<Method>,
    /// Passes over the training images [default: 200; quick: 6].
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Learning rate, from which a cosine goes down.
    #[arg(long, value_name = "X", default_value_t = RunConfig::default().lr, allow_negative_numbers = true)]
    lr: f64,
}

const NOTES: &str = "\
Time on two idle cores: --quick takes an estimated quarter of an hour. The full form has the paper's
stages, batch, epochs and cosine, and is for a GPU. Ctrl-C keeps everything: a run that was begun
goes on from its last step.";

/// A training run, and what tells it from the others.
pub struct TiedRun {
    pub blocks: usize,
    pub method: Method,
    pub training: Training,
    /// What the device holds, as planned.
    pub planned: Bytes,
}

impl Serialize for TiedRun {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.training.serialize(serializer)
    }
}

impl Cell for TiedRun {
    type Result = Trained;

    fn key(&self) -> String {
        self.training.key()
    }

    fn work(&self) -> f64 {
        self.training.work()
    }
}

/// The runs so far, and what they gave.
pub type Done<'a> = [(&'a TiedRun, Trained)];

pub fn run(arguments: &Arguments, common: &Common, log: &mut Log, stop: &'static AtomicBool) -> anyhow::Result<Ending> {
    let configs = configs(arguments, common)?;
    let images = arguments.staged.open(common, log)?;
    for (_, _, config) in &configs {
        config.validate_for_data(images.dataset.train.len())?;
    }
    let Staged { device, threads, .. } = arguments.staged;
    let job = Experiment { configs, images, common, stop };
    choose::on_device(device, RunConfig::default().math, threads, log, job)
}

/// Every run, in the order in which they are trained: all of one seed, shallow nets first.
fn configs(arguments: &Arguments, common: &Common) -> Result<Vec<(usize, Method, RunConfig)>> {
    let seeds = common.seeds(QUICK_SEEDS, FULL_SEEDS)?;
    let usual: &[usize] = if common.quick { &QUICK_BLOCKS } else { &FULL_BLOCKS };
    let mut blocks = if arguments.blocks.is_empty() { usual.to_vec() } else { arguments.blocks.clone() };
    blocks.sort_unstable();
    blocks.dedup();
    let epochs = arguments.epochs.unwrap_or(if common.quick { QUICK_EPOCHS } else { FULL_EPOCHS });
    let stages = arguments.staged.widths(common).len();
    let mut configs = Vec::new();
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
                config.validate()?;
                configs.push((*blocks, *method, config));
            }
        }
    }
    Ok(configs)
}

/// Everything that is settled before the device is opened.
struct Experiment<'a> {
    configs: Vec<(usize, Method, RunConfig)>,
    images: Images,
    common: &'a Common,
    stop: &'static AtomicBool,
}

impl Job for Experiment<'_> {
    type Output = Ending;

    fn on<D: Device<Real = f32>>(self, device: &D, opened: DeviceChoice, log: &mut Log) -> anyhow::Result<Ending> {
        let Self { configs, images: Images { dataset, id, origin }, common, stop } = self;
        let mut cells = Vec::new();
        for (blocks, method, config) in configs {
            let config = RunConfig { data: Some(origin.clone()), device: opened, ..config };
            let key = format!("seed{}-blocks{blocks:04}-{method}", config.seed);
            let training = Training::new(key, config, id.clone())?;
            budget::check_limit(device, training.config(), &dataset)?;
            let planned = budget::planned(device, training.config(), &dataset);
            cells.push(TiedRun { blocks, method, training, planned });
        }
        let folder = common.folder(NAME);
        let (runs, results) = (Runs::new(&folder), Results::new(&folder));
        let mut text = String::new();
        let ending = Cells::open(&folder)?.complete(
            &cells,
            log,
            stop,
            |run| {
                // of its own: each run has its own bar and pace
                let mut log = common.log();
                log.note(&format!("training {}", run.key()));
                runs.train(device, &dataset, &run.training, &mut log, stop)
            },
            |done| {
                // their cells are kept
                done.iter().try_for_each(|(run, _)| runs.remove(&run.training))?;
                let about = done.first().map_or(String::new(), |(run, _)| {
                    let config = run.training.config();
                    let recipe = recipe(config, run.training.data(), dataset.train.len());
                    format!("{recipe}, {} epochs, lr {} on a cosine", config.epochs.unwrap_or(0), config.lr)
                });
                text = tables::text(done, &about);
                results.table(NAME, &tables::csv(done))?;
                results.picture(NAME, picture::draw(done, &about))?;
                results.summary(&tables::summary(done, &about))
            },
        )?;
        say(&(text + &written(results.folder())))?;
        Ok(ending)
    }
}
