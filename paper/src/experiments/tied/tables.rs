//! The runs as text for people, as CSV and as a summary for programs.

use std::fmt::Write as _;

use rewind::memory::{Category, human};
use rewind_train::progress::EpochRow;
use serde_json::{Value, json};

use super::cell::{Done, NAME, Run};
use crate::method::Method;
use crate::spread::Spread;
use crate::table::{self, Number};
use crate::training::Trained;
use crate::training::diverged::DIVERGED;

/// The ways to the gradient that have runs, in their order.
pub fn methods(done: &Done<'_>) -> Vec<Method> {
    let mut methods = Vec::new();
    for (run, _) in done {
        if !methods.contains(&run.label.method) {
            methods.push(run.label.method);
        }
    }
    methods
}

/// Test accuracy after the last epoch, in per cent; that of guessing if the run diverged.
pub fn accuracy(trained: &Trained) -> f64 {
    100.0 * (1.0 - trained.test_error())
}

fn of<'a>(done: &'a Done<'a>, method: Method) -> impl Iterator<Item = &'a (&'a Run, Trained)> {
    done.iter().filter(move |(run, _)| run.label.method == method)
}

/// A way's values over the seeds, by blocks per stage.
fn by_blocks(done: &Done<'_>, method: Method, value: impl Fn(&Run, &Trained) -> Option<f64>) -> Vec<(usize, Spread)> {
    let mut blocks: Vec<usize> = of(done, method).map(|(run, _)| run.label.blocks).collect();
    blocks.sort_unstable();
    blocks.dedup();
    let spread = |blocks| {
        let runs = of(done, method).filter(|(run, _)| run.label.blocks == blocks);
        Spread::of(runs.filter_map(|(run, trained)| value(run, trained)))
    };
    blocks.into_iter().filter_map(|blocks| Some((blocks, spread(blocks)?))).collect()
}

/// How many of a way's runs diverged.
pub fn diverged(done: &Done<'_>, method: Method) -> usize {
    of(done, method).filter(|(_, trained)| trained.diverged.is_some()).count()
}

/// Test accuracy, in per cent.
pub fn accuracies(done: &Done<'_>, method: Method) -> Vec<(usize, Spread)> {
    by_blocks(done, method, |_, trained| Some(accuracy(trained)))
}

/// How much more accurate a way is than backprop with the same seed, in points.
fn gains(done: &Done<'_>, method: Method) -> Vec<(usize, Spread)> {
    let seed = |run: &Run| run.cell.config().seed;
    by_blocks(done, method, |run, trained| {
        let mut exact = of(done, Method::Backprop).filter(|(exact, _)| exact.label.blocks == run.label.blocks);
        let (_, exact) = exact.find(|(exact, _)| seed(exact) == seed(run))?;
        Some(accuracy(trained) - accuracy(exact))
    })
}

fn drift(_: &Run, trained: &Trained) -> Option<f64> {
    trained.history.last()?.drift.filter(|drift| drift.is_finite())
}

pub fn text(done: &Done<'_>, about: &str) -> String {
    let mut text = format!("\ntied weights: {about}\n");
    for method in methods(done) {
        // writing to a string cannot fail
        let _ = write!(
            text,
            "\n{method}\n{:>14}  {:>28}  {:>28}  {:>10}  {:>8}  {:>11}  {:>12}",
            "blocks per stage",
            "test accuracy, %",
            "minus backprop, points",
            "drift",
            "diverged",
            "parameters",
            "activations"
        );
        let (gains, drifts) = (gains(done, method), by_blocks(done, method, drift));
        for (blocks, accuracy) in accuracies(done, method) {
            let of_blocks =
                |spreads: &[(usize, Spread)]| spreads.iter().find(|(of, _)| *of == blocks).map(|(_, spread)| *spread);
            let shown = |spread: Option<Spread>| {
                spread.map_or("-".into(), |Spread { seeds, mean, low, high }| {
                    format!("{mean:.2} [{low:.2}, {high:.2}] ({seeds})")
                })
            };
            let diverged = of(done, method)
                .filter(|(run, trained)| run.label.blocks == blocks && trained.diverged.is_some())
                .count();
            let planned =
                of(done, method).find(|(run, _)| run.label.blocks == blocks).map(|(run, _)| &run.label.planned);
            let _ = write!(
                text,
                "\n{blocks:>14}  {:>28}  {:>28}  {:>10}  {diverged:>8}  {:>11}  {:>12}",
                shown(Some(accuracy)),
                shown(of_blocks(&gains).filter(|_| method != Method::Backprop)),
                of_blocks(&drifts).map_or("-".into(), |drift| format!("{:.1e}", drift.mean)),
                planned.map_or(String::new(), |bytes| human(bytes.of(Category::Parameters))),
                planned.map_or(String::new(), |bytes| human(bytes.activations())),
            );
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "\nafter the last epoch; mean over seeds [quartiles] of as many runs as in brackets; a diverged run counts as guessing; \
         memory as planned on this device"
    );
    text
}

/// A line per run and epoch; accuracies are fractions.
pub fn csv(done: &Done<'_>) -> String {
    let header = [
        "blocks_a_stage",
        "mode",
        "seed",
        "epoch",
        "learning_rate",
        "train_loss",
        "test_loss",
        "test_accuracy",
        "drift",
        "diverged_in_epoch",
    ];
    let rows = done.iter().flat_map(|(run, trained)| {
        let diverged = trained.diverged.as_ref().map(|diverged| diverged.epoch);
        trained.history.iter().map(move |row| {
            let EpochRow { epoch, learning_rate, train_loss, test_loss, test_accuracy, drift, .. } = *row;
            let run = (run.label.blocks, run.label.method, run.cell.config().seed);
            let numbers = [learning_rate, train_loss, test_loss, test_accuracy].map(Number);
            (run, epoch, numbers, drift.map(Number), diverged)
        })
    });
    table::csv(&header, rows)
}

pub fn summary(done: &Done<'_>, about: &str) -> Value {
    let list = |spreads: Vec<(usize, Spread)>| -> Vec<Value> {
        spreads.into_iter().map(|(blocks, spread)| json!({ "blocks_a_stage": blocks, "spread": spread })).collect()
    };
    let curves: Vec<Value> = methods(done)
        .into_iter()
        .map(|method| {
            let planned: Vec<Value> = accuracies(done, method)
                .into_iter()
                .filter_map(|(blocks, _)| of(done, method).find(|(run, _)| run.label.blocks == blocks))
                .map(|(run, _)| {
                    let (parameters, activations) = (run.label.planned.of(Category::Parameters), run.label.planned.activations());
                    json!({ "blocks_a_stage": run.label.blocks, "parameter_bytes": parameters, "activation_bytes": activations })
                })
                .collect();
            json!({
                "mode": method,
                "test_accuracy_last_epoch": list(accuracies(done, method)),
                "minus_backprop_same_seed": list(gains(done, method)),
                "drift_last_epoch": list(by_blocks(done, method, drift)),
                "diverged_runs": diverged(done, method),
                "planned": planned,
            })
        })
        .collect();
    let first = done.first();
    json!({
        "experiment": NAME,
        "about": about,
        "data": first.map(|(run, _)| run.cell.data()),
        "device": first.map(|(_, trained)| &trained.device),
        "runs": done.len(),
        "unit": format!("per cent of the test images, differences in points; a run that {DIVERGED} counts as guessing"),
        "curves": curves,
    })
}
