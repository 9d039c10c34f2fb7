//! The linear layer.

/// `y = x w + b`.
pub fn linear(x: &[f64], w: &[f64], b: &[f64], y: &mut [f64]) {
    let features = w.len() / b.len();
    for (x, y) in x.chunks(features).zip(y.chunks_mut(b.len())) {
        for (k, y) in y.iter_mut().enumerate() {
            *y = b[k] + x.iter().enumerate().map(|(f, x)| x * w[f * b.len() + k]).sum::<f64>();
        }
    }
}

/// `grad_x = grad_y w^T`.
pub fn linear_grad_x(grad_y: &[f64], w: &[f64], classes: usize, grad_x: &mut [f64]) {
    let features = w.len() / classes;
    for (grad_x, grad_y) in grad_x.chunks_mut(features).zip(grad_y.chunks(classes)) {
        for (grad_x, w) in grad_x.iter_mut().zip(w.chunks(classes)) {
            *grad_x = w.iter().zip(grad_y).map(|(w, g)| w * g).sum();
        }
    }
}

/// `grad_w = x^T grad_y`, `grad_b = sum grad_y`.
pub fn linear_grad_w(x: &[f64], grad_y: &[f64], grad_w: &mut [f64], grad_b: &mut [f64]) {
    let classes = grad_b.len();
    let features = grad_w.len() / classes;
    grad_w.fill(0.0);
    grad_b.fill(0.0);
    for (x, grad_y) in x.chunks(features).zip(grad_y.chunks(classes)) {
        for (x, grad_w) in x.iter().zip(grad_w.chunks_mut(classes)) {
            for (w, g) in grad_w.iter_mut().zip(grad_y) {
                *w += x * g;
            }
        }
        for (b, g) in grad_b.iter_mut().zip(grad_y) {
            *b += g;
        }
    }
}
