//! The linear layer: classes in the lanes, or features for the gradient of x.

use rayon::prelude::*;

use super::Cpu;
use super::simd::{Kernel, Simd};
use super::workspace::Groups;

/// `y = x w + b`: `x [N, F]`, `w [F, K]`, `b [K]`, `y [N, K]`.
pub fn linear(cpu: &Cpu, x: &[f32], w: &[f32], b: &[f32], y: &mut [f32]) {
    let classes = b.len();
    let features = w.len() / classes;
    let size = Groups::new(y.len() / classes).size;
    cpu.install(|| {
        (y.par_chunks_mut(size * classes), x.par_chunks(size * features)).into_par_iter().for_each(|(y, x)| {
            for y in y.chunks_exact_mut(classes) {
                y.copy_from_slice(b);
            }
            cpu.run(MultiplyAdd { a: x, row: features, column: 1, terms: features, b: w, c: y, classes });
        });
    });
}

/// `grad_w = x^T grad_y`, `grad_b = sum grad_y`; each task has some features and all images.
pub fn linear_grad_w(cpu: &Cpu, x: &[f32], grad_y: &[f32], grad_w: &mut [f32], grad_b: &mut [f32]) {
    let classes = grad_b.len();
    let features = grad_w.len() / classes;
    let images = grad_y.len() / classes;
    grad_b.fill(0.0);
    for grad_y in grad_y.chunks_exact(classes) {
        for (b, g) in grad_b.iter_mut().zip(grad_y) {
            *b += g;
        }
    }
    const FEATURES: usize = 16;
    cpu.install(|| {
        grad_w.par_chunks_mut(FEATURES * classes).enumerate().for_each(|(i, grad_w)| {
            grad_w.fill(0.0);
            let a = &x[i * FEATURES..];
            cpu.run(MultiplyAdd { a, row: 1, column: features, terms: images, b: grad_y, c: grad_w, classes });
        });
    });
}

/// `c[i, k] += sum_t a[i row + t column] b[t, k]`, `c: [_, classes]`.
struct MultiplyAdd<'a> {
    a: &'a [f32],
    row: usize,
    column: usize,
    terms: usize,
    b: &'a [f32],
    c: &'a mut [f32],
    classes: usize,
}

impl Kernel for MultiplyAdd<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let rows = self.c.len() / self.classes;
        if rows == 0 || self.terms == 0 {
            return;
        }
        assert!((rows - 1) * self.row + (self.terms - 1) * self.column < self.a.len());
        assert!(self.terms * self.classes <= self.b.len());
        for k in (0..self.classes).step_by(S::LANES) {
            let n = S::LANES.min(self.classes - k);
            let mut i = 0;
            // Four rows at a time hide the FMAs' latency.
            while i < rows {
                // SAFETY: rows below `rows`, terms and classes exist in the three slices, checked above.
                i += unsafe {
                    if rows - i >= 4 { self.rows::<S, 4>(s, i, k, n) } else { self.rows::<S, 1>(s, i, k, n) }
                };
            }
        }
    }
}

impl MultiplyAdd<'_> {
    /// Rows `i .. i + R`, classes `k .. k + n`. Returns R.
    ///
    /// # Safety
    /// They exist, and the slices hold all terms.
    #[inline(always)]
    unsafe fn rows<S: Simd, const R: usize>(&mut self, s: S, i: usize, k: usize, n: usize) -> usize {
        // SAFETY: the caller's promise.
        unsafe {
            let c = self.c.as_mut_ptr().add(i * self.classes + k);
            let mut acc = [s.splat(0.0); R];
            for (r, acc) in acc.iter_mut().enumerate() {
                *acc = s.load_part(c.add(r * self.classes), n);
            }
            for t in 0..self.terms {
                let b = s.load_part(self.b.as_ptr().add(t * self.classes + k), n);
                for (r, acc) in acc.iter_mut().enumerate() {
                    let a = s.splat(*self.a.as_ptr().add((i + r) * self.row + t * self.column));
                    *acc = s.fma(a, b, *acc);
                }
            }
            for (r, acc) in acc.iter().enumerate() {
                s.store_part(c.add(r * self.classes), *acc, n);
            }
        }
        R
    }
}

/// `grad_x = grad_y w^T`.
pub fn linear_grad_x(cpu: &Cpu, grad_y: &[f32], w: &[f32], classes: usize, grad_x: &mut [f32]) {
    let features = w.len() / classes;
    let size = Groups::new(grad_y.len() / classes).size;
    cpu.install(|| {
        (grad_x.par_chunks_mut(size * features), grad_y.par_chunks(size * classes)).into_par_iter().for_each(
            |(grad_x, grad_y)| {
                grad_x.fill(0.0);
                cpu.run(MultiplyTransposed { grad_y, w, classes, grad_x });
            },
        );
    });
}

struct MultiplyTransposed<'a> {
    grad_y: &'a [f32],
    w: &'a [f32],
    classes: usize,
    grad_x: &'a mut [f32],
}

impl Kernel for MultiplyTransposed<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        /// A tile of w, transposed on the stack: features in the lanes.
        const FEATURES: usize = 16;
        const CLASSES: usize = 32;
        let (classes, features) = (self.classes, self.w.len() / self.classes);
        for first in (0..features).step_by(FEATURES) {
            let n = FEATURES.min(features - first);
            for k in (0..classes).step_by(CLASSES) {
                let m = CLASSES.min(classes - k);
                let mut tile = [[0.0f32; FEATURES]; CLASSES];
                for f in 0..n {
                    for (row, w) in tile.iter_mut().zip(&self.w[(first + f) * classes + k..][..m]) {
                        row[f] = *w;
                    }
                }
                let images = self.grad_x.chunks_exact_mut(features).zip(self.grad_y.chunks_exact(classes));
                for (grad_x, grad_y) in images {
                    let mut sum = [0.0f32; FEATURES];
                    for (row, g) in tile.iter().zip(&grad_y[k..k + m]) {
                        for (sum, w) in sum.iter_mut().zip(row) {
                            *sum += g * w;
                        }
                    }
                    for (grad_x, sum) in grad_x[first..first + n].iter_mut().zip(sum) {
                        *grad_x += sum;
                    }
                }
            }
        }
    }
}
