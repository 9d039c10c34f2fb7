//! Element by element. The loops are plain: compiled for the chosen instruction set they become vector code by themselves,
//! and memory bounds them.

use std::ops::Range;

use rayon::prelude::*;

use super::simd::{Kernel, Simd};
use super::workspace::{Carver, carved};
use super::{Buffer, Cpu, Tensor};
use crate::check;
use crate::device::{Activation, Elementwise};
use crate::error::Result;
use crate::shape::Shape;

/// Elements of one task; what is no longer than this is not worth a second thread.
pub const CHUNK: usize = 1 << 14;

/// Calls `f` with every chunk of `y` and its range.
pub fn each_chunk(cpu: &Cpu, y: &mut [f32], f: impl Fn(&mut [f32], Range<usize>) + Sync) {
    if y.len() <= CHUNK {
        let all = 0..y.len();
        return f(y, all);
    }
    cpu.install(|| {
        y.par_chunks_mut(CHUNK).enumerate().for_each(|(i, y)| {
            let range = i * CHUNK..i * CHUNK + y.len();
            f(y, range);
        });
    });
}

/// `y = a x + b y`.
pub fn axpby(cpu: &Cpu, a: f64, x: &[f32], b: f64, y: &mut [f32]) {
    each_chunk(cpu, y, |y, at| cpu.run(Axpby { a: a as f32, x: &x[at], b: b as f32, y }));
}

struct Axpby<'a> {
    a: f32,
    x: &'a [f32],
    b: f32,
    y: &'a mut [f32],
}

impl Kernel for Axpby<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { a, x, b, y } = self;
        for (y, x) in y.iter_mut().zip(x) {
            *y = a * x + b * *y;
        }
    }
}

/// `y = max(0, y)`; a NaN stays one.
pub fn relu(cpu: &Cpu, y: &mut [f32]) {
    each_chunk(cpu, y, |y, _| cpu.run(Relu { y }));
}

struct Relu<'a> {
    y: &'a mut [f32],
}

impl Kernel for Relu<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for y in self.y {
            *y = if *y < 0.0 { 0.0 } else { *y };
        }
    }
}

/// `grad = grad where y > 0, else 0`.
pub fn relu_grad(cpu: &Cpu, y: &[f32], grad: &mut [f32]) {
    each_chunk(cpu, grad, |grad, at| cpu.run(ReluGrad { y: &y[at], grad }));
}

/// `grad = grad where y > 0, else 0`, on one thread.
pub struct ReluGrad<'a> {
    pub y: &'a [f32],
    pub grad: &'a mut [f32],
}

impl Kernel for ReluGrad<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (grad, y) in self.grad.iter_mut().zip(self.y) {
            *grad = if *y > 0.0 { *grad } else { 0.0 };
        }
    }
}

/// The standard normal law's distribution function.
fn phi(x: f32) -> f32 {
    0.5 * libm::erfcf(-x * std::f32::consts::FRAC_1_SQRT_2)
}

/// `1 / (1 + exp(-x))`, by the exponential of a library, not the system's: the same bits everywhere.
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

fn gelu(x: f32) -> f32 {
    x * phi(x)
}

/// `gelu'(x)`: phi' is the density, `exp(-x^2/2) / sqrt(2 pi)`.
fn gelu_slope(x: f32) -> f32 {
    /// 1 / sqrt(2 pi).
    const DENSITY: f32 = 0.398_942_3;
    phi(x) + x * DENSITY * libm::expf(-0.5 * x * x)
}

fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

/// `silu'(x)`.
fn silu_slope(x: f32) -> f32 {
    let s = sigmoid(x);
    s * (1.0 + x * (1.0 - s))
}

/// Workspace of [`squared_distance`].
pub fn squared_distance_workspace(len: usize) -> usize {
    carved(2 * len.div_ceil(CHUNK))
}

/// `[sum (x - y)^2, sum y^2]`: in f32 within a chunk, where 64 sums run side by side, and in f64 over the chunks.
pub fn squared_distance(cpu: &Cpu, x: &[f32], y: &[f32], workspace: &mut [f32]) -> [f64; 2] {
    let partials = Carver::new(workspace).take(2 * x.len().div_ceil(CHUNK));
    cpu.install(|| {
        (partials.par_chunks_mut(2), x.par_chunks(CHUNK), y.par_chunks(CHUNK))
            .into_par_iter()
            .for_each(|(out, x, y)| cpu.run(SquaredDistance { x, y, out }));
    });
    partials.chunks_exact(2).fold([0.0; 2], |[d, n], part| [d + f64::from(part[0]), n + f64::from(part[1])])
}

