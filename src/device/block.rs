//! Residual blocks, fused.

use super::{Basic, BatchNorm, Coding, Convolution, Device, Elementwise, ReluMask, fused, whole};
use crate::code::{Code, Coder};
use crate::error::Result;
use crate::operands::{Affine, BasicCache, BasicRunning, BasicStats, BasicTheta, BnStats, Carry, Measure, Scratch};
use crate::shape::{Conv, Shape};
use crate::sweep::run::{BackRun, ForwardRun};
use crate::tensor::Tensor;

/// The fused operations of residual blocks. A default body is the definition in smaller operations, from [`super::fused`] and
/// [`super::whole`]; a device overrides one only where that is measurably faster.
pub trait ResidualBlock: Elementwise + Convolution + BatchNorm + ReluMask + Coding {
    /// Workspace of every fused operation on blocks of this map: at least that of the primitives that define them.
    fn block_workspace(&self, map: Shape) -> usize {
        self.conv_workspace(map, Conv::SAME_3X3, map.c()).max(self.bn_workspace(map))
    }

    /// Convolution, then the batch's statistics of its output where asked for.
    fn conv_stats(
        &self,
        x: &Tensor<Self::Buffer>,
        w: &Tensor<Self::Buffer>,
        conv: Conv,
        z: &mut Tensor<Self::Buffer>,
        measure: Option<Measure<'_, Self::Buffer>>,
        workspace: &mut Self::Buffer,
    ) -> Result<()> {
        fused::conv_stats(self, x, w, conv, z, measure, workspace)
    }

    /// `z2 = conv3x3(relu(bn(z1)), w)`, then the batch's statistics of z2 where asked for.
    fn norm_relu_conv_stats(
        &self,
        z1: &Tensor<Self::Buffer>,
        stats1: &BnStats<Self::Buffer>,
        affine1: &Affine<Self::Buffer>,
        w: &Tensor<Self::Buffer>,
        z2: &mut Tensor<Self::Buffer>,
        measure: Option<Measure<'_, Self::Buffer>>,
        scratch: &mut Scratch<Self::Buffer>,
    ) -> Result<()> {
        fused::norm_relu_conv_stats(self, z1, stats1, affine1, w, z2, measure, scratch)
    }

    /// `y = relu(bn(z))`.
    fn norm_relu(
        &self,
        z: &Tensor<Self::Buffer>,
        stats: &BnStats<Self::Buffer>,
        affine: &Affine<Self::Buffer>,
        y: &mut Tensor<Self::Buffer>,
    ) -> Result<()> {
        fused::norm_relu(self, z, stats, affine, y)
    }

    /// `y = x + h bn(z)`: the residual step, forward or reverse by the sign of h.
    fn norm_step(
        &self,
        x: &Tensor<Self::Buffer>,
        h: f64,
        z: &Tensor<Self::Buffer>,
        stats: &BnStats<Self::Buffer>,
        affine: &Affine<Self::Buffer>,
        y: &mut Tensor<Self::Buffer>,
    ) -> Result<()> {
        fused::norm_step(self, x, h, z, stats, affine, y)
    }

    /// `x += h bn(z)`.
    fn norm_step_acc(
        &self,
        h: f64,
        z: &Tensor<Self::Buffer>,
        stats: &BnStats<Self::Buffer>,
        affine: &Affine<Self::Buffer>,
        x_acc: &mut Tensor<Self::Buffer>,
        scratch: &mut Scratch<Self::Buffer>,
    ) -> Result<()> {
        fused::norm_step_acc(self, h, z, stats, affine, x_acc, scratch)
    }

    /// One Euler step of training's forward pass, in place: `x += h f(x)` with f's statistics measured on the batch, and the
    /// running statistics moved where given. What the cache then holds is the device's affair.
    fn euler_step(
        &self,
        h: f64,
        theta: &BasicTheta<Self::Buffer>,
        stats: &mut BasicStats<Self::Buffer>,
        running: Option<&mut BasicRunning<Self::Buffer>>,
        x: &mut Tensor<Self::Buffer>,
        cache: &mut BasicCache<Self::Buffer>,
        scratch: &mut Scratch<Self::Buffer>,
    ) -> Result<()> {
        whole::euler_step::<Self, Basic>(self, h, theta, stats, running, x, cache, scratch)
    }

    /// One coded Euler step of training's forward pass, in place: [`super::Coding::encode`] of the increment `h f(x)` on top of the
    /// carry, f's statistics measured on the batch, and the running statistics moved where given. What the cache then holds is
    /// the device's affair.
    fn code_step(
        &self,
        h: f64,
        theta: &BasicTheta<Self::Buffer>,
        stats: &mut BasicStats<Self::Buffer>,
        running: Option<&mut BasicRunning<Self::Buffer>>,
        coder: &mut Coder<Self::Buffer>,
        code: &mut Code<Self::Buffer>,
        x: &mut Tensor<Self::Buffer>,
        carry: &mut Tensor<Self::Buffer>,
        cache: &mut BasicCache<Self::Buffer>,
        scratch: &mut Scratch<Self::Buffer>,
    ) -> Result<()> {
        whole::code_step::<Self, Basic>(self, h, theta, stats, running, coder, code, x, carry, cache, scratch)
    }

