//! Training of very deep residual networks without storing their activations.
#![warn(missing_docs)]

pub mod cli;
pub mod config;
pub mod cpu;
pub mod data;
pub mod device;
pub mod error;
pub mod field;
pub mod fused;
pub mod host;
pub mod init;
pub mod memory;
pub mod net;
pub mod operands;
pub mod plan;
pub mod reference;
pub mod schedule;
pub mod scheme;
pub mod settings;
pub mod shape;
pub mod sweep;
pub mod tensor;
pub mod train;

pub use error::{Error, Result};
