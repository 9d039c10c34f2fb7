//! The vocabulary of operations that a device speaks.
//!
//! Primitives are required methods. A fused operation is a provided method whose default body, in [`crate::fused`], is its
//! definition in primitives; a device overrides one only when that is measurably faster. A device knows nothing of depth.
//!
//! Conventions: outputs overwrite unless their name ends in `_acc`; scalars come as `f64` and are rounded to the device's
//! number type; maps are `[N, H, W, C]`, convolution weights `[KH, KW, C_in, C_out]`. Every operation that needs workspace
//! takes a buffer of at least what its `..._workspace` sibling returns, in elements.
//!
//! # Errors
//! Every operation returns [`crate::Error::Shape`] when its operands do not fit together, and whatever the device's driver
//! reports.

use std::sync::Arc;

use crate::code::{Code, Coder};
use crate::data::{Dataset, Part, Place};
use crate::error::Result;
use crate::fused;
use crate::memory::Memory;
use crate::operands::{
    Affine, BasicCache, BasicRunning, BasicStats, BasicTheta, BnRunning, BnStats, Carry, Measure, Scratch,
};
use crate::shape::{Conv, Shape};
use crate::tensor::Tensor;

/// Batch norm's eps, PyTorch's default.
pub const BN_EPS: f64 = 1e-5;
/// Weight of the new batch in the running statistics, PyTorch's default.
pub const BN_MOMENTUM: f64 = 0.1;

/// Stochastic gradient descent's settings for one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Learning rate.
    pub lr: f64,
    /// Momentum.
    pub momentum: f64,
    /// Weight decay, on all parameters.
    pub weight_decay: f64,
}

/// The same as a device takes it. What differs between steps lies on the device, so that a recorded step can be
/// replayed.
pub struct Sgd<'a, B> {
    /// Learning rate, `[1]`.
    pub lr: &'a Tensor<B>,
    /// The step's loss in its first element: where that is not finite, nothing is updated.
    pub loss: &'a Tensor<B>,
    /// Momentum.
    pub momentum: f64,
    /// Weight decay, on all parameters.
    pub weight_decay: f64,
}

impl<B> Clone for Sgd<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Sgd<'_, B> {}

/// Memory of the device's own, as its driver counts it for all processes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Bytes that the device has.
    pub total_bytes: u64,
    /// Bytes that were free when the device was opened: the driver's own context was there, kernels and tensors not yet.
    pub free_at_open_bytes: u64,
    /// Bytes that are free now.
    pub free_now_bytes: u64,
}

impl DeviceMemory {
    /// What this process took since the device was opened, if no other process took or gave any.
    pub fn taken_bytes(&self) -> u64 {
        self.free_at_open_bytes.saturating_sub(self.free_now_bytes)
    }
}

/// Where in a pass over the data the next batch is. What differs between steps lies on the device, as in [`Sgd`].
pub struct PassPosition<'a, B> {
    /// The step's number in the pass from 0, `[1]`: exact in every number type below 2^24.
    pub step: &'a Tensor<B>,
    /// The table that the pass goes by, `[1]`; a pass over the test images has none.
    pub table: &'a Tensor<B>,
    /// Images of every batch but the last.
    pub batch: usize,
}

/// A machine that holds tensors and computes on them.
pub trait Device: Memory {
    /// Operations that [`Device::replay`] has recorded.
    type Recording: Send;
    /// A data set, and the epochs' tables, where the device reads them.
    type Data: Send;

    /// State-shaped scratch tensors that the fused operations need on this device.
    const SCRATCH_MAPS: usize;
    /// Steps that the device may be asked for before the results of the first are read: 1 where an operation that returned
    /// is done, so that reading costs nothing.
    const STEPS_AHEAD: usize;

    /// The device as a person names it.
    fn name(&self) -> String;

    /// Bytes that the device could still give, where it tells; the host's unless it has memory of its own.
    fn available_bytes(&self) -> Option<u64> {
        crate::host::available_bytes()
    }

