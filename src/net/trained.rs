//! Weights, and what training them takes.

use crate::device::{Descent, Device, Moved, whole};
use crate::error::Result;
use crate::field::Tensors;
use crate::memory::Category;

/// Weights with their gradients and velocities.
pub(super) struct Trained<T> {
    pub theta: T,
    pub grad: T,
    pub velocity: T,
    /// AdamW's means of the gradients' squares; none without AdamW.
    pub second: Option<T>,
}

impl<T> Trained<T> {
    /// All from one constructor.
    pub fn new(second_moments: bool, mut make: impl FnMut(Category) -> Result<T>) -> Result<Self> {
        Ok(Self {
            theta: make(Category::Parameters)?,
            grad: make(Category::Gradients)?,
            velocity: make(Category::Optimiser)?,
            second: second_moments.then(|| make(Category::Optimiser)).transpose()?,
        })
    }

    /// Zeroes the gradients.
    pub fn clear<D: Device>(&mut self, d: &D) -> Result<()>
    where
        T: Tensors<D>,
    {
        self.grad.named_mut().try_for_each(|(_, grad)| d.fill(0.0, grad))
    }

    /// One step of the optimiser.
    pub fn update<D: Device>(&mut self, d: &D, sgd: Descent<'_, D::Buffer>) -> Result<()>
    where
        T: Tensors<D>,
    {
        d.descend_all(sgd, &mut self.moved::<D>())
    }

    /// What a step of the optimiser moves.
    pub fn moved<D: Device>(&mut self) -> impl Iterator<Item = Moved<'_, D::Buffer>>
    where
        T: Tensors<D>,
    {
        let Self { theta, grad, velocity, second } = self;
        whole::moved::<D, T>(grad, velocity, second.as_mut(), theta)
    }
}
