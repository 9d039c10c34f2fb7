//! The pictures: a scheme a row, a kind of weights a column, one legend below.

use plotters::prelude::*;
use rewind::scheme::Scheme;
use rewind::sweep::{BnStatistics, Masks};
use rewind_train::chart::{self, Curve, Drawn, Panel, powers_around, powers_in};
use rewind_train::settings::Sizes;

use super::arguments::Metric;
use super::cell::Done;
use super::cell::Precision;
use super::errors::ModeErrors;
use super::numbers::{Group, by_block, by_depth, most_of_coded, rounding};
use super::tables;
use super::weights::Weights;
use crate::method::Method;
use crate::spread::Spread;
use crate::style::{self, GREY};

/// Width and height of a panel in pixels.
const PANEL: (u32, u32) = (500, 460);
/// Height of the two lines above the panels, and of the legend below them.
const ABOVE: u32 = 66;
const LEGEND: u32 = 90;
/// Names in a row of the legend, where all modes are in two rows and what is no mode is below.
const ALL_MODES: usize = 4;
/// And where some have long names.
const LONG_NAMES: usize = 3;
/// What is drawn beside each other: of the codes the one that is the default.
const SHOWN: [Method; 8] = [
    Method::Adjoint,
    Method::AnchorsEach,
    Method::AnchorsSqrt,
    Method::Corrected,
    Method::Coded4,
    Method::FixedPoint1,
    Method::FixedPoint2,
    Method::FixedPoint3,
];

/// The error against depth.
///
/// # Errors
/// What drawing reports.
pub fn error(done: &Done<'_>, metric: Metric) -> Result<String, String> {
    let value = move |errors: &ModeErrors| Some(metric.of(errors));
    let panels = panels(done, |group| {
        let mut curves = over_depth(done, group, &SHOWN, &value);
        let floor = positive(rounding(done, group, value));
        curves.push(Curve {
            name: "rounding: backprop in f32 against backprop in f64; higher where it switches a ReLU".into(),
            colour: GREY,
            hollow: true,
            line: floor.iter().map(mean).collect(),
            marks: Vec::new(),
            band: floor.iter().map(quartiles).collect(),
        });
        (caption(group), curves)
    });
    let texts = Texts {
        title: "How far each mode's gradient is from backprop's",
        subtitle: subtitle(done, true),
        x_desc: "depth N (residual blocks)",
        y_desc: metric.formula(),
        columns: ALL_MODES,
    };
    draw(&panels, &texts, Horizontal::Depth)
}

/// The error of the modes that code, beside that of two that do not.
///
/// # Errors
/// What drawing reports.
pub fn coded(done: &Done<'_>, metric: Metric) -> Result<String, String> {
    let value = move |errors: &ModeErrors| Some(metric.of(errors));
    let modes = [&Method::CODED[..], &[Method::Adjoint, Method::Corrected]].concat();
    let panels = panels(done, |group| (caption(group), over_depth(done, group, &modes, &value)));
    let texts = Texts {
        title: "Codes of 1 to 8 bits: how far each mode's gradient is from backprop's",
        subtitle: subtitle(done, true),
        x_desc: "depth N (residual blocks)",
        y_desc: metric.formula(),
        columns: modes.len(),
    };
    draw(&panels, &texts, Horizontal::Depth)
}

