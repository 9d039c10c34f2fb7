//! Small matrices on the host, in f64, their products and the loss: theta is `[d, d]`, a state `[d, m]`, rows one after the
//! other.

/// The transpose of a `[d, d]` matrix.
pub fn transposed(d: usize, matrix: &[f64]) -> Vec<f64> {
    (0..d * d).map(|i| matrix[i % d * d + i / d]).collect()
}

/// `y += scale * theta x`.
pub fn eval_acc(d: usize, scale: f64, theta: &[f64], x: &[f64], y_acc: &mut [f64]) {
    let m = x.len() / d;
    for (theta_row, y_row) in theta.chunks_exact(d).zip(y_acc.chunks_exact_mut(m)) {
        for (theta, x_row) in theta_row.iter().zip(x.chunks_exact(m)) {
            for (y, x) in y_row.iter_mut().zip(x_row) {
                *y += scale * theta * x;
            }
        }
    }
}

/// The VJP by the state: `grad_x += scale * theta^T g`.
pub fn vjp_x_acc(d: usize, scale: f64, theta: &[f64], g: &[f64], grad_x_acc: &mut [f64]) {
    let m = g.len() / d;
    for (theta_row, g_row) in theta.chunks_exact(d).zip(g.chunks_exact(m)) {
        for (theta, grad_row) in theta_row.iter().zip(grad_x_acc.chunks_exact_mut(m)) {
            for (grad, g) in grad_row.iter_mut().zip(g_row) {
                *grad += scale * theta * g;
            }
        }
    }
}

/// The VJP by the weights: `grad_theta += scale * g x^T`.
pub fn vjp_theta_acc(d: usize, scale: f64, x: &[f64], g: &[f64], grad_theta_acc: &mut [f64]) {
    let m = x.len() / d;
    for (g_row, grad_row) in g.chunks_exact(m).zip(grad_theta_acc.chunks_exact_mut(d)) {
        for (grad, x_row) in grad_row.iter_mut().zip(x.chunks_exact(m)) {
            *grad += scale * g_row.iter().zip(x_row).map(|(g, x)| g * x).sum::<f64>();
        }
    }
}

/// `|a - b|`, the square root of the sum of squares.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// The identity, `[d, d]`.
pub fn identity(d: usize) -> Vec<f64> {
    (0..d * d).map(|i| if i % (d + 1) == 0 { 1.0 } else { 0.0 }).collect()
}

/// The paper's loss, `mean((x - target)^2)` over the matrix's elements.
pub fn loss(x: &[f64], target: &[f64]) -> f64 {
    distance(x, target).powi(2) / x.len() as f64
}

/// dL/dx.
pub fn loss_grad(x: &[f64], target: &[f64]) -> Vec<f64> {
    x.iter().zip(target).map(|(a, b)| 2.0 / x.len() as f64 * (a - b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_worked_out_by_hand() {
        // theta = [1 2; 3 4], x = [5; 7], g = [1; -1]
        let (theta, x, g) = ([1.0, 2.0, 3.0, 4.0], [5.0, 7.0], [1.0, -1.0]);
        let (mut y, mut grad_x, mut grad_theta) = ([1.0, 1.0], [0.0; 2], [0.0; 4]);
        eval_acc(2, 0.5, &theta, &x, &mut y);
        assert_eq!(y, [1.0 + 0.5 * 19.0, 1.0 + 0.5 * 43.0]);
        vjp_x_acc(2, 1.0, &theta, &g, &mut grad_x);
        assert_eq!(grad_x, [-2.0, -2.0]);
        vjp_theta_acc(2, 2.0, &x, &g, &mut grad_theta);
        assert_eq!(grad_theta, [10.0, 14.0, -10.0, -14.0]);
    }
}
