//! The runs as text for people, as CSV and as a summary for programs.

use std::fmt::Write as _;

use rewind::scheme::Scheme;
use rewind_train::config::RunConfig;
use rewind_train::progress::EpochRow;
use serde::Serialize;
use serde_json::{Value, json};

use super::cell::{Done, Metric, NAME, Run, Series};
use crate::spread::Spread;
use crate::table::{self, Number};
use crate::training::Trained;
use crate::training::diverged::DIVERGED;

/// The series that have runs, in their order.
pub fn series(done: &Done<'_>) -> Vec<Series> {
    let mut all = Vec::new();
    for (run, _) in done {
        if !all.contains(&run.label) {
            all.push(run.label);
        }
    }
    // those of a scheme together, whatever the order of training
    all.sort_by_key(|series| (Scheme::NAMED.iter().position(|scheme| *scheme == series.scheme), series.aside));
    all
}

fn depths<'a>(runs: impl Iterator<Item = &'a (&'a Run, Trained)>) -> Vec<usize> {
    let mut depths: Vec<usize> = runs.map(|(run, _)| run.cell.config().depth).collect();
    depths.sort_unstable();
    depths.dedup();
    depths
}

/// A series' runs at a depth, one per seed.
fn at<'a>(done: &'a Done<'a>, series: Series, depth: usize) -> impl Iterator<Item = &'a (&'a Run, Trained)> {
    done.iter().filter(move |(run, _)| run.label == series && run.cell.config().depth == depth)
}

/// A value of a series over the seeds, by depth.
pub fn by_depth(done: &Done<'_>, series: Series, value: impl Fn(&Trained) -> Option<f64>) -> Vec<(usize, Spread)> {
    let of_series = done.iter().filter(|(run, _)| run.label == series);
    let spread = |depth| Spread::of(at(done, series, depth).filter_map(|(_, trained)| value(trained)));
    depths(of_series).into_iter().filter_map(|depth| Some((depth, spread(depth)?))).collect()
}

/// How much more of the test images a series gets wrong than another with the same seed, in points; only seeds that have both
/// runs count.
pub fn gaps(done: &Done<'_>, series: Series, other: Series, metric: Metric) -> Vec<(usize, Spread)> {
    let seed = |run: &Run| run.cell.config().seed;
    let gap = |depth, run: &Run, trained: &Trained| {
        let (_, other) = at(done, other, depth).find(|(other, _)| seed(other) == seed(run))?;
        Some(metric.of(trained) - metric.of(other))
    };
    let of_series = done.iter().filter(|(run, _)| run.label == series);
    let spread = |depth| Spread::of(at(done, series, depth).filter_map(|(run, trained)| gap(depth, run, trained)));
    depths(of_series).into_iter().filter_map(|depth| Some((depth, spread(depth)?))).collect()
}

fn diverged(done: &Done<'_>, series: Series, depth: usize) -> usize {
    at(done, series, depth).filter(|(_, trained)| trained.diverged.is_some()).count()
}

/// The mean drift of the last epoch's steps.
fn drift(trained: &Trained) -> Option<f64> {
    trained.history.last()?.drift.filter(|drift| drift.is_finite())
}

/// The series that compare two kinds of statistics, with saved ones and with those of the batch.
pub fn statistics(done: &Done<'_>) -> Vec<(Series, Series)> {
    let batch = series(done).into_iter().filter(|series| series.aside);
    batch.map(|batch| (batch.saved(), batch)).collect()
}

