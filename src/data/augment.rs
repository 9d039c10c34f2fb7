//! The paper's recipe for CIFAR: a random 32x32 crop of the image padded by 4, a mirror image half of the time, and
//! normalisation by the data set's mean and standard deviation.
//!
//! Padding comes before normalisation, as in torchvision: a padded pixel is black, so it becomes `(0 - mean) / std`, not 0.

use rand::RngExt;

use super::random::{Purpose, stream};
use super::{CHANNELS, IMAGE, IMAGE_LEN};

/// Mean of CIFAR-10's pixels by colour, on the scale 0 to 1.
pub const MEAN: [f32; CHANNELS] = [0.4914, 0.4822, 0.4465];
/// Standard deviation by colour that the recipe divides by.
pub const STD: [f32; CHANNELS] = [0.2023, 0.1994, 0.2010];
/// Black pixels added on every side before the crop.
pub const PADDING: usize = 4;

const ROW: usize = IMAGE * CHANNELS;

/// `(v / 255 - mean) / std` of every byte, by colour.
static NORMALISED: [[f32; 256]; CHANNELS] = {
    let mut table = [[0.0; 256]; CHANNELS];
    let mut c = 0;
    while c < CHANNELS {
        let mut v = 0;
        while v < 256 {
            table[c][v] = (v as f32 / 255.0 - MEAN[c]) / STD[c];
            v += 1;
        }
        c += 1;
    }
    table
};

/// How one image is changed in one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// First row of the crop in the padded image, 0 to 8; 4 leaves the rows where they are.
    pub top: usize,
    /// First column of the crop in the padded image, 0 to 8; 4 leaves the columns where they are.
    pub left: usize,
    /// Whether the crop is mirrored left to right.
    pub flip: bool,
}

impl Change {
    /// No change: the image itself.
    pub const NONE: Self = Self { top: PADDING, left: PADDING, flip: false };

    /// The change of image `index` in `epoch`: the same whatever the batch, the thread or the run's history.
    pub fn draw(seed: u64, epoch: u64, index: u64) -> Self {
        let mut rng = stream(seed, Purpose::Augment, epoch, index);
        Self {
            top: rng.random_range(0..=2 * PADDING),
            left: rng.random_range(0..=2 * PADDING),
            flip: rng.random_bool(0.5),
        }
    }
}

/// `out = normalise(change(image))`. `image` and `out`: `[32, 32, 3]`.
///
/// # Panics
/// If either slice has another length.
pub fn augment(image: &[u8], change: Change, out: &mut [f32]) {
    assert_eq!((image.len(), out.len()), (IMAGE_LEN, IMAGE_LEN), "an image is 32x32x3");
    let black = [NORMALISED[0][0], NORMALISED[1][0], NORMALISED[2][0]];
    // Where column 0 of the output row lies in the image, and which columns of the output show the image at all.
    let shift = change.left as isize - PADDING as isize;
    let first = (-shift).max(0) as usize;
    let last = (IMAGE as isize - shift).min(IMAGE as isize) as usize;
    for (y, out) in out.chunks_exact_mut(ROW).enumerate() {
        let (pixels, _) = out.as_chunks_mut::<CHANNELS>();
        let Some(row) = (y + change.top).checked_sub(PADDING).filter(|&row| row < IMAGE) else {
            pixels.fill(black);
            continue;
        };
        let (source, _) = image[row * ROW..][..ROW].as_chunks::<CHANNELS>();
        let source = &source[(first as isize + shift) as usize..][..last - first];
        if change.flip {
            // The crop's columns in reverse: column x of the output is column 31 - x of the crop.
            pixels[..IMAGE - last].fill(black);
            pixels[IMAGE - first..].fill(black);
            look_up(source.iter().rev(), &mut pixels[IMAGE - last..IMAGE - first]);
        } else {
            pixels[..first].fill(black);
            pixels[last..].fill(black);
            look_up(source.iter(), &mut pixels[first..last]);
        }
    }
}

/// `out = normalise(image)`: what test images get. `image` and `out`: `[32, 32, 3]`.
///
/// # Panics
/// If either slice has another length.
pub fn normalise(image: &[u8], out: &mut [f32]) {
    augment(image, Change::NONE, out);
}

