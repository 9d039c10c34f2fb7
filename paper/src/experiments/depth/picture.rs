//! Panels, a scheme a column: above the test error against depth, a curve a gradient mode; below how far each is from backprop.

use std::ops::Range;

use plotters::prelude::*;
use rewind::scheme::Scheme;
use rewind::sweep::BnStatistics;
use rewind_train::chart::{Area, Curve, Drawn, Panel, powers_around, powers_in};
use rewind_train::config::RunConfig;
use rewind_train::settings::LrDrop;

use super::axis::Axis;
use super::cell::{Done, Metric, Series};
use super::tables::{by_depth, gaps, series, statistics};
use crate::method::Method;
use crate::spread::Spread;
use crate::style;
use crate::training::Trained;
use crate::training::diverged::{as_guessing, of_diverged};

/// Width and height in pixels of a panel.
const PANEL: (u32, u32) = (560, 440);
/// Height of the titles.
const TITLES: u32 = 70;
/// Of a panel within its axes, and of a name.
const AXIS: f64 = 370.0;
const NAME: f64 = 20.0;

/// Room for the names of so many curves, as a share of what the curves take.
fn legend_room(curves: usize) -> f64 {
    // of more names than a panel holds some lie on the curves
    let share = ((curves + 1) as f64 * NAME / AXIS).min(0.75);
    share / (1.0 - share)
}

/// The main picture's SVG.
///
/// # Errors
/// What drawing reports.
pub fn draw(done: &Done<'_>, metric: Metric) -> Result<String, String> {
    let mut svg = String::new();
    by_scheme(&mut svg, done, metric).map_err(|error| error.to_string())?;
    Ok(svg)
}

/// The SVG of the two kinds of statistics; none if no run compares them.
pub fn draw_statistics(done: &Done<'_>, metric: Metric) -> Option<Result<String, String>> {
    let compared = statistics(done);
    let scheme = compared.first()?.0.scheme;
    let mut svg = String::new();
    let drawn = by_statistics(&mut svg, done, metric, scheme, &compared).map_err(|error| error.to_string());
    Some(drawn.map(|()| svg))
}

fn by_scheme<'a>(svg: &'a mut String, done: &Done<'_>, metric: Metric) -> Drawn<'a> {
    let all: Vec<Series> = series(done).into_iter().filter(|series| !series.aside).collect();
    let schemes: Vec<&[Series]> = all.chunk_by(|a, b| a.scheme == b.scheme).collect();
    let columns = schemes.len().max(1);
    let statistics = match all.iter().find(|series| series.mode.reconstructs()).map(|series| series.bn_stats) {
        Some(BnStatistics::Saved) => ", saved statistics",
        Some(BnStatistics::Batch) => ", statistics of the reconstructed batch",
        Some(BnStatistics::Hybrid) => ", statistics of the batch in the reverse step",
        None => "",
    };
    let title = format!("Test error against depth{statistics}");
    let root = canvas(svg, columns, 2, &title, &subtitle(done, metric))?;
    let areas = root.split_evenly((2, columns));
    let errors: Vec<Vec<Curve>> = schemes
        .iter()
        .map(|of_scheme| of_scheme.iter().map(|series| errors_of(done, *series, metric)).collect())
        .collect();
    let gaps: Vec<Vec<Curve>> = schemes
        .iter()
        .map(|of_scheme| {
            let inexact = of_scheme.iter().filter(|series| **series != series.exact());
            let curve = |series: &Series| curve(*series, 0, gaps(done, *series, series.exact(), metric));
            inexact.map(curve).filter(|curve| !curve.line.is_empty()).collect()
        })
        .collect();
    // a row's panels share their axis
    let most_names = errors.iter().map(Vec::len).max().unwrap_or(0);
    let error_range = Axis::Error.range(errors.iter().flatten(), legend_room(most_names));
    let gap_range = Axis::Gap.range(gaps.iter().flatten(), 0.0);
    for (column, of_scheme) in schemes.iter().enumerate() {
        let scheme = of_scheme[0].scheme;
        let epoch =
            if metric == Metric::Last { "last epoch; rings: best, chosen on test data" } else { metric.description() };
        let caption = format!("{}: {epoch}", scheme.tableau().net);
        let y = (Axis::Error, "test error, %", error_range.clone());
        panel(&areas[column], &caption, y, &errors[column], Some(SeriesLabelPosition::UpperRight))?;
        if !gaps[column].is_empty() {
            let caption = format!("{}: difference from backprop, same seed", scheme.tableau().net);
            let y = (Axis::Gap, "test error minus backprop's, points", gap_range.clone());
            panel(&areas[columns + column], &caption, y, &gaps[column], None)?;
        }
    }
    root.present()
}

