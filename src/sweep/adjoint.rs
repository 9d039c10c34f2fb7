//! `adjoint`, the paper's: each reconstruction starts from the one before it; 5F.

use super::Sweep;
use super::work::At;
use crate::device::{Descent, Device};
use crate::error::Result;
use crate::field::Field;
use crate::operands::Carry;

impl<D: Device, F: Field<D>> Sweep<'_, D, F> {
    pub(super) fn adjoint_step(&mut self, n: usize, sgd: Descent<'_, D::Buffer>) -> Result<()> {
        let passes = self.spec.fixed_point;
        if self.fuses_inverse(passes) {
            return self.fused_step(n, Carry::Reconstruction, sgd);
        }
        self.reverse_step(n)?;
        self.refine_and_evaluate(n, passes)?;
        // for the local error; the sweep goes on from the reconstruction
        self.correct(n)?;
        self.pull(n, self.spec.recompute_statistics(), At::Reconstruction, 0, sgd)?;
        let work = &mut *self.work;
        std::mem::swap(&mut work.x, work.x_rec.as_mut().expect("reconstructing modes have one"));
        Ok(())
    }
}
