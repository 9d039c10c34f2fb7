//! The weight gradient: at each point, the patches of x, transposed, times the tiles of `grad_y`, summed over all tiles.

use super::weights::UnpackGrad;
use super::window::{Patch, Tile, Window};
use super::{BLOCK, Flight, Tiling, points};
use crate::cpu::Cpu;
use crate::cpu::pixelwise::Pixelwise;
use crate::cpu::simd::{Kernel, MAX_LANES, Simd};
use crate::cpu::workspace::carved;
use crate::shape::Shape;

/// The weight gradient of a 3x3 convolution of stride 1 and padding 1, over a group of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GradW {
    tiling: Tiling,
    c_in: usize,
    c_out: usize,
}

impl GradW {
    /// For maps `x` and `c_out` output channels; [`super::Winograd::serves`] tells whether the algorithm does.
    pub fn new(x: Shape, c_out: usize) -> Self {
        Self { tiling: Tiling::new(x.h(), x.w(), x.c().max(c_out)), c_in: x.c(), c_out }
    }

    /// Elements of the gradient at one point.
    fn point(&self) -> usize {
        self.c_in.next_multiple_of(MAX_LANES) * self.c_out.next_multiple_of(MAX_LANES)
    }

    /// Elements of the gradient at all points.
    fn at_points_len(&self) -> usize {
        self.tiling.kinds().map(|kind| points(kind) * self.point()).sum()
    }

    /// Elements of a thread's scratch.
    pub fn scratch_len(&self) -> usize {
        let transforms = [self.c_in, self.c_out].map(|c| carved(self.tiling.most_elements(c)));
        carved(self.tiling.between_len()) + transforms[0] + transforms[1] + carved(self.at_points_len())
    }

    /// `grad_w += ` the gradient of `images` images, for functions of x, `[n, H, W, C_in]`, and of `grad_y`.
    pub fn add<X: Pixelwise, G: Pixelwise>(
        &self,
        cpu: &Cpu,
        images: usize,
        x: X,
        grad_y: G,
        grad_w: &mut [f32],
        scratch: &mut [f32],
    ) {
        let tiling = self.tiling;
        let (between, rest) = scratch.split_at_mut(carved(tiling.between_len()));
        let between = &mut between[..tiling.between_len()];
        let (patches, rest) = rest.split_at_mut(carved(tiling.most_elements(self.c_in)));
        let (tiles, at_points) = rest.split_at_mut(carved(tiling.most_elements(self.c_out)));
        let all = images * tiling.h.segments();
        for first in (0..all).step_by(tiling.in_flight) {
            let rows = first..all.min(first + tiling.in_flight);
            let flight = Flight::new(tiling.tiles(rows.clone()));
            cpu.run(Window::<Patch, X>::new(tiling, rows.clone(), x, self.c_in, between, patches));
            cpu.run(Window::<Tile, G>::new(tiling, rows, grad_y, self.c_out, between, tiles));
            let mut rest = &mut at_points[..];
            for kind in tiling.kinds() {
                let (sums, after) = rest.split_at_mut(points(kind) * self.point());
                rest = after;
                let at = |c: usize| flight.start(kind, c)..flight.start(kind + 1, c);
                cpu.run(Outer {
                    points: points(kind),
                    tiles: flight.tiles[kind],
                    block: flight.block(kind),
                    c_in: self.c_in,
                    c_out: self.c_out,
                    add: first > 0,
                    x: &patches[at(self.c_in)],
                    grad_y: &tiles[at(self.c_out)],
                    sums,
                });
            }
        }
        let mut rest = &at_points[..];
        for kind in tiling.kinds() {
            let (sums, after) = rest.split_at(points(kind) * self.point());
            rest = after;
            cpu.run(UnpackGrad { kind, c_in: self.c_in, c_out: self.c_out, at_points: sums, grad_w });
        }
    }
}

