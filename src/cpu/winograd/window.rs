//! The transform of a function of a group's images: columns first, then rows.
//!
//! The first pass turns the rows that a row of tiles reads into M + 2 rows of points, all columns of the map; neighbouring
//! tiles share it. The second turns each tile's columns into its points. Bound by the stores of both.

use std::hint::black_box;
use std::marker::PhantomData;
use std::ops::Range;

use super::transform::{self, MOST};
use super::{BLOCK, Flight, TileRow, Tiling, kind};
use crate::cpu::pixelwise::Pixelwise;
use crate::cpu::simd::{Kernel, Simd};

/// What is transformed.
pub trait Side {
    /// Inputs of a tile beyond its outputs; half of them lie before its first.
    const HALO: usize;

    /// One row (or column) of a tile, at its points.
    fn transform<S: Simd, const M: usize>(s: S, d: &[S::V; MOST]) -> [S::V; MOST];
}

/// A convolution's input: tiles overlap by two.
pub struct Patch;

impl Side for Patch {
    const HALO: usize = 2;

    #[inline(always)]
    fn transform<S: Simd, const M: usize>(s: S, d: &[S::V; MOST]) -> [S::V; MOST] {
        transform::patch::<S, M>(s, d)
    }
}

/// The gradient of a convolution's output, for the weight gradient.
pub struct Tile;

impl Side for Tile {
    const HALO: usize = 0;

    #[inline(always)]
    fn transform<S: Simd, const M: usize>(s: S, d: &[S::V; MOST]) -> [S::V; MOST] {
        transform::tile::<S, M>(s, d)
    }
}

/// Transforms the rows of tiles in flight.
pub struct Window<'a, T, F> {
    tiling: Tiling,
    /// Rows of tiles, counted over the group's images.
    rows: Range<usize>,
    flight: Flight,
    f: F,
    c: usize,
    /// Between the two passes: `[M + 2, columns covered + 2, BLOCK]`.
    between: &'a mut [f32],
    to: &'a mut [f32],
    side: PhantomData<T>,
}

impl<'a, T: Side, F: Pixelwise> Window<'a, T, F> {
    pub fn new(tiling: Tiling, rows: Range<usize>, f: F, c: usize, between: &'a mut [f32], to: &'a mut [f32]) -> Self {
        let flight = Flight::new(tiling.tiles(rows.clone()));
        Self { tiling, rows, flight, f, c, between, to, side: PhantomData }
    }
}

impl<T: Side, F: Pixelwise> Kernel for Window<'_, T, F> {
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (h, w) = (self.tiling.h.extent, self.tiling.w.extent);
        let images = self.rows.end.div_ceil(self.tiling.h.segments());
        self.f.check(images * h * w * self.c, self.c);
        assert!(self.between.len() == self.tiling.between_len());
        assert!(self.to.len() >= self.flight.start(super::KINDS, self.c));
        // The columns outside the map.
        self.between.fill(0.0);
        for row in self.tiling.rows(self.rows.clone()) {
            for c in (0..self.c).step_by(S::LANES) {
                let n = S::LANES.min(self.c - c);
                // SAFETY: the image exists in the function, and channels `c .. c + n` do; `between` has M + 2 rows of the
                // columns that the tiles cover and two more, `to` all points of the tiles.
                unsafe {
                    self.prefetch(s, row, c);
                    self.first_pass(s, row, c, n);
                    self.tiles::<S, 4>(s, row, c);
                    self.tiles::<S, 2>(s, row, c);
                }
            }
        }
    }
}

