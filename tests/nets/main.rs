//! Whole nets on the reference and on the CPU, in one binary: each kind of net is compiled once for all of these tests.

mod cpu;
mod data;
mod fields;
mod golden;
mod optimiser;
mod plan;
mod recipe;
mod schemes;
mod staged;
#[path = "../support/mod.rs"]
mod support;
mod sweeps;
