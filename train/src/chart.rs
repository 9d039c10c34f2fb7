//! Panels of curves, drawn as SVG: what the picture of a training run and those of the benches share.
//!
//! Colours are of the Okabe-Ito palette, which colour-blind readers can tell apart.

use std::ops::Range;

use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

/// Okabe and Ito's blue.
pub const BLUE: RGBColor = RGBColor(0, 114, 178);
/// Their vermillion.
pub const VERMILLION: RGBColor = RGBColor(213, 94, 0);
/// Their bluish green.
pub const GREEN: RGBColor = RGBColor(0, 158, 115);
/// Their orange.
pub const ORANGE: RGBColor = RGBColor(230, 159, 0);
/// Their reddish purple.
pub const PURPLE: RGBColor = RGBColor(204, 121, 167);
/// Their sky blue.
pub const SKY: RGBColor = RGBColor(86, 180, 233);

/// A part of the drawing.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
/// How drawing ends.
pub type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// One curve of a panel.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Its name in the legend.
    pub name: String,
    /// Its colour.
    pub colour: RGBColor,
    /// Whether its marks are rings, for a second way to tell it from its neighbour.
    pub hollow: bool,
    /// The line's points, from left to right.
    pub line: Vec<(f64, f64)>,
    /// The points that have a mark, on the line or off it.
    pub marks: Vec<(f64, f64)>,
    /// How far the values behind the line spread: where, from, to. None where there is one value a point.
    pub band: Vec<(f64, f64, f64)>,
}

/// Whole powers of `base` around the values, for a logarithmic axis; around 1 where there is no value.
pub fn powers_around(values: impl Iterator<Item = f64> + Clone, base: f64) -> Range<f64> {
    // a hair's breadth for values that are whole powers
    let exponents = values.filter(|value| *value > 0.0 && value.is_finite()).map(|value| value.log(base));
    let low = (exponents.clone().fold(f64::INFINITY, f64::min) + 1e-9).floor();
    let high = (exponents.fold(f64::NEG_INFINITY, f64::max) - 1e-9).ceil();
    if low.is_finite() { base.powf(low)..base.powf(high.max(low + 1.0)) } else { 1.0..base }
}

/// The powers of `base` in a range of [`powers_around`].
pub fn powers_in(range: &Range<f64>, base: f64) -> Vec<f64> {
    let last = range.end * (1.0 + 1e-9);
    std::iter::successors(Some(range.start), |power| Some(power * base)).take_while(|power| *power <= last).collect()
}

/// The texts around a panel.
pub struct Panel<'a> {
    /// Above it.
    pub caption: &'a str,
    /// Along the horizontal axis.
    pub x_desc: &'a str,
    /// A horizontal value as text.
    pub x_label: &'a dyn Fn(&f64) -> String,
    /// Along the vertical axis.
    pub y_desc: &'a str,
    /// A vertical value as text.
    pub y_label: &'a dyn Fn(&f64) -> String,
    /// Pixels for those texts and what is along the axis.
    pub y_room: u32,
    /// Where the curves' names go, if they are shown.
    pub legend: Option<SeriesLabelPosition>,
}

impl Panel<'_> {
    /// Draws the panel over the ranges `x` and `y`.
    ///
    /// # Errors
    /// Whatever the drawing's backend reports.
    pub fn draw<'a, X, Y>(&self, area: &Area<'a>, curves: &[Curve], x: X, y: Y) -> Drawn<'a>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .caption(self.caption, ("sans-serif", 18))
            .x_label_area_size(44)
            .y_label_area_size(self.y_room)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_desc(self.x_desc)
            .y_desc(self.y_desc)
            .x_labels(8)
            .y_labels(8)
            .x_label_formatter(&self.x_label)
            .y_label_formatter(&self.y_label)
            .label_style(("sans-serif", 15))
            .bold_line_style(BLACK.mix(0.15))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for curve in curves.iter().filter(|curve| !curve.band.is_empty()) {
            let there = curve.band.iter().map(|(x, low, _)| (*x, *low));
            let back = curve.band.iter().rev().map(|(x, _, high)| (*x, *high));
            let outline: Vec<_> = there.chain(back).collect();
            chart.draw_series([Polygon::new(outline, curve.colour.mix(0.18))])?;
        }
        for curve in curves {
            let style = ShapeStyle { color: curve.colour.to_rgba(), filled: !curve.hollow, stroke_width: 2 };
            chart.draw_series(LineSeries::new(curve.line.iter().copied(), style))?.label(&curve.name).legend(
                move |(x, y)| {
                    let line = PathElement::new([(x, y), (x + 24, y)], style);
                    EmptyElement::at((0, 0)) + line + Circle::new((x + 12, y), 3, style)
                },
            );
            chart.draw_series(curve.marks.iter().map(|at| Circle::new(*at, 3, style)))?;
        }
        if let Some(position) = &self.legend {
            chart
                .configure_series_labels()
                .position(position.clone())
                .label_font(("sans-serif", 15))
                .legend_area_size(32)
                .background_style(WHITE.mix(0.85))
                .border_style(BLACK.mix(0.3))
                .draw()?;
        }
        Ok(())
    }
}

/// Names curves that several panels share, row by row in `columns` columns.
///
/// # Errors
/// Whatever the drawing's backend reports.
pub fn legend<'a>(area: &Area<'a>, curves: &[Curve], columns: usize) -> Drawn<'a> {
    const MARGIN: i32 = 24;
    const ROW: i32 = 24;
    let column_width = (area.dim_in_pixel().0 as i32 - 2 * MARGIN) / columns.max(1) as i32;
    for (n, curve) in curves.iter().enumerate() {
        let (x, y) = (MARGIN + (n % columns) as i32 * column_width, MARGIN / 2 + (n / columns) as i32 * ROW);
        let style = ShapeStyle { color: curve.colour.to_rgba(), filled: !curve.hollow, stroke_width: 2 };
        if !curve.line.is_empty() {
            area.draw(&PathElement::new([(x, y), (x + 32, y)], style))?;
        }
        if !curve.marks.is_empty() {
            area.draw(&Circle::new((x + 16, y), 3, style))?;
        }
        area.draw(&Text::new(curve.name.clone(), (x + 40, y - 8), ("sans-serif", 15)))?;
    }
    Ok(())
}
