//! The passes that a fused block operation of the CPU device is made of: each reads and writes the maps once.

use rayon::prelude::*;

use super::batch_norm::{self, add_grad_sums, merge_grad_sums};
use super::code::Quantisers;
use super::conv;
use super::conv_batch::ConvBatch;
use super::conv_grad::{GradBatch, add_partials};
use super::elementwise::{SquaredDistance, axpby};
use super::epilogue::{Add, Overwrite, WherePositive};
use super::pixelwise::{BnApply, BnGradZ, Identity, Map, Norm, NormRelu, NormStep, Output};
use super::workspace::{Carver, Groups, at_once, carved};
use super::{Buffer, Cpu, Tensor};
use crate::code::{Code, Coder};
use crate::operands::{Affine, BasicCache, BasicStats, BasicTheta, Carry, Scratch};
use crate::shape::{Conv, Shape};

/// Elements of workspace of all passes over maps of this shape, and of the primitives that define them.
pub(super) fn workspace(cpu: &Cpu, map: Shape) -> usize {
    let c = map.c();
    let conv = ConvBatch::forward(cpu, map, Conv::SAME_3X3, c);
    let scratch = cpu.threads() * carved(conv.scratch_len());
    let groups = Groups::bound(map.n());
    let reverse = 2 * carved(conv.packed_len()) + scratch + carved(groups * 2 * c);
    let reverse = reverse + carved(groups * ERRORS).max(Quantisers::carved(map));
    let pullback = Pullback::new(cpu, map);
    let groups = Groups::bound_for_weights(map.n(), map.len(), 9 * c * c);
    let scratch = at_once(cpu.threads(), groups) * carved(pullback.scratch_len());
    let outer = carved(pullback.conv.packed_len()) + scratch + carved(groups * 9 * c * c) + carved(groups * 2 * c);
    let primitives = conv::workspace(cpu, map, Conv::SAME_3X3, c).max(batch_norm::workspace(map));
    primitives.max(reverse).max(outer)
}

/// The two gradients of one of a block's convolutions.
struct Pullback {
    conv: ConvBatch,
    grad: GradBatch,
}

impl Pullback {
    fn new(cpu: &Cpu, map: Shape) -> Self {
        let c = map.c();
        let conv = ConvBatch::transposed(cpu, map, Conv::SAME_3X3, c);
        Self { conv, grad: GradBatch::new(cpu, map, Conv::SAME_3X3, c) }
    }

    /// Those of this gradient by the convolution's output, over the whole batch.
    fn of(cpu: &Cpu, map: Shape, grad: BnGradZ<'_>) -> Self {
        let Self { conv, grad: by_weights } = Self::new(cpu, map);
        let scale = cpu.rounding.map_or(1.0, |rounding| rounding.scale_of_bn_grad(cpu, grad, map.image_len()));
        Self { conv: conv.scaled(scale), grad: by_weights.scaled(scale) }
    }

    /// Elements of a thread's scratch, which serves one gradient after the other.
    fn scratch_len(&self) -> usize {
        self.conv.scratch_len().max(self.grad.scratch_len())
    }
}

/// The second half's VJP, with `sums2` known: `grad_u`, `sums1` and the gradients of conv2, bn2 and bn1.
pub(super) fn outer_pass(
    cpu: &Cpu,
    grad_f: &Tensor,
    scale: f64,
    theta: &BasicTheta<Buffer>,
    stats: &BasicStats<Buffer>,
    cache: &BasicCache<Buffer>,
    grad_theta_acc: &mut BasicTheta<Buffer>,
    scratch: &mut Scratch<Buffer>,
) {
    let Scratch { grad_u, sums1, sums2, workspace, .. } = scratch;
    let map = cache.z2.shape();
    let (c, len, weights) = (map.c(), map.image_len(), theta.conv2.shape().len());
    let groups = Groups::for_weights(map.n(), map.len(), weights);
    let chunk = groups.size * len;
    let (norm1, norm2) = (Norm::new(&stats.bn1, &theta.bn1), Norm::new(&stats.bn2, &theta.bn2));
    let sums2_view = [sums2.gamma.values(), sums2.beta.values()];
    let (scale, terms) = (scale as f32, map.pixels());
    let bn_grad = |grad_y, z| BnGradZ { grad_y, scale, z, norm: norm2, sums: sums2_view, terms };
    let pullback = Pullback::of(cpu, map, bn_grad(grad_f.values(), cache.z2.values()));
    let mut carver = Carver::new(workspace);
    let packed = pullback.conv.pack(cpu, theta.conv2.values(), &mut carver);
    let scratch = carver.take_per_task(cpu.threads(), groups.count, pullback.scratch_len());
    let partial_w = carver.take(groups.count * weights);
    let partial_sums = carver.take(groups.count * 2 * c);
    cpu.install(|| {
        (
            grad_u.values_mut().par_chunks_mut(chunk),
            partial_w.par_chunks_mut(weights),
            partial_sums.par_chunks_mut(2 * c),
            cache.z1.values().par_chunks(chunk),
            cache.z2.values().par_chunks(chunk),
            grad_f.values().par_chunks(chunk),
        )
            .into_par_iter()
            .with_max_len(1)
            .enumerate()
            .for_each(|(group, (grad_u, grad_w, sums, z1, z2, grad_f))| {
                // SAFETY: in the pool, once per task, each with its own number, and nothing below calls rayon.
                let scratch = unsafe { scratch.get(group) };
                grad_w.fill(0.0);
                sums.fill(0.0);
                let images = z1.len() / len;
                let (a, grad_z2) = (NormRelu { z: z1, norm: norm1 }, bn_grad(grad_f, z2));
                pullback.conv.convolve_group(cpu, grad_z2, packed, WherePositive(a), grad_u, scratch);
                pullback.grad.add_group(cpu, images, a, grad_z2, grad_w, scratch);
                add_grad_sums(cpu, grad_u, z1, &stats.bn1, sums);
            });
        merge_grad_sums(partial_sums, 1.0, sums1);
        add_partials(partial_w, grad_theta_acc.conv2.values_mut());
    });
    for (sums, grad) in [(sums2, &mut grad_theta_acc.bn2), (sums1, &mut grad_theta_acc.bn1)] {
        axpby(cpu, 1.0, sums.gamma.values(), 1.0, grad.gamma.values_mut());
        axpby(cpu, 1.0, sums.beta.values(), 1.0, grad.beta.values_mut());
    }
}

