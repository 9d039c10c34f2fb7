//! Running a lowered kernel: a launch's grid, its blocks, their warps.

mod barrier;
mod block;
pub(super) mod env;
mod follow;
pub(super) mod grid;
mod marks;
mod order;
mod step;
pub(super) mod warp;
