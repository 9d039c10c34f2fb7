//! The reference device: f64, plain loops in the order of the formulas, nothing clever. When fast and obvious disagree,
//! obvious wins: every other device is tested against this one, and this one against finite differences.

mod batch_norm;
mod code;
mod conv;
mod data;
mod elementwise;
mod linear;
mod loss;
mod mask;
mod pool;

use std::sync::Arc;

use crate::check;
use crate::code::{Code, Coder};
use crate::data::{Dataset, Held, Part, Place};
use crate::device::{Device, PassPosition, Sgd};
use crate::error::Result;
use crate::host::{HostBuffer, HostRegion, judge, record_step};
use crate::memory::Memory;
use crate::operands::{Affine, BnRunning, BnStats, Measure};
use crate::shape::{Conv, Shape};
use crate::tensor::Tensor as DeviceTensor;

/// The reference device; it has no state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

type Buffer = HostBuffer<f64>;
type Tensor = DeviceTensor<Buffer>;

impl Memory for Reference {
    type Real = f64;
    type Region = HostRegion<f64>;
    type Buffer = HostBuffer<f64>;

    /// The region is filled with NaN, so that a result which reads memory nobody wrote shows it.
    fn reserve(&self, len: usize) -> Result<Self::Region> {
        let region = HostRegion::new(len)?;
        // SAFETY: the region is whole and nothing else was carved from it yet; this buffer is gone before anything is.
        unsafe { region.carve(0, len) }.fill(f64::NAN);
        Ok(region)
    }

    unsafe fn carve(&self, region: &Self::Region, offset: usize, len: usize) -> Buffer {
        // SAFETY: handed on to the caller.
        unsafe { region.carve(offset, len) }
    }
}

impl Device for Reference {
    type Recording = ();
    type Data = Held;

    const SCRATCH_MAPS: usize = 2;
    const STEPS_AHEAD: usize = 1;

    fn name(&self) -> String {
        "reference (f64)".into()
    }

    fn upload(&self, from: &[f64], to: &mut Tensor) -> Result<()> {
        check::host("upload", from.len(), to.shape())?;
        to.values_mut().copy_from_slice(from);
        Ok(())
    }

    fn download(&self, from: &Tensor, to: &mut [f64]) -> Result<()> {
        check::host("download", to.len(), from.shape())?;
        to.copy_from_slice(from.values());
        Ok(())
    }

    fn hold(&self, dataset: Arc<Dataset>) -> Result<Held> {
        Ok(Held::new(dataset))
    }

    fn write_table(&self, data: &mut Held, table: usize, write: impl FnOnce(&mut [Place])) -> Result<()> {
        write(data.table_mut(table));
        Ok(())
    }

    fn choose_table(&self, _: &mut Held, table: usize, chosen: &mut Tensor) -> Result<()> {
        self.fill(table as f64, chosen)
    }

    fn draw_batch(
        &self,
        data: &Held,
        part: Part,
        position: PassPosition<'_, Buffer>,
        images: &mut Tensor,
        labels: &mut Tensor,
    ) -> Result<()> {
        check::batch("draw_batch", images.shape(), labels.shape())?;
        data::draw_batch(data, part, position, images.values_mut(), labels.values_mut());
        Ok(())
    }

    fn record_step(
        &self,
        outcome: &Tensor,
        distance: Option<&Tensor>,
        always: bool,
        results: &mut Tensor,
        step_acc: &mut Tensor,
    ) -> Result<()> {
        let shapes = (results.shape(), outcome.shape(), distance.map(Tensor::shape), step_acc.shape());
        check::results("record_step", shapes.0, shapes.1, shapes.2, shapes.3)?;
        let distance = distance.map(Tensor::values);
        record_step(outcome.values(), distance, always, results.values_mut(), step_acc.values_mut());
        Ok(())
    }

    fn fill(&self, value: f64, y: &mut Tensor) -> Result<()> {
        y.values_mut().fill(value);
        Ok(())
    }

