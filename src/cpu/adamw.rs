//! Adam with weight decay apart from the gradient.

use rayon::prelude::*;

use super::elementwise::CHUNK;
use super::sgd::not_tiny;
use super::simd::{Kernel, Simd};
use super::{Buffer, Cpu, Tensor};
use crate::device::{AdamW, Moved};
use crate::error::Result;

/// `count = [t, 1 - beta1^t, 1 - beta2^t]` of the next step; nothing where the loss is not finite.
pub fn count_step(betas: [f64; 2], loss: &Tensor, count: &mut Tensor) {
    if let [step, corrections @ ..] = count.values_mut()
        && loss.values()[0].is_finite()
    {
        *step += 1.0;
        let t = f64::from(*step);
        for (correction, beta) in corrections.iter_mut().zip(betas) {
            // libm's gives the same bits on every machine
            *correction = -libm::expm1(t * libm::log(beta)) as f32;
        }
    }
}

/// AdamW on each of these tensors; nothing where the loss is not finite.
pub fn adamw_all(
    cpu: &Cpu,
    step: AdamW<'_, Buffer>,
    tensors: &mut dyn Iterator<Item = Moved<'_, Buffer>>,
) -> Result<()> {
    let (lr, count) = (step.lr.values()[0], step.count.values());
    let moves = step.loss.values()[0].is_finite();
    let [beta1, beta2] = step.betas;
    for moved in tensors {
        let decay = step.decay.on(moved.is_weight, step.weight_decay) as f32;
        let (grad, [theta, mean, square]) = moved.of_adamw()?;
        if !moves {
            continue;
        }
        let factors = Factors {
            rate: lr / count[1],
            root: count[2].sqrt(),
            stays: 1.0 - lr * decay,
            // in f64, since of a beta near 1 in f32 it would have few digits
            take1: (1.0 - beta1) as f32,
            keep2: beta2 as f32,
            take2: (1.0 - beta2) as f32,
            eps: step.eps as f32,
        };
        let (grad, theta) = (grad.values(), theta.values_mut());
        let (mean, square) = (mean.values_mut(), square.values_mut());
        if theta.len() <= CHUNK {
            cpu.run(Step { factors, grad, mean, square, theta });
            continue;
        }
        cpu.install(|| {
            let means = (mean.par_chunks_mut(CHUNK), square.par_chunks_mut(CHUNK));
            (theta.par_chunks_mut(CHUNK), means.0, means.1, grad.par_chunks(CHUNK))
                .into_par_iter()
                .for_each(|(theta, mean, square, grad)| cpu.run(Step { factors, grad, mean, square, theta }));
        });
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Factors {
    rate: f32,
    root: f32,
    stays: f32,
    take1: f32,
    keep2: f32,
    take2: f32,
    eps: f32,
}

struct Step<'a> {
    factors: Factors,
    grad: &'a [f32],
    mean: &'a mut [f32],
    square: &'a mut [f32],
    theta: &'a mut [f32],
}

impl Kernel for Step<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Factors { rate, root, stays, take1, keep2, take2, eps } = self.factors;
        let means = self.mean.iter_mut().zip(self.square);
        for (((mean, square), theta), grad) in means.zip(self.theta).zip(self.grad) {
            *mean = not_tiny(*mean + take1 * (grad - *mean));
            *square = keep2 * *square + take2 * grad * grad;
            *theta = not_tiny(stays * *theta - rate * (*mean / (square.sqrt() / root + eps)));
        }
    }
}
