//! Panels, a scheme a column: above the test error against depth, a curve a gradient mode; below how far each is from backprop.

use std::ops::Range;

use plotters::prelude::*;
use rewind::chart::{
    Area, BLUE, Curve, Drawn, GREEN, ORANGE, PURPLE, Panel, SKY, VERMILLION, powers_around, powers_in,
};
use rewind::config::RunConfig;
use rewind::paper::method::Method;
use rewind::paper::spread::Spread;
use rewind::paper::training::Trained;
use rewind::scheme::Scheme;
use rewind::settings::LrDrop;

use super::series::Series;
use super::tables::{by_depth, gaps, series, statistics};
use super::{Done, Metric};

/// Width and height in pixels of a panel.
const PANEL: (u32, u32) = (560, 440);
/// Height of the titles.
const TITLES: u32 = 70;

/// The main picture's SVG.
pub fn draw(done: &Done<'_>, metric: Metric) -> Result<String, String> {
    let mut svg = String::new();
    by_scheme(&mut svg, done, metric).map_err(|error| error.to_string())?;
    Ok(svg)
}

/// The SVG of the two kinds of statistics; none if no run compares them.
pub fn draw_statistics(done: &Done<'_>, metric: Metric) -> Option<Result<String, String>> {
    let (saved, batch) = statistics(done).first().copied()?;
    let mut svg = String::new();
    let drawn = by_statistics(&mut svg, done, metric, saved, batch).map_err(|error| error.to_string());
    Some(drawn.map(|()| svg))
}

fn by_scheme<'a>(svg: &'a mut String, done: &Done<'_>, metric: Metric) -> Drawn<'a> {
    let all: Vec<Series> = series(done).into_iter().filter(|series| !series.aside).collect();
    let schemes: Vec<&[Series]> = all.chunk_by(|a, b| a.scheme == b.scheme).collect();
    let columns = schemes.len().max(1);
    let root = canvas(svg, columns, 2, "Test error against depth", &subtitle(done, metric))?;
    let areas = root.split_evenly((2, columns));
    let errors: Vec<Vec<Curve>> = schemes
        .iter()
        .map(|of_scheme| {
            let curve = |series: &Series| {
                curve(*series, diverged(done, *series), by_depth(done, *series, |trained| Some(metric.of(trained))))
            };
            of_scheme.iter().map(curve).collect()
        })
        .collect();
    let gaps: Vec<Vec<Curve>> = schemes
        .iter()
        .map(|of_scheme| {
            let inexact = of_scheme.iter().filter(|series| **series != series.exact());
            let curve = |series: &Series| curve(*series, 0, gaps(done, *series, series.exact(), metric));
            inexact.map(curve).filter(|curve| !curve.line.is_empty()).collect()
        })
        .collect();
    let (error_range, gap_range) =
        (under_legend(range(errors.iter().flatten(), None)), range(gaps.iter().flatten(), Some(0.0)));
    for (column, of_scheme) in schemes.iter().enumerate() {
        let scheme = of_scheme[0].scheme;
        let caption = format!("{}: {}", net_name(scheme), metric.description());
        let y = ("test error, %", error_range.clone());
        panel(&areas[column], &caption, y, &errors[column], Some(SeriesLabelPosition::UpperRight))?;
        if !gaps[column].is_empty() {
            let caption = format!("{}: difference from backprop, same seed", net_name(scheme));
            let y = ("test error minus backprop's, points", gap_range.clone());
            panel(&areas[columns + column], &caption, y, &gaps[column], None)?;
        }
    }
    root.present()
}

fn by_statistics<'a>(svg: &'a mut String, done: &Done<'_>, metric: Metric, saved: Series, batch: Series) -> Drawn<'a> {
    let root = canvas(svg, 2, 1, "Statistics of the reverse step", &subtitle(done, metric))?;
    let areas = root.split_evenly((1, 2));
    let named = |series: Series, name: &str, colour, hollow| Curve {
        name: name.into(),
        colour,
        hollow,
        ..curve(series, 0, by_depth(done, series, |trained| Some(metric.of(trained))))
    };
    let errors = [
        named(saved, "saved by the forward pass", BLUE, false),
        named(batch, "of the reconstructed batch (the paper)", VERMILLION, true),
    ];
    let gap = [Curve { name: "batch minus saved".into(), ..curve(batch, 0, gaps(done, batch, saved, metric)) }];
    let caption = format!("{}, {}", net_name(saved.scheme), saved.mode);
    let y = ("test error, %", under_legend(range(errors.iter(), None)));
    panel(&areas[0], &caption, y, &errors, Some(SeriesLabelPosition::UpperRight))?;
    let y = ("test error: batch minus saved, points", range(gap.iter(), Some(0.0)));
    panel(&areas[1], "Difference, same seed", y, &gap, None)?;
    root.present()
}

