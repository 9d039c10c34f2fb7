//! The lower end of a stack of blocks, fused: where a pass that codes begins, and where the way back meets the true state again.

use super::{ResidualBlock, fused};
use crate::code::Coder;
use crate::error::Result;
use crate::operands::{Affine, BnStats, Reconstruction};
use crate::shape::Conv;
use crate::tensor::Tensor;

/// What is done once a step at a stack's lower end. A default body is the definition in smaller operations, from [`super::fused`].
pub trait Ends: ResidualBlock {
    /// Begins a pass that codes at `x` = x_0: `coder.grid = unit(max |x|)`, see [`crate::code::unit`], the carry and `coder.rest`
    /// become 0; in an altered pass x is rounded to multiples of the grid. `idle` is of x's shape. Workspace of
    /// [`super::Coding::code_workspace`].
    fn begin_codes(
        &self,
        coder: &mut Coder<Self::Buffer>,
        x: &mut Tensor<Self::Buffer>,
        carry: &mut Tensor<Self::Buffer>,
        idle: &mut Tensor<Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()> {
        fused::begin_codes(self, coder, x, carry, idle, workspace)
    }

    /// How far a reconstruction x is from `y`, which is rounded to multiples of the grid first where one is given:
    /// `of.distance = [sum (x - y)^2, sum y^2] + 0 of.verdict`. What y then holds is the device's affair. Workspace of
    /// [`super::Elementwise::squared_distance_workspace`].
    fn drift(
        &self,
        of: Reconstruction<'_, Self::Buffer>,
        y: &mut Tensor<Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()> {
        fused::drift(self, of, y, workspace)
    }

    /// Back through `y = relu(bn(z))`: `grad = grad where y > 0, else 0`, with batch norm's sums of that as by
    /// [`super::BatchNorm::bn_grad_sums`]; and [`Self::drift`] from y where a reconstruction is given. What y then holds is the device's
    /// affair. Workspace of [`super::BatchNorm::bn_workspace`] and of [`super::Elementwise::squared_distance_workspace`].
    fn norm_relu_grad_sums(
        &self,
        z: &Tensor<Self::Buffer>,
        stats: &BnStats<Self::Buffer>,
        affine: &Affine<Self::Buffer>,
        of: Option<Reconstruction<'_, Self::Buffer>>,
        y: &mut Tensor<Self::Buffer>,
        grad: &mut Tensor<Self::Buffer>,
        sums: &mut Affine<Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()> {
        fused::norm_relu_grad_sums(self, z, stats, affine, of, y, grad, sums, workspace)
    }

    /// `grad_w = dL/dw` of `z = conv(x, w)` from the cotangent of `bn(z)` and batch norm's sums of it. `grad_z` receives that of z.
    /// Workspace of [`super::Convolution::conv_workspace`].
    fn norm_conv_grad_w(
        &self,
        x: &Tensor<Self::Buffer>,
        conv: Conv,
        grad_y: &Tensor<Self::Buffer>,
        z: &Tensor<Self::Buffer>,
        stats: &BnStats<Self::Buffer>,
        affine: &Affine<Self::Buffer>,
        sums: &Affine<Self::Buffer>,
        grad_z: &mut Tensor<Self::Buffer>,
        grad_w: &mut Tensor<Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()> {
        fused::norm_conv_grad_w(self, x, conv, grad_y, z, stats, affine, sums, grad_z, grad_w, workspace)
    }
}
