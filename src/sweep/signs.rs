//! `coded` where a ReLU follows every sum, as in a published ResNet: beside each code one bit per element says what that ReLU let through.
//!
//! The way back passes by `x~_n`, which is off by what the carry is. Where the ReLU before step n gave 0, so does the mask, and x_n is
//! known there to the bit; elsewhere `|x~_n|` is as near as it gets. The gradient passes the ReLU behind a step by the mask too, so that it
//! has none of the jumps that an element makes whose sum is close to 0.

use super::coded::{CARRY, CODER};
use super::work::At;
use super::{Sweep, Work};
use crate::device::{Descent, Device};
use crate::error::Result;
use crate::field::{Field, FieldScratch};
use crate::mask::relu_mask;
use crate::memory::{Arena, Category, Memory};
use crate::operands::{Affine, BnStats};
use crate::scheme::Statistics;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// What the ReLUs behind the sums let through.
pub(crate) struct Signs<B> {
    /// Of each step: see [`crate::device::ReluMask::relu_mask`].
    masks: Vec<Tensor<B>>,
    /// A batch norm that leaves everything as it is, since masks are those of ReLUs behind one.
    same: (BnStats<B>, Affine<B>),
}

impl<B> Signs<B> {
    /// New ones, uninitialised, for so many steps from maps of this shape.
    pub fn new<M: Memory<Buffer = B>>(arena: &mut Arena<'_, M>, map: Shape, steps: usize) -> Result<Self> {
        let category = Category::Scratch;
        Ok(Self {
            masks: (0..steps).map(|_| relu_mask(arena, map)).collect::<Result<_>>()?,
            same: (BnStats::new(arena, category, map.c())?, Affine::new(arena, category, map.c())?),
        })
    }

    /// The tensors whose first extent is the batch.
    pub fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<B>> {
        self.masks.iter_mut()
    }

    /// Begins a forward pass.
    pub fn begin<D: Device<Buffer = B>>(&mut self, d: &D) -> Result<()> {
        let (BnStats { mean, rstd }, Affine { gamma, beta }) = &mut self.same;
        [mean, beta].into_iter().try_for_each(|zeros| d.fill(0.0, zeros))?;
        [rstd, gamma].into_iter().try_for_each(|ones| d.fill(1.0, ones))
    }

    /// Keeps those of step n, which came to `next`.
    pub fn keep<D: Device<Buffer = B>>(&mut self, d: &D, n: usize, next: &Tensor<B>) -> Result<()> {
        let (stats, affine) = &self.same;
        d.relu_mask(next, stats, affine, &mut self.masks[n])
    }

    /// Gives what is near the state behind step n the signs that it had.
    fn replay<D: Device<Buffer = B>>(&self, d: &D, n: usize, near: &mut Tensor<B>) -> Result<()> {
        let (stats, affine) = &self.same;
        d.relu_replay(&self.masks[n], stats, affine, near)
    }
}

pub(super) const SIGNS: &str = "a stack that codes ReLUs behind its sums has their signs";

impl<D: Device, F: Field<D>> Sweep<'_, D, F> {
    /// The way back through step n.
    pub(super) fn signed_step(&mut self, n: usize, slot: usize, sgd: Descent<'_, D::Buffer>) -> Result<()> {
        let Self { d, stack, work, .. } = self;
        let Work { x, x_rec, grad, caches, spare, scratch, coder, codes, signs, .. } = &mut **work;
        let (x_rec, signs) = (x_rec.as_mut().expect(CARRY), signs.as_ref().expect(SIGNS));
        d.copy(x, x_rec)?;
        signs.replay(*d, n, x_rec)?;
        d.relu_grad(x_rec, grad)?;
        d.decode(coder.as_ref().expect(CODER), &codes[slot], x, scratch.idle().workspace)?;
        d.copy(x, x_rec)?;
        if n > 0 {
            signs.replay(*d, n - 1, x_rec)?;
            d.relu(x_rec)?;
        }
        stack.step(*d, n, Statistics::Saved, spare)?.evaluate(*d, x_rec, &mut caches[0], scratch)?;
        self.pull(n, Statistics::Saved, At::Reconstruction, 0, sgd)
    }
}
