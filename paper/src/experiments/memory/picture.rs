//! Panels, a scheme a column: activations, everything, and the time of a step by its blocks, each against depth, a curve a mode.

use std::ops::Range;

use plotters::prelude::*;
use rewind::memory::human;
use rewind_train::chart::{self, Curve, Drawn, Panel, powers_around, powers_in};

use super::rows::{Row, schemes};
use crate::method::Method;
use crate::spread::Spread;
use crate::style;

/// Width and height in pixels of a panel.
const PANEL: (u32, u32) = (600, 400);
/// Names in a row below the panels, and height of what they take.
const NAMES: usize = 5;
const LEGEND: u32 = 70;
/// Height of the titles.
const TITLES: u32 = 70;
/// The axes of bytes have a line every so many times.
const BYTES_STEP: f64 = 4.0;

/// The SVG.
///
/// # Errors
/// What drawing reports.
pub fn draw(rows: &[Row]) -> Result<String, String> {
    let mut svg = String::new();
    panels(&mut svg, rows).map_err(|error| error.to_string())?;
    Ok(svg)
}

fn panels<'a>(svg: &'a mut String, rows: &[Row]) -> Drawn<'a> {
    let schemes = schemes(rows);
    let columns = schemes.len().max(1);
    // the subtitle is as wide as two panels
    let size = (PANEL.0 * columns.max(2) as u32, TITLES + 3 * PANEL.1 + LEGEND);
    let root = SVGBackend::with_string(svg, size).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled("Memory and time of a training step against depth", ("sans-serif", 24))?;
    let root = root.titled(&subtitle(rows), ("sans-serif", 15))?;
    let (upper, lower) = root.split_vertically(3 * PANEL.1);
    let areas = upper.split_evenly((3, columns));
    let of_scheme = |scheme| rows.iter().filter(|row| row.spec.scheme == scheme).collect::<Vec<_>>();
    let by_scheme = |curves: &dyn Fn(&[&Row]) -> Vec<Curve>| -> Vec<Vec<Curve>> {
        schemes.iter().map(|scheme| curves(&of_scheme(*scheme))).collect()
    };
    let activations = by_scheme(&|rows| {
        let taken = |row: &Row| row.measured.first().map(|(_, measured)| measured.ledger.activations() as f64);
        planned(rows, |row| row.planned.activations(), taken)
    });
    let all = by_scheme(&|rows| planned(rows, |row| row.planned.total(), |row| Some(row.counted_bytes()?.mean)));
    let time = by_scheme(&|rows| timed(rows));
    let points = |curves: &[Vec<Curve>]| -> Vec<(f64, f64)> {
        let curves = curves.iter().flatten();
        curves.flat_map(|curve| curve.line.iter().chain(&curve.marks).copied()).collect()
    };
    let (bytes, times) = ([points(&activations), points(&all)].concat(), points(&time));
    let depths = powers_around(bytes.iter().map(|point| point.0), 2.0);
    let bytes = powers_around(bytes.iter().map(|point| point.1), BYTES_STEP);
    let bands = time.iter().flatten().flat_map(|curve| &curve.band).map(|(_, _, high)| *high);
    let longest = times.iter().map(|point| point.1).chain(bands).fold(0.0, f64::max);
    let timed_depths = powers_around(times.iter().map(|point| point.0), 2.0);
    let x_of = |depths: &Range<f64>| depths.clone().log_scale().with_key_points(powers_in(depths, 2.0));
    let x = || x_of(&depths);
    let y = || bytes.clone().log_scale().with_key_points(powers_in(&bytes, BYTES_STEP));
    for (column, scheme) in schemes.iter().enumerate() {
        let name = scheme.tableau().net;
        // the last depth's label is wider than the panel's own margin
        let area = |row: usize| areas[row * columns + column].margin(0, 0, 0, 12);
        let panel = |caption, y_desc, y_label, legend| Panel {
            caption,
            x_desc: "depth N (residual blocks)",
            x_label: &|depth| format!("{depth}"),
            y_desc,
            y_label,
            y_room: 84,
            legend,
        };
        let in_bytes = |bytes: &f64| human(*bytes as u64).replace(".0", "");
        let legend = Some(SeriesLabelPosition::UpperLeft);
        let caption = format!("{name}: activations (state, scratch, saved)");
        let y_desc = "bytes (line: planned, dot: measured)";
        panel(&caption, y_desc, &in_bytes, legend).draw(&area(0), &activations[column], x(), y())?;
        let caption = format!("{name}: everything, parameters included");
        let y_desc = "bytes (line: planned, dot: counted by the system)";
        panel(&caption, y_desc, &in_bytes, None).draw(&area(1), &all[column], x(), y())?;
        if longest > 0.0 {
            let caption = format!("{name}: time of a step over its depth");
            // ticks are sums of their distance, and off by a bit
            let milliseconds = |value: &f64| format!("{}", (1e3 * value).round() / 1e3);
            let range: Range<f64> = 0.0..1.05 * longest;
            panel(&caption, "milliseconds per step and block", &milliseconds, None).draw(
                &area(2),
                &time[column],
                x_of(&timed_depths),
                range,
            )?;
        }
    }
    // those of the times, none of which lies on another
    if let Some(of_scheme) = time.first() {
        chart::legend(&lower, of_scheme, NAMES)?;
    }
    root.present()
}

