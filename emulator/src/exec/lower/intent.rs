//! What a load is for, where that decides how it may race.

use std::collections::HashSet;

use crate::exec::lower::registers::{collect, destinations};
use crate::exec::lower::uniform::writes;
use crate::ptx::{AtomicOp, Base, Instruction, Opcode, Operand, Register, Semantics};

/// A load by its destination and its address.
type Place = (Register, Base, i64);

/// The first guess of a loop around a compare-and-swap: loads of the word swapped whose value goes nowhere but into the
/// comparison, directly or through moves. A stale or torn guess is found out by the swap, so that these may race with it.
pub(in crate::exec) fn guesses(code: &[Instruction]) -> Vec<Place> {
    let swaps: Vec<_> = code.iter().filter(|i| i.modifiers.atomic == Some(AtomicOp::Cas)).collect();
    if swaps.is_empty() {
        return Vec::new();
    }
    let writes = writes(code);
    // The register that an address was first in: one pointer may be used as generic and as global.
    let origin = |base: Base| {
        let mut base = base;
        for _ in 0..8 {
            let Base::Register(register) = base else { break };
            let copied = |i: &&Instruction| {
                matches!(i.opcode, Opcode::Mov | Opcode::Cvta | Opcode::CvtaTo)
                    && i.operands.first() == Some(&Operand::Register(register))
            };
            match code.iter().find(copied).map(|i| &i.operands[..]) {
                Some([_, Operand::Register(from)]) if writes.get(&register) == Some(&1) => base = Base::Register(*from),
                _ => break,
            }
        }
        base
    };
    let mut found = Vec::new();
    for swap in swaps {
        let [_, Operand::Memory(base, offset), Operand::Register(expected), _] = swap.operands[..] else { continue };
        let mut same = HashSet::from([expected]);
        loop {
            let known = same.len();
            for i in code.iter().filter(|i| i.opcode == Opcode::Mov) {
                if let [Operand::Register(to), Operand::Register(from)] = i.operands[..]
                    && same.contains(&to)
                {
                    same.insert(from);
                }
            }
            if same.len() == known {
                break;
            }
        }
        for i in code.iter().filter(|i| i.opcode == Opcode::Ld) {
            if let [Operand::Register(to), Operand::Memory(from, at)] = i.operands[..]
                && same.contains(&to)
                && at == offset
                && origin(from) == origin(base)
            {
                found.push((to, from, at));
            }
        }
    }
    found
}

/// The registers from which some predicate or branch is computed, if there are volatile loads that ask: a volatile load
/// into one of them may be how a thread waits for another.
pub(in crate::exec) fn deciding(code: &[Instruction]) -> HashSet<Register> {
    let mut deciding = HashSet::new();
    if !code.iter().any(|i| i.opcode == Opcode::Ld && i.modifiers.semantics == Some(Semantics::Volatile)) {
        return deciding;
    }
    for i in code {
        deciding.extend(i.guard.map(|g| g.register));
        if i.opcode == Opcode::BrxIdx {
            i.operands.iter().for_each(|o| collect(o, &mut |r, _| deciding.extend([r])));
        }
    }
    loop {
        let known = deciding.len();
        for i in code {
            let (results, sources) = i.operands.split_at(destinations(i));
            let mut decides = false;
            results.iter().for_each(|o| collect(o, &mut |r, _| decides |= deciding.contains(&r)));
            // What is read from memory does not carry on what its address was made of.
            if decides && !matches!(i.opcode, Opcode::Ld | Opcode::Ldu) {
                sources.iter().for_each(|o| collect(o, &mut |r, _| deciding.extend([r])));
            }
        }
        if deciding.len() == known {
            return deciding;
        }
    }
}
