//! The weight gradient of one image's convolution: output channels in the lanes, taps and input channels in registers.
//!
//! A tile of the gradient stays in registers while the image passes: 3 columns of the kernel x 8 input channels for 3x3,
//! eight taps for any other kernel. Bound by FMA throughput.
// A tile's registers are an array indexed by the tile's coordinates, as the formula is.
#![allow(clippy::needless_range_loop)]

use std::hint::black_box;
use std::sync::atomic::{Ordering, compiler_fence};

use super::conv_kernel::ConvImage;
use super::padded::{Padded, WIDE_BLOCK};
use super::simd::{Kernel, Simd};

/// `grad_w += ` the gradient of one image's 3x3 convolution of stride 1.
///
/// It is `grad_y` that is read from a padded copy, the one that the gradient of x needs anyway, and x from where it lies:
/// `grad_w[ky,kx,i,o] += sum_{y,x} x[y,x,i] padded[y + 2 - ky, x + 2 - kx, o]`.
pub struct GradW3x3<'a> {
    /// Rows of x.
    pub h: usize,
    /// Columns of x.
    pub w: usize,
    /// Channels of x.
    pub c_in: usize,
    /// The copy of `grad_y`: `h + 2` rows, `w + 2` columns.
    pub layout: Padded,
    /// Rows of `grad_y`.
    pub grad_rows: usize,
    pub x: &'a [f32],
    pub grad_y: &'a [f32],
    /// `[3, 3, C_in, C_out]`.
    pub grad_w: &'a mut [f32],
}

impl Kernel for GradW3x3<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (layout, c_in) = (self.layout, self.c_in);
        assert_eq!(self.x.len(), self.h * self.w * c_in);
        assert!(layout.h == self.h + 2 && layout.w == self.w + 2);
        assert!(layout.block == WIDE_BLOCK && layout.dilation == 1 && layout.origin >= 0);
        assert_eq!(self.grad_y.len(), layout.len());
        assert_eq!(self.grad_w.len(), 9 * c_in * layout.c);
        for ky in 0..3 {
            for c in (0..layout.c).step_by(S::LANES) {
                let mut ci = 0;
                while ci < c_in {
                    // SAFETY: the sizes were checked above; channels `ci .. ci + T` of x and the vector at `c` exist, the
                    // vector within one block of the copy, since LANES divides the block.
                    ci += unsafe {
                        match c_in - ci {
                            8.. if S::TILE_TAPS == 8 => self.tile::<S, 8>(s, ky, ci, c),
                            4.. => self.tile::<S, 4>(s, ky, ci, c),
                            2.. => self.tile::<S, 2>(s, ky, ci, c),
                            _ => self.tile::<S, 1>(s, ky, ci, c),
                        }
                    };
                }
            }
        }
    }
}

impl GradW3x3<'_> {
    /// Row `ky` of the kernel, input channels `ci .. ci + T`, the output channels' vector at `c`. Returns T.
    ///
    /// # Safety
    /// The sizes fit together as `run` checks, and the channels exist.
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: usize>(&mut self, s: S, ky: usize, ci: usize, c: usize) -> usize {
        let (layout, c_in, c_out) = (self.layout, self.c_in, self.layout.c);
        // Rows of x whose row of the copy holds pixels of grad_y; the others hold zeros.
        let origin = layout.origin as usize;
        let rows = (origin + ky).saturating_sub(2)..self.h.min((origin + self.grad_rows + ky).saturating_sub(2));
        let n = S::LANES.min(c_out - c);
        let mut acc = [[s.splat(0.0); T]; 3];
        // SAFETY: x is read at rows and columns below its own, the copy at rows up to `h - 1 + 2` and columns up to
        // `w - 1 + 2`, the gradient at its own taps and channels.
        unsafe {
            let grad_y = self.grad_y.as_ptr().add(c / WIDE_BLOCK * layout.plane() + c % WIDE_BLOCK);
            for y in rows {
                let mut x = self.x.as_ptr().add(y * self.w * c_in + ci);
                let mut g = grad_y.add((y + 2 - ky) * layout.row());
                for _ in 0..self.w {
                    let (g2, g1, g0) = (s.load(g), s.load(g.add(WIDE_BLOCK)), s.load(g.add(2 * WIDE_BLOCK)));
                    for t in 0..T {
                        let pixel = s.splat(*x.add(t));
                        acc[0][t] = s.fma(pixel, g0, acc[0][t]);
                        acc[1][t] = s.fma(pixel, g1, acc[1][t]);
                        acc[2][t] = s.fma(pixel, g2, acc[2][t]);
                        // Costs no instruction. Without it the compiler hoists all broadcasts above the FMAs and then
                        // has too few registers: 40 moves and 4 spills for 24 FMAs, and 3/4 of the speed.
                        compiler_fence(Ordering::SeqCst);
                    }
                    x = x.add(c_in);
                    g = g.add(WIDE_BLOCK);
                }
            }
            for (kx, acc) in acc.iter().enumerate() {
                for (t, acc) in acc.iter().enumerate() {
                    let to = self.grad_w.as_mut_ptr().add(((ky * 3 + kx) * c_in + ci + t) * c_out + c);
                    if n == S::LANES {
                        s.store(to, s.add(s.load(to), *acc));
                    } else {
                        s.store_part(to, s.add(s.load_part(to, n), *acc), n);
                    }
                }
            }
        }
        T
    }
}

