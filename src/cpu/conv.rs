//! Convolution and its gradient for x, which is a convolution of `grad_y` by the turned kernel: a 3x3 one of stride 1 by
//! Winograd's algorithm, any other by its definition.

use rayon::prelude::*;

use super::batch_norm::merge_moments;
use super::channel_sums::Moments;
use super::conv_batch::ConvBatch;
use super::epilogue::Overwrite;
use super::pixelwise::{Identity, Pixelwise};
use super::workspace::{Carver, Groups};
use super::{Buffer, Cpu, Tensor, conv_grad};
use crate::check;
use crate::device::{Convolution, ResidualBlock};
use crate::error::Result;
use crate::operands::Measure;
use crate::shape::{Conv, Shape};

/// Workspace of the convolution, with statistics or without, and of its two gradients.
pub fn workspace(cpu: &Cpu, x: Shape, conv: Conv, c_out: usize) -> usize {
    let convolutions = [ConvBatch::forward(cpu, x, conv, c_out), ConvBatch::transposed(cpu, x, conv, c_out)];
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
        let image = grad_y.shape().image_len();
        let scale = self.rounding.map_or(1.0, |rounding| rounding.scale_of_map(self, grad_y.values(), image));
        let batch = ConvBatch::transposed(self, x, conv, c_out).scaled(scale);
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
