//! The experiment on a checkpoint of the user's: what each mode would do to the gradient of that net.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use rewind::code::CodedPass;
use rewind::data::Dataset;
use rewind::device::Device;
use rewind::error::Error;
use rewind::sweep::{BnStatistics, Gradient, Masks, Way};
use rewind_train::checkpoint::{Checkpoint, DatasetId, RunState};
use rewind_train::choose::{self, Job};
use rewind_train::config::{DeviceChoice, RunConfig, SYNTHETIC};
use rewind_train::log::Log;
use rewind_train::source;
use rewind_train::terminal::say;

use super::arguments::Arguments;
use super::cell::Done;
use super::cell::{GradientSpec, Precision, modes};
use super::errors::ModeErrors;
use super::numbers::{Group, by_depth, seeds};
use super::weights::{Origin, Weights};
use super::{csv, picture, summary, tables};
use crate::cells::{Cells, Ending};
use crate::distance::MOST;
use crate::method::Method;
use crate::options::Common;
use crate::results::Results;
use crate::spread::Spread;

const NAME: &str = "gradient-error-checkpoint";
const QUICK_BATCHES: u64 = 2;
const FULL_BATCHES: u64 = 5;
/// The reference is slow.
const F64_TO: usize = 64;
/// An error that is small beside what a batch's own choice of images does to the gradient.
const SMALL: f64 = 0.01;

/// Computes the cells that are not there yet, and publishes all.
///
/// # Errors
/// [`Error::Usage`] if the request makes no sense; whatever reading, computing or writing reports.
pub fn run(
    path: &Path,
    arguments: &Arguments,
    common: &Common,
    log: &mut Log,
    stop: &'static AtomicBool,
) -> anyhow::Result<Ending> {
    let seeds = common.seeds(QUICK_BATCHES, FULL_BATCHES)?;
    // a run's folder says as much
    let path = &if path.is_dir() { path.join("checkpoint.safetensors") } else { path.into() };
    let checkpoint = Checkpoint::open(path)?;
    let config = checkpoint.state().config.clone();
    let named = arguments.data.as_deref().or(config.data.as_deref());
    if let (None, Some(folder)) = (&arguments.data, named)
        && folder != SYNTHETIC
        && !Path::new(folder).is_dir()
    {
        let problem = format!("its data was read from {folder}, which is not here: name the folder with --data");
        return Err(Error::Checkpoint { path: path.into(), problem }.into());
    }
    let dataset = source::open_whole(named, config.seed, config.threads)?.dataset;
    let data = DatasetId::of(&dataset);
    match (&arguments.data, checkpoint.check_dataset(&data)) {
        (_, Ok(())) => {}
        (None, Err(error)) => return Err(error.into()),
        (Some(_), Err(_)) => log.note(&format!(
            "the net was trained on other data ({}): this measures it on {}",
            checkpoint.state().dataset.name,
            data.name
        )),
    }
    let batch = arguments.batch(common.quick, dataset.train.len())?;
    let f64_to = arguments.f64_to.unwrap_or(F64_TO);
    let depth = config.extent().0;
    if depth > f64_to {
        log.note(&format!("no f64 for {depth} residual blocks, which take long; --f64-to {depth} asks for it"));
    }
    let body = config.body()?;
    // a net that keeps no statistics keeps no signs with them
    let signs = |masks| masks != Masks::Saved || config.sweep.bn_stats != BnStatistics::Batch;
    let spec = |(precision, masks, seed)| GradientSpec {
        depth,
        scheme: config.sweep.scheme,
        weights: Weights::Checkpoint,
        source: checkpoint.checksum().into(),
        bn_stats: config.sweep.bn_stats,
        masks,
        precision,
        modes: modes(),
        device: String::new(),
        seed,
        batch,
        channels: config.channels,
        stem: config.stem(),
        step_size: config.step_size,
        block: config.block,
        body,
        data: format!("{} {}", data.name, data.fingerprint),
        training_work: 0.0,
    };
    let double = if depth <= f64_to { 0..if common.quick { 1 } else { seeds.end } } else { 0..0 };
    let recomputed = seeds.clone().map(|seed| (Precision::F32, Masks::Recomputed, seed));
    let all = recomputed.chain(double.map(|seed| (Precision::F64, Masks::Recomputed, seed)));
    let all = all.chain(seeds.map(|seed| (Precision::F32, Masks::Saved, seed))).filter(|(_, masks, _)| signs(*masks));
    let specs = all.map(spec).collect();
    let measurement = Measurement { path, checkpoint, specs, dataset, arguments, common, stop };
    choose::on_device(arguments.wanted(), log, measurement)
}

/// Everything that is settled before the device is opened.
struct Measurement<'a> {
    path: &'a Path,
    checkpoint: Checkpoint,
    specs: Vec<GradientSpec>,
    dataset: Dataset,
    arguments: &'a Arguments,
    common: &'a Common,
    stop: &'static AtomicBool,
}

