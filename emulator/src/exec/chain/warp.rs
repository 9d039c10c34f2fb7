//! The times of one warp.

use std::collections::VecDeque;

use super::Latencies;
use super::steps::{Step, Steps};

/// What a warp waits for, and until when.
#[derive(Debug, Clone, Default)]
struct Times {
    /// When each register is ready, in clocks from the block's start.
    ready: Box<[u64]>,
    /// When the next instruction may issue.
    next: u64,
    /// When the copies of each closed group have arrived, oldest first, and those of the open one.
    groups: VecDeque<u64>,
    open: u64,
}

/// A look at what another thread may have done.
#[derive(Debug, Clone)]
struct Look {
    pc: u32,
    address: u64,
    /// As it was before the first such look.
    before: Times,
}

/// One warp.
#[derive(Debug, Clone, Default)]
pub(super) struct WarpChain {
    times: Times,
    /// When the operation at hand issued.
    pub issued: u64,
    last: Option<Box<Look>>,
}

impl WarpChain {
    pub fn new(registers: usize) -> WarpChain {
        let ready = vec![0; registers].into();
        WarpChain { times: Times { ready, ..Times::default() }, ..WarpChain::default() }
    }

    /// Starts over.
    pub fn reset(&mut self) {
        let Times { ready, next, groups, open } = &mut self.times;
        ready.fill(0);
        groups.clear();
        (*next, *open, self.issued, self.last) = (0, 0, 0, None);
    }

    /// Issues an operation; what does not come from memory is ready after its latency. `whole`: in all lanes.
    #[inline(always)]
    pub fn issue(&mut self, steps: &Steps, step: &Step, latencies: &Latencies, runs: bool, whole: bool) {
        let mut at = if step.issues == 0 { 0 } else { self.times.next };
        for &register in steps.reads(step) {
            at = at.max(self.times.ready[register as usize]);
        }
        if step.issues > 0 {
            self.issued = at;
            self.times.next = at + u64::from(step.issues);
        }
        if step.stores && self.last.is_some() {
            self.last = None;
        }
        if runs {
            self.write(steps, step, at + step.latency(latencies), whole);
        }
    }

    /// What a step writes is ready then. Other lanes of the registers may still wait for what was written before.
    #[inline(always)]
    pub fn write(&mut self, steps: &Steps, step: &Step, at: u64, whole: bool) {
        for &register in steps.writes(step) {
            let ready = &mut self.times.ready[register as usize];
            *ready = if whole { at } else { at.max(*ready) };
        }
    }

    /// About to look at an address: as if for the first time, if it only does so again.
    pub fn look(&mut self, pc: u32, address: u64) {
        match &self.last {
            Some(look) if (look.pc, look.address) == (pc, address) => self.times.clone_from(&look.before),
            _ => self.last = Some(Box::new(Look { pc, address, before: self.times.clone() })),
        }
    }

    /// When the next operation may issue.
    pub fn next(&self) -> u64 {
        self.times.next
    }

    /// Nothing issues before then.
    pub fn wait(&mut self, until: u64) {
        self.times.next = self.times.next.max(until);
    }

    /// Copies that the operation at hand started arrive then.
    pub fn copies(&mut self, until: u64) {
        self.times.open = self.times.open.max(until);
    }

    /// Closes the group of copies. What only a part of the warp closes is another group for each lane, which nobody follows.
    pub fn commit(&mut self, whole: bool) {
        let until = std::mem::take(&mut self.times.open);
        if whole {
            self.times.groups.push_back(until);
        } else {
            self.times.groups.clear();
        }
    }

    /// Waits until so many groups are pending, or for all copies.
    pub fn wait_copies(&mut self, pending: Option<u32>, whole: bool) {
        let done = self.times.groups.len().saturating_sub(pending.unwrap_or(0) as usize);
        let mut until = self.times.groups.drain(..done).max().unwrap_or(0);
        if pending.is_none() {
            until = until.max(std::mem::take(&mut self.times.open));
        }
        if whole {
            self.wait(until);
        }
    }
}