/// The first half's VJP: `grad_x += ...` and the gradient of conv1.
pub(super) fn inner_pass(
    cpu: &Cpu,
    x: &Tensor,
    theta: &BasicTheta<Buffer>,
    stats: &BasicStats<Buffer>,
    cache: &BasicCache<Buffer>,
    grad_theta_acc: &mut BasicTheta<Buffer>,
    grad_x_acc: &mut Tensor,
    scratch: &mut Scratch<Buffer>,
) {
    let Scratch { grad_u, sums1, workspace, .. } = scratch;
    let map = x.shape();
    let (len, weights) = (map.image_len(), theta.conv1.shape().len());
    let groups = Groups::for_weights(map.n(), map.len(), weights);
    let chunk = groups.size * len;
    let norm = Norm::new(&stats.bn1, &theta.bn1);
    let (sums, terms) = ([sums1.gamma.values(), sums1.beta.values()], map.pixels());
    let bn_grad = |grad_y, z| BnGradZ { grad_y, scale: 1.0, z, norm, sums, terms };
    let pullback = Pullback::of(cpu, map, bn_grad(grad_u.values(), cache.z1.values()));
    let mut carver = Carver::new(workspace);
    let packed = pullback.conv.pack(cpu, theta.conv1.values(), &mut carver);
    let scratch = carver.take_per_task(cpu.threads(), groups.count, pullback.scratch_len());
    let partial_w = carver.take(groups.count * weights);
    cpu.install(|| {
        (
            grad_x_acc.values_mut().par_chunks_mut(chunk),
            partial_w.par_chunks_mut(weights),
            x.values().par_chunks(chunk),
            cache.z1.values().par_chunks(chunk),
            grad_u.values().par_chunks(chunk),
        )
            .into_par_iter()
            .with_max_len(1)
            .enumerate()
            .for_each(|(group, (grad_x, grad_w, x, z1, grad_u))| {
                // SAFETY: in the pool, once per task, each with its own number, and nothing below calls rayon.
                let scratch = unsafe { scratch.get(group) };
                grad_w.fill(0.0);
                let (images, grad_z1) = (x.len() / len, bn_grad(grad_u, z1));
                pullback.conv.convolve_group(cpu, grad_z1, packed, Add, grad_x, scratch);
                pullback.grad.add_group(cpu, images, Identity(x), grad_z1, grad_w, scratch);
            });
        add_partials(partial_w, grad_theta_acc.conv1.values_mut());
    });
}

/// Sums of a local error, see [`crate::sweep::LocalError`].
pub(super) const ERRORS: usize = 4;

