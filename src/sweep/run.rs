//! Runs of blocks that follow each other: what a device may take in one launch, so that launches do not grow with depth.
//!
//! Which blocks make a run is the sweep's affair: they take the same way back, and no anchor lies between them. Where no device
//! takes a run, its blocks are taken one by one, with the same bits.

use super::coded::{CARRY, CODER};
use super::{Gradient, Sweep, Update, Way, Work, errors};
use crate::code::{Code, Coder};
use crate::device::{Decay, Descent, Device, Sgd};
use crate::error::Result;
use crate::field::Field;
use crate::operands::Carry;
use crate::scheme::{Statistics, StepStats};
use crate::tensor::Tensor;

/// Steps of training's forward pass, each an Euler step with measured statistics: see [`crate::device::ResidualBlock::euler_step`].
pub struct ForwardRun<'a, D: Device, F: Field<D>> {
    /// The step size.
    pub h: f64,
    /// The blocks' weights.
    pub theta: &'a [F::Theta],
    /// Their statistics: one set each.
    pub stats: &'a mut [StepStats<D, F>],
    /// Their running statistics.
    pub running: &'a mut [F::Running],
    /// The state, from before the first block to behind the last one.
    pub x: &'a mut Tensor<D::Buffer>,
    /// The steps' codes, if these are coded ones: see [`crate::device::ResidualBlock::code_step`].
    pub coded: Option<CodedForward<'a, D::Buffer>>,
    /// Scratch memory.
    pub scratch: &'a mut F::Scratch,
}

/// The codes of a run of the forward pass.
pub struct CodedForward<'a, B> {
    /// What all codes share.
    pub coder: &'a mut Coder<B>,
    /// All codes that there are.
    pub codes: &'a mut [Code<B>],
    /// Each block's code: [`Way::Coded`].
    pub ways: &'a [Way],
    /// The carry.
    pub carry: &'a mut Tensor<B>,
}

/// Steps of the sweep, from the last of these blocks to the first: see [`crate::device::ResidualBlock::inverse_vjp`] and
/// [`crate::device::ResidualBlock::decode_vjp`]. Each reconstruction is judged as by [`crate::device::Coding::judge`], and the block's
/// weights take their step of SGD before the next block's.
pub struct BackRun<'a, D: Device, F: Field<D>> {
    /// The step size.
    pub h: f64,
    /// The blocks' weights.
    pub theta: &'a mut [F::Theta],
    /// The optimiser's velocities.
    pub velocity: &'a mut [F::Theta],
    /// The gradients' slots: block n's is in slot n modulo their number.
    pub grads: &'a mut [F::Theta],
    /// The blocks' statistics.
    pub stats: &'a [StepStats<D, F>],
    /// The first block's number.
    pub first: usize,
    /// The state, from behind the last block to before the first one.
    pub x: &'a mut Tensor<D::Buffer>,
    /// Its gradient.
    pub grad: &'a mut Tensor<D::Buffer>,
    /// How the blocks' states are found again.
    pub rebuilt: Rebuilt<'a, D::Buffer>,
    /// The step's loss, and NaN where a reconstruction was worth nothing.
    pub verdict: &'a mut Tensor<D::Buffer>,
    /// The step of SGD, where weights move in the sweep. Its loss is `verdict`.
    pub sgd: Option<SgdRun<'a, D::Buffer>>,
    /// Scratch memory.
    pub scratch: &'a mut F::Scratch,
}

/// How a run's states are found again.
pub enum Rebuilt<'a, B> {
    /// By the reverse step; the local errors of block n go to row n of the table.
    Reversed {
        /// What the sweep carries on from.
        carry: Carry,
        /// `[4]` of each block of the stack.
        errors: &'a mut Tensor<B>,
    },
    /// By their codes.
    Decoded {
        /// What all codes share.
        coder: &'a Coder<B>,
        /// All codes that there are.
        codes: &'a [Code<B>],
        /// Each block's code.
        ways: &'a [Way],
    },
}

/// [`Sgd`] without its loss.
pub struct SgdRun<'a, B> {
    /// Learning rate, `[1]`.
    pub lr: &'a Tensor<B>,
    /// Momentum.
    pub momentum: f64,
    /// Whether it is Nesterov's.
    pub nesterov: bool,
    /// Weight decay.
    pub weight_decay: f64,
    /// Which parameters that is of.
    pub decay: Decay,
}

impl<'a, B> Sgd<'a, B> {
    fn without_loss(self) -> SgdRun<'a, B> {
        let Self { lr, loss: _, momentum, nesterov, weight_decay, decay } = self;
        SgdRun { lr, momentum, nesterov, weight_decay, decay }
    }
}

/// The number of a block's code.
///
/// # Panics
/// If it has none: the sweep hands runs of coded blocks alone to who asks.
pub fn slot(way: Way) -> usize {
    match way {
        Way::Coded(slot) => slot,
        Way::Reconstructed | Way::Refined => unreachable!("a run of coded blocks has codes"),
    }
}

