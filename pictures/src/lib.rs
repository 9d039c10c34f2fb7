//! Pictures.

pub mod decode;
mod error;
mod regular;
pub mod scan;

pub use error::{Broken, Error, Result};
