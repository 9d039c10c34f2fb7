//! What the host sees when it looks at the steps that the device has done.

use rewind::code::Bits;
use rewind::device::Device;
use rewind::error::{Error, Result};
use rewind::field::Field;
use rewind::net::{BatchResult, StepResult};
use rewind::sweep::auto::PASSES;
use rewind::sweep::{Gradient, Way};

use super::Run;
use super::record::Step;
use crate::config::RunConfig;
use crate::drift::LEVEL;
use crate::events::{Event, Listener, StepsReport};
use crate::plausible::{may_hold, range_of};
use crate::progress::Progress;
use crate::schedule::Course;

/// Steps between two choices of `auto` on a device that is asked for steps ahead: a choice waits for it.
const CHOOSE_EVERY: u64 = 16;
/// Sweeps in a row that may fail before the run ends.
const FAILED_MOST: u64 = 20;

impl<D: Device<Real = f32>, F: Field<D>> Run<'_, D, F> {
    /// Says, in the mode `auto`, how many blocks are coded, where that is new.
    pub(super) fn tell_choice(&mut self, listener: &mut dyn Listener) {
        if self.config.sweep.gradient != Gradient::Auto {
            return;
        }
        let choosing = || self.net.sweeps().zip(self.net.ways()).filter(|(sweep, _)| sweep.gradient == Gradient::Auto);
        let of = |wanted: fn(&Way) -> bool| choosing().flat_map(|(_, ways)| ways).filter(|way| wanted(way)).count();
        let (coded, refined) = (of(|way| matches!(way, Way::Coded(_))), of(|way| *way == Way::Refined));
        if self.told == Some([coded, refined]) {
            return;
        }
        let all = of(|_| true);
        let bits = self.config.sweep.bits;
        let how = format!("in {bits} bit{}", if bits == Bits::One { "" } else { "s" });
        let text = match (coded, refined) {
            (0, 0) => format!("auto: all {all} blocks are rebuilt by their reverse step, nothing is stored"),
            (coded, 0) if coded == all => format!("auto: all {all} blocks are coded {how}"),
            (coded, 0) => {
                format!("auto: {coded} of {all} blocks are coded {how}, the others rebuilt by their reverse step")
            }
            (coded, refined) => format!(
                "auto: {coded} of {all} blocks are coded {how}, {refined} take {PASSES} fixed-point passes, since there is no room \
                 to code them"
            ),
        };
        listener.hear(&Event::Note(&text));
        self.told = Some([coded, refined]);
    }

    /// Whether `auto` chooses anew once `step` steps are done in all: at steps that follow from their number alone, so that a run
    /// is the same however often the host looks.
    pub(super) fn chooses_after(&self, step: u64, epoch_ends: bool) -> bool {
        let every = if D::STEPS_AHEAD == 1 { 1 } else { CHOOSE_EVERY };
        self.config.sweep.gradient == Gradient::Auto && step > 0 && (epoch_ends || step.is_multiple_of(every))
    }

    /// Waits for the steps in flight and takes in their results, in order. Allocates nothing, unless the listener does.
    pub(super) fn look(&mut self, listener: &mut dyn Listener) -> Result<()> {
        let (first, count) = (self.progress.step_in_epoch, self.flight.steps());
        if count == 0 {
            return Ok(());
        }
        let course = Course::of(&self.config, self.train.count());
        let results = self.net.results(self.device, first, count)?;
        let seconds = self.flight.land();
        let progress = &mut self.progress;
        let (mut images, mut failed, mut last_drift) = (0, None, None);
        for result in results {
            let StepResult { batch: BatchResult { loss, correct }, drift } = result;
            let n = self.train.len(progress.step_in_epoch);
            let learning_rate = course.at(progress.epoch + 1, progress.step_in_epoch);
            if !loss.is_finite() {
                failed = Some(loss);
                break;
            }
            if self.step_seconds.len() < self.step_seconds.capacity() {
                self.step_seconds.push(seconds);
            }
            progress.sums.add(n, loss, correct as u64, drift, seconds);
            let failed = drift.is_some_and(|drift| !drift.is_finite());
            progress.failed_in_a_row = if failed { progress.failed_in_a_row + 1 } else { 0 };
            progress.failed_sweeps += u64::from(failed);
            progress.step_in_epoch += 1;
            progress.global_step += 1;
            if let Some(drift) = drift {
                if self.drifts.len() < self.drifts.capacity() {
                    self.drifts.push(drift);
                }
                if self.config.sweep.gradient != Gradient::Auto
                    && let Some(warning) = progress.drift.add(progress.global_step, drift, LEVEL)
                {
                    listener.hear(&Event::Drift { warning, sentence: &warning.sentence(&self.config.sweep) });
                }
            }
            images += n;
            last_drift = drift;
            self.record.add_step(progress, &Step { images: n, learning_rate, seconds, result }, self.train)?;
        }
        self.images_trained += images as u64;
        if let Some(loss) = failed {
            let (epoch, step) = (progress.epoch + 1, progress.step_in_epoch + 1);
            let (place, advice) = (self.net.first_non_finite(self.device)?, self.advice());
            return Err(Error::NotFinite { epoch, step, loss, place, advice });
        }
        self.look_at_errors()?;
        let Progress { step_in_epoch, sums, .. } = &self.progress;
        listener.hear(&Event::Steps(&StepsReport {
            step: *step_in_epoch,
            steps: count,
            images,
            loss: sums.mean_loss(),
            accuracy: sums.accuracy(),
            drift: last_drift,
            local_error: self.local_error,
            activation_peak_bytes: self.memory.activations(),
        }));
        Ok(())
    }

    /// Reads what the last step's sweep measured of each block, and has `auto` choose by it where it is time to.
    pub(super) fn look_at_errors(&mut self) -> Result<()> {
        if !self.config.sweep.gradient.measures_errors() {
            return Ok(());
        }
        self.net.look_at_errors(self.device)?;
        self.local_error = self.largest_local_error();
        let Progress { global_step, step_in_epoch, failed_in_a_row, .. } = self.progress;
        if self.chooses_after(global_step, step_in_epoch == self.train.count()) {
            self.net.choose_ways();
        }
        if failed_in_a_row >= FAILED_MOST { Err(self.hopeless()) } else { Ok(()) }
    }

    /// Of the blocks that the last sweep reconstructed.
    pub(super) fn largest_local_error(&self) -> Option<f64> {
        let blocks = self.net.ways().zip(self.net.local_errors()).flat_map(|(ways, errors)| ways.iter().zip(errors));
        let reconstructed = blocks.filter(|(way, _)| !matches!(way, Way::Coded(_)));
        // what is no number is the largest there is
        let largest = |a: f64, b: f64| if a.is_nan() || a > b { a } else { b };
        reconstructed.filter_map(|(_, error)| error.map(|error| error.delta)).reduce(largest)
    }

    /// The block nearest to the head whose reconstruction was worth nothing.
    pub(super) fn hopeless(&self) -> Error {
        let sweeps = self.progress.failed_in_a_row;
        let stages: Vec<_> = self.net.local_errors().collect();
        let worst = stages.iter().enumerate().rev().find_map(|(stage, errors)| {
            let block = errors.iter().rposition(|error| error.is_some_and(|error| error.is_hopeless()))?;
            Some((stage, block, errors[block].map_or(f64::NAN, |error| error.delta)))
        });
        let (stage, block, delta) = worst.unwrap_or((0, 0, f64::NAN));
        let of_stage = if stages.len() > 1 { format!(" of stage {stage}") } else { String::new() };
        Error::Hopeless { block, of_stage, sweeps, delta }
    }

    /// The last step's update made a tensor non-finite, or so large that no step can go on from it.
    pub(super) fn not_finite_in(&self, name: &str, values: &[f32]) -> Error {
        let place = match values.iter().find(|value| !may_hold(name, **value)) {
            Some(value) if value.is_finite() => {
                format!("{name}, at {value:e}, left its range ({}) and", range_of(name))
            }
            _ => name.into(),
        };
        self.not_finite(None, place)
    }

    /// What was found after the last step, whose loss it has unless that of a test is given.
    pub(super) fn not_finite(&self, of_test: Option<f64>, place: String) -> Error {
        let Progress { epoch, step_in_epoch, ref sums, ref history, .. } = self.progress;
        let (epoch, step, loss) = match (step_in_epoch, history.last()) {
            (0, Some(row)) => (epoch, self.train.count(), row.train_loss),
            _ => (epoch + 1, step_in_epoch, sums.mean_loss()),
        };
        Error::NotFinite { epoch, step, loss: of_test.unwrap_or(loss), place, advice: self.advice() }
    }

    /// Which settings to change, with what they are.
    fn advice(&self) -> String {
        let RunConfig { lr, weight_decay, sweep, .. } = &self.config;
        let mut advice = format!("try a lower `lr` than {lr}");
        if *weight_decay > RunConfig::default().weight_decay {
            advice += &format!(", and a lower `weight_decay` than {weight_decay}");
        }
        if sweep.gradient.measures_errors() {
            advice += ", or more `fixed_point` passes if the drift was high";
        }
        advice
    }
}
