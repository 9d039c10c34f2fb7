//! One residual block's way back (inverse step or decoding, and VJP) as a short chain of launches, for channels that are multiples of 16: each
//! convolution with what stands before and behind it (kernels/conv_block.cu), both gradients by weights at once.

use super::buffer::CudaBuffer;
use super::half::{Half, Which};
use super::kernels::Tile;
use super::launch::{launch, over_fours};
use super::operand::{GradSums, NextPass, Norm, Operand, Peaks, WeightJob};
use super::shaped::Shaped;
use super::small_block::{Coded, Norms, Theta};
use super::small_run::{self, Back, Forward};
use super::{Cuda, Tensor, at, batch_norm, code, conv, part};
use crate::check;
use crate::code::{Code, Coder};
use crate::device::{Basic, BatchNorm, Coding, Convolution, Elementwise, ResidualBlock, fused, whole};
use crate::error::Result;
use crate::operands::{Affine, BasicCache, BasicRunning, BasicStats, BasicTheta, BnStats, Carry, Measure, Scratch};
use crate::residual::{Normalise, Residual};
use crate::shape::{Conv, Shape};
use crate::sweep::run::{BackRun, CodedForward, ForwardRun, Rebuilt, errors_of};

/// [`crate::device::ResidualBlock::inverse_vjp`] in seven launches.
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

/// [`crate::device::ResidualBlock::decode_vjp`] in six launches.
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
        (WeightJob::new(Operand::norm_relu(z1, norm1), grad_z2, at(&grad_theta.conv2)), Which::Outer),
        (WeightJob::new(Operand::plain(at(x_n)), grad_z1, at(&grad_theta.conv1)), Which::Inner),
    ];
    block.grad_w(&jobs, false, workspace)?;
    block.bn_grad_conv_acc(grad_x, grad_z1, &theta.conv1)
}

/// [`crate::device::ResidualBlock::basic_vjp_outer`].
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
    let workspace = workspace.address();
    let peaks = if block.half().is_some() { Half::grad_peaks(d)? } else { Peaks::NONE };
    batch_norm::grad_sums(d, at(grad_f), scale, at(&cache.z2), block.map, &stats.bn2, sums2, peaks, workspace)?;
    let grad_z2 = Operand::bn_grad(grad_f, scale, &cache.z2, norm2, sums2);
    let to = GradSums::new(sums1, &mut grad_theta_acc.bn1, 1.0, true);
    block.bn_grad_conv_relu(grad_u, grad_z2, &theta.conv2, &cache.z1, norm1, to, workspace)?;
    let job = WeightJob::new(Operand::norm_relu(&cache.z1, norm1), grad_z2, at(&grad_theta_acc.conv2));
    block.grad_w(&[(job, Which::Outer)], true, workspace)?;
    let Affine { gamma, beta } = &mut grad_theta_acc.bn2;
    d.axpby(1.0, &sums2.gamma, 1.0, gamma)?;
    d.axpby(1.0, &sums2.beta, 1.0, beta)
}

/// [`crate::device::ResidualBlock::basic_vjp_inner`].
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
    block.grad_w(&[(job, Which::Inner)], true, scratch.workspace.address())?;
    block.bn_grad_conv_acc(grad_x_acc, grad_z1, &theta.conv1)
}

/// A run of one block.
fn one_forward(
    theta: &BasicTheta<CudaBuffer>,
    stats: &BasicStats<CudaBuffer>,
    running: Option<&mut BasicRunning<CudaBuffer>>,
) -> Forward {
    Forward::one(
        Theta::of(theta),
        Norms::stats(stats),
        running.map_or_else(Norms::default, |running| Norms::running(running)),
    )
}

/// The same on the way back.
fn one_back(
    theta: &BasicTheta<CudaBuffer>,
    grad_theta: &BasicTheta<CudaBuffer>,
    stats: &BasicStats<CudaBuffer>,
) -> Back {
    Back::one(Theta::of(theta), Theta::of(grad_theta), Norms::stats(stats))
}

impl ResidualBlock for Cuda {
    fn block_workspace(&self, map: Shape) -> usize {
        let primitives = self.conv_workspace(map, Conv::SAME_3X3, map.c()).max(self.bn_workspace(map));
        let chained = conv::fused_tile(map.c()).map_or(0, |tile| conv::block_workspace(map, tile));
        let half = Half::of_block(self, map).map_or(0, Half::workspace);
        primitives.max(chained).max(half).max(self.limits.workspace(map)).max(self.code_workspace(map))
    }

