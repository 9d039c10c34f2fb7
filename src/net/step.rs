//! One training step: forward, backward, update. What a step asks of the device never waits for it, so that the device can
//! record a step and replay it; results are read afterwards.

use super::stage::largest;
use super::{BatchResult, Drift, Net, Stage};
use crate::device::{Device, Sgd, SgdStep};
use crate::error::Result;
use crate::field::{Field, FieldScratch, Idle};
use crate::scheme::Statistics;
use crate::sweep::{Sweep, Work};
use crate::tensor::{Real, Tensor};

/// What a device runs at one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A training step on the batch that was loaded.
    Loaded,
    /// One on the batch that it draws.
    Train,
    /// The same, with what reconstruction would be worth measured in coded blocks too.
    Probe,
    /// The test of the batch that it draws.
    Test,
}

/// One recorded pass, and what of it the recording has fixed.
pub(super) struct Recorded<D: Device> {
    pub kind: Kind,
    /// Images of the batch: every shape follows from it.
    n: usize,
    /// The optimiser's numbers that are not on the device.
    momentum: f64,
    weight_decay: f64,
    recording: Option<D::Recording>,
}

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
                let Stage { stack, work, .. } = &mut self.stages[s];
                Sweep { d, spec: &self.spec.sweep, stack, work }.forward()?;
            }
            Ok(())
        })?;
        d.phase("head", || self.head(d))
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
        self.stem(d, Statistics::Running)?;
        for s in 0..self.stages.len() {
            self.enter(d, s, Statistics::Running)?;
            let Stage { stack, work, .. } = &mut self.stages[s];
            Sweep { d, spec: &self.spec.sweep, stack, work }.infer()?;
        }
        self.head(d)
    }

    /// All gradients of the batch that [`Net::forward`] has just seen. Blocks are updated on the way if updates are in the
    /// sweep; [`Net::update`] does the rest. Waits for the device.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn backward(&mut self, d: &D, sgd: SgdStep) -> Result<Drift> {
        self.set_learning_rate(d, sgd.lr)?;
        self.backward_pass(d, sgd)?;
        self.drift(d)
    }

    fn backward_pass(&mut self, d: &D, sgd: SgdStep) -> Result<()> {
        let Self { ends, ends_grad, stages, features, pool, pooled, grad_pooled, grad_logits, rate, outcome, .. } =
            self;
        let sgd = on_device(sgd, rate, outcome);
        d.phase("head backward", || {
            ends_grad.named_mut().into_iter().try_for_each(|(_, grad)| d.fill(0.0, grad))?;
            d.linear_grad_w(pooled, grad_logits, &mut ends_grad.head_w, &mut ends_grad.head_b)?;
            d.linear_grad_x(grad_logits, &ends.head_w, grad_pooled)?;
            let grad = &mut stages.last_mut().expect(super::STAGED).work.grad;
            d.avg_pool_grad(grad_pooled, *pool, grad)?;
            features.as_ref().map_or(Ok(()), |features| d.relu_grad(features, grad))
        })?;
        d.phase("blocks backward", || {
            for s in (0..stages.len()).rev() {
                let (stages, later) = stages.split_at_mut(s + 1);
                let (before, this) = stages.split_at_mut(s);
                let Stage { stack, work, .. } = &mut this[0];
                // what a later stage's sweep could not tell, this one's cannot either
                let loss = later.first().map_or(sgd.loss, |stage| &stage.work.verdict);
                Sweep { d, spec: &self.spec.sweep, stack, work }.backward(Sgd { loss, ..sgd })?;
                this[0].first_backward(d, before.last_mut())?;
            }
            Ok(())
        })?;
        d.phase("stem backward", || self.stem_backward(d))
    }

    /// The stem's gradients. In a net of one stack its output is x_0, which is computed for them anyway, and with it the drift.
    fn stem_backward(&mut self, d: &D) -> Result<()> {
        let Self { spec, ends, ends_grad, stem_stats, stem_z, stages, images, .. } = self;
        let stage = &mut stages[0];
        match &stage.first {
            Some(first) => d.relu_grad(&first.input, &mut stage.work.grad)?,
            None => stage.measure_drift(d, |_, x_0, _| d.norm_relu(stem_z, stem_stats, &ends.stem_bn, x_0))?,
        }
        let Work { grad, scratch, .. } = &mut stage.work;
        let Idle { map: grad_z, sums, workspace } = scratch.idle();
        d.bn_grad_sums(grad, 1.0, stem_z, stem_stats, sums, workspace)?;
        d.bn_grad_z(grad, 1.0, stem_z, stem_stats, &ends.stem_bn, sums, grad_z)?;
        d.axpby(1.0, &sums.gamma, 1.0, &mut ends_grad.stem_bn.gamma)?;
        d.axpby(1.0, &sums.beta, 1.0, &mut ends_grad.stem_bn.beta)?;
        d.conv_grad_w(images, grad_z, spec.stem_conv(), &mut ends_grad.stem_conv, workspace)
    }

    /// Applies SGD to everything that the sweep has not updated.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn update(&mut self, d: &D, sgd: SgdStep) -> Result<()> {
        self.set_learning_rate(d, sgd.lr)?;
        self.update_pass(d, sgd)
    }

    fn update_pass(&mut self, d: &D, sgd: SgdStep) -> Result<()> {
        let Self { spec, ends, ends_grad, ends_velocity, stages, rate, outcome, .. } = self;
        let sgd = on_device(sgd, rate, outcome);
        let of_ends = Sgd { loss: &stages[0].work.verdict, ..sgd };
        let ends = ends_grad.named().into_iter().zip(ends_velocity.named_mut()).zip(ends.named_mut());
        for (((_, grad), (_, velocity)), (_, theta)) in ends {
            d.sgd(of_ends, grad, velocity, theta)?;
        }
        stages.iter_mut().try_for_each(|stage| stage.update(d, spec.sweep.update, sgd))
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
    pub fn train_step(&mut self, d: &D, sgd: SgdStep) -> Result<(BatchResult, Drift)> {
        self.set_learning_rate(d, sgd.lr)?;
        self.replayed(d, Kind::Loaded, sgd, |net| net.train_pass(d, sgd))?;
        let result = self.batch_result(d)?;
        let drift = if result.loss.is_finite() { self.drift(d)? } else { Drift::default() };
        Ok((result, drift))
    }

    pub(super) fn train_pass(&mut self, d: &D, sgd: SgdStep) -> Result<()> {
        self.forward_pass(d)?;
        self.backward_pass(d, sgd)?;
        d.phase("update", || self.update_pass(d, sgd))
    }

    /// Runs a pass, or has the device replay its recording.
    pub(super) fn replayed(
        &mut self,
        d: &D,
        kind: Kind,
        sgd: SgdStep,
        pass: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let n = self.labels.shape().n();
        let SgdStep { momentum, weight_decay, .. } = sgd;
        let key = (kind, n, momentum, weight_decay);
        let known = self.recorded.iter().position(|r| (r.kind, r.n, r.momentum, r.weight_decay) == key);
        let at = known.unwrap_or_else(|| {
            self.recorded.push(Recorded { kind, n, momentum, weight_decay, recording: None });
            self.recorded.len() - 1
        });
        let mut recording = self.recorded[at].recording.take();
        let done = d.replay(&mut recording, || pass(self));
        self.recorded[at].recording = recording;
        done
    }

    fn batch_result(&self, d: &D) -> Result<BatchResult> {
        let [loss, correct] = read_pair(d, &self.outcome)?;
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

/// `|a - b| / |b|` from the squares of the two norms.
pub(super) fn relative(pair: [f64; 2]) -> f64 {
    (pair[0] / pair[1].max(f64::MIN_POSITIVE)).sqrt()
}

fn on_device<'a, B>(step: SgdStep, lr: &'a Tensor<B>, loss: &'a Tensor<B>) -> Sgd<'a, B> {
    Sgd { lr, loss, momentum: step.momentum, weight_decay: step.weight_decay }
}

fn read_pair<D: Device>(d: &D, tensor: &Tensor<D::Buffer>) -> Result<[f64; 2]> {
    let mut pair = [D::Real::default(); 2];
    d.download(tensor, &mut pair)?;
    Ok(pair.map(Real::to_f64))
}
