//! The command line of `paper`: an experiment a subcommand.

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use rewind_train::terminal;

use crate::cells::Ending;
use crate::experiments::{depth, failure, gradient_error, linear_weights, memory, tied, untie};
use crate::options::Common;

static STOP: AtomicBool = AtomicBool::new(false);

/// The experiments of "Do Residual Neural Networks discretize Neural Ordinary Differential Equations?"
#[derive(Debug, clap::Parser)]
#[command(name = "paper", version, after_help = NOTES, arg_required_else_help = false, max_term_width = WIDTH)]
pub struct Cli {
    #[command(subcommand)]
    experiment: Experiment,
    #[command(flatten)]
    common: Common,
}

/// Columns of a help, at most.
const WIDTH: usize = 100;

const NOTES: &str = "\
Each experiment leaves tables (CSV), pictures (SVG and PNG) and summary.json in a folder of its own under --out. \
What was computed is kept in cells/ there: the same command goes on where it stopped, and does only what is missing.

Exit codes: 0 done, 1 the experiment failed, 2 the request makes no sense, 130 stopped by Ctrl-C,
143 by SIGTERM.";

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
        return Ok(terminal::stopped());
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::*;

    /// Fails where a help has a line that is too long, or a flag under no heading of its task.
    fn check_help(command: &mut Command) {
        let name = command.get_name().to_string();
        for help in [command.render_help().to_string(), command.render_long_help().to_string()] {
            for line in help.lines() {
                assert!(line.chars().count() <= WIDTH, "{name}, {} columns: {line}", line.chars().count());
            }
            assert!(help.contains("\nRun:\n"), "{name}: {help}");
        }
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let of_clap = ["help", "version"].contains(&argument.get_id().as_str());
            assert!(of_clap || argument.get_help_heading().is_some(), "{name}: {argument} stands under no heading");
            assert!(argument.get_help().is_some(), "{name}: {argument} has no help");
        }
    }

    #[test]
    fn every_help_fits_100_columns_and_sorts_its_flags_by_task() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        check_help(&mut command);
        let experiments: Vec<&mut Command> =
            command.get_subcommands_mut().filter(|experiment| experiment.get_name() != "help").collect();
        assert_eq!(experiments.len(), 7);
        for experiment in experiments {
            check_help(experiment);
            let help = experiment.render_help().to_string();
            for heading in ["Data", "Machine"] {
                let there = experiment.get_arguments().any(|argument| argument.get_help_heading() == Some(heading));
                assert_eq!(help.contains(&format!("\n{heading}:\n")), there, "{help}");
            }
        }
    }
}
