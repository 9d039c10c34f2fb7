//! The experiments, a folder each: what it is told, its cells, its tables and its pictures.

pub(crate) mod depth;
pub mod failure;
pub mod gradient_error;
pub mod linear_weights;
pub mod memory;
pub(crate) mod tied;
pub mod untie;
