//! Convolution.

use crate::error::Result;
use crate::memory::Memory;
use crate::shape::{Conv, Shape};
use crate::tensor::Tensor;

/// Convolution and its two gradients.
pub trait Convolution: Memory {
    /// `y[n,oy,ox,o] = sum_{ky,kx,i} x[n, oy s + ky - p, ox s + kx - p, i] w[ky,kx,i,o]`, zero outside.
    fn conv(
        &self,
        x: &Tensor<Self::Buffer>,
        w: &Tensor<Self::Buffer>,
        conv: Conv,
        y: &mut Tensor<Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()>;
    /// The convolution's transpose: `grad_x = dL/dx` from `grad_y`.
    fn conv_grad_x(
        &self,
        grad_y: &Tensor<Self::Buffer>,
        w: &Tensor<Self::Buffer>,
        conv: Conv,
        grad_x: &mut Tensor<Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()>;
    /// `grad_w += dL/dw` from the input and `grad_y`.
    fn conv_grad_w(
        &self,
        x: &Tensor<Self::Buffer>,
        grad_y: &Tensor<Self::Buffer>,
        conv: Conv,
        grad_w_acc: &mut Tensor<Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()>;
    /// Workspace of the three and of [`super::ResidualBlock::conv_stats`], for an input `x` and `c_out` output channels.
    fn conv_workspace(&self, x: Shape, conv: Conv, c_out: usize) -> usize;
}
