//! The paper's recipe for CIFAR: a random crop of the image padded by 4, a mirror image half of the time, and normalisation by the
//! data set's mean and standard deviation.
//!
//! Padding comes before normalisation, as in torchvision: a padded pixel is black, so it becomes `(0 - mean) / std`, not 0.

use rand::RngExt;

use super::mix::Mix;
use super::random::{Purpose, stream};
use super::{CHANNELS, image_len};

/// Black pixels added on every side before the crop.
pub const PADDING: usize = 4;

/// How bytes become numbers: `(v / 255 - mean) / std`, by colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalise {
    /// Mean on the scale 0 to 1.
    pub mean: [f32; CHANNELS],
    /// Standard deviation that is divided by.
    pub std: [f32; CHANNELS],
}

impl Normalise {
    /// The paper's recipe for CIFAR-10.
    pub const CIFAR_10: Self = Self { mean: [0.4914, 0.4822, 0.4465], std: [0.2023, 0.1994, 0.2010] };
    /// CIFAR-100's pixels, over all of its training images.
    pub const CIFAR_100: Self = Self { mean: [0.5071, 0.4866, 0.4409], std: [0.2673, 0.2564, 0.2762] };
    /// What torchvision's pretrained nets were trained with.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
}

/// Turns images of one size into numbers.
#[derive(Clone, Debug)]
pub struct Normaliser {
    side: usize,
    /// What every byte becomes, by colour.
    values: [[f32; 256]; CHANNELS],
}

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

/// `out = change(image)`, in bytes: black where nothing of the image is. `image` and `out`: `[side, side, 3]`.
///
/// # Panics
/// If either slice has another length.
pub fn shift(image: &[u8], side: usize, change: Change, out: &mut [u8]) {
    assert_eq!((image.len(), out.len()), (image_len(side), image_len(side)), "an image is {side}x{side}x3");
    let (out, _) = out.as_chunks_mut::<CHANNELS>();
    for (i, out) in out.iter_mut().enumerate() {
        *out = pixel_of(image, side, change, i / side, i % side);
    }
}

/// The pixel at (y, x) of an image `[side, side, 3]` that was changed: black where nothing of it is.
fn pixel_of(image: &[u8], side: usize, Change { top, left, flip }: Change, y: usize, x: usize) -> [u8; CHANNELS] {
    let inside = |at: usize, by: usize| (at + by).checked_sub(PADDING).filter(|at| *at < side);
    let (image, _) = image.as_chunks::<CHANNELS>();
    let x = if flip { side - 1 - x } else { x };
    inside(y, top).zip(inside(x, left)).map_or([0; CHANNELS], |(y, x)| image[y * side + x])
}

impl Normaliser {
    /// For images of `side` rows and columns.
    pub fn new(side: usize, Normalise { mean, std }: Normalise) -> Self {
        let value = |c: usize, v: usize| (v as f32 / 255.0 - mean[c]) / std[c];
        Self { side, values: std::array::from_fn(|c| std::array::from_fn(|v| value(c, v))) }
    }

    /// `out = normalise(change(image))`. `image` and `out`: `[side, side, 3]`.
    ///
    /// # Panics
    /// If either slice has another length.
    pub fn augment(&self, image: &[u8], change: Change, out: &mut [f32]) {
        let side = self.side;
        assert_eq!((image.len(), out.len()), (image_len(side), image_len(side)), "an image is {side}x{side}x3");
        let row = side * CHANNELS;
        let black = self.values.map(|values| values[0]);
        // Where column 0 of the output row lies in the image, and which columns of the output show the image at all.
        let shift = change.left as isize - PADDING as isize;
        let first = (-shift).clamp(0, side as isize) as usize;
        let last = (side as isize - shift).clamp(first as isize, side as isize) as usize;
        for (y, out) in out.chunks_exact_mut(row).enumerate() {
            let (pixels, _) = out.as_chunks_mut::<CHANNELS>();
            let Some(source) = (y + change.top).checked_sub(PADDING).filter(|&y| y < side && first < last) else {
                pixels.fill(black);
                continue;
            };
            let (source, _) = image[source * row..][..row].as_chunks::<CHANNELS>();
            let source = &source[(first as isize + shift) as usize..][..last - first];
            if change.flip {
                // The crop's columns in reverse: column x of the output is column side - 1 - x of the crop.
                pixels[..side - last].fill(black);
                pixels[side - first..].fill(black);
                self.look_up(source.iter().rev(), &mut pixels[side - last..side - first]);
            } else {
                pixels[..first].fill(black);
                pixels[last..].fill(black);
                self.look_up(source.iter(), &mut pixels[first..last]);
            }
        }
    }

