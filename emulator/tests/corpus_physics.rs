//! Numerical kernels: n-body, a 3-D stencil, a Fourier transform, Mandelbrot's set, random numbers, functions.

mod support;

use std::f64::consts::PI;

use rewind_emulator::exec::Launch;
use support::corpus::{ROUND32, Random, assert_close, erf, same_everywhere};

#[test]
fn bodies_attract_each_other() {
    for (n, shape) in [(100usize, (2, 64)), (33, (1, 64)), (128, (4, 32))] {
        let mut random = Random(1);
        let bodies: Vec<[f32; 4]> = (0..n).map(|_| [(); 4].map(|_| random.float(2.0))).collect();
        let a = same_everywhere("physics", |bench| {
            let (pb, pa) = (bench.put(&bodies), bench.empty(12 * n));
            bench.go("n_body", shape, &[pa, pb, n as u64, u64::from(0.01f32.to_bits())]);
            bench.get::<[f32; 3]>(pa, n)
        });
        let expected = bodies.iter().flat_map(|me| {
            let (mut sum, mut size) = ([0.0f64; 3], [0.0f64; 3]);
            for other in &bodies {
                let d = [0, 1, 2].map(|i| f64::from(other[i]) - f64::from(me[i]));
                let inverse = (d.iter().map(|v| v * v).sum::<f64>() + f64::from(0.01f32)).sqrt().recip();
                for i in 0..3 {
                    let term = d[i] * f64::from(other[3]) * inverse.powi(3);
                    sum[i] += term;
                    size[i] += term.abs();
                }
            }
            // A term takes three times the reciprocal root's 2 ulp and half the sum's four roundings, and ten
            // roundings of its own; then n additions.
            [0, 1, 2].map(|i| (sum[i], size[i] * (12.0 + 6.0 + 10.0 + n as f64) * ROUND32))
        });
        assert_close("acceleration", a.iter().flatten().map(|&v| v.into()), expected);
    }
}

#[test]
fn a_stencil_marches_along_z() {
    for size in [[16usize, 8, 3], [17, 9, 5], [5, 20, 1]] {
        let [w, h, d] = size;
        let x: Vec<f64> = Random(2).whole(w * h * d).into_iter().map(f64::from).collect();
        let y = same_everywhere("physics", |bench| {
            let (px, py) = (bench.put(&x), bench.empty(8 * x.len()));
            let kernel = bench.module.kernels["stencil3d"].clone();
            let mut block = vec![0u8; kernel.parameter_bytes as usize];
            block[..8].copy_from_slice(&py.to_le_bytes());
            block[8..16].copy_from_slice(&px.to_le_bytes());
            block[16..28].copy_from_slice(bytemuck::cast_slice(&size.map(|v| v as u32)));
            let grid = [w.div_ceil(16) as u32, h.div_ceil(8) as u32, 1];
            let launch = Launch { grid, block: [16, 8, 1], dynamic_shared: 0, cooperative: false };
            bench.machine.launch(&kernel, &launch, &block).unwrap_or_else(|e| panic!("{e}"));
            bench.get::<f64>(py, x.len())
        });
        // Whole numbers and powers of two: sums are exact in any order.
        let at = |i: usize, j: usize, k: usize| {
            let inside = (1..=w).contains(&i) && (1..=h).contains(&j) && (1..=d).contains(&k);
            if inside { x[((k - 1) * h + j - 1) * w + i - 1] } else { 0.0 }
        };
        for (n, &y) in y.iter().enumerate() {
            let (i, j, k) = (n % w + 1, n / w % h + 1, n / (w * h) + 1);
            let sides = 0.25 * (at(i - 1, j, k) + at(i + 1, j, k)) + 0.0625 * (at(i, j - 1, k) + at(i, j + 1, k));
            assert_eq!(y, -6.0 * at(i, j, k) + at(i, j, k - 1) + at(i, j, k + 1) + sides, "{i} {j} {k}");
        }
    }
}

