//! How far a run has come: what a checkpoint must hold, beside the tensors, for a resumed run to go on to the same bits.

use rewind::sweep::Way;
use serde::{Deserialize, Serialize};

use super::drift::DriftWatch;

/// Where a run stands between two steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs completed.
    pub epoch: usize,
    /// Steps done in the epoch after those.
    pub step_in_epoch: usize,
    /// Steps done in all.
    pub global_step: u64,
    /// Sums over the steps of the unfinished epoch.
    pub sums: EpochSums,
    /// Sums over the steps since the last row of steps.csv.
    #[serde(default, skip_serializing_if = "EpochSums::is_empty")]
    pub window: EpochSums,
    /// The drift of the last steps, and whether it was ever too large.
    #[serde(default)]
    pub drift: DriftWatch,
    /// In the mode `auto`, how each step of each stage is found again on the way back.
    #[serde(default)]
    pub ways: Vec<Vec<Way>>,
    /// Sweeps in a row that met a block whose reconstruction was worth nothing.
    #[serde(default)]
    pub failed_in_a_row: u64,
    /// Such sweeps in all: their steps updated only the blocks above that one.
    #[serde(default)]
    pub failed_sweeps: u64,
    /// The rows of metrics.csv, one a completed epoch.
    pub history: Vec<EpochRow>,
}

/// Running sums over steps in their order, of one epoch or of one row of steps.csv.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochSums {
    /// Steps.
    pub steps: u64,
    /// Images trained on.
    pub images: u64,
    /// Images classified correctly.
    pub correct: u64,
    /// Each image's loss, added up.
    #[serde(with = "crate::exact")]
    pub loss: f64,
    /// The drift of each step whose sweep was sound, added up; stays 0 in modes that reconstruct nothing.
    #[serde(with = "crate::exact")]
    pub drift: f64,
    /// Steps whose sweep met a block whose reconstruction was worth nothing.
    #[serde(default)]
    pub failed: u64,
    /// Seconds spent, over all sessions.
    #[serde(with = "crate::exact")]
    pub seconds: f64,
}

impl EpochSums {
    /// Adds a step of `images` images with a mean loss of `loss`, of which `correct` were right.
    pub fn add(&mut self, images: usize, loss: f64, correct: u64, drift: Option<f64>, seconds: f64) {
        self.steps += 1;
        self.images += images as u64;
        self.correct += correct;
        self.loss += loss * images as f64;
        match drift {
            Some(drift) if drift.is_finite() => self.drift += drift,
            Some(_) => self.failed += 1,
            None => {}
        }
        self.seconds += seconds;
    }

    /// Whether there is no step yet.
    pub fn is_empty(&self) -> bool {
        self.steps == 0
    }

    /// Mean loss an image; 0 before the first.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.images.max(1) as f64
    }

    /// Fraction of the images classified correctly; 0 before the first.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.images.max(1) as f64
    }

    /// Mean drift of the steps whose sweep was sound; 0 before the first, no number if none was.
    pub fn mean_drift(&self) -> f64 {
        match self.steps - self.failed {
            0 if self.failed > 0 => f64::NAN,
            sound => self.drift / sound.max(1) as f64,
        }
    }
}

/// A row of metrics.csv: one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    /// The epoch, counted from 1.
    pub epoch: usize,
    /// Mean loss over the epoch's training images, as they were trained on.
    #[serde(with = "crate::exact")]
    pub train_loss: f64,
    /// Fraction of them classified correctly.
    #[serde(with = "crate::exact")]
    pub train_accuracy: f64,
    /// Mean loss over the test images, after the epoch.
    #[serde(with = "crate::exact")]
    pub test_loss: f64,
    /// Fraction of the test images classified correctly.
    #[serde(with = "crate::exact")]
    pub test_accuracy: f64,
    /// The epoch's learning rate.
    #[serde(with = "crate::exact")]
    pub learning_rate: f64,
    /// Seconds of training, without the test.
    #[serde(with = "crate::exact")]
    pub epoch_seconds: f64,
    /// Training images per second.
    #[serde(with = "crate::exact")]
    pub images_per_second: f64,
    /// Mean drift `|x~_0 - x_0| / |x_0|` of the epoch's steps; none in modes that reconstruct nothing.
    #[serde(with = "crate::exact::option")]
    pub drift: Option<f64>,
    /// The largest local error of a block that the epoch's last sweep reconstructed; none where it measured none.
    #[serde(with = "crate::exact::option", default)]
    pub local_error: Option<f64>,
    /// Peak bytes of state, scratch and saved.
    pub activation_peak_bytes: u64,
    /// Peak bytes of everything in the arena.
    pub peak_bytes: u64,
}

