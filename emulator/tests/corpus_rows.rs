//! Kernels over rows of matrices: softmax, layer norm, transpose, activations, quantisation.

mod support;

use half::{bf16, f16};
use support::corpus::{ROUND32, Random, assert_close, erf, everywhere, same_everywhere};

#[test]
fn softmax_rows_sum_to_one() {
    for (rows, cols, shape) in [(5usize, 33usize, (2, 128)), (7, 200, (7, 32)), (1, 3, (1, 64))] {
        let x = Random(1).floats(rows * cols, 8.0);
        let y = same_everywhere("rows", |bench| {
            let (px, py) = (bench.put(&x), bench.empty(4 * rows * cols));
            bench.go("softmax_rows", shape, &[py, px, rows as u64, cols as u64]);
            bench.get::<f32>(py, rows * cols)
        });
        let expected = x.chunks(cols).flat_map(|row| {
            let largest = f64::from(row.iter().fold(f32::MIN, |a, &b| a.max(b)));
            let exps: Vec<f64> = row.iter().map(|&v| (f64::from(v) - largest).exp()).collect();
            let sum: f64 = exps.iter().sum();
            // Roundings: of the difference, up to 16, which the exponential turns into a relative error, and of the
            // exponential (2 ulp, 4 of these), both also in the sum; 12 of its additions; of the quotient.
            exps.into_iter().map(move |e| (e / sum, e / sum * 2.0 * (16.0 + 4.0 + 6.0 + 1.0) * ROUND32))
        });
        assert_close("softmax", y.iter().map(|&v| v.into()), expected);
    }
}

#[test]
fn layer_norm_has_mean_and_variance() {
    for (rows, cols, threads) in [(3usize, 100usize, 64u32), (4, 37, 32), (2, 256, 256)] {
        let mut random = Random(2);
        let x = random.floats(rows * cols, 4.0);
        let [gamma, beta] =
            [0, 1].map(|_| random.floats(cols, 2.0).into_iter().map(bf16::from_f32).collect::<Vec<_>>());
        let bits = |v: &[bf16]| v.iter().map(|b| b.to_bits()).collect::<Vec<u16>>();
        let y = same_everywhere("rows", |bench| {
            let (px, pg, pb) = (bench.put(&x), bench.put(&bits(&gamma)), bench.put(&bits(&beta)));
            let py = bench.empty(4 * rows * cols);
            let eps = u64::from(1e-3f32.to_bits());
            bench.go("layer_norm", (rows as u32, threads), &[py, px, pg, pb, cols as u64, eps]);
            bench.get::<f32>(py, rows * cols)
        });
        let expected = x.chunks(cols).flat_map(|row| {
            let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / cols as f64;
            let variance = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / cols as f64;
            let rstd = 1.0 / (variance + 1e-3).sqrt();
            // At most 20 joins, each with four roundings of values up to 8, shift the mean and the deviations; both are
            // then scaled. The moments' own relative error is smaller than that of the mean.
            let tolerance = 2.0 * 20.0 * 4.0 * 8.0 * ROUND32 * rstd * 2.0;
            let normed = row.iter().map(move |&v| (f64::from(v) - mean) * rstd);
            let scaled = normed.zip(&gamma).zip(&beta).map(|((v, g), b)| v * g.to_f64() + b.to_f64());
            scaled.map(move |v| (v, tolerance)).collect::<Vec<_>>()
        });
        assert_close("layer norm", y.iter().map(|&v| v.into()), expected);
    }
}

#[test]
fn transposes_of_all_shapes() {
    for (h, w) in [(32usize, 32usize), (33, 70), (1, 100), (65, 31)] {
        let x = Random(3).floats(h * w, 1.0);
        let y = same_everywhere("rows", |bench| {
            let (px, py) = (bench.put(&x), bench.empty(4 * h * w));
            let grid = [w.div_ceil(32) as u32, h.div_ceil(32) as u32, 1];
            bench.go_shaped("transpose", (grid, [32, 8, 1], 0), &[py, px, h as u64, w as u64]);
            bench.get::<f32>(py, h * w)
        });
        for (i, j) in (0..h).flat_map(|i| (0..w).map(move |j| (i, j))) {
            assert_eq!(y[j * h + i], x[i * w + j]);
        }
    }
}

