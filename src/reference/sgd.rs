//! Stochastic gradient descent.

use super::{Buffer, Reference, Tensor, elementwise};
use crate::check;
use crate::device::{Optimiser, Sgd};
use crate::error::Result;

impl Optimiser for Reference {
    fn sgd(&self, step: Sgd<'_, Buffer>, grad: &Tensor, velocity: &mut Tensor, theta: &mut Tensor) -> Result<()> {
        check::equal("sgd", theta.shape(), grad.shape())?;
        check::equal("sgd", theta.shape(), velocity.shape())?;
        elementwise::sgd(step, grad.values(), velocity.values_mut(), theta.values_mut());
        Ok(())
    }
}
