//! A panel per net: the drift against the step, of the first seed.

use std::ops::Range;

use plotters::prelude::*;
use rewind_train::chart::{Curve, Drawn, Panel, powers_around, powers_in};
use rewind_train::drift::WINDOW;

use super::super::cell::Done;
use super::super::evidence::{Group, METHODS, level_for, levels, of};
use super::super::subject::Subject;
use super::{COLUMNS, LEGEND, canvas, curve, legend};
use crate::method::Method;

/// Pixels of a panel.
const PANEL: (u32, u32) = (430, 360);
/// Drifts below, 0 among them, and above are drawn at the edge.
const LEAST: f64 = 1e-6;
const MOST: f64 = 100.0;

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
    let subjects = Subject::all(done);
    let columns = subjects.len().clamp(1, COLUMNS);
    let rows = subjects.len().div_ceil(columns).max(1);
    let size = (PANEL.0 * columns.max(2) as u32, PANEL.1 * rows as u32);
    let note = format!(
        "first seed, means over {WINDOW} steps, those below {LEAST:.0e} (coded: rounding) at the lower edge; disc: the end of a run that diverged"
    );
    let root = canvas(svg, done, size, "Drift |x~_0 - x_0| / |x_0| while training", &note)?;
    let curves: Vec<(Subject, Vec<Curve>)> = subjects
        .into_iter()
        .map(|subject| (subject, METHODS.into_iter().filter_map(|method| of_method(done, subject, method)).collect()))
        .collect();
    let points = || curves.iter().flat_map(|(_, curves)| curves).flat_map(|curve| &curve.line);
    let steps = WINDOW as f64..points().map(|point| point.0).fold(10.0 * WINDOW as f64, f64::max);
    let drifts = powers_around(points().map(|point| point.1).collect::<Vec<_>>().into_iter(), 10.0);
    let levels = levels(done, allowed);
    let (panels, names) = root.split_horizontally(root.dim_in_pixel().0 - LEGEND);
    let mut named: Vec<Curve> = Vec::new();
    for ((subject, mut curves), area) in curves.into_iter().zip(panels.split_evenly((rows, columns))) {
        for group in Group::ALL {
            let Some(level) = level_for(&levels, group.method()) else { continue };
            let line = vec![(steps.start, level), (steps.end, level)];
            let name = format!("level of {}: {level:.1e}", group.short_name());
            curves.push(Curve { name, line, ..curve(group.method()) });
        }
        for curve in &curves {
            if named.iter().all(|other| other.name != curve.name) {
                named.push(Curve { marks: Vec::new(), ..curve.clone() });
            }
        }
        Panel {
            caption: &subject.to_string(),
            x_desc: "training step",
            x_label: &|step| format!("{step:.0}"),
            y_desc: "drift",
            y_label: &|drift| format!("{drift:.0e}"),
            y_room: 66,
            legend: None,
        }
        .draw(
            &area,
            &curves,
            steps.clone().log_scale().with_key_points(round_numbers(&steps)),
            drifts.clone().log_scale().with_key_points(powers_in(&drifts, 10.0)),
        )?;
    }
    legend(&names, &named)?;
    root.present()
}

/// 10, 20, 50, 100 and so on, as far as they lie in the range.
fn round_numbers(range: &Range<f64>) -> Vec<f64> {
    let all = powers_in(&(1.0..range.end), 10.0).into_iter().flat_map(|power| [1.0, 2.0, 5.0].map(|of| of * power));
    all.filter(|number| range.contains(number)).collect()
}

/// A net's first run in one way; none where nothing is reconstructed.
fn of_method(done: &Done<'_>, subject: Subject, method: Method) -> Option<Curve> {
    let (_, outcome) = of(done, subject, method).next()?;
    let drifts = outcome.drifts.iter().zip(1..);
    let line: Vec<_> = drifts.map(|(drift, window)| ((window * WINDOW) as f64, drift.clamp(LEAST, MOST))).collect();
    let end = outcome.trained.diverged.as_ref().and(line.last().copied());
    (!line.is_empty()).then(|| Curve { marks: end.into_iter().collect(), line, ..curve(method) })
}
