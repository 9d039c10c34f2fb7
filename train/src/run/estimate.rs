//! How long a run would take, from a few of its steps.

use std::sync::atomic::Ordering;
use std::time::Instant;

use rewind::data::Part;
use rewind::device::Device;
use rewind::error::Result;
use rewind::field::Field;
use rewind::net::Pass;
use rewind::recipe::Share;

use super::Run;

/// Steps that are measured, of training and of the test each.
const STEPS: usize = 5;
/// Steps before them, in which memory is touched and a device records, for the first time.
const BEFORE: usize = 1;

/// How long a run takes, see [`crate::training::Training::estimate`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Training steps that were measured.
    pub steps: usize,
    /// Seconds of a training step.
    pub step_seconds: f64,
    /// Seconds of an epoch with its test.
    pub epoch_seconds: f64,
    /// Seconds of the whole run, without what its data takes to be opened.
    pub run_seconds: f64,
}

impl<D: Device<Real = f32>, F: Field<D>> Run<'_, D, F> {
    /// Trains and tests a few steps, and works out what the others take; none if the run was stopped meanwhile. The net is of no use
    /// afterwards.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn estimate(&mut self) -> Result<Option<Estimate>> {
        const EPOCH: usize = 1;
        let descent = self.descent(0);
        self.draw(EPOCH)?;
        self.net.set_learning_rate(self.device, descent.lr())?;
        self.net.begin_pass(self.device, Pass::Train { table: EPOCH % super::TABLES }, 0)?;
        if let Some(stream) = &mut self.stream {
            stream.begin_epoch(self.epochs, EPOCH, 0)?;
        }
        let train = self.train;
        let trained = self.measured(train.count(), |run, step| {
            run.refill(Part::Train, train.len(step))?;
            run.net.set_share(Share::of(step, train.count(), run.config.batches_per_update()));
            run.net.ask_train_step(run.device, train.len(step), descent)
        })?;
        self.net.begin_pass(self.device, Pass::Test, 0)?;
        if let Some(stream) = &mut self.stream {
            stream.begin_test()?;
        }
        let test = self.test;
        let tested = self.measured(test.count(), |run, step| {
            run.refill(Part::Test, test.len(step))?;
            run.net.ask_test_step(run.device, test.len(step))
        })?;
        let (Some((steps, step_seconds)), Some((_, test_seconds))) = (trained, tested) else { return Ok(None) };
        // the last batch of a pass is smaller
        let whole = |images: usize, batch: usize| images as f64 / batch.min(images).max(1) as f64;
        let epoch_seconds =
            step_seconds * whole(train.images, train.batch) + test_seconds * whole(test.images, test.batch);
        let epochs = self.config.epochs.unwrap_or(0) as f64;
        let most = self.config.max_steps.map_or(epochs, |steps| steps as f64 / train.count() as f64);
        Ok(Some(Estimate { steps, step_seconds, epoch_seconds, run_seconds: epoch_seconds * epochs.min(most) }))
    }

    /// How many of the first steps of a pass of `count` were measured, and the median of their seconds; none if the run was stopped.
    fn measured(
        &mut self,
        count: usize,
        mut ask: impl FnMut(&mut Self, usize) -> Result<()>,
    ) -> Result<Option<(usize, f64)>> {
        let mut seconds = Vec::new();
        for step in 0..count.min(BEFORE + STEPS) {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let start = Instant::now();
            ask(self, step)?;
            // which waits for the device
            self.net.results(self.device, step, 1)?.for_each(drop);
            seconds.push(start.elapsed().as_secs_f64());
        }
        // of a pass of one step that one is all there is
        let measured = &mut seconds[BEFORE.min(count - 1)..];
        measured.sort_by(f64::total_cmp);
        Ok(Some((measured.len(), measured[measured.len() / 2])))
    }
}
