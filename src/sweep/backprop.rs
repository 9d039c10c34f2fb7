//! `backprop`: every step's input and intermediates are stored; 3F, exact.

use super::Work;
use super::work::At;
use crate::device::{Device, Sgd};
use crate::error::Result;
use crate::field::Field;
use crate::scheme::{Stack, Statistics};

pub(super) fn forward<D: Device, F: Field<D>>(d: &D, stack: &mut Stack<D, F>, work: &mut Work<D, F>) -> Result<()> {
    let Work { x, caches, states, spare, scratch, .. } = work;
    d.copy(x, &mut states[0])?;
    for n in 0..stack.steps() {
        let mut step = stack.step(d, n, Statistics::MeasureAndRun, spare)?;
        let (done, rest) = states.split_at_mut(n + 1);
        step.evaluate(d, &done[n], &mut caches[n], scratch)?;
        step.advance(d, &done[n], 1.0, &caches[n], rest.first_mut().unwrap_or(x), scratch)?;
    }
    Ok(())
}

pub(super) fn backward<D: Device, F: Field<D>>(
    d: &D,
    stack: &mut Stack<D, F>,
    work: &mut Work<D, F>,
    sgd: Sgd<'_, D::Buffer>,
) -> Result<()> {
    (0..stack.steps()).rev().try_for_each(|n| work.pull(d, stack, n, Statistics::Saved, At::State(n), n, sgd))
}
