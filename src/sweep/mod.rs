//! The gradient of the residual stack: one file a gradient mode.
//!
//! [`Sweep::forward`] takes x_0 to x_N and keeps what the mode stores; [`Sweep::backward`] takes dL/dx_N to dL/dx_0 and on its way either
//! updates each block as soon as its gradient is complete or leaves the gradients for later.

mod adjoint;
pub mod auto;
mod backprop;
mod checkpoint;
mod coded;
mod corrected;
mod errors;
mod reverse;
pub mod run;
mod signs;
mod work;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::code::{Bits, CodedPass};
use crate::device::{Descent, Device};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::scheme::{Scheme, Stack, Statistics};
pub use auto::Way;
pub use errors::LocalError;
pub use work::{Grads, Work};

/// How the backward sweep gets the states that it differentiates at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Gradient {
    /// Stores every block's intermediates: exact, memory grows with depth, 3F.
    Backprop,
    /// Stores x every K blocks and recomputes between: exact, 4F.
    Checkpoint,
    /// The paper: reconstructs x_n by the reverse step, 5F, flat memory, error O(1/N).
    Adjoint,
    /// As adjoint, then carries on from `x_{n+1} - h f(x~_n)`: 5F, flat memory, smaller error and drift.
    Corrected,
    /// Keeps a code of a few bits of each increment, by which the way back is exact: 4F, B/32 of a state per block.
    Coded,
    /// As corrected where the local error says that it holds, as coded elsewhere: 4 to 5F.
    Auto,
}

impl Gradient {
    /// Whether the mode has room for codes.
    pub const fn codes(self) -> bool {
        matches!(self, Self::Coded | Self::Auto)
    }

    /// Whether the mode measures local errors, see [`LocalError`].
    pub const fn measures_errors(self) -> bool {
        matches!(self, Self::Adjoint | Self::Corrected | Self::Auto)
    }

    /// Whether the mode rebuilds states, and so has a drift.
    pub const fn reconstructs(self) -> bool {
        matches!(self, Self::Adjoint | Self::Corrected | Self::Coded | Self::Auto)
    }
}

impl fmt::Display for Gradient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Backprop => "backprop",
            Self::Checkpoint => "checkpoint",
            Self::Adjoint => "adjoint",
            Self::Corrected => "corrected",
            Self::Coded => "coded",
            Self::Auto => "auto",
        })
    }
}

/// Which batch-norm statistics the sweep's recomputations use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum BnStatistics {
    /// The forward pass's, kept per block.
    Saved,
    /// Those of the reconstructed batch, as the paper does.
    Batch,
    /// The batch's own in the reverse step alone, which would else normalise x_{n+1} by what x_n had; the saved ones at the
    /// reconstruction.
    Hybrid,
}

/// Where the sweep's recomputations take the signs of their ReLUs' inputs from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Masks {
    /// From the rebuilt state, where an input close to zero may have another sign than it had.
    #[default]
    Recomputed,
    /// From the forward pass, which kept one bit for each, see [`crate::device::ReluMask::relu_mask`]: a gradient has no jumps of its own then.
    Saved,
}

impl BnStatistics {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Saved, Self::Batch, Self::Hybrid];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Saved => "saved",
            Self::Batch => "batch",
            Self::Hybrid => "hybrid",
        }
    }
}

impl Masks {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recomputed => "recomputed",
            Self::Saved => "saved",
        }
    }

    /// Whether nothing is kept.
    pub fn is_recomputed(&self) -> bool {
        *self == Self::Recomputed
    }
}

/// When the optimiser touches a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Update {
    /// As soon as the block's gradient is complete: gradients take O(1) memory.
    InSweep,
    /// After the sweep.
    After,
}

