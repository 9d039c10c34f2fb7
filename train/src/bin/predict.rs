//! Classifies pictures with a trained net.

use std::process::ExitCode;

fn main() -> ExitCode {
    rewind_train::predict::program()
}
