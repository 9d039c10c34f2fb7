//! Codes of a few bits for the increments of a residual stack, which make the way back exact.
//!
//! Forward, with an increment `d = h f(x)` and a carry c that starts at 0: `w = d + c`, `q = Q(w)`, `c = w - q`, `x += q`. What
//! one step could not code the next one carries (sigma-delta modulation over depth), so that the sum of all q stays within c of
//! the sum of all d. Backward: `x -= q`, from the code. States and q are multiples of one unit, the grid, so that
//! sums and differences are exact and the way back meets every bit of the way there.
//!
//! The quantiser Q works channel by channel on `u = (w - mean) / sigma`, with mean and sigma known before coding:
//! `q = mean + sigma level(u)`, rounded to the grid. Levels: one bit, the two levels with the least mean square error for a
//! normal law; two bits, Lloyd and Max's four for a Laplace law, since trained residual functions have heavy tails; four and
//! eight bits, a sign and levels that are uniform in the piecewise linear logarithm of `1 + 15/8 |u|` up to |u| = 8, the
//! companding of G.711 with four segments.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::memory::{Arena, Category, Memory};
use crate::operands::BnStats;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Bits that the code of one element takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(into = "u8", try_from = "u8")]
pub enum Bits {
    /// Two levels.
    #[cfg_attr(feature = "clap", value(name = "1"))]
    One,
    /// Four levels.
    #[cfg_attr(feature = "clap", value(name = "2"))]
    Two,
    /// Sixteen levels.
    #[default]
    #[cfg_attr(feature = "clap", value(name = "4"))]
    Four,
    /// 256 levels.
    #[cfg_attr(feature = "clap", value(name = "8"))]
    Eight,
}

impl Bits {
    /// All of them, the fewest first.
    pub const ALL: [Self; 4] = [Self::One, Self::Two, Self::Four, Self::Eight];

    /// The number.
    pub const fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// Codes in a word of 32 bits.
    pub const fn per_word(self) -> usize {
        32 / self.count()
    }

    /// Words that the code of an image of `len` elements takes: element e is in word `e mod W` of the W words, at bit
    /// `B (e div W)`.
    pub const fn words(self, len: usize) -> usize {
        len.div_ceil(self.per_word())
    }
}

/// What the codes of a forward pass do to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum CodedPass {
    /// Nothing: `x += d`. The way back starts from `x_N - c` and passes by `x_n - c_n`, so that the gradient is off by what a carry
    /// is of a state, at no depth by more.
    #[default]
    Plain,
    /// States move by what their code says: `x += q`. The gradient is exact for this pass, which evaluation does not run.
    Altered,
}

impl std::fmt::Display for CodedPass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Plain => "plain",
            Self::Altered => "altered",
        })
    }
}

impl From<Bits> for u8 {
    fn from(bits: Bits) -> u8 {
        bits.count() as u8
    }
}

impl TryFrom<u8> for Bits {
    type Error = String;

    fn try_from(count: u8) -> std::result::Result<Self, String> {
        let known = Self::ALL.into_iter().find(|bits| bits.count() == usize::from(count));
        known.ok_or_else(|| format!("{count} is no number of bits: give 1, 2, 4 or 8"))
    }
}

impl std::fmt::Display for Bits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.count().to_string())
    }
}

/// The level of one bit, in sigmas: the mean of |u| of a normal law.
pub const LEVEL_1: f32 = 0.797_884_6;
/// Lloyd and Max's levels of two bits for a Laplace law of unit variance, in sigmas.
pub const LEVELS_2: [f32; 2] = [0.4189, 1.8335];
/// What lies between them.
pub const THRESHOLD_2: f32 = 1.1262;
/// Slope of the companding of four and eight bits: `1 + COMPANDING |u|` reaches 16, four octaves, at |u| = 8.
pub const COMPANDING: f32 = 15.0 / 8.0;
/// A sigma below this counts as 0: its square still has all digits in f32, and so has 1/sigma.
pub const SIGMA_MIN: f64 = 1e-18;
/// Octaves by which states may outgrow x_0 before the grid is too fine for them: `|x| < 2^OCTAVES max |x_0|` is exact in f32.
pub const OCTAVES: i32 = 6;

/// The grid's unit for states that start with `max |x_0| = largest`: a power of two, `2^(e + OCTAVES - 24)` with
/// `2^(e-1) < largest <= 2^e`. A pass of zeros or of numbers that are not finite has some unit.
pub fn unit(largest: f64) -> f64 {
    let exponent = if largest.is_finite() && largest > 0.0 { largest.log2().ceil() as i32 } else { 0 };
    f64::from(exponent.clamp(-64, 64) + OCTAVES - 24).exp2()
}

/// The code of one step's increment, and what decodes it.
pub struct Code<B> {
    /// Mean and 1/sigma of every channel, `[C]` each; 1/sigma is 0 where sigma is. Kept with the code, since the weights that
    /// they come from may be updated before the code is read.
    pub scale: BnStats<B>,
    /// The codes, `[N, 1, 1, L]`, L as [`code_len`] says.
    pub packed: Tensor<B>,
}

impl<B> Code<B> {
    /// A new code, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new<M: Memory<Buffer = B>>(arena: &mut Arena<'_, M>, map: Shape, bits: Bits) -> Result<Self> {
        let category = Category::Saved;
        Ok(Self {
            scale: BnStats::new(arena, category, map.c())?,
            packed: arena.tensor(category, packed_shape::<M::Real>(map, bits))?,
        })
    }
}

/// Elements of one image's code, of an image of `image_len` elements: [`Bits::words`] where a number has 32 bits; in f64, which is
/// there to be plain, one per element.
pub fn code_len<R>(image_len: usize, bits: Bits) -> usize {
    if size_of::<R>() == size_of::<u32>() { bits.words(image_len) } else { image_len }
}

fn packed_shape<R>(map: Shape, bits: Bits) -> Shape {
    Shape::map(map.n(), 1, 1, code_len::<R>(map.image_len(), bits))
}

/// What all codes of a pass share.
pub struct Coder<B> {
    /// Bits per element.
    pub bits: Bits,
    /// What the codes do to the pass.
    pub pass: CodedPass,
    /// The grid's unit, `[1]`.
    pub grid: Tensor<B>,
    /// The carry's mean square, `[C]`, as the last coding left it.
    pub rest: Tensor<B>,
}

impl<B> Coder<B> {
    /// A new coder, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new<M: Memory<Buffer = B>>(
        arena: &mut Arena<'_, M>,
        channels: usize,
        bits: Bits,
        pass: CodedPass,
    ) -> Result<Self> {
        let category = Category::Scratch;
        let mut vector = |len| arena.tensor(category, Shape::vector(len));
        Ok(Self { bits, pass, grid: vector(1)?, rest: vector(channels)? })
    }
}
