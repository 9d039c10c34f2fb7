//! One residual block's way back (inverse step or decoding, and VJP) as a short chain of launches, for channels that are multiples of 16: each
//! convolution with what stands before and behind it (kernels/conv_block.cu), both gradients by weights at once.

use super::conv::{Geometry, grad_w_jobs, reduction, tiles};
use super::kernels::Tile;
use super::launch::launch;
use super::operand::{GradSums, NextPass, Norm, Operand, PairSum, WeightJob};
use super::{Cuda, Tensor, at, buffer::CudaBuffer, code, conv, part};
use crate::code::{Code, Coder};
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

    /// `z1 = conv1(x)`.
    fn conv1(&self, theta: &BasicTheta<CudaBuffer>, x: &Tensor, z1: &mut Tensor, workspace: u64) -> Result<()> {
        let (x, w) = ((at(x), self.map), (at(&theta.conv1), self.map.c()));
        conv::forward(self.d, x, w, Conv::SAME_3X3, at(z1), None, workspace)
    }

    /// `y = x + h bn2(conv(relu(bn1(z1))))`, and how far that moved.
    fn norm_relu_conv_step(
        &self,
        y: &mut Tensor,
        x: &Tensor,
        h: f64,
        norms: [Norm; 2],
        z1: &Tensor,
        w: &Tensor,
        moved: PairSum,
    ) -> Result<()> {
        let ([norm1, norm2], h, d) = (norms, h as f32, self.d);
        let (kernel, config, g) =
            (d.kernels.norm_relu_conv_step.of(d.math, self.tile), self.config(3), self.geometry());
        launch!(d, "norm_relu_conv_step", kernel, config, at(y), at(x), h, norm2, at(z1), norm1, at(w), g, moved)
    }

    /// z2 from z1, batch norm 2's gradient sums, and the next pass if there is one.
    fn norm_relu_conv_sums(
        &self,
        cache: &mut BasicCache<CudaBuffer>,
        next: NextPass,
        grad: &Tensor,
        norms: [Norm; 2],
        w: &Tensor,
        to: GradSums,
        workspace: u64,
    ) -> Result<()> {
        let ([norm1, norm2], d, BasicCache { z1, z2 }) = (norms, self.d, cache);
        let (kernel, config, g) =
            (d.kernels.norm_relu_conv_sums.of(d.math, self.tile), self.config(3), self.geometry());
        let (r, z2, grad, z1, w) = (reduction(d, self.map, self.tile, workspace), at(z2), at(grad), at(z1), at(w));
        launch!(d, "norm_relu_conv_sums", kernel, config, z2, next, grad, norm2, z1, norm1, w, g, r, to)
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

/// [`Device::inverse_vjp`] in seven launches.
pub fn inverse_vjp(
    d: &Cuda,
    tile: Tile,
    h: f64,
    carry: Carry,
    theta: &BasicTheta<CudaBuffer>,
    stats: &BasicStats<CudaBuffer>,
    x: &mut Tensor,
    x_rec: &mut Tensor,
    (errors, offset): (&mut Tensor, usize),
    cache: &mut BasicCache<CudaBuffer>,
    grad_x: &mut Tensor,
    grad_theta: &mut BasicTheta<CudaBuffer>,
    scratch: &mut Scratch<CudaBuffer>,
) -> Result<()> {
    let map = x.shape();
    let block = Shaped { d, map, tile };
    let workspace = scratch.workspace.address();
    let norms = [Norm::new(&stats.bn1, &theta.bn1), Norm::new(&stats.bn2, &theta.bn2)];
    let sums_to = |offset| conv::pair_sum(d, map, tile, workspace, part(errors, offset));
    block.conv1(theta, x, &mut cache.z1, workspace)?;
    block.norm_relu_conv_step(x_rec, x, -h, norms, &cache.z1, &theta.conv2, sums_to(offset))?;
    let (correct, left) = (u32::from(carry == Carry::Correction), sums_to(offset + 2));
    let next = NextPass { x: at(x), rec: at(x_rec), h: -h as f32, correct, left };
    pull_back(block, h, theta, stats, x_rec, next, cache, grad_x, grad_theta, scratch)
}

/// [`Device::decode_vjp`] in six launches.
pub fn decode_vjp(
    d: &Cuda,
    tile: Tile,
    h: f64,
    theta: &BasicTheta<CudaBuffer>,
    stats: &BasicStats<CudaBuffer>,
    coder: &Coder<CudaBuffer>,
    coded: &Code<CudaBuffer>,
    x: &mut Tensor,
    cache: &mut BasicCache<CudaBuffer>,
    grad_x: &mut Tensor,
    grad_theta: &mut BasicTheta<CudaBuffer>,
    scratch: &mut Scratch<CudaBuffer>,
) -> Result<()> {
    code::decode(d, coder, coded, x)?;
    let block = Shaped { d, map: x.shape(), tile };
    pull_back(block, h, theta, stats, x, NextPass::NONE, cache, grad_x, grad_theta, scratch)
}

/// The evaluation at x_n and the way back through it, in five launches.
fn pull_back(
    block: Shaped<'_>,
    h: f64,
    theta: &BasicTheta<CudaBuffer>,
    stats: &BasicStats<CudaBuffer>,
    x_n: &Tensor,
    next: NextPass,
    cache: &mut BasicCache<CudaBuffer>,
    grad_x: &mut Tensor,
    grad_theta: &mut BasicTheta<CudaBuffer>,
    scratch: &mut Scratch<CudaBuffer>,
) -> Result<()> {
    let Scratch { grad_u, sums1, sums2, workspace, .. } = scratch;
    let workspace = workspace.address();
    let norms = [Norm::new(&stats.bn1, &theta.bn1), Norm::new(&stats.bn2, &theta.bn2)];
    let [norm1, norm2] = norms;
    block.conv1(theta, x_n, &mut cache.z1, workspace)?;
    let to = GradSums::new(sums2, &mut grad_theta.bn2, h, false);
    block.norm_relu_conv_sums(cache, next, grad_x, norms, &theta.conv2, to, workspace)?;
    let BasicCache { z1, z2 } = cache;
    let grad_z2 = Operand::bn_grad(grad_x, h, z2, norm2, sums2);
    let to = GradSums::new(sums1, &mut grad_theta.bn1, 1.0, false);
    block.bn_grad_conv_relu(grad_u, grad_z2, &theta.conv2, z1, norm1, to, workspace)?;
    let grad_z1 = Operand::bn_grad(grad_u, 1.0, z1, norm1, sums1);
    let jobs = [
        WeightJob::new(Operand::norm_relu(z1, norm1), grad_z2, at(&grad_theta.conv2)),
        WeightJob::new(Operand::plain(at(x_n)), grad_z1, at(&grad_theta.conv1)),
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
    theta: &BasicTheta<CudaBuffer>,
    stats: &BasicStats<CudaBuffer>,
    cache: &BasicCache<CudaBuffer>,
    grad_theta_acc: &mut BasicTheta<CudaBuffer>,
    scratch: &mut Scratch<CudaBuffer>,
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
    theta: &BasicTheta<CudaBuffer>,
    stats: &BasicStats<CudaBuffer>,
    cache: &BasicCache<CudaBuffer>,
    grad_theta_acc: &mut BasicTheta<CudaBuffer>,
    grad_x_acc: &mut Tensor,
    scratch: &mut Scratch<CudaBuffer>,
) -> Result<()> {
    let block = Shaped { d, map: x.shape(), tile };
    let norm1 = Norm::new(&stats.bn1, &theta.bn1);
    let grad_z1 = Operand::bn_grad(&scratch.grad_u, 1.0, &cache.z1, norm1, &scratch.sums1);
    let job = WeightJob::new(Operand::plain(at(x)), grad_z1, at(&grad_theta_acc.conv1));
    block.grad_w(&[job], true, scratch.workspace.address())?;
    block.bn_grad_conv_acc(grad_x_acc, grad_z1, &theta.conv1)
}
