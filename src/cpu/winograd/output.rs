//! The transform back: from the products at a row of tiles' points to its outputs.

use std::hint::black_box;
use std::ops::Range;

use super::transform::{self, MOST};
use super::{BLOCK, Flight, TileRow, Tiling, kind};
use crate::cpu::epilogue::Epilogue;
use crate::cpu::simd::{Kernel, Simd};

/// The rows of tiles in flight.
pub struct Output<'a, E> {
    pub tiling: Tiling,
    pub flight: Flight,
    /// Rows of tiles, counted over the group's images.
    pub rows: Range<usize>,
    pub c: usize,
    pub products: &'a [f32],
    pub epilogue: E,
    /// The group's output, `[n, H, W, C]`.
    pub y: &'a mut [f32],
}

impl<E: Epilogue> Kernel for Output<'_, E> {
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let Tiling { h, w, .. } = self.tiling;
        assert!(self.y.len() >= self.rows.end.div_ceil(h.segments()) * h.extent * w.extent * self.c);
        assert!(self.products.len() >= self.flight.start(super::KINDS, self.c));
        self.epilogue.check(self.y.len(), self.c);
        for row in self.tiling.rows(self.rows.clone()) {
            for c in (0..self.c).step_by(S::LANES) {
                let n = S::LANES.min(self.c - c);
                // SAFETY: the row lies in flight and its image within `y`; channels `c .. c + n` exist.
                unsafe {
                    match (row.m, n == S::LANES) {
                        (4, true) => self.channels::<S, 4, true>(s, row, c, n),
                        (4, false) => self.channels::<S, 4, false>(s, row, c, n),
                        (_, true) => self.channels::<S, 2, true>(s, row, c, n),
                        (_, false) => self.channels::<S, 2, false>(s, row, c, n),
                    }
                }
            }
        }
    }
}

impl<E: Epilogue> Output<'_, E> {
    /// # Safety
    /// The row lies in flight and its image within `y`; channels `c .. c + n` exist.
    #[inline(always)]
    unsafe fn channels<S: Simd, const R: usize, const FULL: bool>(&mut self, s: S, row: TileRow, c: usize, n: usize) {
        let Tiling { h, w, .. } = self.tiling;
        let fits = row.y + R <= h.extent;
        // SAFETY: the caller's promise; a tile that is not the axis' last lies within the image.
        unsafe {
            let p = self.epilogue.channels(s, c, n);
            let products = Products::new::<R, 4>(self.tiling, self.flight, row, self.c, c);
            for x in (0..4 * w.fours).step_by(4) {
                if fits && x + 4 <= w.extent {
                    self.tile::<S, R, 4, true, FULL>(s, p, products, row, x, c, n);
                } else {
                    self.tile::<S, R, 4, false, FULL>(s, p, products, row, x, c, n);
                }
            }
            if w.twos > 0 {
                let x = 4 * w.fours;
                let products = Products::new::<R, 2>(self.tiling, self.flight, row, self.c, c);
                if fits && x + 2 <= w.extent {
                    self.tile::<S, R, 2, true, FULL>(s, p, products, row, x, c, n);
                } else {
                    self.tile::<S, R, 2, false, FULL>(s, p, products, row, x, c, n);
                }
            }
        }
    }

    /// The tile of R x C outputs at column `x`; `INSIDE` where all of them lie within the image.
    ///
    /// # Safety
    /// As for `channels`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const C: usize, const INSIDE: bool, const FULL: bool>(
        &mut self,
        s: S,
        p: E::Channels<S>,
        products: Products,
        row: TileRow,
        x: usize,
        c: usize,
        n: usize,
    ) {
        let Tiling { h, w, .. } = self.tiling;
        let mut rows = [[s.splat(0.0); MOST]; 4];
        // SAFETY: the tile lies in flight, and what lies outside the image is not stored.
        unsafe {
            let mut from = self.products.as_ptr().add(products.start.wrapping_add(x / 4 * BLOCK));
            for j in 0..C + 2 {
                let mut m = [s.splat(0.0); MOST];
                for i in 0..R + 2 {
                    m[i] = s.load(from.add(products.rows[i]));
                }
                let column = transform::output::<S, R>(s, &m);
                for i in 0..R {
                    rows[i][j] = column[i];
                }
                from = from.add(products.column);
            }
            let mut start = ((row.image * h.extent + row.y) * w.extent + x) * self.c + c;
            for i in 0..R {
                let values = transform::output::<S, C>(s, &rows[i]);
                let mut at = start;
                for j in 0..C {
                    if INSIDE || row.y + i < h.extent && x + j < w.extent {
                        let y = self.y.as_mut_ptr().add(at);
                        s.store_if::<FULL>(y, self.epilogue.value::<S, FULL>(s, p, values[j], y, at, n), n);
                    }
                    at += self.c;
                }
                start += w.extent * self.c;
            }
        }
    }
}

/// Where the products of one kind lie, in elements.
#[derive(Clone, Copy)]
struct Products {
    /// The row's first tile of the kind.
    start: usize,
    /// From there to each row of points.
    rows: [usize; MOST],
    /// From one column of points to the next.
    column: usize,
}

impl Products {
    /// Those of R x C outputs in a row of tiles, channels from `c` on of `channels`.
    #[inline(always)]
    fn new<const R: usize, const C: usize>(
        tiling: Tiling,
        flight: Flight,
        row: TileRow,
        channels: usize,
        c: usize,
    ) -> Self {
        let kind = kind(R, C);
        let (column, block) = (flight.point(kind, channels), flight.block(kind));
        let (count, first) = if C == 4 { (tiling.w.fours, 0) } else { (tiling.w.twos, tiling.w.fours) };
        // Less the tiles of the other kind, so that a tile's place follows from its column alone.
        let tile = (row.before * count).wrapping_sub(first);
        let start =
            (flight.start(kind, channels) + c / BLOCK * block + c % BLOCK).wrapping_add(tile.wrapping_mul(BLOCK));
        let mut rows = [0; MOST];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = i * (C + 2) * column;
        }
        // One number each to the compiler, which would otherwise multiply anew in every tile.
        Self { start, rows: black_box(rows), column: black_box(column) }
    }
}
