//! Batch normalisation's launches.

use cudarc::driver::LaunchConfig;

use super::buffer::CudaBuffer;
use super::geometry::counters;
use super::launch::{THREADS, grid, launch, over, over_fours};
use super::operand::{Drift, Norm, Peaks};
use super::{Cuda, Tensor, at};
use crate::check;
use crate::device::{BN_EPS, BN_MOMENTUM, BatchNorm};
use crate::error::Result;
use crate::operands::{Affine, BnRunning, BnStats, Measure, Reconstruction};
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

/// Elements of workspace: three numbers a part and channel, or two and two a block beside them.
pub fn workspace(z: Shape) -> usize {
    parts(z) * (3 * z.c()).max(2 * z.c() + 2 * tiles(z.c()))
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

/// A block for every part and tile of channels.
fn config(shape: Shape, addresses: &[u64]) -> LaunchConfig {
    grid([parts(shape), channel_tiles(shape.c(), addresses)], THREADS)
}

pub fn stats(d: &Cuda, z: u64, shape: Shape, measure: Measure<'_, CudaBuffer>, workspace: u64) -> Result<()> {
    let Measure { stats, running } = measure;
    let running = running.map_or((0, 0), |r| (at(&r.mean), at(&r.var)));
    let (pixels, channels) = (shape.pixels() as u32, shape.c() as u32);
    let (eps, weight) = (BN_EPS as f32, BN_MOMENTUM as f32);
    launch!(
        d,
        "bn_stats",
        &d.kernels.bn_stats,
        config(shape, &[z]),
        at(&stats.mean),
        at(&stats.rstd),
        running.0,
        running.1,
        workspace,
        counters(d),
        z,
        pixels,
        channels,
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
    let (mean, rstd) = (at(&stats.mean), at(&stats.rstd));
    launch!(
        d,
        "bn_grad_sums",
        &d.kernels.bn_grad_sums,
        config(shape, &[grad_y, z, mean, rstd]),
        at(&sums.gamma),
        at(&sums.beta),
        partial,
        counters(d),
        grad_y,
        z,
        mean,
        rstd,
        scale as f32,
        shape.pixels() as u32,
        shape.c() as u32,
        peaks
    )
}

/// Back through `relu(bn(z))` to the sums, and the distance of a reconstruction where one is given: see
/// [`crate::device::Ends::norm_relu_grad_sums`].
pub fn relu_grad_sums(
    d: &Cuda,
    z: &Tensor,
    norm: Norm,
    of: Option<Reconstruction<'_, CudaBuffer>>,
    grad: &mut Tensor,
    sums: &mut Affine<CudaBuffer>,
    workspace: u64,
) -> Result<()> {
    let shape = z.shape();
    let shares = workspace + (2 * parts(shape) * shape.c() * size_of::<f32>()) as u64;
    let drift = of.map_or(Drift::NONE, |of| Drift::new(d, of, shares));
    let Norm { mean, rstd, gamma, beta } = norm;
    launch!(
        d,
        "norm_relu_grad_sums",
        &d.kernels.norm_relu_grad_sums,
        config(shape, &[at(grad), at(z), mean, rstd, gamma, beta, drift.x]),
        at(grad),
        at(&sums.gamma),
        at(&sums.beta),
        workspace,
        counters(d),
        at(z),
        mean,
        rstd,
        gamma,
        beta,
        shape.pixels() as u32,
        shape.c() as u32,
        drift
    )
}

/// The cotangent of z from that of `bn(z)`, and zeros in `clear`, an address and how many numbers; null for none.
pub fn grad_z(
    d: &Cuda,
    grad_y: &Tensor,
    scale: f64,
    z: &Tensor,
    norm: Norm,
    sums: &Affine<CudaBuffer>,
    grad_z: &mut Tensor,
    clear: (u64, usize),
) -> Result<()> {
    let (Norm { mean, rstd, gamma, .. }, len) = (norm, z.shape().len());
    launch!(
        d,
        "bn_grad_z",
        &d.kernels.bn_grad_z,
        over_fours(len),
        at(grad_z),
        at(grad_y),
        at(z),
        mean,
        rstd,
        gamma,
        at(&sums.gamma),
        at(&sums.beta),
        scale as f32,
        len as u64,
        z.shape().c() as u32,
        clear.0,
        clear.1 as u64
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
        self::grad_z(self, grad_y, scale, z, Norm::new(stats, affine), sums, grad_z, (0, 0))
    }

    fn bn_workspace(&self, z: Shape) -> usize {
        workspace(z)
    }
}