fn by_statistics<'a>(
    svg: &'a mut String,
    done: &Done<'_>,
    metric: Metric,
    scheme: Scheme,
    compared: &[(Series, Series)],
) -> Drawn<'a> {
    let root = canvas(svg, 2, 1, "Statistics of the reverse step: saved or the batch's", &subtitle(done, metric))?;
    let areas = root.split_evenly((1, 2));
    let of_series = |series: Series, name: &str, hollow| {
        let name = format!("{}, {name}{}", series.mode, of_diverged(diverged(done, series)));
        Curve { name, hollow, ..curve(series, 0, by_depth(done, series, |trained| Some(metric.of(trained)))) }
    };
    let both = |(saved, batch): &(Series, Series)| {
        // the code of the paper takes each step back from the true next state, unless it is told otherwise
        let whose = match batch.mode {
            Method::Adjoint => " (the paper's text)",
            Method::AnchorsEach => " (the paper's code)",
            _ => "",
        };
        let name = format!("of the reconstructed batch{whose}");
        [of_series(*saved, "saved", false), of_series(*batch, &name, true)]
    };
    let errors: Vec<Curve> = compared.iter().flat_map(both).collect();
    let gap = |(saved, batch): &(Series, Series)| {
        let gaps = gaps(done, *saved, *batch, metric);
        Curve { name: saved.mode.to_string(), hollow: false, ..curve(*saved, 0, gaps) }
    };
    let gaps: Vec<Curve> = compared.iter().map(gap).collect();
    let y = (Axis::Error, "test error, %", Axis::Error.range(errors.iter(), legend_room(errors.len())));
    let caption = format!("{}: {}", scheme.tableau().net, metric.description());
    panel(&areas[0], &caption, y, &errors, Some(SeriesLabelPosition::UpperRight))?;
    let y = (Axis::Gap, "test error: saved minus batch, points", Axis::Gap.range(gaps.iter(), legend_room(gaps.len())));
    panel(&areas[1], "What saved ones cost, same seed", y, &gaps, Some(SeriesLabelPosition::UpperRight))?;
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

/// What all runs have in common.
fn subtitle(done: &Done<'_>, metric: Metric) -> String {
    let Some((run, _)) = done.first() else { return String::new() };
    let RunConfig { epochs, lr, lr_drop, batch, channels, .. } = run.cell.config();
    let seeds = done.iter().map(|(run, _)| run.cell.config().seed + 1).max().unwrap_or(0);
    let epoch = if metric == Metric::Best { "; best epoch, chosen on test data" } else { "" };
    let diverged = done.iter().any(|(_, trained)| trained.diverged.is_some());
    let guessing = as_guessing(diverged);
    format!(
        "{}, {} epochs, lr {lr} (drops after {}), batch {batch}, {channels} channels; mean over seeds ({seeds}), band: quartiles{epoch}{guessing}",
        run.cell.data().name,
        epochs.unwrap_or(0),
        LrDrop(lr_drop.clone().unwrap_or_default()),
    )
}

fn diverged(done: &Done<'_>, series: Series) -> usize {
    let of_series = done.iter().filter(|(run, _)| run.label == series);
    of_series.filter(|(_, Trained { diverged, .. })| diverged.is_some()).count()
}

/// The errors of a series; where the last epoch's are shown, the best one's are marked.
fn errors_of(done: &Done<'_>, series: Series, metric: Metric) -> Curve {
    let spreads = |metric: Metric| by_depth(done, series, |trained| Some(metric.of(trained)));
    let curve = curve(series, diverged(done, series), spreads(metric));
    match metric {
        Metric::Best => curve,
        Metric::Last => {
            let best = spreads(Metric::Best);
            Curve {
                hollow: true,
                marks: best.iter().map(|(depth, spread)| (*depth as f64, spread.mean)).collect(),
                ..curve
            }
        }
    }
}

fn curve(series: Series, diverged: usize, spreads: Vec<(usize, Spread)>) -> Curve {
    let name = match series.mode {
        Method::Adjoint => "adjoint, from x_N alone".into(),
        Method::AnchorsEach => "adjoint, each state from the true next".into(),
        Method::AnchorsSqrt => "adjoint, a true state every sqrt N".into(),
        Method::Coded1 => "coded, 1 bit".into(),
        Method::Coded2 => "coded, 2 bits".into(),
        Method::Coded4 => "coded, 4 bits".into(),
        Method::Coded8 => "coded, 8 bits".into(),
        Method::FixedPoint1 => "adjoint, 1 fixed-point pass".into(),
        Method::FixedPoint2 => "adjoint, 2 fixed-point passes".into(),
        Method::FixedPoint3 => "adjoint, 3 fixed-point passes".into(),
        Method::Backprop | Method::Checkpoint | Method::Corrected | Method::Auto => series.mode.to_string(),
    };
    let (colour, hollow) = (style::colour(series.mode), style::is_hollow(series.mode));
    let diverged = of_diverged(diverged);
    let line: Vec<_> = spreads.iter().map(|(depth, spread)| (*depth as f64, spread.mean)).collect();
    let band = spreads.iter().map(|(depth, spread)| (*depth as f64, spread.low, spread.high)).collect();
    Curve { name: format!("{name}{diverged}"), colour, hollow, marks: line.clone(), line, band }
}

fn panel<'a>(
    area: &Area<'a>,
    caption: &str,
    (axis, y_desc, range): (Axis, &str, Range<f64>),
    curves: &[Curve],
    legend: Option<SeriesLabelPosition>,
) -> Drawn<'a> {
    let depths = powers_around(curves.iter().flat_map(|curve| &curve.line).map(|point| point.0), 2.0);
    let x = depths.clone().log_scale().with_key_points(powers_in(&depths, 2.0));
    let ticks = axis.ticks(&range);
    let y = range.log_scale().with_key_points(ticks);
    let drawn: Vec<Curve> = curves.iter().map(|curve| axis.drawn(curve)).collect();
    Panel {
        caption,
        x_desc: "depth N (residual blocks)",
        x_label: &|depth| format!("{depth}"),
        y_desc,
        y_label: &|place| axis.label(*place),
        y_room: 64,
        legend,
    }
    .draw(&area.margin(0, 0, 0, 12), &drawn, x, y)
}
