//! The lower bound of one launch's time: a formula a resource, and the largest of them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::counters::{LaunchCounts, SECTOR};
use crate::profile::{Profile, blocks_per_sm};

/// What a launch can be short of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Device memory.
    Dram,
    /// The L2 cache.
    L2,
    /// The banks of shared memory.
    Shared,
    /// FP32 lanes.
    Fp32,
    /// FP64 lanes.
    Fp64,
    /// FP16 lanes.
    Half,
    /// Tensor cores.
    Tensor,
    /// Special-function units.
    Special,
    /// The warp schedulers.
    Issue,
    /// Time for results to arrive: more warps would hide it, or shorter chains of instructions that need each other's.
    Latency,
}

impl Resource {
    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Resource::Dram => "DRAM",
            Resource::L2 => "L2",
            Resource::Shared => "shared",
            Resource::Fp32 => "FP32",
            Resource::Fp64 => "FP64",
            Resource::Half => "half",
            Resource::Tensor => "tensor",
            Resource::Special => "SFU",
            Resource::Issue => "issue",
            Resource::Latency => "latency",
        }
    }
}

/// How long a launch takes at least.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bounds {
    /// By resource, in microseconds; those of a multiprocessor's resources include the tail.
    pub microseconds: BTreeMap<Resource, f64>,
    /// The largest of them.
    pub lower_us: f64,
    /// The resource it belongs to; of equals, the first.
    pub binding: Resource,
    /// The L2 bound if no load ever hit in L1; no lower bound, hence not among the others.
    pub l2_without_l1_us: f64,
    /// The tensor cores' bound at their published peak, which [`Profile::mma_sync`] says how much of is reached.
    pub tensor_published_us: f64,
    /// How much more the busiest multiprocessor has to do than the average one, as a factor.
    pub tail: f64,
    /// Blocks resident on a multiprocessor.
    pub blocks_per_sm: u32,
    /// `blocks / (SMs x resident blocks)`: how often the device fills up; infinite for launches that fit nowhere.
    pub waves: f64,
}

/// The lower bound of a launch's time on a GPU.
pub fn bounds(counts: &LaunchCounts, profile: &Profile) -> Bounds {
    let tail = tail(counts, profile);
    let seconds = [
        (Resource::Dram, dram(counts, profile)),
        (Resource::L2, l2(counts, profile)),
        (Resource::Shared, tail * shared(counts, profile)),
        (Resource::Fp32, tail * fp32(counts, profile)),
        (Resource::Fp64, tail * fp64(counts, profile)),
        (Resource::Half, tail * half(counts, profile)),
        (Resource::Tensor, tail * tensor(counts, profile)),
        (Resource::Special, tail * special(counts, profile)),
        (Resource::Issue, tail * issue(counts, profile)),
        (Resource::Latency, latency(counts, profile)),
    ];
    let (mut binding, mut longest) = seconds[0];
    for (resource, time) in seconds {
        if time > longest {
            (binding, longest) = (resource, time);
        }
    }
    let blocks_per_sm = resident(counts, profile);
    Bounds {
        microseconds: seconds.into_iter().map(|(resource, time)| (resource, time * 1e6)).collect(),
        lower_us: longest * 1e6,
        binding,
        l2_without_l1_us: l2_without_l1(counts, profile) * 1e6,
        tensor_published_us: tail * tensor_published(counts, profile) * 1e6,
        tail,
        blocks_per_sm,
        waves: counts.launch.blocks() as f64 / (f64::from(profile.sm_count) * f64::from(blocks_per_sm)),
    }
}

/// `unique bytes / DRAM bandwidth`: whatever is touched crosses the bus once. Nothing written is read back from there, and
/// what is read and written counts once, as it may be written later.
pub fn dram(counts: &LaunchCounts, profile: &Profile) -> f64 {
    counts.global.unique_bytes as f64 / profile.dram_bandwidth()
}

/// `(unique bytes loaded + sectors stored x 32) / L2 bandwidth`: L1 may serve a load again, but writes go through.
pub fn l2(counts: &LaunchCounts, profile: &Profile) -> f64 {
    let global = &counts.global;
    let written = |sectors: u64| sectors as f64 * SECTOR as f64;
    // Sectors of atomics are among those loaded and need not be loaded again.
    let loaded = (global.unique_load_bytes as f64).max(written(global.atomic.sectors));
    (loaded + written(global.store.sectors)) / profile.l2_bandwidth
}