/// What the signs of the ReLUs' inputs do to the error: lines with the forward pass's, rings with recomputed ones.
///
/// # Errors
/// What drawing reports.
pub fn signs(done: &Done<'_>, metric: Metric) -> Result<String, String> {
    const MODES: [Method; 4] = [Method::Adjoint, Method::Corrected, Method::Coded2, Method::Coded4];
    let value = move |errors: &ModeErrors| Some(metric.of(errors));
    let panels = panels(done, |group| {
        let of = |mode, masks| positive(by_depth(done, Group { masks, ..group }, mode, value));
        let curve = |mode| {
            let saved = of(mode, Masks::Saved);
            Curve {
                name: mode.to_string(),
                colour: style::colour(mode),
                hollow: true,
                line: saved.iter().map(mean).collect(),
                marks: of(mode, Masks::Recomputed).iter().map(mean).collect(),
                band: saved.iter().map(quartiles).collect(),
            }
        };
        (caption(group), MODES.map(curve).into())
    });
    let texts = Texts {
        title: "What the signs at ReLUs cost: lines with those of the forward pass, rings with recomputed ones",
        subtitle: subtitle(done, false),
        x_desc: "depth N (residual blocks)",
        y_desc: metric.formula(),
        columns: MODES.len(),
    };
    draw(&panels, &texts, Horizontal::Depth)
}

/// How far the gradient of the pass that codes alter is from the plain pass's.
///
/// # Errors
/// What drawing reports.
pub fn altered(done: &Done<'_>) -> Result<String, String> {
    let panels = panels(done, |group| {
        let mut curves = over_depth(done, group, &Method::CODED, &|errors| Some(errors.altered?.error));
        curves.extend(most(done, "from the altered pass's own exact gradient", &|errors| Some(errors.altered?.own)));
        (caption(group), curves)
    });
    let texts = Texts {
        title: "Codes that alter the forward pass: how far its gradient is from the plain pass's",
        subtitle: subtitle(done, true),
        x_desc: "depth N (residual blocks)",
        y_desc: Metric::Relative.formula(),
        columns: Method::CODED.len(),
    };
    draw(&panels, &texts, Horizontal::Depth)
}

/// A line of the legend that says what of the coded modes is not drawn, since it is 0 or rounding; none where nothing was
/// measured.
fn most(done: &Done<'_>, what: &str, value: &dyn Fn(&ModeErrors) -> Option<f64>) -> Option<Curve> {
    let of = |precision: Precision| {
        let most = most_of_coded(done, |spec| spec.precision == precision, value)?;
        Some(format!("{} in {}", tables::rounded(most), precision.name()))
    };
    let both: Vec<String> = [Precision::F32, Precision::F64].into_iter().filter_map(of).collect();
    (!both.is_empty()).then(|| Curve {
        name: format!("{what}: at most {}, not drawn", both.join(", ")),
        colour: BLACK,
        hollow: true,
        line: Vec::new(),
        marks: Vec::new(),
        band: Vec::new(),
    })
}

/// The drift against depth.
///
/// # Errors
/// What drawing reports.
pub fn drift(done: &Done<'_>) -> Result<String, String> {
    let panels = panels(done, |group| {
        let mut curves = over_depth(done, group, &Method::APPROXIMATE, &|errors| errors.drift);
        // corrected carries on from the very state that one more pass gives, so one curve would hide the other
        let (corrected, same) = (Method::Corrected.to_string(), Method::FixedPoint1.to_string());
        curves.retain(|curve| curve.name != same);
        for curve in curves.iter_mut().filter(|curve| curve.name == corrected) {
            curve.name = format!("{corrected}, and {same}: the same states");
        }
        curves.extend(most(done, "coded", &|errors| errors.drift));
        (caption(group), curves)
    });
    let texts = Texts {
        title: "Drift: how far the reconstructed x_0 is from the true one",
        subtitle: subtitle(done, true),
        x_desc: "depth N (residual blocks)",
        y_desc: "|x_0 reconstructed - x_0| / |x_0|",
        columns: LONG_NAMES,
    };
    draw(&panels, &texts, Horizontal::Depth)
}

