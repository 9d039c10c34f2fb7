//! Four panels: weights against depth at some steps for two starts, the gaps between neighbours against depth, and the distance from the limit.

use plotters::prelude::*;
use rewind_train::chart::{
    Area, BLUE, Curve, Drawn, GREEN, ORANGE, PURPLE, Panel, SKY, VERMILLION, powers_around, powers_in,
};

use super::cell::Done;
use super::start::Start;
use super::tables::{Quantity, by_depth, pictured, slopes};
use crate::spread::Spread;

/// Width and height in pixels, shared by the panels.
const SIZE: (u32, u32) = (1120, 900);
/// Of the start, then in the order of time.
const SNAPSHOT_COLOURS: [RGBColor; 7] = [BLACK, SKY, BLUE, GREEN, ORANGE, VERMILLION, PURPLE];

/// The SVG.
///
/// # Errors
/// What drawing reports.
pub fn draw(done: &Done<'_>) -> Result<String, String> {
    let mut svg = String::new();
    panels(&mut svg, done).map_err(|error| error.to_string())?;
    Ok(svg)
}

fn panels<'a>(svg: &'a mut String, done: &Done<'_>) -> Drawn<'a> {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled("Deep linear nets x <- x + theta_n x / N under gradient flow", ("sans-serif", 24))?;
    let root = root.titled(&subtitle(done), ("sans-serif", 15))?;
    let areas = root.split_evenly((2, 2));
    weights(&areas[0], done, Start::Zero)?;
    weights(&areas[1], done, Start::Smooth)?;
    let roughness: Vec<Curve> = Start::ALL
        .into_iter()
        .zip([BLUE, GREEN, VERMILLION])
        .filter_map(|(start, colour)| over_depth(done, start, Quantity::Roughness, "", colour, start == Start::Rough))
        .collect();
    against_depth(
        &areas[2],
        "Gaps between neighbouring layers",
        "N max |theta_n+1 - theta_n|, largest of all steps",
        &roughness,
        SeriesLabelPosition::UpperLeft,
    )?;
    let limit: Vec<Curve> = [
        (Start::Zero, Quantity::Weights, "weights", BLUE, false),
        (Start::Zero, Quantity::States, "states", SKY, true),
        (Start::Smooth, Quantity::Weights, "weights", GREEN, false),
        (Start::Smooth, Quantity::States, "states", ORANGE, true),
    ]
    .into_iter()
    .filter_map(|(start, quantity, what, colour, hollow)| over_depth(done, start, quantity, what, colour, hollow))
    .collect();
    against_depth(
        &areas[3],
        "Distance from the limit ODE's solution",
        "Frobenius norm, largest of all layers and steps",
        &limit,
        SeriesLabelPosition::LowerLeft,
    )?;
    root.present()
}

/// What all cells have in common.
fn subtitle(done: &Done<'_>) -> String {
    let Some((spec, _)) = done.first() else { return String::new() };
    let seeds = by_depth(done, Start::Zero, Quantity::Roughness).iter().map(|(_, spread)| spread.seeds).max();
    format!(
        "{d} x {d} weights, target at distance {} from the identity, time step {}, to a loss of {:e}; over N: mean over seeds ({}), \
         band: quartiles",
        spec.distance,
        spec.time_step,
        spec.stop_loss,
        seeds.unwrap_or(0),
        d = spec.dim,
    )
}

/// A start's weights against depth, a curve a snapshot.
fn weights<'a>(area: &Area<'a>, done: &Done<'_>, start: Start) -> Drawn<'a> {
    let Some((spec, flow)) = pictured(done, start) else { return Ok(()) };
    // the start, and of the rest as many as there are colours, from the end
    let (first, rest) = flow.snapshots.split_at(1);
    let shown = first.iter().chain(&rest[rest.len().saturating_sub(SNAPSHOT_COLOURS.len() - 1)..]);
    let curves: Vec<Curve> = shown
        .zip(SNAPSHOT_COLOURS)
        .map(|(snapshot, colour)| {
            let points = snapshot.weights.iter().enumerate();
            Curve {
                name: format!("step {}, loss {:.1e}", snapshot.step, snapshot.loss),
                colour,
                hollow: false,
                line: points.map(|(n, weight)| (n as f64, *weight)).collect(),
                marks: Vec::new(),
                band: Vec::new(),
            }
        })
        .collect();
    let values = curves.iter().flat_map(|curve| &curve.line).map(|point| point.1);
    let (low, high) = values.fold((0.0f64, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
    // the names take the right part
    let (depth, room) = (spec.depth as f64, 0.05 * (high - low).max(1e-3));
    let caption = format!("Weights against depth: {start} start, N = {}, seed {}", spec.depth, spec.seed);
    Panel {
        caption: &caption,
        x_desc: "layer n",
        x_label: &|layer| if *layer <= depth { format!("{layer:.0}") } else { String::new() },
        y_desc: if spec.dim > 1 { "theta_n, row 1, column 2" } else { "theta_n" },
        y_label: &|weight| format!("{:.2}", weight + 0.0),
        y_room: 72,
        legend: Some(SeriesLabelPosition::UpperRight),
    }
    .draw(area, &curves, 0.0..1.75 * depth, low - room..high + room)
}

/// A start's quantity against depth; none where no cell has it, or where all are 0, which has no logarithm.
fn over_depth(
    done: &Done<'_>,
    start: Start,
    quantity: Quantity,
    what: &str,
    colour: RGBColor,
    hollow: bool,
) -> Option<Curve> {
    let spreads: Vec<(usize, Spread)> =
        by_depth(done, start, quantity).into_iter().filter(|(_, spread)| spread.low > 0.0).collect();
    let line: Vec<_> = spreads.iter().map(|(depth, spread)| (*depth as f64, spread.mean)).collect();
    let slope = slopes(done, start, quantity).map_or(String::new(), |slope| format!(", slope {:.2}", slope.mean));
    let what = if what.is_empty() { String::new() } else { format!(", {what}") };
    (!line.is_empty()).then(|| Curve {
        name: format!("{start} start{what}{slope}"),
        colour,
        hollow,
        marks: line.clone(),
        line,
        band: spreads.iter().map(|(depth, spread)| (*depth as f64, spread.low, spread.high)).collect(),
    })
}

/// A panel on logarithmic axes.
fn against_depth<'a>(
    area: &Area<'a>,
    caption: &str,
    y_desc: &str,
    curves: &[Curve],
    legend: SeriesLabelPosition,
) -> Drawn<'a> {
    let points = curves.iter().flat_map(|curve| &curve.line);
    let depths = powers_around(points.clone().map(|point| point.0), 2.0);
    let bands = curves.iter().flat_map(|curve| &curve.band).flat_map(|(_, low, high)| [*low, *high]);
    let values = powers_around(points.map(|point| point.1).chain(bands), 10.0);
    let x = depths.clone().log_scale().with_key_points(powers_in(&depths, 2.0));
    let y = values.clone().log_scale().with_key_points(powers_in(&values, 10.0));
    Panel {
        caption,
        x_desc: "depth N (layers)",
        x_label: &|depth| format!("{depth}"),
        y_desc,
        y_label: &|value| format!("{value:.0e}"),
        y_room: 72,
        legend: Some(legend),
    }
    .draw(&area.margin(0, 0, 0, 12), curves, x, y)
}
