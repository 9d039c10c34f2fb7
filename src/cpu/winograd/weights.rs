//! The weights' transform, and that of their gradient back.

use super::product::strip;
use super::transform::{self, MOST};
use super::{extents, of_extents, points};
use crate::cpu::conv_kernel::Direction;
use crate::cpu::simd::{Kernel, MAX_LANES, Simd};

/// Packs weights for one kind of tiles: `[point][strip of output channels][C_in][lane of the strip]`, zero past the last
/// output channel.
pub struct PackWeights<'a> {
    pub kind: usize,
    pub c_in: usize,
    pub c_out: usize,
    pub direction: Direction,
    pub w: &'a [f32],
    pub packed: &'a mut [f32],
}

impl Kernel for PackWeights<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let point = self.c_in * self.c_out.next_multiple_of(MAX_LANES);
        assert!(self.w.len() == 9 * self.c_in * self.c_out && self.packed.len() == points(self.kind) * point);
        let (rows, columns) = extents(self.kind);
        let mut o = 0;
        while o < self.c_out {
            let vectors = strip::<S>(self.c_out - o);
            for i in 0..self.c_in {
                for v in 0..vectors {
                    let c = o + v * S::LANES;
                    let n = S::LANES.min(self.c_out.saturating_sub(c));
                    let taps = self.taps(s, i, c, n);
                    let to = o * self.c_in + (i * vectors + v) * S::LANES;
                    macro_rules! store {
                        ($rows:literal, $columns:literal) => {
                            self.store::<S, $rows, $columns>(s, &taps, to, point)
                        };
                    }
                    of_extents!(rows, columns, store);
                }
            }
            o += vectors * S::LANES;
        }
    }
}

impl PackWeights<'_> {
    /// The nine taps from input channel `i` to output channels `c .. c + n`.
    #[inline(always)]
    fn taps<S: Simd>(&self, s: S, i: usize, c: usize, n: usize) -> [[S::V; 3]; 3] {
        let mut taps = [[s.splat(0.0); 3]; 3];
        for ky in 0..3 {
            for kx in 0..3 {
                let mut lanes = [0.0; MAX_LANES];
                match self.direction {
                    Direction::Forward => {
                        let from = ((ky * 3 + kx) * self.c_in + i) * self.c_out + c;
                        lanes[..n].copy_from_slice(&self.w[from..from + n]);
                    }
                    Direction::Transposed => {
                        let from = ((2 - ky) * 3 + 2 - kx) * self.c_out + c;
                        for (lane, to) in lanes[..n].iter_mut().enumerate() {
                            *to = self.w[(from + lane) * self.c_in + i];
                        }
                    }
                }
                // SAFETY: MAX_LANES elements.
                taps[ky][kx] = unsafe { s.load(lanes.as_ptr()) };
            }
        }
        taps
    }

    /// Transforms the taps to the points of R x C outputs.
    #[inline(always)]
    fn store<S: Simd, const R: usize, const C: usize>(&mut self, s: S, taps: &[[S::V; 3]; 3], to: usize, point: usize) {
        let mut columns = [[s.splat(0.0); 3]; MOST];
        for kx in 0..3 {
            let column = transform::filter::<S, R>(s, &[taps[0][kx], taps[1][kx], taps[2][kx]]);
            for i in 0..R + 2 {
                columns[i][kx] = column[i];
            }
        }
        for i in 0..R + 2 {
            let row = transform::filter::<S, C>(s, &columns[i]);
            for j in 0..C + 2 {
                let to = &mut self.packed[(i * (C + 2) + j) * point + to..][..S::LANES];
                // SAFETY: LANES elements.
                unsafe { s.store(to.as_mut_ptr(), row[j]) };
            }
        }
    }
}

/// `grad_w += ` the gradient at one kind's points, transformed back.
pub struct UnpackGrad<'a> {
    pub kind: usize,
    pub c_in: usize,
    pub c_out: usize,
    /// `[point][C_in, whole blocks][C_out, whole blocks]`.
    pub at_points: &'a [f32],
    /// `[3, 3, C_in, C_out]`.
    pub grad_w: &'a mut [f32],
}

impl Kernel for UnpackGrad<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let row = self.c_out.next_multiple_of(MAX_LANES);
        let point = self.c_in.next_multiple_of(MAX_LANES) * row;
        assert!(self.at_points.len() == points(self.kind) * point && self.grad_w.len() == 9 * self.c_in * self.c_out);
        let (rows, columns) = extents(self.kind);
        for i in 0..self.c_in {
            for c in (0..self.c_out).step_by(S::LANES) {
                macro_rules! add {
                    ($rows:literal, $columns:literal) => {
                        // SAFETY: the sizes were checked above, and the channels exist.
                        unsafe { self.add::<S, $rows, $columns>(s, i, c, i * row + c, point) }
                    };
                }
                of_extents!(rows, columns, add);
            }
        }
    }
}

impl UnpackGrad<'_> {
    /// # Safety
    /// The sizes fit together as `run` checks, `i` and `c` exist, and `from` is their place at the first point.
    #[inline(always)]
    unsafe fn add<S: Simd, const R: usize, const C: usize>(
        &mut self,
        s: S,
        i: usize,
        c: usize,
        from: usize,
        point: usize,
    ) {
        let mut columns = [[s.splat(0.0); MOST]; 3];
        // SAFETY: the caller's promise.
        unsafe {
            for y in 0..C + 2 {
                let mut p = [s.splat(0.0); MOST];
                for x in 0..R + 2 {
                    p[x] = s.load(self.at_points.as_ptr().add((x * (C + 2) + y) * point + from));
                }
                let taps = transform::filter_grad::<S, R>(s, &p);
                for ky in 0..3 {
                    columns[ky][y] = taps[ky];
                }
            }
            let n = S::LANES.min(self.c_out - c);
            for ky in 0..3 {
                let taps = transform::filter_grad::<S, C>(s, &columns[ky]);
                for kx in 0..3 {
                    let to = self.grad_w.as_mut_ptr().add(((ky * 3 + kx) * self.c_in + i) * self.c_out + c);
                    s.store_part(to, s.add(s.load_part(to, n), taps[kx]), n);
                }
            }
        }
    }
}