fn canvas<'a>(
    svg: &'a mut String,
    columns: usize,
    rows: usize,
    title: &str,
    subtitle: &str,
) -> Result<Area<'a>, DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
    // the subtitle is as wide as two panels
    let size = (PANEL.0 * columns.max(2) as u32, TITLES + PANEL.1 * rows as u32);
    let root = SVGBackend::with_string(svg, size).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(title, ("sans-serif", 24))?;
    root.titled(subtitle, ("sans-serif", 15))
}

const fn net_name(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Euler => "ResNet (Euler)",
        Scheme::Heun => "HeunNet (Heun)",
    }
}

/// What all runs have in common.
fn subtitle(done: &Done<'_>, metric: Metric) -> String {
    let Some((run, _)) = done.first() else { return String::new() };
    let RunConfig { epochs, lr, lr_drop, batch, channels, .. } = run.training.config();
    let seeds = done.iter().map(|(run, _)| run.training.config().seed + 1).max().unwrap_or(0);
    let epoch = if metric == Metric::Best { "; best epoch, chosen on test data" } else { "" };
    format!(
        "{}, {} epochs, lr {lr} (drops after {}), batch {batch}, {channels} channels; mean over seeds ({seeds}), band: quartiles{epoch}",
        run.training.data().name,
        epochs.unwrap_or(0),
        LrDrop(lr_drop.clone()),
    )
}

fn diverged(done: &Done<'_>, series: Series) -> usize {
    let of_series = done.iter().filter(|(run, _)| run.series == series);
    of_series.filter(|(_, Trained { diverged, .. })| diverged.is_some()).count()
}

fn curve(series: Series, diverged: usize, spreads: Vec<(usize, Spread)>) -> Curve {
    let (colour, hollow, name) = match series.mode {
        Method::Backprop => (BLACK, false, "backprop"),
        Method::Checkpoint => (RGBColor(120, 120, 120), true, "checkpoint"),
        Method::Adjoint => (VERMILLION, false, "adjoint, from x_N alone"),
        Method::AnchorsEach => (ORANGE, true, "adjoint, each state from the true next (the paper's code)"),
        Method::AnchorsSqrt => (PURPLE, true, "adjoint, a true state every sqrt N"),
        Method::Corrected => (BLUE, true, "corrected"),
        Method::Light => (SKY, true, "light"),
        Method::FixedPoint1 => (GREEN, false, "adjoint, 1 fixed-point pass"),
        Method::FixedPoint2 => (GREEN, true, "adjoint, 2 fixed-point passes"),
        Method::FixedPoint3 => (SKY, false, "adjoint, 3 fixed-point passes"),
    };
    let diverged = if diverged > 0 { format!(", diverged runs: {diverged}, as guessing") } else { String::new() };
    let line: Vec<_> = spreads.iter().map(|(depth, spread)| (*depth as f64, spread.mean)).collect();
    let band = spreads.iter().map(|(depth, spread)| (*depth as f64, spread.low, spread.high)).collect();
    Curve { name: format!("{name}{diverged}"), colour, hollow, marks: line.clone(), line, band }
}

/// Values and bands with some room, and `held` among them.
fn range<'c>(curves: impl Iterator<Item = &'c Curve>, held: Option<f64>) -> Range<f64> {
    let values = curves.flat_map(|curve| {
        let bands = curve.band.iter().flat_map(|(_, low, high)| [*low, *high]);
        curve.line.iter().map(|point| point.1).chain(bands).collect::<Vec<f64>>()
    });
    let none = (f64::INFINITY, f64::NEG_INFINITY);
    let (low, high) = values.chain(held).fold(none, |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let room = (0.08 * (high - low)).max(0.1);
    low - room..high + room
}

/// With room above for the curves' names.
fn under_legend(range: Range<f64>) -> Range<f64> {
    let room = 0.4 * (range.end - range.start);
    range.start..range.end + room
}

fn panel<'a>(
    area: &Area<'a>,
    caption: &str,
    (y_desc, y): (&str, Range<f64>),
    curves: &[Curve],
    legend: Option<SeriesLabelPosition>,
) -> Drawn<'a> {
    let depths = powers_around(curves.iter().flat_map(|curve| &curve.line).map(|point| point.0), 2.0);
    let x = depths.clone().log_scale().with_key_points(powers_in(&depths, 2.0));
    Panel {
        caption,
        x_desc: "depth N (residual blocks)",
        x_label: &|depth| format!("{depth}"),
        y_desc,
        y_label: &|value| format!("{:.1}", value + 0.0),
        y_room: 64,
        legend,
    }
    .draw(&area.margin(0, 0, 0, 12), curves, x, y)
}
