//! The command line of `paper`: an experiment a subcommand.

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use rewind_train::terminal::{self, INTERRUPTED};

use crate::cells::Ending;
use crate::experiments::{depth, failure, gradient_error, linear_weights, memory, tied, untie};
use crate::options::Common;

static STOP: AtomicBool = AtomicBool::new(false);

/// The experiments of "Do Residual Neural Networks discretize Neural Ordinary Differential Equations?"
#[derive(Debug, clap::Parser)]
#[command(name = "paper", version, after_help = NOTES, arg_required_else_help = false)]
pub struct Cli {
    #[command(subcommand)]
    experiment: Experiment,
    #[command(flatten)]
    common: Common,
}

const NOTES: &str = "\
Each experiment leaves tables (CSV), pictures (SVG and PNG) and summary.json in a folder of its own
under --out. What was computed is kept in cells/ there: the same command goes on where it stopped,
and does only what is missing.

Exit codes: 0 done, 1 the experiment failed, 2 the request makes no sense, 130 stopped by Ctrl-C.";

#[derive(Debug, clap::Subcommand)]
enum Experiment {
    /// Weights against depth in a deep linear net under gradient flow, and its limit ODE (Fig. 2).
    LinearWeights(linear_weights::Arguments),
    /// Distance of each gradient mode from exact backprop against depth, in f32 and f64 (Fig. 3c).
    GradientError(gradient_error::Arguments),
    /// Test error against depth for each scheme and gradient mode, trained from scratch (Fig. 4).
    Depth(depth::Arguments),
    /// Bytes and seconds of a training step against depth, in each gradient mode, and what grows.
    Memory(memory::Arguments),
    /// Nets that are close to no ODE: where reconstruction fails, what the drift said, what repairs it (Fig. 3b).
    Failure(failure::Arguments),
    /// Test accuracy against blocks of nets whose blocks share their weights: deeper, no more parameters (Fig. 3a).
    Tied(tied::Arguments),
    /// A trained tied net untied and fine-tuned without storing activations (Table 2).
    Untie(untie::Arguments),
}

/// Does what was asked for.
///
/// # Errors
/// Whatever the experiment reports.
pub fn start(cli: &Cli) -> anyhow::Result<ExitCode> {
    terminal::watch_for_interrupt(&STOP)?;
    let (common, mut log) = (&cli.common, cli.common.log());
    let ending = match &cli.experiment {
        Experiment::LinearWeights(arguments) => linear_weights::run(arguments, common, &mut log, &STOP),
        Experiment::GradientError(arguments) => gradient_error::run(arguments, common, &mut log, &STOP),
        Experiment::Depth(arguments) => depth::run(arguments, common, &mut log, &STOP),
        Experiment::Memory(arguments) => memory::run(arguments, common, &mut log, &STOP),
        Experiment::Failure(arguments) => failure::run(arguments, common, &mut log, &STOP),
        Experiment::Tied(arguments) => tied::run(arguments, common, &mut log, &STOP),
        Experiment::Untie(arguments) => untie::run(arguments, common, &mut log, &STOP),
    }?;
    if ending == Ending::Interrupted {
        log.note("stopped; the same command goes on from here");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(ExitCode::SUCCESS)
}