/// The reverse step and the evaluation at its result, image by image: with saved statistics nothing couples them. Leaves
/// `x_rec`, the cache at `x_rec`, the state to carry on from in `x`, the local error, and bn2's gradient sums.
pub(super) fn reverse_pass(
    cpu: &Cpu,
    h: f64,
    carry: Carry,
    theta: &BasicTheta<Buffer>,
    stats: &BasicStats<Buffer>,
    x: &mut Tensor,
    x_rec: &mut Tensor,
    errors: &mut [f32],
    cache: &mut BasicCache<Buffer>,
    grad_x: &Tensor,
    sums2: &mut Affine<Buffer>,
    workspace: &mut [f32],
) {
    let map = x.shape();
    let (c, len) = (map.c(), map.image_len());
    let groups = Groups::new(map.n());
    let chunk = groups.size * len;
    let forward = ConvBatch::forward(cpu, map, Conv::SAME_3X3, c);
    let mut carver = Carver::new(workspace);
    let w1 = forward.pack(cpu, theta.conv1.values(), &mut carver);
    let w2 = forward.pack(cpu, theta.conv2.values(), &mut carver);
    let scratch = carver.take_per_thread(cpu.threads(), forward.scratch_len());
    let partial_sums = carver.take(groups.count * 2 * c);
    let partial_errors = carver.take(groups.count * ERRORS);
    let (norm1, norm2) = (Norm::new(&stats.bn1, &theta.bn1), Norm::new(&stats.bn2, &theta.bn2));
    let back = -h as f32;
    cpu.install(|| {
        (
            x.values_mut().par_chunks_mut(chunk),
            x_rec.values_mut().par_chunks_mut(chunk),
            cache.z1.values_mut().par_chunks_mut(chunk),
            cache.z2.values_mut().par_chunks_mut(chunk),
            partial_sums.par_chunks_mut(2 * c),
            partial_errors.par_chunks_mut(ERRORS),
            grad_x.values().par_chunks(chunk),
        )
            .into_par_iter()
            .with_max_len(1)
            .for_each(|(x, x_rec, z1, z2, sums, errors, grad_x)| {
                // SAFETY: in the pool, once per task, and nothing below calls rayon.
                let scratch = unsafe { scratch.get() };
                sums.fill(0.0);
                // The maps between lie where those of the second evaluation go.
                let mut evaluate = |x: &[f32], z1: &mut [f32], z2: &mut [f32]| {
                    forward.convolve_group(cpu, Identity(x), w1, Overwrite, z1, scratch);
                    forward.convolve_group(cpu, NormRelu { z: z1, norm: norm1 }, w2, Overwrite, z2, scratch);
                };
                evaluate(x, z1, z2);
                let step = NormStep { x, h: back, z: z2, norm: norm2 };
                cpu.run(Map { f: step, from: 0, output: Output::Overwrite, y: x_rec, c });
                cpu.run(SquaredDistance { x: x_rec, y: x, out: &mut errors[..2] });
                evaluate(x_rec, z1, z2);
                let f = BnApply { z: z2, norm: norm2, scale: back };
                cpu.run(Map { f, from: 0, output: Output::Accumulate, y: x, c });
                cpu.run(SquaredDistance { x: x_rec, y: x, out: &mut errors[2..] });
                if carry == Carry::Reconstruction {
                    x.copy_from_slice(x_rec);
                }
                add_grad_sums(cpu, grad_x, z2, &stats.bn2, sums);
            });
        merge_grad_sums(partial_sums, h, sums2);
    });
    for (k, error) in errors.iter_mut().enumerate() {
        *error = partial_errors.chunks_exact(ERRORS).map(|partial| f64::from(partial[k])).sum::<f64>() as f32;
    }
}

/// The decoding of x_n and the evaluation there, image by image. Leaves x_n in `x`, the cache there, and bn2's gradient sums.
pub(super) fn decode_pass(
    cpu: &Cpu,
    h: f64,
    theta: &BasicTheta<Buffer>,
    stats: &BasicStats<Buffer>,
    coder: &Coder<Buffer>,
    code: &Code<Buffer>,
    x: &mut Tensor,
    cache: &mut BasicCache<Buffer>,
    grad_x: &Tensor,
    sums2: &mut Affine<Buffer>,
    workspace: &mut [f32],
) {
    let map = x.shape();
    let (c, len) = (map.c(), map.image_len());
    let groups = Groups::new(map.n());
    let chunk = groups.size * len;
    let forward = ConvBatch::forward(cpu, map, Conv::SAME_3X3, c);
    let mut carver = Carver::new(workspace);
    let w1 = forward.pack(cpu, theta.conv1.values(), &mut carver);
    let w2 = forward.pack(cpu, theta.conv2.values(), &mut carver);
    let scratch = carver.take_per_thread(cpu.threads(), forward.scratch_len());
    let partial_sums = carver.take(groups.count * 2 * c);
    let quantisers = Quantisers::new(map, coder, &code.scale, &mut carver);
    let norm1 = Norm::new(&stats.bn1, &theta.bn1);
    cpu.install(|| {
        (
            x.values_mut().par_chunks_mut(chunk),
            code.packed.values().par_chunks(groups.size * quantisers.words()),
            cache.z1.values_mut().par_chunks_mut(chunk),
            cache.z2.values_mut().par_chunks_mut(chunk),
            partial_sums.par_chunks_mut(2 * c),
            grad_x.values().par_chunks(chunk),
        )
            .into_par_iter()
            .with_max_len(1)
            .for_each(|(x, packed, z1, z2, sums, grad_x)| {
                // SAFETY: in the pool, once per task, and nothing below calls rayon.
                let scratch = unsafe { scratch.get() };
                sums.fill(0.0);
                quantisers.decode(cpu, packed, len, x);
                forward.convolve_group(cpu, Identity(x), w1, Overwrite, z1, scratch);
                forward.convolve_group(cpu, NormRelu { z: z1, norm: norm1 }, w2, Overwrite, z2, scratch);
                add_grad_sums(cpu, grad_x, z2, &stats.bn2, sums);
            });
        merge_grad_sums(partial_sums, h, sums2);
    });
}
