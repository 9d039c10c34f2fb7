//! `corrected`: as `adjoint`, but carries on from `x_{n+1} - Phi_h(x~_n)`, the increment that the pullback needed anyway; 5F.
//! One more fixed-point pass for the state, for free.

use super::work::At;
use super::{Sweep, Work, errors};
use crate::device::{Descent, Device};
use crate::error::Result;
use crate::field::Field;
use crate::operands::Carry;
use crate::scheme::{SingleStage, Statistics};

impl<D: Device, F: Field<D>> Sweep<'_, D, F> {
    /// One step of the sweep, with `passes` fixed-point passes.
    pub(super) fn corrected_step(&mut self, n: usize, passes: usize, sgd: Descent<'_, D::Buffer>) -> Result<()> {
        if self.fuses_inverse(passes) {
            return self.fused_step(n, Carry::Correction, sgd);
        }
        self.reverse_step(n)?;
        self.refine_and_evaluate(n, passes)?;
        self.correct(n)?;
        self.pull(n, self.spec.recompute_statistics(), At::Reconstruction, 0, sgd)
    }

    /// Whether one block of the sweep is the field's fused `inverse_vjp`: besides what all fused operations ask for, no image coupled
    /// to another by the statistics and no extra pass.
    pub(super) fn fuses_inverse(&self, passes: usize) -> bool {
        self.spec.fuses(self.stack.post_activation)
            && self.spec.reverse_statistics() == Statistics::Saved
            && passes == 0
    }

    /// One block by [`Field::inverse_vjp`].
    pub(super) fn fused_step(&mut self, n: usize, carry: Carry, sgd: Descent<'_, D::Buffer>) -> Result<()> {
        let Self { d, stack, work, .. } = self;
        let Work { x, x_rec, grad, caches, spare, grads, scratch, errors, verdict, .. } = &mut **work;
        let x_rec = x_rec.as_mut().expect("reconstructing modes have one");
        let errors = errors.as_mut().expect(errors::MEASURED);
        let SingleStage { h, theta, stats, .. } = stack.step(*d, n, Statistics::Saved, spare)?.single();
        let slot = n % grads.slots.len();
        let (cache, grad_theta) = (caches[0].first_mut(), &mut grads.slots[slot]);
        let local = (&mut *errors, errors::row(n));
        F::inverse_vjp(*d, h, carry, theta, stats, x, x_rec, local, cache, grad, grad_theta, scratch)?;
        d.judge(errors, errors::row(n), verdict)?;
        grads.end(*d, stack, n, sgd.with_loss(verdict))
    }
}
