//! `failure` (after the paper's figure 3b): nets that are close to no ODE, trained in each way; where reconstruction fails, what
//! the drift said in advance, and what repairs it.

pub mod cell;
mod evidence;
pub mod level;
mod picture;
pub mod probe;
mod subject;
mod tables;

use std::sync::atomic::AtomicBool;

use rewind::error::{Error, Result};
use rewind::init::Init;
use rewind::memory::Bytes;
use rewind::scheme::{Scheme, StepSize};
use rewind_train::config::RunConfig;
use rewind_train::log::Log;
use rewind_train::settings::LrDrop;

use self::cell::{Done, NAME, Trial};
use self::subject::Subject;
use crate::cells::Ending;
use crate::method::Method;
use crate::options::plain::Plain;
use crate::options::{Common, positive};
use crate::results::Results;
use crate::training::Training;
use crate::training::experiment::{Experiment, Planned};
use crate::training::images::Images;

const QUICK_DEPTHS: [usize; 2] = [3, 8];
const FULL_DEPTHS: [usize; 3] = [3, 8, 32];
const QUICK_SEEDS: u64 = 2;
const FULL_SEEDS: u64 = 5;
/// The full form is the recipe up to its first drop of the learning rate.
const QUICK_EPOCHS: usize = 4;
const FULL_EPOCHS: usize = 30;
/// Images of the batch on which gradients are compared.
const PROBE_IMAGES: usize = 256;

#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    plain: Plain,
    /// Depths N [default: 3,8,32; quick: 3,8].
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = positive)]
    #[arg(help_heading = "Network")]
    depths: Vec<usize>,
    /// Schemes, any of euler, heun and rk4 [default: euler and heun; quick: euler].
    #[arg(long, value_name = "SCHEME", value_delimiter = ',', hide_possible_values = true)]
    #[arg(help_heading = "Network")]
    schemes: Vec<Scheme>,
    /// Step sizes h, any of 1/N and 1.
    #[arg(long, value_name = "H", value_delimiter = ',', default_value = "1,1/N", hide_possible_values = true)]
    #[arg(help_heading = "Network")]
    step_sizes: Vec<StepSize>,
    /// Initial weights, any of plain, paper and smooth.
    #[arg(
        long,
        value_name = "INIT",
        value_delimiter = ',',
        default_value = "plain,paper",
        hide_possible_values = true
    )]
    #[arg(help_heading = "Network")]
    inits: Vec<Init>,
    /// Modes, any of adjoint, corrected, coded-1, -2, -4 and -8, auto, fixed-point-1 to -3, anchors-1 and anchors-sqrt; backprop is
    /// always there [default: all, of the coded ones coded-2].
    #[arg(long, value_name = "MODE", value_delimiter = ',', hide_possible_values = true)]
    #[arg(help_heading = "Gradient")]
    modes: Vec<Method>,
    /// Points of test accuracy that a run may lose against backprop in any epoch and still count as good.
    #[arg(long, value_name = "X", default_value_t = 5.0, allow_negative_numbers = true)]
    #[arg(help_heading = "Tables and pictures")]
    allowed: f64,
    /// Passes over the training set [default: 30; quick: 4].
    #[arg(long, value_name = "N")]
    #[arg(help_heading = "Training")]
    epochs: Option<usize>,
    /// Epochs after which lr falls to a tenth, or none.
    #[arg(long, value_name = "E,E", default_value = "30,60")]
    #[arg(help_heading = "Training")]
    lr_drop: LrDrop,
}

const NOTES: &str = "\
Time on two idle cores with AVX-512: before it had coded modes --quick took about 16 minutes; a mode more adds its \
share. The full form is for a GPU, or for days. Ctrl-C keeps every run that was done; one that was under way is \
begun anew.";

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
    let planned = planned(arguments, common)?;
    let allowed = arguments.allowed;
    if !(allowed.is_finite() && allowed >= 0.0) {
        return Err(Error::Usage(format!("--allowed must be a number of 0 or more points, not {allowed}")).into());
    }
    arguments.plain.setting(common, log, stop)?.conduct(Failure { allowed }, planned, log)
}

struct Failure {
    /// Points of test accuracy that a good run may lose.
    allowed: f64,
}

impl Experiment for Failure {
    const NAME: &'static str = NAME;
    type Label = Method;
    type Cell = Trial;

    fn cell(&mut self, images: &Images, method: Method, training: Training, _: Bytes) -> Trial {
        let there = images.dataset.train.len();
        let epoch_steps = there.div_ceil(training.config().batch);
        Trial { training, method, probe_images: PROBE_IMAGES.min(there), epoch_steps }
    }

    fn publish(&self, _: &Images, done: &Done<'_>, results: &Results) -> Result<String> {
        let allowed = self.allowed;
        results.table(NAME, &tables::csv(done, allowed))?;
        results.table("drift", &tables::drift_csv(done))?;
        results.table("probes", &tables::probes_csv(done))?;
        results.picture("accuracy", picture::accuracy::draw(done))?;
        results.picture("level", picture::level::draw(done, allowed))?;
        results.picture("drift", picture::drift::draw(done, allowed))?;
        results.summary(&tables::summary(done, allowed))?;
        Ok(tables::text(done, allowed))
    }
}

/// Every run of the experiment, in the order in which they are trained: all of one seed, net by net.
fn planned(arguments: &Arguments, common: &Common) -> Result<Vec<Planned<Method>>> {
    fn chosen<T: Clone>(given: &[T], quick: Option<&[T]>, full: &[T]) -> Vec<T> {
        if given.is_empty() { quick.unwrap_or(full).to_vec() } else { given.to_vec() }
    }
    let quick = common.quick;
    let depths = chosen(&arguments.depths, quick.then_some(&QUICK_DEPTHS), &FULL_DEPTHS);
    let schemes = chosen(&arguments.schemes, quick.then_some(&[Scheme::Euler]), &[Scheme::Euler, Scheme::Heun]);
    let mut usual = evidence::METHODS.to_vec();
    usual.retain(|method| *method == Method::Coded2 || !Method::CODED.contains(method));
    let mut methods = chosen(&arguments.modes, None, &usual);
    methods.retain(|method| *method != Method::Backprop);
    methods.insert(0, Method::Backprop);
    let mut planned = Vec::new();
    for seed in common.seeds(QUICK_SEEDS, FULL_SEEDS)? {
        for depth in &depths {
            for scheme in &schemes {
                for (step_size, init) in
                    arguments.step_sizes.iter().flat_map(|h| arguments.inits.iter().map(move |init| (*h, *init)))
                {
                    for method in &methods {
                        let config = RunConfig {
                            depth: *depth,
                            step_size,
                            init,
                            sweep: method.sweep(*scheme, *depth),
                            epochs: Some(arguments.epochs.unwrap_or(if quick { QUICK_EPOCHS } else { FULL_EPOCHS })),
                            lr_drop: Some(arguments.lr_drop.0.clone()),
                            seed,
                            ..arguments.plain.config()
                        };
                        let key = Subject::of(&config).key(*method, &config);
                        planned.push(Planned { label: *method, key, config });
                    }
                }
            }
        }
    }
    Ok(planned)
}