impl Job for Measurement<'_> {
    type Output = Ending;

    fn on<D: Device<Real = f32>>(self, device: &D, opened: DeviceChoice, log: &mut Log) -> anyhow::Result<Ending> {
        let Self { path, checkpoint, mut specs, dataset, arguments, common, stop } = self;
        for spec in &mut specs {
            spec.device = arguments.device_name(opened);
        }
        let folder = common.folder(NAME);
        let (cells, results) = (Cells::open(&folder)?, Results::new(&folder));
        let mut text = String::new();
        let ending = cells.complete(
            &specs,
            log,
            stop,
            |spec| spec.run(device, &dataset, Origin::Held(&checkpoint), stop),
            |done| {
                text = self::text(path, checkpoint.state(), done);
                results.table(NAME, &csv::errors(done))?;
                results.table("blocks", &csv::blocks(done))?;
                results.picture("blocks", picture::blocks(done))?;
                results.summary(&summary::of(NAME, done))
            },
        )?;
        say(&(text + &results.written()))?;
        Ok(ending)
    }
}

/// What a mode's cells say.
struct Row {
    mode: Method,
    single: Spread,
    double: Option<Spread>,
    /// With the forward pass's signs.
    with_signs: Option<f64>,
    cosine: f64,
    drift: Option<f64>,
    worst_block: f64,
    /// Of the pass that codes alter: how far it is from its own exact gradient and from the plain pass's.
    altered: Option<(f64, f64)>,
}

impl Row {
    /// Its error, the larger of f32's and f64's.
    fn error(&self) -> f64 {
        self.double.map_or(self.single.mean, |double| double.mean.max(self.single.mean))
    }
}

fn rows(done: &Done<'_>, group: Group) -> Vec<Row> {
    let row = |mode| {
        let of = |precision, value: &dyn Fn(&ModeErrors) -> Option<f64>| {
            by_depth(done, Group { precision, ..group }, mode, value).first().map(|(_, spread)| *spread)
        };
        let mean = |value: &dyn Fn(&ModeErrors) -> Option<f64>| of(Precision::F32, value).map(|spread| spread.mean);
        Some(Row {
            mode,
            single: of(Precision::F32, &|errors| Some(errors.error))?,
            double: of(Precision::F64, &|errors| Some(errors.error)),
            with_signs: by_depth(done, Group { masks: Masks::Saved, ..group }, mode, |errors| Some(errors.error))
                .first()
                .map(|(_, spread)| spread.mean),
            cosine: mean(&|errors| Some(errors.cosine))?,
            drift: mean(&|errors| errors.drift),
            worst_block: mean(&|errors| errors.blocks.iter().copied().reduce(f64::max))?,
            altered: mean(&|errors| Some(errors.altered?.own)).zip(mean(&|errors| Some(errors.altered?.error))),
        })
    };
    modes().into_iter().filter_map(row).collect()
}

/// The net, a line per mode, and what that means for whoever trains it.
fn text(path: &Path, state: &RunState, done: &Done<'_>) -> String {
    let (Some(group), Some((spec, measured))) = (Group::all(done).first().copied(), done.first()) else {
        return String::new();
    };
    let RunConfig { step_size, sweep, .. } = &state.config;
    let (net, deepest) = (state.config.net_name(), deepest(&state.config));
    let test_error = measured.training.and_then(|training| training.test_error);
    let floor =
        by_depth(done, Group { precision: Precision::F64, ..group }, Method::Backprop, |errors| Some(errors.error));
    // writing to a string cannot fail
    let mut text = format!(
        "\n{}: {}, {net}, step size {step_size}, {} training steps{}\n\
         {}, batch {}, {} statistics; f32 on {}: mean over batches ({}), f64: ({})\n\n",
        path.display(),
        sweep.scheme,
        state.progress.global_step,
        test_error
            .map_or(String::new(), |error| format!(", test error {:.2} % at the end of its last epoch", 100.0 * error)),
        spec.data.split(' ').next().unwrap_or_default(),
        spec.batch,
        group.bn_stats.name(),
        spec.device,
        seeds(&by_depth(done, group, Method::Adjoint, |errors| Some(errors.error))),
        seeds(&floor),
    );
    let _ = writeln!(
        text,
        "{:<13} {:>5}  {:>10}  {:>10}  {:>11}  {:>10}  {:>10}  {:>11}  flags",
        "mode", "cost", "error f32", "error f64", "saved signs", "cosine", "drift", "worst block"
    );
    let number = |value: f64| if value >= MOST { "no number".into() } else { format!("{value:.2e}") };
    let or_dash = |value: Option<f64>| value.map_or("-".into(), number);
    let rows = rows(done, group);
    for Row { mode, single, double, with_signs, cosine, drift, worst_block, .. } in &rows {
        let (double, drift) = (or_dash(double.map(|spread| spread.mean)), or_dash(*drift));
        let signs = or_dash(*with_signs);
        let (cost, flags) = (format!("{}F", mode.evaluations()), mode.flags(sweep.scheme, deepest));
        let _ = writeln!(
            text,
            "{mode:<13} {cost:>5}  {:>10}  {double:>10}  {signs:>11}  {cosine:>10.6}  {drift:>10}  {:>11}  {flags}",
            number(single.mean),
            number(*worst_block)
        );
    }
    if let Some((_, floor)) = floor.first() {
        let _ = writeln!(text, "{:<13} {:>5}  rounding, f32 against f64: {:.2e}", "backprop", "3F", floor.mean);
    }
    let _ = writeln!(
        text,
        "cost: evaluations of f a block and training step; error: |g - g*| / |g*| from backprop, all blocks, and in the worst one; \
         saved signs: the error in f32 with --masks saved"
    );
    text + &meaning(state, &rows)
}

