//! The cells as CSV.

use std::fmt::Write as _;

use super::cell::Done;
use super::cell::{GradientSpec, Precision};
use super::errors::ModeErrors;
use crate::method::Method;

/// The columns that say which cell a line is of.
const KEYS: &str = "scheme,weights,bn_stats,masks,precision,seed,batch,depth,mode";

fn keys(spec: &GradientSpec, mode: Method) -> String {
    let GradientSpec { scheme, weights, bn_stats, masks, precision, seed, batch, depth, .. } = spec;
    let (statistics, masks, precision) = (bn_stats.name(), masks.name(), precision_of(*precision, mode));
    format!("{scheme},{weights},{statistics},{masks},{precision},{seed},{batch},{depth},{mode}")
}

/// The numbers that were compared; backprop has an error only in f32 against f64.
fn precision_of(precision: Precision, mode: Method) -> &'static str {
    if mode == Method::Backprop { "f32-f64" } else { precision.name() }
}

/// A line a cell and mode.
pub fn errors(done: &Done<'_>) -> String {
    let mut csv =
        format!("{KEYS},error,cosine,squared,drift,anchor_drift,altered_error,altered_own_error,altered_drift\n");
    let or_empty = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:?}"));
    for (spec, measured) in done {
        for errors in &measured.errors {
            let ModeErrors { mode, error, cosine, squared, drift, anchor_drift, altered, .. } = errors;
            let (drift, anchor_drift) = (or_empty(*drift), or_empty(*anchor_drift));
            let of_altered =
                altered.map_or([None; 3], |altered| [Some(altered.error), Some(altered.own), altered.drift]);
            let altered = of_altered.map(or_empty).join(",");
            // writing to a string cannot fail
            let _ = writeln!(
                csv,
                "{},{error:?},{cosine:?},{squared:?},{drift},{anchor_drift},{altered}",
                keys(spec, *mode)
            );
        }
    }
    csv
}

/// A line a cell, mode and block.
pub fn blocks(done: &Done<'_>) -> String {
    let mut csv = format!("{KEYS},block,error\n");
    for (spec, measured) in done {
        for errors in &measured.errors {
            let keys = keys(spec, errors.mode);
            for (block, error) in errors.blocks.iter().enumerate() {
                let _ = writeln!(csv, "{keys},{block},{error:?}");
            }
        }
    }
    csv
}
