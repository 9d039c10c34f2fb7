//! worst.png: the test images of the largest loss, side by side.

use std::path::Path;

use rewind::data::{CHANNELS, image_len};
use rewind::error::Result;
use rewind_pictures::decode::Picture;
use rewind_pictures::resize::{Filter, Resizer};

use super::{Answers, undrawn};
use crate::atomic::write_atomically;

/// Images that are kept.
pub(super) const WORST: usize = 64;
/// Images in a row of the picture, where there are enough.
const COLUMNS: usize = 8;
/// The side of an image in the picture, in pixels: smaller ones grow by a whole number, larger ones shrink.
const TILE: usize = 128;
/// White between images, in pixels.
const GAP: usize = 4;

/// A test image and its answer.
#[derive(Clone, Debug)]
pub(super) struct Worst {
    /// Its number in the test set.
    pub index: usize,
    pub class: usize,
    pub answer: usize,
    pub loss: f64,
    /// The image, no larger than a tile.
    pixels: Vec<u8>,
}

impl Worst {
    pub fn new(index: usize, class: usize, answer: usize, loss: f64, pixels: &[u8], side: usize) -> Self {
        let pixels = if side <= TILE { pixels.to_vec() } else { shrunk(pixels, side) };
        Self { index, class, answer, loss, pixels }
    }
}

fn shrunk(pixels: &[u8], side: usize) -> Vec<u8> {
    let picture = Picture { width: side as u32, height: side as u32, pixels: pixels.to_vec() };
    let mut out = vec![0; image_len(TILE)];
    Resizer::default().resize(picture, Filter::Bilinear, TILE as u32, TILE as u32, &mut out);
    out
}

impl Answers {
    /// Images in a row of the picture: as many rows as columns, where they are few.
    pub(super) fn columns(&self) -> usize {
        (1..COLUMNS).find(|columns| columns * columns >= self.worst.len()).unwrap_or(COLUMNS)
    }

    /// Draws the images, the largest loss first.
    pub(super) fn draw_worst(&self, path: &Path) -> Result<()> {
        let side = self.side.min(TILE);
        let times = TILE / side;
        let (columns, tile) = (self.columns(), side * times);
        let rows = self.worst.len().div_ceil(columns);
        let [width, height] = [columns, rows].map(|n| n * (tile + GAP) + GAP);
        let mut picture = vec![u8::MAX; width * height * CHANNELS];
        for (place, worst) in self.worst.iter().enumerate() {
            let [left, top] = [place % columns, place / columns].map(|n| GAP + n * (tile + GAP));
            for y in 0..tile {
                let from = worst.pixels[y / times * side * CHANNELS..][..side * CHANNELS].chunks_exact(CHANNELS);
                let to = &mut picture[((top + y) * width + left) * CHANNELS..][..tile * CHANNELS];
                to.chunks_exact_mut(times * CHANNELS).zip(from).for_each(|(to, pixel)| {
                    to.chunks_exact_mut(CHANNELS).for_each(|to| to.copy_from_slice(pixel));
                });
            }
        }
        let png = encoded(width, height, &picture).map_err(|e| undrawn(path, e))?;
        write_atomically(path, |file| std::io::Write::write_all(file, &png)).map(drop)
    }
}

/// RGB bytes as a PNG.
fn encoded(width: usize, height: usize, pixels: &[u8]) -> std::result::Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use rewind_pictures::decode::{MAX_PIXELS, decode};

    use super::super::tests::answers;
    use super::*;

    fn drawn(answers: &Answers) -> Picture {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worst.png");
        answers.draw_worst(&path).unwrap();
        decode(&path, MAX_PIXELS).unwrap()
    }

    #[test]
    fn images_stand_in_a_grid_in_order() {
        let all = answers(5, 300);
        let Picture { width, height, pixels } = drawn(&all);
        // images of 4 x 4 pixels are 128 x 128 here
        assert_eq!((width, height), (8 * 132 + 4, 8 * 132 + 4));
        let at = |x: usize, y: usize| pixels[(y * width as usize + x) * 3];
        assert_eq!((at(0, 0), at(3, 60)), (255, 255), "white around them");
        for (place, worst) in all.worst.iter().enumerate() {
            let (x, y) = (4 + place % 8 * 132, 4 + place / 8 * 132);
            let grey = (worst.index % 251) as u8;
            assert_eq!([at(x, y), at(x + 127, y + 127)], [grey; 2], "image {place}");
        }
        let few = drawn(&answers(2, 3));
        assert_eq!((few.width, few.height), (2 * 132 + 4, 2 * 132 + 4));
    }

    #[test]
    fn a_large_image_shrinks_to_its_tile() {
        let mut answers = Answers::new(vec!["a".into(), "b".into()], 300);
        answers.add(&[0.0, 1.0], 0, &[77; image_len(300)]);
        let Picture { width, height, pixels } = drawn(&answers);
        assert_eq!((width, height), (136, 136));
        assert_eq!(pixels[(68 * 136 + 68) * 3..][..3], [77; 3]);
    }
}
