//! The box of torchvision's `RandomResizedCrop`, and a mirror image.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A box in a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Columns, at least 1.
    pub w: u32,
    /// Rows, at least 1.
    pub h: u32,
    /// Whether what is seen is mirrored left to right.
    pub flip: bool,
}

/// What boxes are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomCrop {
    /// Least and largest part of the picture's area.
    pub area: (f64, f64),
    /// Least and largest width over height.
    pub ratio: (f64, f64),
    /// How often the picture is mirrored, 0 to 1.
    pub flip: f64,
}

impl Default for RandomCrop {
    /// torchvision's: 8 to 100 % of the area, 3:4 to 4:3, every other picture mirrored.
    fn default() -> Self {
        Self { area: (0.08, 1.0), ratio: (3.0 / 4.0, 4.0 / 3.0), flip: 0.5 }
    }
}

impl RandomCrop {
    /// The box that `seed` draws in a picture of this size: the same on every machine. Give each picture of each epoch a seed of
    /// its own.
    ///
    /// Ten times an area is drawn evenly and a ratio evenly on the scale of logarithms, `w = round(sqrt(area ratio))`,
    /// `h = round(sqrt(area / ratio))`; the first box that fits is put anywhere in the picture, all places alike. If none does, the
    /// box is the largest in the middle whose ratio is allowed.
    ///
    /// # Panics
    /// If a bound is not a number above 0, a lower bound lies above the upper, or `flip` outside of 0 to 1.
    pub fn draw(&self, seed: u64, width: u32, height: u32) -> Crop {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // drawn first, so that it does not depend on the picture's size
        let flip = rng.random_bool(self.flip);
        let pixels = f64::from(width) * f64::from(height);
        let logs = (libm::log(self.ratio.0), libm::log(self.ratio.1));
        for _ in 0..10 {
            let area = pixels * rng.random_range(self.area.0..=self.area.1);
            let ratio = libm::exp(rng.random_range(logs.0..=logs.1));
            // halves to the even number, as Python rounds
            let w = (area * ratio).sqrt().round_ties_even() as u32;
            let h = (area / ratio).sqrt().round_ties_even() as u32;
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                let y = rng.random_range(0..=height - h);
                let x = rng.random_range(0..=width - w);
                return Crop { x, y, w, h, flip };
            }
        }
        self.middle(width, height, flip)
    }

    fn middle(&self, width: u32, height: u32, flip: bool) -> Crop {
        let ratio = f64::from(width) / f64::from(height);
        let (w, h) = if ratio < self.ratio.0 {
            (width, (f64::from(width) / self.ratio.0).round_ties_even() as u32)
        } else if ratio > self.ratio.1 {
            ((f64::from(height) * self.ratio.1).round_ties_even() as u32, height)
        } else {
            (width, height)
        };
        // a row of pixels cut to a narrow ratio is still one pixel
        let (w, h) = (w.clamp(1, width), h.clamp(1, height));
        Crop { x: (width - w) / 2, y: (height - h) / 2, w, h, flip }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn areas_ratios_places_and_mirrors_are_spread_as_torchvisions() {
        const DRAWS: u64 = 20_000;
        let (width, height) = (500, 400);
        let (mut area, mut log_ratio, mut flips, mut middle, mut fallback) = (0.0, 0.0, 0.0, 0.0, 0);
        for seed in 0..DRAWS {
            let c = RandomCrop::default().draw(seed, width, height);
            area += f64::from(c.w) * f64::from(c.h) / 200_000.0;
            log_ratio += (f64::from(c.w) / f64::from(c.h)).ln();
            flips += f64::from(u8::from(c.flip));
            middle += (f64::from(c.x) + f64::from(c.w) / 2.0) / f64::from(width);
            fallback += u32::from(c.w == width && c.h == height);
        }
        let n = DRAWS as f64;
        let (area, log_ratio, flips, middle) = (area / n, log_ratio / n, flips / n, middle / n);
        println!("area {area:.4}, log ratio {log_ratio:.4}, flips {flips:.4}, middle {middle:.4}, whole {fallback}");
        // 400,000 draws of torchvision's loop in Python, by Python's own generator, gave area 0.4533 (deviation 0.227), log ratio
        // 0.0284 (0.163) and 10 whole pictures. Standard errors of 20,000 draws: 0.0016, 0.0012, flips 0.0035, middle 0.001.
        assert!((area - EXPECTED_AREA).abs() < 0.007, "{area}");
        assert!((log_ratio - EXPECTED_LOG_RATIO).abs() < 0.005, "{log_ratio}");
        assert!((flips - 0.5).abs() < 0.015, "{flips}");
        assert!((middle - 0.5).abs() < 0.005, "{middle}");
    }

    const EXPECTED_AREA: f64 = 0.4533;
    const EXPECTED_LOG_RATIO: f64 = 0.0284;

    #[test]
    fn a_picture_too_long_for_any_ratio_gives_its_middle() {
        let draw = |w, h| Crop { flip: false, ..RandomCrop::default().draw(7, w, h) };
        // 4:3 of 30 rows are 40 columns; 3:4 of 30 columns are 40 rows; area 8 % of 30,000 pixels is 49 x 49 at least
        assert_eq!(draw(1000, 30), Crop { x: 480, y: 0, w: 40, h: 30, flip: false });
        assert_eq!(draw(30, 1000), Crop { x: 0, y: 480, w: 30, h: 40, flip: false });
        assert_eq!(draw(1, 1), Crop { x: 0, y: 0, w: 1, h: 1, flip: false });
    }

    #[test]
    fn a_seed_draws_the_same_box_for_ever() {
        let draw = |seed| RandomCrop::default().draw(seed, 500, 375);
        assert_eq!(draw(1), FIRST);
        assert_ne!(draw(2), FIRST);
    }

    const FIRST: Crop = Crop { x: 71, y: 81, w: 175, h: 165, flip: true };

    proptest! {
        #[test]
        fn a_box_lies_in_its_picture(seed: u64, width in 1u32..3000, height in 1u32..3000) {
            let c = RandomCrop::default().draw(seed, width, height);
            prop_assert!(c.w >= 1 && c.h >= 1 && c.x + c.w <= width && c.y + c.h <= height, "{:?}", c);
        }
    }
}