    /// What the driver tells of the device's own memory; none where tensors lie in the host's. Asks the driver, so it is
    /// for between steps.
    fn device_memory(&self) -> Option<DeviceMemory> {
        None
    }

    /// Runs `f` where the device's operations start without a detour: on the CPU a thread of its pool.
    fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        f()
    }

    /// Runs `f` as a part of a step that a profiler shows by this name, where the device has one.
    fn phase<R>(&self, name: &'static str, f: impl FnOnce() -> R) -> R {
        let _ = name;
        f()
    }

    /// Waits until everything that was asked for is done; at once where operations return only then.
    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    /// Runs the operations of `f`, which are the same on the same tensors in every call with the same `recorded`, and none of
    /// which waits. A device that can, records them in the first call and only replays them in the later ones.
    ///
    /// # Errors
    /// Those of `f`, and [`crate::Error::Device`] if what was recorded cannot be made ready or started.
    fn replay(&self, recorded: &mut Option<Self::Recording>, f: impl FnOnce() -> Result<()>) -> Result<()> {
        let _ = recorded;
        f()
    }

    /// Copies from the host. `from` holds as many elements as `to`.
    fn upload(&self, from: &[Self::Real], to: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// Copies to the host. `to` holds as many elements as `from`.
    fn download(&self, from: &Tensor<Self::Buffer>, to: &mut [Self::Real]) -> Result<()>;

    // --- data ---

    /// Puts a data set where the device reads it, and takes room for [`crate::data::TABLES`] tables.
    fn hold(&self, dataset: Arc<Dataset>) -> Result<Self::Data>;
    /// Has `write` fill a table, which no pass under way goes by. Does not wait for operations.
    fn write_table(&self, data: &mut Self::Data, table: usize, write: impl FnOnce(&mut [Place])) -> Result<()>;
    /// Makes the steps to come go by this table: `chosen = table`, `[1]`.
    fn choose_table(&self, data: &mut Self::Data, table: usize, chosen: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// `images[n] = augment(pixels, change)` and `labels[n]` of what stands at place `step batch + n` of the pass. `images:
    /// [N, 32, 32, 3]`, `labels: [N, 1, 1, 1]`; the same bits on all devices of one number type.
    fn draw_batch(
        &self,
        data: &Self::Data,
        part: Part,
        position: PassPosition<'_, Self::Buffer>,
        images: &mut Tensor<Self::Buffer>,
        labels: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// `results[step mod R] = [loss, right answers, distance, norm]`, then `step += 1`: `always`, or only where the loss is
    /// finite, so that after one that is not, every further step repeats that step. `results: [1, 1, R, 4]`, `outcome: [2]` is
    /// [`Device::softmax_cross_entropy`]'s, `distance: [2]` [`Device::squared_distance`]'s and 0 without one, `step: [1]`.
    fn record_step(
        &self,
        outcome: &Tensor<Self::Buffer>,
        distance: Option<&Tensor<Self::Buffer>>,
        always: bool,
        results: &mut Tensor<Self::Buffer>,
        step_acc: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;

    // --- element by element ---

    /// `y = value`.
    fn fill(&self, value: f64, y: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// `y = x`.
    fn copy(&self, x: &Tensor<Self::Buffer>, y: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// `y = a x + b y`.
    fn axpby(&self, a: f64, x: &Tensor<Self::Buffer>, b: f64, y_acc: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// `y = max(0, y)`.
    fn relu(&self, y: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// `grad = grad where y > 0, else 0`; `y` is ReLU's output.
    fn relu_grad(&self, y: &Tensor<Self::Buffer>, grad: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// `out[at..at + 2] = [sum (x - y)^2, sum y^2]`; the rest of `out` stays.
    fn squared_distance(
        &self,
        x: &Tensor<Self::Buffer>,
        y: &Tensor<Self::Buffer>,
        out: &mut Tensor<Self::Buffer>,
        at: usize,
        workspace: &mut Self::Buffer,
    ) -> Result<()>;
    /// Workspace of [`Device::squared_distance`].
    fn squared_distance_workspace(&self, x: Shape) -> usize;
    /// Whether every element is finite. Waits for the device.
    fn all_finite(&self, x: &Tensor<Self::Buffer>) -> Result<bool>;

    // --- convolution ---

    /// `y[n,oy,ox,o] = sum_{ky,kx,i} x[n, oy s + ky - p, ox s + kx - p, i] w[ky,kx,i,o]`, zero outside.
    fn conv(
        &self,
        x: &Tensor<Self::Buffer>,
        w: &Tensor<Self::Buffer>,
        conv: Conv,
        y: &mut Tensor<Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()>;
    /// The convolution's transpose: `grad_x = dL/dx` from `grad_y`.
    fn conv_grad_x(
        &self,
        grad_y: &Tensor<Self::Buffer>,
        w: &Tensor<Self::Buffer>,
        conv: Conv,
        grad_x: &mut Tensor<Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()>;
    /// `grad_w += dL/dw` from the input and `grad_y`.
    fn conv_grad_w(
        &self,
        x: &Tensor<Self::Buffer>,
        grad_y: &Tensor<Self::Buffer>,
        conv: Conv,
        grad_w_acc: &mut Tensor<Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()>;
    /// Workspace of the three and of [`Device::conv_stats`], for an input `x` and `c_out` output channels.
    fn conv_workspace(&self, x: Shape, conv: Conv, c_out: usize) -> usize;

    // --- batch normalisation, statistics over N, H, W ---

    /// Mean and rstd of `z`; with `running`, also `r = (1 - BN_MOMENTUM) r + BN_MOMENTUM s`, the variance unbiased.
    fn bn_stats(
        &self,
        z: &Tensor<Self::Buffer>,
        measure: Measure<'_, Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()>;
    /// The statistics that evaluation uses: `mean = running.mean`, `rstd = 1/sqrt(running.var + eps)`.
    fn bn_running_stats(&self, running: &BnRunning<Self::Buffer>, stats: &mut BnStats<Self::Buffer>) -> Result<()>;
    /// `y = gamma (z - mean) rstd + beta`.
    fn bn_apply(
        &self,
        z: &Tensor<Self::Buffer>,
        stats: &BnStats<Self::Buffer>,
        affine: &Affine<Self::Buffer>,
        y: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// With `zhat = (z - mean) rstd`: `sums.gamma = scale sum g zhat`, `sums.beta = scale sum g`, per channel.
    fn bn_grad_sums(
        &self,
        grad_y: &Tensor<Self::Buffer>,
        scale: f64,
        z: &Tensor<Self::Buffer>,
        stats: &BnStats<Self::Buffer>,
        sums: &mut Affine<Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()>;
    /// The exact VJP of train-mode batch norm, through the statistics, M = N H W:
    /// `grad_z = gamma rstd (scale grad_y - sums.beta / M - zhat sums.gamma / M)`.
    fn bn_grad_z(
        &self,
        grad_y: &Tensor<Self::Buffer>,
        scale: f64,
        z: &Tensor<Self::Buffer>,
        stats: &BnStats<Self::Buffer>,
        affine: &Affine<Self::Buffer>,
        sums: &Affine<Self::Buffer>,
        grad_z: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// Workspace of [`Device::bn_stats`] and [`Device::bn_grad_sums`].
    fn bn_workspace(&self, z: Shape) -> usize;

    // --- head ---

    /// `size` x `size` average pooling with stride `size`; rows and columns that fill no window take no part.
    fn avg_pool(&self, x: &Tensor<Self::Buffer>, size: usize, y: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// Its transpose; zero where no window reached.
    fn avg_pool_grad(
        &self,
        grad_y: &Tensor<Self::Buffer>,
        size: usize,
        grad_x: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// `y[n,k] = sum_f x[n,f] w[f,k] + b[k]`; x is any map with `H W C = F`, w `[1, 1, F, K]`, y `[N, 1, 1, K]`.
    fn linear(
        &self,
        x: &Tensor<Self::Buffer>,
        w: &Tensor<Self::Buffer>,
        b: &Tensor<Self::Buffer>,
        y: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// `grad_x[n,f] = sum_k grad_y[n,k] w[f,k]`.
    fn linear_grad_x(
        &self,
        grad_y: &Tensor<Self::Buffer>,
        w: &Tensor<Self::Buffer>,
        grad_x: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// `grad_w[f,k] += sum_n x[n,f] grad_y[n,k]`, `grad_b[k] += sum_n grad_y[n,k]`.
    fn linear_grad_w(
        &self,
        x: &Tensor<Self::Buffer>,
        grad_y: &Tensor<Self::Buffer>,
        grad_w_acc: &mut Tensor<Self::Buffer>,
        grad_b_acc: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// Mean cross-entropy over the batch and its gradient. `labels: [N, 1, 1, 1]` holds class indices; `out: [2]` receives
    /// the mean loss and the number of images whose largest logit is their label's (the lowest index wins a tie; an image
    /// whose logits are not all finite is never right).
    fn softmax_cross_entropy(
        &self,
        logits: &Tensor<Self::Buffer>,
        labels: &Tensor<Self::Buffer>,
        grad_logits: &mut Tensor<Self::Buffer>,
        out: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;

    // --- optimiser ---

    /// `v = momentum v + grad + weight_decay theta; theta -= lr v`; nothing where the loss is not finite.
    fn sgd(
        &self,
        step: Sgd<'_, Self::Buffer>,
        grad: &Tensor<Self::Buffer>,
        velocity: &mut Tensor<Self::Buffer>,
        theta: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;

    // --- codes of increments, see `crate::code` ---

    /// `grid = unit(max |x|)`, see [`crate::code::unit`], and x rounded to its multiples. `grid: [1]`.
    fn code_start(
        &self,
        x_acc: &mut Tensor<Self::Buffer>,
        grid: &mut Tensor<Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()>;
    /// x rounded to multiples of the grid.
    fn code_round(&self, grid: &Tensor<Self::Buffer>, x_acc: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// The quantiser for an increment `h sum_k bn_k(z_k)` with these last affine maps, as if all f_k were one signal:
    /// `mean = h sum beta`, `sigma^2 = (h sum |gamma|)^2 + rest`; `scale` receives mean and 1/sigma, 0 where sigma is 0.
    fn code_scale(
        &self,
        h: f64,
        last: &[&Affine<Self::Buffer>],
        rest: &Tensor<Self::Buffer>,
        scale: &mut BnStats<Self::Buffer>,
    ) -> Result<()>;
    /// Codes w, which comes in the carry: `q = Q(w)`, `carry = w - q`, `x += q`; `coder.rest` becomes the carry's mean square of
    /// every channel. Without `x_acc` no state moves.
    fn encode(
        &self,
        coder: &mut Coder<Self::Buffer>,
        carry_acc: &mut Tensor<Self::Buffer>,
        x_acc: Option<&mut Tensor<Self::Buffer>>,
        code: &mut Code<Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()>;
    /// `x -= q`, the same q to the bit.
    fn decode(
        &self,
        coder: &Coder<Self::Buffer>,
        code: &Code<Self::Buffer>,
        x_acc: &mut Tensor<Self::Buffer>,
        workspace: &mut Self::Buffer,
    ) -> Result<()>;
    /// Workspace of [`Device::code_start`], [`Device::encode`] and [`Device::decode`].
    fn code_workspace(&self, map: Shape) -> usize;
    /// Makes `verdict[0]` NaN where the local error in `errors[at..at + 4] = [moved, _, left, norm]` says that a reconstruction is
    /// worth nothing: one of the sums is not finite, or `left > HOPELESS[0] norm`, or `left > moved` and
    /// `left > HOPELESS[1] norm` with [`crate::operands::HOPELESS`], see [`crate::sweep::LocalError::is_hopeless`].
    fn judge(&self, errors: &Tensor<Self::Buffer>, at: usize, verdict_acc: &mut Tensor<Self::Buffer>) -> Result<()>;

    // --- masks of ReLUs behind a batch norm ---

    /// Keeps where `bn(z) > 0`: element e of an image is bit `e mod 32` of word `e div 32` where a number has 32 bits.
    /// `mask: [N, 1, 1, L]`, L as [`crate::code::code_len`] says of one bit.
    fn relu_mask(
        &self,
        z: &Tensor<Self::Buffer>,
        stats: &BnStats<Self::Buffer>,
        affine: &Affine<Self::Buffer>,
        mask: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// Gives `bn(z)` the signs that the mask kept: where they differ, z is mirrored at the zero of bn, so that a ReLU behind it
    /// passes what it passed then. Where bn has a slope of 0 nothing moves.
    fn relu_replay(
        &self,
        mask: &Tensor<Self::Buffer>,
        stats: &BnStats<Self::Buffer>,
        affine: &Affine<Self::Buffer>,
        z_acc: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;

    // --- fused operations: the default bodies are their definitions ---

    /// Workspace of every fused operation on blocks of this map: at least that of the primitives that define them.
    fn block_workspace(&self, map: Shape) -> usize {
        self.conv_workspace(map, Conv::SAME_3X3, map.c()).max(self.bn_workspace(map))
    }

    /// [`Device::sgd`] on a block's six tensors.
    fn sgd_block(
        &self,
        step: Sgd<'_, Self::Buffer>,
        grad: &BasicTheta<Self::Buffer>,
        velocity: &mut BasicTheta<Self::Buffer>,
        theta: &mut BasicTheta<Self::Buffer>,
    ) -> Result<()> {
        fused::sgd_block(self, step, grad, velocity, theta)
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
        fused::euler_step(self, h, theta, stats, running, x, cache, scratch)
    }

    /// One coded Euler step of training's forward pass, in place: [`Device::encode`] of the increment `h f(x)` on top of the
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
        fused::code_step(self, h, theta, stats, running, coder, code, x, carry, cache, scratch)
    }

    /// The way back through one coded block with saved statistics: from `x = x_{n+1}` and `grad_x = dL/dx_{n+1}` to `x = x_n`
    /// by its code, `grad_x = dL/dx_n` and `grad_theta = dL/dtheta_n`. What the cache then holds is the device's affair.
    fn decode_vjp(
        &self,
        h: f64,
        theta: &BasicTheta<Self::Buffer>,
        stats: &BasicStats<Self::Buffer>,
        coder: &Coder<Self::Buffer>,
        code: &Code<Self::Buffer>,
        x: &mut Tensor<Self::Buffer>,
        cache: &mut BasicCache<Self::Buffer>,
        grad_x: &mut Tensor<Self::Buffer>,
        grad_theta: &mut BasicTheta<Self::Buffer>,
        scratch: &mut Scratch<Self::Buffer>,
    ) -> Result<()> {
        fused::decode_vjp(self, h, theta, stats, coder, code, x, cache, grad_x, grad_theta, scratch)
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
        stats: &BasicStats<Self::Buffer>,
        x: &mut Tensor<Self::Buffer>,
        x_rec: &mut Tensor<Self::Buffer>,
        errors: (&mut Tensor<Self::Buffer>, usize),
        cache: &mut BasicCache<Self::Buffer>,
        grad_x: &mut Tensor<Self::Buffer>,
        grad_theta: &mut BasicTheta<Self::Buffer>,
        scratch: &mut Scratch<Self::Buffer>,
    ) -> Result<()> {
        fused::inverse_vjp(self, h, carry, theta, stats, x, x_rec, errors, cache, grad_x, grad_theta, scratch)
    }
}