#[test]
fn a_fourier_transform_in_shared_memory() {
    for (log_n, lines) in [(6usize, 3u32), (9, 1), (1, 2)] {
        let n = 1 << log_n;
        let x = Random(3).floats(2 * n * lines as usize, 1.0);
        let y = same_everywhere("physics", |bench| {
            let px = bench.put(&x);
            bench.go_shaped("fft", ([lines, 1, 1], [n as u32 / 2, 1, 1], 8 * n as u32), &[px, log_n as u64]);
            bench.get::<f32>(px, x.len())
        });
        let expected = x.chunks(2 * n).flat_map(|line| {
            let size: f64 = line.iter().map(|v| f64::from(v.abs())).sum();
            (0..n).flat_map(move |k| {
                let (mut re, mut im) = (0.0, 0.0);
                for (j, v) in line.chunks(2).enumerate() {
                    let (s, c) = (-2.0 * PI * (j * k % n) as f64 / n as f64).sin_cos();
                    re += f64::from(v[0]) * c - f64::from(v[1]) * s;
                    im += f64::from(v[0]) * s + f64::from(v[1]) * c;
                }
                // Each stage: the angle's error of 4 roundings, the functions' 2 ulp, four more roundings.
                let tolerance = (log_n * 12) as f64 * ROUND32 * size;
                [(re, tolerance), (im, tolerance)]
            })
        });
        assert_close("transform", y.iter().map(|&v| v.into()), expected);
    }
}

/// Iterations until the square of the absolute value passes 4; `fused` rounds a product and a sum once.
fn escapes(c: (f64, f64), fused: bool) -> u16 {
    let joined = |a: f64, b: f64, s: f64| if fused { a.mul_add(b, s) } else { a * b + s };
    let (mut z, mut n) = ((0.0f64, 0.0f64), 0);
    while n < 200 && joined(z.0, z.0, z.1 * z.1) <= 4.0 {
        z = (joined(z.0, z.0, -(z.1 * z.1)) + c.0, joined(z.0, z.1, z.1 * z.0) + c.1);
        n += 1;
    }
    n
}

#[test]
fn mandelbrot_counts_iterations() {
    for (w, h, block) in [(40u32, 30u32, [16, 8, 1]), (33, 17, [32, 1, 1])] {
        let scale = 3.0 / f64::from(w);
        let counts = same_everywhere("physics", |bench| {
            let out = bench.empty((2 * w * h) as usize);
            let grid = [w.div_ceil(block[0]), h.div_ceil(block[1]), 1];
            bench.go_shaped("mandelbrot", (grid, block, 0), &[out, w.into(), h.into(), scale.to_bits()]);
            bench.get::<u16>(out, (w * h) as usize)
        });
        let mut sensitive = 0;
        for (n, &count) in counts.iter().enumerate() {
            let (i, j) = (n as u32 % w, n as u32 / w);
            let c = ((f64::from(i) - 0.7 * f64::from(w)) * scale, (f64::from(j) - 0.5 * f64::from(h)) * scale);
            let [once, twice] = [true, false].map(|fused| escapes(c, fused));
            // Near the set's edge the count depends on each rounding; elsewhere it must be the one.
            if once == twice {
                assert_eq!(count, once, "{i} {j}");
            } else {
                sensitive += 1;
            }
        }
        assert!(sensitive < counts.len() / 50, "{sensitive} of {}", counts.len());
    }
}

