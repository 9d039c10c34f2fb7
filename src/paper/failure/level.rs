//! The drift that warns: the smallest at which a run lost accuracy, and how well it tells bad runs from good ones.

use serde::Serialize;

/// One run's evidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// Which net it trained, whatever the seed.
    pub net: usize,
    /// Its largest drift.
    pub drift: f64,
    /// Points of test accuracy that it lost against backprop with the same seed.
    pub lost: f64,
}

/// A level, and what it says of the runs that it was derived from. A run is bad if it lost more than was allowed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Level {
    /// The smallest drift of a bad run: no run that stayed below it is bad. None if no run is bad.
    pub level: Option<f64>,
    /// Bad runs: their drift passed or reached the level, all of them by its definition.
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
    /// Of these runs, of which none is allowed to lose more than `allowed` points.
    pub fn of(runs: &[Evidence], allowed: f64) -> Self {
        let is_bad = |run: &&Evidence| run.lost > allowed;
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
        let run = |net, drift, lost| Evidence { net, drift, lost };
        let runs = [
            run(0, 0.1, 0.5),
            run(0, 0.3, 4.0),
            run(0, 0.4, -1.0),
            run(1, 0.2, 2.9),
            run(1, 0.25, 30.0),
            run(1, 0.35, 0.0),
        ];
        let level = Level::of(&runs, 3.0);
        let expected = Level {
            level: Some(0.25),
            bad: 2,
            good_below: 2,
            good_above: 2,
            // net 1's bad run, by net 0's level of 0.3
            missed_unseen: 1,
            alarms_unseen: 2,
        };
        assert_eq!(level, expected);
        assert_eq!(
            Level::of(&runs, 50.0),
            Level { level: None, bad: 0, good_below: 6, good_above: 0, missed_unseen: 0, alarms_unseen: 0 }
        );
    }
}