    fn conv_stats(
        &self,
        x: &Tensor,
        w: &Tensor,
        conv: Conv,
        z: &mut Tensor,
        measure: Option<Measure<'_, CudaBuffer>>,
        workspace: &mut CudaBuffer,
    ) -> Result<()> {
        check::conv("conv", x.shape(), w.shape(), conv, z.shape())?;
        check::measured("conv_stats", w.shape().c(), measure.as_ref())?;
        let (x, w) = ((at(x), x.shape()), (at(w), w.shape().c()));
        conv::forward(self, x, w, conv, at(z), measure, workspace.address())
    }

    fn norm_relu_conv_stats(
        &self,
        z1: &Tensor,
        stats1: &BnStats<CudaBuffer>,
        affine1: &Affine<CudaBuffer>,
        w: &Tensor,
        z2: &mut Tensor,
        measure: Option<Measure<'_, CudaBuffer>>,
        scratch: &mut Scratch<CudaBuffer>,
    ) -> Result<()> {
        check::conv("norm_relu_conv_stats", z1.shape(), w.shape(), Conv::SAME_3X3, z2.shape())?;
        check::norm("norm_relu_conv_stats", z1.shape().c(), stats1, affine1)?;
        let (Some(tile), true) = (conv::fused_tile(z1.shape().c()), z1.shape() == z2.shape()) else {
            return fused::norm_relu_conv_stats(self, z1, stats1, affine1, w, z2, measure, scratch);
        };
        check::measured("norm_relu_conv_stats", w.shape().c(), measure.as_ref())?;
        let (z1, w) = ((at(z1), z1.shape()), (at(w), w.shape().c()));
        let norm = Norm::new(stats1, affine1);
        conv::norm_relu_forward(self, tile, z1, norm, w, at(z2), measure, scratch.workspace.address())
    }

    fn basic_vjp_outer(
        &self,
        grad_f: &Tensor,
        scale: f64,
        theta: &BasicTheta<CudaBuffer>,
        stats: &BasicStats<CudaBuffer>,
        cache: &BasicCache<CudaBuffer>,
        grad_theta_acc: &mut BasicTheta<CudaBuffer>,
        scratch: &mut Scratch<CudaBuffer>,
    ) -> Result<()> {
        check::block("basic_vjp_outer", grad_f.shape(), theta, stats, cache, grad_theta_acc, scratch)?;
        match conv::fused_tile(grad_f.shape().c()) {
            Some(tile) => vjp_outer(self, tile, grad_f, scale, theta, stats, cache, grad_theta_acc, scratch),
            None => fused::basic_vjp_outer(self, grad_f, scale, theta, stats, cache, grad_theta_acc, scratch),
        }
    }

    fn basic_vjp_inner(
        &self,
        x: &Tensor,
        theta: &BasicTheta<CudaBuffer>,
        stats: &BasicStats<CudaBuffer>,
        cache: &BasicCache<CudaBuffer>,
        grad_theta_acc: &mut BasicTheta<CudaBuffer>,
        grad_x_acc: &mut Tensor,
        scratch: &mut Scratch<CudaBuffer>,
    ) -> Result<()> {
        check::block("basic_vjp_inner", x.shape(), theta, stats, cache, grad_theta_acc, scratch)?;
        check::equal("basic_vjp_inner", x.shape(), grad_x_acc.shape())?;
        match conv::fused_tile(x.shape().c()) {
            Some(tile) => vjp_inner(self, tile, x, theta, stats, cache, grad_theta_acc, grad_x_acc, scratch),
            None => fused::basic_vjp_inner(self, x, theta, stats, cache, grad_theta_acc, grad_x_acc, scratch),
        }
    }

    fn norm_relu(
        &self,
        z: &Tensor,
        stats: &BnStats<CudaBuffer>,
        affine: &Affine<CudaBuffer>,
        y: &mut Tensor,
    ) -> Result<()> {
        check::normed("norm_relu", z.shape(), &[y.shape()], stats, affine)?;
        let (Norm { mean, rstd, gamma, beta }, len) = (Norm::new(stats, affine), z.shape().len());
        let (c, kernel) = (z.shape().c() as u32, &self.kernels.norm_relu);
        launch!(self, "norm_relu", kernel, over_fours(len), at(y), at(z), mean, rstd, gamma, beta, len as u64, c)
    }

