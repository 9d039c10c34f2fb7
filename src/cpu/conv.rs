//! Convolution and its gradient for x, which is a convolution of `grad_y` by the turned kernel.

use rayon::prelude::*;

use super::batch_norm::merge_moments;
use super::channel_sums::Moments;
use super::conv_kernel::{ConvImage, Convolve, Direction, Pack};
use super::padded::{Pad, Padded, WIDE_BLOCK};
use super::pixelwise::Pixelwise;
use super::workspace::{Carver, Groups, carved};
use super::{Cpu, conv_grad};
use crate::operands::Measure;
use crate::shape::{Conv, Shape};

/// A convolution of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvBatch {
    /// One image's.
    pub image: ConvImage,
    /// How the weights are read.
    pub direction: Direction,
    /// Images.
    pub n: usize,
    /// Rows of the input.
    pub h: usize,
    /// Columns of the input.
    pub w: usize,
}

impl ConvBatch {
    /// `y = x * w`.
    pub fn forward(x: Shape, conv: Conv, c_out: usize) -> Self {
        let (kernel, stride, p) = (conv.kernel, conv.stride, conv.padding);
        // The 3x3 kernel's tiles know the wide block only.
        let block = if kernel == 3 && stride == 1 { WIDE_BLOCK } else { Padded::block_for(x.c()) };
        let padded = Padded { h: x.h() + 2 * p, w: x.w() + 2 * p, c: x.c(), block, origin: p as isize, dilation: 1 };
        let (h, w) = (conv.out(x.h()), conv.out(x.w()));
        let image = ConvImage { padded, kernel, stride, h, w, c_out };
        Self { image, direction: Direction::Forward, n: x.n(), h: x.h(), w: x.w() }
    }

    /// `grad_x`, of shape `x`, from `grad_y`: with stride s, `grad_y`'s pixels lie s apart with zeros between, and the
    /// convolution has stride 1.
    pub fn transposed(x: Shape, conv: Conv, c_out: usize) -> Self {
        let (kernel, p) = (conv.kernel, conv.padding);
        let block = if kernel == 3 { WIDE_BLOCK } else { Padded::block_for(c_out) };
        let padded = Padded {
            h: x.h() + kernel - 1,
            w: x.w() + kernel - 1,
            c: c_out,
            block,
            origin: kernel as isize - 1 - p as isize,
            dilation: conv.stride,
        };
        let image = ConvImage { padded, kernel, stride: 1, h: x.h(), w: x.w(), c_out: x.c() };
        Self { image, direction: Direction::Transposed, n: x.n(), h: conv.out(x.h()), w: conv.out(x.w()) }
    }

    /// Elements of one image of the input.
    pub fn input_len(&self) -> usize {
        self.h * self.w * self.image.padded.c
    }

    /// The output's shape.
    pub fn output(&self) -> Shape {
        Shape::map(self.n, self.image.h, self.image.w, self.image.c_out)
    }

    /// Workspace of [`convolve`].
    pub fn workspace(&self, cpu: &Cpu) -> usize {
        carved(self.image.packed_len())
            + cpu.threads() * carved(self.image.padded.len())
            + carved(Groups::bound(self.n) * 2 * self.image.c_out)
    }

    /// Packs the weights.
    pub fn pack<'a>(&self, cpu: &Cpu, w: &[f32], carver: &mut Carver<'a>) -> &'a [f32] {
        let packed = carver.take(self.image.packed_len());
        cpu.run(Pack { geometry: self.image, direction: self.direction, w, packed });
        packed
    }
}

/// Workspace of the convolution, with statistics or without, and of its two gradients.
pub fn workspace(cpu: &Cpu, x: Shape, conv: Conv, c_out: usize) -> usize {
    let convolutions = [ConvBatch::forward(x, conv, c_out), ConvBatch::transposed(x, conv, c_out)];
    let both = convolutions.iter().map(|c| c.workspace(cpu)).max().unwrap_or(0);
    both.max(conv_grad::workspace(cpu, x, conv, c_out))
}

/// Convolves a function of `x`, and measures the output where asked for.
///
/// Each image is written with zeros around it into its thread's scratch, which is where the function is applied, and
/// convolved from there.
#[allow(clippy::too_many_arguments)]
pub fn convolve<'a, F: Pixelwise>(
    cpu: &Cpu,
    conv: ConvBatch,
    x: &'a [f32],
    of: impl Fn(&'a [f32]) -> F + Sync,
    w: &[f32],
    y: &mut [f32],
    measure: Option<Measure<'_, Cpu>>,
    workspace: &mut [f32],
) {
    let ConvBatch { image, n, h: rows, w: columns, .. } = conv;
    let groups = Groups::new(n);
    let (x_len, y_len, c_out) = (conv.input_len(), image.output_len(), image.c_out);
    let mut carver = Carver::new(workspace);
    let packed = conv.pack(cpu, w, &mut carver);
    let pads = carver.take_per_thread(cpu.threads(), image.padded.len());
    let partials = carver.take(groups.count * 2 * c_out);
    let measured = measure.is_some();
    cpu.install(|| {
        (y.par_chunks_mut(groups.size * y_len), partials.par_chunks_mut(2 * c_out), x.par_chunks(groups.size * x_len))
            .into_par_iter()
            .with_max_len(1)
            .for_each(|(y, partial, x)| {
                // SAFETY: in the pool, once per task, and nothing below calls rayon.
                let pad = unsafe { pads.get() };
                pad.fill(0.0);
                let (mean, m2) = partial.split_at_mut(c_out);
                for (i, (x, y)) in x.chunks_exact(x_len).zip(y.chunks_exact_mut(y_len)).enumerate() {
                    cpu.run(Pad { f: of(x), h: rows, w: columns, layout: image.padded, to: pad });
                    cpu.run(Convolve { geometry: image, padded: pad, packed, y });
                    if measured {
                        cpu.run(Moments { z: y, before: i * image.h * image.w, mean, m2 });
                    }
                }
            });
        if let Some(measure) = measure {
            merge_moments(cpu, partials, groups, conv.output(), measure);
        }
    });
}
