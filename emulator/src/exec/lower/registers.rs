//! How many registers a thread would need: an estimate by liveness, since PTX registers are virtual and ptxas, which
//! assigns real ones, is not here. The most values alive at once, in 32-bit units, with what the callees need on top.
//!
//! Values that are the same for a whole block cost nothing, and neither do sums with constants nor the upper halves of widened
//! integers. ptxas reorders, unrolls less or more, and spends registers that nobody else needs, which is not modelled.
//! Against `ptxas -v` (nvcc 13.0.88, sm_80) of 100 kernels (the test kernels, convolutions, normalisation, losses), the
//! estimate was off by a factor of 1.17 at the median and 1.45 at the 90th percentile, 70 of them within 25 %:
//!
//! | kernel | ptxas | estimate |
//! | --- | --- | --- |
//! | `vector_add` | 14 | 19 |
//! | `block_sum` | 12 | 13 |
//! | `warp_operations` | 28 | 13 |
//! | `matmul16` | 32 | 22 |
//! | `conv3x3` | 32 | 25 |
//! | `mma_bf16` | 18 | 18 |
//! | `single_math` | 32 | 27 |
//! | `double_math` | 32 | 50 |
//! | `integers` | 32 | 24 |
//! | `local_array` | 31 | 45 |

use std::collections::HashMap;

use crate::exec::lower::uniform::{ByRegister, Registers, uniform, writes};
use crate::ptx::{Base, FunctionKind, Instruction, Module, Opcode, Operand, Register, RegisterClass, ScalarType};

/// Stack pointer and the like, which ptxas keeps beside the program's values, and what it takes for loads ahead of their use:
/// chosen so that the estimate is right on average over the kernels of the table above.
const RESERVED: u32 = 6;
/// No kernel gets along with fewer.
const LEAST: u32 = 8;
/// The hardware's limit; what exceeds it is spilled.
const MOST: u32 = 255;

/// How many leading operands an instruction writes.
pub(in crate::exec) fn destinations(i: &Instruction) -> usize {
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
        | FenceMbarrierInit
        | Setmaxnreg
        | Prefetch => 0,
        _ => 1.min(i.operands.len()),
    }
}

