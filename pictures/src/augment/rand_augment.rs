//! RandAugment (Cubuk et al. 2020): a few changes of chance, all of one magnitude.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::Op;

/// Magnitudes there are: 0 to 30.
pub const MAGNITUDES: usize = 31;

/// torchvision's `RandAugment(num_ops, magnitude)` with its other settings as they are: 31 magnitudes, the nearest pixel, black where
/// nothing of the picture lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandAugment {
    /// Changes, one behind the other. One may be drawn again.
    pub ops: usize,
    /// How strong each is, below [`MAGNITUDES`].
    pub magnitude: usize,
}

/// What is chosen from, in torchvision's order and by its names, where `Color` is the saturation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Op::Identity`]; so are the others.
    Identity,
    /// Signed.
    ShearX,
    /// Signed.
    ShearY,
    /// Signed.
    TranslateX,
    /// Signed.
    TranslateY,
    /// Signed.
    Rotate,
    /// Signed.
    Brightness,
    /// Signed.
    Color,
    /// Signed.
    Contrast,
    /// Signed.
    Sharpness,
    /// Of one sign.
    Posterize,
    /// Of one sign.
    Solarize,
    /// Without a magnitude.
    AutoContrast,
    /// Without a magnitude.
    Equalize,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Identity,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateX,
        Self::TranslateY,
        Self::Rotate,
        Self::Brightness,
        Self::Color,
        Self::Contrast,
        Self::Sharpness,
        Self::Posterize,
        Self::Solarize,
        Self::AutoContrast,
        Self::Equalize,
    ];

    /// Whether it goes either way.
    pub fn is_signed(self) -> bool {
        !matches!(self, Self::Identity | Self::Posterize | Self::Solarize | Self::AutoContrast | Self::Equalize)
    }

    /// The change of this kind, magnitude and sign, for a picture of `side` pixels a side.
    ///
    /// # Panics
    /// If the magnitude is not below [`MAGNITUDES`].
    pub fn op(self, magnitude: usize, negative: bool, side: usize) -> Op {
        assert!(magnitude < MAGNITUDES, "magnitude {magnitude} is not below {MAGNITUDES}");
        let signed = |end: f64| {
            let value = f64::from(between(0.0, end as f32, magnitude));
            if negative { -value } else { value }
        };
        // of a picture of 331 pixels a side, which the ranges were made for, up to 150
        let pixels = || signed(150.0 / 331.0 * side as f64) as i32;
        match self {
            Self::Identity => Op::Identity,
            Self::ShearX => Op::ShearX(signed(0.3)),
            Self::ShearY => Op::ShearY(signed(0.3)),
            Self::TranslateX => Op::TranslateX(pixels()),
            Self::TranslateY => Op::TranslateY(pixels()),
            Self::Rotate => Op::Rotate(signed(30.0)),
            Self::Brightness => Op::Brightness(1.0 + signed(0.9)),
            Self::Color => Op::Saturation(1.0 + signed(0.9)),
            Self::Contrast => Op::Contrast(1.0 + signed(0.9)),
            Self::Sharpness => Op::Sharpness(1.0 + signed(0.9)),
            // 8 to 4 bits in 30 steps; no magnitude lies half way between two
            Self::Posterize => Op::Posterize(8 - (magnitude as f64 / 7.5).round() as u32),
            Self::Solarize => Op::Solarize(f64::from(between(255.0, 0.0, magnitude))),
            Self::AutoContrast => Op::AutoContrast,
            Self::Equalize => Op::Equalize,
        }
    }
}

/// `torch.linspace(start, end, 31)[magnitude]` in single precision, counted from the nearer end. That is how torch computes one value at a
/// time; where it computes several at once, the last bit may differ.
fn between(start: f32, end: f32, magnitude: usize) -> f32 {
    let last = MAGNITUDES - 1;
    let step = (end - start) / last as f32;
    if magnitude < MAGNITUDES / 2 { start + step * magnitude as f32 } else { end - step * (last - magnitude) as f32 }
}

impl RandAugment {
    /// The changes that `seed` draws for a picture of `side` pixels a side: each kind and each sign equally often.
    ///
    /// # Panics
    /// If the magnitude is not below [`MAGNITUDES`], when a change is taken.
    pub fn draw(&self, seed: u64, side: usize) -> impl Iterator<Item = Op> + use<> {
        let Self { ops, magnitude } = *self;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..ops).map(move |_| {
            let kind = Kind::ALL[rng.random_range(0..Kind::ALL.len())];
            let negative = kind.is_signed() && rng.random_bool(0.5);
            kind.op(magnitude, negative, side)
        })
    }

    /// Applies what `seed` draws, see [`Op::apply`].
    ///
    /// # Panics
    /// As [`RandAugment::draw`] and [`Op::apply`].
    pub fn apply(&self, seed: u64, side: usize, pixels: &mut [u8], scratch: &mut Vec<u8>) {
        self.draw(seed, side).for_each(|op| op.apply(side, pixels, scratch));
    }
}
