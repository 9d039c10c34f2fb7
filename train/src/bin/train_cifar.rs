//! Trains a deep residual network on CIFAR without storing its activations.

use std::process::ExitCode;

fn main() -> ExitCode {
    rewind_train::program::train_cifar()
}
