//! `memory`: bytes and seconds of a training step against depth, in each gradient mode: planned to depths that no machine here
//! could train with stored activations, and measured as far as this one goes.

pub mod cell;
mod growth;
mod picture;
mod rows;
mod tables;

use std::sync::atomic::AtomicBool;

use anyhow::Context;
use rewind::device::Device;
use rewind::error::{Error, Result};
use rewind::memory::human;
use rewind::scheme::Scheme;
use rewind_train::choose::{self, Job, Wanted};
use rewind_train::config::{DeviceChoice, RunConfig};
use rewind_train::host_memory::Room;
use rewind_train::log::Log;
use rewind_train::terminal::say;

use self::cell::{MemorySpec, NAME};
use self::growth::Growth;
use self::rows::{Planned, Row};
use crate::cells::{Cells, Ending};
use crate::method::Method;
use crate::options::Common;
use crate::results::Results;

/// Depths are powers of two from here.
const FIRST_DEPTH: usize = 4;
/// Nets to this depth take no time, and tell what deeper ones take.
const PROBE_DEPTH: usize = 8;
/// A net is measured if it takes at most this share of the memory that is free: the machine is not ours alone.
const MEMORY_SHARE: f64 = 0.5;
const QUICK_SEEDS: u64 = 2;
const FULL_SEEDS: u64 = 3;
/// The longest step that is measured.
const QUICK_STEP_SECONDS: f64 = 1.0;
const FULL_STEP_SECONDS: f64 = 15.0;
/// Steps that are timed at least, and seconds.
const STEPS: usize = 3;
const SECONDS: f64 = 2.0;

#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Arguments {
    /// Deepest net that is planned.
    #[arg(long, value_name = "N", default_value_t = 8192)]
    #[arg(help_heading = "Network")]
    depth_to: usize,
    /// Deepest net that is measured [default: what memory and --step-seconds allow].
    #[arg(long, value_name = "N")]
    #[arg(help_heading = "Measurement")]
    measure_to: Option<usize>,
    /// Longest step that is measured [default: 15; quick: 1].
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    #[arg(help_heading = "Measurement")]
    step_seconds: Option<f64>,
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
    /// Modes, any of backprop, checkpoint, anchors-1, anchors-sqrt, adjoint, corrected, coded-1, -2, -4 and -8, auto, fixed-point-1 to -3
    /// [default: all but anchors-1 and fixed-point-1 to -3].
    #[arg(long, value_name = "MODE", value_delimiter = ',', hide_possible_values = true, hide_default_value = true)]
    #[arg(default_value = "backprop,checkpoint,anchors-sqrt,adjoint,corrected,coded-1,coded-2,coded-4,coded-8,auto")]
    #[arg(help_heading = "Gradient")]
    modes: Vec<Method>,
    /// Images per step.
    #[arg(long, value_name = "N", default_value_t = RunConfig::default().batch)]
    #[arg(help_heading = "Training")]
    batch: usize,
    /// Channels of every block.
    #[arg(long, value_name = "C", default_value_t = RunConfig::default().channels)]
    #[arg(help_heading = "Network")]
    channels: usize,
    /// Device: auto, cpu, cuda or cuda:1.
    #[arg(long, value_name = "DEVICE", default_value_t = RunConfig::default().device)]
    #[arg(help_heading = "Machine")]
    device: DeviceChoice,
    /// Threads that compute [default: one per core].
    #[arg(long, value_name = "N")]
    #[arg(help_heading = "Machine")]
    threads: Option<usize>,
    /// What a process of its own is to measure, as JSON.
    #[arg(long, value_name = "JSON", hide = true)]
    cell: Option<String>,
}

const NOTES: &str = "\
Every net is measured in a process of its own, some steps of it, once per seed; --seeds repeats all. Nets that take \
more than half of the free memory, or longer than --step-seconds per step, are planned only. --quick takes about 12 \
minutes on two cores. Seconds are those of this machine, with whatever else it does at the time: measure on an idle one.";

impl Arguments {
    fn validate(&self) -> Result<()> {
        let refuse = |sentence: String| Err(Error::Usage(sentence));
        let Self { depth_to, step_seconds, batch, channels, .. } = *self;
        if depth_to < 2 * FIRST_DEPTH {
            return refuse(format!("--depth-to {depth_to} must be {} or more", 2 * FIRST_DEPTH));
        }
        if step_seconds.is_some_and(|seconds| !(seconds.is_finite() && seconds > 0.0)) {
            return refuse("--step-seconds must be a number above 0".into());
        }
        // the limits on depth, batch and width are the training program's
        RunConfig { depth: depth_to, batch, channels, threads: self.threads, ..RunConfig::default() }.validate()
    }
}

/// Computes the cells that are not there yet, and publishes all.
///
/// # Errors
/// [`Error::Usage`] if the request makes no sense; whatever reading, computing or writing reports.
pub(crate) fn run(
    arguments: &Arguments,
    common: &Common,
    log: &mut Log,
    stop: &'static AtomicBool,
) -> anyhow::Result<Ending> {
    if let Some(json) = &arguments.cell {
        let spec: MemorySpec = serde_json::from_str(json).context("--cell is for this program's own use")?;
        return choose::on_device(Wanted::new(spec.device, spec.threads), log, OneCell { spec, stop });
    }
    arguments.validate()?;
    let seeds = common.seeds(QUICK_SEEDS, FULL_SEEDS)?;
    let job = Experiment { arguments, common, seeds, stop };
    choose::on_device(Wanted::new(arguments.device, arguments.threads), log, job)
}

