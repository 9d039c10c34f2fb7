use super::transform::{self, MOST};
use super::*;
use crate::cpu::Isa;
use crate::cpu::epilogue::{Add, Overwrite};
use crate::cpu::pixelwise::Identity;
use crate::cpu::simd::{Kernel, Simd};

/// A one-dimensional transform's matrices, read off its functions.
#[derive(Default)]
struct Matrices {
    /// M x (M + 2).
    output: Vec<Vec<f64>>,
    /// (M + 2) x 3.
    filter: Vec<Vec<f64>>,
    /// (M + 2) x (M + 2).
    patch: Vec<Vec<f64>>,
    /// (M + 2) x M, which is the transpose of `output`.
    tile: Vec<Vec<f64>>,
    /// 3 x (M + 2), the transpose of `filter`.
    filter_grad: Vec<Vec<f64>>,
}

struct ReadOff<'a, const M: usize>(&'a mut Matrices);

/// The first lane.
fn lane<S: Simd>(s: S, v: S::V) -> f64 {
    let mut lanes = [0.0f32; MAX_LANES];
    // SAFETY: MAX_LANES elements.
    unsafe { s.store(lanes.as_mut_ptr(), v) };
    f64::from(lanes[0])
}

impl<const M: usize> Kernel for ReadOff<'_, M> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Matrices { output, filter, patch, tile, filter_grad } = self.0;
        *output = vec![vec![0.0; M + 2]; M];
        *filter = vec![vec![0.0; 3]; M + 2];
        *patch = vec![vec![0.0; M + 2]; M + 2];
        *tile = vec![vec![0.0; M]; M + 2];
        *filter_grad = vec![vec![0.0; M + 2]; 3];
        for j in 0..M + 2 {
            let mut unit = [s.splat(0.0); MOST];
            unit[j] = s.splat(1.0);
            let (y, p) = (transform::output::<S, M>(s, &unit), transform::patch::<S, M>(s, &unit));
            let g = transform::filter_grad::<S, M>(s, &unit);
            (0..M).for_each(|i| output[i][j] = lane(s, y[i]));
            (0..M + 2).for_each(|i| patch[i][j] = lane(s, p[i]));
            (0..3).for_each(|i| filter_grad[i][j] = lane(s, g[i]));
            if j < M {
                let t = transform::tile::<S, M>(s, &unit);
                (0..M + 2).for_each(|i| tile[i][j] = lane(s, t[i]));
            }
            if j < 3 {
                let f = transform::filter::<S, M>(s, &[unit[0], unit[1], unit[2]]);
                (0..M + 2).for_each(|i| filter[i][j] = lane(s, f[i]));
            }
        }
    }
}

fn matrices(m: usize) -> Matrices {
    let mut of = Matrices::default();
    let isa = Isa::detect();
    // SAFETY: detected.
    unsafe { if m == 2 { isa.run(ReadOff::<2>(&mut of)) } else { isa.run(ReadOff::<4>(&mut of)) } };
    of
}

/// How many times the rounding error of a random product of unit size is amplified in one direction: independent errors of
/// size one at every point's product reach an output with this standard deviation, at most.
fn amplification(m: usize) -> f64 {
    let of = matrices(m);
    let square = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>();
    let at_point: Vec<f64> = of.filter.iter().zip(&of.patch).map(|(g, b)| square(g) * square(b)).collect();
    let outputs = of.output.iter().map(|a| a.iter().zip(&at_point).map(|(a, p)| a * a * p).sum::<f64>().sqrt());
    outputs.fold(0.0, f64::max)
}

