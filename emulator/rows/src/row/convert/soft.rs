//! Any number to any format with any rounding, in integers: slow, and the same on every machine.

use rewind_ptx::{Rounding, ScalarType};

/// A binary floating-point format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bits of the stored significand.
    fraction: u32,
    /// Bits of the exponent.
    exponent: u32,
}

impl Layout {
    /// The layout of a float type; that of `.tf32` is without the 13 bits that it leaves unused.
    pub(super) const fn of(ty: ScalarType) -> Option<Layout> {
        match ty {
            ScalarType::F16 | ScalarType::F16x2 => Some(Layout { fraction: 10, exponent: 5 }),
            ScalarType::Bf16 | ScalarType::Bf16x2 => Some(Layout { fraction: 7, exponent: 8 }),
            ScalarType::Tf32 => Some(Layout { fraction: 10, exponent: 8 }),
            ScalarType::F32 => Some(Layout { fraction: 23, exponent: 8 }),
            ScalarType::F64 => Some(Layout { fraction: 52, exponent: 11 }),
            _ => None,
        }
    }

    const fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }

    const fn sign(self) -> u64 {
        1 << (self.fraction + self.exponent)
    }

    const fn infinity(self) -> u64 {
        ((1 << self.exponent) - 1) << self.fraction
    }

    const fn one(self) -> u64 {
        (self.bias() as u64) << self.fraction
    }

    /// The NaN that conversions to the format give: all bits but the sign, of doubles the plain quiet one.
    pub(super) const fn nan(self) -> u64 {
        if self.fraction == 52 { 0x7ff8 << 48 } else { self.sign() - 1 }
    }

    /// Subnormals to zero of the same sign.
    pub(super) const fn flush(self, bits: u64) -> u64 {
        if bits & self.infinity() == 0 { bits & self.sign() } else { bits }
    }

    /// Into [0, 1]; NaN and negative zero to positive zero.
    pub(super) const fn saturate(self, bits: u64) -> u64 {
        if bits > self.infinity() {
            0
        } else if bits > self.one() {
            self.one()
        } else {
            bits
        }
    }

    /// Negative values to zero.
    pub(super) const fn relu(self, bits: u64) -> u64 {
        if bits & (self.sign() - 1) > self.infinity() {
            self.nan()
        } else if bits & self.sign() != 0 {
            0
        } else {
            bits
        }
    }
}

/// What a float holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    /// Not a number.
    Nan,
    /// Infinity, negative or not.
    Infinite(bool),
    /// `significand * 2^exponent`, negated or not.
    Finite(Exact),
}

/// `significand * 2^exponent`, negated or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exact {
    pub(super) negative: bool,
    pub(super) significand: u64,
    pub(super) exponent: i32,
}

/// `significand / 2^shift` as an integer.
fn shifted(significand: u64, shift: u32, negative: bool, rounding: Rounding) -> u64 {
    if shift == 0 {
        return significand;
    }
    // From 66 on everything is below half of the last place, and differs in nothing.
    let shift = shift.min(66);
    let wide = u128::from(significand);
    let (quotient, rest, half) = ((wide >> shift) as u64, wide & ((1 << shift) - 1), 1 << (shift - 1));
    let up = match rounding {
        Rounding::Rn | Rounding::Rni => rest > half || (rest == half && quotient & 1 == 1),
        Rounding::Rna => rest >= half,
        Rounding::Rz | Rounding::Rzi => false,
        Rounding::Rm | Rounding::Rmi => negative && rest != 0,
        Rounding::Rp | Rounding::Rpi => !negative && rest != 0,
    };
    quotient + u64::from(up)
}

/// The number of these bits.
pub(super) fn unpack(bits: u64, layout: Layout) -> Number {
    let negative = bits & layout.sign() != 0;
    let fraction = bits & ((1 << layout.fraction) - 1);
    let exponent = ((bits & layout.infinity()) >> layout.fraction) as i32;
    if exponent == (1 << layout.exponent) - 1 {
        return if fraction == 0 { Number::Infinite(negative) } else { Number::Nan };
    }
    let implicit = u64::from(exponent != 0) << layout.fraction;
    let exponent = exponent.max(1) - layout.bias() - layout.fraction as i32;
    Number::Finite(Exact { negative, significand: fraction | implicit, exponent })
}

/// The bits nearest to a number in the direction of the rounding.
pub(super) fn pack(number: Number, layout: Layout, rounding: Rounding) -> u64 {
    let signed = |negative: bool, bits| if negative { layout.sign() | bits } else { bits };
    let Exact { negative, significand, exponent } = match number {
        Number::Nan => return layout.nan(),
        Number::Infinite(negative) => return signed(negative, layout.infinity()),
        Number::Finite(exact) => exact,
    };
    if significand == 0 {
        return signed(negative, 0);
    }
    let bits = 64 - significand.leading_zeros() as i32;
    // The exponent of the last place: that of the leading bit, but no less than a subnormal's.
    let fraction = layout.fraction as i32;
    let last = (bits + exponent - 1 - fraction).max(1 - layout.bias() - fraction);
    let quotient = if last <= exponent {
        significand << (exponent - last)
    } else {
        shifted(significand, (last - exponent) as u32, negative, rounding)
    };
    // The leading bit counts one in the exponent's field; a carry, or a subnormal's lack of it, comes out right.
    let biased = (last + fraction + layout.bias()) as u64;
    let magnitude = ((biased - 1) << layout.fraction) + quotient;
    if magnitude < layout.infinity() {
        return signed(negative, magnitude);
    }
    let outward = match rounding {
        Rounding::Rz | Rounding::Rzi => false,
        Rounding::Rm | Rounding::Rmi => negative,
        Rounding::Rp | Rounding::Rpi => !negative,
        Rounding::Rn | Rounding::Rni | Rounding::Rna => true,
    };
    signed(negative, if outward { layout.infinity() } else { layout.infinity() - 1 })
}

/// The integral number in the direction of the rounding.
pub(super) fn integral(number: Number, rounding: Rounding) -> Number {
    match number {
        Number::Finite(Exact { negative, significand, exponent }) if exponent < 0 => {
            let significand = shifted(significand, exponent.unsigned_abs(), negative, rounding);
            Number::Finite(Exact { negative, significand, exponent: 0 })
        }
        _ => number,
    }
}

/// The integer, within one of the range of 65 bits and clamped to it; `None` for NaN.
pub(super) fn integer(number: Number, rounding: Rounding) -> Option<i128> {
    const MOST: i128 = 1 << 65;
    let signed = |negative, magnitude: i128| if negative { -magnitude } else { magnitude };
    Some(match integral(number, rounding) {
        Number::Nan => return None,
        Number::Infinite(negative) => signed(negative, MOST),
        Number::Finite(Exact { negative, significand, exponent }) => {
            let bits = 64 - significand.leading_zeros() as i32;
            let large = bits + exponent > 65;
            signed(negative, if large { MOST } else { i128::from(significand) << exponent })
        }
    })
}
