//! The CUDA device: f32 state, hand-written kernels (`kernels/*.cu`), launched through cudarc on one stream;
//! copies of data that nobody waits for go by a second one.
//!
//! Convolutions multiply on the tensor cores in TF32 or in full f32, as [`Math`] says; sums are f32 in both. No kernel uses
//! float atomics and every sum has one order, so two runs give the same bits. No operation allocates or waits, but for
//! [`Device::download`] and [`Device::all_finite`].

mod batch_norm;
mod block;
mod buffer;
mod code;
mod conv;
mod data;
pub mod doctor;
mod error;
mod graph;
mod images;
mod kernels;
mod launch;
mod mask;
mod nvtx;
mod open;
mod operand;
mod pinned;
mod sgd;
mod small_block;
mod version;

use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaStream};

pub use self::buffer::{CudaBuffer, CudaRegion};
pub use self::data::CudaData;
pub use self::graph::Recording;
pub use self::images::{ORIGIN, VERSION};

use self::error::driver;
use self::images::Form;
use self::kernels::Kernels;
use self::launch::{grid, launch, over, over_fours, warps};
use self::operand::Norm;
use crate::check;
use crate::code::{Code, Coder};
use crate::config::Math;
use crate::data::{Dataset, Part, Place};
use crate::device::{BN_EPS, Device, DeviceMemory, PassPosition, Sgd};
use crate::error::Result;
use crate::fused;
use crate::memory::Memory;
use crate::operands::{
    Affine, BasicCache, BasicRunning, BasicStats, BasicTheta, BnRunning, BnStats, Carry, Measure, Scratch,
};
use crate::shape::{Conv, Shape};
use crate::tensor::Tensor as DeviceTensor;

type Tensor = DeviceTensor<CudaBuffer>;

/// A GPU.
pub struct Cuda {
    stream: Arc<CudaStream>,
    /// For copies while the other one computes.
    copies: Arc<CudaStream>,
    kernels: Kernels,
    limits: small_block::Limits,
    math: Math,
    /// Where a kernel leaves whether it met a number that is not finite.
    flag: CudaSlice<u32>,
    /// Where blocks of a reduction count themselves: zero between launches.
    counters: CudaSlice<u32>,
    name: String,
    /// The form in which the kernels were loaded.
    form: Form,
    /// What the driver told of its memory when the device was opened.
    at_open: DeviceMemory,
    eager: bool,
}

/// A tensor's address.
fn at(tensor: &Tensor) -> u64 {
    tensor.buffer.address()
}

/// The address of a vector's element.
fn part(vector: &Tensor, offset: usize) -> u64 {
    at(vector) + (offset * size_of::<f32>()) as u64
}

impl Memory for Cuda {
    type Real = f32;
    type Region = CudaRegion;
    type Buffer = CudaBuffer;

    fn reserve(&self, len: usize) -> Result<CudaRegion> {
        CudaRegion::new(&self.stream, len)
    }

    unsafe fn carve(&self, region: &CudaRegion, offset: usize, len: usize) -> CudaBuffer {
        region.carve(offset, len)
    }
}

impl Device for Cuda {
    type Recording = Recording;
    type Data = CudaData;

    const SCRATCH_MAPS: usize = 2;
    const STEPS_AHEAD: usize = 256;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn available_bytes(&self) -> Option<u64> {
        self.stream.context().mem_get_info().ok().map(|(free, _)| free as u64)
    }

    fn device_memory(&self) -> Option<DeviceMemory> {
        let (free, _) = self.stream.context().mem_get_info().ok()?;
        Some(DeviceMemory { free_now_bytes: free as u64, ..self.at_open })
    }

    fn phase<R>(&self, name: &'static str, f: impl FnOnce() -> R) -> R {
        let _range = nvtx::Range::start(name);
        f()
    }

    fn synchronize(&self) -> Result<()> {
        self.stream.synchronize().map_err(|e| driver("waiting for the GPU", e))
    }

    fn replay(&self, recorded: &mut Option<Recording>, f: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.eager { f() } else { graph::replay(&self.stream, recorded, f) }
    }

    fn upload(&self, from: &[f32], to: &mut Tensor) -> Result<()> {
        check::host("upload", from.len(), to.shape())?;
        if from.is_empty() {
            return Ok(());
        }
        let stream = self.stream.cu_stream();
        // SAFETY: the tensor holds as many elements as the slice, which the copy has read when it returns: from memory that
        // is not page-locked it is taken before.
        unsafe { cudarc::driver::result::memcpy_htod_async(at(to), from, stream) }.map_err(|e| driver("upload", e))
    }

