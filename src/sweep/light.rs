//! `light`: the increment left over from step n+1 gives the guess of x_n, f is evaluated there once, for the pullback and for
//! the corrected state; 4F. Good where weights are smooth in depth, otherwise worse than `adjoint`; experimental.

use super::work::At;
use super::{SweepSpec, Work, reverse};
use crate::device::{Device, Sgd};
use crate::error::Result;
use crate::field::Field;
use crate::scheme::Stack;

pub(super) fn backward<D: Device, F: Field<D>>(
    d: &D,
    spec: &SweepSpec,
    stack: &mut Stack<D, F>,
    work: &mut Work<D, F>,
    sgd: Sgd<'_, D>,
) -> Result<()> {
    let mut guessed = false;
    for n in (0..stack.steps()).rev() {
        // the first step of the sweep and one that starts at an anchor have nothing left over
        if reverse::restart_at_anchor(d, spec, stack, work, n)? || !guessed {
            reverse::reverse_step(d, spec, stack, work, n)?;
        }
        reverse::refine_and_evaluate(d, spec, stack, work, n)?;
        reverse::correct(d, spec, stack, work, n)?;
        guess_next(d, spec, stack, work, n)?;
        work.pull(d, stack, n, spec.recompute_statistics(), At::Reconstruction, 0, sgd)?;
        std::mem::swap(&mut work.x_rec, &mut work.guess);
        guessed = true;
    }
    Ok(())
}

/// `guess = x - Phi_h(x_rec)`, before the pullback may update the block.
fn guess_next<D: Device, F: Field<D>>(
    d: &D,
    spec: &SweepSpec,
    stack: &mut Stack<D, F>,
    work: &mut Work<D, F>,
    n: usize,
) -> Result<()> {
    let Work { x, guess, caches, spare, scratch, .. } = work;
    let guess = guess.as_mut().expect("light has one");
    stack.step(d, n, spec.recompute_statistics(), spare)?.advance(d, x, -1.0, &caches[0], guess, scratch)
}
