//! Halves and bfloats against exact arithmetic, at every SIMD level.

mod exact;
mod runner;

use exact::{BF16, Direction, Exact, F16, Float, double, edges};
use runner::{Random, Runner, Values};

fn all16() -> impl Iterator<Item = [u64; 1]> {
    (0..=0xffffu64).map(|v| [v])
}

/// Every pair of edges and many random pairs.
fn pairs(format: Float) -> Vec<[u64; 2]> {
    let edges = edges(format);
    let mut all: Vec<_> = edges.iter().flat_map(|&a| edges.iter().map(move |&b| [a, b])).collect();
    let mut random = Random(16);
    all.extend((0..100_000).map(|_| [random.bits() & 0xffff, random.bits() & 0xffff]));
    all
}

fn triples(format: Float) -> Vec<[u64; 3]> {
    let edges: Vec<u64> = edges(format).into_iter().step_by(3).collect();
    let mut all = Vec::new();
    for &a in &edges {
        for &b in &edges {
            all.extend(edges.iter().map(|&c| [a, b, c]));
        }
    }
    let mut random = Random(17);
    for _ in 0..200_000 {
        let [a, b, c] = [random.bits(), random.bits(), random.bits()].map(|v| v & 0xffff);
        all.push([a, b, c]);
        // A third operand near the product, where sums cancel and ties are near; and far below it, where they stick.
        if ![a, b].iter().any(|&v| format.is_nan(v) || format.is_infinite(v)) {
            let product = format.rounded(times(format.exact(a), format.exact(b)), Direction::Nearest);
            let near = (product ^ format.sign()).wrapping_add(c & 3) & 0xffff;
            all.extend([[a, b, near], [a, b, c & (format.sign() | ((2 << format.fraction) - 1))]]);
        }
    }
    all
}

fn times(a: Exact, b: Exact) -> Exact {
    Exact {
        negative: a.negative != b.negative,
        magnitude: a.magnitude * b.magnitude,
        scale: a.scale + b.scale,
        lost: false,
    }
}

/// The exact sum; what lies more than 100 bits below the larger one is told by `lost` alone.
fn plus(a: Exact, b: Exact) -> Exact {
    let length = |x: Exact| 128 - x.magnitude.leading_zeros() as i32 + x.scale;
    let (a, b) = if b.magnitude == 0 || (a.magnitude != 0 && length(a) >= length(b)) { (a, b) } else { (b, a) };
    if b.magnitude == 0 {
        // Zeros of unlike sign add up to the positive one.
        let negative = if a.magnitude == 0 { a.negative && b.negative } else { a.negative };
        return Exact { negative, ..a };
    }
    // 100 bits for the larger one: more than its 22, so the shift is positive.
    let shift = 100 - (length(a) - a.scale);
    let (large, scale) = (a.magnitude << shift, a.scale - shift);
    let down = scale - b.scale;
    let (small, lost) = if down <= 0 {
        (b.magnitude << -down, false)
    } else if down > 120 {
        (0, true)
    } else {
        (b.magnitude >> down, b.magnitude & ((1 << down) - 1) != 0)
    };
    if a.negative == b.negative {
        return Exact { negative: a.negative, magnitude: large + small, scale, lost };
    }
    // What is lost is subtracted: one unit less, and a rest.
    let small = small + u128::from(lost);
    let negative = if large == small {
        false
    } else if large > small {
        a.negative
    } else {
        b.negative
    };
    Exact { negative, magnitude: large.abs_diff(small), scale, lost }
}

/// `a * b + c` rounded to nearest, by IEEE 754's rules for the specials.
fn fused(format: Float, [a, b, c]: [u64; 3]) -> u64 {
    let zero = |v| v & (format.sign() - 1) == 0;
    let infinite = |v| format.is_infinite(v);
    let sign = (a ^ b) & format.sign();
    if [a, b, c].iter().any(|&v| format.is_nan(v)) || (infinite(a) && zero(b)) || (zero(a) && infinite(b)) {
        return format.nan;
    }
    if infinite(a) || infinite(b) {
        return if infinite(c) && c & format.sign() != sign { format.nan } else { sign | format.infinity() };
    }
    if infinite(c) {
        return c;
    }
    format.rounded(plus(times(format.exact(a), format.exact(b)), format.exact(c)), Direction::Nearest)
}

fn sum(format: Float, [a, b]: [u64; 2]) -> u64 {
    fused(format, [a, format.one(), b])
}

