//! Writes a trained net's weights as safetensors with torchvision's names.

use std::process::ExitCode;

fn main() -> ExitCode {
    rewind_train::program::export()
}
