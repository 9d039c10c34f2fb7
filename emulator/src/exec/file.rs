//! Where a warp keeps its registers. A compiler's PTX names every value anew, thousands in a long kernel, of which few are
//! alive at once; rows that registers take one after the other stay in the host's first cache.
//!
//! A lane's registers are a column of the file that no other lane writes, so that what holds for a thread's registers
//! holds for a warp's, whatever ways its lanes go. Registers that may be read before they are written keep rows of their own,
//! which start as zeros.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::exec::code::{Action, Code};
use crate::exec::lower::FREE_SLOTS;
use crate::exec::used::Used;
use crate::lanes::Slot;
use crate::ptx::SpecialRegister;

/// The registers' places.
#[derive(Debug)]
pub struct File {
    /// Operands of all operations.
    pub slots: Vec<Slot>,
    /// Rows of a warp.
    pub rows: usize,
    /// Special registers read, and where.
    pub specials: Vec<(SpecialRegister, Slot)>,
}

impl File {
    /// For a kernel's code.
    pub fn of(code: &Code) -> File {
        let mut registers = Registers::of(code);
        registers.follow(code);
        let (places, rows) = registers.placed();
        let place = |&slot: &Slot| match registers.number(slot) {
            Some(register) => Slot::register(places[register]).of_rows(slot.rows()),
            None => slot,
        };
        let specials = code.specials.iter().map(|(special, slot)| (*special, place(slot))).collect();
        File { slots: code.slots.iter().map(place).collect(), rows, specials }
    }
}

/// Registers, as bits.
type Set = Vec<u64>;

fn has(set: &[u64], register: usize) -> bool {
    set[register / 64] >> (register % 64) & 1 == 1
}

fn insert(set: &mut [u64], register: usize) {
    set[register / 64] |= 1 << (register % 64);
}

/// A register's place in the text: from the first operation at which it is alive to the last.
#[derive(Debug, Clone, Copy)]
struct Span {
    from: u32,
    to: u32,
    rows: u32,
}

impl Span {
    fn extend(&mut self, at: usize) {
        self.from = self.from.min(at as u32);
        self.to = self.to.max(at as u32);
    }
}

/// A kernel's registers, in order of their first mention.
struct Registers {
    /// By first row and width, the number from 1.
    numbers: Vec<u32>,
    spans: Vec<Span>,
}

impl Registers {
    fn of(code: &Code) -> Registers {
        let mut all = Registers { numbers: vec![0; 3 * (code.rows + 1)], spans: Vec::new() };
        for slot in code.slots.iter().chain(code.specials.iter().map(|(_, slot)| slot)) {
            if is_register(*slot) && all.number(*slot).is_none() {
                all.spans.push(Span { from: u32::MAX, to: 0, rows: slot.rows() });
                all.numbers[index(*slot)] = all.spans.len() as u32;
            }
        }
        all
    }

    fn number(&self, slot: Slot) -> Option<usize> {
        if !is_register(slot) {
            return None;
        }
        (self.numbers[index(slot)] as usize).checked_sub(1)
    }

    /// Finds the spans: backward data flow over basic blocks until nothing changes.
    fn follow(&mut self, code: &Code) {
        let words = self.spans.len().div_ceil(64);
        let starts = starts(code);
        let mut blocks = Vec::with_capacity(starts.len());
        for (number, &from) in starts.iter().enumerate() {
            let to = starts.get(number + 1).copied().unwrap_or(code.ops.len());
            let next = next(code, to - 1).into_iter().filter_map(|at| starts.binary_search(&at).ok()).collect();
            let mut block = Block { from, to, next, needed: vec![0; words], ended: vec![0; words] };
            self.read(code, &mut block);
            blocks.push(block);
        }
        let mut alive: Vec<Set> = blocks.iter().map(|block| block.needed.clone()).collect();
        let mut changed = true;
        while changed {
            changed = false;
            for (number, block) in blocks.iter().enumerate().rev() {
                for &next in &block.next {
                    let behind = alive[next].clone();
                    for ((known, behind), ended) in alive[number].iter_mut().zip(&behind).zip(&block.ended) {
                        let more = behind & !ended & !*known;
                        *known |= more;
                        changed |= more != 0;
                    }
                }
            }
        }
        for (number, block) in blocks.iter().enumerate() {
            for register in 0..self.spans.len() {
                if has(&alive[number], register) {
                    self.spans[register].extend(block.from);
                }
                if block.next.iter().any(|&next| has(&alive[next], register)) {
                    self.spans[register].extend(block.to - 1);
                }
            }
        }
        // What comes into the kernel is kept to its end.
        let entering = (0..self.spans.len()).filter(|&register| alive.first().is_some_and(|set| has(set, register)));
        let specials = code.specials.iter().filter_map(|(_, slot)| self.number(*slot));
        for register in entering.chain(specials).collect::<Vec<_>>() {
            self.spans[register].extend(0);
            self.spans[register].extend(code.ops.len());
        }
    }

