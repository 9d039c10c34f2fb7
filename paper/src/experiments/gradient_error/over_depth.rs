//! The experiment proper: nets of many depths, schemes and kinds of weights.

use std::sync::atomic::AtomicBool;

use rewind::device::Device;
use rewind::error::{Error, Result};
use rewind::net::{Body, Stem};
use rewind::scheme::{Scheme, StepSize};
use rewind::sweep::{BnStatistics, Masks};
use rewind_train::choose::{self, Job};
use rewind_train::config::{Block, DeviceChoice, RunConfig};
use rewind_train::log::Log;
use rewind_train::terminal::say;
use serde_json::Value;

use super::arguments::Arguments;
use super::cell::{GradientSpec, Precision, modes};
use super::nets::Nets;
use super::weights::Weights;
use super::{csv, picture, summary, tables};
use crate::cells::{Cell, Cells, Ending};
use crate::options::Common;
use crate::results::Results;
use crate::training::images::Images;

const NAME: &str = "gradient-error";
const DEPTHS: [usize; 7] = [4, 8, 16, 32, 64, 128, 256];

/// How far a form of the experiment goes.
struct Form {
    seeds: u64,
    train_to: usize,
    train_epochs: usize,
    f64_to: usize,
    f64_seeds: u64,
    f64_ways: &'static [Recomputation],
    /// The deepest net whose sweep recomputes in other ways than the first.
    compare_to: usize,
}

/// What a sweep recomputes with: whose statistics, whose signs.
type Recomputation = (BnStatistics, Masks);

/// The first is what the pictures show.
const WAYS: [Recomputation; 4] = [
    (BnStatistics::Saved, Masks::Recomputed),
    (BnStatistics::Batch, Masks::Recomputed),
    (BnStatistics::Hybrid, Masks::Recomputed),
    (BnStatistics::Saved, Masks::Saved),
];

/// Its slopes to the deepest net are those of the way that the pictures show; the rest is what takes little time.
const QUICK: Form =
    Form { seeds: 1, train_to: 16, train_epochs: 2, f64_to: 8, f64_seeds: 1, f64_ways: &[WAYS[0]], compare_to: 32 };
const FULL: Form = Form {
    seeds: 5,
    train_to: 256,
    train_epochs: 90,
    f64_to: 64,
    f64_seeds: u64::MAX,
    f64_ways: &WAYS,
    compare_to: usize::MAX,
};

/// Computes the cells that are not there yet, and publishes all.
///
/// # Errors
/// [`Error::Usage`] if the request makes no sense; whatever reading, computing or writing reports.
pub fn run(arguments: &Arguments, common: &Common, log: &mut Log, stop: &'static AtomicBool) -> anyhow::Result<Ending> {
    let form = if common.quick { QUICK } else { FULL };
    let form = Form {
        train_to: arguments.train_to.unwrap_or(form.train_to),
        train_epochs: arguments.train_epochs.unwrap_or(form.train_epochs),
        f64_to: arguments.f64_to.unwrap_or(form.f64_to),
        compare_to: arguments.compare_to.unwrap_or(form.compare_to),
        ..form
    };
    let seeds = common.seeds(form.seeds, form.seeds)?;
    let depth_to = arguments.depth_to.unwrap_or(DEPTHS[DEPTHS.len() - 1]);
    if depth_to < DEPTHS[0] {
        return Err(Error::Usage(format!("--depth-to {depth_to} must be {} or more", DEPTHS[0])).into());
    }
    if form.train_epochs == 0 {
        return Err(
            Error::Usage("--train-epochs 0 trains nothing: give 1 or more, or --weights random,smooth".into()).into()
        );
    }
    let images = Images::open(arguments.data.as_deref(), None, None, log)?;
    let there = images.dataset.train.len();
    let batch = arguments.batch(common.quick, there)?;
    let recipe = RunConfig {
        data: Some(images.origin.clone()),
        channels: arguments.channels,
        epochs: Some(form.train_epochs),
        threads: arguments.threads,
        math: arguments.math,
        round_as: arguments.round_as,
        ..RunConfig::default()
    };
    recipe.validate()?;
    recipe.validate_for_data(there, images.dataset.side())?;
    let experiment = Experiment { arguments, common, form, seeds, depth_to, batch, recipe, images, stop };
    choose::on_device(arguments.wanted(), log, experiment)
}

