//! Launches for masks of ReLUs: a warp for each word.

use super::buffer::CudaBuffer;
use super::launch::{launch, over};
use super::operand::Norm;
use super::{Cuda, Tensor, at};
use crate::check;
use crate::device::ReluMask;
use crate::error::Result;
use crate::operands::{Affine, BnStats};

pub fn keep(
    d: &Cuda,
    z: &Tensor,
    stats: &BnStats<CudaBuffer>,
    affine: &Affine<CudaBuffer>,
    mask: &mut Tensor,
) -> Result<()> {
    let (len, words) = (z.shape().image_len() as u32, mask.shape().image_len() as u32);
    let (norm, config) = (Norm::new(stats, affine), over(32 * mask.shape().len()));
    let (all, channels) = (mask.shape().len() as u64, z.shape().c() as u32);
    launch!(d, "relu_mask", &d.kernels.relu_mask, config, at(mask), at(z), norm, len, words, channels, all)
}

pub fn replay(
    d: &Cuda,
    mask: &Tensor,
    stats: &BnStats<CudaBuffer>,
    affine: &Affine<CudaBuffer>,
    z: &mut Tensor,
) -> Result<()> {
    let (len, words) = (z.shape().image_len() as u32, mask.shape().image_len() as u32);
    let (norm, config) = (Norm::new(stats, affine), over(32 * mask.shape().len()));
    let (all, channels) = (mask.shape().len() as u64, z.shape().c() as u32);
    launch!(d, "relu_replay", &d.kernels.relu_replay, config, at(z), at(mask), norm, len, words, channels, all)
}

impl ReluMask for Cuda {
    fn relu_mask(
        &self,
        z: &Tensor,
        stats: &BnStats<CudaBuffer>,
        affine: &Affine<CudaBuffer>,
        mask: &mut Tensor,
    ) -> Result<()> {
        check::mask::<Self::Real, _>("relu_mask", z.shape(), stats, affine, mask.shape())?;
        keep(self, z, stats, affine, mask)
    }

    fn relu_replay(
        &self,
        mask: &Tensor,
        stats: &BnStats<CudaBuffer>,
        affine: &Affine<CudaBuffer>,
        z_acc: &mut Tensor,
    ) -> Result<()> {
        check::mask::<Self::Real, _>("relu_replay", z_acc.shape(), stats, affine, mask.shape())?;
        replay(self, mask, stats, affine, z_acc)
    }
}
