//! Mathematical functions and half types, through cudarc, against the standard library in double precision.

mod device;
#[macro_use]
mod launching;
mod support;

use half::{bf16, f16};
use launching::{Random, each, shape};

/// How far apart two numbers may be.
#[derive(Debug, Clone, Copy)]
enum Bound {
    /// In units of the last place of the expected value.
    Ulp(f64),
    Absolute(f64),
}
use Bound::{Absolute, Ulp};

/// Correctly rounded: half a unit, and the rounding of the expected value itself, of 2^-29 units for single precision.
const EXACT: Bound = Ulp(0.5 + 1e-8);

/// `digits` of the format's significand, and the exponent of its least normal number.
#[track_caller]
fn assert_near(found: f64, expected: f64, bound: Bound, (digits, least): (i32, i32), what: impl std::fmt::Display) {
    if expected.is_nan() || expected.is_infinite() {
        let same = found == expected || found.is_nan() && expected.is_nan();
        assert!(same, "{what}: {found}, expected {expected}");
        return;
    }
    let allowed = match bound {
        Ulp(n) => n * 2f64.powi((expected.abs().log2().floor() as i32).max(least) - digits + 1),
        Absolute(error) => error,
    };
    assert!((found - expected).abs() <= allowed, "{what}: {found}, expected {expected}, {bound:?}");
}

const SINGLE: (i32, i32) = (24, -126);
const HALF: (i32, i32) = (11, -14);
const BRAIN: (i32, i32) = (8, -126);

/// The error function by its series: for arguments up to 4 its terms stay below 10^6, so that the sum has 9 digits.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

/// What is exact in double precision, in single precision toward a direction.
fn directed(x: f64, up: bool) -> f64 {
    let near = x as f32;
    let value = match (f64::from(near), up) {
        (n, true) if n < x => near.next_up(),
        (n, false) if n > x => near.next_down(),
        _ => near,
    };
    f64::from(value)
}

/// What `single_math` stores for a thread, with the largest errors of the CUDA Programming Guide, "Mathematical Functions".
/// The functions' own errors there are whole numbers of units in the last place.
fn single_math(x: f32, y: f32) -> [(f64, Bound); 40] {
    let (a, b) = (f64::from(x), f64::from(y));
    let exact = |v: f32| (f64::from(v), EXACT);
    // __expf's bound grows with the argument; __sinf, __cosf and __logf have absolute ones in a range and none outside.
    let near_pi = |v: f64, error: f64| (v, Absolute(if a.abs() <= std::f64::consts::PI { error } else { 2.0 }));
    let log_error = if (0.5..=2.0).contains(&x) { Absolute(2f64.powf(-21.41)) } else { Ulp(3.0) };
    let total = a + b;
    [
        (a.exp(), Ulp(2.0)),
        (a.ln(), Ulp(1.0)),
        (a.sin(), Ulp(2.0)),
        (a.cos(), Ulp(2.0)),
        (a.powf(b), Ulp(4.0)),
        (a.sqrt(), EXACT),
        (1.0 / a.sqrt(), Ulp(2.0)),
        (a.tanh(), Ulp(2.0)),
        (a / b, EXACT),
        (a / b, Ulp(2.0)),
        (a.exp(), Ulp(2.0 + (1.173 * a.abs()).floor())),
        (a.ln(), log_error),
        near_pi(a.sin(), 2f64.powf(-21.41)),
        exact(x.min(y)),
        exact(x.max(y)),
        exact(x.abs()),
        exact(x.floor()),
        exact(x.ceil()),
        exact(x.trunc()),
        exact(x.round_ties_even()),
        exact(x.copysign(y)),
        exact(x % y),
        (erf(a), Ulp(2.0)),
        (1.0 / a, EXACT),
        (1.0 / a, EXACT),
        (directed(total, total < 0.0), Absolute(0.0)),
        (directed(a * b, true), Absolute(0.0)),
        (directed(a * b + a, false), Absolute(0.0)),
        (a.sqrt(), EXACT),
        exact(x.clamp(0.0, 1.0)),
        exact(2.0),
        exact(4.0),
        exact(x.trunc()),
        exact(y.round_ties_even().max(0.0)),
        exact(x.round_ties_even()),
        near_pi(a.cos(), 2f64.powf(-21.19)),
        (a.exp2(), Ulp(2.0)),
        (a.log2(), Ulp(1.0)),
        exact(x.round()),
        exact(f32::from_bits(x.to_bits() ^ 1)),
    ]
}

#[test]
fn functions_in_single_precision() {
    each("math", |kernels| {
        for (range, threads) in [(4.0, 512_usize), (0.5, 100), (1.0, 33), (3.5, 1)] {
            // On a grid of 2^-12, so that sums and products are exact in double precision and rarely so in single.
            let mut random = Random(threads as u64);
            let number = |random: &mut Random| ((random.unit() * range * 4096.0).round() / 4096.0) as f32;
            let a: Vec<f32> =
                (0..=threads).map(|_| number(&mut random)).map(|v| if v == 0.0 { 0.5 } else { v }).collect();
            let a_there = kernels.put(&a);
            let mut out = kernels.unwritten::<f32>(40 * threads);
            launch!(kernels, "single_math", shape(1, threads as u32), &mut out, &a_there);
            for (i, found) in kernels.get(&out).chunks_exact(40).enumerate() {
                let expected = single_math(a[i], a[i + 1]);
                for (at, (&found, (expected, bound))) in found.iter().zip(expected).enumerate() {
                    let what = format!("o[{at}] of {} and {}", a[i], a[i + 1]);
                    assert_near(found.into(), expected, bound, SINGLE, what);
                }
            }
        }
    });
}

