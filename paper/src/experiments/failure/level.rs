//! The drift that warns: the smallest at which a run lost accuracy, and how well it tells bad runs from good ones.

use serde::Serialize;

/// One run's evidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// Which net it trained, whatever the seed.
    pub net: usize,
    /// Its largest drift up to the end of the first epoch after which it had lost too much; of all epochs if there was none.
    pub drift: f64,
    /// Whether there was one.
    pub bad: bool,
}

impl Evidence {
    /// Of a run's epochs: the largest drift up to each one's end, and the points of test accuracy that it had then lost against
    /// backprop with the same seed, of which `allowed` are not too many. None of no epoch.
    pub fn of(net: usize, epochs: &[(f64, f64)], allowed: f64) -> Option<Self> {
        let first_bad = epochs.iter().find(|(_, lost)| *lost > allowed);
        let (drift, _) = first_bad.or(epochs.last())?;
        Some(Self { net, drift: *drift, bad: first_bad.is_some() })
    }
}

/// A level, and what it says of the runs that it was derived from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Level {
    /// The smallest drift of a bad run: as long as runs stayed below it, they were good. None if no run is bad.
    pub level: Option<f64>,
    /// Bad runs: all of them reached the level before they were, by its definition.
    pub bad: usize,
    /// Good runs whose drift stayed below the level.
    pub good_below: usize,
    /// Good runs whose drift did not: alarms without a cause.
    pub good_above: usize,
    /// Bad runs that stay below the level that is derived without the runs of their net: what the level may miss on a net that
    /// it has not seen.
    pub missed_unseen: usize,
    /// Good runs that do not stay below that level.
    pub alarms_unseen: usize,
}

impl Level {
    /// Of these runs.
    pub fn of(runs: &[Evidence]) -> Self {
        let is_bad = |run: &&Evidence| run.bad;
        let smallest = |runs: &mut dyn Iterator<Item = &Evidence>| runs.map(|run| run.drift).reduce(f64::min);
        let level = smallest(&mut runs.iter().filter(is_bad));
        let above = |run: &Evidence, level: Option<f64>| level.is_some_and(|level| run.drift >= level);
        let unseen = |run: &Evidence| {
            let others = &mut runs.iter().filter(|other| other.net != run.net).filter(is_bad);
            above(run, smallest(others))
        };
        let (bad, good): (Vec<&Evidence>, Vec<&Evidence>) = runs.iter().partition(is_bad);
        let good_above = good.iter().filter(|run| above(run, level)).count();
        Self {
            level,
            bad: bad.len(),
            good_below: good.len() - good_above,
            good_above,
            missed_unseen: bad.iter().filter(|run| !unseen(run)).count(),
            alarms_unseen: good.iter().filter(|run| unseen(run)).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_the_smallest_drift_of_a_bad_run() {
        let run = |net, drift, bad| Evidence { net, drift, bad };
        let runs = [
            run(0, 0.1, false),
            run(0, 0.3, true),
            run(0, 0.4, false),
            run(1, 0.2, false),
            run(1, 0.25, true),
            run(1, 0.35, false),
        ];
        let expected = Level {
            level: Some(0.25),
            bad: 2,
            good_below: 2,
            good_above: 2,
            // net 1's bad run, by net 0's level of 0.3
            missed_unseen: 1,
            alarms_unseen: 2,
        };
        assert_eq!(Level::of(&runs), expected);
        let good = runs.map(|run| Evidence { bad: false, ..run });
        let none = Level { level: None, bad: 0, good_below: 6, good_above: 0, missed_unseen: 0, alarms_unseen: 0 };
        assert_eq!(Level::of(&good), none);
    }

    #[test]
    fn a_run_is_as_bad_as_its_first_bad_epoch() {
        let epochs = [(0.1, 1.0), (0.2, 6.0), (0.9, 40.0)];
        assert_eq!(Evidence::of(7, &epochs, 5.0), Some(Evidence { net: 7, drift: 0.2, bad: true }));
        assert_eq!(Evidence::of(7, &epochs, 50.0), Some(Evidence { net: 7, drift: 0.9, bad: false }));
        assert_eq!(Evidence::of(7, &[], 5.0), None);
    }
}
