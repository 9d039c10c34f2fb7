//! `adjoint`, the paper's: each reconstruction starts from the one before it; 5F.

use super::work::At;
use super::{SweepSpec, Work, corrected, reverse};
use crate::device::{Device, Sgd};
use crate::error::Result;
use crate::field::Field;
use crate::operands::Carry;
use crate::scheme::Stack;

pub(super) fn step<D: Device, F: Field<D>>(
    d: &D,
    spec: &SweepSpec,
    stack: &mut Stack<D, F>,
    work: &mut Work<D, F>,
    n: usize,
    sgd: Sgd<'_, D::Buffer>,
) -> Result<()> {
    if corrected::fuses(spec, spec.fixed_point) {
        return corrected::fused_step(d, stack, work, n, Carry::Reconstruction, sgd);
    }
    reverse::reverse_step(d, spec, stack, work, n)?;
    reverse::refine_and_evaluate(d, spec, spec.fixed_point, stack, work, n)?;
    // for the local error; the sweep goes on from the reconstruction
    reverse::correct(d, spec, stack, work, n)?;
    work.pull(d, stack, n, spec.recompute_statistics(), At::Reconstruction, 0, sgd)?;
    std::mem::swap(&mut work.x, work.x_rec.as_mut().expect("reconstructing modes have one"));
    Ok(())
}
