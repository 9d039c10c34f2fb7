//! Launches of the same kernel taken together.

use std::collections::BTreeMap;

use serde::Serialize;

use super::bounds::{Bounds, Resource, bounds};
use crate::counters::{Flop, LaunchCounts};
use crate::lanes::WARP;
use crate::profile::Profile;

/// All launches of a kernel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelReport {
    /// Its name.
    pub kernel: String,
    /// How often it was launched.
    pub launches: u64,
    /// Warp instructions.
    pub warp_instructions: u64,
    /// Lane instructions.
    pub lane_instructions: u64,
    /// FLOP by pipe.
    pub flop: Flop,
    /// Special functions.
    pub special: u64,
    /// Global requests.
    pub global_requests: u64,
    /// Their sectors.
    pub global_sectors: u64,
    /// Wavefronts of shared memory.
    pub shared_wavefronts: u64,
    /// Those that conflicts cost.
    pub shared_conflicts: u64,
    /// Unique bytes of each launch, added up.
    pub unique_bytes: u64,
    /// Time of all launches, at least, in microseconds.
    pub lower_us: f64,
    /// The same by resource: launches that were short of different ones make this no maximum.
    pub microseconds: BTreeMap<Resource, f64>,
    /// What was short for most of that time.
    pub binding: Resource,
}

impl KernelReport {
    fn new(kernel: &str) -> KernelReport {
        KernelReport {
            kernel: kernel.into(),
            launches: 0,
            warp_instructions: 0,
            lane_instructions: 0,
            flop: Flop::default(),
            special: 0,
            global_requests: 0,
            global_sectors: 0,
            shared_wavefronts: 0,
            shared_conflicts: 0,
            unique_bytes: 0,
            lower_us: 0.0,
            microseconds: BTreeMap::new(),
            binding: Resource::Dram,
        }
    }

    fn add(&mut self, counts: &LaunchCounts, bounds: &Bounds) {
        let flop = &counts.flop;
        for (sum, more) in [
            (&mut self.launches, 1),
            (&mut self.warp_instructions, counts.all_warp_instructions()),
            (&mut self.lane_instructions, counts.lane_instructions),
            (&mut self.flop.fp32, flop.fp32),
            (&mut self.flop.fp64, flop.fp64),
            (&mut self.flop.half, flop.half),
            (&mut self.flop.tensor_tf32, flop.tensor_tf32),
            (&mut self.flop.tensor_bf16, flop.tensor_bf16),
            (&mut self.flop.tensor_f16, flop.tensor_f16),
            (&mut self.flop.tensor_f16_sum_f16, flop.tensor_f16_sum_f16),
            (&mut self.special, counts.special),
            (&mut self.global_requests, counts.global.requests()),
            (&mut self.global_sectors, counts.global.sectors()),
            (&mut self.shared_wavefronts, counts.shared.wavefronts()),
            (&mut self.shared_conflicts, counts.shared.conflicts()),
            (&mut self.unique_bytes, counts.global.unique_bytes),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.lower_us += bounds.lower_us;
        for (&resource, time) in &bounds.microseconds {
            *self.microseconds.entry(resource).or_insert(0.0) += time;
        }
    }

    /// Lanes active on average, as a share of the warp; 1 if nothing ran.
    pub fn active_lane_ratio(&self) -> f64 {
        ratio(self.lane_instructions, self.warp_instructions).map_or(1.0, |lanes| lanes / WARP as f64)
    }

    /// Sectors that a global request touches on average; `None` without requests.
    pub fn sectors_per_request(&self) -> Option<f64> {
        ratio(self.global_sectors, self.global_requests)
    }

    /// The share of shared memory's wavefronts that conflicts cost; `None` without wavefronts.
    pub fn conflict_ratio(&self) -> Option<f64> {
        ratio(self.shared_conflicts, self.shared_wavefronts)
    }
}

fn ratio(of: u64, to: u64) -> Option<f64> {
    (to > 0).then(|| of as f64 / to as f64)
}

/// A report for each kernel, the one with the longest bound first, then by name.
pub fn by_kernel(launches: &[LaunchCounts], profile: &Profile) -> Vec<KernelReport> {
    let mut kernels: BTreeMap<&str, (KernelReport, BTreeMap<Resource, f64>)> = BTreeMap::new();
    for counts in launches {
        let name = counts.launch.kernel.as_str();
        let (kernel, short_of) = kernels.entry(name).or_insert_with(|| (KernelReport::new(name), BTreeMap::new()));
        let bounds = bounds(counts, profile);
        kernel.add(counts, &bounds);
        *short_of.entry(bounds.binding).or_insert(0.0) += bounds.lower_us;
        let most = short_of.iter().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(a.0)));
        kernel.binding = most.map_or(kernel.binding, |(&resource, _)| resource);
    }
    let mut kernels: Vec<KernelReport> = kernels.into_values().map(|(kernel, _)| kernel).collect();
    kernels.sort_by(|a, b| b.lower_us.total_cmp(&a.lower_us));
    kernels
}