#[test]
fn functions_at_the_edges_of_single_precision() {
    each("math", |kernels| {
        const INF: f32 = f32::INFINITY;
        let a = [0.0, 1.0, INF, 0.0, -INF, f32::NAN, -0.0, 1e-40, f32::MAX, 1e-45, 2.0];
        let a_there = kernels.put(&a);
        let mut out = kernels.unwritten::<f32>(40 * 10);
        launch!(kernels, "single_math", shape(1, 10), &mut out, &a_there);
        let out = kernels.get(&out);
        // Where the standard library follows the same rules of IEEE 754 and C: all but the fast forms, the conversions to
        // integers and the directed roundings.
        for (i, found) in out.chunks_exact(40).enumerate() {
            let (x, y) = (a[i], a[i + 1]);
            let (p, q) = (f64::from(x), f64::from(y));
            let all = single_math(x, y);
            for at in [0, 1, 5, 7, 8, 13, 14, 15, 16, 17, 18, 19, 21, 23, 24, 28, 36, 37, 38] {
                let (expected, bound) = all[at];
                // Beyond the largest number, rounding gives infinity.
                let expected = if (expected as f32).is_infinite() { f64::from(expected as f32) } else { expected };
                assert_near(found[at].into(), expected, bound, SINGLE, format!("o[{at}] of {x:e} and {y:e}"));
            }
            let power = p.powf(q);
            let power = if (power as f32).is_infinite() { f64::from(power as f32) } else { power };
            assert_near(found[4].into(), power, Ulp(4.0), SINGLE, format!("power of {x:e} and {y:e}"));
            assert_eq!(found[20].to_bits() >> 31, y.to_bits() >> 31, "the sign of {y}");
            assert_eq!(found[30], if x.is_nan() { 1.0 } else { 2.0 });
            assert_eq!(found[31], if x.is_infinite() { 3.0 } else { 4.0 });
            assert_eq!(found[29], if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) });
        }
    });
}

#[test]
fn functions_in_double_precision() {
    each("math", |kernels| {
        for threads in [512_usize, 100, 1] {
            let mut random = Random(threads as u64);
            let a: Vec<f64> = (0..=threads).map(|_| random.unit() * 6.0 + 1e-9).collect();
            let n: Vec<i64> = (0..threads).map(|_| random.bits() as i64).collect();
            let (a_there, mut n_there) = (kernels.put(&a), kernels.put(&n));
            let mut out = kernels.unwritten::<f64>(16 * threads);
            launch!(kernels, "double_math", shape(1, threads as u32), &mut out, &a_there, &mut n_there);
            let (out, n_there) = (kernels.get(&out), kernels.get(&n_there));
            for (i, found) in out.chunks_exact(16).enumerate() {
                let (x, y) = (a[i], a[i + 1]);
                // The guide's error and one more unit for the standard library's.
                let near = [
                    (0, x.exp(), 2.0),
                    (1, x.ln(), 2.0),
                    (2, x.sin(), 3.0),
                    (11, 1.0 / x.sqrt(), 2.0),
                    (13, x.powf(y), 3.0),
                ];
                for (at, expected, ulps) in near {
                    // Of a number in double precision the difference is exact.
                    assert_near(found[at], expected, Ulp(ulps), (53, -1022), format!("o[{at}] of {x} and {y}"));
                }
                let sum = x + y;
                // What rounding lost (Knuth's two-sum) tells whether the next number is the one above.
                let lost = (x - (sum - (sum - x))) + (y - (sum - x));
                let exact = [
                    (3, x.sqrt()),
                    (4, x / y),
                    (5, x.mul_add(y, x)),
                    (6, x.min(y)),
                    (7, x.floor()),
                    (8, f64::from(x as f32)),
                    (9, n[i] as f64),
                    (10, 1.0 / x),
                    (12, x.abs()),
                    (14, if lost > 0.0 { sum.next_up() } else { sum }),
                    (15, if x < y { -x } else { y }),
                ];
                for (at, expected) in exact {
                    assert_near(found[at], expected, Absolute(0.0), (53, -1022), format!("o[{at}] of {x} and {y}"));
                }
                // A negative number has no conversion to an unsigned one in C++, and gives 0 in PTX.
                assert_eq!(n_there[i], (x as i64).wrapping_add(y as u64 as i64));
            }
        }
    });
}

fn sixteenths(seed: u64, count: usize) -> Vec<f32> {
    // Few bits, so that sums of products are exact in double precision, and not in half.
    let mut random = Random(seed);
    (0..count).map(|_| ((random.bits() >> 54) as f32 - 511.5) / 64.0).collect()
}