    fn copy(&self, x: &Tensor, y: &mut Tensor) -> Result<()> {
        check::equal("copy", x.shape(), y.shape())?;
        y.values_mut().copy_from_slice(x.values());
        Ok(())
    }

    fn axpby(&self, a: f64, x: &Tensor, b: f64, y_acc: &mut Tensor) -> Result<()> {
        check::equal("axpby", x.shape(), y_acc.shape())?;
        elementwise::axpby(a, x.values(), b, y_acc.values_mut());
        Ok(())
    }

    fn relu(&self, y: &mut Tensor) -> Result<()> {
        elementwise::relu(y.values_mut());
        Ok(())
    }

    fn relu_grad(&self, y: &Tensor, grad: &mut Tensor) -> Result<()> {
        check::equal("relu_grad", y.shape(), grad.shape())?;
        elementwise::relu_grad(y.values(), grad.values_mut());
        Ok(())
    }

    fn squared_distance(&self, x: &Tensor, y: &Tensor, out: &mut Tensor, at: usize, _: &mut Buffer) -> Result<()> {
        check::equal("squared_distance", x.shape(), y.shape())?;
        check::part("squared_distance", at..at + 2, out.shape())?;
        let sums = elementwise::squared_distance(x.values(), y.values());
        out.values_mut()[at..at + 2].copy_from_slice(&sums);
        Ok(())
    }

    fn squared_distance_workspace(&self, _: Shape) -> usize {
        0
    }

    fn all_finite(&self, x: &Tensor) -> Result<bool> {
        Ok(x.values().iter().all(|v| v.is_finite()))
    }

    fn code_start(&self, x_acc: &mut Tensor, grid: &mut Tensor, _: &mut Buffer) -> Result<()> {
        check::equal("code_start", Shape::vector(1), grid.shape())?;
        code::start(x_acc.values_mut(), grid.values_mut());
        Ok(())
    }

    fn code_round(&self, grid: &Tensor, x_acc: &mut Tensor) -> Result<()> {
        check::equal("code_round", Shape::vector(1), grid.shape())?;
        code::round(grid.values()[0], x_acc.values_mut());
        Ok(())
    }

    fn code_scale(&self, h: f64, last: &[&Affine<Buffer>], rest: &Tensor, scale: &mut BnStats<Buffer>) -> Result<()> {
        last.iter().try_for_each(|affine| check::norm("code_scale", rest.shape().c(), scale, affine))?;
        let BnStats { mean, rstd } = scale;
        code::scale(h, last, rest.values(), mean.values_mut(), rstd.values_mut());
        Ok(())
    }

    fn encode(
        &self,
        coder: &mut Coder<Buffer>,
        carry_acc: &mut Tensor,
        x_acc: Option<&mut Tensor>,
        code: &mut Code<Buffer>,
        _: &mut Buffer,
    ) -> Result<()> {
        check::code::<Self::Real, _>("encode", carry_acc.shape(), coder, code)?;
        x_acc.as_ref().map_or(Ok(()), |x| check::equal("encode", carry_acc.shape(), x.shape()))?;
        code::encode(coder, carry_acc, x_acc, code);
        Ok(())
    }

    fn decode(&self, coder: &Coder<Buffer>, code: &Code<Buffer>, x_acc: &mut Tensor, _: &mut Buffer) -> Result<()> {
        check::code::<Self::Real, _>("decode", x_acc.shape(), coder, code)?;
        code::decode(coder, code, x_acc);
        Ok(())
    }

    fn code_workspace(&self, _: Shape) -> usize {
        0
    }

    fn judge(&self, errors: &Tensor, at: usize, verdict_acc: &mut Tensor) -> Result<()> {
        check::part("judge", at..at + 4, errors.shape())?;
        judge(&errors.values()[at..at + 4], &mut verdict_acc.values_mut()[0]);
        Ok(())
    }

