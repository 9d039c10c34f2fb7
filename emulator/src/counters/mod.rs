//! What a launch did, counted exactly: instructions, FLOP, memory requests and sectors, bank conflicts.
//!
//! Each host thread has its own [`Counters`]; [`Counters::merge`] joins them, in any order with the same result, and
//! [`Counters::summary`] turns them into [`LaunchCounts`] with the help of each instruction's [`Class`].

mod banks;
mod class;
mod launch;
pub(crate) mod sectors;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lanes::WARP;
use banks::Banks;
use sectors::Sectors;

pub use class::{Category, Class, Pipe, Wait, class_of};
pub use launch::{Chain, Flop, GlobalCounts, HotSpot, Launch, LaunchCounts, SharedCounts};

/// Bytes of a sector, the unit in which caches and memory move data.
pub const SECTOR: u64 = 32;

/// How many source lines [`LaunchCounts::hot_spots`] lists.
const HOT_SPOTS: usize = 20;

/// What an access does to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccessKind {
    /// Reads.
    Load,
    /// Writes.
    Store,
    /// Reads and writes.
    Atomic,
}

/// Warp-wide accesses to global memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Requests {
    /// Instructions executed by a warp with at least one lane.
    pub requests: u64,
    /// Sectors of 32 bytes that each request touched, added up.
    pub sectors: u64,
    /// Bytes that the lanes asked for; of equal addresses each counts.
    pub bytes: u64,
}

/// Warp-wide accesses to shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wavefronts {
    /// Instructions executed by a warp with at least one lane.
    pub requests: u64,
    /// Passes over the 32 banks that they needed.
    pub wavefronts: u64,
    /// Passes without any bank conflict.
    pub ideal: u64,
}

impl Wavefronts {
    /// Passes that conflicts cost.
    pub fn conflicts(&self) -> u64 {
        self.wavefronts.saturating_sub(self.ideal)
    }
}

/// The counts of one instruction.
#[derive(Debug, Clone, Copy, Default)]
struct Site {
    warps: u64,
    lanes: u64,
    requests: u64,
    sectors: u64,
    bytes: u64,
    conflicts: u64,
    divergent: u64,
}

/// Counts of one host thread during one launch.
#[derive(Debug, Clone)]
pub struct Counters {
    sites: Vec<Site>,
    global: [Requests; 3],
    shared: [Wavefronts; 3],
    sectors: Sectors,
    banks: Banks,
    barriers: u64,
    /// The shortest and the longest block, in clocks.
    clocks: Option<[u64; 2]>,
}

impl Counters {
    /// For code of so many instructions.
    pub fn new(code_len: usize) -> Counters {
        Counters {
            sites: vec![Site::default(); code_len],
            global: [Requests::default(); 3],
            shared: [Wavefronts::default(); 3],
            sectors: Sectors::default(),
            banks: Banks::default(),
            barriers: 0,
            clocks: None,
        }
    }

    /// A warp executed instruction `at` with so many lanes.
    #[inline(always)]
    pub fn executed(&mut self, at: u32, active_lanes: u32) {
        let site = &mut self.sites[at as usize];
        site.warps += 1;
        site.lanes += u64::from(active_lanes);
    }

    /// The lanes of `mask` accessed `bytes` bytes each of global memory.
    pub fn global(&mut self, at: u32, kind: AccessKind, addresses: &[u64; WARP], mask: u32, bytes: u32) {
        if mask == 0 || bytes == 0 {
            return;
        }
        let sectors = self.sectors.touch(kind, addresses, mask, bytes);
        let total = &mut self.global[kind as usize];
        total.requests += 1;
        total.sectors += sectors;
        let bytes = u64::from(mask.count_ones()) * u64::from(bytes);
        total.bytes += bytes;
        let site = &mut self.sites[at as usize];
        site.requests += 1;
        site.sectors += sectors;
        site.bytes += bytes;
    }

    /// The lanes of `mask` accessed `bytes` bytes each of shared memory, at byte offsets within their block's.
    pub fn shared(&mut self, at: u32, kind: AccessKind, offsets: &[u32; WARP], mask: u32, bytes: u32) {
        if mask == 0 || bytes == 0 {
            return;
        }
        let (wavefronts, ideal) = self.banks.wavefronts(offsets, mask, bytes);
        let total = &mut self.shared[kind as usize];
        total.requests += 1;
        total.wavefronts += u64::from(wavefronts);
        total.ideal += u64::from(ideal);
        self.sites[at as usize].conflicts += u64::from(wavefronts - ideal);
    }