/// `grad_w += ` the gradient of one image's convolution, any kernel and stride: x from its padded copy, `grad_y` from where
/// it lies.
pub struct GradWAny<'a> {
    pub geometry: ConvImage,
    /// The padded copy of x.
    pub padded: &'a [f32],
    /// `[H, W, C_out]`.
    pub grad_y: &'a [f32],
    /// `[K, K, C_in, C_out]`.
    pub grad_w: &'a mut [f32],
}

impl Kernel for GradWAny<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let g = self.geometry;
        g.check();
        assert_eq!(self.padded.len(), g.padded.len());
        assert_eq!(self.grad_y.len(), g.output_len());
        assert_eq!(self.grad_w.len(), g.taps() * g.c_out);
        for c in (0..g.c_out).step_by(S::LANES) {
            let n = S::LANES.min(g.c_out - c);
            let step = if S::TILE_TAPS == 8 { 8 } else { 4 };
            for first in (0..g.taps()).step_by(step) {
                // SAFETY: the sizes were checked above, and that every tap lies within the copy.
                unsafe {
                    match (S::TILE_TAPS == 8, n == S::LANES) {
                        (true, true) => self.tile::<S, 8, true>(s, first, c, n),
                        (true, false) => self.tile::<S, 8, false>(s, first, c, n),
                        (false, true) => self.tile::<S, 4, true>(s, first, c, n),
                        (false, false) => self.tile::<S, 4, false>(s, first, c, n),
                    }
                }
            }
        }
    }
}

impl GradWAny<'_> {
    /// Taps `first .. first + T`, counted over `[ky, kx, c_in]`, and the output channels `c .. c + n`.
    ///
    /// # Safety
    /// The sizes fit together as `run` checks, and the channels exist.
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: usize, const FULL: bool>(&mut self, s: S, first: usize, c: usize, n: usize) {
        let g = self.geometry;
        let p = g.padded;
        let mut offset = [0; T];
        for (t, offset) in offset.iter_mut().enumerate() {
            // Past the end, the last tap again: computed, not stored.
            let tap = (first + t).min(g.taps() - 1);
            let (ky, kx, ci) = (tap / p.c / g.kernel, tap / p.c % g.kernel, tap % p.c);
            *offset = ci / p.block * p.plane() + ky * p.row() + kx * p.block + ci % p.block;
        }
        // One number each to the compiler, see `Convolve`.
        let offset = black_box(offset);
        let mut acc = [s.splat(0.0); T];
        // SAFETY: `check` says that every tap of every output lies within the copy; the rest stays within its own slice.
        unsafe {
            for y in 0..g.h {
                let mut x = self.padded.as_ptr().add(y * g.stride * p.row());
                let mut grad_y = self.grad_y.as_ptr().add(y * g.w * g.c_out + c);
                for _ in 0..g.w {
                    let gy = s.load_if::<FULL>(grad_y, n);
                    for t in 0..T {
                        acc[t] = s.fma(s.splat(*x.add(offset[t])), gy, acc[t]);
                    }
                    x = x.add(g.stride * p.block);
                    grad_y = grad_y.add(g.c_out);
                }
            }
            for (t, acc) in acc.iter().enumerate().take(g.taps() - first) {
                let to = self.grad_w.as_mut_ptr().add((first + t) * g.c_out + c);
                s.store_if::<FULL>(to, s.add(s.load_if::<FULL>(to, n), *acc), n);
            }
        }
    }
}
