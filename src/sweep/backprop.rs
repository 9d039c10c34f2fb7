//! `backprop`: every step's input and intermediates are stored; 3F, exact.

use super::work::At;
use super::{Sweep, Work};
use crate::device::{Descent, Device};
use crate::error::Result;
use crate::field::Field;
use crate::scheme::Statistics;

impl<D: Device, F: Field<D>> Sweep<'_, D, F> {
    pub(super) fn backprop_forward(&mut self) -> Result<()> {
        let Self { d, stack, work, .. } = self;
        let Work { x, caches, states, spare, scratch, .. } = &mut **work;
        d.copy(x, &mut states[0])?;
        for n in 0..stack.steps() {
            let mut step = stack.step(*d, n, Statistics::MeasureAndRun, spare)?;
            let (done, rest) = states.split_at_mut(n + 1);
            step.evaluate(*d, &done[n], &mut caches[n], scratch)?;
            step.advance(*d, &done[n], 1.0, &caches[n], rest.first_mut().unwrap_or(x), scratch)?;
        }
        Ok(())
    }

    pub(super) fn backprop_backward(&mut self, sgd: Descent<'_, D::Buffer>) -> Result<()> {
        (0..self.stack.steps()).rev().try_for_each(|n| self.pull(n, Statistics::Saved, At::State(n), n, sgd))
    }
}
