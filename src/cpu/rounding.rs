//! The rounding of a GPU's tensor cores, on the CPU: it shows what `--math` of a GPU does to a training where there is no GPU.
//!
//! Tensor cores multiply numbers of few bits and add the products in f32. A [`Cpu`] with a [`Rounding`] rounds what
//! convolutions multiply: their input and weights, the gradient and weights on the way to the input, the gradient and input on
//! the way to the weights. Sums, states, statistics and weights stay f32. All convolutions are rounded alike, stems, strided
//! and 1x1 ones too, whatever a GPU has kernels for; they go by their definition, since Winograd's algorithm multiplies other
//! numbers than a tensor core sees. How a tensor core rounds its own sums is not documented and not emulated.
//!
//! f16 has few exponents, and kernels/half.cuh says how the GPU deals with that. This is the same, to the bit but for the
//! order of sums: activations as they are, weights times 2^6, and gradients times the power of two that brings a bound of the
//! largest to between 2^12 and 2^13. The bound of batch norm's gradient is worked out from the largest |g| and |zhat| of the
//! map, as the GPU does; that of a gradient which is a map already is its largest magnitude. What is
//! larger than f16 holds becomes infinite, what is small loses bits and then vanishes. A power of two that multiplies before
//! and divides after the rounding changes no bit of a product but those lost, so nothing is left to undo behind the sums.

use rayon::prelude::*;

use super::Cpu;
use super::pixelwise::{BnGradZ, Pixelwise};
use super::simd::{MAX_LANES, Simd};

/// What the operands of convolutions are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Rounding {
    /// TF32: 11 significant bits, the exponents of f32; a tie goes away from zero.
    Tf32,
    /// IEEE's half precision: 11 significant bits, magnitudes to 65504, multiples of 2^-24; a tie goes to the even neighbour.
    Fp16,
    /// bfloat16: 8 significant bits, the exponents of f32; a tie goes to the even neighbour.
    Bf16,
}

impl std::fmt::Display for Rounding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Rounding::Tf32 => "tf32",
            Rounding::Fp16 => "fp16",
            Rounding::Bf16 => "bf16",
        })
    }
}

/// Bits of infinity's magnitude: larger ones are no numbers.
const INFINITY: u32 = 0x7f80_0000;
/// Bits of 2^-14, the smallest magnitude at which f16 has 11 bits.
const F16_NORMAL: u32 = 0x3880_0000;
/// Bits of 2^16, to which a magnitude rounds that is too large for f16.
const F16_TOO_LARGE: u32 = 0x4780_0000;

impl Rounding {
    /// The nearest number of the format, as f32; what is no number stays none.
    #[inline(always)]
    pub fn round(self, value: f32) -> f32 {
        match self {
            Rounding::Tf32 => tf32(value),
            Rounding::Fp16 => f16(value),
            Rounding::Bf16 => bf16(value),
        }
    }

    /// Rounds weights, behind the scale that the GPU gives them.
    pub(super) fn round_weights(self, weights: &mut [f32]) {
        let scale = if self == Rounding::Fp16 { 64.0 } else { 1.0 };
        for w in weights {
            *w = self.round(scale * *w) / scale;
        }
    }

    /// What batch norm's gradient over the whole batch is multiplied by before it is rounded; `image` elements an image.
    pub(super) fn scale_of_bn_grad(self, cpu: &Cpu, whole: BnGradZ<'_>, image: usize) -> f32 {
        if self != Rounding::Fp16 {
            return 1.0;
        }
        let BnGradZ { grad_y, scale, z, norm, sums, terms } = whole;
        let c = norm.mean.len();
        let peaks = |(g, z): (&[f32], &[f32])| {
            let mut zhat = 0;
            for z in z.chunks_exact(c) {
                for ((z, mean), rstd) in z.iter().zip(norm.mean).zip(norm.rstd) {
                    zhat = zhat.max(magnitude((z - mean) * rstd));
                }
            }
            [largest(g), zhat]
        };
        let either = |a: [u32; 2], b: [u32; 2]| [a[0].max(b[0]), a[1].max(b[1])];
        let images = (grad_y.par_chunks(image), z.par_chunks(image)).into_par_iter();
        let peaks = cpu.install(|| images.map(peaks).reduce(|| [0, 0], either));
        let [grad, zhat] = peaks.map(f32::from_bits);
        let mut bound = 0.0f32;
        for i in 0..c {
            let scaled = norm.gamma[i] * norm.rstd[i];
            let [slope, offset] = sums.map(|sum| (scaled * sum[i] / terms as f32).abs());
            bound = bound.max((scaled * scale).abs().mul_add(grad, slope.mul_add(zhat, offset)));
        }
        scale_for(bound)
    }

