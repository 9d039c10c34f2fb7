//! The paper's experiments, as the binary `paper` computes them: in cells that are computed once and kept.
//!
//! A cell is one combination of settings. Its result is a file, written whole or not at all, so that an experiment that was
//! stopped goes on where it was; tables and pictures are made of the cells, never of anything that only one process knew.
#![warn(missing_docs, clippy::missing_errors_doc)]

pub mod cells;
pub mod cli;
pub mod distance;
pub mod experiments;
pub mod gradients;
pub mod method;
mod options;
pub mod results;
pub mod slope;
pub mod spread;
mod style;
pub mod table;
pub mod training;