    /// `out` mixed with `normalise(change(other))`, which is not changed where nothing is mixed. `other` and `out`: `[side, side, 3]`.
    ///
    /// # Panics
    /// If either slice has another length.
    pub fn mix(&self, mix: Mix, other: &[u8], change: Change, out: &mut [f32]) {
        let side = self.side;
        assert_eq!((other.len(), out.len()), (image_len(side), image_len(side)), "an image is {side}x{side}x3");
        if mix == Mix::default() {
            return;
        }
        let (pixels, _) = out.as_chunks_mut::<CHANNELS>();
        for (i, pixel) in pixels.iter_mut().enumerate() {
            let (y, x) = (i / side, i % side);
            let of_other = pixel_of(other, side, change, y, x);
            for (c, value) in pixel.iter_mut().enumerate() {
                *value = mix.value(y, x, *value, self.values[c][usize::from(of_other[c])]);
            }
        }
    }

    /// `out = normalise(image)`: what test images get. `image` and `out`: `[side, side, 3]`.
    ///
    /// # Panics
    /// If either slice has another length.
    pub fn normalise(&self, image: &[u8], out: &mut [f32]) {
        self.augment(image, Change::NONE, out);
    }

    fn look_up<'a>(&self, source: impl Iterator<Item = &'a [u8; CHANNELS]>, out: &mut [[f32; CHANNELS]]) {
        for (out, pixel) in out.iter_mut().zip(source) {
            *out = std::array::from_fn(|c| self.values[c][usize::from(pixel[c])]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    /// CIFAR's size, an odd one, and one that a crop may leave altogether.
    const SIDES: [usize; 3] = [32, 7, 3];

    fn image(side: usize) -> Vec<u8> {
        (0..image_len(side)).map(|i| (i * 31 % 251) as u8).collect()
    }

    /// The recipe in the order of its words: pad, crop, mirror, normalise.
    fn by_the_book(side: usize, Normalise { mean, std }: Normalise, image: &[u8], change: Change) -> Vec<f32> {
        let wide = side + 2 * PADDING;
        let mut padded = vec![[0u8; CHANNELS]; wide * wide];
        for y in 0..side {
            for x in 0..side {
                let at = (y * side + x) * CHANNELS;
                padded[(y + PADDING) * wide + x + PADDING] = [image[at], image[at + 1], image[at + 2]];
            }
        }
        let mut out = Vec::with_capacity(image_len(side));
        for y in 0..side {
            for x in 0..side {
                let x = if change.flip { side - 1 - x } else { x };
                let pixel = padded[(y + change.top) * wide + x + change.left];
                out.extend((0..CHANNELS).map(|c| (f32::from(pixel[c]) / 255.0 - mean[c]) / std[c]));
            }
        }
        out
    }

    #[test]
    fn every_change_is_the_recipe_by_the_book() {
        for (side, normalise) in SIDES.into_iter().zip([Normalise::CIFAR_10, Normalise::CIFAR_100, Normalise::IMAGENET])
        {
            let (normaliser, image) = (Normaliser::new(side, normalise), image(side));
            let mut out = vec![f32::NAN; image_len(side)];
            for top in 0..=2 * PADDING {
                for left in 0..=2 * PADDING {
                    for flip in [false, true] {
                        let change = Change { top, left, flip };
                        normaliser.augment(&image, change, &mut out);
                        assert_eq!(out, by_the_book(side, normalise, &image, change), "{side}, {change:?}");
                        let (mut bytes, mut of_bytes) = (vec![7; image_len(side)], out.clone());
                        shift(&image, side, change, &mut bytes);
                        normaliser.normalise(&bytes, &mut of_bytes);
                        assert_eq!(of_bytes, out, "{side}, {change:?}, in bytes");
                    }
                }
            }
        }
    }

    #[test]
    fn padding_is_black_before_normalisation() {
        let (normalise, mut out) = (Normalise::CIFAR_10, vec![0.0; image_len(32)]);
        let change = Change { top: 0, left: 4, flip: false };
        Normaliser::new(32, normalise).augment(&vec![255; image_len(32)], change, &mut out);
        let Normalise { mean, std } = normalise;
        for c in 0..CHANNELS {
            assert_eq!(out[c], -mean[c] / std[c]);
            assert_eq!(out[4 * 32 * CHANNELS + c], (1.0 - mean[c]) / std[c]);
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
        let (normaliser, image) = (Normaliser::new(32, Normalise::CIFAR_10), image(32));
        let mut out = vec![0.0; 256 * image_len(32)];
        let mut best = f64::INFINITY;
        for epoch in 0..20 {
            let start = Instant::now();
            for (index, out) in out.chunks_exact_mut(image_len(32)).enumerate() {
                normaliser.augment(&image, Change::draw(0, epoch, index as u64), out);
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