#[test]
fn halves_alone() {
    each("half", |kernels| {
        for threads in [1_usize, 32, 100, 300] {
            let bits = |seed| sixteenths(seed, threads).iter().map(|&v| f16::from_f32(v).to_bits()).collect::<Vec<_>>();
            let (a, b) = (bits(1), bits(2));
            let (a_there, b_there) = (kernels.put(&a), kernels.put(&b));
            let mut out = kernels.unwritten::<u16>(16 * threads);
            launch!(kernels, "half_arithmetic", shape(1, threads as u32), &mut out, &a_there, &b_there);
            for (i, found) in kernels.get(&out).chunks_exact(16).enumerate() {
                let (x, y) = (f16::from_bits(a[i]).to_f64(), f16::from_bits(b[i]).to_f64());
                let expected = [
                    (x + y, EXACT),
                    (x - y, EXACT),
                    (x * y, EXACT),
                    (x * y + x, EXACT),
                    (-x, EXACT),
                    (x.abs(), EXACT),
                    (x.min(y), EXACT),
                    (x.max(y), EXACT),
                    (if x < y { x } else { y }, EXACT),
                    // hexp2 by ex2.approx.f16 and htanh by tanh.approx.f16, with the PTX ISA's errors.
                    (x.exp2(), Ulp(2.0)),
                    (x.tanh(), Absolute(2f64.powf(-10.987))),
                    (x.sqrt(), EXACT),
                    (x * 2.0, EXACT),
                    (i as f64, EXACT),
                    ((x + y).clamp(0.0, 1.0), EXACT),
                    (x / y, Ulp(1.0)),
                ];
                for (at, (&found, (expected, bound))) in found.iter().zip(expected).enumerate() {
                    let what = format!("o[{at}] of {x} and {y}");
                    assert_near(f16::from_bits(found).to_f64(), expected, bound, HALF, what);
                }
            }
        }
    });
}

#[test]
fn halves_in_pairs() {
    each("half", |kernels| {
        for threads in [1_usize, 32, 100, 300] {
            let bits =
                |seed| sixteenths(seed, 2 * threads).iter().map(|&v| f16::from_f32(v).to_bits()).collect::<Vec<_>>();
            let (a, b) = (bits(3), bits(4));
            let (a_there, b_there) = (kernels.put(&a), kernels.put(&b));
            let mut out = kernels.unwritten::<u16>(8 * threads);
            launch!(kernels, "half2_arithmetic", shape(1, threads as u32), &mut out, &a_there, &b_there);
            let out = kernels.get(&out);
            for i in 0..threads {
                let of = |all: &[u16]| [0, 1].map(|k| f16::from_bits(all[2 * i + k]).to_f64());
                let (x, y) = (of(&a), of(&b));
                let both = x[0] >= y[0] && x[1] >= y[1];
                for k in [0, 1] {
                    let last = if both { x[k] * y[k] } else { f64::from(u8::from(x[k] > y[k])) };
                    let expected = [x[k] * y[k] + x[k], x[k] + y[k], x[k].max(y[k]), last];
                    for (at, expected) in expected.into_iter().enumerate() {
                        let found = f16::from_bits(out[8 * i + 2 * at + k]).to_f64();
                        assert_near(found, expected, EXACT, HALF, format!("out[{at}] of {} and {}", x[k], y[k]));
                    }
                }
            }
        }
    });
}

#[test]
fn brain_floats() {
    each("half", |kernels| {
        for threads in [1_usize, 32, 100, 300] {
            let bits =
                |seed, count| sixteenths(seed, count).iter().map(|&v| bf16::from_f32(v).to_bits()).collect::<Vec<_>>();
            let (a, b, p) = (bits(5, threads), bits(6, threads), bits(7, 4 * threads));
            let (a_there, b_there, mut p_there) = (kernels.put(&a), kernels.put(&b), kernels.put(&p));
            let mut out = kernels.unwritten::<u16>(8 * threads);
            launch!(kernels, "bf16_arithmetic", shape(1, threads as u32), &mut out, &a_there, &b_there, &mut p_there);
            let (out, after) = (kernels.get(&out), kernels.get(&p_there));
            let value = |bits: u16| bf16::from_bits(bits).to_f64();
            for i in 0..threads {
                let (x, y) = (value(a[i]), value(b[i]));
                let expected = [x + y, x * y, x * y + x, x.max(y), -x, x + 1.0, x - y, x.abs()];
                for (at, expected) in expected.into_iter().enumerate() {
                    assert_near(value(out[8 * i + at]), expected, EXACT, BRAIN, format!("o[{at}] of {x} and {y}"));
                }
                for k in [0, 1] {
                    let (first, second) = (value(p[4 * i + k]), value(p[4 * i + 2 + k]));
                    let expected = first * (1.0 + k as f64) + first.max(second);
                    assert_near(value(after[4 * i + k]), expected, EXACT, BRAIN, format!("p of {first} and {second}"));
                    assert_eq!(after[4 * i + 2 + k], p[4 * i + 2 + k]);
                }
            }
        }
    });
}
