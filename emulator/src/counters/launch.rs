//! The counts of one launch as they are stored, read back and reported.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Category, Class, Pipe, Requests, Wavefronts};
use crate::lanes::WARP;

/// The sum, or the largest number there is: counts are also read from files, which may hold anything.
fn sum(counts: impl IntoIterator<Item = u64>) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}

/// What was launched.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Launch {
    /// The kernel's name.
    pub kernel: String,
    /// Blocks by dimension.
    pub grid: [u32; 3],
    /// Threads of a block by dimension.
    pub block: [u32; 3],
    /// Shared memory that the kernel declares, in bytes.
    pub static_shared: u32,
    /// Shared memory that the launch asks for, in bytes.
    pub dynamic_shared: u32,
    /// Registers a thread, estimated: PTX does not tell.
    pub registers: u32,
}

impl Launch {
    /// Blocks of the grid.
    pub fn blocks(&self) -> u64 {
        self.grid.iter().fold(1, |n, &side| n.saturating_mul(u64::from(side)))
    }

    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        self.block.iter().fold(1, |n: u32, &side| n.saturating_mul(side))
    }
}

/// FLOP by the unit that does them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Flop {
    /// In FP32 lanes.
    pub fp32: u64,
    /// In FP64 lanes.
    pub fp64: u64,
    /// In FP16 and BF16 lanes.
    pub half: u64,
    /// In tensor cores on `tf32`.
    pub tensor_tf32: u64,
    /// In tensor cores on `bf16`.
    pub tensor_bf16: u64,
    /// In tensor cores on `f16`, sums in `f32`.
    pub tensor_f16: u64,
    /// In tensor cores on `f16`, sums in `f16`.
    pub tensor_f16_sum_f16: u64,
}

impl Flop {
    /// What an instruction of that class did, executed by so many warps with so many lanes in all.
    pub(super) fn add(&mut self, class: &Class, warps: u64, lanes: u64) {
        let Some(pipe) = class.pipe else { return };
        let sum = match pipe {
            Pipe::Fp32 => &mut self.fp32,
            Pipe::Fp64 => &mut self.fp64,
            Pipe::Half => &mut self.half,
            Pipe::TensorTf32 => &mut self.tensor_tf32,
            Pipe::TensorBf16 => &mut self.tensor_bf16,
            Pipe::TensorF16 => &mut self.tensor_f16,
            Pipe::TensorF16SumF16 => &mut self.tensor_f16_sum_f16,
        };
        *sum += lanes * u64::from(class.flop_per_lane) + warps * u64::from(class.flop_per_warp);
    }

    /// In tensor cores of all kinds.
    pub fn tensor(&self) -> u64 {
        sum([self.tensor_tf32, self.tensor_bf16, self.tensor_f16, self.tensor_f16_sum_f16])
    }
}

/// Accesses to global memory. A generic access counts where its address lies; `cp.async` counts as a load here and as a
/// store to shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GlobalCounts {
    /// Loads.
    pub load: Requests,
    /// Stores.
    pub store: Requests,
    /// Atomics.
    pub atomic: Requests,
    /// Bytes of the different sectors that were read in the whole launch.
    pub unique_load_bytes: u64,
    /// Bytes of those that were written.
    pub unique_store_bytes: u64,
    /// Bytes of those that were read or written.
    pub unique_bytes: u64,
}

impl GlobalCounts {
    /// Requests of all kinds.
    pub fn requests(&self) -> u64 {
        sum([self.load.requests, self.store.requests, self.atomic.requests])
    }

    /// Their sectors.
    pub fn sectors(&self) -> u64 {
        sum([self.load.sectors, self.store.sectors, self.atomic.sectors])
    }
}

/// Accesses to shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SharedCounts {
    /// Loads.
    pub load: Wavefronts,
    /// Stores.
    pub store: Wavefronts,
    /// Atomics; that equal addresses are served one after the other comes on top.
    pub atomic: Wavefronts,
}

impl SharedCounts {
    /// Wavefronts of all kinds.
    pub fn wavefronts(&self) -> u64 {
        sum([self.load.wavefronts, self.store.wavefronts, self.atomic.wavefronts])
    }

    /// Those that conflicts cost.
    pub fn conflicts(&self) -> u64 {
        sum([self.load.conflicts(), self.store.conflicts(), self.atomic.conflicts()])
    }
}

/// What one line of PTX did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HotSpot {
    /// The line in the module's text.
    pub line: u32,
    /// Warp instructions.
    pub warp_instructions: u64,
    /// Sectors of its global requests.
    pub sectors: u64,
    /// Wavefronts that its bank conflicts cost.
    pub conflicts: u64,
    /// How often a warp's lanes went different ways there.
    pub divergent: u64,
}

/// How long the blocks of a launch take at least, if each warp waits for nothing but its own results, its block's barriers and
/// its grid's: in clocks of the multiprocessor of the GPU whose latencies were followed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Chain {
    /// The [name](crate::profile::Profile::name) of that GPU: the one that the emulator posed as.
    pub gpu: String,
    /// The block that takes longest.
    pub longest: u64,
    /// The one that takes shortest.
    pub shortest: u64,
}

/// The counts of one launch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LaunchCounts {
    /// What was launched.
    pub launch: Launch,
    /// Instructions executed, a warp's counted once whatever its lanes; categories that did not occur are absent.
    pub warp_instructions: BTreeMap<Category, u64>,
    /// Instructions executed, by active lane.
    pub lane_instructions: u64,
    /// FLOP.
    pub flop: Flop,
    /// Special functions, by lane.
    pub special: u64,
    /// Global memory.
    pub global: GlobalCounts,
    /// Shared memory.
    pub shared: SharedCounts,
    /// Arrivals of a warp at a barrier.
    pub barriers: u64,
    /// Branches at which a warp's lanes went different ways.
    pub divergent_branches: u64,
    /// The lines with most warp instructions, at most 20, busiest first.
    pub hot_spots: Vec<HotSpot>,
    /// Accesses to global memory by line of PTX.
    #[serde(default)]
    pub accesses: BTreeMap<u32, Requests>,
    /// The longest chains of dependent instructions; none for a kernel that reads a clock, and may wait for it.
    #[serde(default)]
    pub chain: Option<Chain>,
}

impl LaunchCounts {
    /// Warp instructions of all categories.
    pub fn all_warp_instructions(&self) -> u64 {
        sum(self.warp_instructions.values().copied())
    }

    /// How many they are in machine code, see [`Category::issued`].
    pub fn issued_warp_instructions(&self) -> u64 {
        sum(self.warp_instructions.iter().map(|(category, &n)| category.issued() * n))
    }

    /// Lanes active on average, as a share of the warp; 1 if nothing ran.
    pub fn active_lane_ratio(&self) -> f64 {
        match self.all_warp_instructions() {
            0 => 1.0,
            warps => self.lane_instructions as f64 / (warps as f64 * WARP as f64),
        }
    }
}
