//! Brightness, contrast, saturation and hue of chance, in an order of chance.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::Op;

/// torchvision's `ColorJitter(brightness, contrast, saturation, hue)`. What is 0 stays as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColourJitter {
    /// The factor lies in `[max(0, 1 - brightness), 1 + brightness]`, all values alike.
    pub brightness: f64,
    /// As for brightness.
    pub contrast: f64,
    /// As for brightness.
    pub saturation: f64,
    /// The turn lies in `[-hue, hue]`, as a part of the circle; at most 0.5.
    pub hue: f64,
}

impl ColourJitter {
    /// The changes that `seed` draws, in their order.
    ///
    /// # Panics
    /// If a strength is below 0 or no finite number.
    pub fn draw(&self, seed: u64) -> [Op; 4] {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut factor = |strength: f64, op: fn(f64) -> Op| match strength {
            0.0 => Op::Identity,
            _ => op(rng.random_range((1.0 - strength).max(0.0)..=1.0 + strength)),
        };
        let brightness = factor(self.brightness, Op::Brightness);
        let contrast = factor(self.contrast, Op::Contrast);
        let saturation = factor(self.saturation, Op::Saturation);
        let hue = if self.hue == 0.0 { Op::Identity } else { Op::Hue(rng.random_range(-self.hue..=self.hue)) };
        let mut ops = [brightness, contrast, saturation, hue];
        // by Fisher and Yates
        for last in (1..ops.len()).rev() {
            ops.swap(last, rng.random_range(0..=last));
        }
        ops
    }

    /// Applies what `seed` draws, see [`Op::apply`].
    ///
    /// # Panics
    /// As [`ColourJitter::draw`] and [`Op::apply`].
    pub fn apply(&self, seed: u64, side: usize, pixels: &mut [u8], scratch: &mut Vec<u8>) {
        self.draw(seed).into_iter().for_each(|op| op.apply(side, pixels, scratch));
    }
}