/// Everything that decides how a gradient is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepSpec {
    /// The scheme.
    pub scheme: Scheme,
    /// The gradient mode.
    pub gradient: Gradient,
    /// Extra passes `x <- x_{n+1} - h f(x)` of the reverse step, F each.
    pub fixed_point: usize,
    /// Store the true state every so many blocks and restart the reconstruction there.
    pub anchors: Option<usize>,
    /// Blocks between two stored states of `checkpoint`; none means about sqrt N.
    pub checkpoint_every: Option<usize>,
    /// Bits of an element's code, in the modes that code.
    pub bits: Bits,
    /// What the codes do to the forward pass.
    pub coded_pass: CodedPass,
    /// Blocks of a stack that `auto` has room to code; none means all.
    pub code_room: Option<usize>,
    /// Statistics of the recomputations.
    pub bn_stats: BnStatistics,
    /// Signs of the ReLUs' inputs in the recomputations.
    #[serde(default, skip_serializing_if = "Masks::is_recomputed")]
    pub masks: Masks,
    /// When parameters are updated.
    pub update: Update,
}

impl SweepSpec {
    /// The paper's method with our defaults: corrected, statistics saved, updates in the sweep.
    pub const fn new(scheme: Scheme, gradient: Gradient) -> Self {
        Self {
            scheme,
            gradient,
            fixed_point: 0,
            anchors: None,
            checkpoint_every: None,
            bits: Bits::Four,
            coded_pass: CodedPass::Plain,
            code_room: None,
            bn_stats: BnStatistics::Saved,
            masks: Masks::Recomputed,
            update: Update::InSweep,
        }
    }

    /// Statistics of the evaluation at a reconstruction, and of its pullback.
    fn recompute_statistics(&self) -> Statistics {
        match self.bn_stats {
            BnStatistics::Saved | BnStatistics::Hybrid => Statistics::Saved,
            BnStatistics::Batch => Statistics::Measure,
        }
    }

    /// Statistics of the reverse step.
    fn reverse_statistics(&self) -> Statistics {
        match self.bn_stats {
            BnStatistics::Saved => Statistics::Saved,
            BnStatistics::Batch | BnStatistics::Hybrid => Statistics::Measure,
        }
    }

    /// Whether the sweep replays the forward pass's masks.
    pub fn keeps_masks(&self) -> bool {
        self.masks == Masks::Saved && self.gradient.reconstructs()
    }

    /// Whether a block of the forward pass and of the sweep may be one operation of the field: a step of one stage between whose
    /// two halves nothing has to come, and behind which no ReLU.
    fn fuses(&self, post_activation: bool) -> bool {
        self.scheme.stages() == 1 && !self.keeps_masks() && !post_activation
    }

    /// Whether blocks of a stack that follow each other may be one operation of the field: see [`run`].
    pub(crate) fn makes_runs(&self, tied: bool, post_activation: bool) -> bool {
        self.fuses_both_ways(post_activation) && !tied
    }

    /// Whether a block is one operation of the field each way, where the reverse step has no extra passes.
    fn fuses_both_ways(&self, post_activation: bool) -> bool {
        self.fuses(post_activation) && self.gradient.reconstructs() && self.bn_stats == BnStatistics::Saved
    }

    /// Whether that holds for all blocks.
    pub(crate) fn fuses_all(&self, post_activation: bool) -> bool {
        self.fuses_both_ways(post_activation) && self.fixed_point == 0
    }

    /// Whether the forward pass's statistics are kept, one set per step. The exact modes need them for their VJPs.
    pub fn keeps_statistics(&self) -> bool {
        !self.gradient.reconstructs() || self.bn_stats != BnStatistics::Batch
    }

    /// Steps between two stored states of `checkpoint`: the given number, or the square root of the number of steps.
    pub fn segment_steps(&self, depth: usize) -> usize {
        let steps = self.scheme.steps(depth);
        // in this order, as too few blocks for a step make none: 1 then, and validation refuses them in words
        self.checkpoint_every.unwrap_or_else(|| (steps as f64).sqrt().round() as usize).min(steps).max(1)
    }

