//! Stochastic gradient descent.

use super::{Buffer, Reference, Tensor, adamw, elementwise};
use crate::check;
use crate::device::{AdamW, Moved, Optimiser, Sgd};
use crate::error::Result;
use crate::shape::Shape;

impl Optimiser for Reference {
    fn sgd(&self, step: Sgd<'_, Buffer>, grad: &Tensor, velocity: &mut Tensor, theta: &mut Tensor) -> Result<()> {
        check::descent("sgd", theta.shape(), grad.shape(), velocity.shape())?;
        elementwise::sgd(step, grad.values(), velocity.values_mut(), theta.values_mut());
        Ok(())
    }

    fn count_step(&self, betas: [f64; 2], loss: &Tensor, count: &mut Tensor) -> Result<()> {
        check::equal("count_step", Shape::vector(3), count.shape())?;
        adamw::count_step(betas, loss, count);
        Ok(())
    }

    fn adamw_all(&self, step: AdamW<'_, Buffer>, tensors: &mut dyn Iterator<Item = Moved<'_, Buffer>>) -> Result<()> {
        adamw::adamw_all(step, tensors)
    }
}
