//! Element by element.

use super::{Buffer, Reference, Tensor};
use crate::check;
use crate::device::{Activation, Elementwise, Sgd};
use crate::error::Result;
use crate::shape::Shape;

/// `y = a x + b y`.
pub fn axpby(a: f64, x: &[f64], b: f64, y_acc: &mut [f64]) {
    for (y, x) in y_acc.iter_mut().zip(x) {
        *y = a * x + b * *y;
    }
}

/// `y = max(0, y)`; a NaN stays one.
pub fn relu(y: &mut [f64]) {
    for y in y {
        *y = if *y < 0.0 { 0.0 } else { *y };
    }
}

/// `grad = grad where y > 0, else 0`.
pub fn relu_grad(y: &[f64], grad: &mut [f64]) {
    for (grad, y) in grad.iter_mut().zip(y) {
        *grad = if *y > 0.0 { *grad } else { 0.0 };
    }
}

/// The standard normal law's distribution function.
fn phi(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// `1 / (1 + exp(-x))`.
fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn gelu(x: f64) -> f64 {
    x * phi(x)
}

/// `gelu'(x)`: phi' is the density, `exp(-x^2/2) / sqrt(2 pi)`.
fn gelu_slope(x: f64) -> f64 {
    phi(x) + x * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

fn silu(x: f64) -> f64 {
    x * sigmoid(x)
}

/// `silu'(x)`.
fn silu_slope(x: f64) -> f64 {
    sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)))
}

/// `[sum (x - y)^2, sum y^2]`.
pub fn squared_distance(x: &[f64], y: &[f64]) -> [f64; 2] {
    let distance = x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum();
    let norm = y.iter().map(|y| y * y).sum();
    [distance, norm]
}

/// `g = grad + weight_decay theta; v = momentum v + g; theta -= lr v`, or with Nesterov's momentum `theta -= lr (g + momentum v)`;
/// nothing where the loss is not finite.
pub fn sgd(step: Sgd<'_, Buffer>, grad: &[f64], velocity: &mut [f64], theta: &mut [f64]) {
    let (lr, loss) = (step.lr.values()[0], step.loss.values()[0]);
    if !loss.is_finite() {
        return;
    }
    for ((v, theta), grad) in velocity.iter_mut().zip(theta).zip(grad) {
        *v = step.momentum * *v + grad + step.weight_decay * *theta;
        let ahead = if step.nesterov { grad + step.weight_decay * *theta + step.momentum * *v } else { *v };
        *theta -= lr * ahead;
    }
}

impl Elementwise for Reference {
    fn fill(&self, value: f64, y: &mut Tensor) -> Result<()> {
        y.values_mut().fill(value);
        Ok(())
    }

    fn copy(&self, x: &Tensor, y: &mut Tensor) -> Result<()> {
        check::equal("copy", x.shape(), y.shape())?;
        y.values_mut().copy_from_slice(x.values());
        Ok(())
    }

    fn axpby(&self, a: f64, x: &Tensor, b: f64, y_acc: &mut Tensor) -> Result<()> {
        check::equal("axpby", x.shape(), y_acc.shape())?;
        axpby(a, x.values(), b, y_acc.values_mut());
        Ok(())
    }

    fn relu(&self, y: &mut Tensor) -> Result<()> {
        relu(y.values_mut());
        Ok(())
    }

    fn relu_grad(&self, y: &Tensor, grad: &mut Tensor) -> Result<()> {
        check::equal("relu_grad", y.shape(), grad.shape())?;
        relu_grad(y.values(), grad.values_mut());
        Ok(())
    }

    fn activate(&self, act: Activation, y: &mut Tensor) -> Result<()> {
        let f = match act {
            Activation::Relu => return self.relu(y),
            Activation::Gelu => gelu,
            Activation::Silu => silu,
        };
        y.values_mut().iter_mut().for_each(|y| *y = f(*y));
        Ok(())
    }

    fn activate_grad(&self, act: Activation, x: &Tensor, grad: &mut Tensor) -> Result<()> {
        let slope = match act {
            Activation::Relu => return self.relu_grad(x, grad),
            Activation::Gelu => gelu_slope,
            Activation::Silu => silu_slope,
        };
        check::equal("activate_grad", x.shape(), grad.shape())?;
        grad.values_mut().iter_mut().zip(x.values()).for_each(|(grad, x)| *grad *= slope(*x));
        Ok(())
    }

    fn squared_distance(&self, x: &Tensor, y: &Tensor, out: &mut Tensor, at: usize, _: &mut Buffer) -> Result<()> {
        check::distance("squared_distance", x.shape(), y.shape(), out.shape(), at)?;
        let sums = squared_distance(x.values(), y.values());
        out.values_mut()[at..at + 2].copy_from_slice(&sums);
        Ok(())
    }

    fn squared_distance_workspace(&self, _: Shape) -> usize {
        0
    }

    fn all_finite(&self, x: &Tensor) -> Result<bool> {
        Ok(x.values().iter().all(|v| v.is_finite()))
    }
}
