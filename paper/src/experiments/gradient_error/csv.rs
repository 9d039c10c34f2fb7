//! The cells as CSV.

use serde::Serialize;

use super::cell::{Done, GradientSpec, Precision};
use super::errors::ModeErrors;
use crate::method::Method;
use crate::table::{self, Number};

/// The columns that say which cell a line is of.
const KEYS: [&str; 9] = ["scheme", "weights", "bn_stats", "masks", "precision", "seed", "batch", "depth", "mode"];

fn keys(spec: &GradientSpec, mode: Method) -> impl Serialize + use<> {
    let GradientSpec { scheme, weights, bn_stats, masks, precision, seed, batch, depth, .. } = *spec;
    let recomputation = (bn_stats.name(), masks.name(), precision_of(precision, mode));
    (scheme.to_string(), weights.to_string(), recomputation, seed, batch, depth, mode)
}

/// The numbers that were compared; backprop has an error only in f32 against f64.
fn precision_of(precision: Precision, mode: Method) -> &'static str {
    if mode == Method::Backprop { "f32-f64" } else { precision.name() }
}

/// A line per cell and mode.
pub fn errors(done: &Done<'_>) -> String {
    let columns =
        ["error", "cosine", "squared", "drift", "anchor_drift", "altered_error", "altered_own_error", "altered_drift"];
    let row = |spec: &GradientSpec, errors: &ModeErrors| {
        let ModeErrors { mode, error, cosine, squared, drift, anchor_drift, altered, .. } = *errors;
        let of_altered = altered.map_or([None; 3], |altered| [Some(altered.error), Some(altered.own), altered.drift]);
        let numbers = [error, cosine, squared].map(Number);
        let drifts = [drift, anchor_drift].map(|drift| drift.map(Number));
        (keys(spec, mode), numbers, drifts, of_altered.map(|value| value.map(Number)))
    };
    let rows = done.iter().flat_map(|(spec, measured)| measured.errors.iter().map(|errors| row(spec, errors)));
    table::csv(&[&KEYS[..], &columns].concat(), rows)
}

/// A line per cell, mode and block.
pub fn blocks(done: &Done<'_>) -> String {
    let of_cell = done.iter().flat_map(|(spec, measured)| measured.errors.iter().map(move |errors| (spec, errors)));
    let rows = of_cell.flat_map(|(spec, errors)| {
        let blocks = errors.blocks.iter().enumerate();
        blocks.map(|(block, error)| (keys(spec, errors.mode), block, Number(*error)))
    });
    table::csv(&[&KEYS[..], &["block", "error"]].concat(), rows)
}
