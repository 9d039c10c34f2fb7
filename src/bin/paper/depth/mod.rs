//! `depth` (the paper's figure 4): test error against depth, for each scheme and gradient mode, trained from scratch.

mod axis;
mod picture;
mod series;
mod tables;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rewind::choose::{self, Job};
use rewind::config::{DeviceChoice, RunConfig};
use rewind::data::Dataset;
use rewind::data::source::{self, Source};
use rewind::device::Device;
use rewind::error::Result;
use rewind::paper::cells::{Cell, Cells, Ending};
use rewind::paper::method::Method;
use rewind::paper::results::Results;
use rewind::paper::training::{Runs, Trained, Training};
use rewind::scheme::Scheme;
use rewind::settings::LrDrop;
use rewind::sweep::BnStatistics;
use rewind::terminal::say;
use rewind::train::budget::check_limit;
use rewind::train::checkpoint::DatasetId;
use rewind::train::log::Log;
use serde::{Serialize, Serializer};

use self::series::Series;
use crate::common::{Common, written};

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
    /// Folder of CIFAR's binary files, or synthetic [default: datasets/, or synthetic].
    #[arg(long, value_name = "DIR|synthetic")]
    data: Option<String>,
    /// Depths N [default: 2,4,8,16,32,64; quick: 2,8,32].
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    depths: Vec<usize>,
    /// Of euler and heun.
    #[arg(
        long,
        value_name = "SCHEME",
        value_delimiter = ',',
        default_value = "euler,heun",
        hide_possible_values = true
    )]
    schemes: Vec<Scheme>,
    /// Of backprop, checkpoint, adjoint, anchors-1, anchors-sqrt, corrected, light and fixed-point-1 to -3.
    #[arg(long, value_name = "MODE", value_delimiter = ',', hide_possible_values = true)]
    #[arg(default_value = "backprop,adjoint,anchors-1,corrected")]
    modes: Vec<Method>,
    /// Statistics of the reverse step, saved or batch [default: saved, and Euler's adjoint and corrected with both].
    #[arg(long, value_name = "WHICH", hide_possible_values = true)]
    bn_stats: Option<BnStatistics>,
    /// Passes over the training set [default: 90; quick: 5].
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Epochs after which lr falls to a tenth, or none [default: a third and two thirds; quick: 3 of 5].
    #[arg(long, value_name = "E,E")]
    lr_drop: Option<LrDrop>,
    /// Learning rate.
    #[arg(long, value_name = "X", default_value_t = RunConfig::default().lr, allow_negative_numbers = true)]
    lr: f64,
    /// Images a step.
    #[arg(long, value_name = "N", default_value_t = RunConfig::default().batch)]
    batch: usize,
    /// Channels of every block.
    #[arg(long, value_name = "C", default_value_t = RunConfig::default().channels)]
    channels: usize,
    /// What is shown: last, or the best epoch as in the paper's code, which chooses it on test data.
    #[arg(long, value_name = "EPOCH", default_value = "last", hide_possible_values = true)]
    metric: Metric,
    /// auto, cpu, cuda or cuda:1.
    #[arg(long, value_name = "DEVICE", default_value_t = RunConfig::default().device)]
    device: DeviceChoice,
    /// Threads that compute [default: one a core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

const NOTES: &str = "\
Time on two idle cores: --quick takes an estimated 85 minutes, of which depth 32 takes most; --depths 2,8
cuts it to 20. The full form is for a GPU, or for days. Ctrl-C keeps everything: a run that was
begun goes on from its last step. Runs go by seed, then by depth, so that a part of them is a result.";

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

/// A training run, and the series that it belongs to.
pub struct Run {
    pub series: Series,
    pub training: Training,
}

impl Serialize for Run {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.training.serialize(serializer)
    }
}

impl Cell for Run {
    type Result = Trained;

    fn key(&self) -> String {
        self.training.key()
    }

    fn work(&self) -> f64 {
        self.training.work()
    }
}

/// The runs so far, and what they gave.
pub type Done<'a> = [(&'a Run, Trained)];

pub fn run(arguments: &Arguments, common: &Common, log: &mut Log, stop: &'static AtomicBool) -> anyhow::Result<Ending> {
    let seeds = common.seeds(QUICK_SEEDS, FULL_SEEDS)?;
    let configs = configs(arguments, common, seeds)?;
    // always the same images, whatever the seeds of the nets
    let Source { dataset, origin, notice } = source::open(arguments.data.as_deref(), 0)?;
    if let Some(notice) = notice {
        log.note(&notice);
    }
    let data = DatasetId { name: dataset.name.clone(), fingerprint: dataset.fingerprint() };
    for (_, config) in &configs {
        config.validate_for_data(dataset.train.len())?;
    }
    let Arguments { device, threads, metric, .. } = *arguments;
    let job = Experiment { configs, origin, data, dataset: Arc::new(dataset), common, metric, stop };
    choose::on_device(device, RunConfig::default().math, threads, log, job)
}

/// Everything that is settled before the device is opened.
struct Experiment<'a> {
    configs: Vec<(Series, RunConfig)>,
    origin: String,
    data: DatasetId,
    dataset: Arc<Dataset>,
    common: &'a Common,
    metric: Metric,
    stop: &'static AtomicBool,
}

impl Job for Experiment<'_> {
    type Output = Ending;

    fn on<D: Device<Real = f32>>(self, device: &D, opened: DeviceChoice, log: &mut Log) -> anyhow::Result<Ending> {
        let Self { configs, origin, data, dataset, common, metric, stop } = self;
        let mut cells = Vec::new();
        for (series, config) in configs {
            let config = RunConfig { data: Some(origin.clone()), device: opened, ..config };
            let training = Training::new(series.key(&config), config, data.clone())?;
            check_limit(device, training.config(), &dataset)?;
            cells.push(Run { series, training });
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
                text = tables::text(done, metric);
                results.table(NAME, &tables::csv(done))?;
                results.table("epochs", &tables::epochs_csv(done))?;
                results.picture(NAME, picture::draw(done, metric))?;
                if let Some(svg) = picture::draw_statistics(done, metric) {
                    results.picture("statistics", svg)?;
                }
                results.summary(&tables::summary(done))
            },
        )?;
        say(&(text + &written(results.folder())))?;
        Ok(ending)
    }
}

/// Every run of the experiment, in the order in which they are trained: shallow nets of the first seed first.
fn configs(arguments: &Arguments, common: &Common, seeds: std::ops::Range<u64>) -> Result<Vec<(Series, RunConfig)>> {
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
    let mut configs = Vec::new();
    for seed in seeds {
        for depth in &depths {
            for series in &series {
                let config = RunConfig {
                    depth: *depth,
                    channels: arguments.channels,
                    sweep: series.sweep(*depth),
                    epochs: Some(asked),
                    batch: arguments.batch,
                    lr: arguments.lr,
                    lr_drop: lr_drop.clone(),
                    seed,
                    threads: arguments.threads,
                    ..RunConfig::default()
                };
                config.validate()?;
                configs.push((*series, config));
            }
        }
    }
    Ok(configs)
}
