//! Codes of increments: the quantiser over vectors, packed into words of 32 bits; see [`crate::code`].
//!
//! Word j of an image's W words holds elements j, W + j, 2 W + j and so on, so that neighbouring elements lie in neighbouring
//! words and a row of W elements is coded without a shift across lanes. Where W is no multiple of C each row begins at another
//! channel: the channels' parameters are laid out repeatedly, over W + C elements, and a row reads them from its own phase.

use std::ops::Range;

use rayon::prelude::*;

use super::elementwise::{CHUNK, each_chunk};
use super::simd::{Kernel, Simd};
use super::workspace::{Carver, Groups, carved};
use super::{Buffer, Cpu, Tensor};
use crate::check;
use crate::code::{Bits, COMPANDING, Code, CodedPass, Coder, LEVEL_1, LEVELS_2, SIGMA_MIN, THRESHOLD_2, unit};
use crate::device::Coding;
use crate::error::Result;
use crate::host::judge;
use crate::operands::{Affine, BnStats};
use crate::shape::Shape;

/// Workspace of everything here, for any number of bits.
pub fn workspace(cpu: &Cpu, map: Shape) -> usize {
    let tile = Bits::Eight.words(map.image_len()) + map.c();
    let start = carved(map.len().div_ceil(CHUNK));
    let encode = carved(3 * tile) + cpu.threads() * carved(tile) + carved(Groups::bound(map.n()) * map.c());
    start.max(encode)
}

/// `grid = unit(max |x|)`, and x on it.
pub fn start(cpu: &Cpu, x: &mut [f32], grid: &mut [f32], workspace: &mut [f32]) {
    let partials = Carver::new(workspace).take(x.len().div_ceil(CHUNK));
    cpu.install(|| {
        partials.par_iter_mut().zip(x.par_chunks(CHUNK)).for_each(|(largest, x)| cpu.run(Largest { x, largest }));
    });
    grid[0] = unit(f64::from(partials.iter().fold(0.0f32, |a, b| a.max(*b)))) as f32;
    round(cpu, grid[0], x);
}

/// x on the grid.
pub fn round(cpu: &Cpu, unit: f32, x: &mut [f32]) {
    each_chunk(cpu, x, |x, _| cpu.run(Round { x, unit }));
}

struct Largest<'a> {
    x: &'a [f32],
    largest: &'a mut f32,
}

impl Kernel for Largest<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        const SIDE: usize = 64;
        let mut largest = [0.0f32; SIDE];
        for x in self.x.chunks(SIDE) {
            for (largest, x) in largest.iter_mut().zip(x) {
                let x = x.abs();
                *largest = if x > *largest { x } else { *largest };
            }
        }
        *self.largest = largest.into_iter().fold(0.0, f32::max);
    }
}

struct Round<'a> {
    x: &'a mut [f32],
    unit: f32,
}

impl Kernel for Round<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let big = rounding(self.unit);
        for x in self.x {
            *x = (*x + big) - big;
        }
    }
}

/// What, added and taken away again, leaves a multiple of the unit: a float of this size ends there. Right up to `2^22` units,
/// a quarter of what the grid's states may come to.
fn rounding(unit: f32) -> f32 {
    1.5 * 8_388_608.0 * unit
}

/// Mean and 1/sigma of `h sum_k bn_k(z_k) + c`.
pub fn scale(h: f64, last: &[&Affine<Buffer>], rest: &[f32], scale: &mut BnStats<Buffer>) {
    let BnStats { mean, rstd } = scale;
    for (c, (mean, rstd)) in mean.values_mut().iter_mut().zip(rstd.values_mut()).enumerate() {
        let beta: f64 = last.iter().map(|affine| f64::from(affine.beta.values()[c])).sum();
        let gamma: f64 = last.iter().map(|affine| f64::from(affine.gamma.values()[c]).abs()).sum();
        *mean = (h * beta) as f32;
        let sigma = ((h * gamma).powi(2) + f64::from(rest[c])).sqrt();
        *rstd = if sigma < SIGMA_MIN { 0.0 } else { (1.0 / sigma) as f32 };
    }
}

