//! What a launch did, counted exactly: instructions, FLOP, memory requests and sectors, bank conflicts.
//!
//! Each host thread has its own [`Counters`]; [`Counters::merge`] joins them, in any order with the same result, and
//! [`Counters::summary`] turns them into [`LaunchCounts`] with the help of each instruction's [`Class`].

mod banks;
mod class;
mod launch;
pub(crate) mod sectors;

use std::collections::BTreeMap;

use bytemuck::{Pod, Zeroable};
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

/// How often an instruction was executed: by warps, and by lanes. Apart from the rest, as it is touched each time.
#[derive(Debug, Clone, Copy, Default)]
struct Executed {
    warps: u64,
    lanes: u64,
}

/// The other counts of one instruction.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Site {
    requests: u64,
    sectors: u64,
    bytes: u64,
    conflicts: u64,
    divergent: u64,
}

/// Counts of one host thread during one launch.
#[derive(Debug, Clone)]
pub struct Counters {
    executed: Vec<Executed>,
    /// A [`Site`] each: as plain numbers their zeros come from the system, page by page, as they are touched.
    sites: Vec<[u64; 5]>,
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
            executed: vec![Executed::default(); code_len],
            sites: vec![[0; 5]; code_len],
            global: [Requests::default(); 3],
            shared: [Wavefronts::default(); 3],
            sectors: Sectors::default(),
            banks: Banks::default(),
            barriers: 0,
            clocks: None,
        }
    }

    #[inline(always)]
    fn site(&mut self, at: u32) -> &mut Site {
        bytemuck::cast_mut(&mut self.sites[at as usize])
    }

    /// A warp executed instruction `at` with so many lanes.
    #[inline(always)]
    pub fn executed(&mut self, at: u32, active_lanes: u32) {
        let executed = &mut self.executed[at as usize];
        executed.warps += 1;
        executed.lanes += u64::from(active_lanes);
    }

    /// The lanes of `mask` accessed `bytes` bytes each of global memory.
    #[inline(always)]
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
        let site = self.site(at);
        site.requests += 1;
        site.sectors += sectors;
        site.bytes += bytes;
    }

    /// The lanes of `mask` accessed `bytes` bytes each of shared memory, at byte offsets within their block's.
    #[inline(always)]
    pub fn shared(&mut self, at: u32, kind: AccessKind, offsets: &[u32; WARP], mask: u32, bytes: u32) {
        if mask == 0 || bytes == 0 {
            return;
        }
        let (wavefronts, ideal) = self.banks.wavefronts(at, offsets, mask, bytes);
        let total = &mut self.shared[kind as usize];
        total.requests += 1;
        total.wavefronts += u64::from(wavefronts);
        total.ideal += u64::from(ideal);
        self.site(at).conflicts += u64::from(wavefronts - ideal);
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
        self.site(at).divergent += 1;
    }

    /// Adds what another thread counted in the same launch.
    pub fn merge(&mut self, other: &Counters) {
        if self.sites.len() < other.sites.len() {
            self.executed.resize(other.sites.len(), Executed::default());
            self.sites.resize(other.sites.len(), [0; 5]);
        }
        for (at, &Executed { warps, lanes }) in other.executed.iter().enumerate().filter(|(_, more)| more.warps > 0) {
            self.executed[at].warps += warps;
            self.executed[at].lanes += lanes;
            for (count, more) in self.sites[at].iter_mut().zip(other.sites[at]) {
                *count += more;
            }
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
        let sites = self.executed.iter().zip(&self.sites).zip(code);
        for ((&Executed { warps, lanes }, site), class) in sites.filter(|((executed, _), _)| executed.warps > 0) {
            let site: &Site = bytemuck::cast_ref(site);
            *warp_instructions.entry(class.category).or_insert(0) += warps;
            lane_instructions += lanes;
            divergent_branches += site.divergent;
            special += lanes * u64::from(class.special_per_lane);
            flop.add(class, warps, lanes);
            let spot = lines.entry(class.line).or_insert(HotSpot { line: class.line, ..HotSpot::default() });
            spot.warp_instructions += warps;
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
