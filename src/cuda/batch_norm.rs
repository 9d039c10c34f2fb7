//! Batch normalisation's launches.

use super::buffer::CudaBuffer;
use super::launch::{THREADS, grid, launch, over, over_fours};
use super::operand::{Norm, Peaks};
use super::{Cuda, Tensor, at};
use crate::check;
use crate::device::{BN_EPS, BN_MOMENTUM, BatchNorm};
use crate::error::Result;
use crate::operands::{Affine, BnRunning, BnStats, Measure};
use crate::shape::Shape;

/// Pixels that a block reduces at least, and the most blocks, two for each multiprocessor of a large card: more would keep the few
/// blocks that merge their parts busy for longer than they save (1024 parts took an H200 55 us to merge, 21 to make). Fixed, so
/// that sums have one order on every card.
const PIXELS_PER_BLOCK: usize = 128;
const MOST_PARTS: usize = 264;

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
    peaks: Peaks,
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
        channels,
        peaks
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

impl BatchNorm for Cuda {
    fn bn_stats(&self, z: &Tensor, measure: Measure<'_, CudaBuffer>, workspace: &mut CudaBuffer) -> Result<()> {
        check::measured("bn_stats", z.shape().c(), Some(&measure))?;
        stats(self, at(z), z.shape(), measure, workspace.address())
    }

    fn bn_running_stats(&self, running: &BnRunning<CudaBuffer>, stats: &mut BnStats<CudaBuffer>) -> Result<()> {
        check::equal("bn_running_stats", running.mean.shape(), stats.mean.shape())?;
        let c = running.mean.shape().c();
        let kernel = &self.kernels.bn_running_stats;
        let (mean, rstd, eps) = (at(&stats.mean), at(&stats.rstd), BN_EPS as f32);
        launch!(
            self,
            "bn_running_stats",
            kernel,
            over(c),
            mean,
            rstd,
            at(&running.mean),
            at(&running.var),
            c as u32,
            eps
        )
    }

    fn bn_apply(
        &self,
        z: &Tensor,
        stats: &BnStats<CudaBuffer>,
        affine: &Affine<CudaBuffer>,
        y: &mut Tensor,
    ) -> Result<()> {
        check::normed("bn_apply", z.shape(), &[y.shape()], stats, affine)?;
        let (Norm { mean, rstd, gamma, beta }, len) = (Norm::new(stats, affine), z.shape().len());
        let (c, kernel) = (z.shape().c() as u32, &self.kernels.bn_apply);
        launch!(self, "bn_apply", kernel, over_fours(len), at(y), at(z), mean, rstd, gamma, beta, len as u64, c)
    }

    fn bn_grad_sums(
        &self,
        grad_y: &Tensor,
        scale: f64,
        z: &Tensor,
        stats: &BnStats<CudaBuffer>,
        sums: &mut Affine<CudaBuffer>,
        workspace: &mut CudaBuffer,
    ) -> Result<()> {
        check::normed("bn_grad_sums", z.shape(), &[grad_y.shape()], stats, sums)?;
        grad_sums(self, at(grad_y), scale, at(z), z.shape(), stats, sums, Peaks::NONE, workspace.address())
    }

    fn bn_grad_z(
        &self,
        grad_y: &Tensor,
        scale: f64,
        z: &Tensor,
        stats: &BnStats<CudaBuffer>,
        affine: &Affine<CudaBuffer>,
        sums: &Affine<CudaBuffer>,
        grad_z: &mut Tensor,
    ) -> Result<()> {
        check::normed("bn_grad_z", z.shape(), &[grad_y.shape(), grad_z.shape()], stats, affine)?;
        check::norm("bn_grad_z", z.shape().c(), stats, sums)?;
        let (Norm { mean, rstd, gamma, .. }, len) = (Norm::new(stats, affine), z.shape().len());
        let (sums_gamma, sums_beta) = (at(&sums.gamma), at(&sums.beta));
        let (scale, c) = (scale as f32, z.shape().c() as u32);
        launch!(
            self,
            "bn_grad_z",
            &self.kernels.bn_grad_z,
            over_fours(len),
            at(grad_z),
            at(grad_y),
            at(z),
            mean,
            rstd,
            gamma,
            sums_gamma,
            sums_beta,
            scale,
            len as u64,
            c
        )
    }

    fn bn_workspace(&self, z: Shape) -> usize {
        workspace(z)
    }
}
