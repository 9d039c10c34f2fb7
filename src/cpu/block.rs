//! One residual block, fused: each pass reads an image once, keeps what is between its convolutions in the cache, and
//! leaves the sums that couple the images to a merge at its end.

use std::ops::Range;

use super::batch_norm::{self};
use super::code::{self};
use super::conv;
use super::conv_batch::ConvBatch;
use super::passes::{self, ERRORS, decode_pass, inner_pass, outer_pass, reverse_pass};
use super::pixelwise::{self, BnApply, Identity, Map, Norm, NormRelu, NormStep, Output};
use super::{Buffer, Cpu, Tensor};
use crate::check;
use crate::code::{Code, CodedPass, Coder};
use crate::device::{Basic, Coding, Elementwise, ResidualBlock};
use crate::error::Result;
use crate::operands::{Affine, BasicCache, BasicRunning, BasicStats, BasicTheta, BnStats, Carry, Measure, Scratch};
use crate::residual::{Normalise, Residual};
use crate::shape::{Conv, Shape};

impl ResidualBlock for Cpu {
    fn block_workspace(&self, map: Shape) -> usize {
        passes::workspace(self, map)
    }

    fn conv_stats(
        &self,
        x: &Tensor,
        w: &Tensor,
        conv: Conv,
        z: &mut Tensor,
        measure: Option<Measure<'_, Buffer>>,
        workspace: &mut Buffer,
    ) -> Result<()> {
        let (shape, c_out) = (x.shape(), w.shape().c());
        check::conv("conv", shape, w.shape(), conv, z.shape())?;
        check::measured("conv_stats", c_out, measure.as_ref())?;
        let batch = ConvBatch::forward(self, shape, conv, c_out);
        conv::convolve(self, batch, x.values(), Identity, w.values(), z.values_mut(), measure, workspace);
        Ok(())
    }

    fn norm_relu_conv_stats(
        &self,
        z1: &Tensor,
        stats1: &BnStats<Buffer>,
        affine1: &Affine<Buffer>,
        w: &Tensor,
        z2: &mut Tensor,
        measure: Option<Measure<'_, Buffer>>,
        scratch: &mut Scratch<Buffer>,
    ) -> Result<()> {
        let (shape, c_out) = (z1.shape(), w.shape().c());
        check::conv("norm_relu_conv_stats", shape, w.shape(), Conv::SAME_3X3, z2.shape())?;
        check::norm("norm_relu_conv_stats", shape.c(), stats1, affine1)?;
        check::measured("norm_relu_conv_stats", c_out, measure.as_ref())?;
        let norm = Norm::new(stats1, affine1);
        let batch = ConvBatch::forward(self, shape, Conv::SAME_3X3, c_out);
        let of = |z| NormRelu { z, norm };
        let workspace = &mut scratch.workspace;
        conv::convolve(self, batch, z1.values(), of, w.values(), z2.values_mut(), measure, workspace);
        Ok(())
    }

    fn norm_relu(&self, z: &Tensor, stats: &BnStats<Buffer>, affine: &Affine<Buffer>, y: &mut Tensor) -> Result<()> {
        check::normed("norm_relu", z.shape(), &[y.shape()], stats, affine)?;
        let norm = Norm::new(stats, affine);
        let of = |at| NormRelu { z: &z.values()[at], norm };
        pixelwise::map_batch(self, z.shape(), of, Output::Overwrite, y.values_mut());
        Ok(())
    }

    fn norm_step(
        &self,
        x: &Tensor,
        h: f64,
        z: &Tensor,
        stats: &BnStats<Buffer>,
        affine: &Affine<Buffer>,
        y: &mut Tensor,
    ) -> Result<()> {
        check::normed("norm_step", z.shape(), &[x.shape(), y.shape()], stats, affine)?;
        let norm = Norm::new(stats, affine);
        let of = |at: Range<usize>| {
            let (x, z) = (&x.values()[at.clone()], &z.values()[at]);
            NormStep { x, h: h as f32, z, norm }
        };
        pixelwise::map_batch(self, z.shape(), of, Output::Overwrite, y.values_mut());
        Ok(())
    }

    fn norm_step_acc(
        &self,
        h: f64,
        z: &Tensor,
        stats: &BnStats<Buffer>,
        affine: &Affine<Buffer>,
        x_acc: &mut Tensor,
        _: &mut Scratch<Buffer>,
    ) -> Result<()> {
        check::normed("norm_step_acc", z.shape(), &[x_acc.shape()], stats, affine)?;
        let norm = Norm::new(stats, affine);
        let of = |at| BnApply { z: &z.values()[at], norm, scale: h as f32 };
        pixelwise::map_batch(self, z.shape(), of, Output::Accumulate, x_acc.values_mut());
        Ok(())
    }

    fn basic_vjp_outer(
        &self,
        grad_f: &Tensor,
        scale: f64,
        theta: &BasicTheta<Buffer>,
        stats: &BasicStats<Buffer>,
        cache: &BasicCache<Buffer>,
        grad_theta_acc: &mut BasicTheta<Buffer>,
        scratch: &mut Scratch<Buffer>,
    ) -> Result<()> {
        let (map, z2) = (grad_f.shape(), cache.z2.values());
        check::block("basic_vjp_outer", map, theta, stats, cache, grad_theta_acc, scratch)?;
        let Scratch { sums2, workspace, .. } = scratch;
        batch_norm::grad_sums(self, grad_f.values(), scale, z2, map, &stats.bn2, sums2, workspace);
        outer_pass(self, grad_f, scale, theta, stats, cache, grad_theta_acc, scratch);
        Ok(())
    }

