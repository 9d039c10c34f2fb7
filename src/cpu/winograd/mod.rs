//! 3x3 convolutions by Winograd's algorithm: 2.25 to 4 times fewer multiplications than the definition.
//!
//! A map is cut into tiles of 4 x 4 outputs, with a strip of 2 at the end of an axis where that wastes less: 10 = 4 + 4 + 2.
//! Each tile's patch of inputs is transformed to (M + 2)^2 points ([`window`]), where the convolution is one product of
//! matrices a point, tiles by input channels times input by output channels ([`product`]), and the products are transformed
//! back ([`output`]). The weight gradient is the same three stages with the roles exchanged ([`grad_w`]): tiles of `grad_y`
//! times patches of x.
//!
//! Some images' (or, where those are large, some rows of tiles') transforms are in flight at once: enough tiles for the
//! registers of the product, few enough for the second-level cache.
//!
//! Against the definition in f64, an output's error is 2 to 3 times that of the direct convolution in f32 ([`transform`]).

// Registers are arrays indexed by the point, as the formulas are.
#![allow(clippy::needless_range_loop)]

mod grad_w;
mod output;
mod product;
#[cfg(test)]
mod tests;
mod transform;
mod weights;
mod window;

pub use grad_w::GradW;

use self::output::Output;
use self::product::Product;
use self::weights::PackWeights;
use self::window::{Patch, Window};
use super::Cpu;
use super::conv_kernel::Direction;
use super::epilogue::Epilogue;
use super::pixelwise::Pixelwise;
use super::simd::MAX_LANES;
use super::workspace::carved;
use crate::shape::{Conv, Shape};

/// Channels of a block of a transformed map.
const BLOCK: usize = MAX_LANES;

/// How one axis of a map is cut into tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Outputs.
    pub extent: usize,
    /// Segments of four; they come first.
    pub fours: usize,
    /// Segments of two, none or one.
    pub twos: usize,
}

impl Axis {
    fn new(extent: usize) -> Self {
        let rest = extent % 4;
        Self { extent, fours: extent / 4 + usize::from(rest == 3), twos: usize::from(rest == 1 || rest == 2) }
    }

    /// Segments.
    fn segments(self) -> usize {
        self.fours + self.twos
    }

    /// First output and length of a segment.
    fn segment(self, i: usize) -> (usize, usize) {
        (4 * i, if i < self.fours { 4 } else { 2 })
    }

    /// Outputs of all segments, which may reach past the map's.
    fn covered(self) -> usize {
        4 * self.fours + 2 * self.twos
    }
}

/// Kinds of tiles: rows x columns 4x4, 4x2, 2x4 and 2x2.
const KINDS: usize = 4;

/// The kind of a tile of `rows` x `columns`.
fn kind(rows: usize, columns: usize) -> usize {
    2 * usize::from(rows == 2) + usize::from(columns == 2)
}

/// Rows and columns of a kind's tiles.
fn extents(kind: usize) -> (usize, usize) {
    (if kind < 2 { 4 } else { 2 }, if kind.is_multiple_of(2) { 4 } else { 2 })
}

/// Points of a kind's tiles.
fn points(kind: usize) -> usize {
    let (rows, columns) = extents(kind);
    (rows + 2) * (columns + 2)
}

/// How a map is cut, and how much of a group of images is in flight at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Rows.
    pub h: Axis,
    /// Columns.
    pub w: Axis,
    /// Rows of tiles in flight, counted over the images of a group.
    in_flight: usize,
}

impl Tiling {
    /// For maps of `channels`, the larger number of the convolution's two.
    fn new(h: usize, w: usize, channels: usize) -> Self {
        let mut tiling = Self { h: Axis::new(h), w: Axis::new(w), in_flight: 1 };
        // Whole images, or where one is too much, rows of tiles.
        let segments = tiling.h.segments();
        let step = if tiling.elements(0..segments, channels) * size_of::<f32>() <= LEAST_BYTES { segments } else { 1 };
        tiling.in_flight = step;
        loop {
            let more = 0..tiling.in_flight + step;
            let few_tiles = tiling.tiles(0..tiling.in_flight).iter().all(|tiles| *tiles < LEAST_TILES);
            let bytes = |rows| tiling.elements(rows, channels) * size_of::<f32>();
            let small = bytes(0..tiling.in_flight) < LEAST_BYTES;
            if !(few_tiles || small) || bytes(more) > MOST_BYTES {
                break;
            }
            tiling.in_flight += step;
        }
        tiling
    }