/// The channels' quantisers, laid out for rows of any phase.
#[derive(Clone, Copy)]
pub struct Quantisers<'a> {
    bits: Bits,
    unit: f32,
    c: usize,
    /// Words of an image.
    words: usize,
    /// `[words + c]` each.
    mean: &'a [f32],
    rstd: &'a [f32],
    sigma: &'a [f32],
}

impl<'a> Quantisers<'a> {
    /// Elements that [`Quantisers::new`] takes of a workspace.
    pub fn carved(map: Shape) -> usize {
        carved(3 * (Bits::Eight.words(map.image_len()) + map.c()))
    }

    /// Lays out a code's parameters.
    pub fn new(map: Shape, coder: &Coder<Buffer>, scale: &BnStats<Buffer>, carver: &mut Carver<'a>) -> Self {
        let (c, words) = (map.c(), coder.bits.words(map.image_len()));
        let tile = words + c;
        let (mean, rest) = carver.take(3 * tile).split_at_mut(tile);
        let (rstd, sigma) = rest.split_at_mut(tile);
        for (i, ((mean, rstd), sigma)) in mean.iter_mut().zip(&mut *rstd).zip(&mut *sigma).enumerate() {
            *mean = scale.mean.values()[i % c];
            *rstd = scale.rstd.values()[i % c];
            *sigma = if *rstd > 0.0 { 1.0 / *rstd } else { 0.0 };
        }
        Self { bits: coder.bits, unit: coder.grid.values()[0], c, words, mean, rstd, sigma }
    }

    /// Words of an image.
    pub fn words(&self) -> usize {
        self.words
    }

    /// `x -= q`, of several images on the calling thread.
    pub fn decode(self, cpu: &Cpu, packed: &[f32], len: usize, x: &mut [f32]) {
        for (x, packed) in x.chunks_exact_mut(len).zip(packed.chunks_exact(self.words)) {
            cpu.run(Decode { of: self, packed: bytemuck::cast_slice(packed), x });
        }
    }
}

/// See [`crate::device::Coding::encode`]; `before` is called with each group's elements and their parts of the carry and of x
/// first, on the thread that then codes them; x moves by q only in the altered pass.
pub fn encode(
    cpu: &Cpu,
    coder: &mut Coder<Buffer>,
    carry: &mut Tensor,
    x: Option<&mut Tensor>,
    code: &mut Code<Buffer>,
    workspace: &mut [f32],
    before: impl Fn(Range<usize>, &mut [f32], Option<&mut [f32]>) + Sync,
) {
    let map = carry.shape();
    let (c, len) = (map.c(), map.image_len());
    let Code { scale, packed } = code;
    let altered = coder.pass == CodedPass::Altered;
    let mut carver = Carver::new(workspace);
    let of = Quantisers::new(map, coder, scale, &mut carver);
    let sums = carver.take_per_thread(cpu.threads(), of.words + c);
    let groups = Groups::new(map.n());
    let partials = carver.take(groups.count * c);
    let chunk = groups.size * len;
    let code_group = |i: usize, carry: &mut [f32], mut x: Option<&mut [f32]>, packed: &mut [f32], rest: &mut [f32]| {
        // SAFETY: in the pool, once per task, and nothing below calls rayon.
        let sums = unsafe { sums.get() };
        sums.fill(0.0);
        before(i * chunk..i * chunk + carry.len(), carry, x.as_deref_mut());
        let mut x = x.filter(|_| altered);
        for (image, (carry, packed)) in carry.chunks_exact_mut(len).zip(packed.chunks_exact_mut(of.words)).enumerate() {
            let x = x.as_mut().map(|x| &mut x[image * len..(image + 1) * len]);
            cpu.run(Encode { of, carry, x, packed: bytemuck::cast_slice_mut(packed), sums });
        }
        // the sums of one channel lie C apart
        for (channel, rest) in rest.iter_mut().enumerate() {
            *rest = sums[channel..].iter().step_by(c).sum();
        }
    };
    let (carry, packed) =
        (carry.values_mut().par_chunks_mut(chunk), packed.values_mut().par_chunks_mut(groups.size * of.words));
    cpu.install(|| {
        let rest = partials.par_chunks_mut(c);
        match x {
            Some(x) => (carry, packed, rest, x.values_mut().par_chunks_mut(chunk))
                .into_par_iter()
                .with_max_len(1)
                .enumerate()
                .for_each(|(i, (carry, packed, rest, x))| code_group(i, carry, Some(x), packed, rest)),
            None => (carry, packed, rest)
                .into_par_iter()
                .with_max_len(1)
                .enumerate()
                .for_each(|(i, (carry, packed, rest))| code_group(i, carry, None, packed, rest)),
        }
    });
    for (channel, rest) in coder.rest.values_mut().iter_mut().enumerate() {
        let sum: f64 = partials.chunks_exact(c).map(|partial| f64::from(partial[channel])).sum();
        *rest = (sum / map.pixels() as f64) as f32;
    }
}

