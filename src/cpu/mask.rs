//! Masks of ReLUs behind a batch norm, 32 elements a word: see [`crate::device::ReluMask::relu_mask`].

use rayon::prelude::*;

use super::simd::{Kernel, Simd};
use super::{Buffer, Cpu, Tensor};
use crate::check;
use crate::device::ReluMask;
use crate::error::Result;
use crate::operands::{Affine, BnStats};

/// Elements of one word.
const WORD: usize = 32;

/// Batch norms of a word's elements, `slope (z - mean) + shift`.
#[derive(Clone, Copy)]
struct Norms {
    slope: [f32; WORD],
    mean: [f32; WORD],
    shift: [f32; WORD],
}

/// The channels' vectors.
#[derive(Clone, Copy)]
struct Channels<'a> {
    gamma: &'a [f32],
    rstd: &'a [f32],
    mean: &'a [f32],
    beta: &'a [f32],
}

impl<'a> Channels<'a> {
    fn new(stats: &'a BnStats<Buffer>, affine: &'a Affine<Buffer>) -> Self {
        let (gamma, beta) = (affine.gamma.values(), affine.beta.values());
        Self { gamma, rstd: stats.rstd.values(), mean: stats.mean.values(), beta }
    }

    /// Those of the word that begins with element `first` of an image.
    #[inline(always)]
    fn of_word(&self, first: usize) -> Norms {
        let c = self.gamma.len();
        let mut norms = Norms { slope: [0.0; WORD], mean: [0.0; WORD], shift: [0.0; WORD] };
        for i in 0..WORD {
            let at = (first + i) % c;
            norms.slope[i] = self.gamma[at] * self.rstd[at];
            norms.mean[i] = self.mean[at];
            norms.shift[i] = self.beta[at];
        }
        norms
    }

    /// Whether all words have the norms of the first.
    fn repeat(&self) -> bool {
        WORD.is_multiple_of(self.gamma.len())
    }
}

/// `mask = bn(z) > 0`.
pub fn keep(cpu: &Cpu, z: &Tensor, stats: &BnStats<Buffer>, affine: &Affine<Buffer>, mask: &mut Tensor) {
    let (len, words) = (z.shape().image_len(), mask.shape().image_len());
    let of = Channels::new(stats, affine);
    cpu.install(|| {
        let images = z.values().par_chunks(len).zip(mask.values_mut().par_chunks_mut(words));
        images.for_each(|(z, mask)| cpu.run(Keep { of, z, mask: bytemuck::cast_slice_mut(mask) }));
    });
}

/// z mirrored at bn's zero where the sign of `bn(z)` is not the mask's.
pub fn replay(cpu: &Cpu, mask: &Tensor, stats: &BnStats<Buffer>, affine: &Affine<Buffer>, z: &mut Tensor) {
    let (len, words) = (z.shape().image_len(), mask.shape().image_len());
    let of = Channels::new(stats, affine);
    cpu.install(|| {
        let images = z.values_mut().par_chunks_mut(len).zip(mask.values().par_chunks(words));
        images.for_each(|(z, mask)| cpu.run(Replay { of, z, mask: bytemuck::cast_slice(mask) }));
    });
}

/// One image.
struct Keep<'a> {
    of: Channels<'a>,
    z: &'a [f32],
    mask: &'a mut [u32],
}

impl Kernel for Keep<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { of, z, mask } = self;
        let (repeat, mut norms) = (of.repeat(), of.of_word(0));
        for (w, (mask, z)) in mask.iter_mut().zip(z.chunks(WORD)).enumerate() {
            if !repeat {
                norms = of.of_word(WORD * w);
            }
            let mut bits = 0;
            for (i, z) in z.iter().enumerate() {
                let value = norms.slope[i] * (z - norms.mean[i]) + norms.shift[i];
                bits |= u32::from(value > 0.0) << i;
            }
            *mask = bits;
        }
    }
}

/// One image.
struct Replay<'a> {
    of: Channels<'a>,
    z: &'a mut [f32],
    mask: &'a [u32],
}

impl Kernel for Replay<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { of, z, mask } = self;
        let (repeat, mut norms) = (of.repeat(), of.of_word(0));
        for (w, (mask, z)) in mask.iter().zip(z.chunks_mut(WORD)).enumerate() {
            if !repeat {
                norms = of.of_word(WORD * w);
            }
            for (i, z) in z.iter_mut().enumerate() {
                let slope = norms.slope[i];
                let value = slope * (*z - norms.mean[i]) + norms.shift[i];
                let differs = (value > 0.0) != (mask >> i & 1 == 1) && slope != 0.0;
                *z = if differs { *z - 2.0 * value / slope } else { *z };
            }
        }
    }
}

impl ReluMask for Cpu {
    fn relu_mask(&self, z: &Tensor, stats: &BnStats<Buffer>, affine: &Affine<Buffer>, mask: &mut Tensor) -> Result<()> {
        check::mask::<Self::Real, _>("relu_mask", z.shape(), stats, affine, mask.shape())?;
        keep(self, z, stats, affine, mask);
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
        replay(self, mask, stats, affine, z_acc);
        Ok(())
    }
}
