//! Weights, and what training them takes.

use crate::device::{Descent, Device, Moved, whole};
use crate::error::Result;
use crate::field::Tensors;
use crate::memory::Category;
use crate::recipe::{Recipe, Share, clip_alone, gather};
use crate::tensor::Tensor;

/// Weights with their gradients and velocities.
pub(super) struct Trained<T> {
    pub theta: T,
    pub grad: T,
    /// The sum over the batches of a step, where it has several.
    pub sum: Option<T>,
    pub velocity: T,
    /// AdamW's means of the gradients' squares; none without AdamW.
    pub second: Option<T>,
    /// The average of the weights over steps, if one is kept.
    pub average: Option<T>,
}

impl<T> Trained<T> {
    /// All from one constructor.
    pub fn new(second_moments: bool, recipe: Recipe, mut make: impl FnMut(Category) -> Result<T>) -> Result<Self> {
        Ok(Self {
            theta: make(Category::Parameters)?,
            grad: make(Category::Gradients)?,
            velocity: make(Category::Optimiser)?,
            sum: recipe.accumulates.then(|| make(Category::Gradients)).transpose()?,
            second: second_moments.then(|| make(Category::Optimiser)).transpose()?,
            average: recipe.average.map(|_| make(Category::Optimiser)).transpose()?,
        })
    }

    /// Zeroes the gradients.
    pub fn clear<D: Device>(&mut self, d: &D) -> Result<()>
    where
        T: Tensors<D>,
    {
        self.grad.named_mut().try_for_each(|(_, grad)| d.fill(0.0, grad))
    }

    /// Takes in a batch's gradients, where several batches make a step.
    pub fn gather<D: Device>(&mut self, d: &D, share: Share) -> Result<()>
    where
        T: Tensors<D>,
    {
        let Self { grad, sum, .. } = self;
        sum.as_mut().map_or(Ok(()), |sum| gather::<D, T>(d, share, grad, sum))
    }

    /// Clips the gradients of the step by themselves, if the recipe says so.
    pub fn clip_alone<D: Device>(
        &mut self,
        d: &D,
        recipe: Recipe,
        squares: Option<&mut Tensor<D::Buffer>>,
    ) -> Result<()>
    where
        T: Tensors<D>,
    {
        clip_alone::<D, T>(d, recipe, squares, self.of_step_mut())
    }

    /// The gradients that a step takes.
    pub fn of_step(&self) -> &T {
        self.sum.as_ref().unwrap_or(&self.grad)
    }

    /// The same, to be written.
    pub fn of_step_mut(&mut self) -> &mut T {
        self.sum.as_mut().unwrap_or(&mut self.grad)
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
        let Self { theta, grad, sum, velocity, second, .. } = self;
        whole::moved::<D, T>(sum.as_ref().unwrap_or(grad), velocity, second.as_mut(), theta)
    }
}