fn difference(format: Float, [a, b]: [u64; 2]) -> u64 {
    sum(format, [a, b ^ format.sign()])
}

/// A product is a fused one with the zero of its sign.
fn product(format: Float, [a, b]: [u64; 2]) -> u64 {
    fused(format, [a, b, (a ^ b) & format.sign()])
}

fn saturated(format: Float, bits: u64) -> u64 {
    if format.is_nan(bits) || bits & format.sign() != 0 { 0 } else { bits.min(format.one()) }
}

fn relu(format: Float, bits: u64) -> u64 {
    if format.is_nan(bits) {
        format.nan
    } else if bits & format.sign() != 0 {
        0
    } else {
        bits
    }
}

/// Runs the packed form on pairs of inputs, so that neither half may disturb the other.
fn check_packed<const N: usize>(text: &str, inputs: &[[u64; N]], expected: impl Fn([u64; N]) -> u64) {
    let reversed = inputs.iter().rev();
    let both = inputs.iter().zip(reversed).map(|(lower, upper)| std::array::from_fn(|i| lower[i] | upper[i] << 16));
    Runner::new(text)
        .check(both, |packed: [u64; N]| expected(packed.map(|v| v & 0xffff)) | expected(packed.map(|v| v >> 16)) << 16);
}

type Binary = fn(Float, [u64; 2]) -> u64;
const BINARIES: [(&str, Binary); 3] = [("add", sum), ("sub", difference), ("mul", product)];

#[test]
fn sums_differences_and_products_of_halves_round_once() {
    let inputs = pairs(F16);
    for (name, of) in BINARIES {
        let flushed = |i: [u64; 2]| F16.flush(of(F16, i.map(|v| F16.flush(v))));
        Runner::new(&format!("{name}.f16 %h0, %h1, %h2")).check(inputs.iter().copied(), |i| of(F16, i));
        Runner::new(&format!("{name}.rn.ftz.f16 %h0, %h1, %h2")).check(inputs.iter().copied(), flushed);
        Runner::new(&format!("{name}.sat.f16 %h0, %h1, %h2"))
            .check(inputs.iter().copied(), |i| saturated(F16, of(F16, i)));
        Runner::new(&format!("{name}.ftz.sat.f16 %h0, %h1, %h2"))
            .check(inputs.iter().copied(), |i| saturated(F16, flushed(i)));
        check_packed(&format!("{name}.f16x2 %r0, %r1, %r2"), &inputs, |i| of(F16, i));
        check_packed(&format!("{name}.ftz.sat.f16x2 %r0, %r1, %r2"), &inputs, |i| saturated(F16, flushed(i)));
    }
}

#[test]
fn sums_differences_and_products_of_bfloats_round_once() {
    let inputs = pairs(BF16);
    for (name, of) in BINARIES {
        Runner::new(&format!("{name}.bf16 %h0, %h1, %h2")).check(inputs.iter().copied(), |i| of(BF16, i));
        check_packed(&format!("{name}.rn.bf16x2 %r0, %r1, %r2"), &inputs, |i| of(BF16, i));
    }
}

#[test]
fn products_of_bfloats_near_the_smallest_one_round_once() {
    // Every pair of significands with exponents that put the product between 2^-137 and 2^-123.
    let mut inputs = Vec::new();
    for exponents in 117..=130u64 {
        let (first, second) = ((exponents / 2) << 7, (exponents - exponents / 2) << 7);
        inputs.extend((0..1u64 << 14).map(|v| [first | v & 127, second | v >> 7]));
    }
    Runner::new("mul.bf16 %h0, %h1, %h2").check(inputs, |i| product(BF16, i));
}

#[test]
fn fused_products_of_halves_round_once() {
    let inputs = triples(F16);
    let of = |i| fused(F16, i);
    let flushed = |i: [u64; 3]| F16.flush(of(i.map(|v| F16.flush(v))));
    Runner::new("fma.rn.f16 %h0, %h1, %h2, %h3").check(inputs.iter().copied(), of);
    Runner::new("fma.rn.ftz.f16 %h0, %h1, %h2, %h3").check(inputs.iter().copied(), flushed);
    Runner::new("fma.rn.sat.f16 %h0, %h1, %h2, %h3").check(inputs.iter().copied(), |i| saturated(F16, of(i)));
    Runner::new("fma.rn.relu.f16 %h0, %h1, %h2, %h3").check(inputs.iter().copied(), |i| relu(F16, of(i)));
    Runner::new("fma.rn.ftz.relu.f16 %h0, %h1, %h2, %h3").check(inputs.iter().copied(), |i| relu(F16, flushed(i)));
    check_packed("fma.rn.f16x2 %r0, %r1, %r2, %r3", &inputs, of);
    check_packed("fma.rn.ftz.sat.f16x2 %r0, %r1, %r2, %r3", &inputs, |i| saturated(F16, flushed(i)));
}

