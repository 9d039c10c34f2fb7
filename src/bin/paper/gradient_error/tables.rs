//! The cells as text for people, as CSV and as a summary for programs.

use std::fmt::Write as _;

use rewind::init::Init;
use rewind::paper::gradient::errors::ModeErrors;
use rewind::paper::gradient::mode::Mode;
use rewind::paper::gradient::{GradientSpec, Precision};
use rewind::paper::slope::log_log_slope;
use rewind::paper::spread::Spread;
use rewind::scheme::Scheme;
use rewind::sweep::BnStatistics;
use serde_json::{Value, json};

use super::{Done, Metric, init_name};

/// What a curve is drawn over depth for: everything but depth, seed and mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    pub scheme: Scheme,
    pub init: Init,
    pub bn_stats: BnStatistics,
    pub precision: Precision,
}

impl Group {
    fn of(spec: &GradientSpec) -> Self {
        let GradientSpec { scheme, init, bn_stats, precision, .. } = *spec;
        Self { scheme, init, bn_stats, precision }
    }

    /// Those that have cells, in their order.
    fn all(done: &Done<'_>) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for (spec, _) in done {
            if !groups.contains(&Self::of(spec)) {
                groups.push(Self::of(spec));
            }
        }
        groups
    }
}

const fn statistics(bn_stats: BnStatistics) -> &'static str {
    match bn_stats {
        BnStatistics::Saved => "saved",
        BnStatistics::Batch => "batch",
    }
}

/// A mode's values over the seeds, by depth.
pub fn by_depth(
    done: &Done<'_>,
    group: Group,
    mode: Mode,
    value: impl Fn(&ModeErrors) -> Option<f64>,
) -> Vec<(usize, Spread)> {
    let of_group = || done.iter().filter(|(spec, _)| Group::of(spec) == group);
    let mut depths: Vec<usize> = of_group().map(|(spec, _)| spec.depth).collect();
    depths.sort_unstable();
    depths.dedup();
    let spread = |depth| {
        let of_depth = of_group().filter(|(spec, _)| spec.depth == depth);
        Spread::of(of_depth.flat_map(|(_, all)| all).filter(|errors| errors.mode == mode).filter_map(&value))
    };
    depths.into_iter().filter_map(|depth| Some((depth, spread(depth)?))).collect()
}

/// Of the means' logarithm over that of the depth.
fn slope(spreads: &[(usize, Spread)]) -> Option<f64> {
    log_log_slope(spreads.iter().map(|(depth, spread)| (*depth as f64, spread.mean)))
}

/// A table a group, a row a depth, a column a mode, means over seeds; below each the slopes, of error and of drift.
pub fn text(done: &Done<'_>, metric: Metric) -> String {
    let mut text = format!("\nerror: {}\n", metric.formula());
    for group in Group::all(done) {
        let Group { scheme, init, bn_stats, precision } = group;
        let columns = Mode::ALL.map(|mode| by_depth(done, group, mode, |errors| Some(metric.of(errors))));
        let drifts = Mode::ALL.map(|mode| by_depth(done, group, mode, |errors| errors.drift));
        let seeds = columns[0].iter().map(|(_, spread)| spread.seeds).max().unwrap_or(0);
        // writing to a string cannot fail
        let _ = write!(
            text,
            "\n{scheme}, {} weights, {} statistics, {}, mean over seeds ({seeds})\n{:>11}",
            init_name(init),
            statistics(bn_stats),
            precision.name(),
            "depth N"
        );
        for mode in Mode::ALL {
            let _ = write!(text, "  {mode:>12}");
        }
        for (row, (depth, _)) in columns[0].iter().enumerate() {
            let _ = write!(text, "\n{depth:>11}");
            for column in &columns {
                let _ = write!(text, "  {:>12.2e}", column[row].1.mean);
            }
        }
        for (name, columns) in [("slope", &columns), ("drift slope", &drifts)] {
            let _ = write!(text, "\n{name:>11}");
            for column in columns {
                let entry = slope(column).map_or("-".into(), |slope| format!("{slope:.2}"));
                let _ = write!(text, "  {entry:>12}");
            }
        }
        text.push('\n');
    }
    text
}

/// The columns that say which cell a line is of.
const KEYS: &str = "scheme,weights,bn_stats,precision,seed,batch,depth,mode";

fn keys(spec: &GradientSpec, mode: Mode) -> String {
    let GradientSpec { scheme, init, bn_stats, precision, seed, batch, depth, .. } = spec;
    let (init, statistics, precision) = (init_name(*init), statistics(*bn_stats), precision.name());
    format!("{scheme},{init},{statistics},{precision},{seed},{batch},{depth},{mode}")
}

/// A line a cell and mode.
pub fn csv(done: &Done<'_>) -> String {
    let mut csv = format!("{KEYS},error,cosine,squared,drift,anchor_drift\n");
    let or_empty = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:?}"));
    for (spec, all) in done {
        for errors in all {
            let ModeErrors { mode, error, cosine, squared, drift, anchor_drift, .. } = errors;
            let (drift, anchor_drift) = (or_empty(*drift), or_empty(*anchor_drift));
            let _ = writeln!(csv, "{},{error:?},{cosine:?},{squared:?},{drift},{anchor_drift}", keys(spec, *mode));
        }
    }
    csv
}

/// A line a cell, mode and block.
pub fn blocks_csv(done: &Done<'_>) -> String {
    let mut csv = format!("{KEYS},block,error\n");
    for (spec, all) in done {
        for errors in all {
            let keys = keys(spec, errors.mode);
            for (block, error) in errors.blocks.iter().enumerate() {
                let _ = writeln!(csv, "{keys},{block},{error:?}");
            }
        }
    }
    csv
}

pub fn summary(done: &Done<'_>) -> Value {
    let mut curves = Vec::new();
    for group in Group::all(done) {
        for mode in Mode::ALL {
            let measure = |value: fn(&ModeErrors) -> Option<f64>| {
                let spreads = by_depth(done, group, mode, value);
                let depths: Vec<_> =
                    spreads.iter().map(|(depth, spread)| json!({ "depth": depth, "spread": spread })).collect();
                json!({ "log_log_slope": slope(&spreads), "by_depth": depths })
            };
            curves.push(json!({
                "scheme": group.scheme,
                "weights": init_name(group.init),
                "bn_stats": group.bn_stats,
                "precision": group.precision,
                "mode": mode,
                "error": measure(|errors| Some(errors.error)),
                "cosine": measure(|errors| Some(errors.cosine)),
                "squared": measure(|errors| Some(errors.squared)),
                "drift": measure(|errors| errors.drift),
            }));
        }
    }
    let first = done.first().map(|(spec, _)| spec);
    json!({
        "experiment": super::NAME,
        "data": first.map(|spec| &spec.data),
        "batch": first.map(|spec| spec.batch),
        "channels": first.map(|spec| spec.channels),
        "cells": done.len(),
        "curves": curves,
    })
}
