//! Four panels, a scheme a row and an init a column: the gradient's error against depth, a curve a mode.

use plotters::prelude::*;
use rewind::chart::{BLUE, Curve, Drawn, GREEN, ORANGE, PURPLE, Panel, SKY, VERMILLION, powers_around, powers_in};
use rewind::init::Init;
use rewind::paper::gradient::Precision;
use rewind::paper::gradient::mode::Mode;
use rewind::scheme::Scheme;
use rewind::sweep::BnStatistics;

use super::tables::{Group, by_depth};
use super::{Done, Metric, init_name};

/// Width and height in pixels, shared by the panels.
const SIZE: (u32, u32) = (1120, 1000);
/// One a mode, in the order of [`Mode::ALL`].
const COLOURS: [RGBColor; Mode::ALL.len()] =
    [VERMILLION, ORANGE, PURPLE, GREEN, RGBColor(120, 120, 120), SKY, BLUE, BLACK];

/// The SVG.
pub fn draw(done: &Done<'_>, metric: Metric) -> Result<String, String> {
    let mut svg = String::new();
    panels(&mut svg, done, metric).map_err(|error| error.to_string())?;
    Ok(svg)
}

fn panels<'a>(svg: &'a mut String, done: &Done<'_>, metric: Metric) -> Drawn<'a> {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled("Error of the gradient against depth", ("sans-serif", 24))?;
    let root = root.titled(&subtitle(done), ("sans-serif", 15))?;
    let forms = [Scheme::Euler, Scheme::Heun].map(|scheme| [Init::Paper, Init::Smooth].map(|init| (scheme, init)));
    for ((scheme, init), area) in forms.into_iter().flatten().zip(root.split_evenly((2, 2))) {
        let curves = curves(done, scheme, init, metric);
        let points = curves.iter().flat_map(|curve| curve.line.iter().chain(&curve.marks));
        let depths = powers_around(points.clone().map(|point| point.0), 2.0);
        let values = powers_around(points.map(|point| point.1), 10.0);
        let first = scheme == Scheme::Euler && init == Init::Paper;
        let x = depths.clone().log_scale().with_key_points(powers_in(&depths, 2.0));
        let y = values.clone().log_scale().with_key_points(powers_in(&values, 10.0));
        Panel {
            caption: &format!("{scheme}, {} weights", init_name(init)),
            x_desc: "depth N (residual blocks)",
            x_label: &|depth| format!("{depth}"),
            y_desc: metric.formula(),
            y_label: &|value| format!("{value:.0e}"),
            y_room: 72,
            legend: first.then_some(SeriesLabelPosition::LowerLeft),
        }
        .draw(&area.margin(0, 0, 0, 12), &curves, x, y)?;
    }
    root.present()
}

/// What all cells have in common.
fn subtitle(done: &Done<'_>) -> String {
    let Some((spec, _)) = done.first() else { return String::new() };
    let seeds = done.iter().map(|(spec, _)| spec.seed + 1).max().unwrap_or(0);
    let data = spec.data.split(' ').next().unwrap_or_default();
    format!(
        "{data}, batch {}, {} channels, saved statistics; line and band: f32, mean and quartiles over seeds ({seeds}); rings: f64",
        spec.batch, spec.channels
    )
}

/// A curve a mode; errors of 0 have no logarithm and are left out.
fn curves(done: &Done<'_>, scheme: Scheme, init: Init, metric: Metric) -> Vec<Curve> {
    let of = |mode, precision| {
        let group = Group { scheme, init, bn_stats: BnStatistics::Saved, precision };
        let mut spreads = by_depth(done, group, mode, |errors| Some(metric.of(errors)));
        spreads.retain(|(_, spread)| spread.low > 0.0);
        spreads
    };
    let curve = |(mode, colour): (Mode, RGBColor)| {
        let (single, double) = (of(mode, Precision::F32), of(mode, Precision::F64));
        Curve {
            name: mode.to_string(),
            colour,
            hollow: true,
            line: single.iter().map(|(depth, spread)| (*depth as f64, spread.mean)).collect(),
            marks: double.iter().map(|(depth, spread)| (*depth as f64, spread.mean)).collect(),
            band: single.iter().map(|(depth, spread)| (*depth as f64, spread.low, spread.high)).collect(),
        }
    };
    Mode::ALL.into_iter().zip(COLOURS).map(curve).collect()
}
