//! The pictures: what was reached, what the drift tells of it, and how the drift grew.

pub mod accuracy;
pub mod drift;
pub mod level;

use plotters::prelude::*;
use rewind_train::chart::{self, Area, Curve, Drawn};
use rewind_train::config::RunConfig;

use super::cell::Done;
use crate::method::Method;
use crate::style;

/// Panels beside each other where there is one per net.
const COLUMNS: usize = 4;
/// Height of the titles.
const TITLES: u32 = 70;
/// Width of the names beside the panels.
const LEGEND: u32 = 230;

/// A curve of nothing yet, in its method's style.
fn curve(method: Method) -> Curve {
    let (colour, hollow) = (style::colour(method), style::is_hollow(method));
    Curve { name: method.to_string(), colour, hollow, line: Vec::new(), marks: Vec::new(), band: Vec::new() }
}

/// The curves' names, beside the panels that share them.
fn legend<'a>(area: &Area<'a>, curves: &[Curve]) -> Drawn<'a> {
    // below the panels' captions
    chart::legend(&area.margin(36, 0, 0, 0), curves, 1)
}

/// A canvas of panels under a title, with room for the names at the right; what all runs have in common stands below it.
fn canvas<'a>(
    svg: &'a mut String,
    done: &Done<'_>,
    (width, height): (u32, u32),
    title: &str,
    note: &str,
) -> Result<Area<'a>, DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
    let root = SVGBackend::with_string(svg, (width + LEGEND, TITLES + height)).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(title, ("sans-serif", 24))?;
    let Some((trial, _)) = done.first() else { return Ok(root) };
    let RunConfig { epochs, lr, batch, channels, .. } = trial.training.config();
    let seeds = done.iter().map(|(trial, _)| trial.training.config().seed + 1).max().unwrap_or(0);
    let common = format!(
        "{}, {} epochs, lr {lr}, batch {batch}, {channels} channels, seeds: {seeds}; {note}",
        trial.training.data().name,
        epochs.unwrap_or(0)
    );
    root.titled(&common, ("sans-serif", 15))
}