    fn relu_mask(&self, z: &Tensor, stats: &BnStats<Buffer>, affine: &Affine<Buffer>, mask: &mut Tensor) -> Result<()> {
        check::mask::<Self::Real, _>("relu_mask", z.shape(), stats, affine, mask.shape())?;
        mask::keep(z.values(), stats, affine, mask.values_mut());
        Ok(())
    }

    fn relu_replay(
        &self,
        mask: &Tensor,
        stats: &BnStats<Buffer>,
        affine: &Affine<Buffer>,
        z_acc: &mut Tensor,
    ) -> Result<()> {
        check::mask::<Self::Real, _>("relu_replay", z_acc.shape(), stats, affine, mask.shape())?;
        mask::replay(mask.values(), stats, affine, z_acc.values_mut());
        Ok(())
    }

    fn conv(&self, x: &Tensor, w: &Tensor, conv: Conv, y: &mut Tensor, _: &mut Buffer) -> Result<()> {
        check::conv("conv", x.shape(), w.shape(), conv, y.shape())?;
        let shape = x.shape();
        let c_out = w.shape().c();
        conv::conv(x.values(), shape, w.values(), c_out, conv, y.values_mut());
        Ok(())
    }

    fn conv_grad_x(&self, grad_y: &Tensor, w: &Tensor, conv: Conv, grad_x: &mut Tensor, _: &mut Buffer) -> Result<()> {
        check::conv("conv_grad_x", grad_x.shape(), w.shape(), conv, grad_y.shape())?;
        let shape = grad_x.shape();
        conv::conv_grad_x(grad_y.values(), w.values(), w.shape().c(), conv, grad_x.values_mut(), shape);
        Ok(())
    }

    fn conv_grad_w(
        &self,
        x: &Tensor,
        grad_y: &Tensor,
        conv: Conv,
        grad_w_acc: &mut Tensor,
        _: &mut Buffer,
    ) -> Result<()> {
        check::conv("conv_grad_w", x.shape(), grad_w_acc.shape(), conv, grad_y.shape())?;
        let c_out = grad_w_acc.shape().c();
        conv::conv_grad_w(x.values(), x.shape(), grad_y.values(), c_out, conv, grad_w_acc.values_mut());
        Ok(())
    }

    fn conv_workspace(&self, _: Shape, _: Conv, _: usize) -> usize {
        0
    }

    fn bn_stats(&self, z: &Tensor, measure: Measure<'_, Buffer>, _: &mut Buffer) -> Result<()> {
        let c = z.shape().c();
        check::equal("bn_stats", Shape::vector(c), measure.stats.mean.shape())?;
        let BnStats { mean, rstd } = measure.stats;
        let running = measure.running.map(|r| (r.mean.values_mut(), r.var.values_mut()));
        batch_norm::stats(z.values(), c, mean.values_mut(), rstd.values_mut(), running);
        Ok(())
    }

    fn bn_running_stats(&self, running: &BnRunning<Buffer>, stats: &mut BnStats<Buffer>) -> Result<()> {
        check::equal("bn_running_stats", running.mean.shape(), stats.mean.shape())?;
        stats.mean.values_mut().copy_from_slice(running.mean.values());
        batch_norm::running_rstd(running.var.values(), stats.rstd.values_mut());
        Ok(())
    }

    fn bn_apply(&self, z: &Tensor, stats: &BnStats<Buffer>, affine: &Affine<Buffer>, y: &mut Tensor) -> Result<()> {
        check::equal("bn_apply", z.shape(), y.shape())?;
        check::norm("bn_apply", z.shape().c(), stats, affine)?;
        batch_norm::apply(z.values(), &view(stats), affine.gamma.values(), affine.beta.values(), y.values_mut());
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
        check::equal("bn_grad_sums", z.shape(), grad_y.shape())?;
        check::norm("bn_grad_sums", z.shape().c(), stats, sums)?;
        let Affine { gamma, beta } = sums;
        let out = (gamma.values_mut(), beta.values_mut());
        batch_norm::grad_sums(grad_y.values(), scale, z.values(), &view(stats), out);
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
        check::equal("bn_grad_z", z.shape(), grad_y.shape())?;
        check::equal("bn_grad_z", z.shape(), grad_z.shape())?;
        check::norm("bn_grad_z", z.shape().c(), stats, affine)?;
        check::norm("bn_grad_z", z.shape().c(), stats, sums)?;
        let sums = (sums.gamma.values(), sums.beta.values());
        let gamma = affine.gamma.values();
        batch_norm::grad_z(grad_y.values(), scale, z.values(), &view(stats), gamma, sums, grad_z.values_mut());
        Ok(())
    }

