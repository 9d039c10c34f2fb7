//! Arithmetic of `f32` and `f64`: rounding against exact fractions, everything else against the ISA's rules.

use std::cmp::Ordering;

use crate::fraction::{Dyadic, Exact};
use crate::harness::{Bench, Random, Values, check, check_with, inputs};

/// A format by its number of bits.
#[derive(Clone, Copy)]
pub struct Format {
    pub bits: u32,
    fraction: u32,
}
pub const SINGLE: Format = Format { bits: 32, fraction: 23 };
pub const DOUBLE: Format = Format { bits: 64, fraction: 52 };

impl Format {
    pub fn name(self) -> String {
        format!("f{}", self.bits)
    }

    fn register(self) -> char {
        if self.bits == 32 { 'f' } else { 'g' }
    }

    pub fn sign(self) -> u64 {
        1 << (self.bits - 1)
    }

    fn infinity(self) -> u64 {
        self.sign() - (1 << self.fraction)
    }

    fn nan(self) -> u64 {
        self.sign() - 1
    }

    pub fn value(self, bits: u64) -> f64 {
        if self.bits == 32 { f32::from_bits(bits as u32).into() } else { f64::from_bits(bits) }
    }

    /// As a number to compare with. An infinity of `f32` is further away than any result here, except that the nearest
    /// is found as if it were the next power of two.
    fn neighbour(self, bits: u64, mode: &str) -> f64 {
        let far = if mode == "rn" { 2f64.powi(128) } else { f64::MAX };
        match self.value(bits) {
            v if self.bits == 32 && v.is_infinite() => far.copysign(v),
            v => v,
        }
    }

    fn up(self, bits: u64) -> u64 {
        if bits == self.sign() {
            1
        } else if bits & self.sign() == 0 {
            if bits == self.infinity() { bits } else { bits + 1 }
        } else {
            bits - 1
        }
    }

    fn down(self, bits: u64) -> u64 {
        self.up(bits ^ self.sign()) ^ self.sign()
    }

    fn edges(self) -> Vec<u64> {
        let one = (self.infinity() >> (self.fraction + 1)) << self.fraction;
        let least = 1 << self.fraction;
        let positive = [
            0,
            1,
            3,
            least - 1,
            least,
            least + 1,
            one - 1,
            one,
            one + 1,
            one + least + 7,
            self.infinity() - 1,
            self.infinity(),
        ];
        let mut all: Vec<u64> = positive.iter().flat_map(|&v| [v, v | self.sign()]).collect();
        all.extend([self.nan(), self.infinity() + 1, self.sign() | self.infinity() | 1 << (self.fraction - 1)]);
        all
    }

    /// Any bits; often of like exponents, so that sums cancel; often near the ends.
    fn random(self, random: &mut Random) -> u64 {
        let any = random.next() >> (64 - self.bits);
        let one = (self.infinity() >> (self.fraction + 1)) << self.fraction;
        match random.next() % 6 {
            0 | 1 => any,
            2 | 3 => (any & (self.sign() | ((4 << self.fraction) - 1))) + one - (2 << self.fraction),
            4 => any & (self.sign() | ((4 << self.fraction) - 1)),
            _ => any & (self.sign() | ((1 << self.fraction) - 1) & !0xfff) | one,
        }
    }

    fn tuples(self, n: usize, more: usize) -> Vec<Vec<u64>> {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 + u64::from(self.bits));
        let edges = self.edges();
        inputs(n, &edges, more, move || self.random(&mut random))
    }
}

const OPERATIONS: [(&str, usize); 7] =
    [("add", 2), ("sub", 2), ("mul", 2), ("div", 2), ("fma", 3), ("rcp", 1), ("sqrt", 1)];

