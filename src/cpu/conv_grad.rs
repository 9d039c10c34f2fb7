//! The convolution's gradient for its weights.

use rayon::prelude::*;

use super::Cpu;
use super::conv::ConvBatch;
use super::conv_grad_kernel::{GradW3x3, GradWAny};
use super::conv_kernel::ConvImage;
use super::padded::Pad;
use super::pixelwise::Identity;
use super::workspace::{Carver, Groups, carved};
use crate::shape::{Conv, Shape};

/// Which image is read from a padded copy.
#[derive(Clone, Copy)]
enum Plan {
    /// A 3x3 kernel of stride 1: `grad_y`.
    GradY(ConvBatch),
    /// Any other: x.
    X(ConvBatch),
}

impl Plan {
    fn new(x: Shape, conv: Conv, c_out: usize) -> Self {
        // With more padding than the kernel is wide, the copy would leave pixels of grad_y out.
        if conv.kernel == 3 && conv.stride == 1 && conv.padding <= 2 {
            Self::GradY(ConvBatch::transposed(x, conv, c_out))
        } else {
            Self::X(ConvBatch::forward(x, conv, c_out))
        }
    }

    fn image(self) -> ConvImage {
        match self {
            Self::GradY(conv) | Self::X(conv) => conv.image,
        }
    }
}

/// Workspace of [`conv_grad_w`].
pub fn workspace(cpu: &Cpu, x: Shape, conv: Conv, c_out: usize) -> usize {
    let weights = Shape::weight(conv.kernel, x.c(), c_out).len();
    let copy = Plan::new(x, conv, c_out).image().padded.len();
    cpu.threads() * carved(copy) + carved(Groups::bound_for_weights(x.n(), x.len(), weights) * weights)
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
    let plan = Plan::new(shape, conv, c_out);
    let image = plan.image();
    let weights = grad_w_acc.len();
    let groups = Groups::for_weights(shape.n(), shape.len(), weights);
    let (x_len, y_len) = (shape.image_len(), conv.output(shape, c_out).image_len());
    let mut carver = Carver::new(workspace);
    let pads = carver.take_per_thread(cpu.threads(), image.padded.len());
    let partials = carver.take(groups.count * weights);
    cpu.install(|| {
        (partials.par_chunks_mut(weights), x.par_chunks(groups.size * x_len), grad_y.par_chunks(groups.size * y_len))
            .into_par_iter()
            .with_max_len(1)
            .for_each(|(grad_w, x, grad_y)| {
                // SAFETY: in the pool, once per task, and nothing below calls rayon.
                let pad = unsafe { pads.get() };
                pad.fill(0.0);
                grad_w.fill(0.0);
                for (x, grad_y) in x.chunks_exact(x_len).zip(grad_y.chunks_exact(y_len)) {
                    match plan {
                        Plan::GradY(ConvBatch { h, w, .. }) => {
                            cpu.run(Pad { f: Identity(grad_y), h, w, layout: image.padded, to: pad });
                            add_3x3(cpu, shape, image, h, x, pad, grad_w);
                        }
                        Plan::X(ConvBatch { h, w, .. }) => {
                            cpu.run(Pad { f: Identity(x), h, w, layout: image.padded, to: pad });
                            cpu.run(GradWAny { geometry: image, padded: pad, grad_y, grad_w });
                        }
                    }
                }
            });
        add_partials(partials, grad_w_acc);
    });
}

/// `grad_w += ` one image's gradient; `pad` holds `grad_y` as the convolution for `grad_x`, `image`, reads it.
pub fn add_3x3(
    cpu: &Cpu,
    x_shape: Shape,
    image: ConvImage,
    grad_rows: usize,
    x: &[f32],
    pad: &[f32],
    grad_w: &mut [f32],
) {
    let (h, w, c_in) = (x_shape.h(), x_shape.w(), x_shape.c());
    cpu.run(GradW3x3 { h, w, c_in, layout: image.padded, grad_rows, x, grad_y: pad, grad_w });
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
