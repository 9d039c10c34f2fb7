//! Memory by purpose: a plan of every byte before the first step, which is a dry run of the constructors; one arena that serves
//! them; and a ledger of what was taken.
//!
//! Nothing is ever given back while a network lives, so what the ledger holds is also its peak.

mod arena;
pub(crate) mod bytes;
mod turns;

pub use arena::{Arena, Memory, dry_run, take};
pub use bytes::{ALIGN_BYTES, Bytes, Category, human, padded_bytes, parse_bytes};
pub use turns::{Asked, Lent, Turns};
