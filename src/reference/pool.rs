//! Pooling.

use crate::shape::{Conv, Shape};

/// Calls `visit(x index, y index)` for every input element that some window covers.
fn each_covered(x: Shape, size: usize, mut visit: impl FnMut(usize, usize)) {
    let y = x.pooled(size);
    for n in 0..x.n() {
        for iy in 0..y.h() * size {
            for ix in 0..y.w() * size {
                let pixel_x = (n * x.h() + iy) * x.w() + ix;
                let pixel_y = (n * y.h() + iy / size) * y.w() + ix / size;
                for c in 0..x.c() {
                    visit(pixel_x * x.c() + c, pixel_y * x.c() + c);
                }
            }
        }
    }
}

/// Mean over each window.
pub fn avg_pool(x: &[f64], shape: Shape, size: usize, y: &mut [f64]) {
    y.fill(0.0);
    each_covered(shape, size, |ix, iy| y[iy] += x[ix] / (size * size) as f64);
}

/// Its transpose.
pub fn avg_pool_grad(grad_y: &[f64], size: usize, grad_x: &mut [f64], shape: Shape) {
    grad_x.fill(0.0);
    each_covered(shape, size, |ix, iy| grad_x[ix] = grad_y[iy] / (size * size) as f64);
}

/// Calls `visit(y index, x index)` with every window's largest element, the first of equal ones, in the order of the windows.
fn each_largest(x: &[f64], shape: Shape, window: Conv, mut visit: impl FnMut(usize, usize)) {
    let out = window.output(shape, shape.c());
    let inside = |at: usize, extent: usize| at.checked_sub(window.padding).filter(|at| *at < extent);
    for (n, oy, ox, c) in (0..out.len()).map(|i| {
        let pixel = i / out.c();
        (pixel / out.w() / out.h(), pixel / out.w() % out.h(), pixel % out.w(), i % out.c())
    }) {
        let mut largest = None;
        for (ky, kx) in (0..window.kernel * window.kernel).map(|k| (k / window.kernel, k % window.kernel)) {
            let row = inside(oy * window.stride + ky, shape.h());
            let (Some(iy), Some(ix)) = (row, inside(ox * window.stride + kx, shape.w())) else { continue };
            let at = ((n * shape.h() + iy) * shape.w() + ix) * shape.c() + c;
            if largest.is_none_or(|largest: usize| x[at] > x[largest] || x[at].is_nan()) {
                largest = Some(at);
            }
        }
        let at = ((n * out.h() + oy) * out.w() + ox) * out.c() + c;
        visit(at, largest.expect("a window reaches at most half its width outside"));
    }
}

/// The largest of each window.
pub fn max_pool(x: &[f64], shape: Shape, window: Conv, y: &mut [f64]) {
    each_largest(x, shape, window, |iy, ix| y[iy] = x[ix]);
}

/// Its transpose.
pub fn max_pool_grad(x: &[f64], shape: Shape, window: Conv, grad_y: &[f64], grad_x: &mut [f64]) {
    grad_x.fill(0.0);
    each_largest(x, shape, window, |iy, ix| grad_x[ix] += grad_y[iy]);
}
