//! Functions of one pixel: what is applied to a map element by element, with parameters that depend on the channel.
//!
//! One body serves every use: written to a map, added to a map, or written into the zero-padded copy that the convolutions
//! read ([`super::padded`]).

use std::ops::Range;

use rayon::prelude::*;

use super::simd::{Kernel, Simd};
use super::workspace::Groups;
use super::{Buffer, Cpu};
use crate::operands::{Affine, BnStats};
use crate::shape::Shape;

/// A function of one pixel, over one image or several, `[P, C]`.
pub trait Pixelwise: Copy {
    /// What depends on the channel alone, for one vector of channels.
    type Channels<S: Simd>: Copy;

    /// Panics unless the operands hold `len` elements or more, of `c` channels.
    fn check(&self, len: usize, c: usize);

    /// The parameters of channels `c .. c + n`.
    ///
    /// # Safety
    /// `check` passed, and the channels exist.
    unsafe fn channels<S: Simd>(&self, s: S, c: usize, n: usize) -> Self::Channels<S>;

    /// The value at elements `at .. at + LANES`, or `.. at + n` where not `FULL`.
    ///
    /// # Safety
    /// `check` passed, and the elements exist.
    unsafe fn value<S: Simd, const FULL: bool>(&self, s: S, p: Self::Channels<S>, at: usize, n: usize) -> S::V;

    /// Asks for the cache lines of element `at`, which need not exist.
    fn prefetch<S: Simd>(&self, s: S, at: usize);
}

/// `x`.
#[derive(Clone, Copy)]
pub struct Identity<'a>(pub &'a [f32]);

impl Pixelwise for Identity<'_> {
    type Channels<S: Simd> = ();

    fn check(&self, len: usize, _: usize) {
        assert!(self.0.len() >= len);
    }

    #[inline(always)]
    unsafe fn channels<S: Simd>(&self, _: S, _: usize, _: usize) {}

    #[inline(always)]
    unsafe fn value<S: Simd, const FULL: bool>(&self, s: S, (): (), at: usize, n: usize) -> S::V {
        // SAFETY: the elements exist, as the caller promises.
        unsafe { s.load_if::<FULL>(self.0.as_ptr().add(at), n) }
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, s: S, at: usize) {
        s.prefetch(self.0.as_ptr().wrapping_add(at));
    }
}

/// A batch norm's parameters, `[C]` each.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    pub mean: &'a [f32],
    pub rstd: &'a [f32],
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
}

impl<'a> Norm<'a> {
    pub fn new(stats: &'a BnStats<Buffer>, affine: &'a Affine<Buffer>) -> Self {
        let (gamma, beta) = (affine.gamma.values(), affine.beta.values());
        Self { mean: stats.mean.values(), rstd: stats.rstd.values(), gamma, beta }
    }

    fn check(&self, c: usize) {
        assert!([self.mean, self.rstd, self.gamma, self.beta].iter().all(|p| p.len() == c));
    }

    /// `scale beta`, `scale gamma rstd` and the mean: `scale bn(z) = beta' + gamma' (z - mean)`. The mean is subtracted
    /// first: folding it into beta would cancel digits where it is large.
    ///
    /// # Safety
    /// Channels `c .. c + n` exist.
    #[inline(always)]
    unsafe fn affine<S: Simd>(&self, s: S, c: usize, n: usize, scale: f32) -> AffineChannels<S> {
        // SAFETY: the channels exist, as the caller promises.
        unsafe {
            let gamma = s.load_part(self.gamma.as_ptr().add(c), n);
            let rstd = s.load_part(self.rstd.as_ptr().add(c), n);
            let beta = s.load_part(self.beta.as_ptr().add(c), n);
            AffineChannels {
                mean: s.load_part(self.mean.as_ptr().add(c), n),
                gamma: s.mul(s.mul(gamma, rstd), s.splat(scale)),
                beta: s.mul(beta, s.splat(scale)),
            }
        }
    }
}

/// `beta + gamma (z - mean)`.
#[derive(Clone, Copy)]
pub struct AffineChannels<S: Simd> {
    mean: S::V,
    gamma: S::V,
    beta: S::V,
}

impl<S: Simd> AffineChannels<S> {
    #[inline(always)]
    fn apply(&self, s: S, z: S::V) -> S::V {
        s.fma(s.sub(z, self.mean), self.gamma, self.beta)
    }
}

/// `scale bn(z)`.
#[derive(Clone, Copy)]
pub struct BnApply<'a> {
    pub z: &'a [f32],
    pub norm: Norm<'a>,
    pub scale: f32,
}