    fn download(&self, from: &Tensor, to: &mut [f32]) -> Result<()> {
        check::host("download", to.len(), from.shape())?;
        if to.is_empty() {
            return Ok(());
        }
        let stream = self.stream.cu_stream();
        // SAFETY: the tensor holds as many elements as the slice, which is not used before the stream is done.
        unsafe { cudarc::driver::result::memcpy_dtoh_async(to, at(from), stream) }
            .map_err(|e| driver("download", e))?;
        self.stream.synchronize().map_err(|e| driver("download", e))
    }

    fn hold(&self, dataset: Arc<Dataset>) -> Result<CudaData> {
        CudaData::new(self, &dataset)
    }

    fn write_table(&self, data: &mut CudaData, table: usize, write: impl FnOnce(&mut [Place])) -> Result<()> {
        data.write_table(self, table, write)
    }

    fn choose_table(&self, data: &mut CudaData, table: usize, chosen: &mut Tensor) -> Result<()> {
        data.choose(self, table)?;
        self.fill(table as f64, chosen)
    }

    fn draw_batch(
        &self,
        data: &CudaData,
        part: Part,
        position: PassPosition<'_, CudaBuffer>,
        images: &mut Tensor,
        labels: &mut Tensor,
    ) -> Result<()> {
        check::batch("draw_batch", images.shape(), labels.shape())?;
        data::draw_batch(self, data, part, position, images, labels)
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
        data::record_step(self, outcome, distance, always, results, step_acc)
    }

    fn fill(&self, value: f64, y: &mut Tensor) -> Result<()> {
        let len = y.shape().len();
        launch!(self, "fill", &self.kernels.fill, over_fours(len), at(y), value as f32, len as u64)
    }

    fn copy(&self, x: &Tensor, y: &mut Tensor) -> Result<()> {
        check::equal("copy", x.shape(), y.shape())?;
        let len = y.shape().len();
        launch!(self, "copy", &self.kernels.copy, over_fours(len), at(y), at(x), len as u64)
    }

    fn axpby(&self, a: f64, x: &Tensor, b: f64, y_acc: &mut Tensor) -> Result<()> {
        check::equal("axpby", x.shape(), y_acc.shape())?;
        let len = x.shape().len();
        launch!(self, "axpby", &self.kernels.axpby, over_fours(len), at(y_acc), at(x), a as f32, b as f32, len as u64)
    }

    fn relu(&self, y: &mut Tensor) -> Result<()> {
        let len = y.shape().len();
        launch!(self, "relu", &self.kernels.relu, over_fours(len), at(y), len as u64)
    }

    fn relu_grad(&self, y: &Tensor, grad: &mut Tensor) -> Result<()> {
        check::equal("relu_grad", y.shape(), grad.shape())?;
        let len = y.shape().len();
        launch!(self, "relu_grad", &self.kernels.relu_grad, over_fours(len), at(grad), at(y), len as u64)
    }

    fn squared_distance(
        &self,
        x: &Tensor,
        y: &Tensor,
        out: &mut Tensor,
        offset: usize,
        workspace: &mut CudaBuffer,
    ) -> Result<()> {
        check::equal("squared_distance", x.shape(), y.shape())?;
        check::part("squared_distance", offset..offset + 2, out.shape())?;
        let (len, partial) = (x.shape().len(), workspace.address());
        let blocks = distance_blocks(len);
        let kernel = &self.kernels.squared_distance_partial;
        let config = grid([blocks, 1], launch::THREADS);
        launch!(self, "squared_distance", kernel, config, partial, at(x), at(y), len as u64)?;
        let kernel = &self.kernels.squared_distance_total;
        launch!(
            self,
            "squared_distance",
            kernel,
            grid([1, 1], launch::THREADS),
            part(out, offset),
            partial,
            blocks as u32
        )
    }

    fn squared_distance_workspace(&self, x: Shape) -> usize {
        2 * distance_blocks(x.len())
    }

