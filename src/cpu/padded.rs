//! One image with zeros around it, in the layout that the convolutions read: `[block, H, W, B]`, the channels in blocks of
//! `B` so that two neighbouring pixels lie a constant distance apart whatever C is.

use super::pixelwise::Pixelwise;
use super::simd::{Kernel, MAX_LANES, Simd};

/// Channels of a block where the image is read one vector of channels at a time.
pub const WIDE_BLOCK: usize = MAX_LANES;
/// Channels of a block of an RGB image, read one channel at a time.
pub const NARROW_BLOCK: usize = 4;

/// Where the image lies in its padded copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padded {
    /// Rows of the copy.
    pub h: usize,
    /// Columns of the copy.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// Channels of a block, [`WIDE_BLOCK`] or [`NARROW_BLOCK`].
    pub block: usize,
    /// Row and column of the copy where the image's first pixel goes; negative where the copy leaves it out.
    pub origin: isize,
    /// Distance of two of the image's pixels in the copy.
    pub dilation: usize,
}

impl Padded {
    /// Elements of the copy.
    pub fn len(&self) -> usize {
        self.c.div_ceil(self.block) * self.plane()
    }

    /// Elements of one block of channels.
    pub fn plane(&self) -> usize {
        self.h * self.row()
    }

    /// Elements of one row of one block.
    pub fn row(&self) -> usize {
        self.w * self.block
    }

    /// The narrowest block for images that are read one channel at a time.
    pub fn block_for(c: usize) -> usize {
        if c <= NARROW_BLOCK { NARROW_BLOCK } else { WIDE_BLOCK }
    }

    /// The columns (rows) of an image of `extent` that lie within `padded` columns (rows) of the copy.
    fn inside(&self, extent: usize, padded: usize) -> std::ops::Range<usize> {
        let start = self.origin.min(0).unsigned_abs().div_ceil(self.dilation);
        let room = padded as isize - self.origin;
        let end = if room > 0 { (room as usize).div_ceil(self.dilation).min(extent) } else { 0 };
        start.min(end)..end
    }

    /// Position of the image's row (column) `i` in the copy.
    fn position(&self, i: usize) -> usize {
        (self.origin + (i * self.dilation) as isize) as usize
    }
}

/// Writes a function of an image `[H, W, C]` into its padded copy. What lies between and around the pixels is left alone:
/// it must be zero.
pub struct Pad<'a, F> {
    pub f: F,
    /// The function's element at the image's first.
    pub from: usize,
    pub h: usize,
    pub w: usize,
    pub layout: Padded,
    pub to: &'a mut [f32],
}

impl<F: Pixelwise> Kernel for Pad<'_, F> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let layout = self.layout;
        assert_eq!(self.to.len(), layout.len());
        assert!(layout.block == WIDE_BLOCK || layout.block == NARROW_BLOCK && layout.c <= NARROW_BLOCK);
        self.f.check(self.from + self.h * self.w * layout.c, layout.c);
        for c in (0..layout.c).step_by(S::LANES) {
            let n = S::LANES.min(layout.c - c);
            // SAFETY: the sizes were checked above; channels `c .. c + n` exist and lie in one block, since LANES divides
            // the wide block and a narrow one holds all channels.
            unsafe {
                if n == S::LANES {
                    pad_channels::<S, F, true>(s, &self.f, self.from, self.h, self.w, layout, self.to, c, n);
                } else {
                    pad_channels::<S, F, false>(s, &self.f, self.from, self.h, self.w, layout, self.to, c, n);
                }
            }
        }
    }
}

/// # Safety
/// `f` holds an image `[h, w, layout.c]` from element `from` on, `to` its padded copy, and channels `c .. c + n` exist and
/// lie in one block.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn pad_channels<S: Simd, F: Pixelwise, const FULL: bool>(
    s: S,
    f: &F,
    from: usize,
    h: usize,
    w: usize,
    layout: Padded,
    to: &mut [f32],
    c: usize,
    n: usize,
) {
    let columns = layout.inside(w, layout.w);
    let step = layout.dilation * layout.block;
    // SAFETY: `inside` keeps rows and columns within both the image and the copy; see also above.
    unsafe {
        let p = f.channels(s, c, n);
        let start = to.as_mut_ptr().add(c / layout.block * layout.plane() + c % layout.block);
        for y in layout.inside(h, layout.h) {
            let mut at = from + (y * w + columns.start) * layout.c + c;
            let mut to = layout.position(y) * layout.row() + layout.position(columns.start) * layout.block;
            for _ in columns.clone() {
                s.store_if::<FULL>(start.add(to), f.value::<S, FULL>(s, p, at, n), n);
                at += layout.c;
                to += step;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pixelwise::Identity;
    use super::super::simd::Isa;
    use super::*;

    fn pad(layout: Padded, h: usize, w: usize, x: &[f32]) -> Vec<f32> {
        let mut to = vec![0.0; layout.len()];
        let isa = Isa::detect();
        // SAFETY: detected.
        unsafe { isa.run(Pad { f: Identity(x), from: 0, h, w, layout, to: &mut to }) };
        to
    }

    #[test]
    fn pixels_land_where_origin_and_dilation_say() {
        let (h, w, c) = (3, 2, 17);
        let x: Vec<f32> = (1..=h * w * c).map(|v| v as f32).collect();
        for (origin, dilation) in [(1, 1), (0, 1), (2, 3), (-1, 1), (-1, 2), (-9, 1)] {
            let layout = Padded { h: 9, w: 6, c, block: WIDE_BLOCK, origin, dilation };
            let to = pad(layout, h, w, &x);
            let mut expected = vec![0.0; layout.len()];
            for y in 0..h {
                for i in 0..w {
                    let (row, column) = (origin + (y * dilation) as isize, origin + (i * dilation) as isize);
                    if (0..9).contains(&row) && (0..6).contains(&column) {
                        for ch in 0..c {
                            let at = ((ch / 16 * 9 + row as usize) * 6 + column as usize) * 16 + ch % 16;
                            expected[at] = x[(y * w + i) * c + ch];
                        }
                    }
                }
            }
            assert_eq!(to, expected, "origin {origin}, dilation {dilation}");
        }
    }
}
