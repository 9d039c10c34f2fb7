//! Accuracy gained against the epoch of fine-tuning: a curve for what became of the tied nets.

use plotters::prelude::*;
use rewind_train::chart::{Curve, Drawn, ORANGE, Panel};

use super::cell::{Done, Fate};
use super::tables::{diverged, fates, gains_by_epoch};
use crate::style;
use crate::training::diverged::{as_guessing, of_diverged};

/// Width and height in pixels.
const SIZE: (u32, u32) = (860, 560);

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
    let root = root.titled("A trained tied net, fine-tuned", ("sans-serif", 24))?;
    let root = root.titled(about, ("sans-serif", 14))?;
    let seeds = done.iter().map(|(run, _)| run.cell.training.config().seed + 1).max().unwrap_or(0);
    let mut curves: Vec<Curve> = fates(done).into_iter().filter_map(|fate| curve(done, fate)).collect();
    // rings lie on discs, so that both are seen where curves meet
    curves.sort_by_key(|curve| curve.hollow);
    let bands = curves.iter().flat_map(|curve| &curve.band).flat_map(|(_, low, high)| [*low, *high]);
    let (low, high) = bands.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let (low, high) = if low <= high { (low, high) } else { (0.0, 100.0) };
    let room = (0.1 * (high - low)).max(0.1);
    let epochs = curves.iter().flat_map(|curve| &curve.line).map(|point| point.0).fold(1.0, f64::max);
    let guessing = as_guessing(done.iter().any(|(_, tuned)| tuned.trained.diverged.is_some()));
    Panel {
        caption: &format!(
            "mean over seeds ({seeds}), band: quartiles; epoch 0: as the tied training left it{guessing}"
        ),
        x_desc: "epoch of fine-tuning",
        x_label: &|epoch| if epoch.fract() == 0.0 { format!("{epoch:.0}") } else { String::new() },
        y_desc: "test accuracy gained since before, points",
        y_label: &|gain| format!("{:.1}", gain + 0.0),
        y_room: 64,
        legend: Some(SeriesLabelPosition::LowerRight),
    }
    // the names take the lower part
    .draw(&root, &curves, 0.0..epochs, low - 4.0 * room..high + room)?;
    root.present()
}

/// None for the training of the tied net itself.
fn curve(done: &Done<'_>, fate: Fate) -> Option<Curve> {
    let (name, colour, hollow) = match fate {
        Fate::Base => return None,
        Fate::StillTied(method) => (format!("still tied, {method}"), ORANGE, false),
        Fate::Untied(method) => (format!("untied, {method}"), style::colour(method), style::is_hollow(method)),
    };
    let spreads = gains_by_epoch(done, fate);
    let line: Vec<_> = spreads.iter().map(|(epoch, spread)| (*epoch as f64, spread.mean)).collect();
    let band = spreads.iter().map(|(epoch, spread)| (*epoch as f64, spread.low, spread.high)).collect();
    let name = name + &of_diverged(diverged(done, fate));
    Some(Curve { name, colour, hollow, marks: line.clone(), line, band })
}
