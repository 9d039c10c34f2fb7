//! Where the names of one inlined function lie.

use std::collections::HashSet;

use crate::lanes::Slot;
use crate::ptx::{Base, Body, Guard, Instruction, Register, RegisterClass};

/// Where one inlined function's names lie.
#[derive(Clone)]
pub(in crate::exec) struct Frame<'m> {
    pub body: &'m Body,
    pub function: u32,
    pub is_entry: bool,
    pub rows: [u32; 4],
    pub predicates: u32,
    /// Local address of each local variable and call parameter of the body; shared address of shared ones.
    pub variables: Vec<u32>,
    pub parameters: Vec<u32>,
    pub results: Vec<u32>,
    /// Registers that the body reads; known only where it has an `atom.exch`.
    pub read: HashSet<Register>,
    /// What [`super::intent`] finds of loads: those that guess for a swap, and the registers that decide something.
    pub guesses: Vec<(Register, Base, i64)>,
    pub deciding: HashSet<Register>,
}

impl Frame<'_> {
    pub fn is_entry(&self) -> bool {
        self.is_entry
    }

    pub fn register(&self, register: Register) -> Slot {
        let [b16, b32, b64, b128] = self.rows;
        match register.class {
            RegisterClass::Pred => Slot::predicate(self.predicates + register.index),
            RegisterClass::B16 => Slot::register(b16 + register.index),
            RegisterClass::B32 => Slot::register(b32 + register.index),
            RegisterClass::B64 => Slot::register(b64 + 2 * register.index).of_rows(2),
            RegisterClass::B128 => Slot::register(b128 + 4 * register.index).of_rows(4),
        }
    }

    pub fn predicate(&self, guard: Guard) -> Slot {
        let slot = self.register(guard.register);
        if guard.negated { slot.negated() } else { slot }
    }

    pub fn guard(&self, instruction: &Instruction) -> Option<Slot> {
        instruction.guard.map(|guard| self.predicate(guard))
    }
}