impl Pixelwise for BnApply<'_> {
    type Channels<S: Simd> = AffineChannels<S>;

    fn check(&self, len: usize, c: usize) {
        self.norm.check(c);
        assert!(self.z.len() >= len);
    }

    #[inline(always)]
    unsafe fn channels<S: Simd>(&self, s: S, c: usize, n: usize) -> AffineChannels<S> {
        // SAFETY: the caller's promise.
        unsafe { self.norm.affine(s, c, n, self.scale) }
    }

    #[inline(always)]
    unsafe fn value<S: Simd, const FULL: bool>(&self, s: S, p: AffineChannels<S>, at: usize, n: usize) -> S::V {
        // SAFETY: the elements exist, as the caller promises.
        p.apply(s, unsafe { s.load_if::<FULL>(self.z.as_ptr().add(at), n) })
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, s: S, at: usize) {
        s.prefetch(self.z.as_ptr().wrapping_add(at));
    }
}

/// `relu(bn(z))`.
#[derive(Clone, Copy)]
pub struct NormRelu<'a> {
    pub z: &'a [f32],
    pub norm: Norm<'a>,
}

impl Pixelwise for NormRelu<'_> {
    type Channels<S: Simd> = AffineChannels<S>;

    fn check(&self, len: usize, c: usize) {
        self.norm.check(c);
        assert!(self.z.len() >= len);
    }

    #[inline(always)]
    unsafe fn channels<S: Simd>(&self, s: S, c: usize, n: usize) -> AffineChannels<S> {
        // SAFETY: the caller's promise.
        unsafe { self.norm.affine(s, c, n, 1.0) }
    }

    #[inline(always)]
    unsafe fn value<S: Simd, const FULL: bool>(&self, s: S, p: AffineChannels<S>, at: usize, n: usize) -> S::V {
        // SAFETY: the elements exist, as the caller promises.
        s.relu(p.apply(s, unsafe { s.load_if::<FULL>(self.z.as_ptr().add(at), n) }))
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, s: S, at: usize) {
        s.prefetch(self.z.as_ptr().wrapping_add(at));
    }
}

/// `x + h bn(z)`.
#[derive(Clone, Copy)]
pub struct NormStep<'a> {
    pub x: &'a [f32],
    pub h: f32,
    pub z: &'a [f32],
    pub norm: Norm<'a>,
}

impl Pixelwise for NormStep<'_> {
    type Channels<S: Simd> = AffineChannels<S>;

    fn check(&self, len: usize, c: usize) {
        self.norm.check(c);
        assert!(self.x.len() >= len && self.z.len() >= len);
    }

    #[inline(always)]
    unsafe fn channels<S: Simd>(&self, s: S, c: usize, n: usize) -> AffineChannels<S> {
        // SAFETY: the caller's promise.
        unsafe { self.norm.affine(s, c, n, self.h) }
    }

    #[inline(always)]
    unsafe fn value<S: Simd, const FULL: bool>(&self, s: S, p: AffineChannels<S>, at: usize, n: usize) -> S::V {
        // SAFETY: the elements exist, as the caller promises.
        let (x, z) =
            unsafe { (s.load_if::<FULL>(self.x.as_ptr().add(at), n), s.load_if::<FULL>(self.z.as_ptr().add(at), n)) };
        s.add(x, p.apply(s, z))
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, s: S, at: usize) {
        s.prefetch(self.x.as_ptr().wrapping_add(at));
        s.prefetch(self.z.as_ptr().wrapping_add(at));
    }
}

/// `gamma rstd (scale g - sums.beta / M - zhat sums.gamma / M)`: see [`crate::device::BatchNorm::bn_grad_z`].
#[derive(Clone, Copy)]
pub struct BnGradZ<'a> {
    pub grad_y: &'a [f32],
    pub scale: f32,
    pub z: &'a [f32],
    pub norm: Norm<'a>,
    /// The gradient sums, gamma's and beta's, `[C]` each.
    pub sums: [&'a [f32]; 2],
    /// `M = N H W`.
    pub terms: usize,
}

/// `g0 g + z0 (z - mean) + shift`.
#[derive(Clone, Copy)]
pub struct BnGradZChannels<S: Simd> {
    mean: S::V,
    g0: S::V,
    z0: S::V,
    shift: S::V,
}

