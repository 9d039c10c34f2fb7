//! What the cells say together: values over depth, over blocks and over seeds, slopes and ratios.

use rewind::scheme::Scheme;
use rewind::sweep::{BnStatistics, Masks};

use super::cell::Done;
use super::cell::{GradientSpec, Precision};
use super::errors::ModeErrors;
use super::weights::Weights;
use crate::method::Method;
use crate::slope::log_log_slope;
use crate::spread::Spread;

/// What a curve is drawn over depth for: everything but depth, seed and mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    pub scheme: Scheme,
    pub weights: Weights,
    pub bn_stats: BnStatistics,
    pub masks: Masks,
    pub precision: Precision,
}

impl Group {
    pub fn of(spec: &GradientSpec) -> Self {
        let GradientSpec { scheme, weights, bn_stats, masks, precision, .. } = *spec;
        Self { scheme, weights, bn_stats, masks, precision }
    }

    /// What its sweeps recompute with.
    pub fn recomputation(self) -> String {
        let Self { bn_stats, masks, .. } = self;
        let signs = if masks.is_recomputed() { "" } else { ", saved signs" };
        format!("{} statistics{signs}", bn_stats.name())
    }

    /// Those that have cells, in their order.
    pub fn all(done: &Done<'_>) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for (spec, _) in done {
            if !groups.contains(&Self::of(spec)) {
                groups.push(Self::of(spec));
            }
        }
        groups
    }

    /// Its depths, from the shallowest.
    pub fn depths(self, done: &Done<'_>) -> Vec<usize> {
        let of_group = done.iter().filter(|(spec, _)| Self::of(spec) == self);
        sorted(of_group.map(|(spec, _)| spec.depth))
    }

    /// The errors of two modes, cell by cell, with depth and seed.
    fn cells<'a, const M: usize>(
        self,
        done: &'a Done<'_>,
        modes: [Method; M],
    ) -> impl Iterator<Item = (usize, u64, [&'a ModeErrors; M])> {
        let of_group = done.iter().filter(move |(spec, _)| Self::of(spec) == self);
        of_group.filter_map(move |(spec, measured)| {
            let found: Vec<_> = modes.iter().filter_map(|mode| measured.of(*mode)).collect();
            Some((spec.depth, spec.seed, found.try_into().ok()?))
        })
    }
}

fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// The spread of a value over the seeds, by place: depth or block.
fn by_place(values: &[(usize, f64)]) -> Vec<(usize, Spread)> {
    let places = sorted(values.iter().map(|(place, _)| *place));
    let spread = |place| Spread::of(values.iter().filter(|(other, _)| *other == place).map(|(_, value)| *value));
    places.into_iter().filter_map(|place| Some((place, spread(place)?))).collect()
}

/// A mode's values over the seeds, by depth.
pub fn by_depth(
    done: &Done<'_>,
    group: Group,
    mode: Method,
    value: impl Fn(&ModeErrors) -> Option<f64>,
) -> Vec<(usize, Spread)> {
    let cells = group.cells(done, [mode]);
    let values: Vec<_> = cells.filter_map(|(depth, _, [errors])| Some((depth, value(errors)?))).collect();
    by_place(&values)
}

/// A mode's errors of each block over the seeds, in nets of this depth.
pub fn by_block(done: &Done<'_>, group: Group, mode: Method, depth: usize) -> Vec<(usize, Spread)> {
    let cells = group.cells(done, [mode]).filter(|(other, ..)| *other == depth);
    let values: Vec<_> = cells.flat_map(|(_, _, [errors])| errors.blocks.iter().copied().enumerate()).collect();
    by_place(&values)
}

/// The slopes of the logarithm over that of the depth, one per seed, through the values above `floor`.
pub fn slopes(
    done: &Done<'_>,
    group: Group,
    mode: Method,
    floor: f64,
    value: impl Fn(&ModeErrors) -> Option<f64>,
) -> Option<Spread> {
    let value = |errors: &ModeErrors| value(errors).filter(|value| *value > floor);
    let cells: Vec<_> = group.cells(done, [mode]).collect();
    let slope = |seed| {
        let of_seed = cells.iter().filter(|(_, other, _)| *other == seed);
        log_log_slope(of_seed.filter_map(|(depth, _, [errors])| Some((*depth as f64, value(errors)?))))
    };
    Spread::of(sorted(cells.iter().map(|(_, seed, _)| *seed)).into_iter().filter_map(slope))
}

/// How many times the first mode's value is the second's, in the same cell, by depth.
pub fn ratios(
    done: &Done<'_>,
    group: Group,
    modes: [Method; 2],
    value: impl Fn(&ModeErrors) -> Option<f64>,
) -> Vec<(usize, Spread)> {
    let ratio = |[one, other]: [&ModeErrors; 2]| {
        let (one, other) = (value(one)?, value(other)?);
        (other > 0.0).then(|| one / other)
    };
    let cells = group.cells(done, modes);
    let values: Vec<_> = cells.filter_map(|(depth, _, both)| Some((depth, ratio(both)?))).collect();
    by_place(&values)
}

/// The largest of a value over the coded modes, depths and seeds; none where it was not measured.
pub fn most_of_coded(
    done: &Done<'_>,
    of: impl Fn(&GradientSpec) -> bool,
    value: impl Fn(&ModeErrors) -> Option<f64>,
) -> Option<f64> {
    let cells = done.iter().filter(|(spec, _)| of(spec));
    let errors = cells.flat_map(|(_, measured)| &measured.errors).filter(|errors| Method::CODED.contains(&errors.mode));
    errors.filter_map(value).reduce(f64::max)
}

/// What rounding alone leaves between backprop in f32 and in f64, by depth, where both were computed.
pub fn rounding(done: &Done<'_>, group: Group, value: impl Fn(&ModeErrors) -> Option<f64>) -> Vec<(usize, Spread)> {
    by_depth(done, Group { precision: Precision::F64, ..group }, Method::Backprop, value)
}

/// What rounding alone leaves between backprop in f32 and in f64, the least and the most of all nets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Floor {
    pub least: f64,
    pub most: f64,
}

impl Floor {
    /// 0 where there was no f64.
    pub fn of(done: &Done<'_>, value: impl Fn(&ModeErrors) -> f64) -> Self {
        let all = || done.iter().filter_map(|(_, measured)| measured.of(Method::Backprop)).map(&value);
        Self { least: all().reduce(f64::min).unwrap_or(0.0), most: all().reduce(f64::max).unwrap_or(0.0) }
    }

    /// Up to where a group's errors may be rounding; in f64 they are not.
    pub fn up_to(self, group: Group) -> f64 {
        if group.precision == Precision::F32 { self.most } else { 0.0 }
    }
}

/// How many seeds a row of spreads has at most.
pub fn seeds(spreads: &[(usize, Spread)]) -> usize {
    spreads.iter().map(|(_, spread)| spread.seeds).max().unwrap_or(0)
}
