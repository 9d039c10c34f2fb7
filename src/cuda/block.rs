//! One residual block's inverse step and VJP as a short chain of launches, for channels that are multiples of 16: each
//! convolution with what stands before and behind it (kernels/conv_block.cu), both gradients by weights at once.

use super::conv::{Geometry, grad_w_jobs, reduction, tiles};
use super::kernels::Tile;
use super::launch::launch;
use super::operand::{GradSums, Norm, Operand, WeightJob};
use super::{Cuda, Tensor, at, conv};
use crate::device::Device;
use crate::error::Result;
use crate::operands::{Affine, BasicCache, BasicStats, BasicTheta, Carry, Scratch};
use crate::shape::{Conv, Shape};

/// The shape of a block's two convolutions, with the tile that they are cut into.
#[derive(Clone, Copy)]
struct Shaped<'d> {
    d: &'d Cuda,
    map: Shape,
    tile: Tile,
}

impl Shaped<'_> {
    fn geometry(&self) -> Geometry {
        Geometry::new(self.map, Conv::SAME_3X3, self.map.c())
    }

    /// The launch's shape, for kernels that keep `parameters` numbers a channel.
    fn config(&self, parameters: usize) -> cudarc::driver::LaunchConfig {
        let c = self.map.c();
        tiles(self.map.pixels(), c, self.tile.channels(), parameters * c)
    }

    /// `y = x + h bn2(conv(relu(bn1(z1))))`; y may be x.
    fn norm_relu_conv_step(&self, y: u64, x: u64, h: f64, norms: [Norm; 2], z1: &Tensor, w: &Tensor) -> Result<()> {
        let ([norm1, norm2], h, d) = (norms, h as f32, self.d);
        let (kernel, config, g) =
            (d.kernels.norm_relu_conv_step.of(d.math, self.tile), self.config(3), self.geometry());
        launch!(d, "norm_relu_conv_step", kernel, config, y, x, h, norm2, at(z1), norm1, at(w), g)
    }

    /// `grad_u`, and batch norm 1's gradient sums.
    fn bn_grad_conv_relu(
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
        let (kernel, config, g) = (d.kernels.bn_grad_conv_relu.of(d.math, self.tile), self.config(4), self.geometry());
        let r = reduction(d, self.map, self.tile, workspace);
        launch!(d, "bn_grad_conv_relu", kernel, config, at(grad_u), from, at(w), at(z1), norm1, g, r, to)
    }

    /// `grad_x += conv^T(from)`.
    fn bn_grad_conv_acc(&self, grad_x: &mut Tensor, from: Operand, w: &Tensor) -> Result<()> {
        let d = self.d;
        let (kernel, config, g) = (d.kernels.bn_grad_conv_acc.of(d.math, self.tile), self.config(4), self.geometry());
        launch!(d, "bn_grad_conv_acc", kernel, config, at(grad_x), from, at(w), g)
    }

    fn grad_w(&self, jobs: &[WeightJob], keep: bool, workspace: u64) -> Result<()> {
        grad_w_jobs(self.d, jobs, self.map, Conv::SAME_3X3, self.map.c(), keep, workspace)
    }
}

