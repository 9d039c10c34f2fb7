//! The oracle of rounding: results stay fractions of big integers, and a rounded one is checked against its neighbours.

use std::cmp::Ordering;

use num_bigint::{BigInt, Sign};

/// `m * 2^e`
#[derive(Clone)]
pub struct Dyadic {
    m: BigInt,
    e: i32,
}

impl Dyadic {
    /// A finite double; of infinities the power of two they would be if exponents went on.
    pub fn of(x: f64) -> Dyadic {
        let (bits, sign) = (x.abs().to_bits(), if x < 0.0 { -1 } else { 1 });
        let field = (bits >> 52) as i32;
        let m = if field == 0 { bits } else { bits & ((1 << 52) - 1) | 1 << 52 };
        Dyadic { m: BigInt::from(m) * sign, e: field.max(1) - 1075 }
    }

    fn at(&self, e: i32) -> BigInt {
        &self.m << (self.e - e)
    }

    pub fn plus(&self, other: &Dyadic) -> Dyadic {
        let e = self.e.min(other.e);
        Dyadic { m: self.at(e) + other.at(e), e }
    }

    pub fn times(&self, other: &Dyadic) -> Dyadic {
        Dyadic { m: &self.m * &other.m, e: self.e + other.e }
    }

    fn compare(&self, other: &Dyadic) -> Ordering {
        let e = self.e.min(other.e);
        self.at(e).cmp(&other.at(e))
    }

    fn sign(&self) -> Ordering {
        match self.m.sign() {
            Sign::Minus => Ordering::Less,
            Sign::NoSign => Ordering::Equal,
            Sign::Plus => Ordering::Greater,
        }
    }
}

/// A result before rounding.
pub enum Exact {
    Value(Dyadic),
    Quotient(Dyadic, Dyadic),
    Root(Dyadic),
}

impl Exact {
    /// How `x` compares with it.
    fn against(&self, x: &Dyadic) -> Ordering {
        match self {
            Exact::Value(v) => x.compare(v),
            Exact::Quotient(a, b) if b.sign() == Ordering::Less => a.compare(&x.times(b)),
            Exact::Quotient(a, b) => x.times(b).compare(a),
            Exact::Root(_) if x.sign() == Ordering::Less => Ordering::Less,
            Exact::Root(a) => x.times(x).compare(a),
        }
    }

    pub fn sign(&self) -> Ordering {
        self.against(&Dyadic::of(0.0)).reverse()
    }

    /// Whether `found`, with the doubles next below and above in its format, is what rounding gives. `even` says that
    /// its last bit is 0; an infinity must come as the first power of two that is too large.
    pub fn rounds_to(&self, mode: &str, below: f64, found: f64, above: f64, even: bool) -> bool {
        let x = |v| self.against(&Dyadic::of(v));
        let down = || x(found) != Ordering::Greater && x(above) == Ordering::Greater;
        let up = || x(found) != Ordering::Less && x(below) == Ordering::Less;
        match mode {
            "rm" => down(),
            "rp" => up(),
            "rz" if self.sign() == Ordering::Less => up(),
            "rz" => down(),
            _ => {
                // Halfway between neighbours: the sum, with the exponent less by one.
                let middle = |other| {
                    let sum = Dyadic::of(found).plus(&Dyadic::of(other));
                    self.against(&Dyadic { e: sum.e - 1, ..sum })
                };
                let (low, high) = (middle(below), middle(above));
                (low == Ordering::Less || even && low == Ordering::Equal)
                    && (high == Ordering::Greater || even && high == Ordering::Equal)
            }
        }
    }
}
