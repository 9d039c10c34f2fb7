//! The direct convolution of one padded image: output channels in the lanes, several pixels in flight.
//!
//! A tile is up to 10 pixels of a row (of two rows where the tile is one vector of channels wide): 20 independent sums, more
//! than two FMA pipes of latency 4 need, and few enough for 32 registers. The weights are packed beforehand in
//! exactly the order in which the tiles consume them. Bound by FMA throughput: with a 3x3 kernel, a broadcast pixel serves
//! three FMAs and a vector of weights serves as many as the tile has pixels.
// A tile's registers are an array indexed by the tile's coordinates, as the formula is.
#![allow(clippy::needless_range_loop)]

use std::hint::black_box;

use super::padded::{NARROW_BLOCK, Padded, WIDE_BLOCK};
use super::simd::{Kernel, MAX_LANES, Simd};

/// A convolution of one image, seen from its padded copy: no padding is left, every tap lies inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvImage {
    /// The input's padded copy.
    pub padded: Padded,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Distance between two outputs, in input pixels.
    pub stride: usize,
    /// Rows of the output.
    pub h: usize,
    /// Columns of the output.
    pub w: usize,
    /// Output channels.
    pub c_out: usize,
}

impl ConvImage {
    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.h * self.w * self.c_out
    }

    /// Elements that the packed weights need at most, whatever the instruction set.
    pub fn packed_len(&self) -> usize {
        self.taps() * self.c_out.next_multiple_of(MAX_LANES)
    }

    /// Weights of one output channel.
    pub fn taps(&self) -> usize {
        self.kernel * self.kernel * self.padded.c
    }

    /// Panics unless every tap of every output lies within the copy.
    pub fn check(&self) {
        let p = self.padded;
        let reach = |outputs: usize| (outputs.max(1) - 1) * self.stride + self.kernel;
        assert!(self.h > 0 && self.w > 0 && reach(self.h) <= p.h && reach(self.w) <= p.w);
        assert!(p.block == WIDE_BLOCK || p.block == NARROW_BLOCK && p.c <= NARROW_BLOCK);
    }
}

/// How the weights are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `w[ky, kx, c_in, c_out]`, as stored.
    Forward,
    /// For the transpose, a convolution of `grad_y`: stored as `w[ky, kx, c_out', c_in']`, read with the kernel turned by
    /// 180 degrees.
    Transposed,
}

/// Packs weights: per tile of output channels `[block][ky][channel of block][kx][lane]`, zero in lanes past the last channel.
pub struct Pack<'a> {
    pub geometry: ConvImage,
    pub direction: Direction,
    pub w: &'a [f32],
    pub packed: &'a mut [f32],
}

impl Kernel for Pack<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let g = &self.geometry;
        let (k, c_in, c_out, block) = (g.kernel, g.padded.c, g.c_out, g.padded.block);
        assert_eq!(self.w.len(), g.taps() * c_out);
        let mut packed = self.packed;
        let mut first = 0;
        while first < c_out {
            let lanes = S::LANES * vectors::<S>(c_out - first);
            let n = lanes.min(c_out - first);
            for c_block in (0..c_in).step_by(block) {
                for ky in 0..k {
                    for ci in c_block..c_in.min(c_block + block) {
                        for kx in 0..k {
                            let (to, rest) = packed.split_at_mut(lanes);
                            packed = rest;
                            match self.direction {
                                Direction::Forward => {
                                    let from = ((ky * k + kx) * c_in + ci) * c_out + first;
                                    to[..n].copy_from_slice(&self.w[from..from + n]);
                                }
                                Direction::Transposed => {
                                    let from = ((k - 1 - ky) * k + (k - 1 - kx)) * c_out + first;
                                    for (lane, to) in to[..n].iter_mut().enumerate() {
                                        *to = self.w[(from + lane) * c_in + ci];
                                    }
                                }
                            }
                            to[n..].fill(0.0);
                        }
                    }
                }
            }
            first += lanes;
        }
    }
}

/// Vectors of the tile that covers the next `channels` output channels.
#[inline(always)]
fn vectors<S: Simd>(channels: usize) -> usize {
    S::TILE_VECTORS.min(channels.div_ceil(S::LANES))
}

/// Convolves one padded image: `y: [H, W, C_out]`.
pub struct Convolve<'a> {
    pub geometry: ConvImage,
    pub padded: &'a [f32],
    pub packed: &'a [f32],
    pub y: &'a mut [f32],
}

