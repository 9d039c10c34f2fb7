//! The times of one warp.

use std::collections::VecDeque;

use super::Latencies;
use super::steps::{Order, Step, Steps};

/// What a warp waits for, and until when, in clocks from the block's start.
#[derive(Debug, Clone, Default)]
struct Times {
    /// When the instructions since the last round of a loop may issue, and those of them that access memory.
    from: u64,
    memory_from: u64,
    /// Slots of the scheduler that they take.
    slots: u64,
    /// When the last of them has issued, and the last of those that access memory.
    last: u64,
    last_memory: u64,
    /// When the copies of each closed group have arrived, oldest first, and those of the open one.
    groups: VecDeque<u64>,
    open: u64,
}

impl Times {
    fn end(&self) -> u64 {
        self.last.max(self.from + self.slots)
    }

    /// When an operation issues whose operands are ready then.
    #[inline(always)]
    fn issue(&mut self, step: &Step, ready: u64) -> u64 {
        let slots = u64::from(step.issues);
        let at = match step.order {
            Order::Free => ready.max(self.from),
            Order::Memory => ready.max(self.memory_from),
            Order::Fence => ready.max(self.last_memory).max(self.memory_from),
            Order::Loop => {
                // whatever stands in the round has issued before
                let at = ready.max(self.end());
                (self.from, self.slots, self.last) = (at + slots, 0, at + slots);
                (self.memory_from, self.last_memory) = (self.from.max(self.memory_from), self.from);
                return at;
            }
        };
        self.slots += slots;
        self.last = self.last.max(at + slots);
        if step.order != Order::Free {
            self.last_memory = self.last_memory.max(at + slots);
        }
        if step.order == Order::Fence {
            self.memory_from = at + slots;
        }
        at
    }
}

/// A look at what another thread may have done.
#[derive(Debug, Clone)]
struct Look {
    pc: u32,
    address: u64,
    /// As it was before the first such look.
    before: Times,
    /// Registers that were written since, and when they were ready before, in order. A kernel has thousands and writes few of them
    /// while it waits, so that going back by these is much less than a copy of all.
    written: Vec<(u32, u64)>,
}

impl Look {
    /// Keeps of each register only what it was at first.
    #[cold]
    fn shorten(&mut self, registers: usize) {
        let mut seen = vec![false; registers];
        self.written.retain(|&(register, _)| !std::mem::replace(&mut seen[register as usize], true));
    }
}

/// One warp.
#[derive(Debug, Clone, Default)]
pub(super) struct WarpChain {
    times: Times,
    /// When each register is ready.
    ready: Box<[u64]>,
    /// When the operation at hand issued.
    pub issued: u64,
    last: Option<Box<Look>>,
}

impl WarpChain {
    pub fn new(registers: usize) -> WarpChain {
        WarpChain { ready: vec![0; registers].into(), ..WarpChain::default() }
    }

    /// Starts over.
    pub fn reset(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        ready.fill(0);
        *self = WarpChain { ready, ..WarpChain::default() };
    }

    /// Issues an operation; what does not come from memory is ready after its latency. `whole`: in all lanes.
    #[inline(always)]
    pub fn issue(&mut self, steps: &Steps, step: &Step, latencies: &Latencies, runs: bool, whole: bool) {
        let mut ready = 0;
        for &register in steps.reads(step) {
            ready = ready.max(self.ready[register as usize]);
        }
        if step.issues > 0 {
            ready = self.times.issue(step, ready);
            self.issued = ready;
        }
        if step.stores && self.last.is_some() {
            self.last = None;
        }
        if runs {
            self.write(steps, step, ready + step.latency(latencies), whole);
        }
    }

    /// What a step writes is ready then. Other lanes of the registers may still wait for what was written before.
    #[inline(always)]
    pub fn write(&mut self, steps: &Steps, step: &Step, at: u64, whole: bool) {
        for &register in steps.writes(step) {
            let ready = &mut self.ready[register as usize];
            if let Some(look) = &mut self.last {
                look.written.push((register, *ready));
            }
            *ready = if whole { at } else { at.max(*ready) };
        }
        if let Some(look) = &mut self.last
            && look.written.len() > 2 * self.ready.len()
        {
            look.shorten(self.ready.len());
        }
    }

    /// About to look at an address: as if for the first time, if it only does so again.
    pub fn look(&mut self, pc: u32, address: u64) {
        match &mut self.last {
            Some(look) if (look.pc, look.address) == (pc, address) => {
                self.times.clone_from(&look.before);
                while let Some((register, ready)) = look.written.pop() {
                    self.ready[register as usize] = ready;
                }
            }
            _ => {
                let before = self.times.clone();
                self.last = Some(Box::new(Look { pc, address, before, written: Vec::new() }));
            }
        }
    }

    /// When all operations so far have issued.
    pub fn end(&self) -> u64 {
        self.times.end()
    }

    /// No access to memory issues before then.
    pub fn wait(&mut self, until: u64) {
        let Times { memory_from, last_memory, .. } = &mut self.times;
        *memory_from = until.max(*memory_from);
        *last_memory = until.max(*last_memory);
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
