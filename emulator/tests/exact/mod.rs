//! Exact numbers and binary floating-point formats: the oracle of the tests.

// Each test file uses a part of this.
#![allow(dead_code)]

/// A binary floating-point format, and its values as exact numbers: the oracle, told apart from what it tests by
/// searching for the rounded value instead of computing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Float {
    pub fraction: u32,
    pub exponent: u32,
    pub nan: u64,
}

pub const F16: Float = Float { fraction: 10, exponent: 5, nan: 0x7fff };
pub const BF16: Float = Float { fraction: 7, exponent: 8, nan: 0x7fff };
pub const F32: Float = Float { fraction: 23, exponent: 8, nan: 0x7fff_ffff };
pub const F64: Float = Float { fraction: 52, exponent: 11, nan: 0x7ff8 << 48 };

/// `sign * magnitude * 2^scale`, with `lost` telling that a positive amount below the last bit was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exact {
    pub negative: bool,
    pub magnitude: u128,
    pub scale: i32,
    pub lost: bool,
}

/// How to round: to nearest even, to zero, down, up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Nearest,
    Zero,
    Down,
    Up,
}

impl Float {
    pub fn sign(self) -> u64 {
        1 << (self.fraction + self.exponent)
    }

    pub fn infinity(self) -> u64 {
        ((1 << self.exponent) - 1) << self.fraction
    }

    pub fn one(self) -> u64 {
        (self.infinity() >> 1) & !((1 << self.fraction) - 1)
    }

    pub fn is_nan(self, bits: u64) -> bool {
        bits & (self.sign() - 1) > self.infinity()
    }

    pub fn is_infinite(self, bits: u64) -> bool {
        bits & (self.sign() - 1) == self.infinity()
    }

    pub fn flush(self, bits: u64) -> u64 {
        if bits & (self.sign() - 1) < 1 << self.fraction { bits & self.sign() } else { bits }
    }

    /// A finite value.
    pub fn exact(self, bits: u64) -> Exact {
        let bias = (1 << (self.exponent - 1)) - 1;
        let field = (bits >> self.fraction & ((1 << self.exponent) - 1)) as i32;
        let fraction = u128::from(bits & ((1 << self.fraction) - 1));
        let magnitude = if field == 0 { fraction } else { fraction | 1 << self.fraction };
        let scale = field.max(1) - bias - self.fraction as i32;
        Exact { negative: bits & self.sign() != 0, magnitude, scale, lost: false }
    }

    /// The value nearest to `x` in a direction: of all magnitudes, found by bisection, the last that is not above it
    /// or the one after.
    pub fn rounded(self, x: Exact, direction: Direction) -> u64 {
        let sign = if x.negative { self.sign() } else { 0 };
        let (mut low, mut high) = (0, self.infinity());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if compare_magnitudes(self.exact(middle), x).is_le() { low = middle } else { high = middle }
        }
        if compare_magnitudes(self.exact(low), x).is_eq() {
            return sign | low;
        }
        let up = match direction {
            Direction::Zero => false,
            Direction::Down => x.negative,
            Direction::Up => !x.negative,
            Direction::Nearest => {
                // The tie between neighbours: one more bit than the format has. Infinity stands for the next power.
                let a = self.exact(low);
                let tie = Exact { magnitude: 2 * a.magnitude + 1, scale: a.scale - 1, ..a };
                match compare_magnitudes(x, tie) {
                    std::cmp::Ordering::Less => false,
                    std::cmp::Ordering::Greater => true,
                    std::cmp::Ordering::Equal => low & 1 == 1,
                }
            }
        };
        sign | (low + u64::from(up))
    }
}

/// Compares `|a|` with `|b|`.
pub fn compare_magnitudes(a: Exact, b: Exact) -> std::cmp::Ordering {
    let length = |x: Exact| 128 - x.magnitude.leading_zeros() as i32;
    let by_lost = a.lost.cmp(&b.lost);
    if a.magnitude == 0 || b.magnitude == 0 {
        return (a.magnitude != 0).cmp(&(b.magnitude != 0)).then(by_lost);
    }
    let by_length = (length(a) + a.scale).cmp(&(length(b) + b.scale));
    // Of the same length: shift both up to the top and compare bits.
    let top = |x: Exact| x.magnitude << x.magnitude.leading_zeros();
    by_length.then(top(a).cmp(&top(b))).then(by_lost)
}

/// Bits worth trying: zeros, ones, subnormals, limits, infinities, NaNs and neighbours.
pub fn edges(format: Float) -> Vec<u64> {
    let (inf, one, normal) = (format.infinity(), format.one(), 1u64 << format.fraction);
    let mut all = vec![0, 1, 2, 3, normal / 2, normal - 1, normal, normal + 1, inf - 1, inf - 2, inf, inf + 1];
    all.extend([
        format.sign() - 1,
        one - 1,
        one,
        one + 1,
        one + normal,
        one - normal,
        one + normal / 2,
        inf | (normal / 2),
    ]);
    // Around integers' limits: 2^7 to 2^9, 2^15 to 2^17, 2^31 to 2^33, 2^63 to 2^65, where the format has them.
    for power in [7u64, 8, 9, 15, 16, 17, 23, 24, 31, 32, 33, 63, 64, 65] {
        let at = one + (power << format.fraction);
        if at < inf {
            all.extend([at - 1, at, at + 1]);
        }
    }
    all.sort_unstable();
    all.dedup();
    all.iter().flat_map(|&bits| [bits, bits | format.sign()]).collect()
}

/// The value in double precision.
pub fn double(format: Float, bits: u64) -> f64 {
    if format.is_nan(bits) {
        return f64::NAN;
    }
    let sign = if bits & format.sign() != 0 { -1.0 } else { 1.0 };
    if format.is_infinite(bits) {
        return sign * f64::INFINITY;
    }
    let exact = format.exact(bits);
    sign * exact.magnitude as f64 * f64::from(exact.scale).exp2()
}
