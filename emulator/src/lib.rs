//! A CUDA driver that runs PTX on the CPU, in the making: what exists is its front end, [`ptx`], which turns the text
//! that nvcc emits into checked, typed instructions, or refuses it with a sentence. Nothing here executes anything yet.

pub mod ptx;
