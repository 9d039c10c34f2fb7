//! Approximate functions: the ISA's bounds against the standard library in `f64`, and its special values.

use crate::floats::{DOUBLE, SINGLE};
use crate::harness::{Random, check, check_with, inputs};

/// `f32` bits from all over the format and close to where functions have their knees.
fn arguments() -> Vec<Vec<u64>> {
    let mut random = Random(0xdead_beef_cafe_f00d);
    let mut all: Vec<Vec<u64>> = (0..6000).map(|_| vec![random.next() >> 32]).collect();
    for _ in 0..6000 {
        let unit = (random.next() >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
        let scale = 2f64.powi((random.next() % 16) as i32 - 4);
        all.push(vec![u64::from(((unit * scale) as f32).to_bits())]);
        all.push(vec![(1.0 + unit * scale / 2048.0).abs().to_bits() >> 32]);
        all.push(vec![u64::from((1.0 + (unit * scale / 2048.0) as f32).to_bits())]);
    }
    all
}

fn single(bits: u64) -> f64 {
    SINGLE.value(bits)
}

fn near(found: u64, expected: f64, bound: f64) -> Result<(), String> {
    let error = (single(found) - expected).abs();
    // The bounds are on top of what no `f32` can represent: half a step at the bottom, infinity at the top.
    let slack = 2f64.powi(-150);
    let overflow = expected.abs() >= f64::from(f32::MAX) && single(found).abs() >= f64::from(f32::MAX);
    if overflow || error <= bound + slack { Ok(()) } else { Err(format!("{expected:e} expected, off by {error:e}")) }
}

/// Within `ulps` units in the last place of the expected result.
fn ulps(found: u64, expected: f64, ulps: f64) -> Result<(), String> {
    let exponent = expected.abs().log2().floor().max(-126.0);
    near(found, expected, ulps * (exponent - 23.0).exp2())
}

#[test]
fn within_the_bounds_of_the_isa() {
    let finite: Vec<Vec<u64>> = arguments().into_iter().filter(|t| single(t[0]).is_finite()).collect();
    let positive: Vec<Vec<u64>> = finite.iter().filter(|t| single(t[0]) > 0.0).cloned().collect();
    let nonzero: Vec<Vec<u64>> = finite.iter().filter(|t| single(t[0]) != 0.0).cloned().collect();
    let within =
        |range: f64| -> Vec<Vec<u64>> { finite.iter().filter(|t| single(t[0]).abs() <= range).cloned().collect() };
    check_with("ex2.approx.f32 %f0, %f1;", &finite, |t, r| ulps(r, single(t[0]).exp2(), 2.0));
    check_with("rcp.approx.f32 %f0, %f1;", &nonzero, |t, r| ulps(r, 1.0 / single(t[0]), 1.0));
    check_with("sqrt.approx.f32 %f0, %f1;", &positive, |t, r| {
        let root = single(t[0]).sqrt();
        near(r, root, root * 2f64.powi(-23))
    });
    check_with("rsqrt.approx.f32 %f0, %f1;", &positive, |t, r| {
        let root = 1.0 / single(t[0]).sqrt();
        near(r, root, root * 2f64.powf(-22.9))
    });
    check_with("lg2.approx.f32 %f0, %f1;", &positive, |t, r| {
        let (x, log) = (single(t[0]), single(t[0]).log2());
        near(r, log, if x > 0.5 && x < 2.0 { 2f64.powi(-22) } else { log.abs() * 2f64.powi(-22) })
    });
    check_with("tanh.approx.f32 %f0, %f1;", &finite, |t, r| {
        let tanh = single(t[0]).tanh();
        near(r, tanh, tanh.abs() * 2f64.powi(-11))
    });
    for (op, f) in [("sin", f64::sin as fn(f64) -> f64), ("cos", f64::cos)] {
        let turn = std::f64::consts::TAU;
        check_with(&format!("{op}.approx.f32 %f0, %f1;"), &within(turn), |t, r| {
            near(r, f(single(t[0])), 2f64.powf(-20.5))
        });
        // 100 pi
        let far = within(50.0 * turn);
        check_with(&format!("{op}.approx.f32 %f0, %f1;"), &far, |t, r| near(r, f(single(t[0])), 2f64.powf(-14.7)));
        check_with(&format!("{op}.approx.f32 %f0, %f1;"), &finite, |_, r| near(r, 0.0, 1.0));
    }
}

/// Far closer than the bounds: rounded once from about 40 good bits, so within 0.51 units in the last place.
#[test]
fn nearly_correctly_rounded() {
    let inside = |low: f64, high: f64| -> Vec<Vec<u64>> {
        arguments().into_iter().filter(|t| single(t[0]) >= low && single(t[0]) <= high).collect()
    };
    check_with("ex2.approx.f32 %f0, %f1;", &inside(-149.0, 127.9), |t, r| ulps(r, single(t[0]).exp2(), 0.51));
    check_with("lg2.approx.f32 %f0, %f1;", &inside(1e-45, 3e38), |t, r| {
        if t[0] == 0x3f80_0000 { near(r, 0.0, 0.0) } else { ulps(r, single(t[0]).log2(), 0.51) }
    });
    check_with("tanh.approx.f32 %f0, %f1;", &inside(-9.0, 9.0), |t, r| match single(t[0]) {
        0.0 => near(r, 0.0, 0.0),
        x => ulps(r, x.tanh(), 0.51),
    });
    check_with("sin.approx.f32 %f0, %f1;", &inside(-3.1, 3.1), |t, r| match single(t[0]) {
        0.0 => near(r, 0.0, 0.0),
        x => ulps(r, x.sin(), 0.51),
    });
}

#[test]
fn special_values() {
    let (inf, ninf, nan, pz, nz) = (0x7f80_0000, 0xff80_0000, 0x7fff_ffff, 0, 0x8000_0000);
    let (sub, nsub, one, none) = (5, 0x8000_0005, 0x3f80_0000, 0xbf80_0000);
    // Arguments: -inf, -1, -0, +0, +inf, NaN; with `.ftz` also a subnormal number of either sign.
    let arguments = [ninf, none, nz, pz, inf, 0x7f80_0001, nsub, sub];
    let table: [(&str, [Option<u64>; 8]); 8] = [
        ("rcp", [Some(nz), Some(none), Some(ninf), Some(inf), Some(pz), Some(nan), Some(ninf), Some(inf)]),
        ("sqrt", [Some(nan), Some(nan), Some(nz), Some(pz), Some(inf), Some(nan), Some(nz), Some(pz)]),
        ("rsqrt", [Some(nan), Some(nan), Some(ninf), Some(inf), Some(pz), Some(nan), Some(ninf), Some(inf)]),
        ("sin", [Some(nan), None, Some(nz), Some(pz), Some(nan), Some(nan), Some(nz), Some(pz)]),
        ("cos", [Some(nan), None, Some(one), Some(one), Some(nan), Some(nan), Some(one), Some(one)]),
        ("lg2", [Some(nan), Some(nan), Some(ninf), Some(ninf), Some(inf), Some(nan), Some(ninf), Some(ninf)]),
        ("ex2", [Some(pz), Some(0x3f00_0000), Some(one), Some(one), Some(inf), Some(nan), Some(one), Some(one)]),
        ("tanh", [Some(none), None, Some(nz), Some(pz), Some(one), Some(nan), Some(nsub), Some(sub)]),
    ];
    for (op, results) in table {
        let suffixes: &[&str] = if op == "tanh" { &[""] } else { &[".ftz", ""] };
        for suffix in suffixes {
            let known = if *suffix == ".ftz" || op == "tanh" { 8 } else { 6 };
            for (&argument, result) in arguments[..known].iter().zip(results) {
                if let Some(result) = result {
                    check(&format!("{op}.approx{suffix}.f32 %f0, %f1;"), &[vec![argument]], |_| result);
                }
            }
        }
    }
}

#[test]
fn quotients() {
    let mut random = Random(31);
    let edges = [
        0,
        0x8000_0000,
        1,
        0x007f_ffff,
        0x0080_0000,
        0x3f80_0000,
        0xbf80_0001,
        0x7e80_0000,
        0x7e80_0001,
        0x7f7f_ffff,
        0x7f80_0000,
        0xff80_0000,
        0x7fff_ffff,
    ];
    let pairs = inputs(2, &edges, 10_000, || random.next() >> 32);
    for op in ["full", "approx"] {
        for ftz in [false, true] {
            let code = format!("div.{op}{}.f32 %f0, %f1, %f2;", if ftz { ".ftz" } else { "" });
            check_with(&code, &pairs, |t, found| {
                let flush = |bits: u64| if ftz && bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { bits };
                let (a, b) = (single(flush(t[0])), single(flush(t[1])));
                let large = op == "approx" && b.abs() > 2f64.powi(126) && b.is_finite();
                let expected = if large { a * 0f64.copysign(b) } else { a / b };
                let value = single(found);
                let tiny = ftz && expected.abs() < f64::from(f32::MIN_POSITIVE);
                if expected.is_nan() {
                    return if found == 0x7fff_ffff { Ok(()) } else { Err("NaN expected".into()) };
                }
                if value.is_sign_negative() != expected.is_sign_negative() {
                    return Err("the other sign expected".into());
                }
                match expected {
                    _ if tiny && value == 0.0 => Ok(()),
                    x if x.is_infinite() || x == 0.0 => {
                        if value == x {
                            Ok(())
                        } else {
                            Err(format!("{x} expected"))
                        }
                    }
                    x => ulps(found, x, 2.0),
                }
            });
        }
    }
}

#[test]
fn gross_approximations_of_f64_fill_the_upper_word() {
    let mut random = Random(4711);
    let edges = [
        0,
        1 << 63,
        1,
        1 << 63 | 5,
        f64::MIN_POSITIVE.to_bits(),
        1f64.to_bits(),
        f64::MAX.to_bits(),
        f64::INFINITY.to_bits(),
        f64::NEG_INFINITY.to_bits(),
        0x7ff0_0000_0000_0001,
        (-2f64).to_bits(),
    ];
    let values = inputs(1, &edges, 5000, || random.next());
    for (op, exact) in [("rcp", (|x| 1.0 / x) as fn(f64) -> f64), ("rsqrt", |x| 1.0 / x.sqrt())] {
        check_with(&format!("{op}.approx.ftz.f64 %g0, %g1;"), &values, |t, found| {
            let x = DOUBLE.value(t[0]);
            let x = if x.is_subnormal() { 0f64.copysign(x) } else { x };
            let (expected, value) = (exact(x), DOUBLE.value(found));
            let tiny = expected.abs() < f64::MIN_POSITIVE && value == 0.0;
            // 20 bits of fraction on either side of the function: 2^-20 from the argument and 2^-21 from the result.
            let close = (value - expected).abs() <= expected.abs() * 2f64.powi(-19);
            let same = value == expected && value.is_sign_negative() == expected.is_sign_negative();
            let nan = expected.is_nan() && value.is_nan();
            if found as u32 == 0 && (tiny || close || same || nan) {
                Ok(())
            } else {
                Err(format!("{expected:e} expected"))
            }
        });
    }
    check_with("rsqrt.approx.f64 %g0, %g1;", &values, |t, found| {
        let (expected, value) = (1.0 / DOUBLE.value(t[0]).sqrt(), DOUBLE.value(found));
        if value == expected || value.is_nan() && expected.is_nan() {
            Ok(())
        } else {
            Err(format!("{expected:e} expected"))
        }
    });
}