    /// Refuses a way back that steps with a ReLU behind their sum do not have: nothing undoes that ReLU, and what a code says of
    /// its increment it says beside the true state alone.
    ///
    /// # Errors
    /// [`Error::Usage`] with one sentence.
    pub fn check_post_activation(&self) -> Result<()> {
        let refuse = |sentence: String| Err(Error::Usage(sentence));
        let Self { scheme, gradient, coded_pass, .. } = *self;
        if scheme != Scheme::Euler {
            return refuse(format!(
                "a ReLU behind the sum ends a block's own step and `scheme` {scheme} has others: use euler"
            ));
        }
        if gradient.measures_errors() {
            return refuse(format!(
                "no reverse step undoes a ReLU behind the sum, and `gradient` {gradient} needs one: use coded, checkpoint or backprop"
            ));
        }
        if gradient == Gradient::Coded && coded_pass != CodedPass::Plain {
            return refuse(
                "a ReLU behind the sum needs the true state, which `coded_pass` altered moves: use plain".into(),
            );
        }
        if gradient == Gradient::Coded && (self.masks == Masks::Saved || self.bn_stats != BnStatistics::Saved) {
            return refuse(
                "a ReLU behind the sum goes back by what the forward pass kept of it: use `masks` recomputed and `bn_stats` saved"
                    .into(),
            );
        }
        Ok(())
    }

    /// Stored states: the inputs of every step (`backprop`), of every segment (`checkpoint`), or of every K-th step but the
    /// first (`anchors`; x_0 is the stem's to keep).
    pub fn stored_states(&self, depth: usize) -> usize {
        let steps = self.scheme.steps(depth);
        match self.gradient {
            Gradient::Backprop => steps,
            Gradient::Checkpoint => steps.div_ceil(self.segment_steps(depth)),
            _ => self.anchors.map_or(0, |every| steps.saturating_sub(1) / every),
        }
    }

    /// Codes that there is room for.
    pub fn stored_codes(&self, depth: usize) -> usize {
        let steps = self.scheme.steps(depth);
        match self.gradient {
            Gradient::Coded => steps,
            Gradient::Auto => self.code_room.unwrap_or(steps).min(steps),
            _ => 0,
        }
    }

    /// Caches of f's intermediates: one per step (`backprop`), one per step of a segment (`checkpoint`), else one.
    pub fn stored_caches(&self, depth: usize) -> usize {
        match self.gradient {
            Gradient::Backprop => self.scheme.steps(depth),
            Gradient::Checkpoint => self.segment_steps(depth),
            _ => 1,
        }
    }

    /// Refuses what makes no sense together.
    ///
    /// # Errors
    /// [`Error::Usage`] with one sentence.
    pub fn validate(&self, depth: usize) -> Result<()> {
        let refuse = |sentence: String| Err(Error::Usage(sentence));
        let gradient = self.gradient;
        if depth == 0 {
            return refuse("`depth` 0 leaves no residual block: give 1 or more".into());
        }
        self.scheme.check(depth)?;
        if self.anchors == Some(0) {
            return refuse("`anchors` 0 would store no state ever: give 1 or more blocks, or leave it out".into());
        }
        if self.checkpoint_every == Some(0) {
            return refuse("`checkpoint_every` 0 stores no state ever: give 1 or more blocks".into());
        }
        if self.anchors.is_some() && !gradient.reconstructs() {
            return refuse(format!(
                "`anchors` restarts a reconstruction and `gradient` {gradient} reconstructs nothing: leave it out, or use adjoint, corrected, coded or auto"
            ));
        }
        if self.fixed_point > 0 && !gradient.measures_errors() {
            return refuse(format!(
                "`fixed_point` repeats a reverse step and `gradient` {gradient} has none: leave it out, or use adjoint, corrected or auto"
            ));
        }
        if self.code_room.is_some() && gradient != Gradient::Auto {
            return refuse(format!("`code_room` goes with `gradient` auto, not {gradient}"));
        }
        if self.masks == Masks::Saved && !gradient.reconstructs() {
            return refuse(format!(
                "`masks` saved is for what rebuilds states and `gradient` {gradient} rebuilds none: leave it out, or use auto, coded, corrected or adjoint"
            ));
        }
        if self.masks == Masks::Saved && self.bn_stats == BnStatistics::Batch {
            return refuse(
                "`masks` saved goes with what the forward pass kept, not with `bn_stats` batch: use saved or hybrid"
                    .into(),
            );
        }
        if self.checkpoint_every.is_some() && gradient != Gradient::Checkpoint {
            return refuse(format!("`checkpoint_every` goes with `gradient` checkpoint, not {gradient}"));
        }
        Ok(())
    }
}