    /// The way back through one coded block with saved statistics: from `x = x_{n+1}` and `grad_x = dL/dx_{n+1}` to `x = x_n`
    /// by its code, `grad_x = dL/dx_n` and `grad_theta = dL/dtheta_n`. What the cache then holds is the device's affair.
    fn decode_vjp(
        &self,
        h: f64,
        theta: &BasicTheta<Self::Buffer>,
        stats: &mut BasicStats<Self::Buffer>,
        coder: &Coder<Self::Buffer>,
        code: &Code<Self::Buffer>,
        x: &mut Tensor<Self::Buffer>,
        cache: &mut BasicCache<Self::Buffer>,
        grad_x: &mut Tensor<Self::Buffer>,
        grad_theta: &mut BasicTheta<Self::Buffer>,
        scratch: &mut Scratch<Self::Buffer>,
    ) -> Result<()> {
        whole::decode_vjp::<Self, Basic>(self, h, theta, stats, coder, code, x, cache, grad_x, grad_theta, scratch)
    }

    /// Through the second half of a block: from the cotangent of `bn2(z2)`, scaled, to the cotangent `grad_u` of the inner
    /// ReLU's input, the gradient of conv2's weights, and batch norm's sums of both norms.
    fn basic_vjp_outer(
        &self,
        grad_f: &Tensor<Self::Buffer>,
        scale: f64,
        theta: &BasicTheta<Self::Buffer>,
        stats: &BasicStats<Self::Buffer>,
        cache: &BasicCache<Self::Buffer>,
        grad_theta_acc: &mut BasicTheta<Self::Buffer>,
        scratch: &mut Scratch<Self::Buffer>,
    ) -> Result<()> {
        fused::basic_vjp_outer(self, grad_f, scale, theta, stats, cache, grad_theta_acc, scratch)
    }

    /// Through the first half: from `scratch.grad_u` and `scratch.sums1` to `grad_x += ...` and the gradient of conv1's
    /// weights.
    fn basic_vjp_inner(
        &self,
        x: &Tensor<Self::Buffer>,
        theta: &BasicTheta<Self::Buffer>,
        stats: &BasicStats<Self::Buffer>,
        cache: &BasicCache<Self::Buffer>,
        grad_theta_acc: &mut BasicTheta<Self::Buffer>,
        grad_x_acc: &mut Tensor<Self::Buffer>,
        scratch: &mut Scratch<Self::Buffer>,
    ) -> Result<()> {
        fused::basic_vjp_inner(self, x, theta, stats, cache, grad_theta_acc, grad_x_acc, scratch)
    }

    /// The fused inverse Euler step and VJP of one block with saved statistics: from `x = x_{n+1}` and
    /// `grad_x = dL/dx_{n+1}` to `grad_x = dL/dx_n` and `grad_theta = dL/dtheta_n` at `x~_n = x - h f(x)`; `x` becomes the
    /// state that the sweep carries on from, as `carry` says. `errors[at..at + 4]` receives the block's local error, see
    /// [`crate::sweep::LocalError`]. What `x_rec` and the cache then hold is the device's affair.
    fn inverse_vjp(
        &self,
        h: f64,
        carry: Carry,
        theta: &BasicTheta<Self::Buffer>,
        stats: &mut BasicStats<Self::Buffer>,
        x: &mut Tensor<Self::Buffer>,
        x_rec: &mut Tensor<Self::Buffer>,
        errors: (&mut Tensor<Self::Buffer>, usize),
        cache: &mut BasicCache<Self::Buffer>,
        grad_x: &mut Tensor<Self::Buffer>,
        grad_theta: &mut BasicTheta<Self::Buffer>,
        scratch: &mut Scratch<Self::Buffer>,
    ) -> Result<()> {
        whole::inverse_vjp::<Self, Basic>(
            self, h, carry, theta, stats, x, x_rec, errors, cache, grad_x, grad_theta, scratch,
        )
    }

    /// How blocks on such a map are launched, in words, on a device that launches them in several ways. `runs`: whether blocks that
    /// follow each other may be taken at one go.
    fn block_form(&self, map: Shape, runs: bool) -> Option<&'static str> {
        let _ = (map, runs);
        None
    }

    /// Takes a run of blocks forward at one go: the same bits as block by block. Says whether it did; by default a device takes none.
    fn forward_run(&self, run: ForwardRun<'_, Self, Basic>) -> Result<bool>
    where
        Self: Device,
    {
        let _ = run;
        Ok(false)
    }

    /// The same on the way back.
    fn back_run(&self, run: BackRun<'_, Self, Basic>) -> Result<bool>
    where
        Self: Device,
    {
        let _ = run;
        Ok(false)
    }
}
