//! The cells as text for people, as CSV and as a summary for programs.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::cell::{Done, Flow, FlowSpec, FromLimit, NAME};
use super::start::Start;
use crate::slope::log_log_slope;
use crate::spread::Spread;
use crate::table::{self, Number};

/// What is followed over depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// `N max_n |theta_{n+1} - theta_n|`, the largest over all steps.
    Roughness,
    /// From the limit's, the largest over layers and steps.
    Weights,
    /// As well.
    States,
}

impl Quantity {
    pub const ALL: [Self; 3] = [Self::Roughness, Self::Weights, Self::States];

    /// Its value, where the cell has one.
    pub fn of(self, flow: &Flow) -> Option<f64> {
        let limit = |value: fn(&FromLimit) -> f64| flow.limit.as_ref().map(value);
        match self {
            Self::Roughness => Some(flow.most_roughness),
            Self::Weights => limit(|from| from.weights),
            Self::States => limit(|from| from.states),
        }
    }

    const fn key(self) -> &'static str {
        match self {
            Self::Roughness => "roughness",
            Self::Weights => "weights_from_limit",
            Self::States => "states_from_limit",
        }
    }

    const fn heading(self) -> &'static str {
        match self {
            Self::Roughness => "N max |theta_n+1 - theta_n|",
            Self::Weights => "max |theta_n - limit|",
            Self::States => "max |x_n - limit|",
        }
    }
}

/// One start's values over the seeds, by depth. Only flows that reached the small loss count.
pub fn by_depth(done: &Done<'_>, start: Start, quantity: Quantity) -> Vec<(usize, Spread)> {
    let of_start = || done.iter().filter(|(spec, flow)| spec.start == start && flow.converged);
    let mut depths: Vec<usize> = of_start().map(|(spec, _)| spec.depth).collect();
    depths.sort_unstable();
    depths.dedup();
    let at = |depth| of_start().filter(move |(spec, _)| spec.depth == depth);
    let spread = |depth| Spread::of(at(depth).filter_map(|(_, flow)| quantity.of(flow)));
    depths.into_iter().filter_map(|depth| Some((depth, spread(depth)?))).collect()
}