/// `sums[point, i, o] (+)= sum_tile x[point, tile, i] grad_y[point, tile, o]`.
struct Outer<'a> {
    points: usize,
    tiles: usize,
    /// Elements between two blocks of channels.
    block: usize,
    c_in: usize,
    c_out: usize,
    /// Whether `sums` holds sums already.
    add: bool,
    x: &'a [f32],
    grad_y: &'a [f32],
    sums: &'a mut [f32],
}

impl Kernel for Outer<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (x_point, y_point) = (self.c_in.div_ceil(BLOCK) * self.block, self.c_out.div_ceil(BLOCK) * self.block);
        let row = self.c_out.next_multiple_of(MAX_LANES);
        let point = self.c_in.next_multiple_of(MAX_LANES) * row;
        assert!(self.tiles * BLOCK <= self.block && self.sums.len() == self.points * point);
        assert!(self.x.len() == self.points * x_point && self.grad_y.len() == self.points * y_point);
        for p in 0..self.points {
            let mut o = 0;
            while o < self.c_out {
                // Two vectors share a broadcast; one alone takes more channels, to have as many sums in flight.
                let wide = S::OUTER_VECTORS > 1 && o + S::LANES < self.c_out;
                let mut i = 0;
                while i < self.c_in {
                    // SAFETY: the slices' lengths were checked above; K divides the block, and so does a vector, so that
                    // the channels lie in one block each; `sums` has room for whole blocks.
                    i += unsafe {
                        let x = self.x.as_ptr().add(p * x_point + i / BLOCK * self.block + i % BLOCK);
                        let y = self.grad_y.as_ptr().add(p * y_point);
                        let sums = self.sums.as_mut_ptr().add(p * point + i * row + o);
                        match (S::OUTER_SUMS, wide) {
                            (16, true) => self.micro::<S, 8, 2>(s, x, y, sums, row, o),
                            (16, false) => self.micro::<S, 16, 1>(s, x, y, sums, row, o),
                            (8, true) => self.micro::<S, 4, 2>(s, x, y, sums, row, o),
                            (8, false) => self.micro::<S, 8, 1>(s, x, y, sums, row, o),
                            _ => self.micro::<S, 4, 1>(s, x, y, sums, row, o),
                        }
                    };
                }
                o += S::LANES * if wide { 2 } else { 1 };
            }
        }
    }
}

impl Outer<'_> {
    /// K input channels by N vectors of output channels from `o` on. Returns K.
    ///
    /// # Safety
    /// `x` points to the K channels of the first tile, `grad_y` to its first block, `sums` to the two channels' place.
    #[inline(always)]
    unsafe fn micro<S: Simd, const K: usize, const N: usize>(
        &mut self,
        s: S,
        mut x: *const f32,
        grad_y: *const f32,
        sums: *mut f32,
        row: usize,
        o: usize,
    ) -> usize {
        let mut acc = [[s.splat(0.0); N]; K];
        // SAFETY: the caller's promise.
        unsafe {
            let mut y = [grad_y; N];
            for (n, y) in y.iter_mut().enumerate() {
                let c = o + n * S::LANES;
                *y = grad_y.add(c / BLOCK * self.block + c % BLOCK);
            }
            if self.add {
                for (k, acc) in acc.iter_mut().enumerate() {
                    for (n, acc) in acc.iter_mut().enumerate() {
                        *acc = s.load(sums.add(k * row + n * S::LANES));
                    }
                }
            }
            for t in 0..self.tiles {
                let mut g = [s.splat(0.0); N];
                for n in 0..N {
                    g[n] = s.load(y[n].add(t * BLOCK));
                }
                for k in 0..K {
                    let x = s.splat(*x.add(k));
                    for n in 0..N {
                        acc[k][n] = s.fma(x, g[n], acc[k][n]);
                    }
                }
                x = x.add(BLOCK);
            }
            for (k, acc) in acc.iter().enumerate() {
                for (n, acc) in acc.iter().enumerate() {
                    s.store(sums.add(k * row + n * S::LANES), *acc);
                }
            }
        }
        K
    }
}