    /// A warp arrived at a barrier.
    pub fn barrier(&mut self) {
        self.barriers += 1;
    }

    /// A block ended after so many clocks at least.
    pub fn ended(&mut self, clocks: u64) {
        let [shortest, longest] = self.clocks.unwrap_or([clocks; 2]);
        self.clocks = Some([shortest.min(clocks), longest.max(clocks)]);
    }

    /// A warp's lanes took different ways at branch `at`.
    pub fn divergent_branch(&mut self, at: u32) {
        self.sites[at as usize].divergent += 1;
    }

    /// Adds what another thread counted in the same launch.
    pub fn merge(&mut self, other: &Counters) {
        if self.sites.len() < other.sites.len() {
            self.sites.resize(other.sites.len(), Site::default());
        }
        for (site, more) in self.sites.iter_mut().zip(&other.sites) {
            site.warps += more.warps;
            site.lanes += more.lanes;
            site.requests += more.requests;
            site.sectors += more.sectors;
            site.bytes += more.bytes;
            site.conflicts += more.conflicts;
            site.divergent += more.divergent;
        }
        for (total, more) in self.global.iter_mut().zip(&other.global) {
            total.requests += more.requests;
            total.sectors += more.sectors;
            total.bytes += more.bytes;
        }
        for (total, more) in self.shared.iter_mut().zip(&other.shared) {
            total.requests += more.requests;
            total.wavefronts += more.wavefronts;
            total.ideal += more.ideal;
        }
        self.sectors.merge(&other.sectors);
        self.barriers += other.barriers;
        other.clocks.iter().flatten().for_each(|&clocks| self.ended(clocks));
    }

    /// The longest chains, by the latencies of the GPU of that name, if they were followed.
    pub fn chain(&self, gpu: &str) -> Option<Chain> {
        self.clocks.map(|[shortest, longest]| Chain { gpu: gpu.into(), longest, shortest })
    }

    /// The launch's counts but the chain; `code` holds the class of each instruction.
    pub fn summary(&self, code: &[Class], launch: &Launch) -> LaunchCounts {
        let mut warp_instructions = BTreeMap::new();
        let mut lines: BTreeMap<u32, HotSpot> = BTreeMap::new();
        let mut accesses: BTreeMap<u32, Requests> = BTreeMap::new();
        let (mut flop, mut special, mut lane_instructions, mut divergent_branches) = (Flop::default(), 0, 0, 0);
        for (site, class) in self.sites.iter().zip(code).filter(|(site, _)| site.warps > 0) {
            *warp_instructions.entry(class.category).or_insert(0) += site.warps;
            lane_instructions += site.lanes;
            divergent_branches += site.divergent;
            special += site.lanes * u64::from(class.special_per_lane);
            flop.add(class, site.warps, site.lanes);
            let spot = lines.entry(class.line).or_insert(HotSpot { line: class.line, ..HotSpot::default() });
            spot.warp_instructions += site.warps;
            spot.sectors += site.sectors;
            spot.conflicts += site.conflicts;
            spot.divergent += site.divergent;
            if site.requests > 0 {
                let access = accesses.entry(class.line).or_default();
                access.requests += site.requests;
                access.sectors += site.sectors;
                access.bytes += site.bytes;
            }
        }
        let mut hot_spots: Vec<HotSpot> = lines.into_values().collect();
        hot_spots.sort_by_key(|spot| (std::cmp::Reverse(spot.warp_instructions), spot.line));
        hot_spots.truncate(HOT_SPOTS);
        let [load, store, atomic] = self.global;
        let unique = self.sectors.unique();
        let global = GlobalCounts {
            load,
            store,
            atomic,
            unique_load_bytes: unique.loaded * SECTOR,
            unique_store_bytes: unique.stored * SECTOR,
            unique_bytes: unique.either * SECTOR,
        };
        let [load, store, atomic] = self.shared;
        LaunchCounts {
            launch: launch.clone(),
            warp_instructions,
            lane_instructions,
            flop,
            special,
            global,
            shared: SharedCounts { load, store, atomic },
            barriers: self.barriers,
            divergent_branches,
            hot_spots,
            accesses,
            chain: None,
        }
    }
}

#[cfg(test)]
mod tests;
