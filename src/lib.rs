//! Training of very deep residual networks without storing their activations.
#![warn(missing_docs)]

pub mod device;
pub mod error;
pub mod fused;
pub mod host;
pub mod memory;
pub mod operands;
pub mod shape;
pub mod tensor;

pub use error::{Error, Result};
