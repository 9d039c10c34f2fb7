//! Launches for masks of ReLUs: a warp for each word.

use super::launch::{launch, over};
use super::operand::Norm;
use super::{Cuda, Tensor, at, buffer::CudaBuffer};
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
