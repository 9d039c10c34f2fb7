//! The cells as a picture: two panels on logarithmic axes, activations and the whole process, a curve a mode.

use plotters::prelude::*;
use rewind::memory::human;
use rewind_train::chart::{
    BLUE, Curve, Drawn, GREEN, ORANGE, PURPLE, Panel, SKY, VERMILLION, powers_around, powers_in,
};

use crate::cell::{Cell, METHODS};

/// Width and height in pixels, shared by the panels.
const SIZE: (u32, u32) = (1120, 520);
/// One per mode, in the order of [`METHODS`].
const COLOURS: [RGBColor; METHODS.len()] = [VERMILLION, ORANGE, PURPLE, SKY, BLUE, GREEN];
/// The vertical axis has a line every so many times.
const BYTES_STEP: f64 = 4.0;

/// The SVG.
pub fn draw(cells: &[Cell]) -> Result<String, String> {
    let mut svg = String::new();
    panels(&mut svg, cells).map_err(|error| error.to_string())?;
    Ok(svg)
}

fn panels<'a>(svg: &'a mut String, cells: &[Cell]) -> Drawn<'a> {
    let activations = curves(
        cells,
        |cell| cell.planned.activations(),
        |cell| cell.measured.as_ref().map(|measured| measured.ledger.activations()),
    );
    let process = curves(
        cells,
        |cell| cell.planned.total(),
        |cell| cell.measured.as_ref().and_then(|measured| measured.process_peak_bytes),
    );
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled("Memory of a training step against depth", ("sans-serif", 24))?;
    let root = root.titled(&subtitle(cells), ("sans-serif", 15))?;
    let areas = root.split_evenly((1, 2));
    let all = [&activations[..], &process[..]].concat();
    let points = all.iter().flat_map(|curve| curve.line.iter().chain(&curve.marks));
    let depths = powers_around(points.clone().map(|point| point.0), 2.0);
    let bytes = powers_around(points.map(|point| point.1), BYTES_STEP);
    let texts = [
        (
            "Activations: state, scratch, saved",
            "bytes (line: planned, dot: measured)",
            Some(SeriesLabelPosition::UpperLeft),
        ),
        ("Everything, parameters included", "bytes (line: planned, dot: whole process at its peak)", None),
    ];
    for ((area, curves), (caption, y_desc, legend)) in areas.iter().zip([&activations, &process]).zip(texts) {
        let (x_label, y_label) =
            (|depth: &f64| format!("{depth}"), |bytes: &f64| human(*bytes as u64).replace(".0", ""));
        let panel = Panel {
            caption,
            x_desc: "depth (residual blocks)",
            x_label: &x_label,
            y_desc,
            y_label: &y_label,
            y_room: 84,
            legend,
        };
        let x = depths.clone().log_scale().with_key_points(powers_in(&depths, 2.0));
        let y = bytes.clone().log_scale().with_key_points(powers_in(&bytes, BYTES_STEP));
        // the last depth's label is wider than the panel's own margin
        panel.draw(&area.margin(0, 0, 0, 12), curves, x, y)?;
    }
    root.present()
}

/// What all cells have in common.
fn subtitle(cells: &[Cell]) -> String {
    let Some(cell) = cells.first() else { return String::new() };
    let net = cell.spec.net();
    let map = net.stem_map();
    let (h, w, channels, batch) = (map.h(), map.w(), net.channels, net.batch);
    let net_name = cell.spec.scheme.tableau().net;
    format!(
        "{net_name}, {channels} channels, {h} x {w} maps, batch {batch}; {}; every dot is two real steps in a process of its own",
        cell.spec.device_name
    )
}

/// The modes' curves. Modes that are planned to take the same are one curve, since nobody could see the other.
fn curves(cells: &[Cell], planned: impl Fn(&Cell) -> u64, taken: impl Fn(&Cell) -> Option<u64>) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for (method, colour) in METHODS.into_iter().zip(COLOURS) {
        let of_mode = || cells.iter().filter(|cell| cell.spec.method == method);
        let point = |cell: &Cell, bytes: u64| (cell.spec.depth as f64, bytes as f64);
        let line: Vec<_> = of_mode().map(|cell| point(cell, planned(cell))).collect();
        let marks = of_mode().filter_map(|cell| Some(point(cell, taken(cell)?)));
        match curves.iter_mut().find(|curve| curve.line == line) {
            Some(same) => {
                same.name = format!("{}, {method}", same.name);
                same.marks.extend(marks);
            }
            None => {
                let (name, marks, band) = (method.to_string(), marks.collect(), Vec::new());
                curves.push(Curve { name, colour, hollow: false, marks, line, band });
            }
        }
    }
    curves
}