    fn all_finite(&self, x: &Tensor) -> Result<bool> {
        let len = x.shape().len();
        let flag = {
            use cudarc::driver::DevicePtr;
            self.flag.device_ptr(&self.stream).0
        };
        let stream = self.stream.cu_stream();
        // SAFETY: the flag is four bytes of this device.
        unsafe { cudarc::driver::result::memset_d8_async(flag, 0, 4, stream) }.map_err(|e| driver("all_finite", e))?;
        launch!(self, "all_finite", &self.kernels.any_not_finite, over_fours(len), flag, at(x), len as u64)?;
        let mut found = [0u32];
        // SAFETY: as above; the host's copy is read after the stream is done.
        unsafe { cudarc::driver::result::memcpy_dtoh_async(&mut found, flag, stream) }
            .map_err(|e| driver("all_finite", e))?;
        self.stream.synchronize().map_err(|e| driver("all_finite", e))?;
        Ok(found == [0])
    }

    fn code_start(&self, x_acc: &mut Tensor, grid: &mut Tensor, workspace: &mut CudaBuffer) -> Result<()> {
        check::equal("code_start", Shape::vector(1), grid.shape())?;
        code::start(self, x_acc, grid, workspace.address())
    }

    fn code_round(&self, grid: &Tensor, x_acc: &mut Tensor) -> Result<()> {
        check::equal("code_round", Shape::vector(1), grid.shape())?;
        code::round(self, grid, x_acc)
    }

    fn code_scale(
        &self,
        h: f64,
        last: &[&Affine<CudaBuffer>],
        rest: &Tensor,
        scale: &mut BnStats<CudaBuffer>,
    ) -> Result<()> {
        last.iter().try_for_each(|affine| check::norm("code_scale", rest.shape().c(), scale, affine))?;
        code::scale(self, h, last, rest, scale)
    }

    fn encode(
        &self,
        coder: &mut Coder<CudaBuffer>,
        carry_acc: &mut Tensor,
        x_acc: Option<&mut Tensor>,
        code: &mut Code<CudaBuffer>,
        workspace: &mut CudaBuffer,
    ) -> Result<()> {
        check::code::<Self::Real, _>("encode", carry_acc.shape(), coder, code)?;
        x_acc.as_ref().map_or(Ok(()), |x| check::equal("encode", carry_acc.shape(), x.shape()))?;
        code::encode(self, coder, carry_acc, x_acc, code, workspace.address())
    }

    fn decode(
        &self,
        coder: &Coder<CudaBuffer>,
        code: &Code<CudaBuffer>,
        x_acc: &mut Tensor,
        _: &mut CudaBuffer,
    ) -> Result<()> {
        check::code::<Self::Real, _>("decode", x_acc.shape(), coder, code)?;
        code::decode(self, coder, code, x_acc)
    }

    fn code_workspace(&self, map: Shape) -> usize {
        code::workspace(map)
    }

    fn judge(&self, errors: &Tensor, at: usize, verdict_acc: &mut Tensor) -> Result<()> {
        check::part("judge", at..at + 4, errors.shape())?;
        code::judge(self, errors, at, verdict_acc)
    }

    fn relu_mask(
        &self,
        z: &Tensor,
        stats: &BnStats<CudaBuffer>,
        affine: &Affine<CudaBuffer>,
        mask: &mut Tensor,
    ) -> Result<()> {
        check::mask::<Self::Real, _>("relu_mask", z.shape(), stats, affine, mask.shape())?;
        mask::keep(self, z, stats, affine, mask)
    }

    fn relu_replay(
        &self,
        mask: &Tensor,
        stats: &BnStats<CudaBuffer>,
        affine: &Affine<CudaBuffer>,
        z_acc: &mut Tensor,
    ) -> Result<()> {
        check::mask::<Self::Real, _>("relu_replay", z_acc.shape(), stats, affine, mask.shape())?;
        mask::replay(self, mask, stats, affine, z_acc)
    }

    fn conv(&self, x: &Tensor, w: &Tensor, conv: Conv, y: &mut Tensor, workspace: &mut CudaBuffer) -> Result<()> {
        self.conv_stats(x, w, conv, y, None, workspace)
    }

    fn conv_grad_x(
        &self,
        grad_y: &Tensor,
        w: &Tensor,
        conv: Conv,
        grad_x: &mut Tensor,
        _: &mut CudaBuffer,
    ) -> Result<()> {
        check::conv("conv_grad_x", grad_x.shape(), w.shape(), conv, grad_y.shape())?;
        conv::grad_x(self, at(grad_y), (at(w), w.shape().c()), conv, (at(grad_x), grad_x.shape()))
    }

