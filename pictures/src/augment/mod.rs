//! Chance changes of a picture's colours and shape behind its crop: torchvision's `RandAugment`, `ColorJitter` and `RandomErasing`.
//!
//! Each has a file: [`rand_augment`], [`jitter`], [`erase`]. What they choose from is [`op`], whose arithmetic lies in `affine`
//! (pixels that move), `levels` (each value has one that it becomes) and `colour` (blends and hues).
//!
//! The measure is torchvision 0.29 on Pillow 13's pictures, which is what its reference recipes train on: every operation gives the
//! same bytes, as `tests/augment/expected.txt` holds them. On tensors torchvision computes by other rules, which are not the measure here.
//!
//! All work in place on `[side, side, 3]` bytes. A choice depends on its seed alone, not on its thread or on what came before. The
//! generator is this crate's own, so that the chances are torchvision's and the single draws are not.

mod affine;
mod colour;
pub mod erase;
pub mod jitter;
mod levels;
pub mod op;
pub mod rand_augment;

pub use erase::Erase;
pub use jitter::ColourJitter;
pub use op::Op;
pub use rand_augment::RandAugment;

#[cfg(test)]
mod tests;
