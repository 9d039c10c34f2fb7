//! Batch normalisation.

use crate::error::Result;
use crate::memory::Memory;
use crate::operands::{Affine, BnRunning, BnStats, Measure};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Batch norm's eps, PyTorch's default.
pub const BN_EPS: f64 = 1e-5;
/// Weight of the new batch in the running statistics, PyTorch's default.
pub const BN_MOMENTUM: f64 = 0.1;

/// Batch normalisation: statistics over N, H and W, the affine map, and the exact VJP through the statistics.
pub trait BatchNorm: Memory {
    /// Mean and rstd of `z`; with `running`, also `r = (1 - BN_MOMENTUM) r + BN_MOMENTUM s`, the variance unbiased.
    fn bn_stats(
        &self,
        z: &Tensor<Self::Buffer>,
        measure: Measure<'_, Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()>;
    /// The statistics that evaluation uses: `mean = running.mean`, `rstd = 1/sqrt(running.var + eps)`.
    fn bn_running_stats(&self, running: &BnRunning<Self::Buffer>, stats: &mut BnStats<Self::Buffer>) -> Result<()>;
    /// `y = gamma (z - mean) rstd + beta`.
    fn bn_apply(
        &self,
        z: &Tensor<Self::Buffer>,
        stats: &BnStats<Self::Buffer>,
        affine: &Affine<Self::Buffer>,
        y: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// With `zhat = (z - mean) rstd`: `sums.gamma = scale sum g zhat`, `sums.beta = scale sum g`, per channel.
    fn bn_grad_sums(
        &self,
        grad_y: &Tensor<Self::Buffer>,
        scale: f64,
        z: &Tensor<Self::Buffer>,
        stats: &BnStats<Self::Buffer>,
        sums: &mut Affine<Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()>;
    /// The exact VJP of train-mode batch norm, through the statistics, M = N H W:
    /// `grad_z = gamma rstd (scale grad_y - sums.beta / M - zhat sums.gamma / M)`.
    fn bn_grad_z(
        &self,
        grad_y: &Tensor<Self::Buffer>,
        scale: f64,
        z: &Tensor<Self::Buffer>,
        stats: &BnStats<Self::Buffer>,
        affine: &Affine<Self::Buffer>,
        sums: &Affine<Self::Buffer>,
        grad_z: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// Workspace of [`Self::bn_stats`] and [`Self::bn_grad_sums`].
    fn bn_workspace(&self, z: Shape) -> usize;
}