    fn conv_grad_w(
        &self,
        x: &Tensor,
        grad_y: &Tensor,
        conv: Conv,
        grad_w_acc: &mut Tensor,
        workspace: &mut CudaBuffer,
    ) -> Result<()> {
        check::conv("conv_grad_w", x.shape(), grad_w_acc.shape(), conv, grad_y.shape())?;
        let grad_w = (at(grad_w_acc), grad_w_acc.shape().c());
        conv::grad_w(self, (at(x), x.shape()), at(grad_y), conv, grad_w, workspace.address())
    }

    fn conv_workspace(&self, x: Shape, conv: Conv, c_out: usize) -> usize {
        conv::workspace(x, conv, c_out)
    }

    fn bn_stats(&self, z: &Tensor, measure: Measure<'_, CudaBuffer>, workspace: &mut CudaBuffer) -> Result<()> {
        check::equal("bn_stats", Shape::vector(z.shape().c()), measure.stats.mean.shape())?;
        batch_norm::stats(self, at(z), z.shape(), measure, workspace.address())
    }

    fn bn_running_stats(&self, running: &BnRunning<CudaBuffer>, stats: &mut BnStats<CudaBuffer>) -> Result<()> {
        check::equal("bn_running_stats", running.mean.shape(), stats.mean.shape())?;
        let c = running.mean.shape().c();
        let kernel = &self.kernels.bn_running_stats;
        let (mean, rstd, eps) = (at(&stats.mean), at(&stats.rstd), BN_EPS as f32);
        launch!(
            self,
            "bn_running_stats",
            kernel,
            over(c),
            mean,
            rstd,
            at(&running.mean),
            at(&running.var),
            c as u32,
            eps
        )
    }

    fn bn_apply(
        &self,
        z: &Tensor,
        stats: &BnStats<CudaBuffer>,
        affine: &Affine<CudaBuffer>,
        y: &mut Tensor,
    ) -> Result<()> {
        check::equal("bn_apply", z.shape(), y.shape())?;
        check::norm("bn_apply", z.shape().c(), stats, affine)?;
        let (Norm { mean, rstd, gamma, beta }, len) = (Norm::new(stats, affine), z.shape().len());
        let (c, kernel) = (z.shape().c() as u32, &self.kernels.bn_apply);
        launch!(self, "bn_apply", kernel, over_fours(len), at(y), at(z), mean, rstd, gamma, beta, len as u64, c)
    }

    fn bn_grad_sums(
        &self,
        grad_y: &Tensor,
        scale: f64,
        z: &Tensor,
        stats: &BnStats<CudaBuffer>,
        sums: &mut Affine<CudaBuffer>,
        workspace: &mut CudaBuffer,
    ) -> Result<()> {
        check::equal("bn_grad_sums", z.shape(), grad_y.shape())?;
        check::norm("bn_grad_sums", z.shape().c(), stats, sums)?;
        batch_norm::grad_sums(self, at(grad_y), scale, at(z), z.shape(), stats, sums, workspace.address())
    }

    fn bn_grad_z(
        &self,
        grad_y: &Tensor,
        scale: f64,
        z: &Tensor,
        stats: &BnStats<CudaBuffer>,
        affine: &Affine<CudaBuffer>,
        sums: &Affine<CudaBuffer>,
        grad_z: &mut Tensor,
    ) -> Result<()> {
        check::equal("bn_grad_z", z.shape(), grad_y.shape())?;
        check::equal("bn_grad_z", z.shape(), grad_z.shape())?;
        check::norm("bn_grad_z", z.shape().c(), stats, affine)?;
        check::norm("bn_grad_z", z.shape().c(), stats, sums)?;
        let (Norm { mean, rstd, gamma, .. }, len) = (Norm::new(stats, affine), z.shape().len());
        let (sums_gamma, sums_beta) = (at(&sums.gamma), at(&sums.beta));
        let (scale, c) = (scale as f32, z.shape().c() as u32);
        launch!(
            self,
            "bn_grad_z",
            &self.kernels.bn_grad_z,
            over_fours(len),
            at(grad_z),
            at(grad_y),
            at(z),
            mean,
            rstd,
            gamma,
            sums_gamma,
            sums_beta,
            scale,
            len as u64,
            c
        )
    }

    fn bn_workspace(&self, z: Shape) -> usize {
        batch_norm::workspace(z)
    }