impl<T: Side, F: Pixelwise> Window<'_, T, F> {
    /// Asks for the pixels that the next row of tiles reads beyond this one's: a tenth of the time where images are large.
    #[inline(always)]
    fn prefetch<S: Simd>(&self, s: S, row: TileRow, c: usize) {
        let (h, w) = (self.tiling.h.extent, self.tiling.w.extent);
        let first = row.image * h + row.y + row.m + T::HALO / 2;
        for pixel in first * w..(first + 4) * w {
            self.f.prefetch(s, pixel * self.c + c);
        }
    }

    /// # Safety
    /// The row's image and channels `c .. c + n` exist in the function; `between` has the size that `run` checks.
    #[inline(always)]
    unsafe fn first_pass<S: Simd>(&mut self, s: S, row: TileRow, c: usize, n: usize) {
        let before = T::HALO / 2;
        let inside = row.y >= before && row.y + row.m + before <= self.tiling.h.extent;
        // SAFETY: the caller's promise.
        unsafe {
            match (row.m, inside, n == S::LANES) {
                (4, true, true) => self.columns::<S, 4, true, true>(s, row, c, n),
                (4, false, true) => self.columns::<S, 4, false, true>(s, row, c, n),
                (2, true, true) => self.columns::<S, 2, true, true>(s, row, c, n),
                (2, false, true) => self.columns::<S, 2, false, true>(s, row, c, n),
                (4, ..) => self.columns::<S, 4, false, false>(s, row, c, n),
                _ => self.columns::<S, 2, false, false>(s, row, c, n),
            }
        }
    }

    /// All columns; `INSIDE` where all of their rows lie within the image.
    ///
    /// # Safety
    /// As for `first_pass`.
    #[inline(always)]
    unsafe fn columns<S: Simd, const M: usize, const INSIDE: bool, const FULL: bool>(
        &mut self,
        s: S,
        row: TileRow,
        c: usize,
        n: usize,
    ) {
        let (h, w) = (self.tiling.h.extent, self.tiling.w.extent);
        let pitch = self.tiling.between_row();
        let before = T::HALO / 2;
        // The window's rows: one outside the image is read from the nearest inside, and made zero.
        let (mut from, mut exists) = ([0; MOST], [s.splat(1.0); MOST]);
        for i in 0..M + T::HALO {
            let y = (row.y + i).saturating_sub(before).min(h - 1);
            if !INSIDE && y + before != row.y + i {
                exists[i] = s.splat(0.0);
            }
            from[i] = (row.image * h + y) * w * self.c + c;
        }
        // One number each to the compiler, which would otherwise multiply anew at every column.
        let from = black_box(from);
        // SAFETY: all rows lie within the image, see also above.
        unsafe {
            let p = self.f.channels(s, c, n);
            let mut to = self.between.as_mut_ptr().add(before * BLOCK + c % BLOCK);
            let mut at = 0;
            for _ in 0..w {
                let mut d = [s.splat(0.0); MOST];
                for i in 0..M + T::HALO {
                    d[i] = self.f.value::<S, FULL>(s, p, from[i] + at, n);
                    if !INSIDE {
                        d[i] = s.where_positive(exists[i], d[i]);
                    }
                }
                let points = T::transform::<S, M>(s, &d);
                for i in 0..M + 2 {
                    s.store(to.add(i * pitch), points[i]);
                }
                to = to.add(BLOCK);
                at += self.c;
            }
        }
    }

    /// The second pass, for the tiles of M columns, channels from `c` on.
    ///
    /// # Safety
    /// `between` and `to` have the sizes that `run` checks, the channel exists, and the row is in flight.
    #[inline(always)]
    unsafe fn tiles<S: Simd, const M: usize>(&mut self, s: S, row: TileRow, c: usize) {
        let w = self.tiling.w;
        let (count, first_column) = if M == 4 { (w.fours, 0) } else { (w.twos, 4 * w.fours) };
        if count == 0 {
            return;
        }
        let kind = kind(row.m, M);
        let (point, block) = (self.flight.point(kind, self.c), self.flight.block(kind));
        let pitch = self.tiling.between_row();
        let start = self.flight.start(kind, self.c) + c / BLOCK * block + c % BLOCK + row.before * count * BLOCK;
        // SAFETY: the caller's promise.
        unsafe {
            for i in 0..row.m + 2 {
                let mut from = self.between.as_ptr().add(i * pitch + first_column * BLOCK + c % BLOCK);
                let mut to = self.to.as_mut_ptr().add(start + i * (M + 2) * point);
                for _ in 0..count {
                    let mut d = [s.splat(0.0); MOST];
                    for j in 0..M + T::HALO {
                        d[j] = s.load(from.add(j * BLOCK));
                    }
                    let points = T::transform::<S, M>(s, &d);
                    for j in 0..M + 2 {
                        s.store(to.add(j * point), points[j]);
                    }
                    from = from.add(M * BLOCK);
                    to = to.add(BLOCK);
                }
            }
        }
    }
}
