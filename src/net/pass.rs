//! Passes over the data set that the device holds: steps are asked for without waiting, and their results read together.

use std::sync::Arc;

use super::step::{Kind, relative};
use super::{BatchResult, Net, StepResult};
use crate::data::{Dataset, Part, Place};
use crate::device::{Device, PassPosition, SgdStep};
use crate::error::Result;
use crate::tensor::Real;

/// What a pass goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The training images, in the order of this table.
    Train {
        /// The table's number.
        table: usize,
    },
    /// The test images.
    Test,
}

const HELD: &str = "a pass goes over a data set that `hold` was given";

impl<D: Device> Net<D> {
    /// Takes a data set for the passes to come.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn hold(&mut self, d: &D, dataset: Arc<Dataset>) -> Result<()> {
        // recorded passes read the former one
        self.recorded.clear();
        self.data = Some(d.hold(dataset)?);
        Ok(())
    }

    /// Has `write` fill a table that no pass under way goes by.
    ///
    /// # Errors
    /// Whatever the device reports.
    ///
    /// # Panics
    /// If there is no data set; so do the others here.
    pub fn write_table(&mut self, d: &D, table: usize, write: impl FnOnce(&mut [Place])) -> Result<()> {
        d.write_table(self.data.as_mut().expect(HELD), table, write)
    }

    /// Begins a pass at its step number `step`, from 0.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn begin_pass(&mut self, d: &D, pass: Pass, step: usize) -> Result<()> {
        match pass {
            Pass::Train { table } => d.choose_table(self.data.as_mut().expect(HELD), table, &mut self.table)?,
            // nothing goes by it, but operands are never left unwritten
            Pass::Test => d.fill(0.0, &mut self.table)?,
        }
        d.fill(step as f64, &mut self.step)
    }

    /// Asks for one training step on the pass's next `n` images, at the learning rate that was set, and does not wait for it.
    /// If the loss is not finite, nothing is updated and every further step of that `n` repeats this one.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn ask_train_step(&mut self, d: &D, n: usize, sgd: SgdStep) -> Result<()> {
        self.set_batch(n)?;
        self.replayed(d, Kind::Train, sgd, |net| {
            net.draw(d, Part::Train)?;
            net.train_pass(d, sgd)?;
            let distance = net.work.x_rec.is_some().then_some(&net.distance);
            d.record_step(&net.outcome, distance, false, &mut net.results, &mut net.step)
        })
    }

    /// Asks for the test of the pass's next `n` images, and does not wait for it.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn ask_test_step(&mut self, d: &D, n: usize) -> Result<()> {
        self.set_batch(n)?;
        let nothing = SgdStep { lr: 0.0, momentum: 0.0, weight_decay: 0.0 };
        self.replayed(d, Kind::Test, nothing, |net| {
            net.draw(d, Part::Test)?;
            net.test_pass(d)?;
            d.record_step(&net.outcome, None, true, &mut net.results, &mut net.step)
        })
    }

    fn draw(&mut self, d: &D, part: Part) -> Result<()> {
        let Self { data, step, table, images, labels, spec, .. } = self;
        let position = PassPosition { step, table, batch: spec.batch };
        d.draw_batch(data.as_ref().expect(HELD), part, position, images, labels)
    }

    /// Waits for the device and reads what `count` steps of a pass gave, of which the first was number `first`. At most
    /// [`Device::STEPS_AHEAD`] steps can be looked back on. After a training step whose loss is not finite nothing counts.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn results(&mut self, d: &D, first: usize, count: usize) -> Result<impl Iterator<Item = StepResult>> {
        debug_assert!(count <= D::STEPS_AHEAD);
        d.download(&self.results, &mut self.results_read)?;
        let reconstructs = self.work.x_rec.is_some();
        let (rows, _) = self.results_read.as_chunks::<4>();
        Ok((first..first + count).map(move |step| {
            let [loss, correct, distance, norm] = rows[step % D::STEPS_AHEAD].map(Real::to_f64);
            let drift = reconstructs.then(|| relative([distance, norm]));
            StepResult { batch: BatchResult { loss, correct: correct as usize }, drift }
        }))
    }
}