/// What all nets have in common.
fn subtitle(rows: &[Row]) -> String {
    let Some(Row { spec, .. }) = rows.first() else { return String::new() };
    let map = spec.net().stem_map();
    let seeds = rows.iter().map(|row| row.measured.len()).max().unwrap_or(0);
    let plural = if seeds == 1 { "" } else { "es" };
    format!(
        "{} channels, {} x {} maps, batch {}; {}; every dot is some real steps, in {seeds} process{plural} of its own; band: quartiles",
        spec.channels,
        map.h(),
        map.w(),
        spec.batch,
        spec.device_name
    )
}

fn methods(rows: &[&Row]) -> Vec<Method> {
    let mut methods = Vec::new();
    for row in rows {
        if !methods.contains(&row.spec.method) {
            methods.push(row.spec.method);
        }
    }
    methods
}

/// Bytes: a line as planned, and a mark where it was measured. Modes that are planned to take the same are one curve, since
/// nobody could see the other.
fn planned(rows: &[&Row], planned: impl Fn(&Row) -> u64, taken: impl Fn(&Row) -> Option<f64>) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for method in methods(rows) {
        let of_method = || rows.iter().filter(|row| row.spec.method == method);
        let line: Vec<_> = of_method().map(|row| (row.spec.depth as f64, planned(row) as f64)).collect();
        let marks = of_method().filter_map(|row| Some((row.spec.depth as f64, taken(row)?)));
        match curves.iter_mut().find(|curve| curve.line == line) {
            Some(same) => {
                same.name = format!("{}, {method}", same.name);
                same.marks.extend(marks);
            }
            None => curves.push(Curve {
                name: method.to_string(),
                colour: style::colour(method),
                hollow: false,
                marks: marks.collect(),
                line,
                band: Vec::new(),
            }),
        }
    }
    curves
}

/// Milliseconds of a step, over the number of blocks.
fn timed(rows: &[&Row]) -> Vec<Curve> {
    let curve = |method| {
        let spreads: Vec<(f64, Spread)> = rows
            .iter()
            .filter(|row| row.spec.method == method)
            .filter_map(|row| Some((row.spec.depth as f64, row.step_seconds()?)))
            .collect();
        let a_block = |depth: f64, seconds: f64| 1e3 * seconds / depth;
        let line: Vec<_> = spreads.iter().map(|(depth, spread)| (*depth, a_block(*depth, spread.mean))).collect();
        let band =
            |(depth, spread): &(f64, Spread)| (*depth, a_block(*depth, spread.low), a_block(*depth, spread.high));
        let band = spreads.iter().map(band).collect();
        Curve { name: method.to_string(), colour: style::colour(method), hollow: true, marks: line.clone(), line, band }
    };
    methods(rows).into_iter().map(curve).filter(|curve| !curve.line.is_empty()).collect()
}
