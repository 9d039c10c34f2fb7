//! Stochastic gradient descent with momentum and weight decay.

use rayon::prelude::*;

use super::Cpu;
use super::elementwise::CHUNK;
use super::simd::{Kernel, Simd};
use crate::device::SgdStep;

/// `v = momentum v + grad + weight_decay theta; theta -= lr v`.
pub fn sgd(cpu: &Cpu, step: SgdStep, grad: &[f32], velocity: &mut [f32], theta: &mut [f32]) {
    if theta.len() <= CHUNK {
        return cpu.run(Sgd { step, grad, velocity, theta });
    }
    cpu.install(|| {
        (theta.par_chunks_mut(CHUNK), velocity.par_chunks_mut(CHUNK), grad.par_chunks(CHUNK))
            .into_par_iter()
            .for_each(|(theta, velocity, grad)| cpu.run(Sgd { step, grad, velocity, theta }));
    });
}

struct Sgd<'a> {
    step: SgdStep,
    grad: &'a [f32],
    velocity: &'a mut [f32],
    theta: &'a mut [f32],
}

impl Kernel for Sgd<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let SgdStep { lr, momentum, weight_decay } = self.step;
        let (lr, momentum, weight_decay) = (lr as f32, momentum as f32, weight_decay as f32);
        for ((v, theta), grad) in self.velocity.iter_mut().zip(self.theta).zip(self.grad) {
            *v = momentum * *v + grad + weight_decay * *theta;
            *theta -= lr * *v;
        }
    }
}
