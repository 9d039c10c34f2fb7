//! Stochastic gradient descent.

use super::{Buffer, Reference, Tensor, elementwise};
use crate::check;
use crate::device::{Optimiser, Sgd};
use crate::error::Result;

impl Optimiser for Reference {
    fn sgd(&self, step: Sgd<'_, Buffer>, grad: &Tensor, velocity: &mut Tensor, theta: &mut Tensor) -> Result<()> {
        check::descent("sgd", theta.shape(), grad.shape(), velocity.shape())?;
        elementwise::sgd(step, grad.values(), velocity.values_mut(), theta.values_mut());
        Ok(())
    }
}
