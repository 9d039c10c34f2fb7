//! The products at the points: at each, tiles by input channels times input by output channels.

use super::BLOCK;
use crate::cpu::simd::{Kernel, Simd};

/// `m[point, tile, o] = sum_i v[point, tile, i] u[point, i, o]`.
///
/// Bound by FMA throughput where a vector of weights serves 8 tiles or more; a tile's number is broadcast from the
/// first-level cache for each vector of output channels.
pub struct Product<'a> {
    pub points: usize,
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
        assert!(self.v.len() == self.points * v_point && self.m.len() == self.points * m_point);
        assert!(self.u.len() == self.points * u_point);
        let mut point = 0;
        while point < self.points {
            // Few tiles are few sums in flight: a second point's beside them keep the FMA units busy.
            let pair = 2 * self.tiles * strip::<S>(self.c_out) <= S::PRODUCT_SUMS && point + 1 < self.points;
            let mut o = 0;
            while o < self.c_out {
                let vectors = strip::<S>(self.c_out - o);
                let mut first = 0;
                while first < self.tiles {
                    let rest = self.tiles - first;
                    let place = Place {
                        // SAFETY: the slices' lengths were checked above; the strip's weights are `c_in` times `vectors`, its
                        // channels lie within the blocks of `m`.
                        v: unsafe { self.v.as_ptr().add(point * v_point + first * BLOCK) },
                        u: unsafe { self.u.as_ptr().add(point * u_point + o * self.c_in) },
                        m: unsafe { self.m.as_mut_ptr().add(point * m_point + first * BLOCK) },
                        o,
                        points: [v_point, u_point, m_point],
                    };
                    // SAFETY: as above.
                    first += unsafe {
                        match (vectors, pair) {
                            (1, true) => self.tiles_of_strip::<S, 2, 1>(s, rest, place),
                            (1, false) => self.tiles_of_strip::<S, 1, 1>(s, rest, place),
                            (2, true) => self.tiles_of_strip::<S, 2, 2>(s, rest, place),
                            (2, false) => self.tiles_of_strip::<S, 1, 2>(s, rest, place),
                            (_, true) => self.tiles_of_strip::<S, 2, 4>(s, rest, place),
                            (_, false) => self.tiles_of_strip::<S, 1, 4>(s, rest, place),
                        }
                    };
                }
                o += vectors * S::LANES;
            }
            point += 1 + usize::from(pair);
        }
    }
}

/// Where one point's operands lie, and how far the next point's.
#[derive(Clone, Copy)]
struct Place {
    /// The first tile's.
    v: *const f32,
    /// The strip's.
    u: *const f32,
    /// The first tile's.
    m: *mut f32,
    /// First output channel.
    o: usize,
    /// Elements to the next point, of `v`, `u` and `m`.
    points: [usize; 3],
}

impl Product<'_> {
    /// As many of the `rest` tiles as the registers hold, at P points; returns how many.
    ///
    /// # Safety
    /// The operands of `rest` tiles, P points and one strip are there.
    #[inline(always)]
    unsafe fn tiles_of_strip<S: Simd, const P: usize, const N: usize>(
        &mut self,
        s: S,
        rest: usize,
        at: Place,
    ) -> usize {
        let most = S::PRODUCT_SUMS / (P * N);
        // SAFETY: the caller's promise.
        unsafe {
            match rest.min(most) {
                16.. => self.micro::<S, P, N, 16>(s, at),
                12.. => self.micro::<S, P, N, 12>(s, at),
                8.. => self.micro::<S, P, N, 8>(s, at),
                4.. => self.micro::<S, P, N, 4>(s, at),
                3 => self.micro::<S, P, N, 3>(s, at),
                2 => self.micro::<S, P, N, 2>(s, at),
                _ => self.micro::<S, P, N, 1>(s, at),
            }
        }
    }

    /// P points, T tiles and N vectors of output channels. Returns T.
    ///
    /// # Safety
    /// The operands of T tiles, P points and one strip are there.
    #[inline(always)]
    unsafe fn micro<S: Simd, const P: usize, const N: usize, const T: usize>(&mut self, s: S, at: Place) -> usize {
        let block = self.tiles * BLOCK;
        let [v_point, u_point, m_point] = at.points;
        let mut acc = [[[s.splat(0.0); N]; T]; P];
        // SAFETY: the caller's promise.
        unsafe {
            let mut u = at.u;
            for first in (0..self.c_in).step_by(BLOCK) {
                let v = at.v.add(first / BLOCK * block);
                for i in 0..BLOCK.min(self.c_in - first) {
                    for p in 0..P {
                        let mut w = [s.splat(0.0); N];
                        for n in 0..N {
                            w[n] = s.load(u.add(p * u_point + n * S::LANES));
                        }
                        for t in 0..T {
                            let x = s.splat(*v.add(p * v_point + t * BLOCK + i));
                            for n in 0..N {
                                acc[p][t][n] = s.fma(x, w[n], acc[p][t][n]);
                            }
                        }
                    }
                    u = u.add(N * S::LANES);
                }
            }
            for p in 0..P {
                for t in 0..T {
                    for n in 0..N {
                        let c = at.o + n * S::LANES;
                        let m = at.m.add(p * m_point + c / BLOCK * block + t * BLOCK + c % BLOCK);
                        s.store(m, acc[p][t][n]);
                    }
                }
            }
        }
        T
    }
}
