//! What each operation reads and writes, as numbers of a warp's registers.

use super::{Latencies, PLACES, place};
use crate::counters::{Category, Wait};
use crate::exec::code::{Access, Action, Code, MbarrierOp};
use crate::exec::lower::{FREE_SLOTS, sink};
use crate::exec::used::Used;
use crate::lanes::Slot;

/// One operation.
#[derive(Debug, Clone, Copy)]
pub(in crate::exec) struct Step {
    /// Where its registers start in [`Steps::registers`]: first those it reads, then those it writes.
    first: u32,
    reads: u8,
    writes: u8,
    /// Slots of the scheduler that it takes. None: machine code folds it into what uses its result.
    pub issues: u8,
    /// The place of its result's latency.
    latency: u8,
    /// Its result comes from memory: whether L1 is of no use.
    pub memory: Option<bool>,
    /// It may look whether another thread has done something.
    pub looks: bool,
    /// What it stores ends a wait.
    pub stores: bool,
    /// How it may be moved among the others.
    pub order: Order,
}

/// How the assembler may move an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::exec) enum Order {
    /// Wherever its operands are ready.
    Free,
    /// Not across barriers: it accesses memory.
    Memory,
    /// No access to memory moves across it.
    Fence,
    /// Nothing moves across it: it begins a loop's next round, or ends the loop.
    Loop,
}

impl Order {
    fn of(action: &Action, pc: usize) -> Order {
        match action {
            Action::Branch(target) if *target as usize <= pc => Order::Loop,
            Action::Table(targets) if targets.iter().any(|&target| target as usize <= pc) => Order::Loop,
            Action::Barrier(_) | Action::CopyWait(_) => Order::Fence,
            Action::Load(_)
            | Action::Store(_)
            | Action::Atomic(_)
            | Action::CopyAsync(_)
            | Action::CopyBulk(_)
            | Action::CopyCommit
            | Action::Mbarrier(_)
            | Action::LoadMatrix(_)
            | Action::StoreMatrix(_)
            | Action::LoadTile(_)
            | Action::StoreTile(_) => Order::Memory,
            _ => Order::Free,
        }
    }
}

/// All operations of a kernel.
#[derive(Debug)]
pub(in crate::exec) struct Steps {
    steps: Vec<Step>,
    registers: Vec<u32>,
    /// Registers of a warp: rows, predicates, the carry flag.
    pub count: usize,
}

impl Steps {
    pub fn of(code: &Code) -> Steps {
        let count = code.rows + code.predicates + 1;
        let mut all = Steps { steps: Vec::with_capacity(code.ops.len()), registers: Vec::new(), count };
        for pc in 0..code.ops.len() {
            all.add(code, pc);
        }
        all
    }

    fn add(&mut self, code: &Code, pc: usize) {
        let (op, class) = (&code.ops[pc], &code.classes[pc]);
        let number = |slot: Slot, predicate: bool| {
            let free = slot.is_constant() || slot.number() < FREE_SLOTS[usize::from(predicate)];
            let first = if predicate { code.rows as u32 } else { 0 };
            (!free).then_some(first + slot.number())
        };
        let used = Used::by(code, op, pc);
        let first = self.registers.len();
        self.registers.extend(op.guard.and_then(|guard| number(guard, true)));
        self.registers.extend(used.reads.iter().filter_map(|&(slot, predicate)| number(slot, predicate)));
        let carry = used.carries.then_some((code.rows + code.predicates) as u32);
        self.registers.extend(carry);
        let writes_from = self.registers.len();
        self.registers.extend(used.writes.iter().filter_map(|&(slot, predicate)| number(slot, predicate)));
        self.registers.extend(carry);
        let is_used = |slot: &Slot| slot.number() != sink().number();
        self.steps.push(Step {
            first: first as u32,
            reads: (writes_from - first) as u8,
            writes: (self.registers.len() - writes_from) as u8,
            issues: class.category.issued() as u8,
            latency: place(class.wait),
            memory: match class.wait {
                Wait::Memory { bypasses_l1 } => Some(bypasses_l1),
                _ => None,
            },
            looks: match &op.action {
                Action::Load(Access { strong, .. }) => *strong,
                Action::Atomic(_) => code.names(op).first().is_some_and(is_used),
                Action::Mbarrier(barrier) => matches!(barrier.op, MbarrierOp::Wait { .. }),
                _ => false,
            },
            order: if class.category == Category::Parameter { Order::Free } else { Order::of(&op.action, pc) },
            stores: match &op.action {
                Action::Store(_) | Action::StoreMatrix(_) | Action::StoreTile(_) | Action::Barrier(_) => true,
                Action::Atomic(_) => !code.names(op).first().is_some_and(is_used),
                Action::Mbarrier(barrier) => !matches!(barrier.op, MbarrierOp::Wait { .. }),
                _ => false,
            },
        });
    }

    #[inline(always)]
    pub fn at(&self, pc: u32) -> &Step {
        &self.steps[pc as usize]
    }

    /// What a step reads, its guard among it.
    #[inline(always)]
    pub fn reads(&self, step: &Step) -> &[u32] {
        &self.registers[step.first as usize..][..usize::from(step.reads)]
    }

    /// What it writes.
    #[inline(always)]
    pub fn writes(&self, step: &Step) -> &[u32] {
        &self.registers[step.first as usize + usize::from(step.reads)..][..usize::from(step.writes)]
    }
}

impl Step {
    /// The latency of what it writes, as far as it does not depend on where memory lies.
    #[inline(always)]
    pub fn latency(&self, latencies: &Latencies) -> u64 {
        latencies.fixed[usize::from(self.latency) % PLACES].into()
    }
}
