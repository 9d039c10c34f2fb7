//! AdamW, in the formula's order.

use super::{Buffer, Tensor};
use crate::device::{AdamW, Moved};
use crate::error::Result;

/// `count = [t, 1 - beta1^t, 1 - beta2^t]` of the next step; nothing where the loss is not finite.
pub fn count_step(betas: [f64; 2], loss: &Tensor, count: &mut Tensor) {
    if !loss.values()[0].is_finite() {
        return;
    }
    let t = count.values()[0] + 1.0;
    count.values_mut().copy_from_slice(&[t, 1.0 - betas[0].powf(t), 1.0 - betas[1].powf(t)]);
}

/// `m = beta1 m + (1 - beta1) grad; s = beta2 s + (1 - beta2) grad^2;
/// theta = (1 - lr decay) theta - lr m / (1 - beta1^t) / (sqrt(s / (1 - beta2^t)) + eps)`; nothing where the loss is not finite.
pub fn adamw_all(step: AdamW<'_, Buffer>, tensors: &mut dyn Iterator<Item = Moved<'_, Buffer>>) -> Result<()> {
    let (lr, [beta1, beta2]) = (step.lr.values()[0], step.betas);
    let (correction1, correction2) = (step.count.values()[1], step.count.values()[2]);
    for moved in tensors {
        let decay = step.decay.on(moved.is_weight, step.weight_decay);
        let (grad, [theta, mean, square]) = moved.of_adamw()?;
        if !step.loss.values()[0].is_finite() {
            continue;
        }
        let means = mean.values_mut().iter_mut().zip(square.values_mut());
        for (((m, s), theta), grad) in means.zip(theta.values_mut()).zip(grad.values()) {
            *m = beta1 * *m + (1.0 - beta1) * grad;
            *s = beta2 * *s + (1.0 - beta2) * grad * grad;
            let (mean, square) = (*m / correction1, *s / correction2);
            *theta = (1.0 - lr * decay) * *theta - lr * mean / (square.sqrt() + step.eps);
        }
    }
    Ok(())
}
