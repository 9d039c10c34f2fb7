//! Values made of bytes that nobody wrote. Programs load more than they need and drop the rest, so that such a load is no
//! fault yet: the lanes of the registers that take it are marked, marks go with the values, and the fault comes where a
//! marked value reaches a store, an address or a branch.
//!
//! A mark stands for a whole register: what masks some of its bits away stays marked. Shared and global memory take no marks,
//! as a store is where they end; local memory forgets that the bytes were written.

use std::collections::HashMap;

use crate::exec::code::{Access, Action, Bank, BarrierKind, BaseWidth, MbarrierOp, Op};
use crate::exec::lower::FREE_SLOTS;
use crate::exec::ops::place::addresses;
use crate::exec::run::env::{Env, Faulty};
use crate::fault::Fault;
use crate::lanes::{Lanes, Slot, WARP};
use crate::memory::space_of;
use crate::ptx::{BarrierOp, Space};

const ADDRESS: &str = "an address";
const STORE: &str = "a store";
const BRANCH: &str = "a branch";

/// Lanes of a register, and which load their value comes from.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    lanes: u32,
    origin: usize,
}

impl Mark {
    fn join(&mut self, other: Mark) {
        if self.lanes == 0 {
            self.origin = other.origin;
        }
        self.lanes |= other.lanes;
    }

    fn within(self, lanes: u32) -> Mark {
        Mark { lanes: self.lanes & lanes, ..self }
    }
}

/// The marks of one warp.
#[derive(Debug, Default)]
pub(in crate::exec) struct Marks {
    /// By number of the slot that the program names, and whether it is a predicate.
    marks: HashMap<(u32, bool), Mark>,
    carry: Mark,
    /// What to report, for each line that loaded such bytes.
    origins: Vec<Fault>,
}

