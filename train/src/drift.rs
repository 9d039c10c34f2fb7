//! Watching the drift: how far the reconstruction has come from what it reconstructs, and from where on training suffers.

use rewind::sweep::SweepSpec;
use serde::{Deserialize, Serialize};

/// Steps whose mean drift is judged: that of one batch alone varies.
pub const WINDOW: u64 = 10;

/// The mean drift that warns.
///
/// From `paper failure --quick` on CIFAR-10: Euler nets of 3 and 8 blocks, h = 1 and 1/N, two starts, seven ways to reconstruct,
/// two seeds, 4 epochs. 100 of those 112 runs lost more than 5 points of test accuracy against backprop after some epoch or could
/// not go on, and the smallest drift that one of them had come to by then is 0.30. 0.15, half of that, warns of all 100, half of
/// them 30 steps ahead or more (an epoch has 196), and of 4 of the 12 good ones: it says that training is in danger, not that it
/// is lost.
pub const LEVEL: f64 = 0.15;

/// The first window of a run whose drift passed the level.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftWarning {
    /// Steps that the run had done at the window's end.
    pub step: u64,
    /// The mean over the window.
    #[serde(with = "crate::exact")]
    pub drift: f64,
    /// What it passed.
    #[serde(with = "crate::exact")]
    pub level: f64,
}

impl DriftWarning {
    /// What it says of a run with this sweep.
    pub fn sentence(&self, sweep: &SweepSpec) -> String {
        let Self { step, drift, level } = self;
        let SweepSpec { gradient, .. } = sweep;
        let seen = if drift.is_finite() {
            format!("the drift is {drift:.1e} of |x_0| over the {WINDOW} steps to step {step}, above {level}")
        } else {
            format!("x_0 could not be rebuilt in the {WINDOW} steps to step {step}")
        };
        format!(
            "warning: {seen}: the gradients of --gradient {gradient} may become too wrong to train with; --gradient auto codes the \
             blocks that it cannot rebuild"
        )
    }
}

/// What a run remembers of its drift between two steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DriftWatch {
    /// Sum over the steps of the unfinished window.
    #[serde(with = "crate::exact")]
    sum: f64,
    /// The first time that it passed the level.
    pub warning: Option<DriftWarning>,
}

impl DriftWatch {
    /// Adds the drift of step number `step`, counted from 1 over all sessions; gives a warning the first time that a window's
    /// mean is above the level, or no number.
    pub fn add(&mut self, step: u64, drift: f64, level: f64) -> Option<DriftWarning> {
        self.sum += drift;
        if !step.is_multiple_of(WINDOW) {
            return None;
        }
        let mean = self.sum / WINDOW as f64;
        self.sum = 0.0;
        if mean <= level || self.warning.is_some() {
            return None;
        }
        self.warning = Some(DriftWarning { step, drift: mean, level });
        self.warning
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(drifts: impl Iterator<Item = f64>) -> Vec<(u64, f64)> {
        let mut watch = DriftWatch::default();
        let warnings = drifts.zip(1..).filter_map(|(drift, step)| watch.add(step, drift, 0.5));
        warnings.map(|warning| (warning.step, warning.drift)).collect()
    }

    #[test]
    fn a_window_above_the_level_warns_once() {
        assert_eq!(warned([0.5; 100].into_iter()), []);
        // one batch out of ten is no reason yet
        assert_eq!(warned([0.0; 9].into_iter().chain([4.5]).cycle().take(100)), []);
        assert_eq!(warned([0.25; 20].into_iter().chain([0.75; 80])), [(30, 0.75)]);
        let infinite = warned([f64::INFINITY; 30].into_iter());
        assert_eq!(infinite, [(10, f64::INFINITY)]);
        assert!(matches!(warned([f64::NAN; 30].into_iter())[..], [(10, drift)] if drift.is_nan()));
    }

    #[test]
    fn a_drift_that_is_no_number_is_told_in_words() {
        let sweep = SweepSpec::new(rewind::scheme::Scheme::Euler, rewind::sweep::Gradient::Adjoint);
        let said = |drift| DriftWarning { step: 10, drift, level: LEVEL }.sentence(&sweep);
        assert!(
            said(0.5).starts_with("warning: the drift is 5.0e-1 of |x_0| over the 10 steps to step 10, above 0.15: ")
        );
        for drift in [f64::NAN, f64::INFINITY] {
            assert!(said(drift).starts_with("warning: x_0 could not be rebuilt in the 10 steps to step 10: "));
        }
    }

    #[test]
    fn a_resumed_run_has_the_watch_as_it_was() {
        let mut watch = DriftWatch::default();
        for step in 1..=13 {
            watch.add(step, 0.1 * step as f64, 0.2);
        }
        let read: DriftWatch = serde_json::from_str(&serde_json::to_string(&watch).unwrap()).unwrap();
        assert!(read == watch && read.sum > 3.0 && read.warning.is_some());
    }
}
