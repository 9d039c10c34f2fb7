//! The emulator as the driver's library of a program that a test starts.

use std::path::Path;
use std::process::Command;

use crate::cli::Place;

/// Whether this machine has a driver of its own.
pub fn has_gpu() -> bool {
    Path::new("/dev/nvidiactl").exists()
}

/// Puts the emulator where the program's search for the driver's library finds it first, with these variables for it.
pub fn with_emulator(place: &Place, mut command: Command, variables: &[(&str, &str)]) -> Command {
    // cargo leaves the library beside the tests' executables
    let deps = std::env::current_exe().expect("a path").parent().expect("a folder").to_path_buf();
    let library = deps.join("librewind_emulator.so");
    assert!(library.exists(), "{} is not there", library.display());
    let folder = place.path("driver");
    if !folder.exists() {
        std::fs::create_dir(&folder).expect("a folder");
        std::os::unix::fs::symlink(library, folder.join("libcuda.so")).expect("a link");
    }
    // what is checked elsewhere would take a run several times as long
    command.env("LD_LIBRARY_PATH", folder).env("REWIND_EMULATOR_CHECKS", "0").env("REWIND_EMULATOR_COUNTERS", "0");
    command.envs(variables.iter().copied());
    command
}

/// This machine's driver, or else the emulator.
#[allow(dead_code)]
pub fn with_driver(place: &Place, command: Command) -> Command {
    if has_gpu() { command } else { with_emulator(place, command, &[]) }
}
