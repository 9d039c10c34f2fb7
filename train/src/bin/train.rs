//! Trains a deep residual network on a folder of pictures without storing its activations.

use std::process::ExitCode;

fn main() -> ExitCode {
    rewind_train::program::train()
}
