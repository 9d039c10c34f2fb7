//! Masks of ReLUs.

use crate::error::Result;
use crate::memory::Memory;
use crate::operands::{Affine, BnStats};
use crate::tensor::Tensor;

/// Masks of ReLUs behind a batch norm.
pub trait ReluMask: Memory {
    /// Keeps where `bn(z) > 0`: element e of an image is bit `e mod 32` of word `e div 32` where a number has 32 bits.
    /// `mask: [N, 1, 1, L]`, L as [`crate::code::code_len`] says of one bit.
    fn relu_mask(
        &self,
        z: &Tensor<Self::Buffer>,
        stats: &BnStats<Self::Buffer>,
        affine: &Affine<Self::Buffer>,
        mask: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// Gives `bn(z)` the signs that the mask kept: where they differ, z is mirrored at the zero of bn, so that a ReLU behind it
    /// passes what it passed then. Where bn has a slope of 0 nothing moves.
    fn relu_replay(
        &self,
        mask: &Tensor<Self::Buffer>,
        stats: &BnStats<Self::Buffer>,
        affine: &Affine<Self::Buffer>,
        z_acc: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
}

/// What an evaluation does with a ReLU's mask before it reads `z`: keeps it where statistics are measured, replays it where they
/// are given.
pub(crate) fn apply_mask<D: ReluMask>(
    d: &D,
    given: bool,
    mask: &mut Tensor<D::Buffer>,
    stats: &BnStats<D::Buffer>,
    affine: &Affine<D::Buffer>,
    z: &mut Tensor<D::Buffer>,
) -> Result<()> {
    if given { d.relu_replay(mask, stats, affine, z) } else { d.relu_mask(z, stats, affine, mask) }
}
