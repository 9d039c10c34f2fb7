//! Deep linear residual networks `x_{n+1} = x_n + theta_n x_n / N` under gradient flow: the setting of the paper's theorem on
//! convergence to a limit ODE, and of its figure 2.

pub mod flow;
pub mod limit;
mod matrix;
pub mod net;
pub mod start;

/// `|a - b|`, the square root of the sum of squares.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// The identity, `[d, d]`.
fn identity(d: usize) -> Vec<f64> {
    (0..d * d).map(|i| if i % (d + 1) == 0 { 1.0 } else { 0.0 }).collect()
}

/// The paper's loss, `mean((x - target)^2)` over the matrix's elements.
fn loss(x: &[f64], target: &[f64]) -> f64 {
    distance(x, target).powi(2) / x.len() as f64
}

/// dL/dx.
fn loss_grad(x: &[f64], target: &[f64]) -> Vec<f64> {
    x.iter().zip(target).map(|(a, b)| 2.0 / x.len() as f64 * (a - b)).collect()
}
