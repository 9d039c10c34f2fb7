//! What the runs say together: who lost how much against whom, and which drift told.

use rewind_train::drift::{LEVEL, WINDOW};
use serde::Serialize;

use super::cell::Done;
use super::cell::{Outcome, Trial};
use super::level::{Evidence, Level};
use super::subject::Subject;
use crate::method::Method;

/// All that the experiment trains with, in the order of its tables and pictures.
pub const METHODS: [Method; 13] = [
    Method::Backprop,
    Method::Adjoint,
    Method::Corrected,
    Method::Coded1,
    Method::Coded2,
    Method::Coded4,
    Method::Coded8,
    Method::Auto,
    Method::FixedPoint1,
    Method::FixedPoint2,
    Method::FixedPoint3,
    Method::AnchorsSqrt,
    Method::AnchorsEach,
];

/// The ways whose drift means the same, so that one level can hold for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The whole reconstruction is carried on from what the gradient is taken at.
    Adjoint,
    /// It is carried on from a better state than that.
    Corrected,
    /// It starts again at stored states, so that drift is that of the last few blocks alone.
    Anchored,
}

impl Group {
    pub const ALL: [Self; 3] = [Self::Adjoint, Self::Corrected, Self::Anchored];

    /// None of the exact ways, nor of `auto`, which codes a block before its drift could tell.
    pub const fn of(method: Method) -> Option<Self> {
        match method {
            Method::Backprop | Method::Checkpoint | Method::Auto => None,
            Method::Coded1 | Method::Coded2 | Method::Coded4 | Method::Coded8 => None,
            Method::Corrected => Some(Self::Corrected),
            Method::AnchorsEach | Method::AnchorsSqrt => Some(Self::Anchored),
            Method::Adjoint | Method::FixedPoint1 | Method::FixedPoint2 | Method::FixedPoint3 => Some(Self::Adjoint),
        }
    }

    /// The one that stands for the group.
    pub const fn method(self) -> Method {
        match self {
            Self::Adjoint => Method::Adjoint,
            Self::Corrected => Method::Corrected,
            Self::Anchored => Method::AnchorsEach,
        }
    }

    pub const fn short_name(self) -> &'static str {
        match self {
            Self::Adjoint => "adjoint",
            Self::Corrected => "corrected",
            Self::Anchored => "anchors",
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Adjoint => "adjoint, fixed-point",
            Self::Corrected => "corrected",
            Self::Anchored => "anchored",
        }
    }
}

/// The runs of a net in one way, one per seed.
pub fn of<'a>(done: &'a Done<'a>, subject: Subject, method: Method) -> impl Iterator<Item = &'a (&'a Trial, Outcome)> {
    done.iter().filter(move |(trial, _)| trial.method == method && Subject::of(trial.training.config()) == subject)
}

/// Points of test accuracy that a run lost against backprop's of the same net and seed; none where that is not there.
pub fn lost(done: &Done<'_>, trial: &Trial, outcome: &Outcome) -> Option<f64> {
    Some(exact(done, trial)?.accuracy() - outcome.accuracy())
}

/// What backprop gave for the same net and seed.
fn exact<'a>(done: &'a Done<'a>, trial: &Trial) -> Option<&'a Outcome> {
    let config = trial.training.config();
    let mut exact = of(done, Subject::of(config), Method::Backprop);
    exact.find(|(other, _)| other.training.config().seed == config.seed).map(|(_, outcome)| outcome)
}

/// A run's epochs: the largest drift up to each one's end, and the points of test accuracy that it had then lost against
/// backprop's of the same net and seed; as far as backprop has epochs.
pub fn lost_by_epoch(done: &Done<'_>, trial: &Trial, outcome: &Outcome) -> Vec<(f64, f64)> {
    let Some(exact) = exact(done, trial) else { return Vec::new() };
    let (exact, own) = (exact.epochs(trial.epoch_steps), outcome.epochs(trial.epoch_steps));
    own.into_iter().zip(exact).map(|((drift, accuracy), (_, exact))| (drift, exact - accuracy)).collect()
}

