//! The fast CPU device: f32, vectors over the channels, threads over the images.
//!
//! Every result is the same bits for any number of threads: the batch is cut into groups by its size alone, and the groups'
//! partial sums are merged in order. No operation allocates. Call several operations from within [`Device::install`] to spare
//! each the way into the pool.

mod batch_norm;
mod block;
mod channel_sums;
mod code;
mod conv;
mod conv_grad;
mod conv_grad_kernel;
mod conv_kernel;
mod data;
mod elementwise;
mod epilogue;
mod linear;
mod loss;
mod mask;
mod padded;
mod pixelwise;
mod pool;
mod sgd;
mod simd;
mod winograd;
mod workspace;

pub use simd::Isa;

use std::ops::Range;
use std::sync::Arc;

use self::conv::ConvBatch;
use self::pixelwise::{BnApply, BnGradZ, Identity, Norm, NormRelu, NormStep, Output};
use self::simd::Kernel;
use crate::check;
use crate::code::{Code, Coder};
use crate::data::{Dataset, Held, Part, Place};
use crate::device::{Device, PassPosition, Sgd};
use crate::error::{Error, Result};
use crate::host::{HostBuffer, HostRegion, judge, record_step};
use crate::memory::Memory;
use crate::operands::{
    Affine, BasicCache, BasicRunning, BasicStats, BasicTheta, BnRunning, BnStats, Carry, Measure, Scratch,
};
use crate::shape::{Conv, Shape};
use crate::tensor::Tensor as DeviceTensor;

/// The fast CPU device.
pub struct Cpu {
    isa: Isa,
    pool: rayon::ThreadPool,
}

type Buffer = HostBuffer<f32>;
type Tensor = DeviceTensor<Buffer>;

impl Cpu {
    /// The device with the best instruction set of this machine, and as many threads as it has cores if none are given.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are to be no threads, or the system refuses them.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        let cores = || std::thread::available_parallelism().map_or(1, |n| n.get());
        Self::with_isa(Isa::detect(), threads.unwrap_or_else(cores))
    }

    /// The device with a given instruction set: tests run all that the machine has.
    ///
    /// # Errors
    /// As [`Cpu::new`], and if the machine lacks the instruction set.
    pub fn with_isa(isa: Isa, threads: usize) -> Result<Self> {
        if !isa.is_available() {
            return Err(Error::Usage(format!("this machine has no {isa}")));
        }
        if threads == 0 {
            return Err(Error::Usage("--threads 0 leaves nobody to compute: give 1 or more, or leave it out".into()));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("rewind-cpu-{i}"))
            .build()
            .map_err(|e| Error::Usage(format!("cannot start the device's threads ({e}): give fewer --threads")))?;
        Ok(Self { isa, pool })
    }

    /// Threads of the pool. Workspace sizes depend on it, results do not.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `f` on a thread of the pool. From within, operations start without a detour.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.pool.install(f)
    }

    /// Runs a kernel on the calling thread.
    fn run<K: Kernel>(&self, kernel: K) {
        // SAFETY: `with_isa` made sure that the machine has the instruction set.
        unsafe { self.isa.run(kernel) }
    }
}

impl Memory for Cpu {
    type Real = f32;
    type Region = HostRegion<f32>;
    type Buffer = Buffer;

    fn reserve(&self, len: usize) -> Result<Self::Region> {
        HostRegion::new(len)
    }

    unsafe fn carve(&self, region: &Self::Region, offset: usize, len: usize) -> Buffer {
        // SAFETY: handed on to the caller.
        unsafe { region.carve(offset, len) }
    }
}

impl Device for Cpu {
    type Recording = ();
    type Data = Held;

    const SCRATCH_MAPS: usize = 0;
    const STEPS_AHEAD: usize = 1;

    fn name(&self) -> String {
        let threads = self.threads();
        format!("cpu ({}, {threads} thread{})", self.isa, if threads == 1 { "" } else { "s" })
    }

    fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        // not this method: the one of `Cpu` itself
        self.install(f)
    }

    fn upload(&self, from: &[f32], to: &mut Tensor) -> Result<()> {
        check::host("upload", from.len(), to.shape())?;
        to.values_mut().copy_from_slice(from);
        Ok(())
    }

    fn download(&self, from: &Tensor, to: &mut [f32]) -> Result<()> {
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
        data::draw_batch(self, data, part, position, images.values_mut(), labels.values_mut());
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
        elementwise::each_chunk(self, y.values_mut(), |y, _| y.fill(value as f32));
        Ok(())
    }

    fn copy(&self, x: &Tensor, y: &mut Tensor) -> Result<()> {
        check::equal("copy", x.shape(), y.shape())?;
        elementwise::each_chunk(self, y.values_mut(), |y, at| y.copy_from_slice(&x.values()[at]));
        Ok(())
    }

    fn axpby(&self, a: f64, x: &Tensor, b: f64, y_acc: &mut Tensor) -> Result<()> {
        check::equal("axpby", x.shape(), y_acc.shape())?;
        elementwise::axpby(self, a, x.values(), b, y_acc.values_mut());
        Ok(())
    }

    fn relu(&self, y: &mut Tensor) -> Result<()> {
        elementwise::relu(self, y.values_mut());
        Ok(())
    }

    fn relu_grad(&self, y: &Tensor, grad: &mut Tensor) -> Result<()> {
        check::equal("relu_grad", y.shape(), grad.shape())?;
        elementwise::relu_grad(self, y.values(), grad.values_mut());
        Ok(())
    }

    fn squared_distance(
        &self,
        x: &Tensor,
        y: &Tensor,
        out: &mut Tensor,
        at: usize,
        workspace: &mut Buffer,
    ) -> Result<()> {
        check::equal("squared_distance", x.shape(), y.shape())?;
        check::part("squared_distance", at..at + 2, out.shape())?;
        let sums = elementwise::squared_distance(self, x.values(), y.values(), workspace);
        out.values_mut()[at..at + 2].copy_from_slice(&sums.map(|v| v as f32));
        Ok(())
    }

    fn squared_distance_workspace(&self, x: Shape) -> usize {
        elementwise::squared_distance_workspace(x.len())
    }

    fn all_finite(&self, x: &Tensor) -> Result<bool> {
        Ok(elementwise::all_finite(self, x.values()))
    }

    fn code_start(&self, x_acc: &mut Tensor, grid: &mut Tensor, workspace: &mut Buffer) -> Result<()> {
        check::equal("code_start", Shape::vector(1), grid.shape())?;
        code::start(self, x_acc.values_mut(), grid.values_mut(), workspace);
        Ok(())
    }

    fn code_round(&self, grid: &Tensor, x_acc: &mut Tensor) -> Result<()> {
        check::equal("code_round", Shape::vector(1), grid.shape())?;
        code::round(self, grid.values()[0], x_acc.values_mut());
        Ok(())
    }

    fn code_scale(&self, h: f64, last: &[&Affine<Buffer>], rest: &Tensor, scale: &mut BnStats<Buffer>) -> Result<()> {
        last.iter().try_for_each(|affine| check::norm("code_scale", rest.shape().c(), scale, affine))?;
        code::scale(h, last, rest.values(), scale);
        Ok(())
    }

    fn encode(
        &self,
        coder: &mut Coder<Buffer>,
        carry_acc: &mut Tensor,
        x_acc: Option<&mut Tensor>,
        code: &mut Code<Buffer>,
        workspace: &mut Buffer,
    ) -> Result<()> {
        check::code::<Self::Real, _>("encode", carry_acc.shape(), coder, code)?;
        x_acc.as_ref().map_or(Ok(()), |x| check::equal("encode", carry_acc.shape(), x.shape()))?;
        code::encode(self, coder, carry_acc, x_acc, code, workspace, |_, _, _| ());
        Ok(())
    }

    fn decode(
        &self,
        coder: &Coder<Buffer>,
        code: &Code<Buffer>,
        x_acc: &mut Tensor,
        workspace: &mut Buffer,
    ) -> Result<()> {
        check::code::<Self::Real, _>("decode", x_acc.shape(), coder, code)?;
        code::decode(self, coder, code, x_acc, workspace);
        Ok(())
    }

    fn code_workspace(&self, map: Shape) -> usize {
        code::workspace(self, map)
    }

    fn judge(&self, errors: &Tensor, at: usize, verdict_acc: &mut Tensor) -> Result<()> {
        check::part("judge", at..at + 4, errors.shape())?;
        judge(&errors.values()[at..at + 4], &mut verdict_acc.values_mut()[0]);
        Ok(())
    }

    fn relu_mask(&self, z: &Tensor, stats: &BnStats<Buffer>, affine: &Affine<Buffer>, mask: &mut Tensor) -> Result<()> {
        check::mask::<Self::Real, _>("relu_mask", z.shape(), stats, affine, mask.shape())?;
        mask::keep(self, z, stats, affine, mask);
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
        mask::replay(self, mask, stats, affine, z_acc);
        Ok(())
    }

    fn conv(&self, x: &Tensor, w: &Tensor, conv: Conv, y: &mut Tensor, workspace: &mut Buffer) -> Result<()> {
        self.conv_stats(x, w, conv, y, None, workspace)
    }

    fn conv_grad_x(
        &self,
        grad_y: &Tensor,
        w: &Tensor,
        conv: Conv,
        grad_x: &mut Tensor,
        workspace: &mut Buffer,
    ) -> Result<()> {
        let (x, c_out) = (grad_x.shape(), w.shape().c());
        check::conv("conv_grad_x", x, w.shape(), conv, grad_y.shape())?;
        let batch = ConvBatch::transposed(x, conv, c_out);
        conv::convolve(self, batch, grad_y.values(), Identity, w.values(), grad_x.values_mut(), None, workspace);
        Ok(())
    }

    fn conv_grad_w(
        &self,
        x: &Tensor,
        grad_y: &Tensor,
        conv: Conv,
        grad_w_acc: &mut Tensor,
        workspace: &mut Buffer,
    ) -> Result<()> {
        let (shape, c_out) = (x.shape(), grad_w_acc.shape().c());
        check::conv("conv_grad_w", shape, grad_w_acc.shape(), conv, grad_y.shape())?;
        let grad_w = grad_w_acc.values_mut();
        conv_grad::conv_grad_w(self, x.values(), shape, grad_y.values(), conv, grad_w, c_out, workspace);
        Ok(())
    }

    fn conv_workspace(&self, x: Shape, conv: Conv, c_out: usize) -> usize {
        conv::workspace(self, x, conv, c_out)
    }

    fn bn_stats(&self, z: &Tensor, measure: Measure<'_, Buffer>, workspace: &mut Buffer) -> Result<()> {
        check::equal("bn_stats", Shape::vector(z.shape().c()), measure.stats.mean.shape())?;
        batch_norm::stats(self, z.values(), z.shape(), measure, workspace);
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
        let norm = Norm::new(stats, affine);
        let of = |at| BnApply { z: &z.values()[at], norm, scale: 1.0 };
        pixelwise::map_batch(self, z.shape(), of, Output::Overwrite, y.values_mut());
        Ok(())
    }

    fn bn_grad_sums(
        &self,
        grad_y: &Tensor,
        scale: f64,
        z: &Tensor,
        stats: &BnStats<Buffer>,
        sums: &mut Affine<Buffer>,
        workspace: &mut Buffer,
    ) -> Result<()> {
        check::equal("bn_grad_sums", z.shape(), grad_y.shape())?;
        check::norm("bn_grad_sums", z.shape().c(), stats, sums)?;
        batch_norm::grad_sums(self, grad_y.values(), scale, z.values(), z.shape(), stats, sums, workspace);
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
        let norm = Norm::new(stats, affine);
        let sums = [sums.gamma.values(), sums.beta.values()];
        let (scale, terms) = (scale as f32, z.shape().pixels());
        let of = |at: Range<usize>| {
            let (grad_y, z) = (&grad_y.values()[at.clone()], &z.values()[at]);
            BnGradZ { grad_y, scale, z, norm, sums, terms }
        };
        pixelwise::map_batch(self, z.shape(), of, Output::Overwrite, grad_z.values_mut());
        Ok(())
    }

    fn bn_workspace(&self, z: Shape) -> usize {
        batch_norm::workspace(z)
    }

    fn avg_pool(&self, x: &Tensor, size: usize, y: &mut Tensor) -> Result<()> {
        check::avg_pool("avg_pool", x.shape(), size, y.shape())?;
        pool::avg_pool(self, x.values(), x.shape(), size, y.values_mut());
        Ok(())
    }

    fn avg_pool_grad(&self, grad_y: &Tensor, size: usize, grad_x: &mut Tensor) -> Result<()> {
        let shape = grad_x.shape();
        check::avg_pool("avg_pool_grad", shape, size, grad_y.shape())?;
        pool::avg_pool_grad(self, grad_y.values(), size, grad_x.values_mut(), shape);
        Ok(())
    }

    fn linear(&self, x: &Tensor, w: &Tensor, b: &Tensor, y: &mut Tensor) -> Result<()> {
        check::linear("linear", x.shape(), w.shape(), y.shape())?;
        check::equal("linear", Shape::vector(w.shape().c()), b.shape())?;
        linear::linear(self, x.values(), w.values(), b.values(), y.values_mut());
        Ok(())
    }

    fn linear_grad_x(&self, grad_y: &Tensor, w: &Tensor, grad_x: &mut Tensor) -> Result<()> {
        check::linear("linear_grad_x", grad_x.shape(), w.shape(), grad_y.shape())?;
        linear::linear_grad_x(self, grad_y.values(), w.values(), w.shape().c(), grad_x.values_mut());
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
        linear::linear_grad_w(self, x.values(), grad_y.values(), grad_w_acc.values_mut(), grad_b_acc.values_mut());
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
        let sums = loss::softmax_cross_entropy(logits.values(), labels.values(), grad_logits.values_mut());
        out.values_mut().copy_from_slice(&sums);
        Ok(())
    }

    fn sgd(&self, step: Sgd<'_, Buffer>, grad: &Tensor, velocity: &mut Tensor, theta: &mut Tensor) -> Result<()> {
        check::equal("sgd", theta.shape(), grad.shape())?;
        check::equal("sgd", theta.shape(), velocity.shape())?;
        sgd::sgd(self, step, grad.values(), velocity.values_mut(), theta.values_mut());
        Ok(())
    }

    fn block_workspace(&self, map: Shape) -> usize {
        block::workspace(self, map)
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
        if let Some(measure) = &measure {
            check::equal("conv_stats", Shape::vector(c_out), measure.stats.mean.shape())?;
        }
        let batch = ConvBatch::forward(shape, conv, c_out);
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
        let norm = Norm::new(stats1, affine1);
        let batch = ConvBatch::forward(shape, Conv::SAME_3X3, c_out);
        let of = |z| NormRelu { z, norm };
        let workspace = &mut scratch.workspace;
        conv::convolve(self, batch, z1.values(), of, w.values(), z2.values_mut(), measure, workspace);
        Ok(())
    }

    fn norm_relu(&self, z: &Tensor, stats: &BnStats<Buffer>, affine: &Affine<Buffer>, y: &mut Tensor) -> Result<()> {
        check::equal("norm_relu", z.shape(), y.shape())?;
        check::norm("norm_relu", z.shape().c(), stats, affine)?;
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
        check::equal("norm_step", z.shape(), x.shape())?;
        check::equal("norm_step", z.shape(), y.shape())?;
        check::norm("norm_step", z.shape().c(), stats, affine)?;
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
        check::equal("norm_step_acc", z.shape(), x_acc.shape())?;
        check::norm("norm_step_acc", z.shape().c(), stats, affine)?;
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
        block::basic_vjp_outer(self, grad_f, scale, theta, stats, cache, grad_theta_acc, scratch)
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
        block::basic_vjp_inner(self, x, theta, stats, cache, grad_theta_acc, grad_x_acc, scratch)
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
        block::code_step(self, h, theta, stats, running, coder, code, x, carry, cache, scratch)
    }

    fn decode_vjp(
        &self,
        h: f64,
        theta: &BasicTheta<Buffer>,
        stats: &BasicStats<Buffer>,
        coder: &Coder<Buffer>,
        code: &Code<Buffer>,
        x: &mut Tensor,
        cache: &mut BasicCache<Buffer>,
        grad_x: &mut Tensor,
        grad_theta: &mut BasicTheta<Buffer>,
        scratch: &mut Scratch<Buffer>,
    ) -> Result<()> {
        block::decode_vjp(self, h, theta, stats, coder, code, x, cache, grad_x, grad_theta, scratch)
    }

    fn inverse_vjp(
        &self,
        h: f64,
        carry: Carry,
        theta: &BasicTheta<Buffer>,
        stats: &BasicStats<Buffer>,
        x: &mut Tensor,
        x_rec: &mut Tensor,
        errors: (&mut Tensor, usize),
        cache: &mut BasicCache<Buffer>,
        grad_x: &mut Tensor,
        grad_theta: &mut BasicTheta<Buffer>,
        scratch: &mut Scratch<Buffer>,
    ) -> Result<()> {
        block::inverse_vjp(self, h, carry, theta, stats, x, x_rec, errors, cache, grad_x, grad_theta, scratch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspace_for_a_batch_serves_every_smaller_one() {
        let cpu = Cpu::new(Some(2)).expect("a device");
        let whole = Shape::map(150, 3, 4, 5);
        for n in 1..=150 {
            let map = whole.with_batch(n);
            let fits =
                |of: &dyn Fn(Shape) -> usize| assert!(of(map) <= of(whole), "{map}: {} > {}", of(map), of(whole));
            fits(&|map| cpu.block_workspace(map));
            fits(&|map| cpu.bn_workspace(map));
            fits(&|map| cpu.squared_distance_workspace(map));
            fits(&|map| cpu.code_workspace(map));
            fits(&|map| cpu.conv_workspace(map, Conv::SAME_3X3, 5));
            fits(&|map| cpu.conv_workspace(map, Conv { kernel: 5, stride: 3, padding: 2 }, 7));
        }
    }

    #[test]
    fn names_itself_and_refuses_what_cannot_run() {
        let cpu = Cpu::with_isa(Isa::Portable, 1).expect("any machine");
        assert_eq!(cpu.name(), "cpu (portable, 1 thread)");
        assert_eq!(Cpu::new(Some(3)).expect("a device").threads(), 3);
        assert!(Cpu::new(Some(0)).is_err_and(|e| e.to_string().contains("--threads 0")));
        let absent = Isa::ALL.into_iter().find(|isa| !isa.is_available()).expect("no machine has them all");
        assert!(Cpu::with_isa(absent, 1).is_err_and(|e| e.to_string().contains(&absent.to_string())));
    }
}
