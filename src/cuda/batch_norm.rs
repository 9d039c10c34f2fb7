//! Batch normalisation's launches.

use super::launch::{THREADS, grid, launch};
use super::{Cuda, buffer::CudaBuffer};
use crate::device::{BN_EPS, BN_MOMENTUM};
use crate::error::Result;
use crate::operands::{Affine, BnStats, Measure};
use crate::shape::Shape;

/// Pixels that a block reduces at least, and the most blocks: fixed, so that sums have one order on every card.
const PIXELS_PER_BLOCK: usize = 128;
const MOST_PARTS: usize = 1024;

/// Parts that a map's pixels are cut into.
fn parts(z: Shape) -> usize {
    z.pixels().div_ceil(PIXELS_PER_BLOCK).clamp(1, MOST_PARTS)
}

/// Elements of workspace: three numbers a part and channel.
pub fn workspace(z: Shape) -> usize {
    parts(z) * z.c() * 3
}

/// Blocks along channels of the sums over pixels, as in batch_norm.cu: where their number and the addresses allow it, a lane
/// has four channels.
fn channel_tiles(channels: usize, addresses: &[u64]) -> usize {
    let fours = channels.is_multiple_of(4) && addresses.iter().all(|address| address.is_multiple_of(16));
    tiles(if fours { channels / 4 } else { channels })
}

/// Blocks for that many lanes: each has a power of two of them, up to a warp's.
fn tiles(lanes: usize) -> usize {
    lanes.div_ceil(lanes.next_power_of_two().min(32))
}

pub fn stats(d: &Cuda, z: u64, shape: Shape, measure: Measure<'_, CudaBuffer>, workspace: u64) -> Result<()> {
    let parts = parts(shape);
    let config = grid([parts, channel_tiles(shape.c(), &[z])], THREADS);
    let (pixels, channels) = (shape.pixels() as u32, shape.c() as u32);
    launch!(d, "bn_moments", &d.kernels.bn_moments, config, workspace, z, pixels, channels)?;
    finalize(d, workspace, parts, measure)
}

/// Merges the parts' moments into mean and rstd, and moves the running statistics.
pub fn finalize(d: &Cuda, moments: u64, parts: usize, measure: Measure<'_, CudaBuffer>) -> Result<()> {
    let BnStats { mean, rstd } = measure.stats;
    let channels = mean.shape().c();
    let (mean, rstd) = (mean.buffer.address(), rstd.buffer.address());
    let running = measure.running.map_or((0, 0), |r| (r.mean.buffer.address(), r.var.buffer.address()));
    let (eps, weight) = (BN_EPS as f32, BN_MOMENTUM as f32);
    launch!(
        d,
        "bn_finalize",
        &d.kernels.bn_finalize,
        grid([1, tiles(channels)], THREADS),
        mean,
        rstd,
        running.0,
        running.1,
        moments,
        parts as u32,
        channels as u32,
        eps,
        weight
    )
}

pub fn grad_sums(
    d: &Cuda,
    grad_y: u64,
    scale: f64,
    z: u64,
    shape: Shape,
    stats: &BnStats<CudaBuffer>,
    sums: &mut Affine<CudaBuffer>,
    partial: u64,
) -> Result<()> {
    let parts = parts(shape);
    let (mean, rstd) = (stats.mean.buffer.address(), stats.rstd.buffer.address());
    let config = grid([parts, channel_tiles(shape.c(), &[grad_y, z, mean, rstd])], THREADS);
    let (pixels, channels) = (shape.pixels() as u32, shape.c() as u32);
    launch!(
        d,
        "bn_grad_sums",
        &d.kernels.bn_grad_sums_partial,
        config,
        partial,
        grad_y,
        z,
        mean,
        rstd,
        pixels,
        channels
    )?;
    let (gamma, beta) = (sums.gamma.buffer.address(), sums.beta.buffer.address());
    launch!(
        d,
        "bn_grad_sums",
        &d.kernels.bn_grad_sums_total,
        grid([1, tiles(shape.c())], THREADS),
        gamma,
        beta,
        partial,
        parts as u32,
        channels,
        scale as f32
    )
}
