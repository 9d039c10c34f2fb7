//! Stochastic gradient descent with momentum and weight decay.

use rayon::prelude::*;

use super::elementwise::CHUNK;
use super::simd::{Kernel, Simd};
use super::{Buffer, Cpu, Tensor, adamw};
use crate::check;
use crate::device::{AdamW, Moved, Optimiser, Sgd as Step};
use crate::error::Result;
use crate::shape::Shape;

/// `g = grad + weight_decay theta; v = momentum v + g; theta -= lr v`, or with Nesterov's momentum `theta -= lr (g + momentum v)`, but
/// what is below [`TINY`] is 0; nothing where the loss is not finite.
pub fn sgd(cpu: &Cpu, step: Step<'_, Buffer>, grad: &[f32], velocity: &mut [f32], theta: &mut [f32]) {
    if !step.loss.values()[0].is_finite() {
        return;
    }
    let (lr, momentum, weight_decay) = (step.lr.values()[0], step.momentum as f32, step.weight_decay as f32);
    let step = Factors { lr, momentum, nesterov: step.nesterov, weight_decay };
    if theta.len() <= CHUNK {
        return cpu.run(Sgd { step, grad, velocity, theta });
    }
    cpu.install(|| {
        (theta.par_chunks_mut(CHUNK), velocity.par_chunks_mut(CHUNK), grad.par_chunks(CHUNK))
            .into_par_iter()
            .for_each(|(theta, velocity, grad)| cpu.run(Sgd { step, grad, velocity, theta }));
    });
}

#[derive(Clone, Copy)]
struct Factors {
    lr: f32,
    momentum: f32,
    nesterov: bool,
    weight_decay: f32,
}

struct Sgd<'a> {
    step: Factors,
    grad: &'a [f32],
    velocity: &'a mut [f32],
    theta: &'a mut [f32],
}

impl Kernel for Sgd<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Factors { lr, momentum, nesterov, weight_decay } = self.step;
        for ((v, theta), grad) in self.velocity.iter_mut().zip(self.theta).zip(self.grad) {
            *v = not_tiny(momentum * *v + grad + weight_decay * *theta);
            let ahead = if nesterov { grad + weight_decay * *theta + momentum * *v } else { *v };
            *theta = not_tiny(*theta - lr * ahead);
        }
    }
}

/// Numbers below 2^-100 count as 0. Weights that only decay come there, where nothing that they do shows in a sum any more; further on their
/// products would be subnormal numbers, which many processors are slow at.
const TINY: f32 = 1.0 / (1u128 << 100) as f32;

#[inline(always)]
pub fn not_tiny(v: f32) -> f32 {
    if v.abs() < TINY { 0.0 } else { v }
}

impl Optimiser for Cpu {
    fn sgd(&self, step: Step<'_, Buffer>, grad: &Tensor, velocity: &mut Tensor, theta: &mut Tensor) -> Result<()> {
        check::descent("sgd", theta.shape(), grad.shape(), velocity.shape())?;
        sgd(self, step, grad.values(), velocity.values_mut(), theta.values_mut());
        Ok(())
    }

    fn count_step(&self, betas: [f64; 2], loss: &Tensor, count: &mut Tensor) -> Result<()> {
        check::equal("count_step", Shape::vector(3), count.shape())?;
        adamw::count_step(betas, loss, count);
        Ok(())
    }

    fn adamw_all(&self, step: AdamW<'_, Buffer>, tensors: &mut dyn Iterator<Item = Moved<'_, Buffer>>) -> Result<()> {
        adamw::adamw_all(self, step, tensors)
    }
}
