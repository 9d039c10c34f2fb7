//! `checkpoint`: the states at the segments' starts are stored, each segment is run again before its pullback; 4F, and the
//! same bits as `backprop`, since the recomputation normalises with the forward pass's statistics.

use super::work::At;
use super::{SweepSpec, Work, advance};
use crate::device::{Device, Sgd};
use crate::error::Result;
use crate::field::Field;
use crate::scheme::{Stack, Statistics};

pub(super) fn forward<D: Device, F: Field<D>>(
    d: &D,
    spec: &SweepSpec,
    stack: &mut Stack<D, F>,
    work: &mut Work<D, F>,
) -> Result<()> {
    let every = spec.segment_steps(stack.depth());
    for n in 0..stack.steps() {
        if n % every == 0 {
            d.copy(&work.x, &mut work.states[n / every])?;
        }
        advance(d, stack, work, n, Statistics::MeasureAndRun)?;
    }
    Ok(())
}

pub(super) fn backward<D: Device, F: Field<D>>(
    d: &D,
    spec: &SweepSpec,
    stack: &mut Stack<D, F>,
    work: &mut Work<D, F>,
    sgd: Sgd<'_, D::Buffer>,
) -> Result<()> {
    let every = spec.segment_steps(stack.depth());
    for start in (0..stack.steps()).step_by(every).rev() {
        let end = (start + every).min(stack.steps());
        rerun(d, stack, work, start, end, every)?;
        for n in (start..end).rev() {
            let at = if n == start { At::State(start / every) } else { At::Segment(n - start - 1) };
            work.pull(d, stack, n, Statistics::Saved, at, n - start, sgd)?;
        }
    }
    Ok(())
}

/// Runs steps `start..end` again from the stored state, keeping every input and cache.
fn rerun<D: Device, F: Field<D>>(
    d: &D,
    stack: &mut Stack<D, F>,
    work: &mut Work<D, F>,
    start: usize,
    end: usize,
    every: usize,
) -> Result<()> {
    let Work { caches, states, segment, spare, scratch, .. } = work;
    for n in start..end {
        let i = n - start;
        let mut step = stack.step(d, n, Statistics::Saved, spare)?;
        let (done, rest) = segment.split_at_mut(i);
        let x = done.last().unwrap_or(&states[start / every]);
        step.evaluate(d, x, &mut caches[i], scratch)?;
        if n + 1 < end {
            step.advance(d, x, 1.0, &caches[i], &mut rest[0], scratch)?;
        }
    }
    Ok(())
}