/// What a process of its own does.
struct OneCell {
    spec: MemorySpec,
    stop: &'static AtomicBool,
}

impl Job for OneCell {
    type Output = Ending;

    fn on<D: Device<Real = f32>>(self, device: &D, _: DeviceChoice, _: &mut Log) -> anyhow::Result<Ending> {
        let Some(measured) = self.spec.measure(device, self.stop)? else { return Ok(Ending::Interrupted) };
        say(&serde_json::to_string(&measured)?)?;
        Ok(Ending::Complete)
    }
}

struct Experiment<'a> {
    arguments: &'a Arguments,
    common: &'a Common,
    seeds: std::ops::Range<u64>,
    stop: &'static AtomicBool,
}

impl Job for Experiment<'_> {
    type Output = Ending;

    fn on<D: Device<Real = f32>>(self, device: &D, opened: DeviceChoice, log: &mut Log) -> anyhow::Result<Ending> {
        let Self { arguments, common, ref seeds, stop } = self;
        let Room { bytes: free, .. } = Room::of(device).context("this system does not tell how much memory is free")?;
        let limit = (MEMORY_SHARE * free as f64) as u64;
        let rows = self.rows(device, opened)?;
        let growth = Growth::all(device, &rows)?;
        let folder = common.folder(NAME);
        let (cells, results) = (Cells::open(&folder)?, Results::new(&folder));
        let mut text = String::new();
        let mut complete = |nets: &[Planned], log: &mut Log| {
            cells.complete(
                nets,
                log,
                stop,
                |net| net.spec.in_own_process(&[NAME, "--cell"], &net.planned),
                |done| {
                    let rows = rows::with(&rows, done);
                    text = tables::text(&rows, &growth);
                    results.table(NAME, &tables::csv(&rows))?;
                    results.picture(NAME, picture::draw(&rows))?;
                    results.summary(&tables::summary(&rows, &growth))
                },
            )
        };

        let step_seconds =
            arguments.step_seconds.unwrap_or(if common.quick { QUICK_STEP_SECONDS } else { FULL_STEP_SECONDS });
        let fits = |row: &&Row| row.planned.total() <= limit;
        let to = arguments.measure_to.unwrap_or(arguments.depth_to);
        let candidates: Vec<&Row> = rows.iter().filter(|row| row.spec.depth <= to).filter(fits).collect();
        let each_seed = |rows: &[&Row]| -> Vec<Planned> {
            seeds.clone().flat_map(|seed| rows.iter().map(move |row| row.of_seed(seed))).collect()
        };
        let probes: Vec<&Row> = candidates.iter().copied().filter(|row| row.spec.depth <= PROBE_DEPTH).collect();
        let probes = each_seed(&probes);
        let mut ending = complete(&probes, log)?;
        if ending == Ending::Complete {
            let mut chosen = Vec::new();
            for row in candidates {
                if row.spec.depth <= PROBE_DEPTH || expected_seconds(&cells, &probes, &row.spec)? <= step_seconds {
                    chosen.push(row);
                }
            }
            let mut nets = each_seed(&chosen);
            // what was measured with more memory free, or more patience, is shown all the same
            for net in each_seed(&rows.iter().collect::<Vec<_>>()) {
                if !nets.contains(&net) && cells.find(&net)?.is_some() {
                    nets.push(net);
                }
            }
            log.note(&format!(
                "measured: nets that take at most {}, {MEMORY_SHARE} of the free memory, and {step_seconds} s a step",
                human(limit)
            ));
            ending = complete(&nets, log)?;
        }
        say(&(text + &results.written()))?;
        Ok(ending)
    }
}

impl Experiment<'_> {
    /// Every net, by depth, not measured yet.
    fn rows<D: Device>(&self, device: &D, opened: DeviceChoice) -> rewind::Result<Vec<Row>> {
        let Arguments { depth_to, schemes, modes, batch, channels, threads, .. } = self.arguments;
        let depths = std::iter::successors(Some(FIRST_DEPTH), |depth| Some(2 * depth));
        let mut rows: Vec<Row> = Vec::new();
        for depth in depths.take_while(|depth| depth <= depth_to) {
            for scheme in schemes {
                for method in modes {
                    let spec = MemorySpec {
                        scheme: *scheme,
                        method: *method,
                        depth,
                        channels: *channels,
                        batch: *batch,
                        seed: 0,
                        device: opened,
                        threads: *threads,
                        device_name: device.name(),
                        steps: STEPS,
                        seconds: SECONDS,
                    };
                    if !rows.iter().any(|row| row.spec == spec) {
                        rows.push(Row { planned: spec.planned(device)?, spec, measured: Vec::new() });
                    }
                }
            }
        }
        Ok(rows)
    }
}

/// Seconds of a step of a deep net, from those of the deepest that was tried; endless if none was.
fn expected_seconds(cells: &Cells, probes: &[Planned], spec: &MemorySpec) -> Result<f64> {
    let alike = |probe: &&Planned| probe.spec.scheme == spec.scheme && probe.spec.method == spec.method;
    let deepest = probes.iter().filter(alike).max_by_key(|probe| probe.spec.depth);
    let Some(probe) = deepest else { return Ok(f64::INFINITY) };
    let seconds = cells.find(probe)?.and_then(|measured| measured.median_step_seconds());
    Ok(seconds.map_or(f64::INFINITY, |seconds| seconds * spec.depth as f64 / probe.spec.depth as f64))
}
