//! How many registers a thread would need: an estimate by liveness, since PTX registers are virtual and ptxas, which
//! assigns real ones, is not here. The most values alive at once, in 32-bit units, with what the callees need on top.

use std::collections::HashMap;

use crate::ptx::{Base, Instruction, Module, Opcode, Operand, Register, RegisterClass};

/// Stack pointer and the like, which ptxas keeps beside the program's values.
const RESERVED: u32 = 4;
/// No kernel gets along with fewer.
const LEAST: u32 = 16;
/// The hardware's limit; what exceeds it is spilled.
const MOST: u32 = 255;

/// How many leading operands an instruction writes.
pub(super) fn destinations(i: &Instruction) -> usize {
    use Opcode::*;
    match i.opcode {
        St
        | Red
        | Bra
        | BrxIdx
        | Call
        | Ret
        | Exit
        | Trap
        | Brkpt
        | Pmevent
        | Nanosleep
        | BarSync
        | BarArrive
        | BarWarpSync
        | BarrierSync
        | BarrierArrive
        | Membar
        | Fence
        | CpAsync
        | CpAsyncCommitGroup
        | CpAsyncWaitAll
        | CpAsyncWaitGroup
        | Stmatrix
        | WmmaStoreD
        | MbarrierInit
        | MbarrierInval
        | MbarrierExpectTx
        | MbarrierCompleteTx
        | CpAsyncMbarrierArrive
        | CpAsyncBulk
        | Prefetch => 0,
        _ => 1.min(i.operands.len()),
    }
}

/// The estimate for a kernel.
pub(super) fn estimate(module: &Module, entry: u32) -> u32 {
    let mut known = HashMap::new();
    (function(module, entry, &mut known) + RESERVED).next_multiple_of(8).clamp(LEAST, MOST)
}

fn function(module: &Module, index: u32, known: &mut HashMap<u32, u32>) -> u32 {
    if let Some(&count) = known.get(&index) {
        return count;
    }
    let Some(body) = &module.functions[index as usize].body else { return 0 };
    let called = body.instructions.iter().filter_map(|i| match (i.opcode, i.operands.get(1)) {
        (Opcode::Call, Some(&Operand::Function(callee))) => Some(callee),
        _ => None,
    });
    let deepest = called.collect::<Vec<_>>().into_iter().map(|c| function(module, c, known)).max().unwrap_or(0);
    let count = most_alive(&body.instructions) + deepest;
    known.insert(index, count);
    count
}

fn weight(register: Register) -> u32 {
    match register.class {
        // Predicates have a file of their own.
        RegisterClass::Pred => 0,
        RegisterClass::B16 | RegisterClass::B32 => 1,
        RegisterClass::B64 => 2,
        RegisterClass::B128 => 4,
    }
}

/// Bits of registers.
type Set = Vec<u64>;

/// The largest weight of values alive at once: backward data flow over basic blocks until nothing changes.
fn most_alive(code: &[Instruction]) -> u32 {
    let mut numbers: HashMap<Register, usize> = HashMap::new();
    let mut weights = Vec::new();
    let mut number = |r: Register| {
        *numbers.entry(r).or_insert_with(|| {
            weights.push(weight(r));
            weights.len() - 1
        })
    };
    // Reads, and writes with whether they happen in all lanes: a guarded write leaves the old value alive.
    let mut uses: Vec<(Vec<usize>, Vec<usize>)> = Vec::with_capacity(code.len());
    for i in code {
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        i.guard.iter().for_each(|g| reads.push(number(g.register)));
        for (at, operand) in i.operands.iter().enumerate() {
            let written = at < destinations(i) && i.guard.is_none();
            collect(operand, &mut |r, address| {
                if written && !address {
                    writes.push(number(r))
                } else if at >= destinations(i) || address {
                    reads.push(number(r))
                }
            });
        }
        uses.push((reads, writes));
    }
    let words = weights.len().div_ceil(64);
    let mut starts: Vec<usize> = vec![0];
    for (at, i) in code.iter().enumerate() {
        match &i.operands[..] {
            [Operand::Target(t)] => starts.push(*t as usize),
            [_, Operand::Targets(all)] => starts.extend(all.iter().map(|&t| t as usize)),
            _ => {}
        }
        if ends_block(i) {
            starts.push(at + 1);
        }
    }
    starts.sort_unstable();
    starts.dedup();
    starts.retain(|&s| s < code.len());
    let mut alive_at: HashMap<usize, Set> = HashMap::new();
    let mut most = 0;
    loop {
        let mut changed = false;
        for (block, &start) in starts.iter().enumerate().rev() {
            let end = starts.get(block + 1).copied().unwrap_or(code.len());
            let mut alive: Set = vec![0; words];
            for to in successors(code, end - 1) {
                for (a, b) in alive.iter_mut().zip(alive_at.get(&to).into_iter().flatten()) {
                    *a |= b;
                }
            }
            let mut total = (0..weights.len()).filter(|i| alive[i / 64] >> (i % 64) & 1 == 1).map(|i| weights[i]).sum();
            most = most.max(total);
            for (reads, writes) in uses[start..end].iter().rev() {
                for &w in writes {
                    if alive[w / 64] >> (w % 64) & 1 == 1 {
                        alive[w / 64] &= !(1 << (w % 64));
                        total -= weights[w];
                    }
                }
                for &r in reads {
                    if alive[r / 64] >> (r % 64) & 1 == 0 {
                        alive[r / 64] |= 1 << (r % 64);
                        total += weights[r];
                    }
                }
                most = most.max(total);
            }
            if alive_at.get(&start) != Some(&alive) {
                alive_at.insert(start, alive);
                changed = true;
            }
        }
        if !changed {
            return most;
        }
    }
}

fn ends_block(i: &Instruction) -> bool {
    matches!(i.opcode, Opcode::Bra | Opcode::BrxIdx | Opcode::Ret | Opcode::Exit | Opcode::Trap)
}

fn successors(code: &[Instruction], at: usize) -> Vec<usize> {
    let i = &code[at];
    let mut all = Vec::new();
    match &i.operands[..] {
        [Operand::Target(t)] => all.push(*t as usize),
        [_, Operand::Targets(targets)] => all.extend(targets.iter().map(|&t| t as usize)),
        _ => {}
    }
    if !ends_block(i) || i.guard.is_some() {
        all.push(at + 1);
    }
    all
}

/// Every register of an operand, and whether it is part of an address.
fn collect(operand: &Operand, each: &mut dyn FnMut(Register, bool)) {
    match operand {
        Operand::Register(r) => each(*r, false),
        Operand::Predicate(guard) => each(guard.register, false),
        Operand::Memory(Base::Register(r), _) => each(*r, true),
        Operand::Vector(all) => all.iter().for_each(|o| collect(o, each)),
        Operand::Pair(first, second) => {
            first.iter().for_each(|r| each(*r, false));
            each(*second, false);
        }
        _ => {}
    }
}
