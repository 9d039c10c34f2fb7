//! What one operation of a warp does to memory, to other lanes and to the printed text.

pub(super) mod access;
pub(super) mod atomic;
pub(super) mod collective;
pub(super) mod copy;
mod format;
mod levels;
pub(super) mod look;
pub(super) mod matrices;
pub(super) mod mbarrier;
pub(super) mod place;
pub(super) mod print;
pub(super) mod tiles;
