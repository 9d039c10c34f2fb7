//! The runs as text for people, as CSV and as a summary for programs.

use std::fmt::Write as _;

use rewind::paper::failure::level::{Evidence, Level};
use rewind::paper::failure::{Outcome, Trial};
use rewind::paper::method::Method;
use rewind::paper::spread::Spread;
use rewind::train::drift::WINDOW;
use serde_json::{Value, json};

use super::Done;
use super::subject::Subject;

/// All that the experiment trains with, in the order of its tables and pictures.
pub const METHODS: [Method; 9] = [
    Method::Backprop,
    Method::Adjoint,
    Method::Corrected,
    Method::FixedPoint1,
    Method::FixedPoint2,
    Method::FixedPoint3,
    Method::AnchorsSqrt,
    Method::AnchorsEach,
    Method::Light,
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

    /// None of the exact ways.
    pub const fn of(method: Method) -> Option<Self> {
        match method {
            Method::Backprop | Method::Checkpoint => None,
            Method::Corrected => Some(Self::Corrected),
            Method::AnchorsEach | Method::AnchorsSqrt => Some(Self::Anchored),
            Method::Adjoint | Method::Light | Method::FixedPoint1 | Method::FixedPoint2 | Method::FixedPoint3 => {
                Some(Self::Adjoint)
            }
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
            Self::Adjoint => "adjoint, fixed-point, light",
            Self::Corrected => "corrected",
            Self::Anchored => "anchored",
        }
    }
}

/// The runs of a net in one way, one a seed.
pub fn of<'a>(done: &'a Done<'a>, subject: Subject, method: Method) -> impl Iterator<Item = &'a (&'a Trial, Outcome)> {
    done.iter().filter(move |(trial, _)| trial.method == method && Subject::of(trial.training.config()) == subject)
}

/// Points of test accuracy that a run lost against backprop's of the same net and seed; none where that is not there.
pub fn lost(done: &Done<'_>, trial: &Trial, outcome: &Outcome) -> Option<f64> {
    let config = trial.training.config();
    let seed = |trial: &Trial| trial.training.config().seed;
    let mut exact = of(done, Subject::of(config), Method::Backprop);
    let (_, exact) = exact.find(|(other, _)| seed(other) == config.seed)?;
    Some(exact.accuracy() - outcome.accuracy())
}

/// The level of each group, from the runs that have a drift and a backprop to compare with.
pub fn levels(done: &Done<'_>, allowed: f64) -> Vec<(Group, Level)> {
    let subjects = Subject::all(done);
    let of_group = |group| {
        let evidence =
            done.iter().filter(|(trial, _)| Group::of(trial.method) == Some(group)).filter_map(|(trial, outcome)| {
                let net = subjects.iter().position(|subject| *subject == Subject::of(trial.training.config()))?;
                Some(Evidence { net, drift: outcome.largest_drift()?, lost: lost(done, trial, outcome)? })
            });
        evidence.collect::<Vec<_>>()
    };
    let levels = Group::ALL.into_iter().map(|group| (group, of_group(group))).filter(|(_, runs)| !runs.is_empty());
    levels.map(|(group, runs)| (group, Level::of(&runs, allowed))).collect()
}

/// Of the group's runs that diverged, the steps between reaching the level and the end: none at all where it was not reached.
fn leads(done: &Done<'_>, group: Group, level: f64) -> Vec<u64> {
    let diverged = done
        .iter()
        .filter(|(trial, outcome)| Group::of(trial.method) == Some(group) && outcome.trained.diverged.is_some());
    let lead = |(_, outcome): &(&Trial, Outcome)| {
        let end = outcome.drifts.len() as u64 * WINDOW;
        outcome.passed(level).map_or(0, |step| end - step)
    };
    let mut leads: Vec<u64> = diverged.map(lead).collect();
    leads.sort_unstable();
    leads
}

/// The level for a way to the gradient.
pub fn level_for(levels: &[(Group, Level)], method: Method) -> Option<f64> {
    levels.iter().find(|(group, _)| Some(*group) == Group::of(method)).and_then(|(_, level)| level.level)
}

/// Standard deviation of backprop's accuracy over seeds, all nets together: what a run may lose by chance. None below two seeds.
fn noise(done: &Done<'_>) -> Option<f64> {
    let (mut squares, mut free) = (0.0, 0usize);
    for subject in Subject::all(done) {
        let values: Vec<f64> = of(done, subject, Method::Backprop).map(|(_, outcome)| outcome.accuracy()).collect();
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        squares += values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        free += values.len().saturating_sub(1);
    }
    (free > 0).then(|| (squares / free as f64).sqrt())
}

