//! The convolution's gradient for its weights.

use rayon::prelude::*;

use super::Cpu;
use super::conv_batch::ConvBatch;
use super::conv_grad_kernel::{GradW3x3, GradWAny};
use super::padded::Pad;
use super::pixelwise::{Identity, Map, Output, Pixelwise};
use super::rounding::Rounded;
use super::winograd::{GradW, Winograd};
use super::workspace::{Carver, Groups, at_once, carved};
use crate::shape::{Conv, Shape};

/// The weight gradient of a batch's convolution.
#[derive(Clone, Copy)]
pub struct GradBatch {
    plan: Plan,
    x: Shape,
    y: Shape,
    /// What `grad_y` is multiplied by before it is rounded, and divided by after it.
    scale: f32,
}

/// How one group's gradient is computed.
#[derive(Clone, Copy)]
enum Plan {
    /// A 3x3 kernel of stride 1 and padding 1: Winograd's algorithm.
    Winograd(GradW),
    /// A 3x3 kernel of stride 1: `grad_y` is read from a padded copy.
    GradY(ConvBatch),
    /// Any other: x is.
    X(ConvBatch),
}

impl GradBatch {
    pub fn new(cpu: &Cpu, x: Shape, conv: Conv, c_out: usize) -> Self {
        // With more padding than the kernel is wide, the copy would leave pixels of grad_y out.
        let plan = if Winograd::serves(cpu, x, conv, c_out) {
            Plan::Winograd(GradW::new(x, c_out))
        } else if conv.kernel == 3 && conv.stride == 1 && conv.padding <= 2 {
            Plan::GradY(ConvBatch::transposed(cpu, x, conv, c_out))
        } else {
            Plan::X(ConvBatch::forward(cpu, x, conv, c_out))
        };
        Self { plan, x, y: conv.output(x, c_out), scale: 1.0 }
    }

    /// With a scale around the rounding of `grad_y`.
    pub fn scaled(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    /// Elements of a thread's scratch.
    pub fn scratch_len(&self) -> usize {
        match self.plan {
            Plan::Winograd(grad) => grad.scratch_len(),
            Plan::GradY(conv) => carved(conv.image.padded.len()) + carved(self.x.image_len()),
            Plan::X(conv) => carved(conv.image.padded.len()) + carved(self.y.image_len()),
        }
    }

    /// `grad_w += ` the gradient of a group of `images`, for functions of x and of `grad_y`, on the calling thread.
    pub fn add_group<X: Pixelwise, G: Pixelwise>(
        &self,
        cpu: &Cpu,
        images: usize,
        x: X,
        grad_y: G,
        grad_w: &mut [f32],
        scratch: &mut [f32],
    ) {
        let conv = match self.plan {
            Plan::Winograd(grad) => return grad.add(cpu, images, x, grad_y, grad_w, scratch),
            Plan::GradY(conv) | Plan::X(conv) => conv,
        };
        match conv.rounding {
            Some(rounding) => {
                let (x, grad_y) =
                    (Rounded { f: x, rounding, scale: 1.0 }, Rounded { f: grad_y, rounding, scale: self.scale });
                self.add_by_definition(cpu, conv, images, x, grad_y, grad_w, scratch);
            }
            None => self.add_by_definition(cpu, conv, images, x, grad_y, grad_w, scratch),
        }
    }

    fn add_by_definition<X: Pixelwise, G: Pixelwise>(
        &self,
        cpu: &Cpu,
        conv: ConvBatch,
        images: usize,
        x: X,
        grad_y: G,
        grad_w: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (x_len, y_len) = (self.x.image_len(), self.y.image_len());
        let layout = conv.image.padded;
        let (pad, plain) = scratch.split_at_mut(carved(layout.len()));
        let pad = &mut pad[..layout.len()];
        pad.fill(0.0);
        for i in 0..images {
            let (h, w) = (conv.h, conv.w);
            if let Plan::GradY(_) = self.plan {
                let plain = &mut plain[..x_len];
                cpu.run(Pad { f: grad_y, from: i * y_len, h, w, layout, to: pad });
                cpu.run(Map { f: x, from: i * x_len, output: Output::Overwrite, y: plain, c: self.x.c() });
                let (h, w, c_in, grad_rows) = (self.x.h(), self.x.w(), self.x.c(), h);
                cpu.run(GradW3x3 { h, w, c_in, layout, grad_rows, x: plain, grad_y: pad, grad_w });
            } else {
                let plain = &mut plain[..y_len];
                cpu.run(Pad { f: x, from: i * x_len, h, w, layout, to: pad });
                cpu.run(Map { f: grad_y, from: i * y_len, output: Output::Overwrite, y: plain, c: self.y.c() });
                cpu.run(GradWAny { geometry: conv.image, padded: pad, grad_y: plain, grad_w });
            }
        }
    }
}

/// Workspace of [`conv_grad_w`].
pub fn workspace(cpu: &Cpu, x: Shape, conv: Conv, c_out: usize) -> usize {
    let weights = Shape::weight(conv.kernel, x.c(), c_out).len();
    let scratch = GradBatch::new(cpu, x, conv, c_out).scratch_len();
    let groups = Groups::bound_for_weights(x.n(), x.len(), weights);
    at_once(cpu.threads(), groups) * carved(scratch) + carved(groups * weights)
}

/// `grad_w += ...`: a partial gradient for each group of images, then their sum.
#[allow(clippy::too_many_arguments)]
pub fn conv_grad_w(
    cpu: &Cpu,
    x: &[f32],
    shape: Shape,
    grad_y: &[f32],
    conv: Conv,
    grad_w_acc: &mut [f32],
    c_out: usize,
    workspace: &mut [f32],
) {
    let grad = GradBatch::new(cpu, shape, conv, c_out);
    let image = grad.y.image_len();
    let grad = grad.scaled(cpu.rounding.map_or(1.0, |rounding| rounding.scale_of_map(cpu, grad_y, image)));
    let weights = grad_w_acc.len();
    let groups = Groups::for_weights(shape.n(), shape.len(), weights);
    let (x_len, y_len) = (shape.image_len(), grad.y.image_len());
    let mut carver = Carver::new(workspace);
    let scratch = carver.take_per_task(cpu.threads(), groups.count, grad.scratch_len());
    let partials = carver.take(groups.count * weights);
    cpu.install(|| {
        (partials.par_chunks_mut(weights), x.par_chunks(groups.size * x_len), grad_y.par_chunks(groups.size * y_len))
            .into_par_iter()
            .with_max_len(1)
            .enumerate()
            .for_each(|(group, (grad_w, x, grad_y))| {
                // SAFETY: in the pool, once per task, each with its own number, and nothing below calls rayon.
                let scratch = unsafe { scratch.get(group) };
                grad_w.fill(0.0);
                let images = x.len() / x_len;
                grad.add_group(cpu, images, Identity(x), Identity(grad_y), grad_w, scratch);
            });
        add_partials(partials, grad_w_acc);
    });
}

/// Weights of one task of [`add_partials`].
const CHUNK: usize = 1024;

/// `sum += ` every group's part, in the groups' order.
pub fn add_partials(partials: &[f32], sum_acc: &mut [f32]) {
    let len = sum_acc.len();
    sum_acc.par_chunks_mut(CHUNK).enumerate().for_each(|(i, sum)| {
        for partial in partials.chunks_exact(len) {
            for (sum, part) in sum.iter_mut().zip(&partial[i * CHUNK..]) {
                *sum += part;
            }
        }
    });
}
