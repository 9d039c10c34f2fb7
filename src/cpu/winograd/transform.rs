//! The one-dimensional transforms of F(2, 3) and F(4, 3): M outputs of a 3-tap filter from M + 2 products.
//!
//! A filter is a polynomial, and so is the row of outputs seen from the other side (Toom and Cook; Winograd, 1980; Lavin and
//! Gray, arXiv 1509.09308): both are evaluated at M + 1 points and infinity, multiplied there, and the product is read off.
//! The points are 0, 1 and -1 for M = 2, and 0, +-3/4 and +-3/2 for M = 4: powers of the usual 1 and 2 spread the
//! magnitudes wider, and the error of a whole convolution was 4.7 times the direct one's with them, 2.4 to 2.6 times with
//! these (16 channels, f32, random operands; a test bounds it). Every constant below is exact in f32 but the filter's.

use crate::cpu::simd::Simd;

/// Products of a row, at most: M + 2 for M = 4.
pub const MOST: usize = 6;

const A: f32 = 0.75;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;

/// `M + 2` inputs, at the points.
#[inline(always)]
pub fn patch<S: Simd, const M: usize>(s: S, d: &[S::V; MOST]) -> [S::V; MOST] {
    if M == 2 {
        let zero = s.splat(0.0);
        return [s.sub(d[2], d[0]), s.add(d[1], d[2]), s.sub(d[2], d[1]), s.sub(d[3], d[1]), zero, zero];
    }
    let (product, minus_sum) = (s.splat(A2 * B2), s.splat(-(A2 + B2)));
    let (a, minus_a, b, minus_b) = (s.splat(A), s.splat(-A), s.splat(B), s.splat(-B));
    let (minus_a2, minus_b2) = (s.splat(-A2), s.splat(-B2));
    let (even_a, odd_a) = (s.fma(d[2], minus_b2, d[4]), s.fma(d[1], minus_b2, d[3]));
    let (even_b, odd_b) = (s.fma(d[2], minus_a2, d[4]), s.fma(d[1], minus_a2, d[3]));
    [
        s.fma(d[0], product, s.fma(d[2], minus_sum, d[4])),
        s.fma(odd_a, a, even_a),
        s.fma(odd_a, minus_a, even_a),
        s.fma(odd_b, b, even_b),
        s.fma(odd_b, minus_b, even_b),
        s.fma(d[1], product, s.fma(d[3], minus_sum, d[5])),
    ]
}

/// The transpose of [`output`]: the gradient of `M` outputs, at the points.
#[inline(always)]
pub fn tile<S: Simd, const M: usize>(s: S, y: &[S::V; MOST]) -> [S::V; MOST] {
    if M == 2 {
        let zero = s.splat(0.0);
        return [y[0], s.add(y[0], y[1]), s.sub(y[0], y[1]), y[1], zero, zero];
    }
    let (even_a, odd_a) = (s.fma(y[2], s.splat(A2), y[0]), s.fma(y[3], s.splat(A2), y[1]));
    let (even_b, odd_b) = (s.fma(y[2], s.splat(B2), y[0]), s.fma(y[3], s.splat(B2), y[1]));
    [
        y[0],
        s.fma(odd_a, s.splat(A), even_a),
        s.fma(odd_a, s.splat(-A), even_a),
        s.fma(odd_b, s.splat(B), even_b),
        s.fma(odd_b, s.splat(-B), even_b),
        y[3],
    ]
}

/// `M` outputs from the products at the points.
#[inline(always)]
pub fn output<S: Simd, const M: usize>(s: S, m: &[S::V; MOST]) -> [S::V; 4] {
    if M == 2 {
        let zero = s.splat(0.0);
        return [s.add(m[0], s.add(m[1], m[2])), s.add(m[3], s.sub(m[1], m[2])), zero, zero];
    }
    let (sum_a, gap_a) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
    let (sum_b, gap_b) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
    [
        s.add(m[0], s.add(sum_a, sum_b)),
        s.fma(gap_b, s.splat(B), s.mul(gap_a, s.splat(A))),
        s.fma(sum_b, s.splat(B2), s.mul(sum_a, s.splat(A2))),
        s.fma(gap_b, s.splat(B * B2), s.fma(gap_a, s.splat(A * A2), m[5])),
    ]
}

/// What the filter is divided by at each pair of points: the product of the distances to the other points.
const FILTER_0: f32 = 1.0 / (A2 * B2);
const FILTER_A: f32 = 1.0 / (2.0 * A2 * (A2 - B2));
const FILTER_B: f32 = 1.0 / (2.0 * B2 * (B2 - A2));

/// Three taps, at the points.
#[inline(always)]
pub fn filter<S: Simd, const M: usize>(s: S, g: &[S::V; 3]) -> [S::V; MOST] {
    if M == 2 {
        let (zero, half) = (s.splat(0.0), s.splat(0.5));
        let (even, odd) = (s.mul(s.add(g[0], g[2]), half), s.mul(g[1], half));
        return [s.sub(zero, g[0]), s.add(even, odd), s.sub(even, odd), g[2], zero, zero];
    }
    let (even_a, odd_a) = (s.fma(g[2], s.splat(A2), g[0]), s.mul(g[1], s.splat(A)));
    let (even_b, odd_b) = (s.fma(g[2], s.splat(B2), g[0]), s.mul(g[1], s.splat(B)));
    let (scale_a, scale_b) = (s.splat(FILTER_A), s.splat(FILTER_B));
    [
        s.mul(g[0], s.splat(FILTER_0)),
        s.mul(s.add(even_a, odd_a), scale_a),
        s.mul(s.sub(even_a, odd_a), scale_a),
        s.mul(s.add(even_b, odd_b), scale_b),
        s.mul(s.sub(even_b, odd_b), scale_b),
        g[2],
    ]
}

/// The transpose of [`filter`]: from gradients at the points to those of the three taps.
#[inline(always)]
pub fn filter_grad<S: Simd, const M: usize>(s: S, p: &[S::V; MOST]) -> [S::V; 3] {
    if M == 2 {
        let half = s.splat(0.5);
        let (sum, gap) = (s.mul(s.add(p[1], p[2]), half), s.mul(s.sub(p[1], p[2]), half));
        return [s.sub(sum, p[0]), gap, s.add(sum, p[3])];
    }
    let (sum_a, gap_a) = (s.mul(s.add(p[1], p[2]), s.splat(FILTER_A)), s.mul(s.sub(p[1], p[2]), s.splat(FILTER_A)));
    let (sum_b, gap_b) = (s.mul(s.add(p[3], p[4]), s.splat(FILTER_B)), s.mul(s.sub(p[3], p[4]), s.splat(FILTER_B)));
    [
        s.fma(p[0], s.splat(FILTER_0), s.add(sum_a, sum_b)),
        s.fma(gap_b, s.splat(B), s.mul(gap_a, s.splat(A))),
        s.fma(sum_b, s.splat(B2), s.fma(sum_a, s.splat(A2), p[5])),
    ]
}
