//! Weights, and what training them takes.

use crate::device::{Device, Moved, Sgd, whole};
use crate::error::Result;
use crate::field::Tensors;
use crate::memory::Category;

/// Weights with their gradients and velocities.
pub(super) struct Trained<T> {
    pub theta: T,
    pub grad: T,
    pub velocity: T,
}

impl<T> Trained<T> {
    /// All three from one constructor.
    pub fn new(mut make: impl FnMut(Category) -> Result<T>) -> Result<Self> {
        Ok(Self {
            theta: make(Category::Parameters)?,
            grad: make(Category::Gradients)?,
            velocity: make(Category::Optimiser)?,
        })
    }

    /// Zeroes the gradients.
    pub fn clear<D: Device>(&mut self, d: &D) -> Result<()>
    where
        T: Tensors<D>,
    {
        self.grad.named_mut().try_for_each(|(_, grad)| d.fill(0.0, grad))
    }

    /// One SGD step.
    pub fn update<D: Device>(&mut self, d: &D, sgd: Sgd<'_, D::Buffer>) -> Result<()>
    where
        T: Tensors<D>,
    {
        d.sgd_all(sgd, &mut self.moved::<D>())
    }

    /// What an SGD step moves.
    pub fn moved<D: Device>(&mut self) -> impl Iterator<Item = Moved<'_, D::Buffer>>
    where
        T: Tensors<D>,
    {
        let Self { theta, grad, velocity } = self;
        whole::moved::<D, T>(grad, velocity, theta)
    }
}