fn look_up<'a>(source: impl Iterator<Item = &'a [u8; CHANNELS]>, out: &mut [[f32; CHANNELS]]) {
    for (out, pixel) in out.iter_mut().zip(source) {
        *out = std::array::from_fn(|c| NORMALISED[c][usize::from(pixel[c])]);
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    fn image() -> Vec<u8> {
        (0..IMAGE_LEN).map(|i| (i * 31 % 251) as u8).collect()
    }

    /// The recipe in the order of its words: pad, crop, mirror, normalise.
    fn by_the_book(image: &[u8], change: Change) -> Vec<f32> {
        const WIDE: usize = IMAGE + 2 * PADDING;
        let mut padded = vec![[0u8; CHANNELS]; WIDE * WIDE];
        for y in 0..IMAGE {
            for x in 0..IMAGE {
                let at = (y * IMAGE + x) * CHANNELS;
                padded[(y + PADDING) * WIDE + x + PADDING] = [image[at], image[at + 1], image[at + 2]];
            }
        }
        let mut out = Vec::with_capacity(IMAGE_LEN);
        for y in 0..IMAGE {
            for x in 0..IMAGE {
                let x = if change.flip { IMAGE - 1 - x } else { x };
                let pixel = padded[(y + change.top) * WIDE + x + change.left];
                out.extend((0..CHANNELS).map(|c| (f32::from(pixel[c]) / 255.0 - MEAN[c]) / STD[c]));
            }
        }
        out
    }

    #[test]
    fn every_change_is_the_recipe_by_the_book() {
        let image = image();
        let mut out = vec![f32::NAN; IMAGE_LEN];
        for top in 0..=2 * PADDING {
            for left in 0..=2 * PADDING {
                for flip in [false, true] {
                    let change = Change { top, left, flip };
                    augment(&image, change, &mut out);
                    assert_eq!(out, by_the_book(&image, change), "{change:?}");
                }
            }
        }
    }

    #[test]
    fn padding_is_black_before_normalisation() {
        let mut out = vec![0.0; IMAGE_LEN];
        augment(&vec![255; IMAGE_LEN], Change { top: 0, left: 4, flip: false }, &mut out);
        for c in 0..CHANNELS {
            assert_eq!(out[c], -MEAN[c] / STD[c]);
            assert_eq!(out[4 * ROW + c], (1.0 - MEAN[c]) / STD[c]);
        }
    }

    #[test]
    fn draws_cover_all_changes_evenly() {
        let mut tops = [0; 2 * PADDING + 1];
        let mut lefts = tops;
        let mut flips = 0;
        for index in 0..9000 {
            let change = Change::draw(0, 1, index);
            tops[change.top] += 1;
            lefts[change.left] += 1;
            flips += usize::from(change.flip);
        }
        // 1000 expected each, standard deviation 30; 4500 expected, standard deviation 47.
        assert!(tops.iter().chain(&lefts).all(|n| (850..1150).contains(n)), "{tops:?} {lefts:?}");
        assert!((4260..4740).contains(&flips), "{flips}");
    }

    #[test]
    fn time_of_256_images() {
        let image = image();
        let mut out = vec![0.0; 256 * IMAGE_LEN];
        let mut best = f64::INFINITY;
        for epoch in 0..20 {
            let start = Instant::now();
            for (index, out) in out.chunks_exact_mut(IMAGE_LEN).enumerate() {
                augment(&image, Change::draw(0, epoch, index as u64), out);
            }
            black_box(&mut out);
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("augment: {:.3} ms for 256 images on one thread", best * 1e3);
    }

    proptest! {
        #[test]
        fn a_change_depends_on_its_key_alone(seed: u64, epoch: u64, index: u64) {
            let alone = Change::draw(seed, epoch, index);
            let _ = Change::draw(seed, epoch, index.wrapping_add(1));
            prop_assert_eq!(alone, Change::draw(seed, epoch, index));
            prop_assert!(alone.top <= 2 * PADDING && alone.left <= 2 * PADDING);
        }
    }
}
