//! For every check a CUDA kernel that triggers it, and one that nearly does and must stay silent.

mod barriers;
mod case;
mod memory;
mod races;
#[path = "../support/mod.rs"]
mod support;
mod warps;
