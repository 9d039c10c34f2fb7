//! A CUDA driver that runs PTX on the CPU, in the making: [`ptx`] turns the text that nvcc emits into checked, typed
//! instructions, [`row`] runs those that only touch registers, on the [`lanes`] of a warp.

pub mod check;
pub mod counters;
mod driver;
pub mod exec;
pub mod fault;
mod install;
pub mod lanes;
pub mod machine;
pub mod memory;
pub mod profile;
pub mod ptx;
pub mod report;
pub mod row;

pub use driver::Statistics;
pub use install::{Emulator, InstallError, install};
