//! `corrected`: as `adjoint`, but carries on from `x_{n+1} - Phi_h(x~_n)`, the increment that the pullback needed anyway; 5F.
//! One more fixed-point pass for the state, for free.

use super::work::At;
use super::{BnStatistics, SweepSpec, Work, reverse};
use crate::device::{Device, Sgd};
use crate::error::Result;
use crate::field::Field;
use crate::operands::Carry;
use crate::scheme::{Scheme, Stack, Statistics, Step};

pub(super) fn backward<D: Device, F: Field<D>>(
    d: &D,
    spec: &SweepSpec,
    stack: &mut Stack<D, F>,
    work: &mut Work<D, F>,
    sgd: Sgd<'_, D>,
) -> Result<()> {
    for n in (0..stack.steps()).rev() {
        reverse::restart_at_anchor(d, spec, stack, work, n)?;
        if fuses(spec) {
            fused_step(d, stack, work, n, Carry::Correction, sgd)?;
            continue;
        }
        reverse::reverse_step(d, spec, stack, work, n)?;
        reverse::refine_and_evaluate(d, spec, stack, work, n)?;
        reverse::correct(d, spec, stack, work, n)?;
        work.pull(d, stack, n, spec.recompute_statistics(), At::Reconstruction, 0, sgd)?;
    }
    Ok(())
}

/// Whether one block of the sweep is the field's fused `inverse_vjp`: an Euler step, no image coupled to another by the
/// statistics, no extra pass.
pub(super) fn fuses(spec: &SweepSpec) -> bool {
    spec.scheme == Scheme::Euler && spec.bn_stats == BnStatistics::Saved && spec.fixed_point == 0
}

/// One block by [`Field::inverse_vjp`].
pub(super) fn fused_step<D: Device, F: Field<D>>(
    d: &D,
    stack: &mut Stack<D, F>,
    work: &mut Work<D, F>,
    n: usize,
    carry: Carry,
    sgd: Sgd<'_, D>,
) -> Result<()> {
    let Work { x, x_rec, grad, caches, spare, grads, scratch, .. } = work;
    let x_rec = x_rec.as_mut().expect("reconstructing modes have one");
    let Step { h, first, .. } = stack.step(d, n, Statistics::Saved, spare)?;
    let slot = n % grads.slots.len();
    let cache = &mut caches[0].first;
    F::inverse_vjp(d, h, carry, first.theta, first.stats, x, x_rec, cache, grad, &mut grads.slots[slot], scratch)?;
    work.grads.end(d, stack, n, sgd)
}
