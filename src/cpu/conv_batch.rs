//! A convolution of a batch: how its images, its weights and its algorithm are laid out.

use super::Cpu;
use super::conv_kernel::{ConvImage, Convolve, Direction, Pack};
use super::epilogue::{Epilogue, Finish};
use super::padded::{Pad, Padded, WIDE_BLOCK};
use super::pixelwise::Pixelwise;
use super::rounding::{Rounded, Rounding};
use super::winograd::Winograd;
use super::workspace::{Carver, Groups, carved};
use crate::shape::{Conv, Shape};

/// A convolution of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// What the operands are rounded to.
    pub rounding: Option<Rounding>,
    /// What the input is multiplied by before it is rounded, and divided by after it.
    scale: f32,
}

impl ConvBatch {
    /// `y = x * w`.
    pub fn forward(cpu: &Cpu, x: Shape, conv: Conv, c_out: usize) -> Self {
        let (kernel, stride, p) = (conv.kernel, conv.stride, conv.padding);
        // The 3x3 kernel's tiles know the wide block only.
        let block = if kernel == 3 && stride == 1 { WIDE_BLOCK } else { Padded::block_for(x.c()) };
        let padded = Padded { h: x.h() + 2 * p, w: x.w() + 2 * p, c: x.c(), block, origin: p as isize, dilation: 1 };
        let (h, w) = (conv.out(x.h()), conv.out(x.w()));
        let image = ConvImage { padded, kernel, stride, h, w, c_out };
        let winograd = Winograd::serves(cpu, x, conv, c_out).then(|| Winograd::forward(x, c_out));
        let (direction, rounding) = (Direction::Forward, cpu.rounding);
        Self { image, direction, n: x.n(), h: x.h(), w: x.w(), winograd, rounding, scale: 1.0 }
    }

    /// `grad_x`, of shape `x`, from `grad_y`: with stride s, `grad_y`'s pixels lie s apart with zeros between, and the
    /// convolution has stride 1.
    pub fn transposed(cpu: &Cpu, x: Shape, conv: Conv, c_out: usize) -> Self {
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
        let winograd = Winograd::serves(cpu, x, conv, c_out).then(|| Winograd::transposed(x, c_out));
        let (direction, h, w, rounding) = (Direction::Transposed, conv.out(x.h()), conv.out(x.w()), cpu.rounding);
        Self { image, direction, n: x.n(), h, w, winograd, rounding, scale: 1.0 }
    }

    /// With a scale around the rounding of the input.
    pub fn scaled(self, scale: f32) -> Self {
        Self { scale, ..self }
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
        if let Some(rounding) = self.rounding {
            rounding.round_weights(packed);
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
        match self.rounding {
            Some(rounding) => {
                let f = Rounded { f, rounding, scale: self.scale };
                self.convolve_by_definition(cpu, f, packed, epilogue, y, scratch);
            }
            None => self.convolve_by_definition(cpu, f, packed, epilogue, y, scratch),
        }
    }

    fn convolve_by_definition<F: Pixelwise, E: Epilogue>(
        &self,
        cpu: &Cpu,
        f: F,
        packed: &[f32],
        epilogue: E,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
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
