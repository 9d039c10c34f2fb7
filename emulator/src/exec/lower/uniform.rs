//! Values that are the same for all threads of a block and cost no register of a thread: parameters and what is computed
//! from them alone. ptxas reads parameters as operands straight from the constant bank, writes constants into the
//! instructions, and keeps uniform integers in a file of their own.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;

use crate::counters::sectors::Multiply;
use crate::ptx::{Base, Instruction, Opcode, Operand, Register, ScalarType, SpecialRegister, VariableRef};

/// What is known of registers: looked up often enough for the hash to matter.
pub(in crate::exec) type ByRegister<V> = HashMap<Register, V, BuildHasherDefault<Multiply>>;
/// Some of them.
pub(in crate::exec) type Registers = HashSet<Register, BuildHasherDefault<Multiply>>;

/// How often each register is written in the text.
pub(in crate::exec) fn writes(code: &[Instruction]) -> ByRegister<u32> {
    let mut writes = ByRegister::default();
    for i in code {
        for operand in &i.operands[..crate::exec::lower::registers::destinations(i)] {
            crate::exec::lower::registers::collect(operand, &mut |r, _| *writes.entry(r).or_default() += 1);
        }
    }
    writes
}

/// The registers of such values in a kernel; `writes` are its [`writes`].
pub(in crate::exec) fn uniform(code: &[Instruction], writes: &ByRegister<u32>) -> Registers {
    let mut found = Registers::default();
    // In order of the text, which defines before it uses, but for loops, whose values are written twice.
    for i in code {
        let [destination, sources @ ..] = &i.operands[..] else { continue };
        if i.guard.is_none() && is_uniform(i, sources, &found) {
            crate::exec::lower::registers::collect(destination, &mut |r, _| {
                if writes.get(&r) == Some(&1) {
                    found.insert(r);
                }
            });
        }
    }
    found
}

fn is_uniform(i: &Instruction, sources: &[Operand], found: &Registers) -> bool {
    use Opcode::*;
    let float = i.modifiers.types.iter().flatten().any(|t| matches!(t, ScalarType::F32 | ScalarType::F64));
    match i.opcode {
        Ld => matches!(sources, [Operand::Memory(Base::Variable(VariableRef::Parameter(_)), _)]),
        Mov | Cvta => sources.iter().all(|s| known(s, found)),
        Add | Sub | Mul | Mad | Shl | Shr | And | Or | Xor | Not | Neg | Min | Max | Cvt => {
            !float && sources.iter().all(|s| known(s, found))
        }
        _ => false,
    }
}

fn known(source: &Operand, found: &Registers) -> bool {
    use SpecialRegister::*;
    match source {
        Operand::Register(r) => found.contains(r),
        Operand::Immediate(_) | Operand::Address(..) => true,
        Operand::Special(s) => {
            matches!(s, CtaidX | CtaidY | CtaidZ | NtidX | NtidY | NtidZ | NctaidX | NctaidY | NctaidZ)
        }
        _ => false,
    }
}