/// A table per scheme of errors, of gaps to backprop, and of the kinds of statistics: a row per depth, a column per series.
pub fn text(done: &Done<'_>, metric: Metric) -> String {
    let mut text = String::new();
    let all = series(done);
    let error = |trained: &Trained| Some(metric.of(trained));
    for of_scheme in all.chunk_by(|a, b| a.scheme == b.scheme) {
        let main: Vec<Series> = of_scheme.iter().copied().filter(|series| !series.aside).collect();
        let Some(first) = main.first() else { continue };
        // the last epoch's, and beside them those of the epoch that test data choose
        let both = [metric, Metric::Best];
        for metric in &both[..if metric == Metric::Best { 1 } else { 2 }] {
            let title = format!("{}: test error in %, {}", first.scheme, metric.description());
            over_depth(&mut text, done, &title, &main, |series| {
                by_depth(done, series, |trained| Some(metric.of(trained)))
            });
        }
        let inexact: Vec<Series> = main.iter().copied().filter(|series| *series != series.exact()).collect();
        if inexact.len() < main.len() && !inexact.is_empty() {
            let title = format!("{}: test error minus that of backprop with the same seed, in points", first.scheme);
            over_depth(&mut text, done, &title, &inexact, |series| gaps(done, series, series.exact(), metric));
        }
    }
    for (saved, batch) in statistics(done) {
        let title = format!("{}, {}: test error in %, by the statistics of the reverse step", saved.scheme, saved.mode);
        over_depth(&mut text, done, &title, &[saved, batch], |series| by_depth(done, series, error));
        let title = "what saved statistics cost: test error minus that with the batch's, same seed, in points";
        over_depth(&mut text, done, title, &[saved], |series| gaps(done, series, batch, metric));
    }
    // writing to a string cannot fail
    let _ = writeln!(text, "\nmean over seeds [quartiles] of as many runs as in brackets");
    let diverged = done.iter().filter(|(_, trained)| trained.diverged.is_some()).count();
    if diverged > 0 {
        let _ = writeln!(
            text,
            "*: of its runs so many {DIVERGED} ({diverged} of {} in all): they count as guessing",
            done.len()
        );
    }
    text
}

fn over_depth(
    text: &mut String,
    done: &Done<'_>,
    title: &str,
    columns: &[Series],
    values: impl Fn(Series) -> Vec<(usize, Spread)>,
) {
    let _ = write!(text, "\n{title}\n{:>7}", "depth N");
    for series in columns {
        let _ = write!(text, "  {:>28}", series.to_string());
    }
    let columns: Vec<_> = columns.iter().map(|series| (*series, values(*series))).collect();
    let mut rows: Vec<usize> = columns.iter().flat_map(|(_, column)| column.iter().map(|(depth, _)| *depth)).collect();
    rows.sort_unstable();
    rows.dedup();
    for row in rows {
        let _ = write!(text, "\n{row:>7}");
        for (series, column) in &columns {
            let entry = column.iter().find(|(depth, _)| *depth == row).map_or("-".into(), |(_, spread)| {
                let Spread { seeds, mean, low, high } = spread;
                let mark = match diverged(done, *series, row) {
                    0 => String::new(),
                    runs => format!(" {runs}*"),
                };
                format!("{mean:.2} [{low:.2}, {high:.2}] ({seeds}){mark}")
            });
            let _ = write!(text, "  {entry:>28}");
        }
    }
    text.push('\n');
}

/// The columns that say which run a line is of.
const KEYS: [&str; 9] = ["scheme", "mode", "bn_stats", "seed", "depth", "epochs", "lr", "batch", "channels"];

fn keys(run: &Run) -> impl Serialize + use<> {
    let Series { scheme, mode, bn_stats, .. } = run.label;
    let RunConfig { seed, depth, epochs, lr, batch, channels, .. } = *run.cell.config();
    let series = (scheme.to_string(), mode, bn_stats.name());
    (series, seed, depth, epochs.unwrap_or(0), Number(lr), batch, channels)
}