/// The result of finite operands before rounding, `None` where there is none.
fn exact(op: &str, v: &[f64]) -> Option<Exact> {
    let d: Vec<Dyadic> = v.iter().map(|&x| Dyadic::of(x)).collect();
    Some(match op {
        "add" => Exact::Value(d[0].plus(&d[1])),
        "sub" => Exact::Value(d[0].plus(&Dyadic::of(-v[1]))),
        "mul" => Exact::Value(d[0].times(&d[1])),
        "fma" => Exact::Value(d[0].times(&d[1]).plus(&d[2])),
        "div" if v[1] != 0.0 => Exact::Quotient(d[0].clone(), d[1].clone()),
        "rcp" if v[0] != 0.0 => Exact::Quotient(Dyadic::of(1.0), d[0].clone()),
        "sqrt" if v[0] >= 0.0 => Exact::Root(d[0].clone()),
        _ => return None,
    })
}

/// The result where an operand or the result is special: IEEE 754 gives the same in every format.
fn special(op: &str, v: &[f64]) -> f64 {
    match op {
        "add" => v[0] + v[1],
        "sub" => v[0] - v[1],
        "mul" => v[0] * v[1],
        "div" => v[0] / v[1],
        "rcp" => 1.0 / v[0],
        "sqrt" => v[0].sqrt(),
        // A product that overflows or underflows here and not in truth must not decide.
        _ if v[..2].iter().all(|x| x.is_finite()) && v[2].is_infinite() => v[2],
        _ => v[0] * v[1] + v[2],
    }
}

/// Whether a zero result of exactly zero must be negative.
fn zero_is_negative(op: &str, mode: &str, v: &[f64]) -> bool {
    let n = |i: usize| v[i].is_sign_negative();
    let sum = |a: bool, b: bool| if a == b { a } else { mode == "rm" };
    match op {
        "add" => sum(n(0), n(1)),
        "sub" => sum(n(0), !n(1)),
        "fma" => sum(n(0) != n(1), n(2)),
        "mul" | "div" => n(0) != n(1),
        _ => n(0),
    }
}

fn right(format: Format, op: &str, mode: &str, operands: &[u64], found: u64) -> Result<(), String> {
    let v: Vec<f64> = operands.iter().map(|&bits| format.value(bits)).collect();
    let exact = if v.iter().all(|x| x.is_finite()) { exact(op, &v) } else { None };
    let value = format.value(found);
    let verdict = |ok: bool, what: &str| if ok { Ok(()) } else { Err(what.to_string()) };
    let Some(exact) = exact else {
        let expected = special(op, &v);
        if expected.is_nan() {
            return verdict(found == format.nan(), "the one NaN expected");
        }
        let same = value == expected && value.is_sign_negative() == expected.is_sign_negative();
        return verdict(same, "another special value expected");
    };
    if value.is_nan() {
        return Err("a number expected".into());
    }
    let sign = exact.sign();
    let negative = if sign == Ordering::Equal { zero_is_negative(op, mode, &v) } else { sign == Ordering::Less };
    verdict(value.is_sign_negative() == negative, "the other sign expected")?;
    // The doubles past the largest are no doubles.
    if format.bits == 64 && (value.is_infinite() || value.abs() == f64::MAX) {
        return Ok(());
    }
    let (below, above) = (format.down(found), format.up(found));
    let [below, value, above] = [below, found, above].map(|bits| format.neighbour(bits, mode));
    // Past the infinity of `f32` there is nothing.
    let (below, above) = if value == 2f64.powi(128) { (below, f64::MAX) } else { (below, above) };
    let (below, above) = if value == -2f64.powi(128) { (-f64::MAX, above) } else { (below, above) };
    verdict(exact.rounds_to(mode, below, value, above, found & 1 == 0), "not the nearest on the right side")
}

fn code(format: Format, op: &str, n: usize, suffix: &str) -> String {
    let r = format.register();
    let operands: Vec<String> = (0..=n).map(|i| format!("%{r}{i}")).collect();
    format!("{op}{suffix}.{} {};", format.name(), operands.join(", "))
}

fn rounding(format: Format, more: usize) {
    for (op, n) in OPERATIONS {
        for mode in ["rn", "rz", "rm", "rp"] {
            let tuples = format.tuples(n, more);
            check_with(&code(format, op, n, &format!(".{mode}")), &tuples, |t, found| {
                right(format, op, mode, t, found)
            });
        }
    }
}