/// The error of each block, at the deepest depth that all panels have.
///
/// # Errors
/// What drawing reports.
pub fn blocks(done: &Done<'_>) -> Result<String, String> {
    let deepest = |group: &Group| group.depths(done).last().copied();
    let shown = Group::all(done).into_iter().filter(|group| group.precision == Precision::F32);
    let depth = shown.filter_map(|group| deepest(&group)).min().unwrap_or(0);
    let panels = panels(done, |group| {
        let of = |mode, precision| positive(by_block(done, Group { precision, ..group }, mode, depth));
        let curve = |mode: Method| {
            let single = of(mode, Precision::F32);
            // rings in each block of many panels would hide the lines
            let double = if group.weights == Weights::Checkpoint { of(mode, Precision::F64) } else { Vec::new() };
            Curve {
                name: mode.to_string(),
                colour: style::colour(mode),
                hollow: true,
                line: single.iter().map(mean).collect(),
                marks: double.iter().map(mean).collect(),
                band: single.iter().map(quartiles).collect(),
            }
        };
        // one that the user names has a depth of its own, or several
        let caption = match group.weights {
            Weights::Checkpoint => caption(group),
            _ => format!("{}, N = {depth}", caption(group)),
        };
        (caption, SHOWN.map(curve).into())
    });
    let tied = done.first().is_some_and(|(spec, _)| spec.body.tied);
    let of_checkpoint = done.iter().any(|(spec, _)| spec.weights == Weights::Checkpoint);
    let texts = Texts {
        title: "How far each mode's gradient of one block is from backprop's",
        subtitle: subtitle(done, of_checkpoint),
        x_desc: if tied {
            "stage n, from the stem, all of whose blocks share their weights"
        } else {
            "block n, from the stem"
        },
        y_desc: "|g_n - g*_n| / |g*_n|",
        columns: ALL_MODES,
    };
    draw(&panels, &texts, Horizontal::Block)
}

/// What every panel shows: f32, with the statistics that the nets are measured with first.
fn panels(done: &Done<'_>, draw: impl Fn(Group) -> (String, Vec<Curve>)) -> Vec<(String, Vec<Curve>)> {
    let bn_stats = done.first().map_or(BnStatistics::Saved, |(spec, _)| spec.bn_stats);
    let there = Group::all(done);
    let shown = |scheme: Scheme| {
        Weights::ALL
            .map(|weights| Group { scheme, weights, bn_stats, masks: Masks::Recomputed, precision: Precision::F32 })
            .into_iter()
            .filter(|group| there.iter().any(|other| other.weights == group.weights))
    };
    let of_scheme = |scheme| there.iter().any(|group| group.scheme == scheme);
    [Scheme::Euler, Scheme::Heun].into_iter().filter(|s| of_scheme(*s)).flat_map(shown).map(draw).collect()
}

fn caption(Group { scheme, weights, .. }: Group) -> String {
    format!("{scheme}, {weights} weights")
}

/// What all cells have in common.
fn subtitle(done: &Done<'_>, rings: bool) -> String {
    let Some((spec, _)) = done.first() else { return String::new() };
    let seeds = |precision| done.iter().filter(|(s, _)| s.precision == precision).map(|(s, _)| s.seed + 1).max();
    let data = spec.data.split(' ').next().unwrap_or_default();
    // a checkpoint is one net, and its seeds are those of batches
    let (over, epochs) = match spec.weights {
        Weights::Checkpoint => ("batches", None),
        _ => ("seeds", done.iter().filter_map(|(_, measured)| measured.training).map(|t| t.epochs).max()),
    };
    let trained = epochs.map_or(String::new(), |epochs| format!("; epochs of training, by backprop: {epochs}"));
    let channels = Sizes(spec.channels());
    let rings = match seeds(Precision::F64).filter(|_| rings) {
        Some(seeds) => format!("; rings: f64, mean over {over} ({seeds})"),
        None => String::new(),
    };
    format!(
        "{data}, batch {}, {channels} channels, {} statistics{trained}; line and band: f32, mean and quartiles over {over} ({}){rings}",
        spec.batch,
        spec.bn_stats.name(),
        seeds(Precision::F32).unwrap_or(0),
    )
}

/// Values of 0 have no logarithm and are left out.
fn positive(mut spreads: Vec<(usize, Spread)>) -> Vec<(usize, Spread)> {
    spreads.retain(|(_, spread)| spread.low > 0.0);
    spreads
}

