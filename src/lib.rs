//! Training of very deep residual networks without storing their activations.
#![warn(missing_docs)]

pub mod cli;
pub mod config;
pub mod device;
pub mod error;
pub mod fused;
pub mod host;
pub mod init;
pub mod memory;
pub mod operands;
pub mod scheme;
pub mod settings;
pub mod shape;
pub mod sweep;
pub mod tensor;
pub mod train;

pub use error::{Error, Result};
