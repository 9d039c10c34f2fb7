//! `paper` from the command line, as a person uses it.

#[path = "../../../tests/support/cli.rs"]
mod cli;
mod depth;
mod documented_commands;
mod experiments;
mod failure;
mod gradient_error;
mod tied;