    fn norm_step(
        &self,
        x: &Tensor,
        h: f64,
        z: &Tensor,
        stats: &BnStats<CudaBuffer>,
        affine: &Affine<CudaBuffer>,
        y: &mut Tensor,
    ) -> Result<()> {
        check::normed("norm_step", z.shape(), &[x.shape(), y.shape()], stats, affine)?;
        self.step(at(x), h, z, stats, affine, at(y))
    }

    fn norm_step_acc(
        &self,
        h: f64,
        z: &Tensor,
        stats: &BnStats<CudaBuffer>,
        affine: &Affine<CudaBuffer>,
        x_acc: &mut Tensor,
        _: &mut Scratch<CudaBuffer>,
    ) -> Result<()> {
        check::normed("norm_step_acc", z.shape(), &[x_acc.shape()], stats, affine)?;
        self.step(at(x_acc), h, z, stats, affine, at(x_acc))
    }

    fn euler_step(
        &self,
        h: f64,
        theta: &BasicTheta<CudaBuffer>,
        stats: &mut BasicStats<CudaBuffer>,
        running: Option<&mut BasicRunning<CudaBuffer>>,
        x: &mut Tensor,
        cache: &mut BasicCache<CudaBuffer>,
        scratch: &mut Scratch<CudaBuffer>,
    ) -> Result<()> {
        if let Some(form) = self.limits.form(x.shape()) {
            check::basic("euler_step", x.shape().c(), theta, stats)?;
            let workspace = scratch.workspace.address();
            return form.euler_step(self, h, one_forward(theta, stats, running), at(x), workspace);
        }
        whole::euler_step::<Self, Basic>(self, h, theta, stats, running, x, cache, scratch)
    }

    fn code_step(
        &self,
        h: f64,
        theta: &BasicTheta<CudaBuffer>,
        stats: &mut BasicStats<CudaBuffer>,
        running: Option<&mut BasicRunning<CudaBuffer>>,
        coder: &mut Coder<CudaBuffer>,
        code: &mut Code<CudaBuffer>,
        x: &mut Tensor,
        carry: &mut Tensor,
        cache: &mut BasicCache<CudaBuffer>,
        scratch: &mut Scratch<CudaBuffer>,
    ) -> Result<()> {
        let map = x.shape();
        check::equal("code_step", map, carry.shape())?;
        check::code::<Self::Real, _>("code_step", map, coder, code)?;
        check::basic("code_step", map.c(), theta, stats)?;
        if let Some(form) = self.limits.form(map) {
            let workspace = scratch.workspace.address();
            let (run, code) = (one_forward(theta, stats, running), Coded::new(self, form, coder, code));
            return form.code_step(self, h, run, code, at(x), at(carry), workspace);
        }
        if map.c() > code::MOST_CHANNELS {
            return whole::code_step::<Self, Basic>(
                self, h, theta, stats, running, coder, code, x, carry, cache, scratch,
            );
        }
        Basic::eval(self, x, theta, stats, Normalise::Batch(running), cache, scratch)?;
        let norm = Norm::new(&stats.bn2, &theta.bn2);
        code::norm_encode(self, h, &cache.z2, norm, coder, code, x, carry, scratch.workspace.address())
    }

    fn decode_vjp(
        &self,
        h: f64,
        theta: &BasicTheta<CudaBuffer>,
        stats: &mut BasicStats<CudaBuffer>,
        coder: &Coder<CudaBuffer>,
        code: &Code<CudaBuffer>,
        x: &mut Tensor,
        cache: &mut BasicCache<CudaBuffer>,
        grad_x: &mut Tensor,
        grad_theta: &mut BasicTheta<CudaBuffer>,
        scratch: &mut Scratch<CudaBuffer>,
    ) -> Result<()> {
        check::equal("decode_vjp", x.shape(), grad_x.shape())?;
        check::code::<Self::Real, _>("decode_vjp", x.shape(), coder, code)?;
        if let Some(form) = self.limits.form(x.shape()) {
            let workspace = scratch.workspace.address();
            check::basic("decode_vjp", x.shape().c(), theta, stats)?;
            check::basic("decode_vjp", x.shape().c(), grad_theta, stats)?;
            let (run, code) = (one_back(theta, grad_theta, stats), Coded::new(self, form, coder, code));
            return form.decode_vjp(self, h, run, code, at(x), at(grad_x), workspace);
        }
        check::block("decode_vjp", x.shape(), theta, stats, cache, grad_theta, scratch)?;
        match conv::fused_tile(x.shape().c()) {
            Some(tile) => decode_vjp(self, tile, h, theta, stats, coder, code, x, cache, grad_x, grad_theta, scratch),
            None => whole::decode_vjp::<Self, Basic>(
                self, h, theta, stats, coder, code, x, cache, grad_x, grad_theta, scratch,
            ),
        }
    }

