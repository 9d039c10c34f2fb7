//! What the reconstructing modes share: the forward step of which nothing is kept, the reverse step with its fixed-point passes,
//! and anchors.

use super::{Sweep, SweepSpec, Work, errors};
use crate::device::Device;
use crate::error::Result;
use crate::field::{Field, FieldScratch};
use crate::scheme::{SingleStage, Statistics};

impl SweepSpec {
    /// The stored state that is x_n, if there is one. x_0 is not stored: the stem knows it, and nothing is reconstructed from it.
    pub(super) fn anchor_of(&self, n: usize) -> Option<usize> {
        self.anchors.filter(|every| n > 0 && n.is_multiple_of(*every)).map(|every| n / every - 1)
    }
}

impl<D: Device, F: Field<D>> Sweep<'_, D, F> {
    /// Stores x_n where there is an anchor for it.
    pub(super) fn keep_anchor(&mut self, n: usize) -> Result<()> {
        let Self { d, spec, work, .. } = self;
        spec.anchor_of(n).map_or(Ok(()), |anchor| d.copy(&work.x, &mut work.states[anchor]))
    }

    /// Step n of the forward pass, of which nothing is kept.
    pub(super) fn plain_forward(&mut self, n: usize) -> Result<()> {
        if !self.spec.fuses(self.stack.post_activation) {
            return self.advance(n, Statistics::MeasureAndRun);
        }
        let Self { d, stack, work, .. } = self;
        let Work { x, caches, spare, scratch, .. } = &mut **work;
        let SingleStage { h, theta, stats, running } = stack.step(*d, n, Statistics::MeasureAndRun, spare)?.single();
        F::euler_step(*d, h, theta, stats, running, x, caches[0].first_mut(), scratch)
    }

    /// Replaces `work.x`, the reconstruction of x_{n+1}, by the true state where one is stored, and measures how far apart they
    /// were.
    pub(super) fn restart_at_anchor(&mut self, n: usize) -> Result<()> {
        let Self { d, spec, stack, work } = self;
        let Some(anchor) = spec.anchor_of(n + 1).filter(|_| n + 1 < stack.steps()) else { return Ok(()) };
        let Work { x, states, anchor_distances, scratch, .. } = &mut **work;
        let distance = &mut anchor_distances[anchor];
        d.squared_distance(x, &states[anchor], distance, 0, scratch.idle().workspace)?;
        d.copy(&states[anchor], x)
    }

    /// `x_rec = x~_n` by the reverse step from `x`: the forward step with -h and its stages' residual functions in reverse order.
    pub(super) fn reverse_step(&mut self, n: usize) -> Result<()> {
        let Self { d, spec, stack, work } = self;
        let Work { x, x_rec, caches, spare, scratch, errors, .. } = &mut **work;
        let x_rec = x_rec.as_mut().expect("reconstructing modes have one");
        let mut step = stack.step(*d, n, spec.reverse_statistics(), spare)?.reversed();
        step.evaluate(*d, x, &mut caches[0], scratch)?;
        step.advance(*d, x, 1.0, &caches[0], x_rec, scratch)?;
        let errors = errors.as_mut().expect(errors::MEASURED);
        d.squared_distance(x_rec, x, errors, errors::row(n), scratch.idle().workspace)
    }

    /// `passes` passes of `x_rec <- x - Phi_h(x_rec)`, which converge to the x_n that the forward step takes to `x`; then the
    /// evaluation at x_rec that the pullback needs.
    pub(super) fn refine_and_evaluate(&mut self, n: usize, passes: usize) -> Result<()> {
        let Self { d, spec, stack, work } = self;
        let Work { x, x_rec, caches, spare, scratch, .. } = &mut **work;
        let x_rec = x_rec.as_mut().expect("reconstructing modes have one");
        let mut step = stack.step(*d, n, spec.recompute_statistics(), spare)?;
        for _ in 0..passes {
            step.evaluate(*d, x_rec, &mut caches[0], scratch)?;
            step.advance(*d, x, -1.0, &caches[0], x_rec, scratch)?;
        }
        step.evaluate(*d, x_rec, &mut caches[0], scratch)
    }

    /// `x -= Phi_h(x_rec)`, with the increment just evaluated: the corrected state, at no evaluation's cost; and what the
    /// reconstruction is worth.
    pub(super) fn correct(&mut self, n: usize) -> Result<()> {
        let Self { d, spec, stack, work } = self;
        let Work { x, x_rec, caches, spare, scratch, errors, verdict, .. } = &mut **work;
        stack.step(*d, n, spec.recompute_statistics(), spare)?.advance_acc(*d, -1.0, &caches[0], x, scratch)?;
        let (errors, at) = (errors.as_mut().expect(errors::MEASURED), errors::row(n));
        let x_rec = x_rec.as_ref().expect("reconstructing modes have one");
        d.squared_distance(x_rec, x, errors, at + 2, scratch.idle().workspace)?;
        d.judge(errors, at, verdict)
    }
}
