//! Memory by purpose: a plan of every byte before the first step, one arena that serves it, and a ledger of what was taken.
//!
//! Nothing is ever given back while a network lives, so what the ledger holds is also its peak.

mod arena;
pub(crate) mod bytes;

pub use arena::{Arena, Memory};
pub use bytes::{ALIGN_BYTES, Bytes, Category, human, padded_bytes, parse_bytes};
