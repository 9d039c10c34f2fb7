//! The runs as text for people, as CSV and as a summary for programs.

use std::fmt::Write as _;

use rewind_train::config::RunConfig;
use rewind_train::progress::EpochRow;
use rewind_train::schedule::Schedule;
use rewind_train::settings::LrDrop;
use serde_json::{Value, json};

use super::cell::{Done, Fate, NAME, Run, Tuned};
use crate::spread::Spread;
use crate::table::{self, Number};
use crate::training::diverged::DIVERGED;

/// What became of the tied nets, in the order of the runs.
pub fn fates(done: &Done<'_>) -> Vec<Fate> {
    let mut fates = Vec::new();
    for (run, _) in done {
        if !fates.contains(&run.label) {
            fates.push(run.label);
        }
    }
    fates
}

pub fn of<'a>(done: &'a Done<'a>, fate: Fate) -> impl Iterator<Item = &'a (&'a Run, Tuned)> {
    done.iter().filter(move |(run, _)| run.label == fate)
}

/// Per cent of the test images, before and after.
fn before(tuned: &Tuned) -> Option<f64> {
    tuned.accuracy_before.map(|before| 100.0 * before)
}

fn after(tuned: &Tuned) -> f64 {
    100.0 * (1.0 - tuned.trained.test_error())
}

/// How many of a fate's runs diverged.
pub fn diverged(done: &Done<'_>, fate: Fate) -> usize {
    of(done, fate).filter(|(_, tuned)| tuned.trained.diverged.is_some()).count()
}

/// Points of test accuracy gained since before the first epoch, over the seeds, by epoch from 0. A run that diverged counts as
/// guessing from then on.
pub fn gains_by_epoch(done: &Done<'_>, fate: Fate) -> Vec<(usize, Spread)> {
    let at = |tuned: &Tuned, epoch: usize| match epoch.checked_sub(1).map(|row| tuned.trained.history.get(row)) {
        None => before(tuned).map(|_| 0.0),
        Some(Some(row)) => Some(100.0 * row.test_accuracy - before(tuned)?),
        Some(None) => tuned.trained.diverged.as_ref().and_then(|_| gain(tuned)),
    };
    let shown = |tuned: &Tuned| tuned.trained.history.len() + usize::from(tuned.trained.diverged.is_some());
    let most = of(done, fate).map(|(_, tuned)| shown(tuned)).max().unwrap_or(0);
    let spread = |epoch| Spread::of(of(done, fate).filter_map(|(_, tuned)| at(tuned, epoch)));
    (0..=most).filter_map(|epoch| Some((epoch, spread(epoch)?))).collect()
}

/// How a fate's runs were trained, in words.
fn recipe(config: &RunConfig) -> String {
    let RunConfig { epochs, lr, lr_schedule, lr_drop, .. } = config;
    let drops = match lr_schedule {
        Schedule::Step => format!("drops after {}", LrDrop(lr_drop.clone().unwrap_or_default())),
        Schedule::Cosine => "on a cosine".into(),
        other => format!("by {other}"),
    };
    format!("{} epochs, lr {lr} {drops}", epochs.unwrap_or(0))
}

fn shown(spread: Option<Spread>) -> String {
    spread.map_or("-".into(), |Spread { seeds, mean, low, high }| format!("{mean:.2} [{low:.2}, {high:.2}] ({seeds})"))
}

fn gain(tuned: &Tuned) -> Option<f64> {
    Some(after(tuned) - before(tuned)?)
}

pub fn text(done: &Done<'_>, about: &str) -> String {
    let mut text = format!("\nuntying: {about}\n");
    // writing to a string cannot fail
    let _ = write!(
        text,
        "{:>24}  {:>26}  {:>26}  {:>26}  {:>9}  recipe",
        "", "before, %", "after, %", "gain, points", "drift"
    );
    for fate in fates(done) {
        let spread =
            |value: fn(&Tuned) -> Option<f64>| Spread::of(of(done, fate).filter_map(|(_, tuned)| value(tuned)));
        let drift = spread(|tuned| tuned.trained.history.last()?.drift.filter(|drift| drift.is_finite()));
        let recipe = of(done, fate).next().map_or(String::new(), |(run, _)| recipe(run.cell.training.config()));
        let _ = write!(
            text,
            "\n{:>24}  {:>26}  {:>26}  {:>26}  {:>9}  {recipe}",
            fate.to_string(),
            shown(spread(before)),
            shown(spread(|tuned| Some(after(tuned)))),
            shown(spread(gain)),
            drift.map_or("-".into(), |drift| format!("{:.1e}", drift.mean)),
        );
    }
    let diverged = done.iter().filter(|(_, tuned)| tuned.trained.diverged.is_some()).count();
    let _ = writeln!(
        text,
        "\n\ntest accuracy, mean over seeds [quartiles] of as many runs as in brackets; diverged runs, which count as guessing: {diverged}"
    );
    text
}

/// A line per run and epoch, epoch 0 before the first; accuracies are fractions.
pub fn csv(done: &Done<'_>) -> String {
    let header = ["run", "seed", "epoch", "learning_rate", "train_loss", "test_loss", "test_accuracy", "drift"];
    let rows = done.iter().flat_map(|(run, tuned)| {
        let keys = || (run.label.to_string(), run.cell.training.config().seed);
        let before = tuned.accuracy_before.map(|before| (keys(), 0, [None, None, None, Some(Number(before)), None]));
        let epochs = tuned.trained.history.iter().map(move |row| {
            let EpochRow { epoch, learning_rate, train_loss, test_loss, test_accuracy, drift, .. } = *row;
            let numbers = [Some(learning_rate), Some(train_loss), Some(test_loss), Some(test_accuracy), drift];
            (keys(), epoch, numbers.map(|value| value.map(Number)))
        });
        before.into_iter().chain(epochs)
    });
    table::csv(&header, rows)
}

pub fn summary(done: &Done<'_>, about: &str) -> Value {
    let rows: Vec<Value> = fates(done)
        .into_iter()
        .map(|fate| {
            let spread =
                |value: fn(&Tuned) -> Option<f64>| Spread::of(of(done, fate).filter_map(|(_, tuned)| value(tuned)));
            json!({
                "run": fate.to_string(),
                "recipe": of(done, fate).next().map(|(run, _)| recipe(run.cell.training.config())),
                "test_accuracy_before": spread(before),
                "test_accuracy_after": spread(|tuned| Some(after(tuned))),
                "gain": spread(gain),
                "diverged": diverged(done, fate),
            })
        })
        .collect();
    let first = done.first();
    json!({
        "experiment": NAME,
        "about": about,
        "data": first.map(|(run, _)| run.cell.training.data()),
        "device": first.map(|(_, tuned)| &tuned.trained.device),
        "runs": done.len(),
        "unit": format!("per cent of the test images, differences in points; a run that {DIVERGED} counts as guessing"),
        "rows": rows,
    })
}