/// `[sum (x - y)^2, sum y^2]`, on one thread.
pub struct SquaredDistance<'a> {
    pub x: &'a [f32],
    pub y: &'a [f32],
    pub out: &'a mut [f32],
}

impl Kernel for SquaredDistance<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        const SUMS: usize = 64;
        let (mut distance, mut norm) = ([0.0f32; SUMS], [0.0f32; SUMS]);
        for (x, y) in self.x.chunks(SUMS).zip(self.y.chunks(SUMS)) {
            for (i, (x, y)) in x.iter().zip(y).enumerate() {
                let d = x - y;
                distance[i] += d * d;
                norm[i] += y * y;
            }
        }
        self.out[0] = distance.iter().map(|v| f64::from(*v)).sum::<f64>() as f32;
        self.out[1] = norm.iter().map(|v| f64::from(*v)).sum::<f64>() as f32;
    }
}

/// Whether every element is finite.
pub fn all_finite(cpu: &Cpu, x: &[f32]) -> bool {
    // An exponent of all ones is an infinity or a NaN. No early exit within a chunk, so that it runs on vectors.
    let finite = |x: &[f32]| !x.iter().fold(false, |bad, v| bad | (v.to_bits() & 0x7f80_0000 == 0x7f80_0000));
    cpu.install(|| x.par_chunks(CHUNK).all(finite))
}

impl Elementwise for Cpu {
    fn fill(&self, value: f64, y: &mut Tensor) -> Result<()> {
        each_chunk(self, y.values_mut(), |y, _| y.fill(value as f32));
        Ok(())
    }

    fn copy(&self, x: &Tensor, y: &mut Tensor) -> Result<()> {
        check::equal("copy", x.shape(), y.shape())?;
        each_chunk(self, y.values_mut(), |y, at| y.copy_from_slice(&x.values()[at]));
        Ok(())
    }

    fn axpby(&self, a: f64, x: &Tensor, b: f64, y_acc: &mut Tensor) -> Result<()> {
        check::equal("axpby", x.shape(), y_acc.shape())?;
        axpby(self, a, x.values(), b, y_acc.values_mut());
        Ok(())
    }

    fn relu(&self, y: &mut Tensor) -> Result<()> {
        relu(self, y.values_mut());
        Ok(())
    }

    fn relu_grad(&self, y: &Tensor, grad: &mut Tensor) -> Result<()> {
        check::equal("relu_grad", y.shape(), grad.shape())?;
        relu_grad(self, y.values(), grad.values_mut());
        Ok(())
    }

    fn activate(&self, act: Activation, y: &mut Tensor) -> Result<()> {
        let f = match act {
            Activation::Relu => return self.relu(y),
            Activation::Gelu => gelu,
            Activation::Silu => silu,
        };
        each_chunk(self, y.values_mut(), |y, _| y.iter_mut().for_each(|y| *y = f(*y)));
        Ok(())
    }

    fn activate_grad(&self, act: Activation, x: &Tensor, grad: &mut Tensor) -> Result<()> {
        let slope = match act {
            Activation::Relu => return self.relu_grad(x, grad),
            Activation::Gelu => gelu_slope,
            Activation::Silu => silu_slope,
        };
        check::equal("activate_grad", x.shape(), grad.shape())?;
        let x = x.values();
        each_chunk(self, grad.values_mut(), |grad, at| {
            grad.iter_mut().zip(&x[at]).for_each(|(grad, x)| *grad *= slope(*x));
        });
        Ok(())
    }

    fn squared_distance(
        &self,
        x: &Tensor,
        y: &Tensor,
        out: &mut Tensor,
        at: usize,
        workspace: &mut Buffer,
    ) -> Result<()> {
        check::distance("squared_distance", x.shape(), y.shape(), out.shape(), at)?;
        let sums = squared_distance(self, x.values(), y.values(), workspace);
        out.values_mut()[at..at + 2].copy_from_slice(&sums.map(|v| v as f32));
        Ok(())
    }

    fn squared_distance_workspace(&self, x: Shape) -> usize {
        squared_distance_workspace(x.len())
    }

    fn all_finite(&self, x: &Tensor) -> Result<bool> {
        Ok(all_finite(self, x.values()))
    }
}
