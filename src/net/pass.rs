//! Passes over the data set that the device holds: steps are asked for without waiting, and their results read together.

use std::sync::Arc;

use super::recorded::Kind;
use super::stage::step_result;
use super::{Net, Stage, StepResult};
use crate::data::{Dataset, Mix, Part, Place};
use crate::device::{DescentStep, Device, PassPosition, SgdStep};
use crate::error::Result;
use crate::field::Field;
use crate::sweep::{Gradient, LocalError, SweepSpec, Way, auto};

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

impl<D: Device, F: Field<D>> Net<D, F> {
    /// Takes a data set for the passes to come, and, in a net that mixes images, room for the mixes of every batch of an epoch.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn hold(&mut self, d: &D, dataset: Arc<Dataset>) -> Result<()> {
        let mixes = self.spec.mixes_of(dataset.images(Part::Train));
        // recorded passes read the former one
        self.recorded.clear();
        self.data = Some(d.hold(dataset, mixes)?);
        Ok(())
    }

    /// Puts other images in the place of the first of a split that the device holds, for the steps that are asked for from now on: see
    /// [`Feed::refill`](crate::device::Feed::refill).
    ///
    /// # Errors
    /// Whatever the device reports.
    ///
    /// # Panics
    /// If there is no data set, or its split holds fewer.
    pub fn refill(&mut self, d: &D, part: Part, pixels: &[u8], labels: &[u16]) -> Result<()> {
        d.refill(self.data.as_mut().expect(HELD), part, pixels, labels)
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

    /// Has `write` fill the mixes of a table's epoch, one per batch, where the net mixes images, before that table is written.
    ///
    /// # Errors
    /// Whatever the device reports.
    ///
    /// # Panics
    /// As above.
    pub fn write_mixes(&mut self, d: &D, table: usize, write: impl FnOnce(&mut [Mix])) -> Result<()> {
        if !self.spec.mixes {
            return Ok(());
        }
        d.write_mixes(self.data.as_mut().expect(HELD), table, write)
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
        self.stages.iter_mut().try_for_each(|stage| d.fill(step as f64, &mut stage.tape.step))
    }

    /// Asks for one training step on the pass's next `n` images, at the learning rate that was set, and does not wait for it.
    /// If the loss is not finite, nothing is updated and every further step of that `n` repeats this one.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn ask_train_step(&mut self, d: &D, n: usize, sgd: impl Into<DescentStep>) -> Result<()> {
        self.ask_step(d, n, sgd.into(), false)
    }

    /// The same, in a sweep that also measures what reconstruction would be worth in coded blocks, for an evaluation more each:
    /// see [`Net::choose_ways`].
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn ask_probing_step(&mut self, d: &D, n: usize, sgd: impl Into<DescentStep>) -> Result<()> {
        self.ask_step(d, n, sgd.into(), true)
    }

    fn ask_step(&mut self, d: &D, n: usize, sgd: DescentStep, probes: bool) -> Result<()> {
        self.set_batch(n)?;
        self.stages.iter_mut().for_each(|stage| stage.work.probes = probes);
        self.replayed(d, if probes { Kind::Probe } else { Kind::Train }, sgd, |net| {
            net.draw(d, Part::Train)?;
            net.train_pass(d, sgd)?;
            net.record(d, true)
        })
    }

    /// Asks for the test of the pass's next `n` images, and does not wait for it.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn ask_test_step(&mut self, d: &D, n: usize) -> Result<()> {
        self.set_batch(n)?;
        let nothing = SgdStep { lr: 0.0, momentum: 0.0, weight_decay: 0.0, ..SgdStep::PAPER };
        self.replayed(d, Kind::Test, nothing.into(), |net| {
            net.draw(d, Part::Test)?;
            net.test_pass(d)?;
            net.record(d, false)
        })
    }

    /// Writes what a step gave to every stage's tape.
    fn record(&mut self, d: &D, trained: bool) -> Result<()> {
        let Self { stages, head, .. } = self;
        stages.iter_mut().try_for_each(|stage| stage.record(d, &head.outcome, trained))
    }

    fn draw(&mut self, d: &D, part: Part) -> Result<()> {
        let Self { data, stages, table, images, labels, spec, .. } = self;
        let position = PassPosition { step: &stages[0].tape.step, table, batch: spec.batch };
        d.draw_batch(data.as_ref().expect(HELD), part, position, images, labels)
    }

    /// Waits for the device and reads what `count` steps of a pass gave, of which the first was number `first`. At most
    /// [`Device::STEPS_AHEAD`] steps can be looked back on. After a training step whose loss is not finite nothing counts.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn results(&mut self, d: &D, first: usize, count: usize) -> Result<impl Iterator<Item = StepResult>> {
        debug_assert!(count <= D::STEPS_AHEAD);
        self.stages.iter_mut().try_for_each(|stage| stage.tape.look(d))?;
        let stages = &self.stages;
        let of = move |step| {
            step_result(step, stages.iter().map(|stage| (&stage.tape, stage.sweep.gradient.reconstructs())))
        };
        Ok((first..first + count).map(of))
    }

    /// Reads the local errors that the last step's sweeps measured: see [`Net::local_errors`]. Waits for the device; allocates
    /// nothing.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn look_at_errors(&mut self, d: &D) -> Result<()> {
        self.stages.iter_mut().try_for_each(|stage| stage.work.look_at_errors(d, &stage.sweep))
    }

    /// The local errors of every stage's steps, as last read; none where the sweep measured nothing.
    pub fn local_errors(&self) -> impl Iterator<Item = &[Option<LocalError>]> {
        self.stages.iter().map(|stage| &stage.work.measured[..])
    }

    /// Chooses anew, in the mode `auto`, which blocks the next steps reconstruct and which they code, from the errors as last
    /// read. Says whether anything changed.
    pub fn choose_ways(&mut self) -> bool {
        if self.spec.sweep.gradient != Gradient::Auto {
            return false;
        }
        let choosing = self.stages.iter_mut().filter(|stage| stage.sweep.gradient == Gradient::Auto);
        let changed = choosing.fold(false, |changed, Stage { work, .. }| {
            auto::choose(&mut work.ways, &work.measured, work.codes.len()) || changed
        });
        if changed {
            self.forget_training();
        }
        changed
    }

    /// How each stage's gradient is computed.
    pub fn sweeps(&self) -> impl Iterator<Item = &SweepSpec> {
        self.stages.iter().map(|stage| &stage.sweep)
    }

    /// How each step of each stage is found again on the way back.
    pub fn ways(&self) -> impl Iterator<Item = &[Way]> {
        self.stages.iter().map(|stage| &stage.work.ways[..])
    }

    /// Goes on with the ways that [`Net::ways`] told. Says whether they are of such a net.
    pub fn set_ways(&mut self, ways: &[Vec<Way>]) -> bool {
        let fits =
            ways.len() == self.stages.len() && self.stages.iter().zip(ways).all(|(stage, ways)| stage.work.takes(ways));
        if fits {
            self.stages.iter_mut().zip(ways).for_each(|(stage, ways)| stage.work.ways.clone_from(ways));
            self.forget_training();
        }
        fits
    }

    /// Recorded steps are those of the former ways.
    fn forget_training(&mut self) {
        self.recorded.retain(|recorded| recorded.kind == Kind::Test);
    }
}