    /// What a block's operations read and write; a write that not all lanes do ends no value.
    fn read(&mut self, code: &Code, block: &mut Block) {
        for at in block.from..block.to {
            let op = &code.ops[at];
            let used = Used::by(code, op, at);
            for (slot, _) in used.reads {
                let Some(register) = self.number(slot) else { continue };
                self.spans[register].extend(at);
                if !has(&block.ended, register) {
                    insert(&mut block.needed, register);
                }
            }
            for (slot, _) in used.writes {
                let Some(register) = self.number(slot) else { continue };
                self.spans[register].extend(at);
                if op.guard.is_none() {
                    insert(&mut block.ended, register);
                }
            }
        }
    }

    /// Each register's first row, and the rows of all: one after the other in the order of the text, each takes rows that were
    /// given back last. Registers of an operation never share rows, so that it may write before it has read all.
    fn placed(&self) -> (Vec<u32>, usize) {
        let mut order: Vec<usize> = (0..self.spans.len()).collect();
        order.sort_by_key(|&register| self.spans[register].from);
        let mut places = vec![0; self.spans.len()];
        let mut free: [Vec<u32>; 3] = Default::default();
        let mut taken = BinaryHeap::new();
        let mut rows = FREE_SLOTS[0];
        for register in order {
            let Span { from, to, rows: size } = self.spans[register];
            while let Some(&Reverse((end, old))) = taken.peek()
                && end < from
            {
                taken.pop();
                let old: usize = old;
                free[self.spans[old].rows.trailing_zeros() as usize].push(places[old]);
            }
            places[register] = free[size.trailing_zeros() as usize].pop().unwrap_or_else(|| {
                rows += size;
                rows - size
            });
            taken.push(Reverse((to, register)));
        }
        (places, rows as usize)
    }
}

/// Whether a slot is a register of the program that lies in rows.
fn is_register(slot: Slot) -> bool {
    !slot.is_constant() && !slot.is_predicate() && slot.number() >= FREE_SLOTS[0]
}

fn index(slot: Slot) -> usize {
    3 * slot.number() as usize + slot.rows().trailing_zeros() as usize
}

/// A basic block.
struct Block {
    from: usize,
    to: usize,
    /// The blocks that may follow.
    next: Vec<usize>,
    /// Registers that it reads before it writes them, and those that it writes.
    needed: Set,
    ended: Set,
}

/// Where basic blocks start.
fn starts(code: &Code) -> Vec<usize> {
    let mut starts = vec![0];
    for (at, op) in code.ops.iter().enumerate() {
        match &op.action {
            Action::Branch(target) => starts.extend([*target as usize, at + 1]),
            Action::Table(targets) => starts.extend(targets.iter().map(|&t| t as usize).chain([at + 1])),
            Action::Exit => starts.push(at + 1),
            _ => {}
        }
    }
    starts.sort_unstable();
    starts.dedup();
    starts.retain(|&start| start < code.ops.len());
    starts
}

