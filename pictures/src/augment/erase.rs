//! Random erasing (Zhong et al. 2020): a box of chance of one colour.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Least and largest part of the area that a box takes.
const AREA: (f64, f64) = (0.02, 0.33);
/// Least and largest height over width.
const RATIO: (f64, f64) = (0.3, 3.3);

/// torchvision's `RandomErasing(p, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0)`.
///
/// There it comes behind normalisation, where 0 is the mean colour. Here it comes before it, in bytes, so that the box takes the byte
/// nearest to the mean: normalised, that is 0 up to `0.5 / 255 / std`, about 0.01.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Erase {
    /// How often a picture gets a box, 0 to 1.
    pub chance: f64,
    /// The box's colour.
    pub colour: [u8; 3],
}

/// The box, all of it in the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// First column.
    pub x: usize,
    /// First row.
    pub y: usize,
    /// Columns; 0 is possible in a picture of few pixels.
    pub w: usize,
    /// Rows; as for columns.
    pub h: usize,
}

impl Erase {
    /// Boxes of the colour nearest to `mean`, whose values are on the scale 0 to 1.
    pub fn to_mean(chance: f64, mean: [f32; 3]) -> Self {
        // the cast stays within a byte
        Self { chance, colour: mean.map(|v| (v * 255.0).round() as u8) }
    }

    /// The box that `seed` draws in a picture of `side` pixels a side, if it draws one.
    ///
    /// Ten times an area is drawn evenly and a ratio evenly on the scale of logarithms; the first box smaller than the picture both ways is
    /// put anywhere in it. If none is, the picture stays as it is.
    ///
    /// # Panics
    /// If the chance is not within 0 to 1.
    pub fn draw(&self, seed: u64, side: usize) -> Option<Erased> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        if !rng.random_bool(self.chance) {
            return None;
        }
        let pixels = (side * side) as f64;
        let logs = (libm::log(RATIO.0), libm::log(RATIO.1));
        for _ in 0..10 {
            let area = pixels * rng.random_range(AREA.0..=AREA.1);
            let ratio = libm::exp(rng.random_range(logs.0..=logs.1));
            // halves to the even number, as Python rounds
            let h = (area * ratio).sqrt().round_ties_even() as usize;
            let w = (area / ratio).sqrt().round_ties_even() as usize;
            if h < side && w < side {
                let y = rng.random_range(0..=side - h);
                let x = rng.random_range(0..=side - w);
                return Some(Erased { x, y, w, h });
            }
        }
        None
    }

    /// Fills the box that `seed` draws in `pixels`, `[side, side, 3]`.
    ///
    /// # Panics
    /// As [`Erase::draw`]; if `pixels` has another length.
    pub fn apply(&self, seed: u64, side: usize, pixels: &mut [u8]) {
        assert_eq!(pixels.len(), side * side * 3, "a picture is {side} x {side} x 3");
        let Some(Erased { x, y, w, h }) = self.draw(seed, side) else { return };
        for row in pixels.chunks_exact_mut(side * 3).skip(y).take(h) {
            row.as_chunks_mut::<3>().0[x..][..w].fill(self.colour);
        }
    }
}
