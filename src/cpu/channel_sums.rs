//! Sums over pixels, channel by channel: the kernels of batch norm's statistics and of its gradient.

use super::simd::{Kernel, Simd};

/// Adds pixels to running moments: mean and M2, the sum of squared distances from it, `[C]` each.
///
/// Chunks of pixels are read twice, for the mean and for M2, while they are in the cache, and merged by Chan's formula:
/// a sum and a sum of squares would cancel in f32.
pub struct Moments<'a> {
    /// `[P, C]`.
    pub z: &'a [f32],
    /// Pixels that `mean` and `m2` hold already; with none, what they contain is ignored.
    pub before: usize,
    pub mean: &'a mut [f32],
    pub m2: &'a mut [f32],
}

/// Pixels of a chunk: short enough for f32 sums, and for the first-level cache at 32 channels.
const CHUNK: usize = 256;

impl Kernel for Moments<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let channels = self.mean.len();
        assert!(self.m2.len() == channels && self.z.len().is_multiple_of(channels));
        for c in (0..channels).step_by(S::LANES) {
            let n = S::LANES.min(channels - c);
            // SAFETY: channels `c .. c + n` exist.
            unsafe {
                if n == S::LANES {
                    self.add_channels::<S, true>(s, c, n);
                } else {
                    self.add_channels::<S, false>(s, c, n);
                }
            }
        }
    }
}

impl Moments<'_> {
    /// # Safety
    /// The sizes fit together as `run` checks, and channels `c .. c + n` exist.
    #[inline(always)]
    unsafe fn add_channels<S: Simd, const FULL: bool>(&mut self, s: S, c: usize, n: usize) {
        let channels = self.mean.len();
        let pixels = self.z.len() / channels;
        let mut before = self.before;
        // SAFETY: pixels below `pixels` and channels `c .. c + n` exist.
        unsafe {
            let (mut mean, mut m2) = if before == 0 {
                (s.splat(0.0), s.splat(0.0))
            } else {
                (s.load_if::<FULL>(self.mean.as_ptr().add(c), n), s.load_if::<FULL>(self.m2.as_ptr().add(c), n))
            };
            for start in (0..pixels).step_by(CHUNK) {
                let count = CHUNK.min(pixels - start);
                let z = self.z.as_ptr().add(start * channels + c);
                let sum = sum_distances::<S, FULL, false>(s, z, count, channels, n, s.splat(0.0));
                let chunk_mean = s.mul(sum, s.splat(1.0 / count as f32));
                let chunk_m2 = sum_distances::<S, FULL, true>(s, z, count, channels, n, chunk_mean);
                let all = (before + count) as f32;
                let delta = s.sub(chunk_mean, mean);
                mean = s.fma(delta, s.splat(count as f32 / all), mean);
                let between = s.mul(s.mul(delta, delta), s.splat(before as f32 * (count as f32 / all)));
                m2 = s.add(m2, s.add(chunk_m2, between));
                before += count;
            }
            s.store_if::<FULL>(self.mean.as_mut_ptr().add(c), mean, n);
            s.store_if::<FULL>(self.m2.as_mut_ptr().add(c), m2, n);
        }
    }
}

/// `sum (z - from)`, or `sum (z - from)^2` where `SQUARED`, over `count` pixels; four sums in flight.
///
/// # Safety
/// `z` is valid for reads of `count` pixels of `stride` channels, from the vector's first channel on.
#[inline(always)]
unsafe fn sum_distances<S: Simd, const FULL: bool, const SQUARED: bool>(
    s: S,
    z: *const f32,
    count: usize,
    stride: usize,
    n: usize,
    from: S::V,
) -> S::V {
    let mut acc = [s.splat(0.0); 4];
    let mut pixel = 0;
    while pixel < count {
        for (i, acc) in acc.iter_mut().enumerate() {
            if pixel + i < count {
                // SAFETY: `pixel + i` is below `count`.
                let d = s.sub(unsafe { s.load_if::<FULL>(z.add((pixel + i) * stride), n) }, from);
                *acc = if SQUARED { s.fma(d, d, *acc) } else { s.add(*acc, d) };
            }
        }
        pixel += 4;
    }
    s.add(s.add(acc[0], acc[1]), s.add(acc[2], acc[3]))
}

/// Adds pixels to batch norm's two gradient sums: `sum g zhat` and `sum g`, `[C]` each.
pub struct GradSums<'a> {
    /// `[P, C]`.
    pub grad_y: &'a [f32],
    /// `[P, C]`.
    pub z: &'a [f32],
    pub mean: &'a [f32],
    pub rstd: &'a [f32],
    /// Sum of `g zhat`.
    pub gamma: &'a mut [f32],
    /// Sum of `g`.
    pub beta: &'a mut [f32],
}

impl Kernel for GradSums<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let channels = self.mean.len();
        assert!(self.rstd.len() == channels && self.gamma.len() == channels && self.beta.len() == channels);
        assert!(self.z.len() == self.grad_y.len() && self.z.len().is_multiple_of(channels));
        for c in (0..channels).step_by(S::LANES) {
            let n = S::LANES.min(channels - c);
            // SAFETY: channels `c .. c + n` exist.
            unsafe {
                if n == S::LANES {
                    self.add_channels::<S, true>(s, c, n);
                } else {
                    self.add_channels::<S, false>(s, c, n);
                }
            }
        }
    }
}

impl GradSums<'_> {
    /// # Safety
    /// The sizes fit together as `run` checks, and channels `c .. c + n` exist.
    #[inline(always)]
    unsafe fn add_channels<S: Simd, const FULL: bool>(&mut self, s: S, c: usize, n: usize) {
        let channels = self.mean.len();
        let pixels = self.z.len() / channels;
        let (mut g_z, mut g_1) = ([s.splat(0.0); 4], [s.splat(0.0); 4]);
        // SAFETY: pixels below `pixels` and channels `c .. c + n` exist.
        unsafe {
            let mean = s.load_if::<FULL>(self.mean.as_ptr().add(c), n);
            let mut pixel = 0;
            while pixel < pixels {
                for i in 0..4 {
                    if pixel + i < pixels {
                        let at = (pixel + i) * channels + c;
                        let g = s.load_if::<FULL>(self.grad_y.as_ptr().add(at), n);
                        let z = s.load_if::<FULL>(self.z.as_ptr().add(at), n);
                        g_z[i] = s.fma(g, s.sub(z, mean), g_z[i]);
                        g_1[i] = s.add(g_1[i], g);
                    }
                }
                pixel += 4;
            }
            let g_z = s.add(s.add(g_z[0], g_z[1]), s.add(g_z[2], g_z[3]));
            let g_1 = s.add(s.add(g_1[0], g_1[1]), s.add(g_1[2], g_1[3]));
            let rstd = s.load_if::<FULL>(self.rstd.as_ptr().add(c), n);
            let gamma = self.gamma.as_mut_ptr().add(c);
            let beta = self.beta.as_mut_ptr().add(c);
            s.store_if::<FULL>(gamma, s.fma(g_z, rstd, s.load_if::<FULL>(gamma, n)), n);
            s.store_if::<FULL>(beta, s.add(s.load_if::<FULL>(beta, n), g_1), n);
        }
    }
}