    fn bn_workspace(&self, _: Shape) -> usize {
        0
    }

    fn avg_pool(&self, x: &Tensor, size: usize, y: &mut Tensor) -> Result<()> {
        check::avg_pool("avg_pool", x.shape(), size, y.shape())?;
        pool::avg_pool(x.values(), x.shape(), size, y.values_mut());
        Ok(())
    }

    fn avg_pool_grad(&self, grad_y: &Tensor, size: usize, grad_x: &mut Tensor) -> Result<()> {
        check::avg_pool("avg_pool_grad", grad_x.shape(), size, grad_y.shape())?;
        let shape = grad_x.shape();
        pool::avg_pool_grad(grad_y.values(), size, grad_x.values_mut(), shape);
        Ok(())
    }

    fn linear(&self, x: &Tensor, w: &Tensor, b: &Tensor, y: &mut Tensor) -> Result<()> {
        check::linear("linear", x.shape(), w.shape(), y.shape())?;
        check::equal("linear", Shape::vector(w.shape().c()), b.shape())?;
        linear::linear(x.values(), w.values(), b.values(), y.values_mut());
        Ok(())
    }

    fn linear_grad_x(&self, grad_y: &Tensor, w: &Tensor, grad_x: &mut Tensor) -> Result<()> {
        check::linear("linear_grad_x", grad_x.shape(), w.shape(), grad_y.shape())?;
        linear::linear_grad_x(grad_y.values(), w.values(), w.shape().c(), grad_x.values_mut());
        Ok(())
    }

    fn linear_grad_w(
        &self,
        x: &Tensor,
        grad_y: &Tensor,
        grad_w_acc: &mut Tensor,
        grad_b_acc: &mut Tensor,
    ) -> Result<()> {
        check::linear("linear_grad_w", x.shape(), grad_w_acc.shape(), grad_y.shape())?;
        check::equal("linear_grad_w", Shape::vector(grad_y.shape().c()), grad_b_acc.shape())?;
        linear::linear_grad_w(x.values(), grad_y.values(), grad_w_acc.values_mut(), grad_b_acc.values_mut());
        Ok(())
    }

    fn softmax_cross_entropy(
        &self,
        logits: &Tensor,
        labels: &Tensor,
        grad_logits: &mut Tensor,
        out: &mut Tensor,
    ) -> Result<()> {
        check::loss("softmax_cross_entropy", logits.shape(), grad_logits.shape(), labels.shape(), out.shape())?;
        let [mean_loss, correct] =
            loss::softmax_cross_entropy(logits.values(), labels.values(), grad_logits.values_mut());
        out.values_mut().copy_from_slice(&[mean_loss, correct]);
        Ok(())
    }

    fn sgd(&self, step: Sgd<'_, Buffer>, grad: &Tensor, velocity: &mut Tensor, theta: &mut Tensor) -> Result<()> {
        check::equal("sgd", theta.shape(), grad.shape())?;
        check::equal("sgd", theta.shape(), velocity.shape())?;
        elementwise::sgd(step, grad.values(), velocity.values_mut(), theta.values_mut());
        Ok(())
    }
}

/// Borrowed statistics, `[C]` each.
struct Stats<'a> {
    mean: &'a [f64],
    rstd: &'a [f64],
}

fn view(stats: &BnStats<HostBuffer<f64>>) -> Stats<'_> {
    Stats { mean: stats.mean.values(), rstd: stats.rstd.values() }
}
