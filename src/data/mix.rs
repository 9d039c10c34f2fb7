//! Images of a batch mixed with each other: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019), as torchvision's transforms of these
//! names do it. Each image's other one is the one before it in its batch, and the first one's the last.

use rand::{Rng, RngExt};

use super::random::{Purpose, stream};

/// How the images of one batch are mixed. kernels/draw_batch.cu declares the same struct.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Mix {
    /// The other image's part of every pixel, by mixup.
    pub part: f32,
    /// The other image's part of the right answer.
    pub share: f32,
    /// The rows that show the other image alone, by CutMix: the first, and 2^16 times the one behind the last.
    rows: u32,
    /// The columns, as the rows.
    columns: u32,
}

/// What mixes are drawn. A batch takes one of the two where both are asked for, with even chances.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MixSpec {
    /// Both numbers of the beta distribution that mixup's part comes from; 0 for no mixup.
    pub mixup: f64,
    /// The same of the area that CutMix shows the other image in.
    pub cutmix: f64,
}

impl Mix {
    /// An image and so much of the other: `(1 - part) image + part other`.
    pub const fn of_part(part: f32) -> Self {
        Self { part, share: part, rows: 0, columns: 0 }
    }

    /// The other image in a box of rows and columns, each from the first to behind the last, in images of `side` rows and columns.
    ///
    /// # Panics
    /// If the box does not lie in the image, or the image has 2^16 rows or more.
    pub fn of_box(rows: [usize; 2], columns: [usize; 2], side: usize) -> Self {
        assert!(side < 1 << 16 && [rows, columns].iter().all(|[first, end]| first <= end && *end <= side));
        let area = (rows[1] - rows[0]) * (columns[1] - columns[0]);
        let packed = |[first, end]: [usize; 2]| first as u32 | (end as u32) << 16;
        let share = (area as f64 / (side * side) as f64) as f32;
        Self { part: 0.0, share, rows: packed(rows), columns: packed(columns) }
    }

    /// Whether a pixel shows the other image alone.
    pub fn is_in_box(&self, y: usize, x: usize) -> bool {
        let within = |packed: u32, at: usize| ((packed & 0xffff) as usize..(packed >> 16) as usize).contains(&at);
        within(self.rows, y) && within(self.columns, x)
    }

    /// The mixed value of a pixel. Every operation rounds as IEEE 754 says, on all devices.
    pub fn value(&self, y: usize, x: usize, own: f32, other: f32) -> f32 {
        if self.is_in_box(y, x) {
            return other;
        }
        if self.part == 0.0 { own } else { (1.0 - self.part) * own + self.part * other }
    }
}

impl MixSpec {
    /// Whether anything is mixed.
    pub fn mixes(&self) -> bool {
        self.mixup > 0.0 || self.cutmix > 0.0
    }

    /// The mix of a batch of images of `side` rows and columns, which is number `step` of an epoch.
    pub fn draw(&self, seed: u64, epoch: u64, step: u64, side: usize) -> Mix {
        if !self.mixes() {
            return Mix::default();
        }
        let mut rng = stream(seed, Purpose::Mix, epoch, step);
        // drawn in any case, so that what follows does not depend on it
        let heads = rng.random_bool(0.5);
        let cuts = if self.mixup > 0.0 && self.cutmix > 0.0 { heads } else { self.cutmix > 0.0 };
        let of_other = 1.0 - beta(&mut rng, if cuts { self.cutmix } else { self.mixup });
        if !cuts {
            return Mix::of_part(of_other as f32);
        }
        let middle = [rng.random_range(0..side), rng.random_range(0..side)];
        let half = (0.5 * of_other.sqrt() * side as f64) as usize;
        let [rows, columns] = middle.map(|at| [at.saturating_sub(half), (at + half).min(side)]);
        Mix::of_box(rows, columns, side)
    }
}

/// A number from the beta distribution of twice `a`: by two from the gamma distribution.
fn beta(rng: &mut impl Rng, a: f64) -> f64 {
    let (one, other) = (gamma(rng, a), gamma(rng, a));
    match one + other {
        // both are too small for f64: then it is as good as 0 or 1
        0.0 => f64::from(u8::from(rng.random_bool(0.5))),
        sum => one / sum,
    }
}