    fn inverse_vjp(
        &self,
        h: f64,
        carry: Carry,
        theta: &BasicTheta<CudaBuffer>,
        stats: &mut BasicStats<CudaBuffer>,
        x: &mut Tensor,
        x_rec: &mut Tensor,
        errors: (&mut Tensor, usize),
        cache: &mut BasicCache<CudaBuffer>,
        grad_x: &mut Tensor,
        grad_theta: &mut BasicTheta<CudaBuffer>,
        scratch: &mut Scratch<CudaBuffer>,
    ) -> Result<()> {
        check::part("inverse_vjp", errors.1..errors.1 + 4, errors.0.shape())?;
        if let Some(form) = self.limits.form(x.shape()) {
            let workspace = scratch.workspace.address();
            check::equal("inverse_vjp", x.shape(), grad_x.shape())?;
            check::basic("inverse_vjp", x.shape().c(), theta, stats)?;
            check::basic("inverse_vjp", x.shape().c(), grad_theta, stats)?;
            let (x, errors, grad_x) = (at(x), part(errors.0, errors.1), at(grad_x));
            return form.inverse_vjp(self, h, carry, one_back(theta, grad_theta, stats), x, errors, grad_x, workspace);
        }
        check::block("inverse_vjp", x.shape(), theta, stats, cache, grad_theta, scratch)?;
        check::equal("inverse_vjp", x.shape(), x_rec.shape())?;
        check::equal("inverse_vjp", x.shape(), grad_x.shape())?;
        match conv::fused_tile(x.shape().c()) {
            Some(tile) => {
                inverse_vjp(self, tile, h, carry, theta, stats, x, x_rec, errors, cache, grad_x, grad_theta, scratch)
            }
            None => whole::inverse_vjp::<Self, Basic>(
                self, h, carry, theta, stats, x, x_rec, errors, cache, grad_x, grad_theta, scratch,
            ),
        }
    }

    fn block_form(&self, map: Shape, runs: bool) -> Option<&'static str> {
        Some(match self.limits.form(map) {
            Some(form) if runs && self.runs => match self.limits.holds(form) {
                Some(true) => "blocks that follow each other in one launch each way, states held in shared memory",
                Some(false) => "blocks that follow each other in one launch each way",
                None => "blocks that follow each other in one launch forward, one launch each backward",
            },
            Some(_) => "each block in one launch each way",
            None => "each block in a chain of launches",
        })
    }

    fn forward_run(&self, run: ForwardRun<'_, Self, Basic>) -> Result<bool> {
        let map = run.x.shape();
        let Some(form) = self.limits.form(map).filter(|_| self.runs) else { return Ok(false) };
        for (theta, stats) in run.theta.iter().zip(&*run.stats) {
            check::basic("forward_run", map.c(), theta, &stats.stages[0])?;
        }
        if let Some(CodedForward { coder, codes, carry, .. }) = &run.coded {
            check::equal("forward_run", map, carry.shape())?;
            codes.iter().try_for_each(|code| check::code::<Self::Real, _>("forward_run", map, coder, code))?;
        }
        small_run::forward(self, form, run)?;
        Ok(true)
    }

    fn back_run(&self, run: BackRun<'_, Self, Basic>) -> Result<bool> {
        let map = run.x.shape();
        let Some(form) = self.limits.form(map).filter(|_| self.runs) else { return Ok(false) };
        let Some(held) = self.limits.holds(form) else { return Ok(false) };
        check::equal("back_run", map, run.grad.shape())?;
        for (theta, stats) in run.theta.iter().zip(run.stats) {
            check::basic("back_run", map.c(), theta, &stats.stages[0])?;
        }
        match &run.rebuilt {
            Rebuilt::Reversed { errors, .. } => {
                check::part("back_run", 0..errors_of(run.first + run.theta.len()), errors.shape())?
            }
            Rebuilt::Decoded { coder, codes, .. } => {
                codes.iter().try_for_each(|code| check::code::<Self::Real, _>("back_run", map, coder, code))?;
            }
        }
        small_run::back(self, form, held, run)?;
        Ok(true)
    }
}