impl Marks {
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty() && self.carry.lanes == 0
    }

    fn of(&self, slot: Slot, predicate: bool) -> Mark {
        if slot.is_constant() {
            return Mark::default();
        }
        self.marks.get(&(slot.number(), predicate)).copied().unwrap_or_default()
    }

    /// Sets what the lanes of `exec` hold.
    fn set(&mut self, slot: Slot, predicate: bool, mark: Mark, exec: u32) {
        if slot.is_constant() || slot.number() < FREE_SLOTS[usize::from(predicate)] {
            return;
        }
        let key = (slot.number(), predicate);
        let mut new = self.of(slot, predicate).within(!exec);
        new.join(mark.within(exec));
        if new.lanes == 0 {
            self.marks.remove(&key);
        } else {
            self.marks.insert(key, new);
        }
    }

    fn clear(&mut self, slots: &[Slot], exec: u32) {
        for &slot in slots {
            self.set(slot, false, Mark::default(), exec);
        }
    }

    /// The fault, if a marked value is used here.
    fn used(&self, mark: Mark, exec: u32, by: &str, env: &Env<'_, '_>, op: &Op) -> Faulty<()> {
        let reached = mark.lanes & exec;
        if reached == 0 {
            return Ok(());
        }
        let mut fault = self.origins[mark.origin].clone();
        let text = env.grid.code.text(op.line).trim();
        let lane = reached.trailing_zeros();
        fault.what += &format!("; the value reaches {by} at line {} (`{text}`) in lane {lane}", op.line);
        Err(Box::new(fault))
    }

    fn all_used(&self, slots: &[Slot], exec: u32, by: &str, env: &Env<'_, '_>, op: &Op) -> Faulty<()> {
        slots.iter().try_for_each(|&slot| self.used(self.of(slot, false), exec, by, env, op))
    }

    /// Registers to registers.
    fn pass(&mut self, lanes: &Lanes, env: &Env<'_, '_>, op: &Op, pc: u32, exec: u32) {
        let code = env.grid.code;
        let (flow, slots) = (code.flows[pc as usize], code.names(op));
        let is_predicate = |n: usize| flow.predicates >> n & 1 == 1;
        let results = usize::from(flow.results);
        let mut mark = if flow.carries { self.carry } else { Mark::default() };
        match slots {
            &[_, a, b, p] if flow.selects => {
                let first = lanes.predicate(p);
                mark.join(self.of(a, false).within(first));
                mark.join(self.of(b, false).within(!first));
                mark.join(self.of(p, true));
            }
            _ => (results..slots.len()).for_each(|n| mark.join(self.of(slots[n], is_predicate(n)))),
        }
        mark = mark.within(exec);
        // Every lane of a matrix product is made of values of others.
        if matches!(op.action, Action::Matrix(_)) && mark.lanes != 0 {
            mark.lanes = exec;
        }
        (0..results).for_each(|n| self.set(slots[n], is_predicate(n), mark, exec));
        if flow.carries {
            self.carry = self.carry.within(!exec);
            self.carry.join(mark);
        }
    }

    fn store(&self, lanes: &Lanes, env: &Env<'_, '_>, op: &Op, access: &Access, exec: u32) -> Faulty<()> {
        let (data, base) = env.grid.code.names(op).split_at(access.count.into());
        self.all_used(base, exec, ADDRESS, env, op)?;
        let at = addresses(lanes, &access.address, env.grid.operands(op).get(data.len()).copied());
        let is_local = |lane: usize| match access.address.bank {
            Bank::Local => true,
            Bank::Generic => space_of(at[lane]).0 == Space::Local,
            _ => false,
        };
        let elsewhere = (0..WARP).filter(|&l| !is_local(l)).fold(0, |m, l| m | 1 << l);
        self.all_used(data, exec & elsewhere, STORE, env, op)
    }

    /// Goes with the values of an operation about to run: `mask` are the lanes that are at it, `exec` those that run it.
    ///
    /// # Errors
    /// A marked value reaches a store, an address or a branch.
    pub fn follow(
        &mut self,
        lanes: &Lanes,
        env: &Env<'_, '_>,
        op: &Op,
        pc: u32,
        (mask, exec): (u32, u32),
    ) -> Faulty<()> {
        let slots = env.grid.code.names(op);
        if let Some(guard) = op.guard {
            self.used(self.of(guard, true), mask, BRANCH, env, op)?;
        }
        match &op.action {
            Action::Row(_) | Action::Matrix(_) => self.pass(lanes, env, op, pc, exec),
            Action::Load(access) => {
                let (data, base) = slots.split_at(access.count.into());
                self.all_used(base, exec, ADDRESS, env, op)?;
                self.clear(data, exec);
            }
            Action::Store(access) => self.store(lanes, env, op, access, exec)?,
            Action::Atomic(atomic) => {
                let based = usize::from(atomic.address.base != BaseWidth::None);
                self.all_used(&slots[1..1 + based], exec, ADDRESS, env, op)?;
                self.all_used(&slots[1 + based..], exec, STORE, env, op)?;
                self.clear(&slots[..1], exec);
            }
            Action::CopyAsync(_) | Action::CopyBulk(_) => self.all_used(slots, exec, ADDRESS, env, op)?,
            Action::Mbarrier(barrier) => {
                let results = usize::from(barrier.op.has_result());
                self.all_used(&slots[results..], exec, ADDRESS, env, op)?;
                let predicate = matches!(barrier.op, MbarrierOp::Wait { .. });
                slots[..results].iter().for_each(|&slot| self.set(slot, predicate, Mark::default(), exec));
            }
            Action::LoadMatrix(m) => {
                self.all_used(&slots[m.count.into()..], exec, ADDRESS, env, op)?;
                self.clear(&slots[..m.count.into()], exec);
            }
            Action::StoreMatrix(m) => {
                self.all_used(&slots[m.count.into()..], exec, ADDRESS, env, op)?;
                self.all_used(&slots[..m.count.into()], exec, STORE, env, op)?;
            }
            Action::LoadTile(t) => {
                self.all_used(&slots[t.registers.into()..], exec, ADDRESS, env, op)?;
                self.clear(&slots[..t.registers.into()], exec);
            }
            Action::StoreTile(t) => {
                self.all_used(&slots[t.registers.into()..], exec, ADDRESS, env, op)?;
                self.all_used(&slots[..t.registers.into()], exec, STORE, env, op)?;
            }
            Action::Table(_) | Action::WarpSync => self.all_used(slots, exec, BRANCH, env, op)?,
            Action::Barrier(barrier) => match barrier.kind {
                BarrierKind::Reduce(reduction) => {
                    let (result, rest) = (slots[0], &slots[1..]);
                    let (&truth, numbers) = rest.split_last().unwrap_or((&result, &[]));
                    self.all_used(numbers, exec, BRANCH, env, op)?;
                    self.used(self.of(truth, true), exec, BRANCH, env, op)?;
                    self.set(result, reduction != BarrierOp::Popc, Mark::default(), exec);
                }
                _ => self.all_used(slots, exec, BRANCH, env, op)?,
            },
            Action::Shuffle(mode) => {
                let &[destination, predicate, value, lane, clamp, members] = slots else { return Ok(()) };
                self.all_used(&[lane, clamp, members], exec, BRANCH, env, op)?;
                let rows = env.grid.operands(op);
                let (old, b, c) = (self.of(value, false), *lanes.row(rows[3]), *lanes.row(rows[4]));
                let comes_marked = |&l: &usize| old.lanes >> mode.source(l, b[l], c[l]).0 & 1 == 1;
                let marked = (0..WARP).filter(|l| exec >> l & 1 == 1).filter(comes_marked).fold(0, |m, l| m | 1 << l);
                self.set(destination, false, Mark { lanes: marked, ..old }, exec);
                self.set(predicate, true, Mark::default(), exec);
            }
            Action::Vote(vote) => {
                let mut mark = self.of(slots[1], true).within(exec);
                mark.lanes = if mark.lanes == 0 { 0 } else { exec };
                self.set(slots[0], *vote != crate::exec::code::Vote::Ballot, mark, exec);
            }
            Action::Match { .. } | Action::Reduce(..) => {
                let value = slots[slots.len() - 2];
                let mut mark = self.of(value, false).within(exec);
                mark.lanes = if mark.lanes == 0 { 0 } else { exec };
                self.set(slots[0], false, mark, exec);
                if matches!(op.action, Action::Match { .. }) {
                    self.set(slots[1], true, mark, exec);
                }
            }
            Action::Elect => {
                self.all_used(&slots[2..], exec, BRANCH, env, op)?;
                self.set(slots[0], false, Mark::default(), exec);
                self.set(slots[1], true, Mark::default(), exec);
            }
            Action::ActiveMask | Action::Clock(_) => self.clear(&slots[..1], exec),
            Action::Branch(_)
            | Action::Exit
            | Action::Trap
            | Action::CopyCommit
            | Action::CopyWait(_)
            | Action::Fence { .. }
            | Action::Yield
            | Action::Nothing
            | Action::Print { .. }
            | Action::Assert(_) => {}
        }
        Ok(())
    }

    /// Marks what a load brought: for each of its registers the lanes whose bytes nobody wrote.
    pub fn mark(&mut self, fault: Fault, registers: impl Iterator<Item = (Slot, u32)>) {
        let known = self.origins.iter().position(|o| o.line == fault.line);
        let origin = known.unwrap_or_else(|| {
            self.origins.push(fault);
            self.origins.len() - 1
        });
        for (slot, lanes) in registers {
            self.set(slot, false, Mark { lanes, origin }, lanes);
        }
    }

    /// The lanes of a register that hold such values.
    pub fn lanes(&self, slot: Slot) -> u32 {
        self.of(slot, false).lanes
    }
}
