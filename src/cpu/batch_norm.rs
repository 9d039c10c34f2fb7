//! Batch normalisation over N, H, W: statistics and the sums of its gradient, reduced a group of images at a time.

use std::ops::Range;

use rayon::prelude::*;

use super::channel_sums::{GradSums, Moments};
use super::pixelwise::{self, BnApply, BnGradZ, Norm, Output};
use super::simd::{Kernel, MAX_LANES, Simd};
use super::workspace::{Carver, Groups, carved};
use super::{Buffer, Cpu, Tensor};
use crate::check;
use crate::device::{BN_EPS, BN_MOMENTUM, BatchNorm};
use crate::error::Result;
use crate::operands::{Affine, BnRunning, BnStats, Measure};
use crate::shape::Shape;

/// Workspace of [`stats`] and [`grad_sums`].
pub fn workspace(z: Shape) -> usize {
    carved(Groups::bound(z.n()) * 2 * z.c())
}

/// Mean and rstd of `z`, and the running statistics where given.
pub fn stats(cpu: &Cpu, z: &[f32], shape: Shape, measure: Measure<'_, Buffer>, workspace: &mut [f32]) {
    let groups = Groups::new(shape.n());
    let c = shape.c();
    let partials = Carver::new(workspace).take(groups.count * 2 * c);
    cpu.install(|| {
        (partials.par_chunks_mut(2 * c), z.par_chunks(groups.size * shape.image_len()))
            .into_par_iter()
            .with_max_len(1)
            .for_each(|(partial, z)| {
                let (mean, m2) = partial.split_at_mut(c);
                cpu.run(Moments { z, before: 0, mean, m2 });
            });
        merge_moments(cpu, partials, groups, shape, measure);
    });
}

/// From each group's mean and M2, `[mean C][M2 C]`, to the batch's statistics.
pub fn merge_moments(cpu: &Cpu, partials: &[f32], groups: Groups, shape: Shape, measure: Measure<'_, Buffer>) {
    let BnStats { mean, rstd } = measure.stats;
    let running = measure.running.map(|r| (r.mean.values_mut(), r.var.values_mut()));
    cpu.run(MergeMoments { partials, groups, shape, mean: mean.values_mut(), rstd: rstd.values_mut(), running });
}

struct MergeMoments<'a> {
    partials: &'a [f32],
    groups: Groups,
    shape: Shape,
    mean: &'a mut [f32],
    rstd: &'a mut [f32],
    running: Option<(&'a mut [f32], &'a mut [f32])>,
}

impl Kernel for MergeMoments<'_> {
    // Chan, Golub and LeVeque's formula for any number of parts: `M2 = sum M2_g + sum n_g (mean_g - mean)^2`. In f64, in the
    // groups' order.
    #[inline(always)]
    fn run<S: Simd>(mut self, _: S) {
        let channels = self.mean.len();
        let pixels = self.shape.h() * self.shape.w();
        let total = self.shape.pixels() as f64;
        for first in (0..channels).step_by(MAX_LANES) {
            let n = MAX_LANES.min(channels - first);
            let (mut mean, mut m2) = ([0.0f64; MAX_LANES], [0.0f64; MAX_LANES]);
            for (g, partial) in self.partials.chunks_exact(2 * channels).enumerate() {
                let share = (self.groups.images_of(g, self.shape.n()) * pixels) as f64 / total;
                for (mean, part) in mean.iter_mut().zip(&partial[first..first + n]) {
                    *mean += share * f64::from(*part);
                }
            }
            for (g, partial) in self.partials.chunks_exact(2 * channels).enumerate() {
                let count = (self.groups.images_of(g, self.shape.n()) * pixels) as f64;
                let (part_mean, part_m2) = partial.split_at(channels);
                let parts = part_mean[first..first + n].iter().zip(&part_m2[first..first + n]);
                for ((m2, mean), (part_mean, part_m2)) in m2.iter_mut().zip(&mean).zip(parts) {
                    let distance = f64::from(*part_mean) - mean;
                    *m2 += f64::from(*part_m2) + count * distance * distance;
                }
            }
            for i in 0..n {
                let c = first + i;
                self.mean[c] = mean[i] as f32;
                self.rstd[c] = (1.0 / (m2[i] / total + BN_EPS).sqrt()) as f32;
                if let Some((running_mean, running_var)) = &mut self.running {
                    // One value has no unbiased variance: the biased one, zero, stands.
                    let unbiased = m2[i] / (total - 1.0).max(1.0);
                    let follow = |r: f32, new: f64| ((1.0 - BN_MOMENTUM) * f64::from(r) + BN_MOMENTUM * new) as f32;
                    running_mean[c] = follow(running_mean[c], mean[i]);
                    running_var[c] = follow(running_var[c], unbiased);
                }
            }
        }
    }
}

/// `rstd = 1/sqrt(var + eps)`.
pub fn running_rstd(var: &[f32], rstd: &mut [f32]) {
    for (rstd, var) in rstd.iter_mut().zip(var) {
        *rstd = (1.0 / (f64::from(*var) + BN_EPS).sqrt()) as f32;
    }
}