    fn basic_vjp_inner(
        &self,
        x: &Tensor,
        theta: &BasicTheta<Buffer>,
        stats: &BasicStats<Buffer>,
        cache: &BasicCache<Buffer>,
        grad_theta_acc: &mut BasicTheta<Buffer>,
        grad_x_acc: &mut Tensor,
        scratch: &mut Scratch<Buffer>,
    ) -> Result<()> {
        check::equal("basic_vjp_inner", x.shape(), grad_x_acc.shape())?;
        check::block("basic_vjp_inner", x.shape(), theta, stats, cache, grad_theta_acc, scratch)?;
        inner_pass(self, x, theta, stats, cache, grad_theta_acc, grad_x_acc, scratch);
        Ok(())
    }

    fn code_step(
        &self,
        h: f64,
        theta: &BasicTheta<Buffer>,
        stats: &mut BasicStats<Buffer>,
        running: Option<&mut BasicRunning<Buffer>>,
        coder: &mut Coder<Buffer>,
        code: &mut Code<Buffer>,
        x: &mut Tensor,
        carry: &mut Tensor,
        cache: &mut BasicCache<Buffer>,
        scratch: &mut Scratch<Buffer>,
    ) -> Result<()> {
        check::equal("code_step", x.shape(), carry.shape())?;
        check::code::<f32, _>("code_step", x.shape(), coder, code)?;
        Basic::eval(self, x, theta, stats, Normalise::Batch(running), cache, scratch)?;
        self.code_scale(h, &[&theta.bn2], &coder.rest, &mut code.scale)?;
        let (norm, c, z2) = (Norm::new(&stats.bn2, &theta.bn2), x.shape().c(), cache.z2.values());
        let plain = coder.pass == CodedPass::Plain;
        code::encode(self, coder, carry, Some(x), code, &mut scratch.workspace, |at, carry, x| {
            let f = BnApply { z: &z2[at], norm, scale: h as f32 };
            self.run(Map { f, from: 0, output: Output::Accumulate, y: carry, c });
            if let (true, Some(x)) = (plain, x) {
                self.run(Map { f, from: 0, output: Output::Accumulate, y: x, c });
            }
        });
        Ok(())
    }

    fn decode_vjp(
        &self,
        h: f64,
        theta: &BasicTheta<Buffer>,
        stats: &mut BasicStats<Buffer>,
        coder: &Coder<Buffer>,
        code: &Code<Buffer>,
        x: &mut Tensor,
        cache: &mut BasicCache<Buffer>,
        grad_x: &mut Tensor,
        grad_theta: &mut BasicTheta<Buffer>,
        scratch: &mut Scratch<Buffer>,
    ) -> Result<()> {
        check::equal("decode_vjp", x.shape(), grad_x.shape())?;
        check::code::<f32, _>("decode_vjp", x.shape(), coder, code)?;
        check::block("decode_vjp", x.shape(), theta, stats, cache, grad_theta, scratch)?;
        for (_, grad) in grad_theta.named_mut() {
            self.fill(0.0, grad)?;
        }
        let Scratch { sums2, workspace, .. } = scratch;
        decode_pass(self, h, theta, stats, coder, code, x, cache, grad_x, sums2, workspace);
        outer_pass(self, grad_x, h, theta, stats, cache, grad_theta, scratch);
        inner_pass(self, x, theta, stats, cache, grad_theta, grad_x, scratch);
        Ok(())
    }

    fn inverse_vjp(
        &self,
        h: f64,
        carry: Carry,
        theta: &BasicTheta<Buffer>,
        stats: &mut BasicStats<Buffer>,
        x: &mut Tensor,
        x_rec: &mut Tensor,
        (errors, at): (&mut Tensor, usize),
        cache: &mut BasicCache<Buffer>,
        grad_x: &mut Tensor,
        grad_theta: &mut BasicTheta<Buffer>,
        scratch: &mut Scratch<Buffer>,
    ) -> Result<()> {
        check::equal("inverse_vjp", x.shape(), x_rec.shape())?;
        check::equal("inverse_vjp", x.shape(), grad_x.shape())?;
        check::part("inverse_vjp", at..at + ERRORS, errors.shape())?;
        check::block("inverse_vjp", x.shape(), theta, stats, cache, grad_theta, scratch)?;
        for (_, grad) in grad_theta.named_mut() {
            self.fill(0.0, grad)?;
        }
        let Scratch { sums2, workspace, .. } = scratch;
        let errors = &mut errors.values_mut()[at..at + ERRORS];
        reverse_pass(self, h, carry, theta, stats, x, x_rec, errors, cache, grad_x, sums2, workspace);
        outer_pass(self, grad_x, h, theta, stats, cache, grad_theta, scratch);
        inner_pass(self, x_rec, theta, stats, cache, grad_theta, grad_x, scratch);
        Ok(())
    }
}
