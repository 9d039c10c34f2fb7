//! What a warp's operations tell the counters, and the chain of results that wait for each other.

use super::env::{Env, Faulty};
use super::warp::Warp;
use crate::exec::chain::{Running, Words};
use crate::exec::code::{Access, Action, Address, Atomic, Bank, Op};
use crate::exec::ops::place::addresses;
use crate::exec::ops::{access, atomic};
use crate::lanes::{Slot, WARP};
use crate::memory::space_of;
use crate::ptx::{AtomicOp, Space};

impl Warp {
    /// The lanes of `exec` are about to run an operation.
    #[inline(always)]
    pub(super) fn count(&self, env: &mut Env<'_, '_>, op: &Op, pc: u32, exec: u32) {
        let Some(counters) = &mut env.counters else { return };
        // mostly all, and not every host counts bits in one instruction
        counters.executed(pc, if exec == u32::MAX { WARP as u32 } else { exec.count_ones() });
        // where lanes meet it issues once they have
        if let Some(chain) = &mut env.chain
            && !op.action.gathers()
        {
            if exec != 0
                && chain.looks(pc)
                && let Some((_, address)) = self.address(env.grid.operands(op), op, exec)
            {
                chain.look(self.index, pc, address);
            }
            chain.issue(pc, self.running(exec));
        }
    }

    /// A load, and when its registers are ready.
    #[inline(always)]
    pub(super) fn load(&mut self, env: &mut Env<'_, '_>, op: &Op, load: &Access, exec: u32, pc: u32) -> Faulty<()> {
        let grid = env.grid;
        let word = if load.strong { self.grid_word(env, op, exec) } else { None };
        let mut word = word.map(|word| (word, grid.arrivals.turn()));
        access::load(self, env, op, load, exec, pc)?;
        let complete = word.as_mut().map_or(0, |(word, words)| self.meet_grid(env, *word, words, false));
        self.loaded(env, pc, exec, complete);
        Ok(())
    }

    /// An atomic, and when its result is ready.
    #[inline(always)]
    pub(super) fn atomic(&mut self, env: &mut Env<'_, '_>, op: &Op, atomic: &Atomic, exec: u32, pc: u32) -> Faulty<()> {
        let grid = env.grid;
        let mut word = self.grid_word(env, op, exec).map(|word| (word, grid.arrivals.turn()));
        atomic::run(self, env, op, atomic, exec, pc)?;
        let adds = matches!(atomic.op, AtomicOp::Add | AtomicOp::Inc);
        let complete = word.as_mut().map_or(0, |(word, words)| self.meet_grid(env, *word, words, adds));
        self.loaded(env, pc, exec, complete);
        Ok(())
    }

    /// The lanes of `exec` have met, and run an operation.
    #[inline(always)]
    pub(super) fn issued(&self, env: &mut Env<'_, '_>, pc: u32, exec: u32) {
        if let Some(chain) = &mut env.chain {
            chain.issue(pc, self.running(exec));
        }
        self.loaded(env, pc, exec, 0);
    }

    /// The operation has accessed memory; at a word that is a barrier of the grid, all blocks had come at the time `complete`.
    #[inline(always)]
    fn loaded(&self, env: &mut Env<'_, '_>, pc: u32, exec: u32, complete: u64) {
        if let Some(chain) = &mut env.chain {
            chain.loaded(pc, self.running(exec), complete);
        }
    }

    #[inline(always)]
    pub(super) fn running(&self, exec: u32) -> Running {
        Running { warp: self.index, any: exec != 0, whole: exec == self.alive }
    }

    /// The word of global memory that one lane of a cooperative launch looks at or changes.
    #[inline(always)]
    fn grid_word(&self, env: &Env<'_, '_>, op: &Op, exec: u32) -> Option<u64> {
        if env.chain.is_none() || !env.grid.launch.cooperative || exec.count_ones() != 1 {
            return None;
        }
        let is_global = |&(bank, address): &(Bank, u64)| match bank {
            Bank::Global => true,
            Bank::Generic => space_of(address).0 == Space::Global,
            _ => false,
        };
        self.address(env.grid.operands(op), op, exec).filter(is_global).map(|(_, address)| address)
    }

    /// When all blocks had come to the grid's barrier that a word may be: 0 if it is none. `adds`: this block comes now.
    #[cold]
    fn meet_grid(&self, env: &Env<'_, '_>, word: u64, words: &mut Words, adds: bool) -> u64 {
        let Some(chain) = &env.chain else { return 0 };
        let [x, y, z] = env.grid.launch.grid;
        let [i, j, k] = env.block;
        let blocks = u64::from(x) * u64::from(y) * u64::from(z);
        chain.meets(words, self.index, word, (k * y + j) * x + i, blocks, adds)
    }

    /// The address of the first lane of `exec`, of an operation that may look at what other threads did, and in which memory.
    fn address(&self, slots: &[Slot], op: &Op, exec: u32) -> Option<(Bank, u64)> {
        let (address, base): (&Address, usize) = match &op.action {
            Action::Load(access) => (&access.address, access.count.into()),
            Action::Atomic(atomic) => (&atomic.address, 1),
            Action::Mbarrier(barrier) => (&barrier.address, barrier.op.has_result().into()),
            _ => return None,
        };
        let at = addresses(&self.lanes, address, slots.get(base).copied());
        Some((address.bank, at[exec.trailing_zeros() as usize % WARP]))
    }
}