/// See [`crate::device::Coding::decode`].
pub fn decode(cpu: &Cpu, coder: &Coder<Buffer>, code: &Code<Buffer>, x: &mut Tensor, workspace: &mut [f32]) {
    let map = x.shape();
    let of = Quantisers::new(map, coder, &code.scale, &mut Carver::new(workspace));
    let groups = Groups::new(map.n());
    let len = map.image_len();
    cpu.install(|| {
        (x.values_mut().par_chunks_mut(groups.size * len), code.packed.values().par_chunks(groups.size * of.words))
            .into_par_iter()
            .with_max_len(1)
            .for_each(|(x, packed)| of.decode(cpu, packed, len, x));
    });
}

/// One bit pattern a level: magnitude times 2, plus 1 where it is negative.
#[inline(always)]
fn index<const B: u32>(u: f32) -> u32 {
    let magnitude = match B {
        1 => 0,
        2 => u32::from(u.abs() > THRESHOLD_2),
        _ => {
            // Octave and place in it are the exponent and the first digits of a float. A NaN has the last level.
            let t = 1.0 + COMPANDING * u.abs();
            (t.to_bits().wrapping_sub(1.0f32.to_bits()) >> (26 - B)).min((1 << (B - 1)) - 1)
        }
    };
    magnitude << 1 | u.to_bits() >> 31
}

/// The level, in sigmas.
#[inline(always)]
fn level<const B: u32>(index: u32) -> f32 {
    let magnitude = index >> 1;
    let level = match B {
        1 => LEVEL_1,
        2 => {
            if magnitude == 0 {
                LEVELS_2[0]
            } else {
                LEVELS_2[1]
            }
        }
        _ => {
            let middle = (magnitude << (26 - B)) + (1 << (25 - B));
            (f32::from_bits(1.0f32.to_bits() + middle) - 1.0) * (1.0 / COMPANDING)
        }
    };
    f32::from_bits(level.to_bits() | index << 31)
}

/// The rows of an image: (first element, last element, phase, bit).
#[inline(always)]
fn rows(of: &Quantisers<'_>, len: usize) -> impl Iterator<Item = (usize, usize, usize, u32)> {
    let (words, c, bits) = (of.words, of.c, of.bits.count() as u32);
    (0..of.bits.per_word()).map_while(move |k| {
        let from = k * words;
        (from < len).then(|| (from, len.min(from + words), from % c, k as u32 * bits))
    })
}

/// Codes one image.
struct Encode<'a> {
    of: Quantisers<'a>,
    carry: &'a mut [f32],
    x: Option<&'a mut [f32]>,
    packed: &'a mut [u32],
    sums: &'a mut [f32],
}

impl Kernel for Encode<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        match self.of.bits {
            Bits::One => encode_image::<1>(self),
            Bits::Two => encode_image::<2>(self),
            Bits::Four => encode_image::<4>(self),
            Bits::Eight => encode_image::<8>(self),
        }
    }
}

