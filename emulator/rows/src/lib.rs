//! A warp's registers as rows of 32 lanes, and what PTX's instructions between registers do to them.

pub mod lanes;
pub mod row;
