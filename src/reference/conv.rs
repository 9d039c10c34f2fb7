//! Convolution and its two gradients, one loop over all multiply-adds shared by the three.

use crate::shape::{Conv, Shape};

/// Calls `visit(x index, w index, y index)` for every multiply-add of the convolution that does not fall on padding.
fn each_product(x: Shape, c_out: usize, conv: Conv, mut visit: impl FnMut(usize, usize, usize)) {
    let (c_in, y) = (x.c(), conv.output(x, c_out));
    for n in 0..x.n() {
        for oy in 0..y.h() {
            for ox in 0..y.w() {
                for ky in 0..conv.kernel {
                    for kx in 0..conv.kernel {
                        // one-based by the padding, so that outside is below p or at least extent + p
                        let (iy, ix) = (oy * conv.stride + ky, ox * conv.stride + kx);
                        let inside = |i: usize, extent: usize| i >= conv.padding && i < extent + conv.padding;
                        if !inside(iy, x.h()) || !inside(ix, x.w()) {
                            continue;
                        }
                        let pixel_x = (n * x.h() + iy - conv.padding) * x.w() + ix - conv.padding;
                        let pixel_y = (n * y.h() + oy) * y.w() + ox;
                        for i in 0..c_in {
                            for o in 0..c_out {
                                let w = ((ky * conv.kernel + kx) * c_in + i) * c_out + o;
                                visit(pixel_x * c_in + i, w, pixel_y * c_out + o);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `y = x * w`.
pub fn conv(x: &[f64], shape: Shape, w: &[f64], c_out: usize, conv: Conv, y: &mut [f64]) {
    y.fill(0.0);
    each_product(shape, c_out, conv, |ix, iw, iy| y[iy] += x[ix] * w[iw]);
}

/// `grad_x`, by the same products.
pub fn conv_grad_x(grad_y: &[f64], w: &[f64], c_out: usize, conv: Conv, grad_x: &mut [f64], shape: Shape) {
    grad_x.fill(0.0);
    each_product(shape, c_out, conv, |ix, iw, iy| grad_x[ix] += grad_y[iy] * w[iw]);
}

/// `grad_w += ...`, by the same products.
pub fn conv_grad_w(x: &[f64], shape: Shape, grad_y: &[f64], c_out: usize, conv: Conv, grad_w_acc: &mut [f64]) {
    each_product(shape, c_out, conv, |ix, iw, iy| grad_w_acc[iw] += x[ix] * grad_y[iy]);
}
