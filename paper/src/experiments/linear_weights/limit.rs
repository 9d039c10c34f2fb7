//! The limit N to infinity: weights theta(s, t) over s in [0, 1], whose ODE `dX/ds = theta(s) X`, X(0) = I, the network's steps
//! discretise, under the flow that the network's flow tends to.
//!
//! ```text
//! dtheta(s)/dt = -G(s) X(s)^T      dG/ds = -theta(s)^T G,  G(1) = dL/dX(1)
//! ```
//!
//! Solved on M intervals by a rule of second order, so that its own error, O(1/M^2), is far below the O(1/N) that is measured
//! against it. The flow's steps in t are those of the network, so that nothing but depth differs.

use super::matrix::{self, identity, loss, loss_grad};

/// The limit's weights, states and cotangents on the nodes s = j/M, j = 0 .. M.
#[derive(Clone, Debug)]
pub struct Limit {
    d: usize,
    /// theta(j/M), `[M + 1, d, d]`.
    pub theta: Vec<f64>,
    /// X(j/M), `[M + 1, d, d]`, of the last [`Limit::forward`].
    pub states: Vec<f64>,
    cotangents: Vec<f64>,
}

impl Limit {
    /// The limit with these weights, `[M + 1, d, d]`.
    pub fn new(d: usize, theta: Vec<f64>) -> Self {
        let mut states = identity(d);
        states.resize(theta.len(), 0.0);
        Self { d, states, cotangents: vec![0.0; theta.len()], theta }
    }

    /// Number of intervals M.
    pub fn intervals(&self) -> usize {
        self.theta.len() / (self.d * self.d) - 1
    }

    /// Element range of node j.
    pub fn node(&self, j: usize) -> std::ops::Range<usize> {
        let len = self.d * self.d;
        j * len..(j + 1) * len
    }

    /// theta in the middle of interval j.
    fn middle(&self, j: usize, middle: &mut [f64]) {
        let (from, to) = (&self.theta[self.node(j)], &self.theta[self.node(j + 1)]);
        for ((middle, from), to) in middle.iter_mut().zip(from).zip(to) {
            *middle = 0.5 * (from + to);
        }
    }

    /// Fills the states and gives the loss against `target`.
    pub fn forward(&mut self, target: &[f64]) -> f64 {
        let (d, h, len) = (self.d, 1.0 / self.intervals() as f64, self.d * self.d);
        let (mut middle, mut k) = (vec![0.0; len], vec![0.0; len]);
        for j in 0..self.intervals() {
            self.middle(j, &mut middle);
            // X + h k + h^2/2 theta k with k = theta X: the exponential to second order
            let (done, rest) = self.states.split_at_mut((j + 1) * len);
            let (x, next) = (&done[j * len..], &mut rest[..len]);
            k.fill(0.0);
            matrix::eval_acc(d, 1.0, &middle, x, &mut k);
            next.copy_from_slice(x);
            matrix::eval_acc(d, h * h / 2.0, &middle, &k, next);
            for (next, k) in next.iter_mut().zip(&k) {
                *next += h * k;
            }
        }
        loss(&self.states[self.node(self.intervals())], target)
    }

    /// One step of the flow, from the states of [`Limit::forward`].
    pub fn descend(&mut self, target: &[f64], time_step: f64) {
        let (d, h, len, last) = (self.d, 1.0 / self.intervals() as f64, self.d * self.d, self.intervals());
        let (mut middle, mut k) = (vec![0.0; len], vec![0.0; len]);
        let range = self.node(last);
        let end = loss_grad(&self.states[range.clone()], target);
        self.cotangents[range].copy_from_slice(&end);
        for j in (0..last).rev() {
            self.middle(j, &mut middle);
            let (rest, done) = self.cotangents.split_at_mut((j + 1) * len);
            let (g, next) = (&done[..len], &mut rest[j * len..]);
            k.fill(0.0);
            matrix::vjp_x_acc(d, 1.0, &middle, g, &mut k);
            next.copy_from_slice(g);
            matrix::vjp_x_acc(d, h * h / 2.0, &middle, &k, next);
            for (next, k) in next.iter_mut().zip(&k) {
                *next += h * k;
            }
        }
        let nodes = self.theta.chunks_exact_mut(len).zip(self.states.chunks_exact(len));
        for ((theta, x), g) in nodes.zip(self.cotangents.chunks_exact(len)) {
            matrix::vjp_theta_acc(d, -time_step, x, g, theta);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::matrix::distance;
    use super::super::start::{Start, target, weights};
    use super::*;

    fn flowed(intervals: usize) -> Limit {
        let (d, to) = (2, target(2, 2, 1.0));
        let nodes = intervals + 1;
        let mut limit = Limit::new(d, weights(Start::Smooth, 2, d, nodes, |j| j as f64 / intervals as f64));
        for _ in 0..40 {
            limit.forward(&to);
            limit.descend(&to, 0.1);
        }
        limit.forward(&to);
        limit
    }

    #[test]
    fn a_constant_theta_gives_its_exponential() {
        let theta = [0.3, -1.1, 0.7, 0.2];
        let mut limit = Limit::new(2, theta.repeat(2049));
        limit.forward(&[0.0; 4]);
        // the exponential's series: 30 terms of norms below 1.5^k / k!
        let (mut term, mut sum) = (identity(2), identity(2));
        for k in 1..30 {
            let mut next = vec![0.0; 4];
            matrix::eval_acc(2, 1.0 / f64::from(k), &theta, &term, &mut next);
            term = next;
            sum.iter_mut().zip(&term).for_each(|(sum, term)| *sum += term);
        }
        // |theta|^3 / (6 M^2) a unit of s
        assert!(distance(&limit.states[limit.node(2048)], &sum) < 3e-7);
    }

    #[test]
    fn the_limits_own_error_is_of_second_order() {
        let fine = flowed(1024);
        let error = |intervals| {
            let coarse = flowed(intervals);
            let stride = 1024 / intervals;
            (0..=intervals)
                .map(|j| distance(&coarse.theta[coarse.node(j)], &fine.theta[fine.node(stride * j)]))
                .fold(0.0, f64::max)
        };
        let order = (error(16) / error(64)).ln() / 4f64.ln();
        assert!((order - 2.0).abs() < 0.1, "{order}");
    }
}