#[test]
fn transforms_make_a_convolution_and_their_transposes_its_gradients() {
    for m in [2, 4] {
        let of = matrices(m);
        for i in 0..m {
            for j in 0..m + 2 {
                for k in 0..3 {
                    // y_i = sum_k w_k x_{i+k}
                    let product: f64 = (0..m + 2).map(|p| of.output[i][p] * of.filter[p][k] * of.patch[p][j]).sum();
                    let expected = f64::from(u8::from(j == i + k));
                    // The filter's constants alone are rounded, once: 12 terms no larger than 64.
                    assert!((product - expected).abs() < 12.0 * 64.0 * f64::from(f32::EPSILON), "F({m}): {i} {j} {k}");
                }
                assert_eq!(of.tile[j][i], of.output[i][j], "F({m})");
            }
        }
        for (p, row) in of.filter.iter().enumerate() {
            for k in 0..3 {
                assert!((of.filter_grad[k][p] - row[k]).abs() <= f64::from(f32::EPSILON) * row[k].abs(), "F({m})");
            }
        }
    }
}

fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2) + 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// Calls `f(pixel of y, pixel of x, tap)` for every tap within the images.
fn taps(n: usize, h: usize, w: usize, mut f: impl FnMut(usize, usize, usize)) {
    for image in 0..n {
        for y in 0..h {
            for x in 0..w {
                for (ky, kx) in (0..9).map(|tap| (tap / 3, tap % 3)) {
                    let (from_y, from_x) = (y + ky, x + kx);
                    if (1..=h).contains(&from_y) && (1..=w).contains(&from_x) {
                        let pixel = |y, x| (image * h + y) * w + x;
                        f(pixel(y, x), pixel(from_y - 1, from_x - 1), ky * 3 + kx);
                    }
                }
            }
        }
    }
}

/// Uniform numbers in +-1 have this root mean square.
const RMS: f64 = 0.577;

/// The largest distance from `expected`, in standard deviations of the error that independent roundings make: `terms`
/// products a result, each with as many roundings as the transforms' three stages of two passes and its sum have.
fn deviations(actual: &[f32], expected: &[f64], terms: usize, tiles: (usize, usize)) -> f64 {
    let amplified = [tiles.0, tiles.1].map(amplification).iter().product::<f64>();
    let roundings = (24 + terms) as f64;
    let deviation = f64::from(f32::EPSILON) / 2.0 * roundings.sqrt() * amplified * (terms as f64).sqrt() * RMS * RMS;
    let distance = |(a, e): (&f32, &f64)| (f64::from(*a) - e).abs();
    actual.iter().zip(expected).map(distance).fold(0.0, f64::max) / deviation
}

/// Of some ten thousand normal numbers none is beyond five deviations; the rest is for sums that are longer at the edges.
const DEVIATIONS: f64 = 6.0;

