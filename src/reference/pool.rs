//! Average pooling.

use crate::shape::Shape;

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
