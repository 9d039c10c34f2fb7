//! A panel per net: what each way to the gradient reached, a mark per seed.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use rewind_train::chart::{Curve, Drawn, Panel};

use super::super::cell::Done;
use super::super::evidence::{METHODS, of};
use super::super::subject::Subject;
use super::{COLUMNS, LEGEND, canvas, curve, legend};
use crate::method::Method;
use crate::spread::Spread;

/// Pixels of a panel.
const PANEL: (u32, u32) = (400, 330);
/// Of the text left of a panel, names and all.
const NAMES: u32 = 112;
/// How far the line through a mean reaches up and down, in rows.
const REACH: f64 = 0.32;

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
    let subjects = Subject::all(done);
    let columns = subjects.len().clamp(1, COLUMNS);
    let rows = subjects.len().div_ceil(columns).max(1);
    let size = (PANEL.0 * columns.max(2) as u32, PANEL.1 * rows as u32);
    let note = "accuracy after the last epoch";
    let root = canvas(svg, done, size, "What training reached on nets that are close to no ODE", note)?;
    let methods: Vec<Method> =
        METHODS.into_iter().filter(|method| done.iter().any(|(trial, _)| trial.method == *method)).collect();
    let most = done.iter().map(|(_, outcome)| outcome.accuracy()).fold(0.0, f64::max);
    let (panels, names) = root.split_horizontally(root.dim_in_pixel().0 - LEGEND);
    for (subject, area) in subjects.into_iter().zip(panels.split_evenly((rows, columns))) {
        let row = |at: usize| (methods.len() - at) as f64;
        let curves: Vec<Curve> =
            methods.iter().enumerate().flat_map(|(at, method)| marks(done, subject, *method, row(at))).collect();
        let name = |at: &f64| methods.get(methods.len() - *at as usize).map_or(String::new(), Method::to_string);
        Panel {
            caption: &subject.to_string(),
            x_desc: "test accuracy, %",
            x_label: &|accuracy| format!("{accuracy:.0}"),
            y_desc: "",
            y_label: &name,
            y_room: NAMES,
            legend: None,
        }
        .draw(&area, &curves, 0.0..(1.1 * most).max(20.0), Rows(methods.len()))?;
    }
    let sample = |name: &str, hollow, line: bool| {
        let at = vec![(0.0, 0.0)];
        let (line, marks) = if line { (at, Vec::new()) } else { (Vec::new(), at) };
        Curve { name: name.into(), hollow, line, marks, ..curve(Method::Backprop) }
    };
    let marks = [
        sample("a run", false, false),
        sample("diverged, as guessing", true, false),
        sample("mean over seeds", false, true),
    ];
    legend(&names, &marks)?;
    root.present()
}

/// An axis with a label at each of 1 to n.
struct Rows(usize);

impl Ranged for Rows {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        RangedCoordf64::from(self.range()).map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        (1..=self.0).map(|row| row as f64).collect()
    }

    fn range(&self) -> Range<f64> {
        0.4..self.0 as f64 + 0.6
    }
}

/// A net's runs in one way, at height `row`.
fn marks(done: &Done<'_>, subject: Subject, method: Method, row: f64) -> Vec<Curve> {
    let at = |diverged: bool| {
        let runs = of(done, subject, method).filter(move |(_, outcome)| outcome.trained.diverged.is_some() == diverged);
        runs.map(|(_, outcome)| (outcome.accuracy(), row)).collect::<Vec<_>>()
    };
    let mean = Spread::of(of(done, subject, method).map(|(_, outcome)| outcome.accuracy()));
    let line = mean.map_or(Vec::new(), |spread| vec![(spread.mean, row - REACH), (spread.mean, row + REACH)]);
    let whole = Curve { hollow: false, marks: at(false), line, ..curve(method) };
    let diverged = Curve { hollow: true, marks: at(true), ..curve(method) };
    vec![whole, diverged]
}
