//! A CUDA driver that runs PTX on the CPU, in the making: [`ptx`] turns the text that nvcc emits into checked, typed
//! instructions, [`row`] runs those that only touch registers, on the [`lanes`] of a warp.

pub mod check;
pub mod counters;
pub mod exec;
pub mod fault;
pub mod lanes;
pub mod machine;
pub mod memory;
pub mod profile;
pub mod ptx;
pub mod report;
pub mod row;