/// The epoch with the best test accuracy, the first of equals.
pub fn best_epoch(history: &[EpochRow]) -> Option<&EpochRow> {
    history.iter().reduce(|best, row| if row.test_accuracy > best.test_accuracy { row } else { best })
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A run's row `epoch`, of plausible numbers.
    pub(crate) fn row(epoch: usize) -> EpochRow {
        let t = epoch as f64;
        EpochRow {
            epoch,
            train_loss: 2.3 / t.sqrt(),
            train_accuracy: 1.0 - 0.9 / t.sqrt(),
            test_loss: 2.4 / t.powf(0.4),
            test_accuracy: 1.0 - 0.9 / t.powf(0.4),
            learning_rate: 0.1,
            epoch_seconds: 21.5,
            images_per_second: 2325.6,
            drift: Some(1e-4 * t.powf(0.7)),
            local_error: Some(1e-3),
            activation_peak_bytes: 31_457_280,
            peak_bytes: 62_914_560,
        }
    }

    proptest! {
        #[test]
        fn json_keeps_every_bit(bits in any::<[u64; 3]>(), drift in any::<Option<u64>>()) {
            let [loss, drifts, seconds] = bits.map(f64::from_bits);
            let progress = Progress {
                epoch: 3,
                step_in_epoch: 7,
                global_step: u64::MAX,
                sums: EpochSums { steps: 7, images: 1792, correct: 1000, loss, drift: drifts, failed: 0, seconds },
                window: EpochSums { steps: 2, images: 512, correct: 9, loss: drifts, drift: loss, failed: 1, seconds },
                drift: DriftWatch::default(),
                ways: vec![vec![Way::Coded(1), Way::Refined, Way::Reconstructed]],
                failed_in_a_row: 1,
                failed_sweeps: 2,
                history: vec![EpochRow { test_loss: loss, drift: drift.map(f64::from_bits), ..row(1) }],
            };
            let read: Progress = serde_json::from_str(&serde_json::to_string(&progress).unwrap()).unwrap();
            // A number that is not one keeps being none, whatever its payload.
            let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
            prop_assert!(same(read.sums.loss, loss) && same(read.sums.drift, drifts) && same(read.sums.seconds, seconds));
            prop_assert!(same(read.history[0].test_loss, loss));
            prop_assert_eq!(read.history[0].drift.is_some(), drift.is_some());
            prop_assert!(same(read.window.loss, drifts) && same(read.window.drift, loss));
            prop_assert_eq!(read.global_step, u64::MAX);
        }
    }

    #[test]
    fn sums_give_means_over_images_and_steps() {
        let mut sums = EpochSums::default();
        assert_eq!((sums.mean_loss(), sums.accuracy(), sums.mean_drift()), (0.0, 0.0, 0.0));
        sums.add(3, 2.0, 1, Some(0.25), 0.5);
        sums.add(1, 6.0, 1, Some(0.75), 0.5);
        assert_eq!((sums.mean_loss(), sums.accuracy(), sums.mean_drift(), sums.seconds), (3.0, 0.5, 0.5, 1.0));
        // a sweep that failed has no drift
        sums.add(1, 6.0, 1, Some(f64::NAN), 0.5);
        assert_eq!((sums.mean_drift(), sums.failed), (0.5, 1));
    }

    #[test]
    fn the_best_epoch_is_the_first_of_equals() {
        let at = |epoch, test_accuracy| EpochRow { test_accuracy, ..row(epoch) };
        assert!(best_epoch(&[]).is_none());
        assert_eq!(best_epoch(&[at(1, 0.1), at(2, 0.5), at(3, 0.5), at(4, 0.2)]).unwrap().epoch, 2);
    }
}