#[test]
fn fused_products_of_bfloats_round_once() {
    let inputs = triples(BF16);
    let of = |i| fused(BF16, i);
    Runner::new("fma.rn.bf16 %h0, %h1, %h2, %h3").check(inputs.iter().copied(), of);
    Runner::new("fma.rn.relu.bf16 %h0, %h1, %h2, %h3").check(inputs.iter().copied(), |i| relu(BF16, of(i)));
    check_packed("fma.rn.bf16x2 %r0, %r1, %r2, %r3", &inputs, of);
}

#[test]
fn signs_of_halves_are_bits() {
    Runner::new("neg.f16 %h0, %h1").check(all16(), |[a]| a ^ 0x8000);
    Runner::new("neg.bf16 %h0, %h1").check(all16(), |[a]| a ^ 0x8000);
    Runner::new("abs.f16 %h0, %h1").check(all16(), |[a]| a & 0x7fff);
    Runner::new("abs.bf16 %h0, %h1").check(all16(), |[a]| a & 0x7fff);
    Runner::new("neg.ftz.f16 %h0, %h1").check(all16(), |[a]| F16.flush(a) ^ 0x8000);
    Runner::new("abs.ftz.f16 %h0, %h1").check(all16(), |[a]| F16.flush(a) & 0x7fff);
    let inputs: Vec<_> = all16().collect();
    check_packed("neg.f16x2 %r0, %r1", &inputs, |[a]| a ^ 0x8000);
    check_packed("abs.bf16x2 %r0, %r1", &inputs, |[a]| a & 0x7fff);
}

/// The ISA's text, line by line (section 9.7.4.7), with the order of zeros from its notes.
fn extremum(format: Float, [mut a, mut b]: [u64; 2], largest: bool, nan: bool, xorsign: bool) -> u64 {
    let sign = (a ^ b) & 0x8000;
    if xorsign {
        (a, b) = (a & 0x7fff, b & 0x7fff);
    }
    let place = |v: u64| if v & 0x8000 == 0 { v as i64 } else { -1 - (v & 0x7fff) as i64 };
    let d = match (format.is_nan(a), format.is_nan(b)) {
        (true, true) => return format.nan,
        (true, false) | (false, true) if nan => return format.nan,
        (true, false) => b,
        (false, true) => a,
        _ if (place(a) > place(b)) == largest => a,
        _ => b,
    };
    if xorsign { d & 0x7fff | sign } else { d }
}

#[test]
fn extrema_of_halves_follow_the_text() {
    for (largest, name) in [(false, "min"), (true, "max")] {
        for nan in [false, true] {
            for xorsign in [false, true] {
                let words = format!("{}{}", if nan { ".NaN" } else { "" }, if xorsign { ".xorsign.abs" } else { "" });
                let of = |format, i| extremum(format, i, largest, nan, xorsign);
                let flushed = |i: [u64; 2]| of(F16, i.map(|v| F16.flush(v)));
                let inputs = pairs(F16);
                Runner::new(&format!("{name}{words}.f16 %h0, %h1, %h2")).check(inputs.iter().copied(), |i| of(F16, i));
                Runner::new(&format!("{name}.ftz{words}.f16 %h0, %h1, %h2")).check(inputs.iter().copied(), flushed);
                check_packed(&format!("{name}{words}.f16x2 %r0, %r1, %r2"), &inputs, |i| of(F16, i));
                let inputs = pairs(BF16);
                Runner::new(&format!("{name}{words}.bf16 %h0, %h1, %h2"))
                    .check(inputs.iter().copied(), |i| of(BF16, i));
                check_packed(&format!("{name}{words}.bf16x2 %r0, %r1, %r2"), &inputs, |i| of(BF16, i));
            }
        }
    }
}