fn mean((place, spread): &(usize, Spread)) -> (f64, f64) {
    (*place as f64, spread.mean)
}

fn quartiles((place, spread): &(usize, Spread)) -> (f64, f64, f64) {
    (*place as f64, spread.low, spread.high)
}

/// A curve a mode: f32 as a line with its band, f64 as rings.
fn over_depth(
    done: &Done<'_>,
    group: Group,
    modes: &[Method],
    value: &dyn Fn(&ModeErrors) -> Option<f64>,
) -> Vec<Curve> {
    let of = |mode, precision| positive(by_depth(done, Group { precision, ..group }, mode, value));
    let curve = |mode: &Method| {
        let single = of(*mode, Precision::F32);
        Curve {
            name: mode.to_string(),
            colour: style::colour(*mode),
            hollow: true,
            line: single.iter().map(mean).collect(),
            marks: of(*mode, Precision::F64).iter().map(mean).collect(),
            band: single.iter().map(quartiles).collect(),
        }
    };
    modes.iter().map(curve).collect()
}

struct Texts<'a> {
    title: &'a str,
    subtitle: String,
    x_desc: &'a str,
    y_desc: &'a str,
    /// Names in a row of the legend.
    columns: usize,
}

/// What lies along the horizontal axis.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Horizontal {
    /// The same powers of 2 in every panel.
    Depth,
    /// A panel's own blocks.
    Block,
}

fn draw(panels: &[(String, Vec<Curve>)], texts: &Texts<'_>, horizontal: Horizontal) -> Result<String, String> {
    let mut svg = String::new();
    draw_on(&mut svg, panels, texts, horizontal).map_err(|error| error.to_string())?;
    Ok(svg)
}

fn draw_on<'a>(
    svg: &'a mut String,
    panels: &[(String, Vec<Curve>)],
    texts: &Texts<'_>,
    horizontal: Horizontal,
) -> Drawn<'a> {
    let rows = if panels.len() > 1 { 2 } else { 1 };
    let columns = panels.len().div_ceil(rows).max(1);
    // a single panel is as wide as the texts above it
    let width = PANEL.0 * if columns > 1 { columns as u32 } else { 2 };
    let size = (width, ABOVE + PANEL.1 * rows as u32 + LEGEND);
    let root = SVGBackend::with_string(svg, size).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(texts.title, ("sans-serif", 24))?.titled(&texts.subtitle, ("sans-serif", 15))?;
    let (upper, lower) = root.split_vertically(PANEL.1 * rows as u32);
    let points = || panels.iter().flat_map(|(_, curves)| curves);
    let points = || points().flat_map(|curve| curve.line.iter().chain(&curve.marks));
    // the same vertical axis everywhere, so that panels can be compared
    let values = powers_around(points().map(|point| point.1), 10.0);
    let depths = powers_around(points().map(|point| point.0), 2.0);
    for ((caption, curves), area) in panels.iter().zip(upper.split_evenly((rows, columns))) {
        let y = values.clone().log_scale().with_key_points(powers_in(&values, 10.0));
        let panel = Panel {
            caption,
            x_desc: texts.x_desc,
            x_label: &|place| if place.fract() == 0.0 { format!("{place}") } else { String::new() },
            y_desc: texts.y_desc,
            y_label: &|value| format!("{value:.0e}"),
            y_room: 72,
            legend: None,
        };
        let area = area.margin(0, 0, 0, 12);
        match horizontal {
            Horizontal::Depth => {
                let x = depths.clone().log_scale().with_key_points(powers_in(&depths, 2.0));
                panel.draw(&area, curves, x, y)?;
            }
            Horizontal::Block => {
                let last = curves.iter().flat_map(|curve| &curve.line).map(|point| point.0).fold(1.0, f64::max);
                panel.draw(&area, curves, 0.0..last, y)?;
            }
        }
    }
    if let Some((_, curves)) = panels.first() {
        chart::legend(&lower, curves, texts.columns)?;
    }
    root.present()
}
