//! `curves.svg`: the rows of metrics.csv, drawn.
//!
//! Panels side by side: loss, accuracy and, where the mode reconstructs, drift on a logarithmic axis. The two
//! curves of a panel differ in their marks too.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use plotters::prelude::SeriesLabelPosition::{LowerRight, UpperRight};
use plotters::prelude::*;
use rewind::error::{Error, Result};

use super::atomic::write_atomically;
use super::progress::EpochRow;
use crate::chart::{BLUE, Curve, Drawn, GREEN, Panel, VERMILLION};

/// Width and height in pixels, shared by the panels.
const SIZE: (u32, u32) = (1000, 420);
/// Up to so many epochs each has its mark.
const MARKED_ROWS: usize = 40;

/// One curve of a panel; values that are not finite are left out.
fn curve(
    name: &str,
    colour: RGBColor,
    hollow: bool,
    history: &[EpochRow],
    value: impl Fn(&EpochRow) -> Option<f64>,
) -> Curve {
    let point = |row: &EpochRow| value(row).filter(|v| v.is_finite()).map(|v| (row.epoch as f64, v));
    let line: Vec<_> = history.iter().filter_map(point).collect();
    let marks = if line.len() <= MARKED_ROWS { line.clone() } else { Vec::new() };
    Curve { name: name.into(), colour, hollow, line, marks, band: Vec::new() }
}

/// Draws curves.svg anew from all rows. `title` names the run.
///
/// # Errors
/// [`Error::Io`]; the former file is then as it was.
pub fn write_curves(path: &Path, title: &str, history: &[EpochRow]) -> Result<()> {
    let svg = draw(title, history).map_err(|e| Error::io("draw", path)(io::Error::other(e)))?;
    write_atomically(path, |w| w.write_all(svg.as_bytes())).map(drop)
}

/// Draws the same as a PNG, for readers that show no SVG. It takes some megabytes of memory, and so is drawn when a run is over.
///
/// # Errors
/// As [`write_curves`].
#[cfg(feature = "raster")]
pub fn write_raster(path: &Path, title: &str, history: &[EpochRow]) -> Result<()> {
    let png = draw(title, history).and_then(|svg| crate::raster::png(&svg));
    let png = png.map_err(|e| Error::io("draw", path)(io::Error::other(e)))?;
    write_atomically(path, |w| w.write_all(&png)).map(drop)
}

fn draw(title: &str, history: &[EpochRow]) -> std::result::Result<String, String> {
    let mut svg = String::new();
    draw_panels(&mut svg, title, history).map_err(|e| e.to_string())?;
    Ok(svg)
}

fn draw_panels<'a>(svg: &'a mut String, title: &str, history: &[EpochRow]) -> Drawn<'a> {
    let curve = |name, colour, hollow, value: fn(&EpochRow) -> Option<f64>| curve(name, colour, hollow, history, value);
    let loss =
        [curve("train", BLUE, true, |r| Some(r.train_loss)), curve("test", VERMILLION, false, |r| Some(r.test_loss))];
    let accuracy = [
        curve("train", BLUE, true, |r| Some(100.0 * r.train_accuracy)),
        curve("test", VERMILLION, false, |r| Some(100.0 * r.test_accuracy)),
    ];
    // A logarithmic axis has no place for 0.
    let drift = [curve("drift", GREEN, false, |r| r.drift.filter(|&d| d > 0.0))];
    let panels = if drift[0].line.is_empty() { 2 } else { 3 };
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(title, ("sans-serif", 22))?;
    let areas = root.split_evenly((1, panels));
    let epochs = epoch_range(history);
    let panel = |caption, y_desc, y_label, legend| Panel {
        caption,
        x_desc: "epoch",
        x_label: &|epoch| if epoch.fract() == 0.0 { format!("{epoch}") } else { String::new() },
        y_desc,
        y_label,
        y_room: 64,
        legend,
    };
    let linear = |v: &f64| short(*v);
    panel("Loss", "mean cross-entropy", &linear, Some(UpperRight)).draw(
        &areas[0],
        &loss,
        epochs.clone(),
        linear_range(&loss),
    )?;
    panel("Accuracy", "% correct", &linear, Some(LowerRight)).draw(
        &areas[1],
        &accuracy,
        epochs.clone(),
        linear_range(&accuracy),
    )?;
    if let Some(area) = areas.get(2) {
        let range = logarithmic_range(&drift).log_scale();
        panel("Drift", "|x~_0 - x_0| / |x_0|", &|v| format!("{v:.0e}"), None).draw(area, &drift, epochs, range)?;
    }
    root.present()
}