#[test]
fn f32_is_rounded_as_asked() {
    rounding(SINGLE, 20_000);
}

#[test]
fn f64_is_rounded_as_asked() {
    rounding(DOUBLE, 5_000);
}

/// Halfway cases and overflow of doubles, which the check above leaves out, worked out by hand.
#[test]
fn f64_overflows_as_its_rounding_says() {
    let (max, inf) = (f64::MAX, f64::INFINITY);
    for (mode, above, below) in [("rn", inf, -inf), ("rz", max, -max), ("rm", max, -inf), ("rp", inf, -max)] {
        for (op, t) in
            [("add", vec![max, max]), ("mul", vec![max, 2.0]), ("div", vec![max, 0.5]), ("fma", vec![max, 2.0, -1.0])]
        {
            let up: Vec<u64> = t.iter().map(|x| x.to_bits()).collect();
            let down: Vec<u64> = match op {
                "mul" | "div" => vec![(-t[0]).to_bits(), t[1].to_bits()],
                "fma" => vec![(-t[0]).to_bits(), t[1].to_bits(), 1f64.to_bits()],
                _ => t.iter().map(|x| (-x).to_bits()).collect(),
            };
            let expected = [above.to_bits(), below.to_bits()];
            let code = code(DOUBLE, op, t.len(), &format!(".{mode}"));
            check(&code, std::slice::from_ref(&up), |_| expected[0]);
            check(&code, std::slice::from_ref(&down), |_| expected[1]);
        }
        // MAX itself, and a quarter of its last place more: nearest and down stay, up overflows.
        let quarter = 2f64.powi(969);
        let t = [max.to_bits(), quarter.to_bits()];
        let expected = if mode == "rp" { inf } else { max };
        check(&code(DOUBLE, "add", 2, &format!(".{mode}")), &[t.to_vec()], |_| expected.to_bits());
    }
}

/// What `.ftz` makes of a number.
fn flushed(bits: u64) -> u64 {
    if bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { bits }
}

fn saturated(bits: u64) -> u64 {
    let v = f32::from_bits(bits as u32);
    if v.is_nan() || v <= 0.0 { 0 } else { u64::from(v.min(1.0).to_bits()) }
}

#[test]
fn flushing_and_saturation_act_on_operands_and_results() {
    for (op, n) in OPERATIONS {
        for mode in ["rn", "rz", "rm", "rp"] {
            let plain = Bench::new(&code(SINGLE, op, n, &format!(".{mode}")));
            let rows = |t: &[Vec<u64>], f: fn(u64) -> u64| -> Vec<Values> {
                (0..n).map(|s| std::array::from_fn(|i| f(t[i][s]))).collect()
            };
            for (suffix, ftz, sat) in [(".ftz", true, false), (".sat", false, true), (".ftz.sat", true, true)] {
                if sat && matches!(op, "div" | "rcp" | "sqrt") {
                    continue;
                }
                let bench = Bench::new(&code(SINGLE, op, n, &format!(".{mode}{suffix}")));
                for chunk in SINGLE.tuples(n, 2000).chunks_exact(32) {
                    let unchanged = |v| v;
                    let (out, _) = plain.run(1, &rows(chunk, if ftz { flushed } else { unchanged }), u32::MAX, 0);
                    let (found, _) = bench.run(1, &rows(chunk, unchanged), u32::MAX, 0);
                    for i in 0..32 {
                        let result = if ftz { flushed(out[0][i]) } else { out[0][i] };
                        let expected = if sat { saturated(result) } else { result };
                        assert_eq!(found[0][i], expected, "{op}.{mode}{suffix} of {:x?}", chunk[i]);
                    }
                }
            }
        }
    }
}

