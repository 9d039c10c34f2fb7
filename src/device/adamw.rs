//! Adam with weight decay apart from the gradient.

use super::sgd::Decay;
use crate::tensor::Tensor;

/// AdamW's settings for one step (Loshchilov and Hutter 2019).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Learning rate.
    pub lr: f64,
    /// How much of the gradient's mean, and of its square's, stays from step to step.
    pub betas: [f64; 2],
    /// What is added to the root that a step is divided by; above 0.
    pub eps: f64,
    /// Weight decay, which goes past the two means.
    pub weight_decay: f64,
    /// Which parameters that is of.
    pub decay: Decay,
}

impl AdamWStep {
    /// PyTorch's defaults.
    pub const PYTORCH: Self = Self { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01, decay: Decay::All };
}

/// The same as a device takes it. What differs between steps lies on the device, as in [`super::Sgd`].
pub struct AdamW<'a, B> {
    /// Learning rate, `[1]`.
    pub lr: &'a Tensor<B>,
    /// The step's loss in its first element: where that is not finite, nothing is updated.
    pub loss: &'a Tensor<B>,
    /// What [`super::Optimiser::count_step`] leaves, `[3]`: the step's number t, from 1, and `1 - beta^t` of both betas.
    pub count: &'a Tensor<B>,
    /// How much of the two means stays.
    pub betas: [f64; 2],
    /// What is added to the root.
    pub eps: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Which parameters that is of.
    pub decay: Decay,
}

impl<B> Clone for AdamW<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for AdamW<'_, B> {}
