//! The cells as a summary for programs.

use serde_json::{Value, json};

use super::cell::Done;
use super::cell::modes;
use super::errors::{Altered, ModeErrors};
use super::numbers::{Floor, Group, by_depth, ratios, slopes};
use crate::method::Method;
use crate::spread::Spread;

type Measure = fn(&ModeErrors) -> Option<f64>;

const ERROR: Measure = |errors| Some(errors.error);
const DRIFT: Measure = |errors| errors.drift;

fn over_depth(spreads: &[(usize, Spread)]) -> Value {
    spreads.iter().map(|(depth, spread)| json!({ "depth": depth, "spread": spread })).collect()
}

/// Curves over depth with their slopes (of the modes that code also in the pass that they alter), how far `corrected` is below `adjoint`, and what rounding leaves.
pub fn of(experiment: &str, done: &Done<'_>) -> Value {
    let (mut curves, mut gains, mut rounding) = (Vec::new(), Vec::new(), Vec::new());
    // slopes are fitted above it
    let (floor, squared_floor) = (Floor::of(done, |errors| errors.error), Floor::of(done, |errors| errors.squared));
    for group in Group::all(done) {
        let Group { scheme, weights, bn_stats, masks, precision } = group;
        let keys = json!({
            "scheme": scheme, "weights": weights, "bn_stats": bn_stats, "masks": masks, "precision": precision
        });
        let with = |more: Value| {
            let mut all = keys.clone();
            if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
                all.extend(more);
            }
            all
        };
        for mode in modes() {
            let measure = |value: Measure, floor: f64| {
                let slope = slopes(done, group, mode, floor, value);
                json!({ "log_log_slope": slope, "by_depth": over_depth(&by_depth(done, group, mode, value)) })
            };
            curves.push(with(json!({
                "mode": mode,
                "error": measure(ERROR, floor.up_to(group)),
                "cosine": over_depth(&by_depth(done, group, mode, |errors| Some(errors.cosine))),
                "squared": measure(|errors| Some(errors.squared), squared_floor.up_to(group)),
                "drift": measure(DRIFT, 0.0),
                "altered_pass": Method::CODED.contains(&mode).then(|| {
                    let altered = |value: fn(Altered) -> Option<f64>| {
                        over_depth(&by_depth(done, group, mode, |errors| value(errors.altered?)))
                    };
                    json!({
                        "error": altered(|altered| Some(altered.error)),
                        "own_error": altered(|altered| Some(altered.own)),
                        "drift": altered(|altered| altered.drift),
                    })
                }),
            })));
        }
        let gain = |value| over_depth(&ratios(done, group, [Method::Adjoint, Method::Corrected], value));
        gains.push(with(json!({ "error": gain(ERROR), "drift": gain(DRIFT) })));
        let alone = by_depth(done, group, Method::Backprop, ERROR);
        if !alone.is_empty() {
            rounding.push(with(json!({ "precision": "f32-f64", "error": over_depth(&alone) })));
        }
    }
    let trained = done.iter().filter_map(|(spec, measured)| {
        let training = measured.training?;
        let (scheme, weights, depth, seed) = (spec.scheme, spec.weights, spec.depth, spec.seed);
        Some(json!({ "scheme": scheme, "weights": weights, "depth": depth, "seed": seed, "training": training }))
    });
    let mut nets: Vec<Value> = Vec::new();
    for net in trained {
        if !nets.contains(&net) {
            nets.push(net);
        }
    }
    let first = done.first().map(|(spec, _)| spec);
    json!({
        "experiment": experiment,
        "data": first.map(|spec| &spec.data),
        "device": first.map(|spec| &spec.device),
        "batch": first.map(|spec| spec.batch),
        "channels": first.map(|spec| spec.channels()),
        "cells": done.len(),
        "curves": curves,
        "adjoint_over_corrected": gains,
        "rounding": rounding,
        "rounding_most": floor.most,
        "trained_nets": nets,
    })
}