#[test]
fn powers_of_two_stay_within_the_stated_error() {
    // The ISA allows relative errors of 2^-9.9 and 2^-7; below the normal values half of the last place is all there is.
    for (text, format, bound, ftz) in
        [("ex2.approx.f16", F16, -9.9f64, false), ("ex2.approx.ftz.bf16", BF16, -7.0, true)]
    {
        let runner = Runner::new(&format!("{text} %h0, %h1"));
        let unit = double(format, 1);
        let smallest_normal = double(format, 1 << format.fraction);
        for base in (0..0x1_0000u64).step_by(32) {
            let inputs: Values = std::array::from_fn(|lane| base + lane as u64);
            let d = runner.run(1, &[inputs], u32::MAX)[0];
            for (a, d) in inputs.into_iter().zip(d) {
                if format.is_nan(a) {
                    assert_eq!(d, format.nan, "{text} of {a:#x}");
                    continue;
                }
                let (exact, found) = (double(format, a).exp2(), double(format, d));
                let largest = double(format, format.infinity() - 1);
                if exact > largest {
                    assert!(d == format.infinity() || d == format.infinity() - 1, "{text} of {a:#x} gives {d:#x}");
                } else if ftz && exact < smallest_normal * (1.0 - bound.exp2()) {
                    assert_eq!(d, 0, "{text} of {a:#x}");
                } else {
                    let tolerance = (exact * bound.exp2()).max(if ftz { 0.0 } else { unit * 0.5001 });
                    assert!((found - exact).abs() <= tolerance, "{text} of {a:#x}: {found} for {exact}");
                }
            }
        }
        // The table of corner cases.
        let one = format.one();
        let corners =
            [(format.sign() | format.infinity(), 0), (0x8000, one), (0, one), (format.infinity(), format.infinity())];
        runner.check(corners.iter().map(|c| [c.0]), |[a]| corners.iter().find(|c| c.0 == a).unwrap().1);
    }
    let scalar = Runner::new("ex2.approx.f16 %h0, %h1");
    let inputs: Vec<_> = (0..0x1_0000u64).step_by(7).map(|v| [v]).collect();
    check_packed("ex2.approx.f16x2 %r0, %r1", &inputs, |[a]| scalar.run(1, &[[a; 32]], u32::MAX)[0][0]);
}

#[test]
fn hyperbolic_tangents_stay_within_the_stated_error() {
    for (text, format, bound) in [("tanh.approx.f16", F16, -10.987f64), ("tanh.approx.bf16", BF16, -8.0)] {
        let runner = Runner::new(&format!("{text} %h0, %h1"));
        for base in (0..0x1_0000u64).step_by(32) {
            let inputs: Values = std::array::from_fn(|lane| base + lane as u64);
            let d = runner.run(1, &[inputs], u32::MAX)[0];
            for (a, d) in inputs.into_iter().zip(d) {
                if format.is_nan(a) {
                    assert_eq!(d, format.nan, "{text} of {a:#x}");
                    continue;
                }
                let (exact, found) = (double(format, a).tanh(), double(format, d));
                assert!((found - exact).abs() <= bound.exp2(), "{text} of {a:#x}: {found} for {exact}");
                assert_eq!(d & 0x8000, a & 0x8000, "{text} of {a:#x}: sign");
                // Small values are their own tangents: the relative error stays small too, about an ulp.
                let ulp = (-f64::from(format.fraction)).exp2();
                assert!((found - exact).abs() <= (exact.abs() * ulp).max(double(format, 1)), "{text} of {a:#x}");
            }
        }
        let corners = [(format.sign() | format.infinity(), 0x8000 | format.one()), (0x8000, 0x8000), (0, 0)];
        runner.check(corners.iter().map(|c| [c.0]), |[a]| corners.iter().find(|c| c.0 == a).unwrap().1);
    }
}

#[test]
fn lanes_outside_the_mask_stay() {
    let runner = Runner::new("add.f16x2 %r0, %r1, %r2");
    let d = runner.run(1, &[[0x3c00_3c00; 32], [0; 32]], 0x8000_0001)[0];
    for (lane, &d) in d.iter().enumerate() {
        assert_eq!(d, if lane == 0 || lane == 31 { 0x3c00_3c00 } else { 0xffff_ffff }, "lane {lane}");
    }
    let runner = Runner::new("setp.eq.f16x2 %p0|%p1, %r1, %r2");
    let d = runner.run(2, &[[0x3c00_0000; 32], [0; 32]], 0x0000_00ff);
    for (lane, pair) in d[0].iter().zip(d[1]).enumerate() {
        assert_eq!(pair, (&1, u64::from(lane >= 8)), "lane {lane}");
    }
}
