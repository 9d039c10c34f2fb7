//! The network of depth N and its exact gradient, by the sweeps that train every other net here.

use rewind::device::{Device, SgdStep};
use rewind::error::Result;
use rewind::field::Linear;
use rewind::host::HostBuffer;
use rewind::memory::{Category, take};
use rewind::recipe::Recipe;
use rewind::reference::Reference;
use rewind::scheme::{Scheme, Stack, StackSpec, StepSize};
use rewind::shape::Shape;
use rewind::sweep::{Gradient, Sweep, SweepSpec, Update, Work};
use rewind::tensor::Tensor;

use super::matrix::{identity, loss, loss_grad, transposed};

const D: &Reference = &Reference;
const SWEEP: SweepSpec = SweepSpec { update: Update::After, ..SweepSpec::new(Scheme::Euler, Gradient::Backprop) };

/// A deep linear residual network from the identity: `x_0 = I`, `x_{n+1} = x_n + theta_n x_n / N`, in `[d, d]`.
///
/// The field's states are batches of rows, `[d, 1, 1, d]`, so that it computes with the transposes of all matrices here.
pub struct LinearNet {
    d: usize,
    /// All layers' weights, one after the other, `[N, d, d]`.
    pub theta: Vec<f64>,
    /// All states, `[N + 1, d, d]`: x_0 to x_N of the last [`LinearNet::forward`].
    pub states: Vec<f64>,
    grad_theta: Vec<f64>,
    stack: Stack<Reference, Linear>,
    work: Work<Reference, Linear>,
    /// What the sweep is handed, as a rate and as a loss, for updates that it leaves to others.
    unused: Tensor<HostBuffer<f64>>,
}

impl LinearNet {
    /// A net with these weights, `[N, d, d]`.
    ///
    /// # Errors
    /// If the machine has no room.
    pub fn new(d: usize, theta: Vec<f64>) -> Result<Self> {
        let depth = theta.len() / (d * d);
        let map = Shape::map(d, 1, 1, d);
        let spec = StackSpec {
            scheme: SWEEP.scheme,
            depth,
            step_size: StepSize::OverDepth,
            map,
            keeps_statistics: SWEEP.keeps_statistics(),
            keeps_masks: SWEEP.keeps_masks(),
            tied: false,
            second_moments: false,
            recipe: Recipe::default(),
            post_activation: false,
        };
        let ((stack, work, unused), _) = take(D, |arena| {
            let (stack, work) = (Stack::new(arena, spec)?, Work::new(arena, &SWEEP, spec, 0)?);
            Ok((stack, work, arena.tensor(Category::Scratch, Shape::vector(2))?))
        })?;
        let mut states = identity(d);
        states.resize(theta.len() + d * d, 0.0);
        Ok(Self { d, states, grad_theta: vec![0.0; theta.len()], theta, stack, work, unused })
    }

    /// Number of layers N.
    pub fn depth(&self) -> usize {
        self.stack.depth()
    }

    /// Fills the states and gives the loss against `target`.
    ///
    /// # Errors
    /// None on the host; so below.
    pub fn forward(&mut self, target: &[f64]) -> Result<f64> {
        let Self { d, theta, states, stack, work, .. } = self;
        let len = *d * *d;
        for (layer, theta) in stack.theta.iter_mut().zip(theta.chunks_exact(len)) {
            D.upload(&transposed(*d, theta), &mut layer.convs[0])?;
        }
        D.upload(&identity(*d), &mut work.x)?;
        Sweep { d: D, spec: &SWEEP, stack, work }.forward()?;
        let mut rows = vec![0.0; len];
        for (state, to) in work.states().iter().chain([&work.x]).zip(states.chunks_exact_mut(len)) {
            D.download(state, &mut rows)?;
            to.copy_from_slice(&transposed(*d, &rows));
        }
        Ok(loss(&states[theta.len()..], target))
    }

    /// dL/dtheta, `[N, d, d]`, by stored backprop at the states of [`LinearNet::forward`].
    ///
    /// # Errors
    /// None on the host.
    pub fn backward(&mut self, target: &[f64]) -> Result<&[f64]> {
        let Self { d, theta, states, grad_theta, stack, work, unused } = self;
        let len = *d * *d;
        let grad = loss_grad(&states[theta.len()..], target);
        D.upload(&transposed(*d, &grad), &mut work.grad)?;
        let sgd = SgdStep { momentum: 0.0, weight_decay: 0.0, ..SgdStep::PAPER }.on_device(unused, unused);
        Sweep { d: D, spec: &SWEEP, stack, work }.backward(sgd)?;
        let mut columns = vec![0.0; len];
        for (slot, to) in work.grads.slots.iter().zip(grad_theta.chunks_exact_mut(len)) {
            D.download(&slot.convs[0], &mut columns)?;
            to.copy_from_slice(&transposed(*d, &columns));
        }
        Ok(grad_theta)
    }

    /// One step of the gradient flow scaled by N, `dtheta_n/dt = -N dL/dtheta_n`, from the states of [`LinearNet::forward`]:
    /// gradient descent with the rate `time_step` N.
    ///
    /// # Errors
    /// None on the host.
    pub fn descend(&mut self, target: &[f64], time_step: f64) -> Result<()> {
        let rate = time_step * self.depth() as f64;
        self.backward(target)?;
        for (theta, grad) in self.theta.iter_mut().zip(&self.grad_theta) {
            *theta -= rate * grad;
        }
        Ok(())
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
        let mut net = LinearNet::new(d, weights(Start::Rough, 5, d, 1, |_| 0.0)).expect("net");
        net.forward(&to).expect("forward");
        let expected: Vec<f64> =
            net.theta.iter().zip(identity(d)).zip(&to).map(|((t, one), to)| 2.0 / 9.0 * (one + t - to)).collect();
        for (found, expected) in net.backward(&to).expect("backward").iter().zip(expected) {
            assert!((found - expected).abs() < 1e-15, "{found} {expected}");
        }
    }

    #[test]
    fn the_gradient_agrees_with_central_differences() {
        for (d, depth) in [(1, 4), (2, 7), (3, 5)] {
            let to = target(1, d, 1.0);
            let theta = weights(Start::Rough, 1, d, depth, |_| 0.0);
            let mut net = LinearNet::new(d, theta.clone()).expect("net");
            net.forward(&to).expect("forward");
            let grad = net.backward(&to).expect("backward").to_vec();
            for (i, grad) in grad.iter().enumerate() {
                let delta = 1e-5;
                let mut loss_at = |sign: f64| {
                    net.theta.copy_from_slice(&theta);
                    net.theta[i] += sign * delta;
                    net.forward(&to).expect("forward")
                };
                let slope = (loss_at(1.0) - loss_at(-1.0)) / (2.0 * delta);
                // the loss's rounding, some 1e-16, over delta; curvature delta^2
                assert!((slope - grad).abs() < 1e-9, "d {d}, element {i}: {grad} and {slope}");
            }
        }
    }
}
