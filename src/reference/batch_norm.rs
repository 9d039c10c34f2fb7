//! Batch normalisation over N, H, W (Ioffe and Szegedy 2015, Algorithm 1), in two passes.

use super::{Buffer, Reference, Stats, Tensor, view};
use crate::check;
use crate::device::{BN_EPS, BN_MOMENTUM, BatchNorm};
use crate::error::Result;
use crate::operands::{Affine, BnRunning, BnStats, Measure};
use crate::shape::Shape;

/// Mean and rstd per channel; running mean and unbiased variance move where given.
pub fn stats(
    z: &[f64],
    channels: usize,
    mean: &mut [f64],
    rstd: &mut [f64],
    mut running: Option<(&mut [f64], &mut [f64])>,
) {
    let count = (z.len() / channels) as f64;
    for c in 0..channels {
        let column = || z.iter().skip(c).step_by(channels);
        mean[c] = column().sum::<f64>() / count;
        let m2: f64 = column().map(|z| (z - mean[c]).powi(2)).sum();
        rstd[c] = 1.0 / (m2 / count + BN_EPS).sqrt();
        if let Some((running_mean, running_var)) = &mut running {
            // one value has no unbiased variance; PyTorch refuses, we let the biased one (zero) stand
            let unbiased = m2 / (count - 1.0).max(1.0);
            running_mean[c] = (1.0 - BN_MOMENTUM) * running_mean[c] + BN_MOMENTUM * mean[c];
            running_var[c] = (1.0 - BN_MOMENTUM) * running_var[c] + BN_MOMENTUM * unbiased;
        }
    }
}

/// `rstd = 1/sqrt(var + eps)`.
pub fn running_rstd(var: &[f64], rstd: &mut [f64]) {
    for (rstd, var) in rstd.iter_mut().zip(var) {
        *rstd = 1.0 / (var + BN_EPS).sqrt();
    }
}

/// `y = gamma (z - mean) rstd + beta`.
pub fn apply(z: &[f64], stats: &Stats<'_>, gamma: &[f64], beta: &[f64], y: &mut [f64]) {
    let channels = gamma.len();
    for (i, (y, z)) in y.iter_mut().zip(z).enumerate() {
        let c = i % channels;
        *y = gamma[c] * (z - stats.mean[c]) * stats.rstd[c] + beta[c];
    }
}

/// `sums = (scale sum g zhat, scale sum g)`.
pub fn grad_sums(grad_y: &[f64], scale: f64, z: &[f64], stats: &Stats<'_>, sums: (&mut [f64], &mut [f64])) {
    let (gamma, beta) = sums;
    let channels = gamma.len();
    gamma.fill(0.0);
    beta.fill(0.0);
    for (i, (g, z)) in grad_y.iter().zip(z).enumerate() {
        let c = i % channels;
        gamma[c] += scale * g * (z - stats.mean[c]) * stats.rstd[c];
        beta[c] += scale * g;
    }
}

/// `grad_z = gamma rstd (scale g - sum_beta / M - zhat sum_gamma / M)`.
pub fn grad_z(
    grad_y: &[f64],
    scale: f64,
    z: &[f64],
    stats: &Stats<'_>,
    gamma: &[f64],
    sums: (&[f64], &[f64]),
    grad_z: &mut [f64],
) {
    let channels = gamma.len();
    let count = (z.len() / channels) as f64;
    for (i, (out, (g, z))) in grad_z.iter_mut().zip(grad_y.iter().zip(z)).enumerate() {
        let c = i % channels;
        let zhat = (z - stats.mean[c]) * stats.rstd[c];
        *out = gamma[c] * stats.rstd[c] * (scale * g - sums.1[c] / count - zhat * sums.0[c] / count);
    }
}

impl BatchNorm for Reference {
    fn bn_stats(&self, z: &Tensor, measure: Measure<'_, Buffer>, _: &mut Buffer) -> Result<()> {
        let c = z.shape().c();
        check::measured("bn_stats", c, Some(&measure))?;
        let BnStats { mean, rstd } = measure.stats;
        let running = measure.running.map(|r| (r.mean.values_mut(), r.var.values_mut()));
        stats(z.values(), c, mean.values_mut(), rstd.values_mut(), running);
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
        apply(z.values(), &view(stats), affine.gamma.values(), affine.beta.values(), y.values_mut());
        Ok(())
    }

    fn bn_grad_sums(
        &self,
        grad_y: &Tensor,
        scale: f64,
        z: &Tensor,
        stats: &BnStats<Buffer>,
        sums: &mut Affine<Buffer>,
        _: &mut Buffer,
    ) -> Result<()> {
        check::normed("bn_grad_sums", z.shape(), &[grad_y.shape()], stats, sums)?;
        let Affine { gamma, beta } = sums;
        let out = (gamma.values_mut(), beta.values_mut());
        grad_sums(grad_y.values(), scale, z.values(), &view(stats), out);
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
        let sums = (sums.gamma.values(), sums.beta.values());
        let gamma = affine.gamma.values();
        self::grad_z(grad_y.values(), scale, z.values(), &view(stats), gamma, sums, grad_z.values_mut());
        Ok(())
    }

    fn bn_workspace(&self, _: Shape) -> usize {
        0
    }
}
