//! Test accuracy against the blocks of each stage, a curve a way to the gradient.

use plotters::prelude::*;
use rewind_train::chart::{Curve, Drawn, Panel, powers_around, powers_in};

use super::cell::Done;
use super::tables::{accuracies, diverged, methods};
use crate::method::Method;
use crate::style;
use crate::training::diverged::{as_guessing, of_diverged};

/// Width and height in pixels.
const SIZE: (u32, u32) = (820, 560);

/// The SVG.
///
/// # Errors
/// What drawing reports.
pub fn draw(done: &Done<'_>, about: &str) -> Result<String, String> {
    let mut svg = String::new();
    panel(&mut svg, done, about).map_err(|error| error.to_string())?;
    Ok(svg)
}

fn panel<'a>(svg: &'a mut String, done: &Done<'_>, about: &str) -> Drawn<'a> {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled("Tied weights: deeper with the same parameters", ("sans-serif", 24))?;
    let seeds = done.iter().map(|(run, _)| run.cell.config().seed + 1).max().unwrap_or(0);
    let root = root.titled(about, ("sans-serif", 14))?;
    let curves: Vec<Curve> = methods(done).into_iter().map(|method| curve(done, method)).collect();
    let bands = curves.iter().flat_map(|curve| &curve.band).flat_map(|(_, low, high)| [*low, *high]);
    let (low, high) = bands.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let (low, high) = if low <= high { (low, high) } else { (0.0, 100.0) };
    let room = (0.1 * (high - low)).max(0.5);
    let blocks = powers_around(curves.iter().flat_map(|curve| &curve.line).map(|point| point.0), 2.0);
    let guessing = as_guessing(done.iter().any(|(_, trained)| trained.diverged.is_some()));
    Panel {
        caption: &format!("mean over seeds ({seeds}), band: quartiles{guessing}"),
        x_desc: "residual blocks of each stage, one set of weights per stage",
        x_label: &|blocks| format!("{blocks}"),
        y_desc: "test accuracy after the last epoch, %",
        y_label: &|accuracy| format!("{accuracy:.1}"),
        y_room: 64,
        legend: Some(SeriesLabelPosition::UpperLeft),
    }
    .draw(
        &root,
        &curves,
        blocks.clone().log_scale().with_key_points(powers_in(&blocks, 2.0)),
        // the names take the upper part
        low - room..high + 4.0 * room,
    )?;
    root.present()
}

fn curve(done: &Done<'_>, method: Method) -> Curve {
    let (colour, hollow) = (style::colour(method), style::is_hollow(method));
    let spreads = accuracies(done, method);
    let line: Vec<_> = spreads.iter().map(|(blocks, spread)| (*blocks as f64, spread.mean)).collect();
    let band = spreads.iter().map(|(blocks, spread)| (*blocks as f64, spread.low, spread.high)).collect();
    let name = format!("{method}{}", of_diverged(diverged(done, method)));
    Curve { name, colour, hollow, marks: line.clone(), line, band }
}
