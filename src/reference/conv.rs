//! Convolution and its two gradients, one loop over all multiply-adds shared by the three.

use super::{Buffer, Reference, Tensor};
use crate::check;
use crate::device::Convolution;
use crate::error::Result;
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

impl Convolution for Reference {
    fn conv(&self, x: &Tensor, w: &Tensor, conv: Conv, y: &mut Tensor, _: &mut Buffer) -> Result<()> {
        check::conv("conv", x.shape(), w.shape(), conv, y.shape())?;
        let shape = x.shape();
        let c_out = w.shape().c();
        self::conv(x.values(), shape, w.values(), c_out, conv, y.values_mut());
        Ok(())
    }

    fn conv_grad_x(&self, grad_y: &Tensor, w: &Tensor, conv: Conv, grad_x: &mut Tensor, _: &mut Buffer) -> Result<()> {
        check::conv("conv_grad_x", grad_x.shape(), w.shape(), conv, grad_y.shape())?;
        let shape = grad_x.shape();
        conv_grad_x(grad_y.values(), w.values(), w.shape().c(), conv, grad_x.values_mut(), shape);
        Ok(())
    }

    fn conv_grad_w(
        &self,
        x: &Tensor,
        grad_y: &Tensor,
        conv: Conv,
        grad_w_acc: &mut Tensor,
        _: &mut Buffer,
    ) -> Result<()> {
        check::conv("conv_grad_w", x.shape(), grad_w_acc.shape(), conv, grad_y.shape())?;
        let c_out = grad_w_acc.shape().c();
        conv_grad_w(x.values(), x.shape(), grad_y.values(), c_out, conv, grad_w_acc.values_mut());
        Ok(())
    }

    fn conv_workspace(&self, _: Shape, _: Conv, _: usize) -> usize {
        0
    }
}