#[inline(always)]
fn encode_image<const B: u32>(image: Encode<'_>) {
    let Encode { of, carry, mut x, packed, sums } = image;
    packed.fill(0);
    let big = rounding(of.unit);
    for (from, to, phase, bit) in rows(&of, carry.len()) {
        let n = to - from;
        let (carry, packed, sums) = (&mut carry[from..to], &mut packed[..n], &mut sums[phase..phase + n]);
        let (mean, rstd, sigma) = (&of.mean[phase..phase + n], &of.rstd[phase..phase + n], &of.sigma[phase..phase + n]);
        match &mut x {
            Some(x) => {
                let x = &mut x[from..to];
                for i in 0..n {
                    let code = index::<B>((carry[i] - mean[i]) * rstd[i]);
                    let q = ((mean[i] + sigma[i] * level::<B>(code)) + big) - big;
                    let left = carry[i] - q;
                    packed[i] |= code << bit;
                    carry[i] = left;
                    sums[i] += left * left;
                    x[i] += q;
                }
            }
            None => {
                for i in 0..n {
                    let code = index::<B>((carry[i] - mean[i]) * rstd[i]);
                    let q = ((mean[i] + sigma[i] * level::<B>(code)) + big) - big;
                    let left = carry[i] - q;
                    packed[i] |= code << bit;
                    carry[i] = left;
                    sums[i] += left * left;
                }
            }
        }
    }
}

/// Decodes one image.
struct Decode<'a> {
    of: Quantisers<'a>,
    packed: &'a [u32],
    x: &'a mut [f32],
}

impl Kernel for Decode<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        match self.of.bits {
            Bits::One => decode_image::<1>(self),
            Bits::Two => decode_image::<2>(self),
            Bits::Four => decode_image::<4>(self),
            Bits::Eight => decode_image::<8>(self),
        }
    }
}

#[inline(always)]
fn decode_image<const B: u32>(image: Decode<'_>) {
    let Decode { of, packed, x } = image;
    let big = rounding(of.unit);
    for (from, to, phase, bit) in rows(&of, x.len()) {
        let n = to - from;
        let (x, packed) = (&mut x[from..to], &packed[..n]);
        let (mean, sigma) = (&of.mean[phase..phase + n], &of.sigma[phase..phase + n]);
        for i in 0..n {
            let code = packed[i] >> bit & ((1 << B) - 1);
            x[i] -= ((mean[i] + sigma[i] * level::<B>(code)) + big) - big;
        }
    }
}

impl Coding for Cpu {
    fn code_start(&self, x_acc: &mut Tensor, grid: &mut Tensor, workspace: &mut Buffer) -> Result<()> {
        check::equal("code_start", Shape::vector(1), grid.shape())?;
        start(self, x_acc.values_mut(), grid.values_mut(), workspace);
        Ok(())
    }

    fn code_round(&self, grid: &Tensor, x_acc: &mut Tensor) -> Result<()> {
        check::equal("code_round", Shape::vector(1), grid.shape())?;
        round(self, grid.values()[0], x_acc.values_mut());
        Ok(())
    }

    fn code_scale(&self, h: f64, last: &[&Affine<Buffer>], rest: &Tensor, scale: &mut BnStats<Buffer>) -> Result<()> {
        last.iter().try_for_each(|affine| check::norm("code_scale", rest.shape().c(), scale, affine))?;
        self::scale(h, last, rest.values(), scale);
        Ok(())
    }

    fn encode(
        &self,
        coder: &mut Coder<Buffer>,
        carry_acc: &mut Tensor,
        x_acc: Option<&mut Tensor>,
        code: &mut Code<Buffer>,
        workspace: &mut Buffer,
    ) -> Result<()> {
        check::code::<Self::Real, _>("encode", carry_acc.shape(), coder, code)?;
        x_acc.as_ref().map_or(Ok(()), |x| check::equal("encode", carry_acc.shape(), x.shape()))?;
        encode(self, coder, carry_acc, x_acc, code, workspace, |_, _, _| ());
        Ok(())
    }

    fn decode(
        &self,
        coder: &Coder<Buffer>,
        code: &Code<Buffer>,
        x_acc: &mut Tensor,
        workspace: &mut Buffer,
    ) -> Result<()> {
        check::code::<Self::Real, _>("decode", x_acc.shape(), coder, code)?;
        decode(self, coder, code, x_acc, workspace);
        Ok(())
    }

    fn code_workspace(&self, map: Shape) -> usize {
        workspace(self, map)
    }

    fn judge(&self, errors: &Tensor, at: usize, verdict_acc: &mut Tensor) -> Result<()> {
        check::part("judge", at..at + 4, errors.shape())?;
        judge(&errors.values()[at..at + 4], &mut verdict_acc.values_mut()[0]);
        Ok(())
    }
}