impl Pixelwise for BnGradZ<'_> {
    type Channels<S: Simd> = BnGradZChannels<S>;

    fn check(&self, len: usize, c: usize) {
        self.norm.check(c);
        assert!(self.sums.iter().all(|p| p.len() == c));
        assert!(self.grad_y.len() >= len && self.z.len() >= len);
    }

    #[inline(always)]
    unsafe fn channels<S: Simd>(&self, s: S, c: usize, n: usize) -> BnGradZChannels<S> {
        let per_term = s.splat(-1.0 / self.terms as f32);
        // SAFETY: the channels exist, as the caller promises.
        unsafe {
            let rstd = s.load_part(self.norm.rstd.as_ptr().add(c), n);
            let k = s.mul(s.load_part(self.norm.gamma.as_ptr().add(c), n), rstd);
            let sum_gamma = s.mul(s.load_part(self.sums[0].as_ptr().add(c), n), per_term);
            let sum_beta = s.mul(s.load_part(self.sums[1].as_ptr().add(c), n), per_term);
            BnGradZChannels {
                mean: s.load_part(self.norm.mean.as_ptr().add(c), n),
                g0: s.mul(k, s.splat(self.scale)),
                z0: s.mul(s.mul(k, rstd), sum_gamma),
                shift: s.mul(k, sum_beta),
            }
        }
    }

    #[inline(always)]
    unsafe fn value<S: Simd, const FULL: bool>(&self, s: S, p: BnGradZChannels<S>, at: usize, n: usize) -> S::V {
        // SAFETY: the elements exist, as the caller promises.
        let (g, z) = unsafe {
            (s.load_if::<FULL>(self.grad_y.as_ptr().add(at), n), s.load_if::<FULL>(self.z.as_ptr().add(at), n))
        };
        s.fma(g, p.g0, s.fma(s.sub(z, p.mean), p.z0, p.shift))
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, s: S, at: usize) {
        s.prefetch(self.grad_y.as_ptr().wrapping_add(at));
        s.prefetch(self.z.as_ptr().wrapping_add(at));
    }
}

/// What becomes of the values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// `y = value`.
    Overwrite,
    /// `y += value`.
    Accumulate,
}

/// Applies a function to every pixel of `y: [P, C]`.
pub struct Map<'a, F> {
    pub f: F,
    /// The function's element at y's first.
    pub from: usize,
    pub output: Output,
    pub y: &'a mut [f32],
    pub c: usize,
}

impl<F: Pixelwise> Kernel for Map<'_, F> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        assert!(self.c > 0 && self.y.len().is_multiple_of(self.c));
        self.f.check(self.from + self.y.len(), self.c);
        // One vector of channels after the other, so that its parameters stay in registers.
        for c in (0..self.c).step_by(S::LANES) {
            let n = S::LANES.min(self.c - c);
            // SAFETY: `check` passed above, and `c + n` is at most C.
            unsafe {
                match (n == S::LANES, self.output) {
                    (true, Output::Overwrite) => {
                        map_channels::<S, F, true, false>(s, self.f, self.from, self.y, self.c, c, n)
                    }
                    (true, Output::Accumulate) => {
                        map_channels::<S, F, true, true>(s, self.f, self.from, self.y, self.c, c, n)
                    }
                    (false, Output::Overwrite) => {
                        map_channels::<S, F, false, false>(s, self.f, self.from, self.y, self.c, c, n)
                    }
                    (false, Output::Accumulate) => {
                        map_channels::<S, F, false, true>(s, self.f, self.from, self.y, self.c, c, n)
                    }
                }
            }
        }
    }
}

/// `y = f` or `y += f` over a batch, in parallel over groups of images; `of` makes f from a range of elements.
pub fn map_batch<F: Pixelwise>(
    cpu: &Cpu,
    shape: Shape,
    of: impl Fn(Range<usize>) -> F + Sync,
    output: Output,
    y: &mut [f32],
) {
    let chunk = Groups::new(shape.n()).size * shape.image_len();
    cpu.install(|| {
        y.par_chunks_mut(chunk).enumerate().for_each(|(i, y)| {
            let f = of(i * chunk..i * chunk + y.len());
            cpu.run(Map { f, from: 0, output, y, c: shape.c() });
        });
    });
}

/// # Safety
/// `f.check(from + y.len(), stride)` passed and `c + n <= stride`.
#[inline(always)]
unsafe fn map_channels<S: Simd, F: Pixelwise, const FULL: bool, const ADD: bool>(
    s: S,
    f: F,
    from: usize,
    y: &mut [f32],
    stride: usize,
    c: usize,
    n: usize,
) {
    // SAFETY: the channels exist, and every `at + n` lies within `y` and so, by `check`, within f's operands.
    unsafe {
        let p = f.channels(s, c, n);
        for at in (c..y.len()).step_by(stride) {
            let to = y.as_mut_ptr().add(at);
            let mut v = f.value::<S, FULL>(s, p, from + at, n);
            if ADD {
                v = s.add(s.load_if::<FULL>(to, n), v);
            }
            s.store_if::<FULL>(to, v, n);
        }
    }
}