    fn avg_pool(&self, x: &Tensor, size: usize, y: &mut Tensor) -> Result<()> {
        check::avg_pool("avg_pool", x.shape(), size, y.shape())?;
        let ([_, h, w, c], len) = (x.shape().0.map(|v| v as u32), y.shape().len());
        launch!(self, "avg_pool", &self.kernels.avg_pool, over(len), at(y), at(x), h, w, c, size as u32, len as u64)
    }

    fn avg_pool_grad(&self, grad_y: &Tensor, size: usize, grad_x: &mut Tensor) -> Result<()> {
        check::avg_pool("avg_pool_grad", grad_x.shape(), size, grad_y.shape())?;
        let ([_, h, w, c], len) = (grad_x.shape().0.map(|v| v as u32), grad_x.shape().len());
        let kernel = &self.kernels.avg_pool_grad;
        launch!(self, "avg_pool_grad", kernel, over(len), at(grad_x), at(grad_y), h, w, c, size as u32, len as u64)
    }

    fn linear(&self, x: &Tensor, w: &Tensor, b: &Tensor, y: &mut Tensor) -> Result<()> {
        check::linear("linear", x.shape(), w.shape(), y.shape())?;
        check::equal("linear", Shape::vector(w.shape().c()), b.shape())?;
        let (n, features, classes) = (x.shape().n(), x.shape().image_len(), w.shape().c());
        let config = warps(n * classes);
        let (n, f, k) = (n as u32, features as u32, classes as u32);
        launch!(self, "linear", &self.kernels.linear, config, at(y), at(x), at(w), at(b), n, f, k)
    }

    fn linear_grad_x(&self, grad_y: &Tensor, w: &Tensor, grad_x: &mut Tensor) -> Result<()> {
        check::linear("linear_grad_x", grad_x.shape(), w.shape(), grad_y.shape())?;
        let (len, f, k) = (grad_x.shape().len(), grad_x.shape().image_len() as u32, w.shape().c() as u32);
        let kernel = &self.kernels.linear_grad_x;
        launch!(self, "linear_grad_x", kernel, over(len), at(grad_x), at(grad_y), at(w), f, k, len as u64)
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
        let (n, f, k) = (x.shape().n(), x.shape().image_len(), grad_y.shape().c());
        let (config, kernel) = (warps((f + 1) * k), &self.kernels.linear_grad_w);
        let (grad_w, grad_b) = (at(grad_w_acc), at(grad_b_acc));
        launch!(self, "linear_grad_w", kernel, config, grad_w, grad_b, at(x), at(grad_y), n as u32, f as u32, k as u32)
    }

    fn softmax_cross_entropy(
        &self,
        logits: &Tensor,
        labels: &Tensor,
        grad_logits: &mut Tensor,
        out: &mut Tensor,
    ) -> Result<()> {
        check::loss("softmax_cross_entropy", logits.shape(), grad_logits.shape(), labels.shape(), out.shape())?;
        let (n, k) = (logits.shape().n() as u32, logits.shape().c() as u32);
        let kernel = &self.kernels.softmax_cross_entropy;
        let config = grid([1, 1], 1024);
        launch!(self, "softmax_cross_entropy", kernel, config, at(grad_logits), at(out), at(logits), at(labels), n, k)
    }

    fn sgd(&self, step: Sgd<'_, CudaBuffer>, grad: &Tensor, velocity: &mut Tensor, theta: &mut Tensor) -> Result<()> {
        sgd::one(self, step, grad, velocity, theta)
    }

    fn sgd_block(
        &self,
        step: Sgd<'_, CudaBuffer>,
        grad: &BasicTheta<CudaBuffer>,
        velocity: &mut BasicTheta<CudaBuffer>,
        theta: &mut BasicTheta<CudaBuffer>,
    ) -> Result<()> {
        sgd::block(self, step, grad, velocity, theta)
    }