/// A stack, what a pass over it works with, and how its gradient is computed.
pub struct Sweep<'a, D: Device, F: Field<D>> {
    /// What computes.
    pub d: &'a D,
    /// How the gradient is computed.
    pub spec: &'a SweepSpec,
    /// The blocks.
    pub stack: &'a mut Stack<D, F>,
    /// The state, and all memory besides the blocks'.
    pub work: &'a mut Work<D, F>,
}

impl<D: Device, F: Field<D>> Sweep<'_, D, F> {
    /// Takes `work.x` from x_0 to x_N. Running statistics move, and only here.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn forward(&mut self) -> Result<()> {
        match self.spec.gradient {
            Gradient::Backprop => self.backprop_forward(),
            Gradient::Checkpoint => self.checkpoint_forward(),
            Gradient::Adjoint | Gradient::Corrected | Gradient::Coded | Gradient::Auto => self.rebuilt_forward(),
        }
    }

    /// Takes `work.x` from x_0 to x_N with running statistics and keeps nothing: evaluation.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn infer(&mut self) -> Result<()> {
        self.work.ends_in_carry = false;
        (0..self.stack.steps()).try_for_each(|n| self.advance(n, Statistics::Running))
    }

    /// One step of `work.x`, in place.
    pub(crate) fn advance(&mut self, n: usize, statistics: Statistics) -> Result<()> {
        let Self { d, stack, work, .. } = self;
        let Work { x, caches, spare, scratch, .. } = &mut **work;
        let mut step = stack.step(*d, n, statistics, spare)?;
        step.evaluate(*d, x, &mut caches[0], scratch)?;
        step.advance_acc(*d, 1.0, &caches[0], x, scratch)
    }

    /// Takes `work.grad` from dL/dx_N to dL/dx_0 and the blocks' gradients into `work.grads`, applying `sgd` to each block as it
    /// completes if the updates are in the sweep: those below a block whose reconstruction was worth nothing stay as they are, as all
    /// do where `sgd.loss` is not finite; `work.verdict` is then NaN. Where the mode reconstructs, `work.x` ends as the reconstructed
    /// x_0.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn backward<'s>(&mut self, sgd: impl Into<Descent<'s, D::Buffer>>) -> Result<()>
    where
        D::Buffer: 's,
    {
        let sgd = sgd.into();
        self.work.grads.clear(self.d)?;
        self.d.copy(sgd.loss(), &mut self.work.verdict)?;
        match self.spec.gradient {
            Gradient::Backprop => return self.backprop_backward(sgd),
            Gradient::Checkpoint => return self.checkpoint_backward(sgd),
            Gradient::Adjoint | Gradient::Corrected | Gradient::Coded | Gradient::Auto => {}
        }
        let passes = self.spec.fixed_point;
        let mut left = self.stack.steps();
        while left > 0 {
            let n = left - 1;
            self.restart_at_anchor(n)?;
            let taken = self.back_run(n, sgd)?;
            left -= taken.max(1);
            if taken > 0 {
                continue;
            }
            match self.work.ways[n] {
                Way::Coded(slot) => self.coded_step(n, slot, sgd)?,
                Way::Refined => self.corrected_step(n, passes + auto::PASSES, sgd)?,
                Way::Reconstructed if self.spec.gradient == Gradient::Adjoint => self.adjoint_step(n, sgd)?,
                Way::Reconstructed => self.corrected_step(n, passes, sgd)?,
            }
        }
        Ok(())
    }
}
