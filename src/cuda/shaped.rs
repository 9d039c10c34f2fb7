//! Launches of the fused convolutions on one map and tile.

use super::buffer::CudaBuffer;
use super::conv::{self, grad_w_jobs, reduction, tiles};
use super::geometry::Geometry;
use super::half::{Half, Which};
use super::kernels::Tile;
use super::launch::launch;
use super::operand::{GradSums, NextPass, Norm, Operand, PairSum, WeightJob};
use super::{Cuda, Tensor, at};
use crate::error::Result;
use crate::operands::{BasicCache, BasicTheta};
use crate::shape::{Conv, Shape};

/// The shape of a block's two convolutions, with the tile that they are cut into.
#[derive(Clone, Copy)]
pub(super) struct Shaped<'d> {
    pub(super) d: &'d Cuda,
    pub(super) map: Shape,
    pub(super) tile: Tile,
}

impl Shaped<'_> {
    pub(super) fn geometry(&self) -> Geometry {
        Geometry::new(self.map, Conv::SAME_3X3, self.map.c())
    }

    /// The launch's shape, for kernels that keep `parameters` numbers per channel.
    pub(super) fn config(&self, parameters: usize) -> cudarc::driver::LaunchConfig {
        let c = self.map.c();
        tiles(self.map.pixels(), c, self.tile.channels(), parameters * c)
    }

    /// `z1 = conv1(x)`.
    pub(super) fn conv1(
        &self,
        theta: &BasicTheta<CudaBuffer>,
        x: &Tensor,
        z1: &mut Tensor,
        workspace: u64,
    ) -> Result<()> {
        let (x, w) = ((at(x), self.map), (at(&theta.conv1), self.map.c()));
        conv::forward(self.d, x, w, Conv::SAME_3X3, at(z1), None, workspace)
    }

    /// `y = x + h bn2(conv(relu(bn1(z1))))`, and how far that moved.
    pub(super) fn norm_relu_conv_step(
        &self,
        y: &mut Tensor,
        x: &Tensor,
        h: f64,
        norms: [Norm; 2],
        z1: &Tensor,
        w: &Tensor,
        moved: PairSum,
    ) -> Result<()> {
        if let Some(half) = self.half() {
            return half.norm_relu_conv_step(self.d, y, x, h as f32, norms, z1, at(w), moved);
        }
        let ([norm1, norm2], h, d) = (norms, h as f32, self.d);
        let (kernel, config, g) =
            (d.kernels.norm_relu_conv_step.of(d.math, self.tile), self.config(3), self.geometry());
        launch!(d, "norm_relu_conv_step", kernel, config, at(y), at(x), h, norm2, at(z1), norm1, at(w), g, moved)
    }

    /// z2 from z1, batch norm 2's gradient sums, and the next pass if there is one.
    pub(super) fn norm_relu_conv_sums(
        &self,
        cache: &mut BasicCache<CudaBuffer>,
        next: NextPass,
        grad: &Tensor,
        norms: [Norm; 2],
        w: &Tensor,
        to: GradSums,
        workspace: u64,
    ) -> Result<()> {
        if let Some(half) = self.half() {
            return half.norm_relu_conv_sums(self.d, cache, next, grad, norms, at(w), to, workspace);
        }
        let ([norm1, norm2], d, BasicCache { z1, z2 }) = (norms, self.d, cache);
        let (kernel, config, g) =
            (d.kernels.norm_relu_conv_sums.of(d.math, self.tile), self.config(3), self.geometry());
        let (r, z2, grad, z1, w) = (reduction(d, self.map, self.tile, workspace), at(z2), at(grad), at(z1), at(w));
        launch!(d, "norm_relu_conv_sums", kernel, config, z2, next, grad, norm2, z1, norm1, w, g, r, to)
    }

    /// `grad_u`, and batch norm 1's gradient sums.
    pub(super) fn bn_grad_conv_relu(
        &self,
        grad_u: &mut Tensor,
        from: Operand,
        w: &Tensor,
        z1: &Tensor,
        norm1: Norm,
        to: GradSums,
        workspace: u64,
    ) -> Result<()> {
        let d = self.d;
        if let Some(half) = self.half() {
            return half.bn_grad_conv_relu(d, grad_u, from, at(w), z1, norm1, to, workspace);
        }
        let (kernel, config, g) = (d.kernels.bn_grad_conv_relu.of(d.math, self.tile), self.config(4), self.geometry());
        let r = reduction(d, self.map, self.tile, workspace);
        launch!(d, "bn_grad_conv_relu", kernel, config, at(grad_u), from, at(w), at(z1), norm1, g, r, to)
    }

    /// `grad_x += conv^T(from)`.
    pub(super) fn bn_grad_conv_acc(&self, grad_x: &mut Tensor, from: Operand, w: &Tensor) -> Result<()> {
        let d = self.d;
        if let Some(half) = self.half() {
            return half.bn_grad_conv_acc(d, grad_x, from, at(w));
        }
        let (kernel, config, g) = (d.kernels.bn_grad_conv_acc.of(d.math, self.tile), self.config(4), self.geometry());
        launch!(d, "bn_grad_conv_acc", kernel, config, at(grad_x), from, at(w), g)
    }

    /// The f16 form of the block's convolutions, where it is asked for and goes.
    pub(super) fn half(&self) -> Option<Half> {
        Half::of_block(self.d, self.map)
    }

    /// The gradients by weights, each with the gradient of the block that it takes.
    pub(super) fn grad_w(&self, jobs: &[(WeightJob, Which)], keep: bool, workspace: u64) -> Result<()> {
        if let Some(half) = self.half() {
            return half.grad_w(self.d, jobs, keep, workspace);
        }
        let jobs: &[WeightJob] = match *jobs {
            [(first, _)] => &[first],
            [(first, _), .., (last, _)] => &[first, last],
            [] => &[],
        };
        grad_w_jobs(self.d, jobs, self.map, Conv::SAME_3X3, self.map.c(), keep, workspace)
    }
}