/// Residual blocks of the deepest stage, which decide how far anchors are apart.
fn deepest(config: &RunConfig) -> usize {
    config.depths().iter().copied().max().unwrap_or(0)
}

/// The same in words.
fn meaning(state: &RunState, rows: &[Row]) -> String {
    let config = &state.config;
    let sweep = config.sweep;
    let (scheme, depth) = (sweep.scheme, deepest(config));
    let percent = |row: &Row| match 100.0 * row.error() {
        wild if wild >= 100.0 * MOST => "no number".to_string(),
        small if small < 0.005 => "under 0.01 %".to_string(),
        percent => format!("{percent:.2} %"),
    };
    let mut text = String::from("\nWhat this means for this net: ");
    let own = rows.iter().find(|row| {
        let of_mode = row.mode.sweep(scheme, depth);
        let same_codes =
            !sweep.gradient.codes() || (of_mode.bits, of_mode.coded_pass) == (sweep.bits, sweep.coded_pass);
        let of_mode = (of_mode.gradient, of_mode.fixed_point, of_mode.anchors);
        of_mode == (sweep.gradient, sweep.fixed_point, sweep.anchors) && same_codes
    });
    match own {
        Some(row) => {
            let _ = write!(
                text,
                "the gradient that it was trained with ({}) is {} from backprop's. ",
                row.mode,
                percent(row)
            );
        }
        None if sweep.gradient == Gradient::Auto => {
            let ways = state.progress.ways.iter().flatten();
            let coded = ways.clone().filter(|way| matches!(way, Way::Coded(_))).count();
            let _ = write!(
                text,
                "it was trained with auto, which coded {coded} of {} steps in the end and rebuilt the others as corrected does. ",
                ways.count()
            );
        }
        None if sweep.coded_pass == CodedPass::Altered => {
            let _ = write!(text, "it was trained with {}, in a pass that its codes alter. ", sweep.gradient);
        }
        None if !sweep.gradient.reconstructs() => {
            let _ = write!(text, "it was trained with {}, which is exact. ", sweep.gradient);
        }
        None => {}
    }
    let small = 100.0 * SMALL;
    let mut within: Vec<&Row> = rows.iter().filter(|row| row.error() <= SMALL).collect();
    // the cheapest first, of equal cost those without stored states, then the nearest
    within.sort_by(|a, b| {
        let stores = |row: &Row| row.mode.sweep(scheme, depth).anchors.is_some() || Method::CODED.contains(&row.mode);
        let cost = a.mode.evaluations().cmp(&b.mode.evaluations());
        cost.then(stores(a).cmp(&stores(b))).then(a.error().total_cmp(&b.error()))
    });
    if let Some(best) = within.first() {
        let names: Vec<String> = within.iter().map(|row| format!("{} ({})", row.mode, percent(row))).collect();
        let _ = writeln!(
            text,
            "Within {small} % of backprop's gradient: {}. The cheapest is {}, at {} evaluations of f a block where \
             backprop takes 3: train_cifar {}. The figures are of these weights and batches; they change as the net trains.",
            names.join(", "),
            best.mode,
            best.mode.evaluations(),
            best.mode.flags(scheme, depth)
        );
    } else if let Some(nearest) = rows.iter().min_by(|a, b| a.error().total_cmp(&b.error())) {
        let _ = writeln!(
            text,
            "No mode here stays within {small} % of backprop's gradient; the nearest is {} with {}. \
             --gradient checkpoint is exact, at 4 evaluations of f a block and about sqrt N stored states.",
            nearest.mode,
            percent(nearest)
        );
    }
    let altered = || rows.iter().filter_map(|row| Some((row.mode, row.altered?)));
    if let Some(most) = altered().map(|(_, (own, _))| own).reduce(f64::max) {
        let names: Vec<String> = altered().map(|(mode, (_, error))| format!("{mode} {:.2} %", 100.0 * error)).collect();
        let _ = writeln!(
            text,
            "With --coded-pass altered the codes' gradient is exact for the pass that they alter (measured: at most {} \
             from its own), which is another one than evaluation runs; from the plain pass's it is off by: {}.",
            tables::rounded(most),
            names.join(", ")
        );
    }
    text
}
