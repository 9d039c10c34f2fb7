//! Clipping and averages, in the formulas' order.

use super::{Reference, Tensor};
use crate::check;
use crate::device::{CLIP_EPS, Gradients, SQUARES};
use crate::error::Result;
use crate::shape::Shape;

impl Gradients for Reference {
    fn squares(&self, tensors: &mut dyn Iterator<Item = &Tensor>, adds: bool, squares: &mut Tensor) -> Result<()> {
        check::equal("squares", Shape::vector(SQUARES), squares.shape())?;
        let sum: f64 = tensors.flat_map(Tensor::values).map(|g| g * g).sum();
        let to = &mut squares.values_mut()[0];
        *to = if adds { *to + sum } else { sum };
        Ok(())
    }

    fn clip(&self, squares: &Tensor, most: f64, tensors: &mut dyn Iterator<Item = &mut Tensor>) -> Result<()> {
        check::equal("clip", Shape::vector(SQUARES), squares.shape())?;
        let factor = (most / (squares.values()[0].sqrt() + CLIP_EPS)).min(1.0);
        tensors.flat_map(Tensor::values_mut).for_each(|g| *g *= factor);
        Ok(())
    }

    fn average_all(
        &self,
        keep: f64,
        loss: &Tensor,
        pairs: &mut dyn Iterator<Item = (&Tensor, &mut Tensor)>,
    ) -> Result<()> {
        for (theta, average) in pairs {
            check::equal("average_all", theta.shape(), average.shape())?;
            if loss.values()[0].is_finite() {
                let both = average.values_mut().iter_mut().zip(theta.values());
                both.for_each(|(average, theta)| *average += (1.0 - keep) * (theta - *average));
            }
        }
        Ok(())
    }
}