/// The level of each group, from the runs that have a drift and a backprop to compare with.
pub fn levels(done: &Done<'_>, allowed: f64) -> Vec<(Group, Level)> {
    let subjects = Subject::all(done);
    let of_group = |group| {
        let evidence =
            done.iter().filter(|(trial, _)| Group::of(trial.method) == Some(group)).filter_map(|(trial, outcome)| {
                let net = subjects.iter().position(|subject| *subject == Subject::of(trial.training.config()))?;
                Evidence::of(net, &lost_by_epoch(done, trial, outcome), allowed)
            });
        evidence.collect::<Vec<_>>()
    };
    let levels = Group::ALL.into_iter().map(|group| (group, of_group(group))).filter(|(_, runs)| !runs.is_empty());
    levels.map(|(group, runs)| (group, Level::of(&runs))).collect()
}

/// The level for a way to the gradient.
pub fn level_for(levels: &[(Group, Level)], method: Method) -> Option<f64> {
    levels.iter().find(|(group, _)| Some(*group) == Group::of(method)).and_then(|(_, level)| level.level)
}

/// Standard deviation of backprop's accuracy over seeds, all nets and epochs together: what a run may lose by chance. None below two seeds.
pub fn noise(done: &Done<'_>) -> Option<f64> {
    let (mut squares, mut free) = (0.0, 0usize);
    for subject in Subject::all(done) {
        let runs: Vec<_> =
            of(done, subject, Method::Backprop).map(|(trial, outcome)| outcome.epochs(trial.epoch_steps)).collect();
        for epoch in 0..runs.iter().map(Vec::len).max().unwrap_or(0) {
            let values: Vec<f64> = runs.iter().filter_map(|run| Some(run.get(epoch)?.1)).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            squares += values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
            free += values.len() - 1;
        }
    }
    (free > 0).then(|| (squares / free as f64).sqrt())
}

/// A level that might warn, whatever the runs' own is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Candidate {
    pub level: f64,
    /// Bad runs that reached it before they were.
    pub bad_warned: usize,
    pub bad: usize,
    /// Steps between reaching it and the divergence, or the end of the first bad epoch: the median of all bad runs, 0 for one
    /// that did not reach it.
    pub steps_ahead: Option<u64>,
    /// Good runs that reached it.
    pub good_warned: usize,
    pub good: usize,
}

/// The levels that are tried, that of `train_cifar` among them.
const CANDIDATES: [f64; 8] = [0.01, 0.02, 0.05, 0.1, LEVEL, 0.2, 0.5, 1.0];

/// How each of them would have done for a group.
pub fn candidates(done: &Done<'_>, group: Group, allowed: f64) -> Vec<Candidate> {
    let of_group: Vec<_> = done.iter().filter(|(trial, _)| Group::of(trial.method) == Some(group)).collect();
    let of_level = |level: f64| {
        let mut found = Candidate { level, bad_warned: 0, bad: 0, steps_ahead: None, good_warned: 0, good: 0 };
        let mut ahead = Vec::new();
        for (trial, outcome) in &of_group {
            let epochs = lost_by_epoch(done, trial, outcome);
            let reached = outcome.passed(level);
            let Some(bad) = epochs.iter().position(|(_, lost)| *lost > allowed) else {
                found.good += usize::from(!epochs.is_empty());
                found.good_warned += usize::from(!epochs.is_empty() && reached.is_some());
                continue;
            };
            let end = ((bad + 1) * trial.epoch_steps).min(outcome.drifts.len() * WINDOW as usize) as u64;
            let reached = reached.filter(|step| *step <= end);
            found.bad += 1;
            found.bad_warned += usize::from(reached.is_some());
            ahead.push(reached.map_or(0, |step| end - step));
        }
        ahead.sort_unstable();
        Candidate { steps_ahead: ahead.get(ahead.len() / 2).copied(), ..found }
    };
    CANDIDATES.map(of_level).into()
}
