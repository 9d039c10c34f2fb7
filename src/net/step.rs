//! One training step: forward, backward, update. What a step asks of the device never waits for it, so that the device can
//! record a step and replay it; results are read afterwards.

use super::Net;
use super::recorded::{Kind, Recorded};
use super::result::{BatchResult, Drift, largest};
use super::stage::{LowerEnd, Part};
use crate::device::{AdamWStep, DescentStep, Device};
use crate::error::Result;
use crate::field::Field;
use crate::recipe::Share;
use crate::scheme::Statistics;
use crate::tensor::{Real, Tensor};

impl<D: Device, F: Field<D>> Net<D, F> {
    /// The forward pass of training on the loaded batch. Running statistics move. Waits for the device.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn forward(&mut self, d: &D) -> Result<BatchResult> {
        self.forward_pass(d)?;
        self.batch_result(d)
    }

    fn forward_pass(&mut self, d: &D) -> Result<()> {
        d.phase("stem", || self.stem(d, Statistics::MeasureAndRun))?;
        d.phase("blocks forward", || {
            for s in 0..self.stages.len() {
                self.enter(d, s, Statistics::MeasureAndRun)?;
                self.stages[s].sweep(d).forward()?;
            }
            Ok(())
        })?;
        d.phase("head", || self.head(d, self.spec.label_smoothing))
    }

    /// Loss and right answers on the loaded batch with running statistics; nothing moves. Waits for the device.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn evaluate(&mut self, d: &D) -> Result<BatchResult> {
        self.test_pass(d)?;
        self.batch_result(d)
    }

    pub(super) fn test_pass(&mut self, d: &D) -> Result<()> {
        self.with_averages(|net| {
            net.stem(d, Statistics::Running)?;
            for s in 0..net.stages.len() {
                net.enter(d, s, Statistics::Running)?;
                net.stages[s].sweep(d).infer()?;
            }
            // what a test counts is the label alone
            net.head(d, 0.0)
        })
    }

    /// All gradients of the batch that [`Net::forward`] has just seen. Blocks are updated on the way if updates are in the
    /// sweep; [`Net::update`] does the rest. Waits for the device.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn backward(&mut self, d: &D, sgd: impl Into<DescentStep>) -> Result<Drift> {
        let sgd = sgd.into();
        self.set_learning_rate(d, sgd.lr())?;
        self.backward_pass(d, sgd)?;
        self.drift(d)
    }

    fn backward_pass(&mut self, d: &D, sgd: DescentStep) -> Result<()> {
        self.gather_outcome(d)?;
        let Self { stages, head, step_outcome, count, share, .. } = self;
        if let (DescentStep::AdamW(AdamWStep { betas, .. }), Some(count), Some(_)) = (sgd, count, share.ends) {
            d.count_step(betas, share.outcome(step_outcome, &head.outcome), count)?;
        }
        d.phase("head backward", || head.backward(d, &mut stages.last_mut().expect(super::STAGED).work.grad))?;
        d.phase("blocks backward", || (0..self.stages.len()).rev().try_for_each(|s| self.stage_backward(d, s, sgd)))?;
        d.phase("stem backward", || self.stem_backward(d))
    }

    fn stage_backward(&mut self, d: &D, s: usize, sgd: DescentStep) -> Result<()> {
        self.turn(s, Part::Stack);
        let Self { stages, head, step_outcome, share, rate, count, .. } = self;
        let sgd = sgd.on_device(rate, count.as_ref(), share.outcome(step_outcome, &head.outcome))?;
        let (stages, later) = stages.split_at_mut(s + 1);
        // what a later stage's sweep could not tell, this one's cannot either
        let loss = later.first().map_or(sgd.loss(), |stage| &stage.work.verdict);
        stages[s].sweep(d).backward(sgd.with_loss(loss))?;
        self.turn(s, Part::First);
        let (before, this) = self.stages.split_at_mut(s);
        this[0].first_backward(d, before.last_mut().map(|before| &mut before.work.grad))
    }

    /// The stem's gradients. In a net of one stack its output is x_0, which is computed for them anyway, and with it the drift.
    fn stem_backward(&mut self, d: &D) -> Result<()> {
        self.turn(0, Part::Stack);
        let Self { stem, stages, images, .. } = self;
        let stage = &mut stages[0];
        if let (Some(y), grad, _, workspace) = stage.below() {
            stem.grad_sums(d, y, grad, workspace)?;
        } else {
            let LowerEnd { x_0, reconstruction, grad, idle, .. } = stage.lower_end();
            stem.output_grad_sums(d, reconstruction, x_0, grad, idle.workspace)?;
        }
        let (_, grad, idle, workspace) = stage.below();
        stem.backward(d, images, grad, idle, workspace)
    }

    /// Applies the optimiser to everything that the sweep has not updated.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn update(&mut self, d: &D, sgd: impl Into<DescentStep>) -> Result<()> {
        let sgd = sgd.into();
        self.set_learning_rate(d, sgd.lr())?;
        self.update_pass(d, sgd)
    }

    fn update_pass(&mut self, d: &D, sgd: DescentStep) -> Result<()> {
        self.gather(d)?;
        if self.share.ends.is_none() {
            return Ok(());
        }
        self.clip(d)?;
        let Self { stem, stages, head, rate, count, .. } = self;
        let sgd = sgd.on_device(rate, count.as_ref(), &head.outcome)?;
        let of_ends = sgd.with_loss(&stages[0].work.verdict);
        d.descend_all(of_ends, &mut stem.weights.moved::<D>().chain(head.weights.moved::<D>()))?;
        stages.iter_mut().try_for_each(|stage| stage.update(d, sgd))?;
        self.average(d)
    }

    /// Puts the learning rate on the device, where the recorded steps read it.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn set_learning_rate(&mut self, d: &D, lr: f64) -> Result<()> {
        // not an upload: that may wait for the device
        d.fill(lr, &mut self.rate)
    }

    /// One training step on the loaded batch. A loss that is not finite leaves the parameters as they were. Waits for the
    /// device. Where a recording is replayed, what `work.x` and `work.x_rec` hold afterwards is undefined: a sweep may have
    /// exchanged them.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn train_step(&mut self, d: &D, sgd: impl Into<DescentStep>) -> Result<(BatchResult, Drift)> {
        let sgd = sgd.into();
        self.set_learning_rate(d, sgd.lr())?;
        self.replayed(d, Kind::Loaded, sgd, |net| net.train_pass(d, sgd))?;
        let result = self.batch_result(d)?;
        let drift = if result.loss.is_finite() { self.drift(d)? } else { Drift::default() };
        Ok((result, drift))
    }

    pub(super) fn train_pass(&mut self, d: &D, sgd: DescentStep) -> Result<()> {
        self.forward_pass(d)?;
        self.backward_pass(d, sgd)?;
        d.phase("update", || self.update_pass(d, sgd))
    }

    /// Runs a pass, or has the device replay its recording.
    pub(super) fn replayed(
        &mut self,
        d: &D,
        kind: Kind,
        sgd: DescentStep,
        pass: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let n = self.labels.shape().n();
        let sgd = sgd.at(0.0);
        // a test is of no step
        let share = if kind == Kind::Test { Share::default() } else { self.share };
        let known = self.recorded.iter().position(|r| (r.kind, r.n, r.sgd, r.share) == (kind, n, sgd, share));
        let at = known.unwrap_or_else(|| {
            self.recorded.push(Recorded { kind, n, sgd, share, recording: None });
            self.recorded.len() - 1
        });
        let mut recording = self.recorded[at].recording.take();
        let done = d.replay(&mut recording, || pass(self));
        self.recorded[at].recording = recording;
        done
    }

    fn batch_result(&self, d: &D) -> Result<BatchResult> {
        let [loss, correct] = read_pair(d, &self.head.outcome)?;
        Ok(BatchResult { loss, correct: correct as usize })
    }

    /// The largest drift of the last backward sweeps.
    fn drift(&self, d: &D) -> Result<Drift> {
        let mut drift = Drift::default();
        for stage in &self.stages {
            let (stem, anchors) = stage.drift(d)?;
            drift = Drift { stem: largest(drift.stem, stem), anchors: largest(drift.anchors, anchors) };
        }
        Ok(drift)
    }
}

fn read_pair<D: Device>(d: &D, tensor: &Tensor<D::Buffer>) -> Result<[f64; 2]> {
    let mut pair = [D::Real::default(); 2];
    d.download(tensor, &mut pair)?;
    Ok(pair.map(Real::to_f64))
}
