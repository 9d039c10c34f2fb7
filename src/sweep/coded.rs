//! `coded`: the forward pass moves the state by what a code of a few bits says and carries the rest on to the next block; the
//! way back takes the same steps down, so that it is exact; 4F. See [`crate::code`].
//!
//! That is the altered pass. The plain pass moves states by the whole increments and keeps the same codes: its way back starts from
//! `x_N - c` and passes by `x_n - c_n`.
//!
//! The altered pass's gradient is that of the pass that ran, in the sense that the quantiser counts as the identity: what one block's code leaves
//! out reaches the head through the carry, so that every increment does, whole.

use super::signs::SIGNS;
use super::work::At;
use super::{Sweep, Way, Work, errors};
use crate::code::CodedPass;
use crate::device::{Descent, Device, whole};
use crate::error::Result;
use crate::field::{Field, FieldScratch, Idle};
use crate::scheme::{SingleStage, Statistics};

pub(super) const CARRY: &str = "a mode that codes has a carry";
pub(super) const CODER: &str = "a mode that codes has a coder";

impl<D: Device, F: Field<D>> Sweep<'_, D, F> {
    /// The forward pass of all modes that rebuild states: keeps anchors, and codes of the blocks that are coded.
    pub(super) fn rebuilt_forward(&mut self) -> Result<()> {
        let codes = self.work.ways.iter().any(|way| matches!(way, Way::Coded(_)));
        self.work.ends_in_carry = codes;
        if codes {
            self.begin_codes()?;
        }
        let mut n = 0;
        while n < self.stack.steps() {
            self.keep_anchor(n)?;
            let taken = self.forward_run(n)?;
            if taken > 0 {
                n += taken;
                continue;
            }
            match self.work.ways[n] {
                Way::Coded(slot) => self.coded_forward(n, slot)?,
                Way::Refined | Way::Reconstructed => self.plain_forward(n)?,
            }
            n += 1;
        }
        if codes { self.end_codes() } else { Ok(()) }
    }

    fn begin_codes(&mut self) -> Result<()> {
        let Self { d, work, .. } = self;
        let Work { x, x_rec: carry, coder, scratch, signs, .. } = &mut **work;
        signs.as_mut().map_or(Ok(()), |signs| signs.begin(*d))?;
        let Idle { map, workspace, .. } = scratch.idle();
        d.begin_codes(coder.as_mut().expect(CODER), x, carry.as_mut().expect(CARRY), map, workspace)
    }

    /// The way back starts from the sum of what was coded, and the head sees the sum of all increments.
    fn end_codes(&mut self) -> Result<()> {
        let Self { d, spec, work, .. } = self;
        let Work { x, x_rec, .. } = &mut **work;
        let carry = x_rec.as_mut().expect(CARRY);
        match spec.coded_pass {
            CodedPass::Altered => d.axpby(1.0, x, 1.0, carry),
            CodedPass::Plain => {
                d.axpby(1.0, x, -1.0, carry)?;
                std::mem::swap(x, carry);
                Ok(())
            }
        }
    }

    /// Step n of the forward pass, coded.
    fn coded_forward(&mut self, n: usize, slot: usize) -> Result<()> {
        let Self { d, spec, stack, work } = self;
        let Work { x, x_rec: carry, caches, spare, scratch, coder, codes, signs, .. } = &mut **work;
        let (carry, coder, code) = (carry.as_mut().expect(CARRY), coder.as_mut().expect(CODER), &mut codes[slot]);
        let (fuses, rectifies) = (spec.fuses(stack.post_activation), stack.post_activation);
        let mut step = stack.step(*d, n, Statistics::MeasureAndRun, spare)?;
        if fuses {
            let SingleStage { h, theta, stats, running } = step.single();
            let cache = caches[0].first_mut();
            return F::code_step(*d, h, theta, stats, running, coder, code, x, carry, cache, scratch);
        }
        step.evaluate(*d, x, &mut caches[0], scratch)?;
        if rectifies {
            // what is coded is the increment that the ReLU leaves, of which the weights alone do not tell the scale
            let next = scratch.idle().map;
            step.rectified(*d, x, &caches[0], next)?;
            signs.as_mut().expect(SIGNS).keep(*d, n, next)?;
            d.axpby(1.0, next, -1.0, x)?;
            d.axpby(1.0, x, 1.0, carry)?;
            d.copy(next, x)?;
            return whole::code_carry::<D, F>(*d, 1.0, &[None, None], coder, code, x, carry, scratch);
        }
        step.advance_acc(*d, 1.0, &caches[0], carry, scratch)?;
        if coder.pass == CodedPass::Plain {
            step.advance_acc(*d, 1.0, &caches[0], x, scratch)?;
        }
        let (h, thetas) = step.known();
        whole::code_carry::<D, F>(*d, h, &thetas, coder, code, x, carry, scratch)
    }

    /// The way back through step n. In a sweep that probes, the reverse step is taken too, and its local error measured.
    pub(super) fn coded_step(&mut self, n: usize, slot: usize, sgd: Descent<'_, D::Buffer>) -> Result<()> {
        if self.stack.post_activation {
            return self.signed_step(n, slot, sgd);
        }
        let recompute = self.spec.recompute_statistics();
        if self.work.probes {
            self.reverse_step(n)?;
        }
        let fuses = self.fuses_decoding();
        let Self { d, stack, work, .. } = self;
        if fuses {
            let Work { x, grad, caches, spare, grads, scratch, coder, codes, verdict, .. } = &mut **work;
            let SingleStage { h, theta, stats, .. } = stack.step(*d, n, Statistics::Saved, spare)?.single();
            let (coder, code, at) = (coder.as_ref().expect(CODER), &codes[slot], n % grads.slots.len());
            let (cache, grad_theta) = (caches[0].first_mut(), &mut grads.slots[at]);
            F::decode_vjp(*d, h, theta, stats, coder, code, x, cache, grad, grad_theta, scratch)?;
            return grads.end(*d, stack, n, sgd.with_loss(verdict));
        }
        let Work { x, x_rec, caches, spare, scratch, coder, codes, errors, probes, .. } = &mut **work;
        d.decode(coder.as_ref().expect(CODER), &codes[slot], x, scratch.idle().workspace)?;
        if *probes {
            let (errors, x_rec) = (errors.as_mut().expect(errors::MEASURED), x_rec.as_ref().expect(CARRY));
            d.squared_distance(x_rec, x, errors, errors::row(n) + 2, scratch.idle().workspace)?;
        }
        stack.step(*d, n, recompute, spare)?.evaluate(*d, x, &mut caches[0], scratch)?;
        self.pull(n, recompute, At::X, 0, sgd)
    }
}
