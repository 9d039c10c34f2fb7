//! Residual functions f: their evaluation and their VJP. A field owns nothing between calls.

pub mod basic;
pub mod linear;
