//! The paper's experiments, a subcommand each: tables, pictures and a summary, made of cells that are computed once.

use std::process::ExitCode;

fn main() -> ExitCode {
    rewind_train::terminal::run(rewind_paper::cli::start)
}
