//! `curves.svg`: the rows of metrics.csv, drawn.
//!
//! Panels side by side: loss, accuracy and, where the mode reconstructs, drift on a logarithmic axis. Colours are of the
//! Okabe-Ito palette, which colour-blind readers can tell apart, and the two curves of a panel differ in their marks too.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::SeriesLabelPosition::{LowerRight, UpperRight};
use plotters::prelude::*;

use super::atomic::write_atomically;
use super::progress::EpochRow;
use crate::error::{Error, Result};

const BLUE: RGBColor = RGBColor(0, 114, 178);
const VERMILLION: RGBColor = RGBColor(213, 94, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);
/// Width and height in pixels, shared by the panels.
const SIZE: (u32, u32) = (1000, 420);
/// Up to so many epochs each has its mark.
const MARKED_ROWS: usize = 40;

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn<'a> = std::result::Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// One curve of a panel; values that are not finite are left out.
struct Curve {
    name: &'static str,
    colour: RGBColor,
    hollow: bool,
    points: Vec<(f64, f64)>,
}

impl Curve {
    fn new(
        name: &'static str,
        colour: RGBColor,
        hollow: bool,
        history: &[EpochRow],
        value: impl Fn(&EpochRow) -> Option<f64>,
    ) -> Self {
        let point = |row: &EpochRow| value(row).filter(|v| v.is_finite()).map(|v| (row.epoch as f64, v));
        Self { name, colour, hollow, points: history.iter().filter_map(point).collect() }
    }
}

/// Draws curves.svg anew from all rows. `title` names the run.
///
/// # Errors
/// [`Error::Io`]; the former file is then as it was.
pub fn write_curves(path: &Path, title: &str, history: &[EpochRow]) -> Result<()> {
    let svg = draw(title, history).map_err(|e| Error::io("draw", path)(io::Error::other(e)))?;
    write_atomically(path, |w| w.write_all(svg.as_bytes()))
}

fn draw(title: &str, history: &[EpochRow]) -> std::result::Result<String, String> {
    let mut svg = String::new();
    draw_panels(&mut svg, title, history).map_err(|e| e.to_string())?;
    Ok(svg)
}

fn draw_panels<'a>(svg: &'a mut String, title: &str, history: &[EpochRow]) -> Drawn<'a> {
    let curve =
        |name, colour, hollow, value: fn(&EpochRow) -> Option<f64>| Curve::new(name, colour, hollow, history, value);
    let loss =
        [curve("train", BLUE, true, |r| Some(r.train_loss)), curve("test", VERMILLION, false, |r| Some(r.test_loss))];
    let accuracy = [
        curve("train", BLUE, true, |r| Some(100.0 * r.train_accuracy)),
        curve("test", VERMILLION, false, |r| Some(100.0 * r.test_accuracy)),
    ];
    // A logarithmic axis has no place for 0.
    let drift = [curve("drift", GREEN, false, |r| r.drift.filter(|&d| d > 0.0))];
    let panels = if drift[0].points.is_empty() { 2 } else { 3 };
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(title, ("sans-serif", 22))?;
    let areas = root.split_evenly((1, panels));
    let epochs = epoch_range(history);
    let linear = |v: &f64| short(*v);
    panel(&areas[0], ["Loss", "mean cross-entropy"], &loss, UpperRight, epochs.clone(), linear_range(&loss), &linear)?;
    panel(
        &areas[1],
        ["Accuracy", "% correct"],
        &accuracy,
        LowerRight,
        epochs.clone(),
        linear_range(&accuracy),
        &linear,
    )?;
    if let Some(area) = areas.get(2) {
        let range = logarithmic_range(&drift).log_scale();
        let texts = ["Drift", "|x~_0 - x_0| / |x_0|"];
        panel(area, texts, &drift, LowerRight, epochs, range, &|v| format!("{v:.0e}"))?;
    }
    root.present()
}

fn panel<'a, Y>(
    area: &Area<'a>,
    [caption, unit]: [&str; 2],
    curves: &[Curve],
    legend: SeriesLabelPosition,
    epochs: Range<f64>,
    values: Y,
    label: &dyn Fn(&f64) -> String,
) -> Drawn<'a>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .caption(caption, ("sans-serif", 18))
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(epochs, values)?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .y_desc(unit)
        .x_labels(8)
        .y_labels(8)
        .x_label_formatter(&|epoch| if epoch.fract() == 0.0 { format!("{epoch}") } else { String::new() })
        .y_label_formatter(label)
        .label_style(("sans-serif", 15))
        .bold_line_style(BLACK.mix(0.15))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for curve in curves {
        let style = ShapeStyle { color: curve.colour.to_rgba(), filled: !curve.hollow, stroke_width: 2 };
        let mark = move |at| Circle::new(at, 3, style);
        chart.draw_series(LineSeries::new(curve.points.iter().copied(), style))?.label(curve.name).legend(
            move |(x, y)| {
                let line = PathElement::new([(x, y), (x + 24, y)], style);
                EmptyElement::at((0, 0)) + line + Circle::new((x + 12, y), 3, style)
            },
        );
        if curve.points.len() <= MARKED_ROWS {
            chart.draw_series(curve.points.iter().copied().map(mark))?;
        }
    }
    if curves.len() > 1 {
        chart
            .configure_series_labels()
            .position(legend)
            .label_font(("sans-serif", 15))
            .legend_area_size(32)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .draw()?;
    }
    Ok(())
}

/// From the first epoch to the last, with half an epoch's room where there is only one.
fn epoch_range(history: &[EpochRow]) -> Range<f64> {
    let first = history.first().map_or(1, |row| row.epoch) as f64;
    let last = history.last().map_or(1, |row| row.epoch) as f64;
    if last > first { first..last } else { first - 0.5..first + 0.5 }
}

/// The smallest and the largest value, if there is any.
fn extremes(curves: &[Curve]) -> Option<(f64, f64)> {
    let mut values = curves.iter().flat_map(|c| &c.points).map(|&(_, v)| v);
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
    use crate::train::progress::tests::row;

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
    fn the_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves.svg");
        std::fs::write(&path, "former").unwrap();
        write_curves(&path, "a", &[row(1)]).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("<svg "));
    }
}
