//! What the drift tells: points of accuracy lost, and the gradient's error, against drift, of all runs.

use std::ops::Range;

use plotters::prelude::*;
use rewind_train::chart::{Curve, Drawn, Panel, powers_around, powers_in};

use super::super::cell::Done;
use super::super::evidence::{METHODS, levels, lost_by_epoch};
use super::{LEGEND, canvas, curve, legend};
use crate::method::Method;

/// Pixels of a panel.
const PANEL: (u32, u32) = (620, 520);
/// Drifts below, 0 among them, and above are drawn at the edge.
const DRIFTS: Range<f64> = 1e-5..10.0;
/// Errors above are drawn at the edge.
const MOST_ERROR: f64 = 100.0;

/// The SVG.
///
/// # Errors
/// What drawing reports.
pub fn draw(done: &Done<'_>, allowed: f64) -> Result<String, String> {
    let mut svg = String::new();
    panels(&mut svg, done, allowed).map_err(|error| error.to_string())?;
    Ok(svg)
}

fn panels<'a>(svg: &'a mut String, done: &Done<'_>, allowed: f64) -> Drawn<'a> {
    let least = DRIFTS.start;
    let note = format!(
        "a diverged run counts as guessing; drifts below {least:.0e} at the left edge; vertical lines: below them no run lost more than {allowed} points"
    );
    let root = canvas(svg, done, (2 * PANEL.0, PANEL.1), "What the drift tells of a training run", &note)?;
    let (panels, names) = root.split_horizontally(root.dim_in_pixel().0 - LEGEND);
    let areas = panels.split_evenly((1, 2));
    let methods: Vec<Method> = METHODS.into_iter().filter(|method| method.reconstructs()).collect();
    let at = |method: Method, values: &dyn Fn(usize) -> Vec<(f64, f64)>| {
        let runs = (0..done.len()).filter(|index| done[*index].0.method == method);
        Curve { marks: runs.flat_map(values).collect(), ..curve(method) }
    };

    let losses = |index: usize| {
        let (trial, outcome) = &done[index];
        lost_by_epoch(done, trial, outcome).into_iter().map(|(drift, lost)| (inside(drift), lost)).collect()
    };
    let mut curves: Vec<Curve> = methods.iter().map(|method| at(*method, &losses)).collect();
    curves.retain(|curve| !curve.marks.is_empty());
    let all = curves.iter().flat_map(|curve| &curve.marks).map(|point| point.1);
    let (low, high) = all.fold((-5.0f64, 2.0 * allowed), |(low, high), lost| (low.min(lost), high.max(lost)));
    let y = low - 2.0..high + 4.0;
    for (group, level) in levels(done, allowed) {
        let Some(drift) = level.level else { continue };
        let line = vec![(inside(drift), y.start), (inside(drift), y.end)];
        let name = format!("level of {}: {drift:.1e}", group.short_name());
        curves.push(Curve { name, line, hollow: false, marks: Vec::new(), ..curve(group.method()) });
    }
    curves.push(Curve {
        name: format!("{allowed} points, the most allowed"),
        colour: BLACK,
        line: vec![(DRIFTS.start, allowed), (DRIFTS.end, allowed)],
        ..curve(Method::Backprop)
    });
    Panel {
        caption: "Accuracy lost against backprop, same seed: a mark a run and epoch",
        x_desc: "largest drift up to the epoch's end, mean over 10 steps",
        x_label: &|drift| format!("{drift:.0e}"),
        y_desc: "test accuracy lost, points",
        y_label: &|lost| format!("{:.0}", lost + 0.0),
        y_room: 60,
        legend: None,
    }
    .draw(&areas[0], &curves, DRIFTS.log_scale().with_key_points(powers_in(&DRIFTS, 10.0)), y)?;
    legend(&names, &curves)?;

    let errors = |index: usize| {
        let probes = done[index].1.probes.iter().filter(|probe| probe.error > 0.0);
        probes.map(|probe| (inside(probe.drift), probe.error.min(MOST_ERROR))).collect()
    };
    let mut curves: Vec<Curve> = methods.iter().map(|method| at(*method, &errors)).collect();
    curves.retain(|curve| !curve.marks.is_empty());
    let errors = powers_around(curves.iter().flat_map(|curve| &curve.marks).map(|point| point.1), 10.0);
    Panel {
        caption: "Error of the gradient: a mark a run and epoch",
        x_desc: "drift on the same batch",
        x_label: &|drift| format!("{drift:.0e}"),
        y_desc: "|g - g*| / |g*|, all blocks",
        y_label: &|error| format!("{error:.0e}"),
        y_room: 72,
        legend: None,
    }
    .draw(
        &areas[1],
        &curves,
        DRIFTS.log_scale().with_key_points(powers_in(&DRIFTS, 10.0)),
        errors.clone().log_scale().with_key_points(powers_in(&errors, 10.0)),
    )?;
    root.present()
}

fn inside(drift: f64) -> f64 {
    drift.clamp(DRIFTS.start, DRIFTS.end)
}