impl Kernel for Convolve<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let g = &self.geometry;
        g.check();
        assert_eq!(self.padded.len(), g.padded.len());
        assert_eq!(self.y.len(), g.output_len());
        assert!(self.packed.len() >= g.taps() * g.c_out.next_multiple_of(S::LANES));
        let mut first = 0;
        while first < g.c_out {
            let v = vectors::<S>(g.c_out - first);
            let strip = Strip {
                g,
                x: self.padded.as_ptr(),
                // Tiles before this one consumed `taps` vectors for each of their lanes.
                w: self.packed[g.taps() * first..].as_ptr(),
                y: self.y.as_mut_ptr(),
                first,
            };
            // SAFETY: the three slices' lengths were checked above, and that every tap lies within the copy; `first` is a
            // multiple of LANES below C_out.
            unsafe {
                match v {
                    1 => strip.run::<S, 1>(s),
                    _ => strip.run::<S, 2>(s),
                }
            }
            first += v * S::LANES;
        }
    }
}

/// One strip of output channels over the whole image.
#[derive(Clone, Copy)]
struct Strip<'a> {
    g: &'a ConvImage,
    x: *const f32,
    w: *const f32,
    y: *mut f32,
    /// First output channel.
    first: usize,
}

impl Strip<'_> {
    /// # Safety
    /// `g.check()` passed; `x`, `y` are valid for the padded copy and the output, `w` for the packed weights of `V` vectors.
    #[inline(always)]
    unsafe fn run<S: Simd, const V: usize>(self, s: S) {
        let g = self.g;
        // SAFETY: the caller's promise; the blocks match the layout's.
        unsafe {
            if g.kernel == 3 && g.stride == 1 && g.padded.block == WIDE_BLOCK {
                self.rows_3x3::<S, V>(s);
            } else {
                self.any_kernel::<S, V>(s);
            }
        }
    }

    /// # Safety
    /// As for `run`, with a 3x3 kernel of stride 1 and wide blocks.
    #[inline(always)]
    unsafe fn rows_3x3<S: Simd, const V: usize>(self, s: S) {
        let g = self.g;
        let pieces = g.w.div_ceil(S::TILE_PIXELS);
        let mut y = 0;
        while y < g.h {
            let rows = if V == 1 && S::TILE_ROWS == 2 && y + 1 < g.h { 2 } else { 1 };
            let mut x = 0;
            for piece in 0..pieces {
                // Pieces of nearly the same width: a narrow last one would wait for its FMAs' latency.
                let p = (g.w - x) / (pieces - piece);
                // SAFETY: rows `y .. y + rows` and columns `x .. x + p` lie within the output.
                unsafe {
                    if V == 1 && rows == 2 {
                        self.tile_of_width::<S, V, 2>(s, y, x, p);
                    } else {
                        self.tile_of_width::<S, V, 1>(s, y, x, p);
                    }
                }
                x += p;
            }
            y += rows;
        }
    }

    /// # Safety
    /// As for `rows_3x3`; rows `y .. y + R` and columns `x .. x + p` lie within the output, and `p <= 10`.
    #[inline(always)]
    unsafe fn tile_of_width<S: Simd, const V: usize, const R: usize>(self, s: S, y: usize, x: usize, p: usize) {
        // SAFETY: the caller's promise, with P = p.
        unsafe {
            match p {
                1 => self.tile_3x3::<S, V, R, 1>(s, y, x),
                2 => self.tile_3x3::<S, V, R, 2>(s, y, x),
                3 => self.tile_3x3::<S, V, R, 3>(s, y, x),
                4 => self.tile_3x3::<S, V, R, 4>(s, y, x),
                5 => self.tile_3x3::<S, V, R, 5>(s, y, x),
                6 => self.tile_3x3::<S, V, R, 6>(s, y, x),
                7 => self.tile_3x3::<S, V, R, 7>(s, y, x),
                8 => self.tile_3x3::<S, V, R, 8>(s, y, x),
                9 => self.tile_3x3::<S, V, R, 9>(s, y, x),
                _ => self.tile_3x3::<S, V, R, 10>(s, y, x),
            }
        }
    }

    /// # Safety
    /// As for `rows_3x3`; rows `y .. y + R` and columns `x .. x + P` lie within the output.
    #[inline(always)]
    unsafe fn tile_3x3<S: Simd, const V: usize, const R: usize, const P: usize>(self, s: S, y: usize, x: usize) {
        let g = self.g;
        let (plane, row) = (g.padded.plane(), g.padded.row());
        let mut acc = [[[s.splat(0.0); V]; P]; R];
        let mut w = self.w;
        // SAFETY: output (y, x) reads the copy's rows `y .. y + 3`, columns `x .. x + 3`; the weights are consumed in the
        // order in which `Pack` wrote them.
        unsafe {
            let corner = self.x.add(y * row + x * WIDE_BLOCK);
            for block in 0..g.padded.c.div_ceil(WIDE_BLOCK) {
                let channels = WIDE_BLOCK.min(g.padded.c - block * WIDE_BLOCK);
                for ky in 0..3 {
                    let mut from = corner.add(block * plane + ky * row);
                    for _ in 0..channels {
                        let mut wk = [[s.splat(0.0); V]; 3];
                        for kx in 0..3 {
                            for v in 0..V {
                                wk[kx][v] = s.load(w.add((kx * V + v) * S::LANES));
                            }
                        }
                        w = w.add(3 * V * S::LANES);
                        for r in 0..R {
                            let from = from.add(r * row);
                            for i in 0..P + 2 {
                                // One pixel of the copy is a tap of up to three outputs.
                                let pixel = s.splat(*from.add(i * WIDE_BLOCK));
                                for kx in 0..3 {
                                    if i >= kx && i - kx < P {
                                        for v in 0..V {
                                            acc[r][i - kx][v] = s.fma(pixel, wk[kx][v], acc[r][i - kx][v]);
                                        }
                                    }
                                }
                            }
                        }
                        from = from.add(1);
                    }
                }
            }
            for (r, acc) in acc.iter().enumerate() {
                for (i, acc) in acc.iter().enumerate() {
                    self.store(s, ((y + r) * g.w + x + i) * g.c_out, acc);
                }
            }
        }
    }

    /// Any kernel and stride: eight pixels at a time, wherever they lie.
    ///
    /// # Safety
    /// As for `run`.
    #[inline(always)]
    unsafe fn any_kernel<S: Simd, const V: usize>(self, s: S) {
        const P: usize = 8;
        let g = self.g;
        let (plane, row, block) = (g.padded.plane(), g.padded.row(), g.padded.block);
        let pixels = g.h * g.w;
        for start in (0..pixels).step_by(P) {
            let mut acc = [[s.splat(0.0); V]; P];
            let mut corner = [0; P];
            for (i, corner) in corner.iter_mut().enumerate() {
                // Past the end, the last pixel again: computed, not stored.
                let pixel = (start + i).min(pixels - 1);
                *corner = pixel / g.w * g.stride * row + pixel % g.w * g.stride * block;
            }
            // One number each to the compiler, which would otherwise keep the two products apart, in twice the registers.
            let corner = black_box(corner);
            let mut w = self.w;
            // SAFETY: as in `tile_3x3`.
            unsafe {
                for first in (0..g.padded.c).step_by(block) {
                    for ky in 0..g.kernel {
                        for ci in 0..block.min(g.padded.c - first) {
                            for kx in 0..g.kernel {
                                let from = self.x.add(first / block * plane + ky * row + kx * block + ci);
                                let mut wk = [s.splat(0.0); V];
                                for (v, wk) in wk.iter_mut().enumerate() {
                                    *wk = s.load(w.add(v * S::LANES));
                                }
                                w = w.add(V * S::LANES);
                                for i in 0..P {
                                    let pixel = s.splat(*from.add(corner[i]));
                                    for v in 0..V {
                                        acc[i][v] = s.fma(pixel, wk[v], acc[i][v]);
                                    }
                                }
                            }
                        }
                    }
                }
                for (i, acc) in acc.iter().enumerate().take(pixels - start) {
                    self.store(s, (start + i) * g.c_out, acc);
                }
            }
        }
    }

    /// Stores one pixel's sums, except lanes past the last channel.
    ///
    /// # Safety
    /// `pixel` is the offset of a pixel of the output.
    #[inline(always)]
    unsafe fn store<S: Simd, const V: usize>(self, s: S, pixel: usize, acc: &[S::V; V]) {
        for (v, acc) in acc.iter().enumerate() {
            let c = self.first + v * S::LANES;
            // SAFETY: channels `c .. C_out` of the pixel lie within the output; a tile has no vector past C_out.
            unsafe {
                let to = self.y.add(pixel + c);
                if c + S::LANES <= self.g.c_out { s.store(to, *acc) } else { s.store_part(to, *acc, self.g.c_out - c) }
            }
        }
    }
}
