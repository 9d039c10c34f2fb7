//! A CUDA driver that runs PTX on the CPU, in the making: [`ptx`] turns the text that nvcc emits into checked, typed
//! instructions, [`row`] runs those that only touch registers, on the [`lanes`] of a warp.

pub mod check;
pub mod lanes;
pub mod ptx;
pub mod row;
