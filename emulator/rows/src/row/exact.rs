//! Arithmetic of `f64` with directed rounding, on exact integers: no wider format holds what rounding loses, and no
//! error-free transformation survives underflow. Slow, and rare in kernels.

use super::round::{RM, RP, RZ};

/// `(-1)^negative * magnitude * 2^exponent`, where the lowest bit also stands for anything below it.
struct Exact {
    negative: bool,
    magnitude: u128,
    exponent: i32,
}

/// A finite number, its magnitude below 2^53.
fn split(a: f64) -> Exact {
    let bits = a.to_bits();
    let (field, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
    let (magnitude, exponent) = if field == 0 { (fraction, -1074) } else { (fraction | 1 << 52, field - 1075) };
    Exact { negative: a.is_sign_negative(), magnitude: magnitude.into(), exponent }
}

impl Exact {
    /// Shifted up until bit 125 is the highest, so that sums fit.
    fn normalized(self) -> Exact {
        let by = self.magnitude.leading_zeros() as i32 - 2;
        Exact { magnitude: self.magnitude << by, exponent: self.exponent - by, ..self }
    }

    /// The double on the side that the mode asks for.
    fn rounded(self, mode: u8) -> f64 {
        let sign = if self.negative { -1.0 } else { 1.0 };
        if self.magnitude == 0 {
            return 0.0 * sign;
        }
        let away = match mode {
            RP => !self.negative,
            RM => self.negative,
            _ => false,
        };
        let highest = 127 - self.magnitude.leading_zeros() as i32 + self.exponent;
        // The unit in the last place, and how many bits of the magnitude lie below it.
        let unit = (highest - 52).max(-1074);
        let below = unit - self.exponent;
        let (kept, lost) = match below {
            ..=0 => (self.magnitude << -below, false),
            128.. => (0, true),
            _ => (self.magnitude >> below, self.magnitude & ((1 << below) - 1) != 0),
        };
        let kept = kept as u64 + u64::from(lost && away);
        // The hidden bit in `kept` adds one to the exponent's field; so does a carry into the next power of two, up to
        // infinity.
        let bits = match highest {
            1024.. if away => f64::INFINITY.to_bits(),
            1024.. => f64::MAX.to_bits(),
            _ => (((unit + 1074) as u64) << 52) + kept,
        };
        f64::from_bits(bits).copysign(sign)
    }
}

/// The sum of two numbers that are not both zero.
fn sum(a: Exact, b: Exact, mode: u8) -> f64 {
    if a.magnitude == 0 {
        return b.rounded(mode);
    }
    if b.magnitude == 0 {
        return a.rounded(mode);
    }
    let (a, b) = (a.normalized(), b.normalized());
    let (a, b) = if a.exponent < b.exponent { (b, a) } else { (a, b) };
    // Both have at least 20 zeros at the bottom, so bits are lost only when `b` is so small that one sticky bit does.
    let by = a.exponent - b.exponent;
    let shifted = match by {
        126.. => 1,
        _ => b.magnitude >> by | u128::from(b.magnitude & ((1 << by) - 1) != 0),
    };
    let (negative, magnitude) = match a.negative == b.negative {
        true => (a.negative, a.magnitude + shifted),
        false if a.magnitude >= shifted => (a.negative, a.magnitude - shifted),
        false => (b.negative, shifted - a.magnitude),
    };
    // Terms that cancel give +0, when rounding down -0.
    let negative = if magnitude == 0 { mode == RM } else { negative };
    Exact { negative, magnitude, exponent: a.exponent }.rounded(mode)
}

fn product(a: f64, b: f64) -> Exact {
    let (a, b) = (split(a), split(b));
    Exact {
        negative: a.negative != b.negative,
        magnitude: a.magnitude * b.magnitude,
        exponent: a.exponent + b.exponent,
    }
}

/// `a * b + c`, rounded once.
pub(super) fn fma(a: f64, b: f64, c: f64, mode: u8) -> f64 {
    if !(a.is_finite() && b.is_finite() && c.is_finite()) {
        return a.mul_add(b, c);
    }
    let product = product(a, b);
    if product.magnitude == 0 && c == 0.0 {
        let both = product.negative && c.is_sign_negative();
        let any = product.negative || c.is_sign_negative();
        return if both || any && mode == RM { -0.0 } else { 0.0 };
    }
    sum(product, split(c), mode)
}

/// `a + b`
pub(super) fn add(a: f64, b: f64, mode: u8) -> f64 {
    fma(a, 1.0, b, mode)
}

/// `a * b`
pub(super) fn mul(a: f64, b: f64, mode: u8) -> f64 {
    if a.is_finite() && b.is_finite() { product(a, b).rounded(mode) } else { a * b }
}

/// `a / b`
pub(super) fn div(a: f64, b: f64, mode: u8) -> f64 {
    if !(a.is_finite() && b.is_finite()) || a == 0.0 || b == 0.0 {
        return a / b;
    }
    let (a, b) = (split(a).normalized(), split(b));
    let (quotient, left) = (a.magnitude / b.magnitude, a.magnitude % b.magnitude);
    // At least 73 bits: one more below them says that there is a remainder.
    Exact {
        negative: a.negative != b.negative,
        magnitude: quotient << 1 | u128::from(left != 0),
        exponent: a.exponent - b.exponent - 1,
    }
    .rounded(mode)
}

/// The square root of `a`.
pub(super) fn sqrt(a: f64, mode: u8) -> f64 {
    if !a.is_finite() || a <= 0.0 {
        return a.sqrt();
    }
    let a = split(a).normalized();
    let (magnitude, exponent) =
        if a.exponent % 2 == 0 { (a.magnitude, a.exponent) } else { (a.magnitude << 1, a.exponent - 1) };
    let root = magnitude.isqrt();
    Exact { negative: false, magnitude: root << 1 | u128::from(root * root != magnitude), exponent: exponent / 2 - 1 }
        .rounded(mode)
}

/// Whether `mode` is one of those done here.
pub(super) const fn directed(mode: u8) -> bool {
    matches!(mode, RZ | RM | RP)
}