/// A number from the gamma distribution of shape `a` above 0 and scale 1 (Marsaglia and Tsang 2000). libm's functions give the same bits on
/// every machine.
fn gamma(rng: &mut impl Rng, a: f64) -> f64 {
    if a < 1.0 {
        let more = gamma(rng, a + 1.0);
        return more * libm::pow(above_0(rng), 1.0 / a);
    }
    let d = a - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = (-2.0 * libm::log(above_0(rng))).sqrt() * libm::cos(std::f64::consts::TAU * rng.random::<f64>());
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && libm::log(above_0(rng)) < 0.5 * x * x + d * (1.0 - v + libm::log(v)) {
            return d * v;
        }
    }
}

/// An even number above 0, up to 1.
fn above_0(rng: &mut impl Rng) -> f64 {
    1.0 - rng.random::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and variance of many draws of the other image's part.
    fn moments(draw: impl Fn(u64) -> f64) -> (f64, f64) {
        const N: u64 = 20_000;
        let values: Vec<f64> = (0..N).map(draw).collect();
        let mean = values.iter().sum::<f64>() / N as f64;
        (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / N as f64)
    }

    #[test]
    fn parts_come_from_the_beta_distribution() {
        for alpha in [0.1, 0.2, 0.8, 1.0, 3.0] {
            let spec = MixSpec { mixup: alpha, cutmix: 0.0 };
            let (mean, variance) = moments(|step| spec.draw(5, 1, step, 32).part.into());
            // mean 1/2, variance 1 / (4 (2 alpha + 1)); five standard errors of 20,000 draws, the fourth moment being below 1/16
            let expected = 0.25 / (2.0 * alpha + 1.0);
            assert!((mean - 0.5).abs() < 5.0 * (expected / 20_000.0).sqrt(), "{alpha}: {mean}");
            assert!(
                (variance - expected).abs() < 5.0 * (0.0625f64 / 20_000.0).sqrt(),
                "{alpha}: {variance} for {expected}"
            );
        }
    }

    #[test]
    fn boxes_cover_what_was_drawn_and_lie_anywhere() {
        let spec = MixSpec { mixup: 0.0, cutmix: 1.0 };
        let (mut corner, mut share) = (0, 0.0);
        for step in 0..20_000 {
            let mix = spec.draw(9, 2, step, 40);
            assert_eq!(mix.part, 0.0);
            let pixels = (0..1600).filter(|i| mix.is_in_box(i / 40, i % 40)).count();
            assert_eq!(mix.share, pixels as f32 / 1600.0);
            corner += u64::from(mix.is_in_box(0, 0));
            share += f64::from(mix.share);
        }
        // 400,000 draws of torchvision's lines in Python, by Python's own generator, gave a share of 0.3038 (deviation 0.184) and 0.1337 of
        // them with the first pixel
        assert!((share / 20_000.0 - EXPECTED_SHARE).abs() < 5.0 * 0.184 / 20_000f64.sqrt(), "{}", share / 20_000.0);
        assert!((corner as f64 / 20_000.0 - EXPECTED_CORNER).abs() < 5.0 * (0.116f64 / 20_000.0).sqrt(), "{corner}");
    }

    const EXPECTED_SHARE: f64 = 0.3038;
    const EXPECTED_CORNER: f64 = 0.1337;

    #[test]
    fn a_batch_takes_one_of_both_with_even_chances_and_the_same_ever_again() {
        let both = MixSpec { mixup: 0.2, cutmix: 1.0 };
        let cut = (0..2000).filter(|step| both.draw(1, 1, *step, 32).part == 0.0).count();
        // 1000 expected, standard deviation 22
        assert!((890..1110).contains(&cut), "{cut}");
        assert_eq!(both.draw(1, 2, 3, 32), both.draw(1, 2, 3, 32));
        assert_ne!(both.draw(1, 2, 3, 32), both.draw(1, 2, 4, 32));
        assert_eq!(MixSpec::default().draw(1, 2, 3, 32), Mix::default());
    }

    #[test]
    fn a_pixel_is_the_others_in_the_box_and_a_sum_by_mixup() {
        let cut = Mix::of_box([1, 3], [2, 4], 4);
        assert_eq!(cut.share, 0.25);
        for (y, x) in (0..4).flat_map(|y| (0..4).map(move |x| (y, x))) {
            let inside = (1..3).contains(&y) && (2..4).contains(&x);
            assert_eq!(cut.value(y, x, 5.0, 7.0), if inside { 7.0 } else { 5.0 });
        }
        assert_eq!(Mix::of_part(0.25).value(0, 0, 4.0, 8.0), 5.0);
        // one that is no number stays with its own image
        assert_eq!(Mix::default().value(0, 0, 4.0, f32::NAN), 4.0);
    }
}