#[test]
fn mad_is_fused_and_rounding_defaults_to_nearest() {
    check_with("mad.rn.f32 %f0, %f1, %f2, %f3;", &SINGLE.tuples(3, 100), |t, r| right(SINGLE, "fma", "rn", t, r));
    for op in ["add", "sub", "mul"] {
        check_with(&code(SINGLE, op, 2, ""), &SINGLE.tuples(2, 100), |t, r| right(SINGLE, op, "rn", t, r));
        check_with(&code(DOUBLE, op, 2, ""), &DOUBLE.tuples(2, 100), |t, r| right(DOUBLE, op, "rn", t, r));
    }
}

#[test]
fn signs_and_properties() {
    for format in [SINGLE, DOUBLE] {
        let one = format.tuples(1, 500);
        check(&code(format, "abs", 1, ""), &one, |t| t[0] & !format.sign());
        check(&code(format, "neg", 1, ""), &one, |t| t[0] ^ format.sign());
        check(&code(format, "copysign", 2, ""), &format.tuples(2, 500), |t| {
            t[1] & !format.sign() | t[0] & format.sign()
        });
        let field = |bits: u64| (bits & !format.sign()) >> format.fraction;
        let infinite = |bits: u64| bits & !format.sign() == format.infinity();
        let nan = |bits: u64| bits & !format.sign() > format.infinity();
        let zero = |bits: u64| bits & !format.sign() == 0;
        let top = format.infinity() >> format.fraction;
        let properties: [(&str, &dyn Fn(u64) -> bool); 6] = [
            ("finite", &|b| field(b) != top),
            ("infinite", &infinite),
            ("number", &|b| !nan(b)),
            ("notanumber", &nan),
            ("normal", &|b| field(b) != top && (field(b) != 0 || zero(b))),
            ("subnormal", &|b| field(b) == 0 && !zero(b)),
        ];
        for (name, holds) in properties {
            let code = format!("testp.{name}.{} %p1, %{}2;", format.name(), format.register());
            check(&code, &one, |t| holds(t[0]).into());
        }
    }
    check("abs.ftz.f32 %f0, %f1;", &SINGLE.tuples(1, 500), |t| flushed(t[0]) & 0x7fff_ffff);
    check("neg.ftz.f32 %f0, %f1;", &SINGLE.tuples(1, 500), |t| flushed(t[0]) ^ 0x8000_0000);
}

/// As the ISA's pseudo-code has it, on bits.
fn extreme(format: Format, max: bool, nan_wins: bool, a: u64, b: u64) -> u64 {
    let nan = |v: u64| format.value(v).is_nan();
    match (nan(a), nan(b)) {
        (true, true) => format.nan(),
        (true, false) | (false, true) if nan_wins => format.nan(),
        (true, false) => b,
        (false, true) => a,
        _ => {
            let (x, y) = (format.value(a), format.value(b));
            let a_less = x < y || x == y && a & format.sign() != 0;
            if a_less != max { a } else { b }
        }
    }
}

#[test]
fn minima_and_maxima() {
    for (op, max) in [("min", false), ("max", true)] {
        check(&code(DOUBLE, op, 2, ""), &DOUBLE.tuples(2, 2000), |t| extreme(DOUBLE, max, false, t[0], t[1]));
        for (suffix, ftz, nan_wins, xorsign) in [
            ("", false, false, false),
            (".ftz", true, false, false),
            (".NaN", false, true, false),
            (".ftz.NaN", true, true, false),
            (".xorsign.abs", false, false, true),
            (".NaN.xorsign.abs", false, true, true),
            (".ftz.xorsign.abs", true, false, true),
            (".ftz.NaN.xorsign.abs", true, true, true),
        ] {
            check(&code(SINGLE, op, 2, suffix), &SINGLE.tuples(2, 2000), |t| {
                let (a, b) = if ftz { (flushed(t[0]), flushed(t[1])) } else { (t[0], t[1]) };
                if !xorsign {
                    return extreme(SINGLE, max, nan_wins, a, b);
                }
                let number = extreme(SINGLE, max, nan_wins, a & 0x7fff_ffff, b & 0x7fff_ffff);
                if number == SINGLE.nan() { number } else { number | (a ^ b) & 0x8000_0000 }
            });
        }
    }
}