/// The estimate for a kernel.
pub(in crate::exec) fn estimate(module: &Module, entry: u32) -> u32 {
    let mut known = HashMap::new();
    (function(module, entry, &mut known) + RESERVED).clamp(LEAST, MOST)
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
    let is_kernel = module.functions[index as usize].kind == FunctionKind::Entry;
    let count = most_alive(&body.instructions, is_kernel) + deepest;
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
fn most_alive(code: &[Instruction], is_kernel: bool) -> u32 {
    let written = writes(code);
    let free = if is_kernel { uniform(code, &written) } else { Registers::default() };
    let same = shifted(code, &written);
    let narrow = widened(code, &written);
    let mut numbers: ByRegister<usize> = ByRegister::default();
    let mut weights = Vec::new();
    let mut number = |r: Register| {
        let r = same.get(&r).copied().unwrap_or(r);
        *numbers.entry(r).or_insert_with(|| {
            weights.push(if free.contains(&r) {
                0
            } else if narrow.contains(&r) {
                1
            } else {
                weight(r)
            });
            weights.len() - 1
        })
    };
    // Reads, and writes with whether they happen in all lanes: a guarded write leaves the old value alive.
    let mut uses: Vec<(Vec<usize>, Vec<usize>)> = Vec::with_capacity(code.len());
    for i in code {
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        if matches!(&i.operands[..], [Operand::Register(r), ..] if same.contains_key(r)) && destinations(i) == 1 {
            uses.push((reads, writes));
            continue;
        }
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
    let words = weights.len().div_ceil(64);
    let blocks: Vec<Block> = (0..starts.len()).map(|block| Block::new(code, &uses, &starts, block, words)).collect();
    let mut alive_at: Vec<Set> = vec![vec![0; words]; blocks.len()];
    let mut changed = true;
    while changed {
        changed = false;
        for (number, block) in blocks.iter().enumerate().rev() {
            let mut alive = block.alive_behind(&alive_at);
            for ((alive, kept), needed) in alive.iter_mut().zip(&block.kept).zip(&block.needed) {
                *alive = *alive & kept | needed;
            }
            if alive_at[number] != alive {
                alive_at[number] = alive;
                changed = true;
            }
        }
    }
    let heaviest = blocks.iter().map(|block| {
        let mut alive = block.alive_behind(&alive_at);
        let mut total = members(&alive).map(|register| weights[register]).sum();
        let mut most: u32 = total;
        for (reads, writes) in uses[block.from..block.to].iter().rev() {
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
        most
    });
    heaviest.max().unwrap_or(0)
}

/// The registers of a set.
fn members(set: &[u64]) -> impl Iterator<Item = usize> {
    set.iter().enumerate().flat_map(|(word, &bits)| {
        std::iter::successors(Some(bits), |bits| Some(bits & bits.wrapping_sub(1)))
            .take_while(|&bits| bits != 0)
            .map(move |bits| 64 * word + bits.trailing_zeros() as usize)
    })
}

/// A basic block.
struct Block {
    from: usize,
    to: usize,
    /// The blocks that may follow.
    next: Vec<usize>,
    /// Registers alive in front of it whatever follows, and those that it does not end.
    needed: Set,
    kept: Set,
}

impl Block {
    fn new(
        code: &[Instruction],
        uses: &[(Vec<usize>, Vec<usize>)],
        starts: &[usize],
        number: usize,
        words: usize,
    ) -> Block {
        let (from, to) = (starts[number], starts.get(number + 1).copied().unwrap_or(code.len()));
        let next = successors(code, to - 1).into_iter().filter_map(|at| starts.binary_search(&at).ok()).collect();
        let (mut needed, mut kept) = (vec![0; words], vec![u64::MAX; words]);
        for (reads, writes) in uses[from..to].iter().rev() {
            for &w in writes {
                needed[w / 64] &= !(1 << (w % 64));
                kept[w / 64] &= !(1 << (w % 64));
            }
            reads.iter().for_each(|&r| needed[r / 64] |= 1 << (r % 64));
        }
        Block { from, to, next, needed, kept }
    }

    /// What is alive behind it, of what is alive in front of each block.
    fn alive_behind(&self, alive_at: &[Set]) -> Set {
        let mut alive: Set = vec![0; self.kept.len()];
        for &next in &self.next {
            alive.iter_mut().zip(&alive_at[next]).for_each(|(a, b)| *a |= b);
        }
        alive
    }
}

/// Registers that hold another's value plus a constant, and which: such sums go into the offsets of the accesses or are done
/// again where they are needed.
fn shifted(code: &[Instruction], written: &ByRegister<u32>) -> ByRegister<Register> {
    let mut found = ByRegister::default();
    for i in code {
        let (to, from) = match (i.opcode, &i.operands[..]) {
            (Opcode::Add, [Operand::Register(to), Operand::Register(from), Operand::Immediate(_)]) => (to, from),
            (Opcode::Cvta | Opcode::Mov, [Operand::Register(to), Operand::Register(from)]) => (to, from),
            _ => continue,
        };
        if i.guard.is_none() && written.get(to) == Some(&1) && to.class == from.class {
            let root = found.get(from).copied().unwrap_or(*from);
            found.insert(*to, root);
        }
    }
    found
}

/// Registers of 64 bits whose upper half follows from the lower.
fn widened(code: &[Instruction], written: &ByRegister<u32>) -> Registers {
    let widens = |i: &&Instruction| {
        use ScalarType::{S32, S64, U32, U64};
        matches!(i.opcode, Opcode::Cvt) && matches!(i.modifiers.types[..2], [Some(S64 | U64), Some(S32 | U32)])
    };
    let to = |i: &Instruction| match &i.operands[0] {
        Operand::Register(r) if written.get(r) == Some(&1) => Some(*r),
        _ => None,
    };
    code.iter().filter(widens).filter_map(to).collect()
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
pub(in crate::exec) fn collect(operand: &Operand, each: &mut dyn FnMut(Register, bool)) {
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
