//! The two 16-bit float formats: widening, rounding, and a fused product that rounds once.
//!
//! Everything here is integer and IEEE single or double arithmetic without branches, so that rows of it vectorize and
//! give the same bits everywhere. Additions that cannot overflow are written as wrapping ones: the check for it, in
//! builds that have one, would be a branch.

/// `.f16` or `.bf16`, as bits in a `u16`.
pub(in crate::row) trait Format {
    /// Positive infinity: all bits of the exponent.
    const INFINITY: u16;
    /// One.
    const ONE: u16;

    /// The same value in single precision; a NaN becomes a quiet one.
    fn widen(bits: u16) -> f32;

    /// The nearest value, ties to even; a NaN becomes the canonical one.
    fn narrow(x: f32) -> u16;

    /// `a * b + c`, rounded once to the nearest, ties to even.
    fn fma(a: u16, b: u16, c: u16) -> u16;

    /// Subnormals to zero of the same sign.
    #[inline(always)]
    fn flush(bits: u16) -> u16 {
        if bits & Self::INFINITY == 0 { bits & 0x8000 } else { bits }
    }

    /// Whether these bits are a NaN.
    #[inline(always)]
    fn is_nan(bits: u16) -> bool {
        bits & 0x7fff > Self::INFINITY
    }

    /// Into [0, 1]; NaN and negative zero to positive zero.
    #[inline(always)]
    fn saturate(bits: u16) -> u16 {
        // Above infinity as unsigned numbers lie the NaNs and everything negative.
        if bits > Self::INFINITY { 0 } else { bits.min(Self::ONE) }
    }

    /// Negative values to zero; a NaN stays, as the canonical one.
    #[inline(always)]
    fn relu(bits: u16) -> u16 {
        if Self::is_nan(bits) {
            CANONICAL_NAN
        } else if bits & 0x8000 != 0 {
            0
        } else {
            bits
        }
    }
}

/// The NaN that instructions of both half types give (PTX ISA section 9.7.4).
pub(in crate::row) const CANONICAL_NAN: u16 = 0x7fff;

/// IEEE half precision.
pub(in crate::row) struct F16;

/// The upper half of a single.
pub(in crate::row) struct Bf16;

impl Format for F16 {
    const INFINITY: u16 = 0x7c00;
    const ONE: u16 = 0x3c00;

    #[inline(always)]
    fn widen(bits: u16) -> f32 {
        let (sign, magnitude) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7fff));
        let rebias = (127 - 15) << 23;
        let subnormal = (magnitude as f32 * (1.0 / 16_777_216.0)).to_bits();
        let normal = (magnitude << 13).wrapping_add(rebias);
        let special = if magnitude > 0x7c00 { 0x7fff_ffff } else { 0x7f80_0000 };
        let finite = if magnitude < 0x0400 { subnormal } else { normal };
        // The canonical NaN has no sign.
        let sign = if magnitude > 0x7c00 { 0 } else { sign };
        f32::from_bits(if magnitude >= 0x7c00 { special } else { finite } | sign)
    }

    #[inline(always)]
    fn narrow(x: f32) -> u16 {
        let (bits, magnitude) = (x.to_bits(), x.to_bits() & 0x7fff_ffff);
        // Half an ulp less one, plus the bit that decides ties; a carry moves the exponent up as it should.
        let rounded = magnitude.wrapping_add(0x0fff + (magnitude >> 13 & 1)) >> 13;
        let normal = rounded.wrapping_sub((127 - 15) << 10).min(0x7c00);
        // A sum with 1/2 has an ulp of 2^-24, the unit of subnormal halves, and rounds to it as the addition does.
        let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
        let value = if magnitude < 0x3880_0000 { subnormal } else { normal } | bits >> 16 & 0x8000;
        if magnitude > 0x7f80_0000 { CANONICAL_NAN } else { value as u16 }
    }

    #[inline(always)]
    fn fma(a: u16, b: u16, c: u16) -> u16 {
        // A product of two 11-bit significands has 22 bits and an exponent that a single holds: it is exact. The sum
        // is rounded to odd at 24 bits, from where the step to 11 bits or less rounds like the exact sum.
        let (p, c) = (Self::widen(a) * Self::widen(b), Self::widen(c));
        let sum = p + c;
        let part = sum - p;
        let error = (p - (sum - part)) + (c - part);
        let even = sum.to_bits() & 1 == 0;
        let outward = (error > 0.0) == (sum > 0.0);
        let odd = if outward { sum.to_bits().wrapping_add(1) } else { sum.to_bits().wrapping_sub(1) };
        // The error is exact (Knuth's two-sum), zero for exact sums and NaN for infinite ones.
        let inexact = error.abs() > 0.0;
        Self::narrow(f32::from_bits(if inexact && even { odd } else { sum.to_bits() }))
    }
}

impl Format for Bf16 {
    const INFINITY: u16 = 0x7f80;
    const ONE: u16 = 0x3f80;

    #[inline(always)]
    fn widen(bits: u16) -> f32 {
        f32::from_bits(u32::from(bits) << 16)
    }

    #[inline(always)]
    fn narrow(x: f32) -> u16 {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        if bits & 0x7fff_ffff > 0x7f80_0000 { CANONICAL_NAN } else { rounded as u16 }
    }

    #[inline(always)]
    fn fma(a: u16, b: u16, c: u16) -> u16 {
        // As for halves, in double precision, since a product's exponent may leave that of a single.
        let (p, c) = (f64::from(Self::widen(a)) * f64::from(Self::widen(b)), f64::from(Self::widen(c)));
        let sum = p + c;
        let part = sum - p;
        let error = (p - (sum - part)) + (c - part);
        let even = sum.to_bits() & 1 == 0;
        let outward = (error > 0.0) == (sum > 0.0);
        let odd = if outward { sum.to_bits().wrapping_add(1) } else { sum.to_bits().wrapping_sub(1) };
        let inexact = error.abs() > 0.0;
        bf16_from_double(if inexact && even { odd } else { sum.to_bits() })
    }
}

/// The nearest bfloat, ties to even, of the bits of a double.
#[inline(always)]
fn bf16_from_double(bits: u64) -> u16 {
    let magnitude = bits & 0x7fff_ffff_ffff_ffff;
    let rounded = magnitude.wrapping_add(((1 << 44) - 1) + (magnitude >> 45 & 1)) >> 45;
    let normal = rounded.wrapping_sub((1023 - 127) << 7).min(0x7f80);
    // 2^-81 has the ulp 2^-133 in double precision: the unit of subnormal bfloats.
    let unit = f64::from_bits((1023 - 81) << 52);
    let subnormal = (f64::from_bits(magnitude) + unit).to_bits().wrapping_sub(unit.to_bits());
    let smallest_normal = (1023 - 126) << 52;
    let value = if magnitude < smallest_normal { subnormal } else { normal } | bits >> 48 & 0x8000;
    if magnitude > 0x7ff0_0000_0000_0000 { CANONICAL_NAN } else { value as u16 }
}