    fn block_workspace(&self, map: Shape) -> usize {
        let primitives = self.conv_workspace(map, Conv::SAME_3X3, map.c()).max(self.bn_workspace(map));
        let chained = conv::fused_tile(map.c()).map_or(0, |tile| conv::block_workspace(map, tile));
        primitives.max(chained).max(self.limits.workspace(map)).max(self.code_workspace(map))
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
        if let Some(measure) = &measure {
            check::equal("conv_stats", Shape::vector(w.shape().c()), measure.stats.mean.shape())?;
        }
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
        if let Some(measure) = &measure {
            check::equal("norm_relu_conv_stats", Shape::vector(w.shape().c()), measure.stats.mean.shape())?;
        }
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
            Some(tile) => block::vjp_outer(self, tile, grad_f, scale, theta, stats, cache, grad_theta_acc, scratch),
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
            Some(tile) => block::vjp_inner(self, tile, x, theta, stats, cache, grad_theta_acc, grad_x_acc, scratch),
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
        check::equal("norm_relu", z.shape(), y.shape())?;
        check::norm("norm_relu", z.shape().c(), stats, affine)?;
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
        check::equal("norm_step", z.shape(), x.shape())?;
        check::equal("norm_step", z.shape(), y.shape())?;
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
        check::equal("norm_step_acc", z.shape(), x_acc.shape())?;
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
            return small_block::euler_step(self, form, h, theta, stats, running, at(x), workspace);
        }
        fused::euler_step(self, h, theta, stats, running, x, cache, scratch)
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
            return small_block::code_step(self, form, h, theta, stats, running, coder, code, x, carry, workspace);
        }
        if map.c() > code::MOST_CHANNELS {
            return fused::code_step(self, h, theta, stats, running, coder, code, x, carry, cache, scratch);
        }
        fused::evaluate(self, theta, stats, running, x, cache, scratch)?;
        let norm = Norm::new(&stats.bn2, &theta.bn2);
        code::norm_encode(self, h, &cache.z2, norm, coder, code, x, carry, scratch.workspace.address())
    }

    fn decode_vjp(
        &self,
        h: f64,
        theta: &BasicTheta<CudaBuffer>,
        stats: &BasicStats<CudaBuffer>,
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
            return small_block::decode_vjp(self, form, h, theta, stats, coder, code, x, grad_x, grad_theta, workspace);
        }
        check::block("decode_vjp", x.shape(), theta, stats, cache, grad_theta, scratch)?;
        match conv::fused_tile(x.shape().c()) {
            Some(tile) => {
                block::decode_vjp(self, tile, h, theta, stats, coder, code, x, cache, grad_x, grad_theta, scratch)
            }
            None => fused::decode_vjp(self, h, theta, stats, coder, code, x, cache, grad_x, grad_theta, scratch),
        }
    }

    fn inverse_vjp(
        &self,
        h: f64,
        carry: Carry,
        theta: &BasicTheta<CudaBuffer>,
        stats: &BasicStats<CudaBuffer>,
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
            return small_block::inverse_vjp(
                self, form, h, carry, theta, stats, x, errors, grad_x, grad_theta, workspace,
            );
        }
        check::block("inverse_vjp", x.shape(), theta, stats, cache, grad_theta, scratch)?;
        check::equal("inverse_vjp", x.shape(), x_rec.shape())?;
        check::equal("inverse_vjp", x.shape(), grad_x.shape())?;
        match conv::fused_tile(x.shape().c()) {
            Some(tile) => block::inverse_vjp(
                self, tile, h, carry, theta, stats, x, x_rec, errors, cache, grad_x, grad_theta, scratch,
            ),
            None => {
                fused::inverse_vjp(self, h, carry, theta, stats, x, x_rec, errors, cache, grad_x, grad_theta, scratch)
            }
        }
    }
}

impl Cuda {
    /// Launches kernel by kernel in place of replaying recorded steps: the same bits, slower, as profilers want it.
    pub fn set_eager(&mut self, eager: bool) {
        self.eager = eager;
    }

    /// `y = x + h bn(z)`; y may be x.
    fn step(
        &self,
        x: u64,
        h: f64,
        z: &Tensor,
        stats: &BnStats<CudaBuffer>,
        affine: &Affine<CudaBuffer>,
        y: u64,
    ) -> Result<()> {
        check::norm("norm_step", z.shape().c(), stats, affine)?;
        let (Norm { mean, rstd, gamma, beta }, len) = (Norm::new(stats, affine), z.shape().len());
        let (h, c) = (h as f32, z.shape().c() as u32);
        launch!(
            self,
            "norm_step",
            &self.kernels.norm_step,
            over_fours(len),
            y,
            x,
            h,
            at(z),
            mean,
            rstd,
            gamma,
            beta,
            len as u64,
            c
        )
    }
}

/// Blocks of the first pass of a distance: fixed by the size, so that the sum has one order on every card.
fn distance_blocks(len: usize) -> usize {
    len.div_ceil(4 * launch::THREADS).clamp(1, 1024)
}