/// Philox 4x32-10.
fn philox(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let [p, q] = [(0xD251_1F53u64, c[0]), (0xCD9E_8D57, c[2])].map(|(m, v)| m * u64::from(v));
        c = [(q >> 32) as u32 ^ c[1] ^ k[0], q as u32, (p >> 32) as u32 ^ c[3] ^ k[1], p as u32];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

#[test]
fn random_numbers_by_counter() {
    // The generator's published answer for zeros.
    assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    for (n, shape) in [(100usize, (4, 32)), (257, (3, 96))] {
        let seed = 0x0123_4567_89ab_cdefu64;
        let (bits, normal) = same_everywhere("physics", |bench| {
            let (pb, pn) = (bench.empty(16 * n), bench.empty(8 * n));
            bench.go("random_numbers", shape, &[pb, pn, n as u64, seed]);
            (bench.get::<[u32; 4]>(pb, n), bench.get::<[f32; 2]>(pn, n))
        });
        for (i, &bits) in bits.iter().enumerate() {
            assert_eq!(bits, philox([i as u32, 0, 0, 0], [seed as u32, (seed >> 32) as u32]));
        }
        let expected = bits.iter().flat_map(|b| {
            let u = f64::from((b[0] as f32 + 1.0) * 2.328_306_4e-10f32);
            let angle = f64::from(b[1] as f32 * 2.328_306_4e-10f32);
            let radius = (-2.0 * u.ln()).sqrt();
            let (s, c) = (2.0 * PI * angle).sin_cos();
            // Logarithm, root, sine and cosine within 2 ulp each, and three roundings.
            let tolerance = radius * 12.0 * ROUND32;
            [(radius * c, tolerance), (radius * s, tolerance)]
        });
        assert_close("normal deviates", normal.iter().flatten().map(|&v| v.into()), expected);
    }
}

/// The logarithm of the gamma function for positive arguments: Stirling's series far out, stepped down from there.
fn lgamma(x: f64) -> f64 {
    let steps: f64 = (0..12).map(|k| (x + f64::from(k)).ln()).sum();
    let z = x + 12.0;
    let series = 1.0 / (12.0 * z) - 1.0 / (360.0 * z.powi(3)) + 1.0 / (1260.0 * z.powi(5)) - 1.0 / (1680.0 * z.powi(7));
    (z - 0.5) * z.ln() - z + 0.5 * (2.0 * PI).ln() + series - steps
}

#[test]
fn functions_in_double_precision() {
    let n = 200;
    let mut x: Vec<f64> = Random(5).floats(n, 6.0).into_iter().map(f64::from).collect();
    x[..4].copy_from_slice(&[0.0, 1e6, -1e-9, 300.5]);
    let y = same_everywhere("physics", |bench| {
        let (px, py) = (bench.put(&x), bench.empty(96 * n));
        bench.go("functions", (4, 64), &[py, px, n as u64]);
        bench.get::<f64>(py, 12 * n)
    });
    type Function = (&'static str, fn(f64) -> f64);
    let functions: [Function; 12] = [
        ("exp", f64::exp),
        ("log", |v| (v.abs() + 1e-3).ln()),
        ("sin", f64::sin),
        ("cos", f64::cos),
        ("pow", |v| v.abs().powf(1.7)),
        ("cbrt", f64::cbrt),
        ("erf", |v| if v.abs() > 6.0 { v.signum() } else { erf(v) }),
        ("tanh", f64::tanh),
        ("atan2", |v| v.atan2(1.5)),
        ("sqrt", |v| v.abs().sqrt() / (1.0 + v * v)),
        ("fmod", |v| v % 0.37),
        ("lgamma", |v| lgamma(v.abs() + 0.5)),
    ];
    for (k, (name, f)) in functions.into_iter().enumerate() {
        let expected = x.iter().map(|&v| {
            let y = f(v);
            // The documented errors are 0 to 2 ulp, the host's and the test's own series add a few; the logarithm of
            // the gamma function cancels terms of up to its own argument's size near its zeros.
            let scale = if name == "lgamma" { y.abs() + 60.0 } else { y.abs() };
            (y, if y.is_finite() { 32.0 * f64::EPSILON * scale } else { f64::INFINITY })
        });
        let got = y[k * n..(k + 1) * n].iter().zip(&x).map(|(&g, &v)| if f(v).is_finite() { g } else { 0.0 });
        let expected = expected.map(|(y, t)| if y.is_finite() { (y, t) } else { (0.0, 0.0) });
        assert_close(name, got, expected);
    }
    assert_eq!(y[1], f64::INFINITY);
}
