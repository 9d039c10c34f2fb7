//! `linear-weights` (the paper's figure 2 and the theorem behind it): the linear residual network `x <- x + theta_n x / N` under
//! gradient flow scaled by N. Weights that start smooth in depth stay so, and the net tends to a limit ODE as 1/N.

pub mod cell;
pub mod limit;
mod matrix;
pub mod net;
mod picture;
pub mod start;
mod tables;

use std::sync::atomic::AtomicBool;

use rewind::error::{Error, Result};
use rewind_train::log::Log;
use rewind_train::terminal::say;

use self::cell::{FlowSpec, NAME};
use self::start::Start;
use crate::cells::{Cells, Ending};
use crate::options::Common;
use crate::results::Results;

/// All powers of two.
const DEPTHS: [usize; 7] = [16, 32, 64, 128, 256, 512, 1024];
const QUICK_SEEDS: u64 = 3;
const FULL_SEEDS: u64 = 10;
/// The full form carries the flow on to a smaller loss.
const QUICK_STOP_LOSS: f64 = 1e-6;
const FULL_STOP_LOSS: f64 = 1e-10;
/// As in the paper's code.
const MOST_STEPS: usize = 10_000;
/// The cost grows as the cube; beyond, a cell takes hours.
const DIM_MAX: usize = 64;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Rows and columns of the weights.
    #[arg(long, value_name = "D", default_value_t = 2)]
    #[arg(help_heading = "Network")]
    dim: usize,
    /// Distance of the target from the identity; the theorem asks for a small loss at the start.
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    #[arg(help_heading = "Flow")]
    distance: f64,
    /// Time of an explicit Euler step of the flow; the code of the paper has 1.
    #[arg(long, value_name = "X", default_value_t = 0.1, allow_negative_numbers = true)]
    #[arg(help_heading = "Flow")]
    time_step: f64,
}

impl Arguments {
    fn validate(&self) -> Result<()> {
        let refuse = |sentence: String| Err(Error::Usage(sentence));
        let Self { dim, distance, time_step } = *self;
        if !(1..=DIM_MAX).contains(&dim) {
            return refuse(format!("--dim {dim} must be from 1 to {DIM_MAX}"));
        }
        if !(distance.is_finite() && distance >= 0.0) {
            return refuse(format!("--distance {distance} must be 0 or more"));
        }
        if !(time_step.is_finite() && time_step > 0.0) {
            return refuse(format!("--time-step {time_step} must be above 0"));
        }
        Ok(())
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
    arguments.validate()?;
    let seeds = common.seeds(QUICK_SEEDS, FULL_SEEDS)?;
    let stop_loss = if common.quick { QUICK_STOP_LOSS } else { FULL_STOP_LOSS };
    let Arguments { dim, distance, time_step } = *arguments;
    let mut specs = Vec::new();
    for start in Start::ALL {
        for seed in seeds.clone() {
            specs.extend(DEPTHS.map(|depth| FlowSpec {
                depth,
                dim,
                start,
                seed,
                distance,
                time_step,
                stop_loss,
                most_steps: MOST_STEPS,
            }));
        }
    }
    let folder = common.folder(NAME);
    let cells = Cells::open(&folder)?;
    let results = Results::new(&folder);
    let mut text = String::new();
    let ending = cells.complete(
        &specs,
        log,
        stop,
        |spec| spec.run(stop),
        |done| {
            text = tables::text(done);
            results.table(NAME, &tables::csv(done))?;
            results.table("weights", &tables::weights_csv(done))?;
            results.picture(NAME, picture::draw(done))?;
            results.summary(&tables::summary(done))
        },
    )?;
    say(&(text + &results.written()))?;
    Ok(ending)
}
