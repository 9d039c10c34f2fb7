//! The times of one block: of its warps, and of what they do to memory.

use std::sync::Arc;

use super::steps::Steps;
use super::touched::Touched;
use super::warp::WarpChain;
use super::{Latencies, Words};
use crate::counters::AccessKind;
use crate::lanes::WARP;
use crate::ptx::Space;

/// One block.
#[derive(Debug)]
pub(in crate::exec) struct BlockChain {
    latencies: Latencies,
    steps: Arc<Steps>,
    warps: Vec<WarpChain>,
    touched: Touched,
    /// The latency of what the operation at hand has loaded so far.
    loads: u64,
}

/// Which lanes of a warp an operation runs in.
#[derive(Debug, Clone, Copy)]
pub(in crate::exec) struct Running {
    pub warp: u32,
    /// In any.
    pub any: bool,
    /// In all that have not ended.
    pub whole: bool,
}

impl BlockChain {
    pub fn new(latencies: Latencies, warps: usize, steps: Arc<Steps>) -> BlockChain {
        let warps = vec![WarpChain::new(steps.count); warps];
        BlockChain { latencies, steps, warps, touched: Touched::default(), loads: 0 }
    }

    /// Starts over, as another block.
    pub fn reset(&mut self) {
        self.warps.iter_mut().for_each(WarpChain::reset);
        self.touched.clear();
        self.loads = 0;
    }

    /// How long the block takes.
    pub fn clocks(&self) -> u64 {
        self.warps.iter().map(WarpChain::end).max().unwrap_or(0)
    }

    /// An operation issues.
    #[inline(always)]
    pub fn issue(&mut self, pc: u32, running: Running) {
        let Running { warp, any, whole } = running;
        self.warps[warp as usize].issue(&self.steps, self.steps.at(pc), &self.latencies, any, whole);
    }

    /// Whether an operation may look for what another thread has done.
    #[inline(always)]
    pub fn looks(&self, pc: u32) -> bool {
        self.steps.at(pc).looks
    }

    /// An operation is about to look at an address, for something that another thread may have done.
    pub fn look(&mut self, warp: u32, pc: u32, address: u64) {
        self.warps[warp as usize].look(pc, address);
    }

    /// The operation at hand accesses shared memory.
    #[inline(always)]
    pub fn access_shared(&mut self, pc: u32, kind: AccessKind) {
        if self.steps.at(pc).memory.is_some() && kind != AccessKind::Store {
            self.loads = self.loads.max(self.latencies.all.shared.into());
        }
    }

    /// The operation at hand accesses memory.
    pub fn access(
        &mut self,
        pc: u32,
        (space, kind): (Space, AccessKind),
        addresses: &[u64; WARP],
        mask: u32,
        bytes: u32,
    ) {
        let all = self.latencies.all;
        let fresh = matches!(space, Space::Global | Space::Const) && self.touched.touch(addresses, mask, bytes);
        let Some(bypasses_l1) = self.steps.at(pc).memory else { return };
        let latency = match (space, kind) {
            (_, AccessKind::Store) | (Space::Param, _) => 0,
            (Space::Shared, _) => all.shared,
            (Space::Local, _) => all.l1,
            (_, AccessKind::Load) if !fresh && !bypasses_l1 => all.l1,
            _ => all.l2,
        };
        self.loads = self.loads.max(latency.into());
    }

    /// What the operation at hand has loaded comes into its registers; with a barrier of the grid, not before that was complete.
    pub fn loaded(&mut self, pc: u32, running: Running, grid_complete: u64) {
        let latency = std::mem::take(&mut self.loads);
        let (steps, step) = (&*self.steps, self.steps.at(pc));
        if step.memory.is_some() && running.any {
            let warp = &mut self.warps[running.warp as usize];
            warp.write(steps, step, warp.issued.max(grid_complete) + latency, running.whole);
        }
    }

    /// A block's addition to a word, or its look at it, in a cooperative launch: see [`Words::at`].
    pub fn meets(&self, words: &mut Words, warp: u32, address: u64, block: u32, blocks: u64, adds: bool) -> u64 {
        words.at(address, block, blocks, adds.then_some(self.warps[warp as usize].issued))
    }

    /// The operation at hand has copied into shared memory.
    pub fn copied(&mut self, warp: u32) {
        let latency = std::mem::take(&mut self.loads);
        let warp = &mut self.warps[warp as usize];
        warp.copies(warp.issued + latency);
    }

    /// What the operation at hand has loaded comes at a time that nobody follows.
    pub fn drop_loads(&mut self) {
        self.loads = 0;
    }

    /// Closes a group of copies.
    pub fn commit(&mut self, running: Running) {
        self.warps[running.warp as usize].commit(running.whole);
    }

    /// Waits for copies.
    pub fn wait_copies(&mut self, running: Running, pending: Option<u32>) {
        self.warps[running.warp as usize].wait_copies(pending, running.whole);
    }

    /// When a warp's last operation issued.
    pub fn issued(&self, warp: usize) -> u64 {
        self.warps[warp].issued
    }

    /// The last warp came to a barrier at that time: a warp that waited goes on.
    pub fn pass_barrier(&mut self, warp: usize, arrived: u64) {
        let all = self.latencies.all;
        self.warps[warp].wait(arrived + u64::from(all.barrier));
    }
}