/// A table a net, a row a way to the gradient; then the levels.
pub fn text(done: &Done<'_>, allowed: f64) -> String {
    let mut text = String::new();
    let levels = levels(done, allowed);
    for subject in Subject::all(done) {
        // writing to a string cannot fail
        let _ = write!(
            text,
            "\n{subject}\n{:>14}  {:>28}  {:>8}  {:>9}  {:>13}  {:>14}  {:>10}",
            "", "test accuracy, %", "diverged", "lost, pts", "largest drift", "gradient error", "level at"
        );
        for method in METHODS {
            let runs: Vec<_> = of(done, subject, method).collect();
            let Some(accuracy) = Spread::of(runs.iter().map(|(_, outcome)| outcome.accuracy())) else { continue };
            let Spread { seeds, mean, low, high } = accuracy;
            let diverged = runs.iter().filter(|(_, outcome)| outcome.trained.diverged.is_some()).count();
            let mean_of = |values: &mut dyn Iterator<Item = f64>| Spread::of(values).map(|spread| spread.mean);
            let lost = mean_of(&mut runs.iter().filter_map(|(trial, outcome)| lost(done, trial, outcome)));
            let drift = mean_of(&mut runs.iter().filter_map(|(_, outcome)| outcome.largest_drift()));
            let error = mean_of(&mut runs.iter().filter_map(|(_, outcome)| Some(outcome.probes.last()?.error)));
            let level = level_for(&levels, method);
            let passed = level.map(|level| runs.iter().filter_map(|(_, outcome)| outcome.passed(level)).min());
            let _ = write!(
                text,
                "\n{:>14}  {:>28}  {:>8}  {:>9}  {:>13}  {:>14}  {:>10}",
                method.to_string(),
                format!("{mean:.2} [{low:.2}, {high:.2}] ({seeds})"),
                diverged,
                lost.filter(|_| method.reconstructs()).map_or("-".into(), |lost| format!("{lost:.2}")),
                drift.map_or("-".into(), |drift| format!("{drift:.1e}")),
                error.map_or("-".into(), |error| format!("{error:.1e}")),
                passed.flatten().map_or("-".into(), |step| format!("step {step}")),
            );
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "\nmean over seeds [quartiles] of as many runs as in brackets; a diverged run counts as guessing; largest drift: mean over {WINDOW} \
         steps; gradient error: |g - g*| / |g*| at the weights of the last epoch that was finished; level at: the first step of \
         any seed at which the drift reached the level below"
    );
    let noise =
        noise(done).map_or(String::new(), |sd| format!("; backprop's accuracy varies by {sd:.1} from seed to seed"));
    let _ = writeln!(
        text,
        "\nlevel: the smallest drift of a run that lost more than {allowed} points against backprop{noise}"
    );
    let _ = writeln!(
        text,
        "{:>28}  {:>8}  {:>9}  {:>11}  {:>15}  {:>24}  {:>9}  {:>22}",
        "",
        "level",
        "bad runs",
        "good below",
        "good not below",
        "each net left out: missed",
        "diverged",
        "steps ahead (median)"
    );
    for (group, of_group) in &levels {
        let Level { level, bad, good_below, good_above, missed_unseen, alarms_unseen } = of_group;
        let leads = level.map_or(Vec::new(), |level| leads(done, *group, level));
        let ahead = leads
            .get(leads.len() / 2)
            .map_or("-".into(), |median| format!("{} to {} ({median})", leads[0], leads[leads.len() - 1]));
        let diverged = leads.len();
        let level = level.map_or("-".into(), |level| format!("{level:.1e}"));
        let missed = format!("{missed_unseen}, alarms {alarms_unseen}");
        let _ = writeln!(
            text,
            "{:>28}  {level:>8}  {bad:>9}  {good_below:>11}  {good_above:>15}  {missed:>24}  {diverged:>9}  {ahead:>22}",
            group.name()
        );
    }
    text
}

/// The columns that say which run a line is of.
const KEYS: &str = "depth,scheme,step_size,init,mode,seed";

fn keys(trial: &Trial) -> String {
    let config = trial.training.config();
    let subject = Subject::of(config);
    let Subject { depth, scheme, step_size, .. } = subject;
    format!("{depth},{scheme},{step_size},{},{},{}", subject.init_name(), trial.method, config.seed)
}

fn or_empty<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
    value.map_or(String::new(), text)
}