/// [`Device::inverse_vjp`] in seven launches. `x_rec` stays unused where the sweep carries on from the reconstruction, which
/// then replaces x at once.
pub fn inverse_vjp(
    d: &Cuda,
    tile: Tile,
    h: f64,
    carry: Carry,
    theta: &BasicTheta<Cuda>,
    stats: &BasicStats<Cuda>,
    x: &mut Tensor,
    x_rec: &mut Tensor,
    cache: &mut BasicCache<Cuda>,
    grad_x: &mut Tensor,
    grad_theta: &mut BasicTheta<Cuda>,
    scratch: &mut Scratch<Cuda>,
) -> Result<()> {
    let map = x.shape();
    let block = Shaped { d, map, tile };
    let BasicCache { z1, z2 } = cache;
    let Scratch { grad_u, sums1, sums2, workspace, .. } = scratch;
    let workspace = workspace.address();
    let (norm1, norm2) = (Norm::new(&stats.bn1, &theta.bn1), Norm::new(&stats.bn2, &theta.bn2));
    let (rec, corrected) = match carry {
        Carry::Reconstruction => (at(x), 0),
        Carry::Correction => (at(x_rec), at(x)),
    };
    let conv1 = |x: u64, z1: &mut Tensor| {
        conv::forward(d, (x, map), (at(&theta.conv1), map.c()), Conv::SAME_3X3, at(z1), None, workspace)
    };

    conv1(at(x), z1)?;
    block.norm_relu_conv_step(rec, at(x), -h, [norm1, norm2], z1, &theta.conv2)?;
    conv1(rec, z1)?;
    let to = GradSums::new(sums2, &mut grad_theta.bn2, h, false);
    let (kernel, config, g) = (d.kernels.norm_relu_conv_sums.of(d.math, tile), block.config(3), block.geometry());
    let (r, back, w2) = (reduction(d, map, tile, workspace), -h as f32, at(&theta.conv2));
    let (z1_at, grad) = (at(z1), at(grad_x));
    launch!(
        d,
        "norm_relu_conv_sums",
        kernel,
        config,
        at(z2),
        corrected,
        back,
        grad,
        norm2,
        z1_at,
        norm1,
        w2,
        g,
        r,
        to
    )?;

    let grad_z2 = Operand::bn_grad(grad_x, h, z2, norm2, sums2);
    let to = GradSums::new(sums1, &mut grad_theta.bn1, 1.0, false);
    block.bn_grad_conv_relu(grad_u, grad_z2, &theta.conv2, z1, norm1, to, workspace)?;
    let grad_z1 = Operand::bn_grad(grad_u, 1.0, z1, norm1, sums1);
    let jobs = [
        WeightJob::new(Operand::norm_relu(z1, norm1), grad_z2, at(&grad_theta.conv2)),
        WeightJob::new(Operand::plain(rec), grad_z1, at(&grad_theta.conv1)),
    ];
    block.grad_w(&jobs, false, workspace)?;
    block.bn_grad_conv_acc(grad_x, grad_z1, &theta.conv1)
}

/// [`Device::basic_vjp_outer`].
pub fn vjp_outer(
    d: &Cuda,
    tile: Tile,
    grad_f: &Tensor,
    scale: f64,
    theta: &BasicTheta<Cuda>,
    stats: &BasicStats<Cuda>,
    cache: &BasicCache<Cuda>,
    grad_theta_acc: &mut BasicTheta<Cuda>,
    scratch: &mut Scratch<Cuda>,
) -> Result<()> {
    let block = Shaped { d, map: grad_f.shape(), tile };
    let Scratch { grad_u, sums1, sums2, workspace, .. } = scratch;
    let (norm1, norm2) = (Norm::new(&stats.bn1, &theta.bn1), Norm::new(&stats.bn2, &theta.bn2));
    d.bn_grad_sums(grad_f, scale, &cache.z2, &stats.bn2, sums2, workspace)?;
    let workspace = workspace.address();
    let grad_z2 = Operand::bn_grad(grad_f, scale, &cache.z2, norm2, sums2);
    let to = GradSums::new(sums1, &mut grad_theta_acc.bn1, 1.0, true);
    block.bn_grad_conv_relu(grad_u, grad_z2, &theta.conv2, &cache.z1, norm1, to, workspace)?;
    let job = WeightJob::new(Operand::norm_relu(&cache.z1, norm1), grad_z2, at(&grad_theta_acc.conv2));
    block.grad_w(&[job], true, workspace)?;
    let Affine { gamma, beta } = &mut grad_theta_acc.bn2;
    d.axpby(1.0, &sums2.gamma, 1.0, gamma)?;
    d.axpby(1.0, &sums2.beta, 1.0, beta)
}

/// [`Device::basic_vjp_inner`].
pub fn vjp_inner(
    d: &Cuda,
    tile: Tile,
    x: &Tensor,
    theta: &BasicTheta<Cuda>,
    stats: &BasicStats<Cuda>,
    cache: &BasicCache<Cuda>,
    grad_theta_acc: &mut BasicTheta<Cuda>,
    grad_x_acc: &mut Tensor,
    scratch: &mut Scratch<Cuda>,
) -> Result<()> {
    let block = Shaped { d, map: x.shape(), tile };
    let norm1 = Norm::new(&stats.bn1, &theta.bn1);
    let grad_z1 = Operand::bn_grad(&scratch.grad_u, 1.0, &cache.z1, norm1, &scratch.sums1);
    let job = WeightJob::new(Operand::plain(at(x)), grad_z1, at(&grad_theta_acc.conv1));
    block.grad_w(&[job], true, scratch.workspace.address())?;
    block.bn_grad_conv_acc(grad_x_acc, grad_z1, &theta.conv1)
}
