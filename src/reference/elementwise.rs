//! Element by element.

use super::Buffer;
use crate::device::Sgd;

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

/// `[sum (x - y)^2, sum y^2]`.
pub fn squared_distance(x: &[f64], y: &[f64]) -> [f64; 2] {
    let distance = x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum();
    let norm = y.iter().map(|y| y * y).sum();
    [distance, norm]
}

/// `v = momentum v + grad + weight_decay theta; theta -= lr v`; nothing where the loss is not finite.
pub fn sgd(step: Sgd<'_, Buffer>, grad: &[f64], velocity: &mut [f64], theta: &mut [f64]) {
    let (lr, loss) = (step.lr.values()[0], step.loss.values()[0]);
    if !loss.is_finite() {
        return;
    }
    for ((v, theta), grad) in velocity.iter_mut().zip(theta).zip(grad) {
        *v = step.momentum * *v + grad + step.weight_decay * *theta;
        *theta -= lr * *v;
    }
}
