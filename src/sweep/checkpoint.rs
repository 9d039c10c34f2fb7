//! `checkpoint`: the states at the segments' starts are stored, each segment is run again before its pullback; 4F, and the
//! same bits as `backprop`, since the recomputation normalises with the forward pass's statistics.

use super::work::At;
use super::{Sweep, Work};
use crate::device::{Descent, Device};
use crate::error::Result;
use crate::field::Field;
use crate::scheme::Statistics;

impl<D: Device, F: Field<D>> Sweep<'_, D, F> {
    pub(super) fn checkpoint_forward(&mut self) -> Result<()> {
        let every = self.spec.segment_steps(self.stack.depth());
        for n in 0..self.stack.steps() {
            if n % every == 0 {
                self.d.copy(&self.work.x, &mut self.work.states[n / every])?;
            }
            self.advance(n, Statistics::MeasureAndRun)?;
        }
        Ok(())
    }

    pub(super) fn checkpoint_backward(&mut self, sgd: Descent<'_, D::Buffer>) -> Result<()> {
        let every = self.spec.segment_steps(self.stack.depth());
        for start in (0..self.stack.steps()).step_by(every).rev() {
            let end = (start + every).min(self.stack.steps());
            self.rerun(start, end, every)?;
            for n in (start..end).rev() {
                let at = if n == start { At::State(start / every) } else { At::Segment(n - start - 1) };
                self.pull(n, Statistics::Saved, at, n - start, sgd)?;
            }
        }
        Ok(())
    }

    /// Runs steps `start..end` again from the stored state, keeping every input and cache.
    fn rerun(&mut self, start: usize, end: usize, every: usize) -> Result<()> {
        let Self { d, stack, work, .. } = self;
        let Work { caches, states, segment, spare, scratch, .. } = &mut **work;
        for n in start..end {
            let i = n - start;
            let mut step = stack.step(*d, n, Statistics::Saved, spare)?;
            let (done, rest) = segment.split_at_mut(i);
            let x = done.last().unwrap_or(&states[start / every]);
            step.evaluate(*d, x, &mut caches[i], scratch)?;
            if n + 1 < end {
                step.advance(*d, x, 1.0, &caches[i], &mut rest[0], scratch)?;
            }
        }
        Ok(())
    }
}
