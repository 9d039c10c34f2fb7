//! The optimiser.

use super::whole;
use crate::error::Result;
use crate::memory::Memory;
use crate::operands::BasicTheta;
use crate::tensor::Tensor;

/// Stochastic gradient descent's settings for one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Learning rate.
    pub lr: f64,
    /// Momentum.
    pub momentum: f64,
    /// Weight decay, on all parameters.
    pub weight_decay: f64,
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
    /// Weight decay, on all parameters.
    pub weight_decay: f64,
}

impl<B> Clone for Sgd<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Sgd<'_, B> {}

/// A tensor of parameters with its gradient and velocity.
pub struct Moved<'a, B> {
    /// The gradient.
    pub grad: &'a Tensor<B>,
    /// The velocity.
    pub velocity: &'a mut Tensor<B>,
    /// The parameters.
    pub theta: &'a mut Tensor<B>,
}

/// Stochastic gradient descent.
pub trait Optimiser: Memory {
    /// `v = momentum v + grad + weight_decay theta; theta -= lr v`; nothing where the loss is not finite.
    fn sgd(
        &self,
        step: Sgd<'_, Self::Buffer>,
        grad: &Tensor<Self::Buffer>,
        velocity: &mut Tensor<Self::Buffer>,
        theta: &mut Tensor<Self::Buffer>,
    ) -> Result<()>;
    /// [`Self::sgd`] on each of these tensors.
    fn sgd_all(
        &self,
        step: Sgd<'_, Self::Buffer>,
        tensors: &mut dyn Iterator<Item = Moved<'_, Self::Buffer>>,
    ) -> Result<()> {
        for Moved { grad, velocity, theta } in tensors {
            self.sgd(step, grad, velocity, theta)?;
        }
        Ok(())
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
