//! The paper's experiments: what the binary `paper` computes, in cells that are computed once and kept.
//!
//! A cell is one combination of settings. Its result is a file, written whole or not at all, so that an experiment that was
//! stopped goes on where it was; tables and pictures are made of the cells, never of anything that only one process knew.
#![warn(missing_docs)]

pub mod cells;
pub mod failure;
pub mod gradient;
pub mod linear;
pub mod memory;
pub mod method;
pub mod raster;
pub mod results;
pub mod slope;
pub mod spread;
pub mod training;
pub mod tuning;
