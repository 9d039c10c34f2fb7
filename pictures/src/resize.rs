//! Sizes and crops by torchvision's arithmetic, pixels as Pillow's antialiased filters make them.
//!
//! A picture passes two steps. [`Prepare`] is the same each time, so that its result may be kept: [`crate::cache`]. [`View`]
//! makes the square that the net sees: the centre, or a box of chance.

use fast_image_resize::images::TypedImage;
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions};

use crate::crop::Crop;
use crate::decode::Picture;

/// Weights of the pixels around a new one. Both widen when a picture shrinks, as Pillow's do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// A triangle: torchvision's own choice.
    #[default]
    Bilinear,
    /// Cubic with a = -1/2, which keeps edges sharper.
    Bicubic,
}

/// What is done to a picture each time, before it is cropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prepare {
    /// The new length of the shorter side, as in torchvision's `Resize(size)`; none leaves the picture as it is.
    pub resize: Option<u32>,
    /// The filter of this step and of the next.
    pub filter: Filter,
}

impl Prepare {
    /// Width and height of a picture after this step: the longer side is `floor(resize * longer / shorter)`. None if it is
    /// longer than `u32` counts.
    pub fn size(&self, width: u32, height: u32) -> Option<(u32, u32)> {
        let Some(new) = self.resize else { return Some((width, height)) };
        let longer = |long: u32, short: u32| u32::try_from(u64::from(new) * u64::from(long) / u64::from(short)).ok();
        if width <= height { Some((new, longer(height, width)?)) } else { Some((longer(width, height)?, new)) }
    }
}

/// The square that is taken out of a prepared picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The middle, as torchvision's `CenterCrop(size)`: black around it where the picture is smaller.
    Centre,
    /// A box, resized to the square whatever its shape, then mirrored if it says so.
    Crop(Crop),
}

/// A picture that lies in memory of others, `[height, width, 3]`.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `[height, width, 3]`.
    pub pixels: &'a [u8],
}

/// The two steps, with the memory for what lies between.
#[derive(Debug, Default)]
pub struct Resizer {
    passes: fast_image_resize::Resizer,
    part: Vec<u8>,
}

impl Resizer {
    /// `out = resize(picture)`. `out`: `[height, width, 3]`; it is an exact copy if the size is the picture's own.
    ///
    /// # Panics
    /// If `picture` or `out` is not as long as its size says.
    pub fn resize(&mut self, mut picture: Picture, filter: Filter, width: u32, height: u32, out: &mut [u8]) {
        let size = (picture.width, picture.height);
        passes(&mut self.passes, &mut picture.pixels, size, filter, out, (width, height));
    }

    /// `out = view(picture)`. `out`: `[size, size, 3]`.
    ///
    /// # Panics
    /// If a crop does not lie in the picture, or `picture` or `out` is not as long as its size says.
    pub fn view(&mut self, picture: Seen, view: View, filter: Filter, size: u32, out: &mut [u8]) {
        let Crop { x, y, w, h, flip } = match view {
            View::Centre => return centre(picture, size, out),
            View::Crop(crop) => crop,
        };
        let inside = |from: u32, len: u32, side: u32| len > 0 && from.checked_add(len).is_some_and(|end| end <= side);
        assert!(
            inside(x, w, picture.width) && inside(y, h, picture.height),
            "the crop {view:?} does not lie in a picture of {} x {}",
            picture.width,
            picture.height
        );
        // The part is cut out first, as torchvision does: pixels around it have no weight.
        self.part.clear();
        self.part.reserve_exact(w as usize * h as usize * 3);
        let rows = picture.pixels.chunks_exact(picture.width as usize * 3).skip(y as usize).take(h as usize);
        rows.for_each(|row| self.part.extend_from_slice(&row[x as usize * 3..][..w as usize * 3]));
        passes(&mut self.passes, &mut self.part, (w, h), filter, out, (size, size));
        if flip {
            out.chunks_exact_mut(size as usize * 3).for_each(|row| row.as_chunks_mut::<3>().0.reverse());
        }
    }
}

/// `out = resize(pixels)`, which are not changed: all pictures have one type and one kind of pixels, so that the compiler makes
/// the passes once.
fn passes(
    resizer: &mut fast_image_resize::Resizer,
    pixels: &mut [u8],
    (width, height): (u32, u32),
    filter: Filter,
    out: &mut [u8],
    (new_width, new_height): (u32, u32),
) {
    let len = |w: u32, h: u32| w as usize * h as usize * 3;
    assert_eq!(
        (pixels.len(), out.len()),
        (len(width, height), len(new_width, new_height)),
        "pictures are as long as their sizes say"
    );
    let from = TypedImage::<U8x3>::from_buffer(width, height, pixels).expect("the length was checked");
    let mut to = TypedImage::<U8x3>::from_buffer(new_width, new_height, out).expect("the length was checked");
    let kernel = match filter {
        Filter::Bilinear => FilterType::Bilinear,
        Filter::Bicubic => FilterType::CatmullRom,
    };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(kernel)).use_alpha(false);
    resizer.resize_typed(&from, &mut to, &options).expect("no part of the picture was asked for, but all of it");
}

/// `CenterCrop(size)`. Halves of pixels go to the even number, as Python rounds them; of odd padding the larger half follows.
fn centre(picture: Seen, size: u32, out: &mut [u8]) {
    let (from_x, to_x, width) = span(picture.width, size);
    let (from_y, to_y, height) = span(picture.height, size);
    let row = size as usize * 3;
    assert_eq!(out.len(), row * size as usize, "the view is a square of {size}");
    if width < size as usize || height < size as usize {
        out.fill(0);
    }
    let rows = picture.pixels.chunks_exact(picture.width as usize * 3).skip(from_y).take(height);
    for (out, pixels) in out.chunks_exact_mut(row).skip(to_y).zip(rows) {
        out[to_x * 3..][..width * 3].copy_from_slice(&pixels[from_x * 3..][..width * 3]);
    }
}

/// Along one side: the first pixel taken, its place in the view, and the number of pixels.
fn span(side: u32, size: u32) -> (usize, usize, usize) {
    if side < size {
        return (0, ((size - side) / 2) as usize, side as usize);
    }
    ((f64::from(side - size) / 2.0).round_ties_even() as usize, 0, size as usize)
}

#[cfg(test)]
mod tests;