    /// What a gradient that is a map is multiplied by before it is rounded; `image` elements an image.
    pub(super) fn scale_of_map(self, cpu: &Cpu, map: &[f32], image: usize) -> f32 {
        if self != Rounding::Fp16 {
            return 1.0;
        }
        let peak = cpu.install(|| map.par_chunks(image).map(largest).reduce(|| 0, u32::max));
        scale_for(f32::from_bits(peak))
    }
}

/// The bits of |value|, which compare as the magnitudes do.
#[inline(always)]
fn magnitude(value: f32) -> u32 {
    value.to_bits() & 0x7fff_ffff
}

/// The largest of all.
fn largest(values: &[f32]) -> u32 {
    values.iter().fold(0, |peak, value| peak.max(magnitude(*value)))
}

/// The power of two that brings `bound` to [2^12, 2^13), as near to it as f32 allows.
fn scale_for(bound: f32) -> f32 {
    let exponent = (bound.to_bits() >> 23).clamp(14, 253);
    f32::from_bits((266 - exponent) << 23)
}

/// The number of this magnitude and of the sign of `value`.
#[inline(always)]
fn signed(value: f32, magnitude: u32) -> f32 {
    f32::from_bits(value.to_bits() & 0x8000_0000 | magnitude)
}

#[inline(always)]
fn tf32(value: f32) -> f32 {
    let size = magnitude(value);
    let nearest = (size + 0x1000) & !0x1fff;
    signed(value, if size > INFINITY { size } else { nearest })
}

#[inline(always)]
fn bf16(value: f32) -> f32 {
    let size = magnitude(value);
    let nearest = (size + 0x7fff + (size >> 16 & 1)) & !0xffff;
    signed(value, if size > INFINITY { size } else { nearest })
}

#[inline(always)]
fn f16(value: f32) -> f32 {
    let size = magnitude(value);
    let nearest = (size + 0xfff + (size >> 13 & 1)) & !0x1fff;
    // f32's numbers from 1/2 on lie 2^-24 apart, as f16's below 2^-14 do: the sum is rounded as they would be
    let small = ((f32::from_bits(size) + 0.5) - 0.5).to_bits();
    let finite = if size < F16_NORMAL { small } else { nearest };
    let bounded = if finite >= F16_TOO_LARGE { INFINITY } else { finite };
    signed(value, if size > INFINITY { size } else { bounded })
}

/// Values that are rounded, behind a scale.
#[derive(Clone, Copy)]
pub struct Rounded<F> {
    pub f: F,
    pub rounding: Rounding,
    /// A power of two.
    pub scale: f32,
}

impl<F: Pixelwise> Pixelwise for Rounded<F> {
    type Channels<S: Simd> = F::Channels<S>;

    fn check(&self, len: usize, c: usize) {
        self.f.check(len, c);
    }

    #[inline(always)]
    unsafe fn channels<S: Simd>(&self, s: S, c: usize, n: usize) -> F::Channels<S> {
        // SAFETY: the caller's promise.
        unsafe { self.f.channels(s, c, n) }
    }

