//! Convolution and its gradient for x, which is a convolution of `grad_y` by the turned kernel: a 3x3 one of stride 1 by
//! Winograd's algorithm, any other by its definition.

use rayon::prelude::*;

use super::batch_norm::merge_moments;
use super::channel_sums::Moments;
use super::conv_kernel::{ConvImage, Convolve, Direction, Pack};
use super::epilogue::{Epilogue, Finish, Overwrite};
use super::padded::{Pad, Padded, WIDE_BLOCK};
use super::pixelwise::{Identity, Pixelwise};
use super::winograd::Winograd;
use super::workspace::{Carver, Groups, carved};
use super::{Buffer, Cpu, Tensor, conv_grad};
use crate::check;
use crate::device::{Convolution, ResidualBlock};
use crate::error::Result;
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
    /// The algorithm with fewer multiplications, where it serves.
    winograd: Option<Winograd>,
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
        let winograd = Winograd::serves(x, conv, c_out).then(|| Winograd::forward(x, c_out));
        Self { image, direction: Direction::Forward, n: x.n(), h: x.h(), w: x.w(), winograd }
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
        let winograd = Winograd::serves(x, conv, c_out).then(|| Winograd::transposed(x, c_out));
        Self { image, direction: Direction::Transposed, n: x.n(), h: conv.out(x.h()), w: conv.out(x.w()), winograd }
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
        carved(self.packed_len())
            + cpu.threads() * carved(self.scratch_len())
            + carved(Groups::bound(self.n) * 2 * self.image.c_out)
    }

    /// Elements of the packed weights.
    pub fn packed_len(&self) -> usize {
        self.winograd.map_or(self.image.packed_len(), |w| w.packed_len())
    }

    /// Packs the weights.
    pub fn pack<'a>(&self, cpu: &Cpu, w: &[f32], carver: &mut Carver<'a>) -> &'a [f32] {
        let packed = carver.take(self.packed_len());
        match self.winograd {
            Some(winograd) => winograd.pack(cpu, w, packed),
            None => cpu.run(Pack { geometry: self.image, direction: self.direction, w, packed }),
        }
        packed
    }

    /// Elements of a thread's scratch.
    pub fn scratch_len(&self) -> usize {
        let direct = || carved(self.image.padded.len()) + carved(self.image.output_len());
        self.winograd.map_or_else(direct, |w| w.scratch_len())
    }

    /// Convolves a function of a group of images, `[n, H, W, C_in]`, into `y: [n, H, W, C_out]`, on the calling thread.
    pub fn convolve_group<F: Pixelwise, E: Epilogue>(
        &self,
        cpu: &Cpu,
        f: F,
        packed: &[f32],
        epilogue: E,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        if let Some(winograd) = self.winograd {
            return winograd.convolve(cpu, f, packed, epilogue, y, scratch);
        }
        let (image, c) = (self.image, self.image.c_out);
        let (pad, values) = scratch.split_at_mut(carved(image.padded.len()));
        let pad = &mut pad[..image.padded.len()];
        let values = &mut values[..image.output_len()];
        pad.fill(0.0);
        for (i, y) in y.chunks_exact_mut(image.output_len()).enumerate() {
            cpu.run(Pad { f, from: i * self.input_len(), h: self.h, w: self.w, layout: image.padded, to: pad });
            if E::OVERWRITES {
                cpu.run(Convolve { geometry: image, padded: pad, packed, y });
            } else {
                cpu.run(Convolve { geometry: image, padded: pad, packed, y: values });
                cpu.run(Finish { epilogue, values, y, from: i * image.output_len(), c });
            }
        }
    }
}

/// Workspace of the convolution, with statistics or without, and of its two gradients.
pub fn workspace(cpu: &Cpu, x: Shape, conv: Conv, c_out: usize) -> usize {
    let convolutions = [ConvBatch::forward(x, conv, c_out), ConvBatch::transposed(x, conv, c_out)];
    let both = convolutions.iter().map(|c| c.workspace(cpu)).max().unwrap_or(0);
    both.max(conv_grad::workspace(cpu, x, conv, c_out))
}

/// Convolves a function of `x`, and measures the output where asked for.
#[allow(clippy::too_many_arguments)]
pub fn convolve<'a, F: Pixelwise>(
    cpu: &Cpu,
    conv: ConvBatch,
    x: &'a [f32],
    of: impl Fn(&'a [f32]) -> F + Sync,
    w: &[f32],
    y: &mut [f32],
    measure: Option<Measure<'_, Buffer>>,
    workspace: &mut [f32],
) {
    let groups = Groups::new(conv.n);
    let (x_len, y_len, c_out) = (conv.input_len(), conv.image.output_len(), conv.image.c_out);
    let mut carver = Carver::new(workspace);
    let packed = conv.pack(cpu, w, &mut carver);
    let scratch = carver.take_per_thread(cpu.threads(), conv.scratch_len());
    let partials = carver.take(groups.count * 2 * c_out);
    let measured = measure.is_some();
    cpu.install(|| {
        (y.par_chunks_mut(groups.size * y_len), partials.par_chunks_mut(2 * c_out), x.par_chunks(groups.size * x_len))
            .into_par_iter()
            .with_max_len(1)
            .for_each(|(y, partial, x)| {
                // SAFETY: in the pool, once per task, and nothing below calls rayon.
                let scratch = unsafe { scratch.get() };
                conv.convolve_group(cpu, of(x), packed, Overwrite, y, scratch);
                if measured {
                    let (mean, m2) = partial.split_at_mut(c_out);
                    for (i, z) in y.chunks_exact(y_len).enumerate() {
                        cpu.run(Moments { z, before: i * conv.image.h * conv.image.w, mean, m2 });
                    }
                }
            });
        if let Some(measure) = measure {
            merge_moments(cpu, partials, groups, conv.output(), measure);
        }
    });
}

impl Convolution for Cpu {
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
        convolve(self, batch, grad_y.values(), Identity, w.values(), grad_x.values_mut(), None, workspace);
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
        workspace(self, x, conv, c_out)
    }
}
