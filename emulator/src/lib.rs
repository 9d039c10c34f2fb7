//! A CUDA driver that runs PTX on the CPU, for tests: what it does and how to use it is in the crate's README.
//!
//! From the text up: [`ptx`] turns what nvcc emits into checked, typed instructions; [`exec`] lowers them to operations on the
//! rows of a warp's registers ([`lanes`], [`row`]) and runs warps, blocks and grids on [`memory`]; [`check`] looks for races
//! and the like, [`counters`] count, [`report`] bounds times on a GPU [`profile`]; [`machine`] is the GPU made of these, and
//! the driver API on top of it is what [`install`] loads into a process. A [`fault`] is what a kernel did wrong. `ptx`, and `lanes`
//! with `row`, are crates of their own, which compile once for everything that is built of the emulator.

pub mod check;
pub mod counters;
mod driver;
pub mod exec;
pub mod fault;
mod install;
mod load_error;
pub mod machine;
pub mod memory;
mod options;
pub mod profile;
pub mod report;

pub use driver::Statistics;
pub use install::{Emulator, InstallError, install};
pub use rewind_ptx as ptx;
pub use rewind_rows::{lanes, row};
