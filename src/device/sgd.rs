//! The optimiser.

use super::adamw::AdamW;
use super::descent::{Descent, no_second_moments};
use super::whole;
use crate::check;
use crate::error::Result;
use crate::memory::Memory;
use crate::operands::BasicTheta;
pub use crate::residual::is_weight;
use crate::tensor::Tensor;

/// Which parameters decay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// All of them, as in the paper.
    #[default]
    All,
    /// The weights of convolutions and of linear layers: neither biases nor batch norms' factors and shifts (see [`is_weight`]), which
    /// many recipes leave without decay.
    Weights,
}

impl Decay {
    /// The decay of a parameter that is such a weight, or not.
    pub const fn on(self, is_weight: bool, weight_decay: f64) -> f64 {
        match self {
            Self::Weights if !is_weight => 0.0,
            Self::All | Self::Weights => weight_decay,
        }
    }
}

/// Stochastic gradient descent's settings for one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Learning rate.
    pub lr: f64,
    /// Momentum.
    pub momentum: f64,
    /// Whether the momentum is Nesterov's, which looks a step ahead: theta moves by `grad + momentum v` in place of v.
    pub nesterov: bool,
    /// Weight decay.
    pub weight_decay: f64,
    /// Which parameters that is of.
    pub decay: Decay,
}

impl SgdStep {
    /// The paper's settings.
    pub const PAPER: Self = Self { lr: 0.1, momentum: 0.9, nesterov: false, weight_decay: 5e-4, decay: Decay::All };

    /// The same as a device takes it: with the learning rate that lies there, and the loss.
    pub const fn on_device<'a, B>(self, lr: &'a Tensor<B>, loss: &'a Tensor<B>) -> Sgd<'a, B> {
        let Self { lr: _, momentum, nesterov, weight_decay, decay } = self;
        Sgd { lr, loss, momentum, nesterov, weight_decay, decay }
    }
}

/// The same as a device takes it. What differs between steps lies on the device, so that a recorded step can be
/// replayed.
pub struct Sgd<'a, B> {
    /// Learning rate, `[1]`.
    pub lr: &'a Tensor<B>,
    /// The step's loss in its first element: where that is not finite, nothing is updated.
    pub loss: &'a Tensor<B>,
    /// Momentum.
    pub momentum: f64,
    /// Whether it is Nesterov's.
    pub nesterov: bool,
    /// Weight decay.
    pub weight_decay: f64,
    /// Which parameters that is of, where there are several.
    pub decay: Decay,
}

impl<B> Sgd<'_, B> {
    /// The step of one parameter alone, which is a weight of a convolution or a linear layer, or not.
    pub const fn of(self, is_weight: bool) -> Self {
        Self { weight_decay: self.decay.on(is_weight, self.weight_decay), ..self }
    }
}

impl<B> Clone for Sgd<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Sgd<'_, B> {}

/// A tensor of parameters with its gradient and velocity.
pub struct Moved<'a, B> {
    /// Whether they are weights of a convolution or a linear layer: see [`is_weight`].
    pub is_weight: bool,
    /// The gradient.
    pub grad: &'a Tensor<B>,
    /// The velocity, or AdamW's mean of the gradients.
    pub velocity: &'a mut Tensor<B>,
    /// AdamW's mean of their squares, where there is memory for it.
    pub second: Option<&'a mut Tensor<B>>,
    /// The parameters.
    pub theta: &'a mut Tensor<B>,
}

impl<'a, B> Moved<'a, B> {
    /// What AdamW works on: the gradient; the parameters, and the means of gradients and of their squares.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] if there is no memory for the squares, and [`crate::Error::Shape`] if shapes differ.
    pub fn of_adamw(self) -> Result<(&'a Tensor<B>, [&'a mut Tensor<B>; 3])> {
        let Self { grad, velocity, second, theta, .. } = self;
        let second = second.ok_or_else(no_second_moments)?;
        check::descent("adamw", theta.shape(), grad.shape(), velocity.shape())?;
        check::equal("adamw", theta.shape(), second.shape())?;
        Ok((grad, [theta, velocity, second]))
    }
}

/// The optimisers: stochastic gradient descent and AdamW.
pub trait Optimiser: Memory {
    /// `g = grad + weight_decay theta; v = momentum v + g; theta -= lr v`, or with Nesterov's momentum `theta -= lr (g + momentum v)`;
    /// nothing where the loss is not finite.
    fn sgd(
        &self,
        step: Sgd<'_, Self::Buffer>,
        grad: &Tensor<Self::Buffer>,
        velocity: &mut Tensor<Self::Buffer>,
        theta: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// [`Self::sgd`] on each of these tensors, with the decay that it has.
    fn sgd_all(
        &self,
        step: Sgd<'_, Self::Buffer>,
        tensors: &mut dyn Iterator<Item = Moved<'_, Self::Buffer>>,
    ) -> Result<()> {
        for Moved { is_weight, grad, velocity, theta, .. } in tensors {
            self.sgd(step.of(is_weight), grad, velocity, theta)?;
        }
        Ok(())
    }
    /// Counts a step of AdamW: `count = [t, 1 - beta^t of both betas]`, `[3]`, t one more than it was; nothing where the loss is not
    /// finite. In f32 t stays at 2^24, by when its powers have vanished.
    fn count_step(&self, betas: [f64; 2], loss: &Tensor<Self::Buffer>, count: &mut Tensor<Self::Buffer>) -> Result<()>;
    /// AdamW on each of these tensors, with the decay that it has:
    /// `m = beta1 m + (1 - beta1) grad; s = beta2 s + (1 - beta2) grad^2;
    /// theta = (1 - lr weight_decay) theta - lr m / (1 - beta1^t) / (sqrt(s / (1 - beta2^t)) + eps)`; nothing where the loss is not finite.
    fn adamw_all(
        &self,
        step: AdamW<'_, Self::Buffer>,
        tensors: &mut dyn Iterator<Item = Moved<'_, Self::Buffer>>,
    ) -> Result<()>;
    /// A step of either optimiser on each of these tensors.
    fn descend_all(
        &self,
        step: Descent<'_, Self::Buffer>,
        tensors: &mut dyn Iterator<Item = Moved<'_, Self::Buffer>>,
    ) -> Result<()> {
        match step {
            Descent::Sgd(step) => self.sgd_all(step, tensors),
            Descent::AdamW(step) => self.adamw_all(step, tensors),
        }
    }
    /// [`Self::sgd`] on a block's six tensors.
    fn sgd_block(
        &self,
        step: Sgd<'_, Self::Buffer>,
        grad: &BasicTheta<Self::Buffer>,
        velocity: &mut BasicTheta<Self::Buffer>,
        theta: &mut BasicTheta<Self::Buffer>,
    ) -> Result<()> {
        whole::sgd_block(self, step, grad, velocity, theta)
    }
}
