//! The products at the points: at each, tiles by input channels times input by output channels.

use super::{BLOCK, TILE_STEP};
use crate::cpu::simd::{Kernel, Simd};

/// `m[point, tile, o] = sum_i v[point, tile, i] u[point, i, o]`.
///
/// Bound by FMA throughput where a vector of weights serves 8 tiles or more; a tile's number is broadcast from the
/// first-level cache for each vector of output channels.
pub struct Product<'a> {
    pub points: usize,
    /// Tiles, a multiple of [`TILE_STEP`]; those past the last are computed from whatever lies there, and not read.
    pub tiles: usize,
    pub c_in: usize,
    pub c_out: usize,
    /// `[point][block][tile][BLOCK]`.
    pub v: &'a [f32],
    /// As [`super::weights::PackWeights`] wrote them.
    pub u: &'a [f32],
    /// As `v`.
    pub m: &'a mut [f32],
}

/// Vectors of the next strip of output channels.
#[inline(always)]
pub fn strip<S: Simd>(channels: usize) -> usize {
    match channels.div_ceil(S::LANES) {
        n if n >= S::PRODUCT_VECTORS => S::PRODUCT_VECTORS,
        2.. if S::PRODUCT_VECTORS > 2 => 2,
        _ => 1,
    }
}

impl Kernel for Product<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let block = self.tiles * BLOCK;
        let (v_point, m_point) = (self.c_in.div_ceil(BLOCK) * block, self.c_out.div_ceil(BLOCK) * block);
        let u_point = self.c_in * self.c_out.next_multiple_of(crate::cpu::simd::MAX_LANES);
        assert!(self.tiles.is_multiple_of(TILE_STEP));
        assert!(self.v.len() == self.points * v_point && self.m.len() == self.points * m_point);
        assert!(self.u.len() == self.points * u_point);
        for point in 0..self.points {
            let mut o = 0;
            while o < self.c_out {
                let vectors = strip::<S>(self.c_out - o);
                let u = self.u[point * u_point + o * self.c_in..].as_ptr();
                let mut first = 0;
                while first < self.tiles {
                    let v = self.v[point * v_point + first * BLOCK..].as_ptr();
                    // SAFETY: the slices' lengths were checked above; the strip's weights are `c_in` times `vectors`, its
                    // channels lie within the blocks of `m`.
                    first += unsafe {
                        let m = self.m.as_mut_ptr().add(point * m_point + first * BLOCK);
                        let rest = self.tiles - first;
                        match vectors {
                            1 => self.tiles_of_strip::<S, 1>(s, rest, v, u, m, o),
                            2 => self.tiles_of_strip::<S, 2>(s, rest, v, u, m, o),
                            _ => self.tiles_of_strip::<S, 4>(s, rest, v, u, m, o),
                        }
                    };
                }
                o += vectors * S::LANES;
            }
        }
    }
}

impl Product<'_> {
    /// As many of the `rest` tiles as the registers hold; returns how many.
    ///
    /// # Safety
    /// `v`, `u` and `m` are those of `rest` tiles, of one point and one strip.
    #[inline(always)]
    unsafe fn tiles_of_strip<S: Simd, const N: usize>(
        &mut self,
        s: S,
        rest: usize,
        v: *const f32,
        u: *const f32,
        m: *mut f32,
        o: usize,
    ) -> usize {
        let most = S::PRODUCT_SUMS / N;
        // SAFETY: the caller's promise.
        unsafe {
            if rest >= 16 && most >= 16 {
                self.micro::<S, N, 16>(s, v, u, m, o)
            } else if rest >= 12 && most >= 12 && rest != 16 {
                self.micro::<S, N, 12>(s, v, u, m, o)
            } else if rest >= 8 && most >= 8 {
                self.micro::<S, N, 8>(s, v, u, m, o)
            } else {
                self.micro::<S, N, 4>(s, v, u, m, o)
            }
        }
    }

    /// T tiles by N vectors of output channels from `o` on. Returns T.
    ///
    /// # Safety
    /// `v`, `u` and `m` are those of T tiles, of one point and one strip.
    #[inline(always)]
    unsafe fn micro<S: Simd, const N: usize, const T: usize>(
        &mut self,
        s: S,
        v: *const f32,
        mut u: *const f32,
        m: *mut f32,
        o: usize,
    ) -> usize {
        let block = self.tiles * BLOCK;
        let mut acc = [[s.splat(0.0); N]; T];
        // SAFETY: the caller's promise.
        unsafe {
            for first in (0..self.c_in).step_by(BLOCK) {
                let v = v.add(first / BLOCK * block);
                for i in 0..BLOCK.min(self.c_in - first) {
                    let mut w = [s.splat(0.0); N];
                    for (n, w) in w.iter_mut().enumerate() {
                        *w = s.load(u.add(n * S::LANES));
                    }
                    u = u.add(N * S::LANES);
                    for t in 0..T {
                        let x = s.splat(*v.add(t * BLOCK + i));
                        for n in 0..N {
                            acc[t][n] = s.fma(x, w[n], acc[t][n]);
                        }
                    }
                }
            }
            for (t, acc) in acc.iter().enumerate() {
                for (n, acc) in acc.iter().enumerate() {
                    let c = o + n * S::LANES;
                    s.store(m.add(c / BLOCK * block + t * BLOCK + c % BLOCK), *acc);
                }
            }
        }
        T
    }
}
