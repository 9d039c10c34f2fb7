//! Clipping of gradients, and averages of what they have moved.

use rayon::prelude::*;

use super::elementwise::CHUNK;
use super::sgd::not_tiny;
use super::simd::{Kernel, Simd};
use super::{Cpu, Tensor};
use crate::check;
use crate::device::{CLIP_EPS, Gradients, SQUARES};
use crate::error::Result;
use crate::shape::Shape;

/// Sums that a tensor's squares are shared among, so that they need not wait for each other.
const LANES: usize = 8;

/// The sum of squares, in one order whatever the threads: gradients are few next to the maps that they were summed over.
struct Squares<'a>(&'a [f32], &'a mut f64);

impl Kernel for Squares<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let mut sums = [0.0f64; LANES];
        let (whole, rest) = self.0.as_chunks::<LANES>();
        for lanes in whole {
            for (sum, g) in sums.iter_mut().zip(lanes) {
                *sum += f64::from(*g) * f64::from(*g);
            }
        }
        for (sum, g) in sums.iter_mut().zip(rest) {
            *sum += f64::from(*g) * f64::from(*g);
        }
        *self.1 += sums.iter().sum::<f64>();
    }
}

struct Scale<'a>(&'a mut [f32], f32);

impl Kernel for Scale<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.0.iter_mut().for_each(|g| *g *= self.1);
    }
}

struct Average<'a> {
    average: &'a mut [f32],
    theta: &'a [f32],
    take: f32,
}

impl Kernel for Average<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (average, theta) in self.average.iter_mut().zip(self.theta) {
            *average = not_tiny(*average + self.take * (theta - *average));
        }
    }
}

impl Gradients for Cpu {
    fn squares(&self, tensors: &mut dyn Iterator<Item = &Tensor>, adds: bool, squares: &mut Tensor) -> Result<()> {
        check::equal("squares", Shape::vector(SQUARES), squares.shape())?;
        let mut sum = 0.0;
        tensors.for_each(|tensor| self.run(Squares(tensor.values(), &mut sum)));
        let to = &mut squares.values_mut()[0];
        *to = if adds { (f64::from(*to) + sum) as f32 } else { sum as f32 };
        Ok(())
    }

    fn clip(&self, squares: &Tensor, most: f64, tensors: &mut dyn Iterator<Item = &mut Tensor>) -> Result<()> {
        check::equal("clip", Shape::vector(SQUARES), squares.shape())?;
        let factor = most / (f64::from(squares.values()[0]).sqrt() + CLIP_EPS);
        if factor < 1.0 {
            let factor = factor as f32;
            tensors.for_each(|tensor| {
                let values = tensor.values_mut();
                self.install(|| values.par_chunks_mut(CHUNK).for_each(|part| self.run(Scale(part, factor))));
            });
        }
        Ok(())
    }

    fn average_all(
        &self,
        keep: f64,
        loss: &Tensor,
        pairs: &mut dyn Iterator<Item = (&Tensor, &mut Tensor)>,
    ) -> Result<()> {
        // in f64: of a part near 1 in f32 what is left would have few digits
        let take = (1.0 - keep) as f32;
        for (theta, average) in pairs {
            check::equal("average_all", theta.shape(), average.shape())?;
            if loss.values()[0].is_finite() {
                let (theta, average) = (theta.values(), average.values_mut());
                self.install(|| {
                    let both = average.par_chunks_mut(CHUNK).zip(theta.par_chunks(CHUNK));
                    both.for_each(|(average, theta)| self.run(Average { average, theta, take }));
                });
            }
        }
        Ok(())
    }
}