/// A line a run; accuracies in per cent.
pub fn csv(done: &Done<'_>, allowed: f64) -> String {
    let levels = levels(done, allowed);
    let mut csv = format!(
        "{KEYS},test_accuracy,lost,diverged_epoch,diverged_step,largest_drift,level,first_step_at_level,gradient_error,cosine\n"
    );
    for (trial, outcome) in done {
        let number = |value: f64| format!("{value:?}");
        let level = level_for(&levels, trial.method);
        let diverged = outcome.trained.diverged.as_ref();
        let last = outcome.probes.last();
        let _ = writeln!(
            csv,
            "{},{:?},{},{},{},{},{},{},{},{}",
            keys(trial),
            outcome.accuracy(),
            or_empty(lost(done, trial, outcome), number),
            or_empty(diverged, |diverged| diverged.epoch.to_string()),
            or_empty(diverged, |diverged| diverged.step.to_string()),
            or_empty(outcome.largest_drift(), number),
            or_empty(level, number),
            or_empty(level.and_then(|level| outcome.passed(level)), |step| step.to_string()),
            or_empty(last.map(|probe| probe.error), number),
            or_empty(last.map(|probe| probe.cosine), number),
        );
    }
    csv
}

/// A line a run and window of steps.
pub fn drift_csv(done: &Done<'_>) -> String {
    let mut csv = format!("{KEYS},to_step,mean_drift\n");
    for (trial, outcome) in done {
        for (drift, window) in outcome.drifts.iter().zip(1..) {
            let _ = writeln!(csv, "{},{},{drift:?}", keys(trial), window * WINDOW);
        }
    }
    csv
}

/// A line a run and comparison of its gradient with backprop's.
pub fn probes_csv(done: &Done<'_>) -> String {
    let mut csv = format!("{KEYS},epochs,gradient_error,cosine,drift\n");
    for (trial, outcome) in done {
        for probe in &outcome.probes {
            let _ =
                writeln!(csv, "{},{},{:?},{:?},{:?}", keys(trial), probe.epoch, probe.error, probe.cosine, probe.drift);
        }
    }
    csv
}

pub fn summary(done: &Done<'_>, allowed: f64) -> Value {
    let levels = levels(done, allowed);
    let mut runs = Vec::new();
    for subject in Subject::all(done) {
        for method in METHODS {
            let of_method: Vec<_> = of(done, subject, method).collect();
            if of_method.is_empty() {
                continue;
            }
            let spread = |value: &dyn Fn(&Trial, &Outcome) -> Option<f64>| {
                Spread::of(of_method.iter().filter_map(|(trial, outcome)| value(trial, outcome)))
            };
            let level = level_for(&levels, method);
            let passed = of_method.iter().map(|(_, outcome)| level.and_then(|level| outcome.passed(level)));
            let diverged = of_method.iter().filter_map(|(_, outcome)| outcome.trained.diverged.as_ref());
            runs.push(json!({
                "net": subject,
                "mode": method,
                "test_accuracy": spread(&|_, outcome| Some(outcome.accuracy())),
                "lost_against_backprop_same_seed": spread(&|trial, outcome| lost(done, trial, outcome)),
                "largest_drift": spread(&|_, outcome| outcome.largest_drift()),
                "gradient_error": spread(&|_, outcome| Some(outcome.probes.last()?.error)),
                "first_step_at_level": passed.collect::<Vec<_>>(),
                "diverged": diverged.collect::<Vec<_>>(),
            }));
        }
    }
    let of_groups: Vec<Value> = levels
        .iter()
        .map(|(group, level)| {
            let leads = level.level.map_or(Vec::new(), |level| leads(done, *group, level));
            json!({ "modes": group.name(), "of": level, "steps_from_level_to_divergence": leads })
        })
        .collect();
    let config = done.first().map(|(trial, _)| trial.training.config());
    json!({
        "experiment": super::NAME,
        "data": done.first().map(|(trial, _)| trial.training.data()),
        "device": done.first().map(|(_, outcome)| &outcome.trained.device),
        "epochs": config.map(|config| config.epochs),
        "lr": config.map(|config| config.lr),
        "lr_drop": config.map(|config| &config.lr_drop),
        "batch": config.map(|config| config.batch),
        "channels": config.map(|config| config.channels),
        "unit": "accuracy in per cent of the test images after the last epoch, differences in points; a run that left the finite numbers counts as guessing",
        "rule": format!("level: the smallest drift, as a mean over {WINDOW} steps, of a run that lost more than {allowed} points against backprop with the same seed"),
        "backprop_standard_deviation_over_seeds": noise(done),
        "levels": of_groups,
        "runs": runs,
    })
}