    /// Tiles of each kind in rows of tiles `rows`, counted over images.
    fn tiles(&self, rows: std::ops::Range<usize>) -> [usize; KINDS] {
        let mut tiles = [0; KINDS];
        for row in rows {
            let (_, m) = self.h.segment(row % self.h.segments());
            tiles[kind(m, 4)] += self.w.fours;
            tiles[kind(m, 2)] += self.w.twos;
        }
        tiles
    }

    /// Elements of the transform of rows of tiles `rows`.
    fn elements(&self, rows: std::ops::Range<usize>, channels: usize) -> usize {
        Flight::new(self.tiles(rows)).start(KINDS, channels)
    }

    /// Elements of the largest transform in flight.
    fn most_elements(&self, channels: usize) -> usize {
        let most = |start| self.elements(start..start + self.in_flight, channels);
        (0..self.h.segments()).map(most).max().unwrap_or(0)
    }

    /// Elements of a row of tiles between the two passes of its transform.
    fn between_len(&self) -> usize {
        transform::MOST * self.between_row()
    }

    fn between_row(&self) -> usize {
        (self.w.covered() + 2) * BLOCK
    }

    /// The kinds that there are.
    fn kinds(&self) -> impl Iterator<Item = usize> + use<> {
        let tiles = self.tiles(0..self.h.segments());
        (0..KINDS).filter(move |kind| tiles[*kind] > 0)
    }
}

/// Tiles in flight for which the product's registers suffice.
const LEAST_TILES: usize = 16;
/// Transforms in flight below this leave the cores waiting for short loops.
const LEAST_BYTES: usize = 64 << 10;
/// Transforms in flight that the second-level cache holds beside their products and the weights.
const MOST_BYTES: usize = 320 << 10;

/// The tiles in flight, and where they lie: `[kind][point][block][tile][BLOCK]`.
#[derive(Clone, Copy)]
struct Flight {
    tiles: [usize; KINDS],
}

impl Flight {
    fn new(tiles: [usize; KINDS]) -> Self {
        Self { tiles }
    }

    /// Elements between two blocks of channels.
    fn block(&self, kind: usize) -> usize {
        self.tiles[kind] * BLOCK
    }

    /// Elements between two points.
    fn point(&self, kind: usize, channels: usize) -> usize {
        channels.div_ceil(BLOCK) * self.block(kind)
    }

    /// Where a kind's tiles start.
    fn start(&self, kind: usize, channels: usize) -> usize {
        (0..kind).map(|k| points(k) * self.point(k, channels)).sum()
    }
}

/// One row of tiles in flight.
#[derive(Clone, Copy)]
struct TileRow {
    /// The image, counted within the group.
    image: usize,
    /// First row of outputs.
    y: usize,
    /// Rows of outputs, 4 or 2.
    m: usize,
    /// Rows of tiles of the same height in flight before this one.
    before: usize,
}

impl Tiling {
    /// The rows of tiles in flight.
    fn rows(self, rows: std::ops::Range<usize>) -> impl Iterator<Item = TileRow> {
        let segments = self.h.segments();
        let mut before = [0; 2];
        rows.map(move |row| {
            let (y, m) = self.h.segment(row % segments);
            let count = &mut before[usize::from(m == 2)];
            *count += 1;
            TileRow { image: row / segments, y, m, before: *count - 1 }
        })
    }
}

/// A 3x3 convolution of stride 1 and padding 1, over a group of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Winograd {
    tiling: Tiling,
    c_in: usize,
    c_out: usize,
    direction: Direction,
}