/// From the first epoch to the last, with half an epoch's room where there is only one.
fn epoch_range(history: &[EpochRow]) -> Range<f64> {
    let first = history.first().map_or(1, |row| row.epoch) as f64;
    let last = history.last().map_or(1, |row| row.epoch) as f64;
    if last > first { first..last } else { first - 0.5..first + 0.5 }
}

/// The smallest and the largest value, if there is any.
fn extremes(curves: &[Curve]) -> Option<(f64, f64)> {
    let mut values = curves.iter().flat_map(|c| &c.line).map(|&(_, v)| v);
    let first = values.next()?;
    Some(values.fold((first, first), |(low, high), v| (low.min(v), high.max(v))))
}

/// The values with 5 % of room on both sides, though never below 0, where loss and accuracy end.
fn linear_range(curves: &[Curve]) -> Range<f64> {
    let (low, high) = extremes(curves).unwrap_or((0.0, 1.0));
    let room = if high > low { 0.05 * (high - low) } else { 0.1 * high.abs().max(1.0) };
    (low - room).max(low.min(0.0))..high + room
}

/// Whole powers of ten around the values.
fn logarithmic_range(curves: &[Curve]) -> Range<f64> {
    let (low, high) = extremes(curves).unwrap_or((1.0, 1.0));
    let (low, high) = (low.log10().floor(), high.log10().ceil());
    10_f64.powf(low)..10_f64.powf(if high > low { high } else { low + 1.0 })
}

/// Up to three decimals, without zeros at the end.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::tests::row;

    /// A well-formed drawing, and its texts.
    fn texts(history: &[EpochRow]) -> String {
        let svg = draw("cifar10 & friends, depth 8", history).unwrap();
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.contains("cifar10 &amp; friends, depth 8"), "{svg}");
        svg
    }

    #[test]
    fn drift_has_a_panel_where_there_is_one() {
        let rows: Vec<EpochRow> = (1..=90).map(row).collect();
        let svg = texts(&rows);
        for text in ["Loss", "Accuracy", "% correct", "Drift", "|x~_0 - x_0| / |x_0|", "epoch", "train", "test"] {
            assert!(svg.contains(text), "no {text} in {svg}");
        }
        let without: Vec<EpochRow> = rows.iter().map(|r| EpochRow { drift: None, ..*r }).collect();
        let svg = texts(&without);
        assert!(!svg.contains("Drift"), "{svg}");
    }

    #[test]
    fn one_row_none_and_odd_values_can_be_drawn() {
        texts(&[]);
        assert!(texts(&[row(1)]).contains("<circle"));
        let flat = EpochRow { train_loss: 0.0, test_loss: 0.0, drift: Some(0.0), ..row(1) };
        texts(&[flat]);
        let wild = EpochRow { train_loss: f64::NAN, test_loss: f64::INFINITY, drift: Some(f64::NAN), ..row(2) };
        texts(&[flat, wild, row(3)]);
        texts(&[EpochRow { drift: Some(1e-3), ..row(1) }, EpochRow { drift: Some(1e-3), ..row(2) }]);
    }

    #[test]
    #[cfg(feature = "raster")]
    fn a_png_of_both_is_twice_as_large() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves.png");
        write_raster(&path, "a", &[row(1), row(2)]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let decoder = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        assert_eq!((decoder.info().width, decoder.info().height), (2 * SIZE.0, 2 * SIZE.1));
    }

    #[test]
    fn the_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves.svg");
        std::fs::write(&path, "former").unwrap();
        write_curves(&path, "a", &[row(1)]).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("<svg "));
    }
}