/// Everything that is settled before the device is opened.
struct Experiment<'a> {
    arguments: &'a Arguments,
    common: &'a Common,
    form: Form,
    seeds: std::ops::Range<u64>,
    depth_to: usize,
    batch: usize,
    recipe: RunConfig,
    images: Images,
    stop: &'static AtomicBool,
}

impl Job for Experiment<'_> {
    type Output = Ending;

    fn on<D: Device<Real = f32>>(self, device: &D, opened: DeviceChoice, log: &mut Log) -> anyhow::Result<Ending> {
        let folder = self.common.folder(NAME);
        let recipe = RunConfig { device: opened, ..self.recipe.clone() };
        let nets = Nets::new(&folder, recipe, self.images.id.clone());
        let specs = self.specs(&nets, &self.arguments.device_name(opened))?;
        let cells = Cells::open(&folder)?;
        let results = Results::new(&folder);
        let (metric, dataset, stop, mut text) = (self.arguments.metric, &self.images.dataset, self.stop, String::new());
        let ending = cells.complete(
            &specs,
            log,
            stop,
            |spec| {
                let mut held = None;
                if !spec.weights.are_drawn() {
                    // of its own: a training has its own bar and pace
                    held = nets.trained(device, dataset, spec, &mut self.common.log(), stop)?;
                    if held.is_none() {
                        return Ok(None);
                    }
                }
                spec.run(device, dataset, spec.weights.origin(spec.seed, held.as_ref()), stop)
            },
            |done| {
                text = tables::text(done, metric);
                results.table(NAME, &csv::errors(done))?;
                results.table("blocks", &csv::blocks(done))?;
                results.picture(NAME, picture::error(done, metric))?;
                results.picture("coded", picture::coded(done, metric))?;
                results.picture("altered", picture::altered(done))?;
                results.picture("signs", picture::signs(done, metric))?;
                results.picture("drift", picture::drift(done))?;
                results.picture("blocks", picture::blocks(done))?;
                results.summary(&summary::of(NAME, done))
            },
        )?;
        say(&(text + &results.written()))?;
        Ok(ending)
    }
}

impl Experiment<'_> {
    /// Every cell: a seed after the other, so that a part of them is a result.
    fn specs(&self, nets: &Nets, device: &str) -> Result<Vec<GradientSpec>> {
        let Images { dataset, id, .. } = &self.images;
        let Form { train_to, f64_to, f64_seeds, f64_ways, compare_to, .. } = self.form;
        let mut kinds = self.arguments.weights.clone();
        kinds.sort_by_key(|kind| Weights::ALL.iter().position(|other| other == kind));
        kinds.dedup();
        let (mut specs, mut trained) = (Vec::new(), Vec::new());
        for seed in self.seeds.clone() {
            for weights in &kinds {
                let weights_to = if *weights == Weights::Trained { train_to } else { usize::MAX };
                let double = if seed < f64_seeds { f64_ways } else { &[] };
                for (precision, precision_to, all) in
                    [(Precision::F32, usize::MAX, &WAYS[..]), (Precision::F64, f64_to, double)]
                {
                    let deepest = self.depth_to.min(weights_to).min(precision_to);
                    for ((bn_stats, masks), scheme) in
                        all.iter().flat_map(|way| [Scheme::Euler, Scheme::Heun].map(|scheme| (*way, scheme)))
                    {
                        let deepest = if (bn_stats, masks) == WAYS[0] { deepest } else { deepest.min(compare_to) };
                        for depth in DEPTHS.into_iter().filter(|depth| *depth <= deepest) {
                            let mut spec = GradientSpec {
                                depth,
                                scheme,
                                weights: *weights,
                                source: Value::Null,
                                bn_stats,
                                masks,
                                precision,
                                modes: modes(),
                                device: device.into(),
                                seed,
                                batch: self.batch,
                                channels: self.arguments.channels,
                                stem: Stem::Strided5x5,
                                step_size: StepSize::OverDepth,
                                block: Block::Basic,
                                body: Body::default(),
                                data: format!("{} {}", id.name, id.fingerprint),
                                training_work: 0.0,
                            };
                            if !weights.are_drawn() {
                                let training = nets.training(*weights, scheme, depth, seed)?;
                                spec.source = serde_json::to_value(&training).expect("settings are numbers and names");
                                if !trained.contains(&training) {
                                    spec.training_work = training.work() * dataset.train.len() as f64;
                                    trained.push(training);
                                }
                            }
                            specs.push(spec);
                        }
                    }
                }
            }
        }
        Ok(specs)
    }
}
