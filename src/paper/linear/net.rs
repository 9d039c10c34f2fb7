//! The network of depth N and its exact gradient.

use super::{identity, loss, loss_grad, matrix};

/// A deep linear residual network from the identity: `x_0 = I`, `x_{n+1} = x_n + theta_n x_n / N`, in `[d, d]`.
#[derive(Clone, Debug)]
pub struct LinearNet {
    d: usize,
    /// All layers' weights, one after the other, `[N, d, d]`.
    pub theta: Vec<f64>,
    /// All states, `[N + 1, d, d]`: x_0 to x_N of the last [`LinearNet::forward`].
    pub states: Vec<f64>,
    grad_theta: Vec<f64>,
}

impl LinearNet {
    /// A net with these weights, `[N, d, d]`.
    pub fn new(d: usize, theta: Vec<f64>) -> Self {
        let mut states = identity(d);
        states.resize(theta.len() + d * d, 0.0);
        Self { d, states, grad_theta: vec![0.0; theta.len()], theta }
    }

    /// Number of layers N.
    pub fn depth(&self) -> usize {
        self.theta.len() / (self.d * self.d)
    }

    fn h(&self) -> f64 {
        1.0 / self.depth() as f64
    }

    /// Fills the states and gives the loss against `target`.
    pub fn forward(&mut self, target: &[f64]) -> f64 {
        let (h, len) = (self.h(), self.d * self.d);
        for (n, theta) in self.theta.chunks_exact(len).enumerate() {
            let (done, rest) = self.states.split_at_mut((n + 1) * len);
            let (x, next) = (&done[n * len..], &mut rest[..len]);
            next.copy_from_slice(x);
            matrix::eval_acc(self.d, h, theta, x, next);
        }
        loss(&self.states[self.theta.len()..], target)
    }

    /// dL/dtheta, `[N, d, d]`, by stored backprop at the states of [`LinearNet::forward`].
    pub fn backward(&mut self, target: &[f64]) -> &[f64] {
        let (h, len) = (self.h(), self.d * self.d);
        let mut g = loss_grad(&self.states[self.theta.len()..], target);
        let mut next = g.clone();
        self.grad_theta.fill(0.0);
        for n in (0..self.depth()).rev() {
            let layer = n * len..(n + 1) * len;
            matrix::vjp_theta_acc(self.d, h, &self.states[layer.clone()], &g, &mut self.grad_theta[layer.clone()]);
            next.copy_from_slice(&g);
            matrix::vjp_x_acc(self.d, h, &self.theta[layer], &g, &mut next);
            std::mem::swap(&mut g, &mut next);
        }
        &self.grad_theta
    }

    /// One step of the gradient flow scaled by N, `dtheta_n/dt = -N dL/dtheta_n`, from the states of [`LinearNet::forward`]:
    /// gradient descent with the rate `time_step` N.
    pub fn descend(&mut self, target: &[f64], time_step: f64) {
        let rate = time_step * self.depth() as f64;
        self.backward(target);
        for (theta, grad) in self.theta.iter_mut().zip(&self.grad_theta) {
            *theta -= rate * grad;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::start::{Start, target, weights};
    use super::*;

    #[test]
    fn one_layer_has_the_gradient_of_least_squares() {
        // x_1 = I + theta, so dL/dtheta = 2/d^2 (I + theta - target)
        let (d, to) = (3, target(5, 3, 1.0));
        let mut net = LinearNet::new(d, weights(Start::Rough, 5, d, 1, |_| 0.0));
        net.forward(&to);
        let expected: Vec<f64> =
            net.theta.iter().zip(identity(d)).zip(&to).map(|((t, one), to)| 2.0 / 9.0 * (one + t - to)).collect();
        for (found, expected) in net.backward(&to).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-15, "{found} {expected}");
        }
    }

    #[test]
    fn the_gradient_agrees_with_central_differences() {
        for (d, depth) in [(1, 4), (2, 7), (3, 5)] {
            let to = target(1, d, 1.0);
            let theta = weights(Start::Rough, 1, d, depth, |_| 0.0);
            let mut net = LinearNet::new(d, theta.clone());
            net.forward(&to);
            let grad = net.backward(&to).to_vec();
            for (i, grad) in grad.iter().enumerate() {
                let delta = 1e-5;
                let mut loss_at = |sign: f64| {
                    net.theta.copy_from_slice(&theta);
                    net.theta[i] += sign * delta;
                    net.forward(&to)
                };
                let slope = (loss_at(1.0) - loss_at(-1.0)) / (2.0 * delta);
                // the loss's rounding, some 1e-16, over delta; curvature delta^2
                assert!((slope - grad).abs() < 1e-9, "d {d}, element {i}: {grad} and {slope}");
            }
        }
    }
}