/// `sums.gamma = scale sum g zhat`, `sums.beta = scale sum g`.
#[allow(clippy::too_many_arguments)]
pub fn grad_sums(
    cpu: &Cpu,
    grad_y: &[f32],
    scale: f64,
    z: &[f32],
    shape: Shape,
    stats: &BnStats<Buffer>,
    sums: &mut Affine<Buffer>,
    workspace: &mut [f32],
) {
    let groups = Groups::new(shape.n());
    let c = shape.c();
    let chunk = groups.size * shape.image_len();
    let partials = Carver::new(workspace).take(groups.count * 2 * c);
    cpu.install(|| {
        (partials.par_chunks_mut(2 * c), grad_y.par_chunks(chunk), z.par_chunks(chunk))
            .into_par_iter()
            .with_max_len(1)
            .for_each(|(partial, grad_y, z)| {
                partial.fill(0.0);
                add_grad_sums(cpu, grad_y, z, stats, partial);
            });
        merge_grad_sums(partials, scale, sums);
    });
}

/// Adds some pixels to one group's sums, `[gamma C][beta C]`.
pub fn add_grad_sums(cpu: &Cpu, grad_y: &[f32], z: &[f32], stats: &BnStats<Buffer>, partial: &mut [f32]) {
    let (gamma, beta) = partial.split_at_mut(stats.mean.shape().len());
    cpu.run(GradSums { grad_y, z, mean: stats.mean.values(), rstd: stats.rstd.values(), gamma, beta });
}

/// From each group's sums to the batch's, in f64 and in the groups' order.
pub fn merge_grad_sums(partials: &[f32], scale: f64, sums: &mut Affine<Buffer>) {
    let c = sums.gamma.shape().len();
    let merge = |offset: usize, out: &mut Tensor| {
        for (i, out) in out.values_mut().iter_mut().enumerate() {
            let sum: f64 = partials.chunks_exact(2 * c).map(|partial| f64::from(partial[offset + i])).sum();
            *out = (scale * sum) as f32;
        }
    };
    merge(0, &mut sums.gamma);
    merge(c, &mut sums.beta);
}

impl BatchNorm for Cpu {
    fn bn_stats(&self, z: &Tensor, measure: Measure<'_, Buffer>, workspace: &mut Buffer) -> Result<()> {
        check::measured("bn_stats", z.shape().c(), Some(&measure))?;
        stats(self, z.values(), z.shape(), measure, workspace);
        Ok(())
    }

    fn bn_running_stats(&self, running: &BnRunning<Buffer>, stats: &mut BnStats<Buffer>) -> Result<()> {
        check::equal("bn_running_stats", running.mean.shape(), stats.mean.shape())?;
        stats.mean.values_mut().copy_from_slice(running.mean.values());
        running_rstd(running.var.values(), stats.rstd.values_mut());
        Ok(())
    }

    fn bn_apply(&self, z: &Tensor, stats: &BnStats<Buffer>, affine: &Affine<Buffer>, y: &mut Tensor) -> Result<()> {
        check::normed("bn_apply", z.shape(), &[y.shape()], stats, affine)?;
        let norm = Norm::new(stats, affine);
        let of = |at| BnApply { z: &z.values()[at], norm, scale: 1.0 };
        pixelwise::map_batch(self, z.shape(), of, Output::Overwrite, y.values_mut());
        Ok(())
    }

    fn bn_grad_sums(
        &self,
        grad_y: &Tensor,
        scale: f64,
        z: &Tensor,
        stats: &BnStats<Buffer>,
        sums: &mut Affine<Buffer>,
        workspace: &mut Buffer,
    ) -> Result<()> {
        check::normed("bn_grad_sums", z.shape(), &[grad_y.shape()], stats, sums)?;
        grad_sums(self, grad_y.values(), scale, z.values(), z.shape(), stats, sums, workspace);
        Ok(())
    }

    fn bn_grad_z(
        &self,
        grad_y: &Tensor,
        scale: f64,
        z: &Tensor,
        stats: &BnStats<Buffer>,
        affine: &Affine<Buffer>,
        sums: &Affine<Buffer>,
        grad_z: &mut Tensor,
    ) -> Result<()> {
        check::normed("bn_grad_z", z.shape(), &[grad_y.shape(), grad_z.shape()], stats, affine)?;
        check::norm("bn_grad_z", z.shape().c(), stats, sums)?;
        let norm = Norm::new(stats, affine);
        let sums = [sums.gamma.values(), sums.beta.values()];
        let (scale, terms) = (scale as f32, z.shape().pixels());
        let of = |at: Range<usize>| {
            let (grad_y, z) = (&grad_y.values()[at.clone()], &z.values()[at]);
            BnGradZ { grad_y, scale, z, norm, sums, terms }
        };
        pixelwise::map_batch(self, z.shape(), of, Output::Overwrite, grad_z.values_mut());
        Ok(())
    }

    fn bn_workspace(&self, z: Shape) -> usize {
        workspace(z)
    }
}