impl Winograd {
    /// Whether the algorithm serves: below 8 channels the transforms outweigh what they save, and where operands are rounded
    /// it would multiply others.
    pub fn serves(cpu: &Cpu, x: Shape, conv: Conv, c_out: usize) -> bool {
        cpu.rounding.is_none() && conv == Conv::SAME_3X3 && x.c().min(c_out) >= 8 && x.h().min(x.w()) >= 2
    }

    /// `y = x * w`.
    pub fn forward(x: Shape, c_out: usize) -> Self {
        let tiling = Tiling::new(x.h(), x.w(), x.c().max(c_out));
        Self { tiling, c_in: x.c(), c_out, direction: Direction::Forward }
    }

    /// `grad_x`, of shape `x`, from `grad_y`.
    pub fn transposed(x: Shape, c_out: usize) -> Self {
        let tiling = Tiling::new(x.h(), x.w(), x.c().max(c_out));
        Self { tiling, c_in: c_out, c_out: x.c(), direction: Direction::Transposed }
    }

    /// Elements of the packed weights, whatever the instruction set.
    pub fn packed_len(&self) -> usize {
        self.tiling.kinds().map(|kind| points(kind) * self.packed_point()).sum()
    }

    /// Elements of one point of the packed weights.
    fn packed_point(&self) -> usize {
        self.c_in * self.c_out.next_multiple_of(MAX_LANES)
    }

    /// Packs the weights.
    pub fn pack(&self, cpu: &Cpu, w: &[f32], packed: &mut [f32]) {
        let mut rest = packed;
        for kind in self.tiling.kinds() {
            let (part, after) = rest.split_at_mut(points(kind) * self.packed_point());
            let (c_in, c_out, direction) = (self.c_in, self.c_out, self.direction);
            cpu.run(PackWeights { kind, c_in, c_out, direction, w, packed: part });
            rest = after;
        }
    }

    /// Elements of a thread's scratch.
    pub fn scratch_len(&self) -> usize {
        let transforms = [self.c_in, self.c_out].map(|c| carved(self.tiling.most_elements(c)));
        carved(self.tiling.between_len()) + transforms[0] + transforms[1]
    }

    /// Convolves a function of the images of a group, `[n, H, W, C_in]`, into `y: [n, H, W, C_out]`.
    pub fn convolve<F: Pixelwise, E: Epilogue>(
        &self,
        cpu: &Cpu,
        f: F,
        packed: &[f32],
        epilogue: E,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        let tiling = self.tiling;
        let images = y.len() / (tiling.h.extent * tiling.w.extent * self.c_out);
        let (between, rest) = scratch.split_at_mut(carved(tiling.between_len()));
        let between = &mut between[..tiling.between_len()];
        let (transformed, products) = rest.split_at_mut(carved(tiling.most_elements(self.c_in)));
        let all = images * tiling.h.segments();
        for first in (0..all).step_by(tiling.in_flight) {
            let rows = first..all.min(first + tiling.in_flight);
            let flight = Flight::new(tiling.tiles(rows.clone()));
            cpu.run(Window::<Patch, F>::new(tiling, rows.clone(), f, self.c_in, between, transformed));
            let mut u = packed;
            for kind in tiling.kinds() {
                let (here, after) = u.split_at(points(kind) * self.packed_point());
                u = after;
                let at = |c: usize| flight.start(kind, c)..flight.start(kind + 1, c);
                let (v, m) = (&transformed[at(self.c_in)], &mut products[at(self.c_out)]);
                let (tiles, c_in, c_out) = (flight.block(kind) / BLOCK, self.c_in, self.c_out);
                cpu.run(Product { points: points(kind), tiles, c_in, c_out, v, u: here, m });
            }
            cpu.run(Output { tiling, flight, rows, c: self.c_out, products, epilogue, y: &mut *y });
        }
    }
}

/// The kinds' extents as constants: calls the macro `$f` with those of the kind of `$rows` x `$columns`.
macro_rules! of_extents {
    ($rows:expr, $columns:expr, $f:ident) => {
        match ($rows, $columns) {
            (4, 4) => $f!(4, 4),
            (4, _) => $f!(4, 2),
            (_, 4) => $f!(2, 4),
            _ => $f!(2, 2),
        }
    };
}
use of_extents;