/// Where block n's row of the table of local errors begins.
pub const fn errors_of(n: usize) -> usize {
    errors::row(n)
}

impl<D: Device, F: Field<D>> Sweep<'_, D, F> {
    /// Takes the blocks from n on forward that make a run, if the device takes it. Gives their number, or 0.
    pub(super) fn forward_run(&mut self, n: usize) -> Result<usize> {
        let Self { d, spec, stack, work } = self;
        let steps = stack.steps();
        if !spec.makes_runs(stack.tied, stack.post_activation) {
            return Ok(0);
        }
        let coded = |n: usize| matches!(work.ways[n], Way::Coded(_));
        let end = (n + 1..steps).find(|m| coded(*m) != coded(n) || spec.anchor_of(*m).is_some()).unwrap_or(steps);
        if end - n < 2 {
            return Ok(0);
        }
        let (is_coded, blocks) = (coded(n), n..end);
        let Work { x, x_rec, scratch, coder, codes, ways, .. } = &mut **work;
        let coded = is_coded.then(|| CodedForward {
            coder: coder.as_mut().expect(CODER),
            codes,
            ways: &ways[blocks.clone()],
            carry: x_rec.as_mut().expect(CARRY),
        });
        let run = ForwardRun {
            h: stack.h,
            theta: &stack.theta[blocks.clone()],
            stats: &mut stack.saved[blocks.clone()],
            running: &mut stack.running[blocks.clone()],
            x,
            coded,
            scratch,
        };
        Ok(if F::forward_run(*d, run)? { blocks.len() } else { 0 })
    }

    /// Takes the blocks from n down that make a run back, if the device takes it. Gives their number, or 0.
    pub(super) fn back_run(&mut self, n: usize, sgd: Descent<'_, D::Buffer>) -> Result<usize> {
        if self.work.grads.are_treated() {
            return Ok(0);
        }
        match (self.spec.update, sgd) {
            (Update::After, _) => self.back_run_of(n, None),
            (Update::InSweep, Descent::Sgd(sgd)) => self.back_run_of(n, Some(sgd.without_loss())),
            // no device takes a step of AdamW inside of a run
            (Update::InSweep, Descent::AdamW(_)) => Ok(0),
        }
    }

    fn back_run_of(&mut self, n: usize, sgd: Option<SgdRun<'_, D::Buffer>>) -> Result<usize> {
        if !self.spec.makes_runs(self.stack.tied, self.stack.post_activation) || !self.runs_back(n) {
            return Ok(0);
        }
        let coded = |sweep: &Self, n: usize| matches!(sweep.work.ways[n], Way::Coded(_));
        let is_coded = coded(self, n);
        // the last block above which the run cannot begin
        let ends =
            |m: &usize| !self.runs_back(*m) || coded(self, *m) != is_coded || self.spec.anchor_of(*m + 1).is_some();
        let first = (0..n).rev().find(ends).map_or(0, |m| m + 1);
        if first == n {
            return Ok(0);
        }
        let Self { d, spec, stack, work } = self;
        let blocks = first..n + 1;
        let Work { x, grad, grads, scratch, coder, codes, ways, errors, verdict, .. } = &mut **work;
        let rebuilt = if is_coded {
            Rebuilt::Decoded { coder: coder.as_ref().expect(CODER), codes, ways: &ways[blocks.clone()] }
        } else {
            let adjoint = spec.gradient == Gradient::Adjoint;
            let carry = if adjoint { Carry::Reconstruction } else { Carry::Correction };
            Rebuilt::Reversed { carry, errors: errors.as_mut().expect(errors::MEASURED) }
        };
        let run = BackRun {
            h: stack.h,
            theta: &mut stack.theta[blocks.clone()],
            velocity: &mut stack.velocity[blocks.clone()],
            grads: &mut grads.slots,
            stats: &stack.saved[blocks.clone()],
            first,
            x,
            grad,
            rebuilt,
            verdict,
            sgd,
            scratch,
        };
        Ok(if F::back_run(*d, run)? { blocks.len() } else { 0 })
    }

    /// Whether step n of the sweep is one of the field's fused operations.
    fn runs_back(&self, n: usize) -> bool {
        match self.work.ways[n] {
            Way::Coded(_) => self.fuses_decoding(),
            Way::Reconstructed => self.fuses_inverse(self.spec.fixed_point),
            Way::Refined => false,
        }
    }

    /// Whether one coded block of the sweep is the field's fused `decode_vjp`.
    pub(super) fn fuses_decoding(&self) -> bool {
        let fuses = self.spec.fuses(self.stack.post_activation);
        !self.work.probes && fuses && self.spec.recompute_statistics() == Statistics::Saved
    }
}
