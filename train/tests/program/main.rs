//! `train_cifar` from the command line, as a person uses it.

mod answers;
mod auto;
mod bad_files;
mod bad_input;
#[path = "../../../tests/support/cli.rs"]
mod cli;
mod crafted;
mod documented_commands;
mod drift_warning;
mod implausible;
mod recipe;
mod record;
mod resume;
mod run_folder;
mod sessions;
mod special_files;
mod staged_run;