#[test]
fn activations_in_three_formats() {
    for (n, shape) in [(100usize, (1, 128)), (258, (3, 96))] {
        let x = Random(4).floats(n, 4.0);
        let (y, yh, yb) = same_everywhere("rows", |bench| {
            let (px, py) = (bench.put(&x), bench.empty(16 * n));
            let (ph, pb) = (bench.empty(2 * n), bench.empty(2 * n));
            bench.go("activations", shape, &[py, px, ph, pb, n as u64]);
            (bench.get::<f32>(py, 4 * n), bench.get::<u16>(ph, n), bench.get::<u16>(pb, n))
        });
        let wide = || x.iter().map(|&v| f64::from(v));
        let gelu = |v: f64| 0.5 * v * (1.0 + erf(v * std::f64::consts::FRAC_1_SQRT_2));
        let gelu_tanh = |v: f64| 0.5 * v * (1.0 + (0.797_884_56 * (v + 0.044715 * v * v * v)).tanh());
        let silu = |v: f64| v / (1.0 + (-v).exp());
        let softplus = |v: f64| (1.0 + v.exp()).ln();
        // Each takes about ten roundings of values up to 8, of which one plus a value near -1 keeps the absolute error;
        // __expf is off by 2 + |1.2 v| ulp.
        let tolerance = 4.0 * 16.0 * ROUND32;
        for (k, f) in [&gelu as &dyn Fn(f64) -> f64, &gelu_tanh, &silu, &softplus].iter().enumerate() {
            let got = y[k * n..(k + 1) * n].iter().map(|&v| v.into());
            assert_close(&format!("activation {k}"), got, wide().map(|v| (f(v), tolerance)));
        }
        // Halves: four roundings of 2^-11, the exponential's argument up to 4 * log2(e) among them, its 2 ulp.
        let halves = x.iter().map(|&v| f16::from_f32(v).to_f64());
        let expected = halves.map(|v| (silu(v), silu(v).abs() * (4.0 + 6.0 + 4.0) / 2048.0 + 1e-6));
        assert_close("silu of halves", yh.iter().map(|&b| f16::from_bits(b).to_f64()), expected);
        // b / 2 or 3 b / 2, rounded once: a single holds it exactly.
        let brains = x.iter().map(|&v| bf16::from_f32(v).to_f32());
        let expected: Vec<u16> = brains.map(|v| bf16::from_f32(v * 0.5 + v.max(0.0)).to_bits()).collect();
        assert_eq!(yb, expected);
    }
}

#[test]
fn quantising_rounds_to_nearest_and_clamps() {
    for (rows, quads) in [(3usize, 9usize), (1, 64), (4, 33)] {
        let mut x = Random(5).floats(rows * quads * 4, 3.0);
        x[..4].copy_from_slice(&[2.5, -2.5, 0.5, 3.0]);
        everywhere("rows", |bench| {
            let px = bench.put(&x);
            let (pq, pu, ps) = (bench.empty(x.len()), bench.empty(x.len()), bench.empty(4 * rows));
            bench.go("quantise", (rows as u32, 32), &[pq, pu, ps, px, quads as u64]);
            let (q, u) = (bench.get::<i8>(pq, x.len()), bench.get::<u8>(pu, x.len()));
            for (r, row) in x.chunks(quads * 4).enumerate() {
                let largest = row.iter().fold(0.0f32, |a, &b| a.max(b.abs()));
                assert_eq!(bench.get::<f32>(ps, rows)[r], largest / 127.0);
                let inverse = 127.0 / largest;
                for (i, &v) in row.iter().enumerate() {
                    assert_eq!(q[r * quads * 4 + i], (v * inverse).round_ties_even() as i8);
                    let byte = v.mul_add(inverse, 128.5).floor().clamp(0.0, 255.0) as u8;
                    assert_eq!(u[r * quads * 4 + i], byte);
                }
            }
        });
    }
}