/// `sectors x 32 / L2 bandwidth`: the same if no load hits in L1.
pub fn l2_without_l1(counts: &LaunchCounts, profile: &Profile) -> f64 {
    counts.global.sectors() as f64 * SECTOR as f64 / profile.l2_bandwidth
}

/// `(wavefronts + sectors loaded / 4) / (SMs x clock)`: what comes through L1 takes the same way of 128 bytes a clock.
pub fn shared(counts: &LaunchCounts, profile: &Profile) -> f64 {
    let through_l1 = counts.global.load.sectors as f64 * SECTOR as f64 / 128.0;
    (counts.shared.wavefronts() as f64 + through_l1) / profile.per_second(1)
}

/// `FP32 FLOP / peak`
pub fn fp32(counts: &LaunchCounts, profile: &Profile) -> f64 {
    counts.flop.fp32 as f64 / profile.fp32_peak()
}

/// `FP64 FLOP / peak`
pub fn fp64(counts: &LaunchCounts, profile: &Profile) -> f64 {
    counts.flop.fp64 as f64 / profile.fp64_peak()
}

/// `FP16 FLOP / peak`, `bf16` among them.
pub fn half(counts: &LaunchCounts, profile: &Profile) -> f64 {
    counts.flop.half as f64 / profile.half_peak()
}

/// The published bound over what `mma.sync` reaches of it.
pub fn tensor(counts: &LaunchCounts, profile: &Profile) -> f64 {
    tensor_published(counts, profile) / profile.mma_sync
}

/// `sum over types of tensor FLOP / peak of that type`: the same cores do all of them.
pub fn tensor_published(counts: &LaunchCounts, profile: &Profile) -> f64 {
    let (flop, peak) = (&counts.flop, &profile.tensor);
    let each = [
        (flop.tensor_tf32, peak.tf32),
        (flop.tensor_bf16, peak.bf16),
        (flop.tensor_f16, peak.f16),
        (flop.tensor_f16_sum_f16, peak.f16_sum_f16),
    ];
    // A type that the GPU has not has no peak, and no operations either.
    each.iter().filter(|(flop, _)| *flop > 0).map(|&(flop, peak)| flop as f64 / peak).sum()
}

/// `special functions / (SMs x 16 x clock)`
pub fn special(counts: &LaunchCounts, profile: &Profile) -> f64 {
    counts.special as f64 / profile.per_second(profile.sfu_per_clock)
}

/// `warp instructions / (SMs x 4 x clock)`, without those that machine code folds away.
pub fn issue(counts: &LaunchCounts, profile: &Profile) -> f64 {
    counts.issued_warp_instructions() as f64 / profile.per_second(profile.partitions_per_sm)
}

/// `max(longest block, turns x shortest block) / clock`, of the chains of results that wait for each other; 0 where the counts have
/// none by this GPU's latencies.
///
/// Some place for a block runs at least `turns = ceil(blocks / (SMs x resident blocks))` of them one after the other. How many are
/// resident follows from threads and shared memory alone: registers are estimated, and fewer blocks would make the bound longer.
pub fn latency(counts: &LaunchCounts, profile: &Profile) -> f64 {
    let Some(chain) = counts.chain.as_ref().filter(|chain| chain.gpu == profile.name) else { return 0.0 };
    let launch = &counts.launch;
    let shared = launch.static_shared.saturating_add(launch.dynamic_shared);
    let places = u64::from(profile.sm_count) * u64::from(blocks_per_sm(profile, launch.threads(), 0, shared).blocks);
    let turns = launch.blocks().div_ceil(places.max(1)) as f64;
    (chain.longest as f64).max(turns * chain.shortest as f64) / profile.clock_hz()
}

/// `ceil(blocks / SMs) / (blocks / SMs)`: by how much the busiest multiprocessor has more to do than the average one, if
/// all blocks do the same. 1 for an empty grid.
///
/// How many blocks are resident at once does not matter here: those of a last, partial wave share their multiprocessor
/// with fewer others and run faster.
pub fn tail(counts: &LaunchCounts, profile: &Profile) -> f64 {
    let (blocks, sms) = (counts.launch.blocks(), u64::from(profile.sm_count));
    if blocks == 0 {
        return 1.0;
    }
    blocks.div_ceil(sms) as f64 * sms as f64 / blocks as f64
}

fn resident(counts: &LaunchCounts, profile: &Profile) -> u32 {
    let launch = &counts.launch;
    let shared = launch.static_shared.saturating_add(launch.dynamic_shared);
    blocks_per_sm(profile, launch.threads(), launch.registers, shared).blocks
}