/// The operations that may follow one.
fn next(code: &Code, at: usize) -> Vec<usize> {
    let op = &code.ops[at];
    let mut all = match &op.action {
        Action::Branch(target) => vec![*target as usize],
        Action::Table(targets) => targets.iter().map(|&t| t as usize).collect(),
        _ => Vec::new(),
    };
    let leaves = matches!(op.action, Action::Branch(_) | Action::Table(_) | Action::Exit);
    if !leaves || op.guard.is_some() {
        all.push(at + 1);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Launch;
    use crate::machine::{Machine, Options};
    use crate::memory::Origin;
    use crate::profile::H100_SXM;

    /// Steps of the chain of values that a round of the loop below makes.
    const STEPS: u32 = 120;

    /// A loop of three rounds: each goes through many values of both widths, of which few are alive at once; odd lanes skip a
    /// part; `%kept` is written under a guard, and `%never` by nobody.
    fn source() -> String {
        let mut body = String::new();
        for step in 0..STEPS {
            let from = if step == 0 { "%sum".into() } else { format!("%x{}", step - 1) };
            body += &format!("mad.lo.s32 %x{step}, {from}, 3, %tid0;\n");
            body += &format!("cvt.u64.u32 %d{step}, %x{step};\nadd.s64 %e{step}, %d{step}, {step};\n");
            body += &format!("cvt.u32.u64 %y{step}, %e{step};\nadd.s32 %more, %more, %y{step};\n");
            if step == STEPS / 2 {
                body += "@%odd bra PAST;\nadd.s32 %more, %more, 7;\n@!%odd mov.u32 %kept, %more;\nPAST:\n";
            }
        }
        format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry long(.param .u64 out) {{\n\
             .reg .pred %odd, %again; .reg .b32 %tid0, %sum, %more, %kept, %never, %round, %bit, %x<{STEPS}>, %y<{STEPS}>;\n\
             .reg .b64 %base, %at, %place, %d<{STEPS}>, %e<{STEPS}>;\n\
             ld.param.u64 %base, [out];\nmov.u32 %tid0, %tid.x;\nmul.wide.u32 %at, %tid0, 8;\n\
             add.s64 %place, %base, %at;\nand.b32 %bit, %tid0, 1;\nsetp.ne.u32 %odd, %bit, 0;\n\
             mov.u32 %round, 0;\nmov.u32 %sum, 1;\nmov.u32 %more, 0;\n\
             AGAIN:\n{body}\
             mov.u32 %sum, %x{last};\nadd.s32 %round, %round, 1;\nsetp.lt.u32 %again, %round, 3;\n@%again bra AGAIN;\n\
             add.s32 %sum, %sum, %never;\nadd.s32 %more, %more, %kept;\n\
             st.global.v2.u32 [%place], {{%sum, %more}};\nret;\n}}\n",
            last = STEPS - 1
        )
    }

    fn expected(tid: u32) -> [u32; 2] {
        let (mut sum, mut more, mut kept) = (1u32, 0u32, 0);
        for _ in 0..3 {
            for step in 0..STEPS {
                sum = sum.wrapping_mul(3).wrapping_add(tid);
                more = more.wrapping_add(sum).wrapping_add(step);
                if step == STEPS / 2 && tid.is_multiple_of(2) {
                    more = more.wrapping_add(7);
                    kept = more;
                }
            }
        }
        [sum, more.wrapping_add(kept)]
    }

    #[test]
    fn values_share_rows_and_stay_what_they_are() {
        for options in [Options::default(), Options { shuffle: Some(3), ..Options::default() }] {
            let mut machine = Machine::new(&H100_SXM, options);
            let module = machine.load(source().as_bytes()).expect("supported");
            let kernel = &module.kernels["long"];
            let out = machine.memory.allocate(64 * 8, Origin::Plain).expect("room");
            // Two blocks in the same places, so that the second must not see what the first left.
            let launch = Launch { grid: [2, 1, 1], block: [64, 1, 1], dynamic_shared: 0, cooperative: true };
            machine.options.checks = false;
            machine.launch(kernel, &launch, &out.to_le_bytes()).expect("no fault");
            let mut found = [0; 64 * 8];
            machine.memory.read(out, &mut found).expect("allocated");
            let found: &[[u32; 2]] = bytemuck::cast_slice(&found);
            for (tid, found) in found.iter().enumerate() {
                assert_eq!(*found, expected(tid as u32), "thread {tid}");
            }
            let file = kernel.code.file.get().expect("launched");
            assert!(kernel.code.rows > 6 * STEPS as usize, "{} rows by name", kernel.code.rows);
            assert!(file.rows < 40, "{} rows in use", file.rows);
        }
    }

    #[test]
    fn operands_of_an_operation_lie_apart() {
        let mut machine = Machine::new(&H100_SXM, Options::default());
        let module = machine.load(source().as_bytes()).expect("supported");
        let code = &module.kernels["long"].code;
        let file = File::of(code);
        for op in &code.ops {
            let places = op.slots.0 as usize..op.slots.1 as usize;
            let registers = places.filter(|&at| is_register(code.slots[at]));
            let lies = |at: usize| file.slots[at].number()..file.slots[at].number() + file.slots[at].rows();
            for (a, b) in registers.clone().flat_map(|a| registers.clone().map(move |b| (a, b))) {
                let same = code.slots[a] == code.slots[b];
                assert!(same || lies(a).end <= lies(b).start || lies(b).end <= lies(a).start, "line {}", op.line);
            }
        }
    }
}