    #[inline(always)]
    unsafe fn value<S: Simd, const FULL: bool>(&self, s: S, p: F::Channels<S>, at: usize, n: usize) -> S::V {
        let mut lanes = [0.0f32; MAX_LANES];
        // SAFETY: the caller's promise; `lanes` holds a vector of any instruction set.
        unsafe { s.store(lanes.as_mut_ptr(), s.mul(self.f.value::<S, FULL>(s, p, at, n), s.splat(self.scale))) };
        // a loop each, that the compiler makes vectors of
        let of_vector = &mut lanes[..S::LANES];
        match self.rounding {
            Rounding::Tf32 => {
                for lane in of_vector {
                    *lane = tf32(*lane);
                }
            }
            Rounding::Fp16 => {
                for lane in of_vector {
                    *lane = f16(*lane);
                }
            }
            Rounding::Bf16 => {
                for lane in of_vector {
                    *lane = bf16(*lane);
                }
            }
        }
        // SAFETY: as above.
        s.mul(unsafe { s.load(lanes.as_ptr()) }, s.splat(1.0 / self.scale))
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, s: S, at: usize) {
        self.f.prefetch(s, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nearest number with `bits` significant bits that is a multiple of `unit`, and no larger than `most`, by arithmetic
    /// on f64, which holds every step exactly; f64's own rounding sends ties to the even neighbour.
    fn oracle(value: f32, bits: i32, unit: f64, most: f64, away: bool) -> f32 {
        if !value.is_finite() || value == 0.0 {
            return value;
        }
        let exact = f64::from(value).abs();
        let mut exponent = -150;
        while exact >= 2f64.powi(exponent + 1) {
            exponent += 1;
        }
        let unit = 2f64.powi(exponent + 1 - bits).max(unit);
        let (below, part) = ((exact / unit).floor(), (exact / unit).fract());
        let up = part > 0.5 || part == 0.5 && (away || below % 2.0 == 1.0);
        let rounded = (below + f64::from(u8::from(up))) * unit;
        let size = if rounded > most { f32::INFINITY } else { rounded as f32 };
        size.copysign(value)
    }

    fn expected(rounding: Rounding, value: f32) -> f32 {
        // f32's denormals lie 2^-149 apart; of TF32's and bfloat16's, which are those with fewer bits, 2^-136 and 2^-133
        match rounding {
            Rounding::Tf32 => oracle(value, 11, 2f64.powi(-136), f64::from(f32::MAX), true),
            Rounding::Fp16 => oracle(value, 11, 2f64.powi(-24), 65504.0, false),
            Rounding::Bf16 => oracle(value, 8, 2f64.powi(-133), f64::from(f32::MAX), false),
        }
    }

    /// Every exponent, with mantissas at, beside and between the ties of 8 and of 11 bits, of both parities; and every step of
    /// f16's denormals, with its ties.
    fn values() -> Vec<f32> {
        let mut mantissas = vec![0, 1, 0x7f_ffff, 0x2a_aaaa, 0x55_5555];
        for (tie, step) in [(0x1000u32, 0x2000u32), (0x8000, 0x1_0000)] {
            for even in [0, 2, 0x80_0000 / step - 2] {
                for odd in [0, 1] {
                    let at = ((even + odd) * step + tie) & 0x7f_ffff;
                    mantissas.extend([at - 1, at, at + 1, at - tie]);
                }
            }
        }
        let bits = (0..256u32).flat_map(|exponent| mantissas.iter().map(move |mantissa| exponent << 23 | mantissa));
        let small = (0..4096).map(|halves| 0.5 * halves as f32 * 2f32.powi(-24)).flat_map(|v| {
            let bits = v.to_bits();
            [bits.saturating_sub(1), bits, bits + 1]
        });
        let edges = [65504.0f32, 65519.996, 65520.0, 65536.0, f32::MAX, f32::INFINITY, f32::NAN].map(f32::to_bits);
        let all = bits.chain(small).chain(edges);
        all.flat_map(|bits| [bits, bits | 0x8000_0000]).map(f32::from_bits).collect()
    }

    #[test]
    fn every_format_rounds_as_arithmetic_says() {
        for rounding in [Rounding::Tf32, Rounding::Fp16, Rounding::Bf16] {
            for value in values() {
                let (found, expected) = (rounding.round(value), expected(rounding, value));
                if value.is_nan() {
                    assert!(found.is_nan(), "{rounding} of {:#x}", value.to_bits());
                } else {
                    assert_eq!(found.to_bits(), expected.to_bits(), "{rounding} of {value:e}: {found:e}, {expected:e}");
                }
            }
        }
    }

    #[test]
    fn ties_and_ends_of_the_formats_are_those_worked_out_by_hand() {
        let near_one = |ulps: f32| 1.0 + ulps * 2f32.powi(-11);
        // 1 + 2^-11 lies between 1 and 1 + 2^-10
        assert_eq!(Rounding::Tf32.round(near_one(1.0)), near_one(2.0));
        assert_eq!(Rounding::Fp16.round(near_one(1.0)), 1.0);
        assert_eq!(Rounding::Fp16.round(near_one(3.0)), near_one(4.0));
        assert_eq!(Rounding::Bf16.round(1.0 + 2f32.powi(-8)), 1.0);
        assert_eq!(Rounding::Bf16.round(1.0 + 3.0 * 2f32.powi(-8)), 1.0 + 4.0 * 2f32.powi(-8));
        assert_eq!((Rounding::Fp16.round(65519.996), Rounding::Fp16.round(-65520.0)), (65504.0, f32::NEG_INFINITY));
        assert_eq!(Rounding::Fp16.round(2f32.powi(-25)), 0.0);
        assert_eq!(Rounding::Fp16.round(1.5 * 2f32.powi(-25)), 2f32.powi(-24));
        assert_eq!(Rounding::Tf32.round(f32::MAX), f32::INFINITY);
        assert_eq!(Rounding::Fp16.round(-0.0).to_bits(), (-0.0f32).to_bits());
    }

    #[test]
    fn a_gradients_scale_brings_its_bound_near_the_top_of_f16() {
        for bound in [1.0f32, 1.5, 1e-20, 3e30, 4095.9, 4096.0] {
            let scaled = bound * scale_for(bound);
            assert!((4096.0..8192.0).contains(&scaled), "{bound:e}: {scaled}");
            assert_eq!(scale_for(bound).to_bits() & 0x7f_ffff, 0, "a power of two");
        }
        // where there is nothing to scale, the scale and what undoes it are still numbers
        for bound in [0.0, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, f32::NAN] {
            let scale = scale_for(bound);
            assert!(scale.is_normal() && (1.0 / scale).is_normal(), "{bound:e}: {scale:e}");
        }
    }
}
