//! The runs as text for people, as CSV and as a summary for programs.

use std::fmt::Write as _;

use rewind_train::drift::WINDOW;
use serde::Serialize;
use serde_json::{Value, json};

use super::cell::{Done, NAME};
use super::cell::{Outcome, Trial};
use super::evidence::{Candidate, METHODS, candidates, level_for, levels, lost, noise, of};
use super::level::Level;
use super::probe::Probe;
use super::subject::Subject;
use crate::distance::MOST;
use crate::spread::Spread;
use crate::table::{self, Number};
use crate::training::diverged::DIVERGED;

/// A table per net, a row per way to the gradient; then the levels.
pub fn text(done: &Done<'_>, allowed: f64) -> String {
    let mut text = String::new();
    let levels = levels(done, allowed);
    for subject in Subject::all(done) {
        // writing to a string cannot fail
        let _ = write!(
            text,
            "\n{subject}\n{:>14}  {:>28}  {:>8}  {:>9}  {:>13}  {:>11}  {:>14}  {:>10}",
            "",
            "test accuracy, %",
            "diverged",
            "lost, pts",
            "largest drift",
            "local error",
            "gradient error",
            "level at"
        );
        for method in METHODS {
            let runs: Vec<_> = of(done, subject, method).collect();
            let Some(accuracy) = Spread::of(runs.iter().map(|(_, outcome)| outcome.accuracy())) else { continue };
            let Spread { seeds, mean, low, high } = accuracy;
            let diverged = runs.iter().filter(|(_, outcome)| outcome.trained.diverged.is_some()).count();
            let mean_of = |values: &mut dyn Iterator<Item = f64>| Spread::of(values).map(|spread| spread.mean);
            let lost = mean_of(&mut runs.iter().filter_map(|(trial, outcome)| lost(done, trial, outcome)));
            let drift = mean_of(&mut runs.iter().filter_map(|(_, outcome)| outcome.largest_drift()));
            let local = mean_of(&mut runs.iter().filter_map(|(_, outcome)| outcome.largest_local_error()));
            let error = mean_of(&mut runs.iter().filter_map(|(_, outcome)| Some(outcome.probes.last()?.error)));
            let level = level_for(&levels, method);
            let passed = level.map(|level| runs.iter().filter_map(|(_, outcome)| outcome.passed(level)).min());
            let _ = write!(
                text,
                "\n{:>14}  {:>28}  {:>8}  {:>9}  {:>13}  {:>11}  {:>14}  {:>10}",
                method.to_string(),
                format!("{mean:.2} [{low:.2}, {high:.2}] ({seeds})"),
                diverged,
                lost.filter(|_| method.reconstructs()).map_or("-".into(), |lost| format!("{lost:.2}")),
                drift.map_or("-".into(), |drift| format!("{drift:.1e}")),
                local.map_or("-".into(), |error| format!("{error:.1e}")),
                error.map_or("-".into(), |error| format!("{error:.1e}")),
                passed.flatten().map_or("-".into(), |step| format!("step {step}")),
            );
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "\nmean over seeds [quartiles] of as many runs as in brackets; a diverged run counts as guessing; largest drift: mean over {WINDOW} \
         steps, {MOST:.0e} if a sweep of them could not rebuild a block; local error: the largest of a block that was rebuilt in an epoch's last step; gradient error: |g - g*| / |g*| at the weights \
         of the last epoch that was finished (of the start, if none was); level at: the first step of any seed at which the drift reached the level below, \
         which auto and the coded modes have none of"
    );
    let noise =
        noise(done).map_or(String::new(), |sd| format!("; backprop's accuracy varies by {sd:.1} from seed to seed"));
    let _ = writeln!(
        text,
        "\nlevel: the smallest drift up to the end of an epoch after which a run had lost more than {allowed} points against backprop{noise}"
    );
    let _ = writeln!(
        text,
        "{:>28}  {:>8}  {:>9}  {:>11}  {:>15}  {:>26}",
        "", "level", "bad runs", "good below", "good not below", "each net left out: missed"
    );
    for (group, of_group) in &levels {
        let Level { level, bad, good_below, good_above, missed_unseen, alarms_unseen } = of_group;
        let level = level.map_or("-".into(), |level| format!("{level:.1e}"));
        let missed = format!("{missed_unseen}, alarms {alarms_unseen}");
        let _ = writeln!(
            text,
            "{:>28}  {level:>8}  {bad:>9}  {good_below:>11}  {good_above:>15}  {missed:>26}",
            group.name()
        );
    }
    let _ = writeln!(
        text,
        "\nwhat a warning at another drift would have told; ahead: steps before the divergence or the end of the first bad epoch"
    );
    for (group, _) in &levels {
        let _ = writeln!(
            text,
            "{:>28}  {:>8}  {:>16}  {:>16}  {:>12}",
            group.name(),
            "drift",
            "bad runs warned",
            "ahead (median)",
            "good warned"
        );
        for Candidate { level, bad_warned, bad, steps_ahead, good_warned, good } in candidates(done, *group, allowed) {
            let (bad, good) = (format!("{bad_warned} of {bad}"), format!("{good_warned} of {good}"));
            let ahead = steps_ahead.map_or("-".into(), |steps| steps.to_string());
            let _ = writeln!(text, "{:>28}  {level:>8}  {bad:>16}  {ahead:>16}  {good:>12}", "");
        }
    }
    text
}

/// The columns that say which run a line is of.
const KEYS: [&str; 6] = ["depth", "scheme", "step_size", "init", "mode", "seed"];

fn keys(trial: &Trial) -> impl Serialize + use<> {
    let config = trial.training.config();
    let subject = Subject::of(config);
    let Subject { depth, scheme, step_size, .. } = subject;
    (depth, scheme.to_string(), step_size.to_string(), subject.init_name(), trial.method, config.seed)
}

/// A line per run; accuracies in per cent.
pub fn csv(done: &Done<'_>, allowed: f64) -> String {
    let columns = [
        "test_accuracy",
        "lost",
        "diverged_epoch",
        "diverged_step",
        "largest_drift",
        "level",
        "first_step_at_level",
        "gradient_error",
        "cosine",
        "local_error",
    ];
    let levels = levels(done, allowed);
    let row = |(trial, outcome): &(&Trial, Outcome)| {
        let level = level_for(&levels, trial.method);
        let diverged = outcome.trained.diverged.as_ref();
        let last = outcome.probes.last();
        (
            keys(trial),
            Number(outcome.accuracy()),
            lost(done, trial, outcome).map(Number),
            [diverged.map(|diverged| diverged.epoch), diverged.map(|diverged| diverged.step)],
            [outcome.largest_drift(), level].map(|value| value.map(Number)),
            level.and_then(|level| outcome.passed(level)),
            [last.map(|probe| probe.error), last.map(|probe| probe.cosine), outcome.largest_local_error()]
                .map(|value| value.map(Number)),
        )
    };
    table::csv(&[&KEYS[..], &columns].concat(), done.iter().map(row))
}

/// A line per run and window of steps.
pub fn drift_csv(done: &Done<'_>) -> String {
    let rows = done.iter().flat_map(|(trial, outcome)| {
        let windows = outcome.drifts.iter().zip(1..);
        windows.map(|(drift, window)| (keys(trial), window * WINDOW, Number(*drift)))
    });
    table::csv(&[&KEYS[..], &["to_step", "mean_drift"]].concat(), rows)
}

/// A line per run and comparison of its gradient with backprop's.
pub fn probes_csv(done: &Done<'_>) -> String {
    let rows = done.iter().flat_map(|(trial, outcome)| {
        outcome.probes.iter().map(|probe| {
            let Probe { epoch, error, cosine, drift } = *probe;
            (keys(trial), epoch, [error, cosine, drift].map(Number))
        })
    });
    table::csv(&[&KEYS[..], &["epochs", "gradient_error", "cosine", "drift"]].concat(), rows)
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
                "largest_local_error": spread(&|_, outcome| outcome.largest_local_error()),
                "first_step_at_level": passed.collect::<Vec<_>>(),
                "diverged": diverged.collect::<Vec<_>>(),
            }));
        }
    }
    let of_groups: Vec<Value> = levels
        .iter()
        .map(|(group, level)| {
            json!({ "modes": group.name(), "of": level, "at_other_drifts": candidates(done, *group, allowed) })
        })
        .collect();
    let config = done.first().map(|(trial, _)| trial.training.config());
    json!({
        "experiment": NAME,
        "data": done.first().map(|(trial, _)| trial.training.data()),
        "device": done.first().map(|(_, outcome)| &outcome.trained.device),
        "epochs": config.map(|config| config.epochs),
        "lr": config.map(|config| config.lr),
        "lr_drop": config.map(|config| &config.lr_drop),
        "batch": config.map(|config| config.batch),
        "channels": config.map(|config| config.channels),
        "unit": format!("accuracy in per cent of the test images after the last epoch, differences in points; a run that {DIVERGED} counts as guessing"),
        "rule": format!("level: the smallest drift, as a mean over {WINDOW} steps, up to the end of an epoch after which a run had lost more than {allowed} points against backprop with the same seed"),
        "backprop_standard_deviation_over_seeds_at_one_epoch": noise(done),
        "levels": of_groups,
        "runs": runs,
    })
}