#[test]
fn convolution_and_gradients_match_the_definition_for_every_remainder_and_channel_count() {
    let sizes = [(2, 2), (3, 2), (4, 5), (5, 4), (6, 7), (7, 6), (10, 10), (9, 8), (8, 13)];
    let channels = [(16, 16), (8, 9), (17, 8), (33, 16), (16, 40), (24, 48)];
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(isa, 1).expect("available");
        for (case, ((h, w), (c_in, c_out))) in sizes.into_iter().zip(channels.into_iter().cycle()).enumerate() {
            let n = 1 + case % 6;
            let shape = Shape::map(n, h, w, c_in);
            assert!(Winograd::serves(&cpu, shape, Conv::SAME_3X3, c_out));
            let x = random(1, shape.len());
            let grad_y = random(2, n * h * w * c_out);
            let weights = random(3, 9 * c_in * c_out);
            let mut y = vec![0.0; grad_y.len()];
            let (mut grad_x, mut grad_w) = (vec![0.0; x.len()], vec![0.0; weights.len()]);
            taps(n, h, w, |to, from, tap| {
                for o in 0..c_out {
                    for i in 0..c_in {
                        let weight = (tap * c_in + i) * c_out + o;
                        let [x, g, w] = [x[from * c_in + i], grad_y[to * c_out + o], weights[weight]].map(f64::from);
                        y[to * c_out + o] += x * w;
                        grad_x[from * c_in + i] += g * w;
                        grad_w[weight] += x * g;
                    }
                }
            });
            let name = format!("{isa}, {shape} to {c_out}");
            // The longer tile of each axis, whose error is the larger.
            let tiles = (if h > 2 { 4 } else { 2 }, if w > 2 { 4 } else { 2 });
            let convolve = |conv: Winograd, from: &[f32], start: &[f32]| {
                let (mut packed, mut scratch) = (vec![0.0; conv.packed_len()], vec![f32::NAN; conv.scratch_len()]);
                conv.pack(&cpu, &weights, &mut packed);
                let mut to = start.to_vec();
                conv.convolve(&cpu, Identity(from), &packed, Overwrite, &mut to, &mut scratch);
                let once = to.clone();
                conv.convolve(&cpu, Identity(from), &packed, Add, &mut to, &mut scratch);
                assert!(to.iter().zip(&once).all(|(twice, once)| *twice == 2.0 * once), "{name}: add");
                once
            };
            let actual = convolve(Winograd::forward(shape, c_out), &x, &grad_y);
            let off = deviations(&actual, &y, c_in, tiles);
            assert!(off < DEVIATIONS, "{name}: y is {off} deviations off");
            let actual = convolve(Winograd::transposed(shape, c_out), &grad_y, &x);
            let off = deviations(&actual, &grad_x, c_out, tiles);
            assert!(off < DEVIATIONS, "{name}: grad_x is {off} deviations off");
            let grad = GradW::new(shape, c_out);
            let mut actual = vec![0.0; weights.len()];
            let mut scratch = vec![f32::NAN; grad.scratch_len()];
            grad.add(&cpu, n, Identity(&x), Identity(&grad_y), &mut actual, &mut scratch);
            let count = n * h.div_ceil(2) * w.div_ceil(2);
            let off = deviations(&actual, &grad_w, count.max(16), tiles);
            assert!(off < DEVIATIONS, "{name}: grad_w is {off} deviations off");
        }
    }
}

#[test]
fn rounding_error_is_a_small_multiple_of_the_definitions() {
    let cpu = Cpu::new(Some(1)).expect("device");
    let (n, size, c) = (8, 12, 16);
    let shape = Shape::map(n, size, size, c);
    let (x, w) = (random(4, shape.len()), random(5, 9 * c * c));
    let (mut exact, mut direct) = (vec![0.0f64; x.len()], vec![0.0f32; x.len()]);
    taps(n, size, size, |to, from, tap| {
        for i in 0..c {
            for o in 0..c {
                let (x, w) = (x[from * c + i], w[(tap * c + i) * c + o]);
                exact[to * c + o] += f64::from(x) * f64::from(w);
                direct[to * c + o] = x.mul_add(w, direct[to * c + o]);
            }
        }
    });
    let conv = Winograd::forward(shape, c);
    let (mut packed, mut scratch) = (vec![0.0; conv.packed_len()], vec![0.0; conv.scratch_len()]);
    conv.pack(&cpu, &w, &mut packed);
    let mut y = vec![0.0; x.len()];
    conv.convolve(&cpu, Identity(&x), &packed, Overwrite, &mut y, &mut scratch);
    let error = |of: &[f32]| of.iter().zip(&exact).map(|(a, e)| (f64::from(*a) - e).powi(2)).sum::<f64>().sqrt();
    let ratio = error(&y) / error(&direct);
    println!("the error of F(4, 3) is {ratio:.2} times the definition's");
    // What the choice of points promises; the usual points 1 and 2 make it 4.7.
    assert!(ratio < 3.5, "{ratio}");
}

#[test]
fn a_row_of_ten_is_cut_into_two_fours_and_a_two() {
    let axis = Axis::new(10);
    assert_eq!((axis.fours, axis.twos, axis.covered()), (2, 1, 10));
    for extent in 2..40 {
        let axis = Axis::new(extent);
        assert!(axis.covered() >= extent && axis.covered() < extent + 2, "{axis:?}");
    }
}