/// A line per run; errors are fractions of the test images.
pub fn csv(done: &Done<'_>) -> String {
    let columns = [
        "test_error_last",
        "test_error_best",
        "best_epoch",
        "train_loss",
        "train_accuracy",
        "test_loss",
        "drift",
        "diverged_epoch",
        "diverged_step",
    ];
    let row = |(run, trained): &(&Run, Trained)| {
        let (best, epoch) = trained.best_test_error();
        let last = trained.history.last();
        let of_last = |value: fn(&EpochRow) -> Option<f64>| last.and_then(value).map(Number);
        (
            keys(run),
            (Number(trained.test_error()), Number(best), epoch),
            of_last(|row| Some(row.train_loss)),
            of_last(|row| Some(row.train_accuracy)),
            of_last(|row| Some(row.test_loss)),
            of_last(|row| row.drift),
            [trained.diverged.as_ref().map(|at| at.epoch), trained.diverged.as_ref().map(|at| at.step)],
        )
    };
    table::csv(&[&KEYS[..], &columns].concat(), done.iter().map(row))
}

/// A line per run and epoch.
pub fn epochs_csv(done: &Done<'_>) -> String {
    let columns = ["epoch", "learning_rate", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "drift"];
    let row = |run: &Run, row: &EpochRow| {
        let EpochRow { epoch, learning_rate, train_loss, train_accuracy, test_loss, test_accuracy, drift, .. } = *row;
        let numbers = [learning_rate, train_loss, train_accuracy, test_loss, test_accuracy].map(Number);
        (keys(run), epoch, numbers, drift.map(Number))
    };
    let rows = done.iter().flat_map(|(run, trained)| trained.history.iter().map(|epoch| row(run, epoch)));
    table::csv(&[&KEYS[..], &columns].concat(), rows)
}

/// Everything in per cent of the test images and in points, over the seeds.
pub fn summary(done: &Done<'_>) -> Value {
    let list = |spreads: Vec<(usize, Spread)>| -> Vec<Value> {
        spreads.into_iter().map(|(depth, spread)| json!({ "depth": depth, "spread": spread })).collect()
    };
    let of_metric = |metric: Metric| move |trained: &Trained| Some(metric.of(trained));
    let mut curves = Vec::new();
    for series in series(done) {
        let diverged: Vec<Value> = by_depth(done, series, of_metric(Metric::Last))
            .into_iter()
            .map(|(depth, _)| json!({ "depth": depth, "runs": diverged(done, series, depth) }))
            .collect();
        let gap = |metric| (series != series.exact()).then(|| list(gaps(done, series, series.exact(), metric)));
        curves.push(json!({
            "series": series,
            "test_error_last_epoch": list(by_depth(done, series, of_metric(Metric::Last))),
            "test_error_best_epoch_chosen_on_test_data": list(by_depth(done, series, of_metric(Metric::Best))),
            "last_minus_backprop_same_seed": gap(Metric::Last),
            "best_minus_backprop_same_seed": gap(Metric::Best),
            "drift_last_epoch": list(by_depth(done, series, drift)),
            "diverged": diverged,
        }));
    }
    let compared: Vec<Value> = statistics(done)
        .into_iter()
        .map(|(saved, batch)| {
            let list = |metric| list(gaps(done, saved, batch, metric));
            let (last, best) = (list(Metric::Last), list(Metric::Best));
            json!({ "saved": saved, "batch": batch, "last_saved_minus_batch": last, "best_saved_minus_batch": best })
        })
        .collect();
    let first = done.first();
    let config = first.map(|(run, _)| run.cell.config());
    json!({
        "experiment": NAME,
        "data": first.map(|(run, _)| run.cell.data()),
        "device": first.map(|(_, trained)| &trained.device),
        "epochs": config.map(|config| config.epochs),
        "lr": config.map(|config| config.lr),
        "lr_drop": config.map(|config| &config.lr_drop),
        "batch": config.map(|config| config.batch),
        "channels": config.map(|config| config.channels),
        "runs": done.len(),
        "unit": format!("per cent of the test images; differences in points; a run that {DIVERGED} counts as guessing"),
        "curves": curves,
        "statistics": compared,
    })
}
