//! Training of very deep residual networks without storing their activations.
#![warn(missing_docs)]

pub mod cpu;
pub mod device;
pub mod error;
pub mod field;
pub mod fused;
pub mod host;
pub mod init;
pub mod memory;
pub mod operands;
pub mod reference;
pub mod scheme;
pub mod shape;
pub mod sweep;
pub mod tensor;

pub use error::{Error, Result};