/// The slopes of the logarithm over that of the depth, one per seed.
pub fn slopes(done: &Done<'_>, start: Start, quantity: Quantity) -> Option<Spread> {
    let of_start: Vec<_> = done.iter().filter(|(spec, flow)| spec.start == start && flow.converged).collect();
    let mut seeds: Vec<u64> = of_start.iter().map(|(spec, _)| spec.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let slope = |seed| {
        let of_seed = of_start.iter().filter(|(spec, _)| spec.seed == seed);
        log_log_slope(of_seed.filter_map(|(spec, flow)| Some((spec.depth as f64, quantity.of(flow)?))))
    };
    Spread::of(seeds.into_iter().filter_map(slope))
}

/// Cells whose flow did not reach the small loss.
fn unfinished<'a>(done: &'a Done<'_>) -> impl Iterator<Item = &'a (&'a FlowSpec, Flow)> {
    done.iter().filter(|(_, flow)| !flow.converged)
}

/// A table per start, a row per depth, means over seeds; below each the slopes.
pub fn text(done: &Done<'_>) -> String {
    let mut text = String::new();
    for start in Start::ALL {
        let columns = Quantity::ALL.map(|quantity| by_depth(done, start, quantity));
        let Some(seeds) = columns[0].iter().map(|(_, spread)| spread.seeds).max() else { continue };
        // writing to a string cannot fail
        let _ = write!(text, "\n{start} start, mean over seeds ({seeds})\n{:>8}", "depth N");
        for quantity in Quantity::ALL {
            let _ = write!(text, "  {:>27}", quantity.heading());
        }
        for (row, (depth, _)) in columns[0].iter().enumerate() {
            let _ = write!(text, "\n{depth:>8}");
            for column in &columns {
                let entry = column.get(row).map_or("-".into(), |(_, spread)| format!("{:.3e}", spread.mean));
                let _ = write!(text, "  {entry:>27}");
            }
        }
        let _ = write!(text, "\n{:>8}", "slope");
        for quantity in Quantity::ALL {
            let entry = slopes(done, start, quantity).map_or("-".into(), |slope| format!("{:.3}", slope.mean));
            let _ = write!(text, "  {entry:>27}");
        }
        text.push('\n');
    }
    let unfinished = unfinished(done).count();
    if unfinished > 0 {
        let _ = writeln!(text, "\nleft out: {unfinished} of {} flows, which did not reach the small loss", done.len());
    }
    text
}

/// A line per cell.
pub fn csv(done: &Done<'_>) -> String {
    let header = [
        "dim",
        "start",
        "seed",
        "depth",
        "distance",
        "time_step",
        "steps",
        "converged",
        "first_loss",
        "last_loss",
        "first_roughness",
        "last_roughness",
        "most_roughness",
        "weights_from_limit",
        "states_from_limit",
    ];
    let row = |(spec, flow): &(&FlowSpec, Flow)| {
        let FlowSpec { depth, dim, start, seed, distance, time_step, .. } = **spec;
        let Flow { first_loss, last_loss, first_roughness, last_roughness, most_roughness, .. } = *flow;
        let limit = |value: fn(&FromLimit) -> f64| flow.limit.as_ref().map(value).map(Number);
        (
            (dim, start.to_string(), seed, depth),
            [distance, time_step].map(Number),
            (flow.steps, flow.converged),
            [first_loss, last_loss, first_roughness, last_roughness, most_roughness].map(Number),
            [limit(|from| from.weights), limit(|from| from.states)],
        )
    };
    table::csv(&header, done.iter().map(row))
}

/// A line a layer of the snapshots that the picture shows some of.
pub fn weights_csv(done: &Done<'_>) -> String {
    let header = ["start", "seed", "depth", "step", "loss", "layer", "weight"];
    let shown = Start::ALL.into_iter().filter_map(|start| pictured(done, start));
    let snapshots = shown.flat_map(|(spec, flow)| flow.snapshots.iter().map(move |snapshot| (spec, snapshot)));
    let rows = snapshots.flat_map(|(spec, snapshot)| {
        let layers = snapshot.weights.iter().enumerate();
        layers.map(|(layer, weight)| {
            let flow = (spec.start.to_string(), spec.seed, spec.depth);
            (flow, snapshot.step, Number(snapshot.loss), layer, Number(*weight))
        })
    });
    table::csv(&header, rows)
}

/// The flow whose weights are shown, at the depth next to the paper's 100: of the seeds, the one that ends least smooth.
pub fn pictured<'a>(done: &'a Done<'_>, start: Start) -> Option<&'a (&'a FlowSpec, Flow)> {
    const DEPTH: usize = 128;
    let candidates = done.iter().filter(|(spec, _)| spec.start == start && spec.depth == DEPTH);
    candidates.max_by(|(_, a), (_, b)| a.last_roughness.total_cmp(&b.last_roughness))
}

pub fn summary(done: &Done<'_>) -> Value {
    let mut starts = Map::new();
    for start in Start::ALL {
        let mut quantities = Map::new();
        for quantity in Quantity::ALL {
            let depths: Vec<Value> = by_depth(done, start, quantity)
                .into_iter()
                .map(|(depth, spread)| json!({ "depth": depth, "spread": spread }))
                .collect();
            let slope = slopes(done, start, quantity);
            quantities.insert(quantity.key().into(), json!({ "log_log_slope": slope, "by_depth": depths }));
        }
        starts.insert(start.to_string(), quantities.into());
    }
    let left_out: Vec<_> = unfinished(done).map(|(spec, _)| spec).collect();
    let first = done.first().map(|(spec, _)| spec);
    json!({
        "experiment": NAME,
        "dim": first.map(|spec| spec.dim),
        "distance": first.map(|spec| spec.distance),
        "time_step": first.map(|spec| spec.time_step),
        "stop_loss": first.map(|spec| spec.stop_loss),
        "most_steps": first.map(|spec| spec.most_steps),
        "cells": done.len(),
        "left_out": left_out,
        "starts": starts,
    })
}
