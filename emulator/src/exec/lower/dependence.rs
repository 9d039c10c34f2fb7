//! Which kernels' results can depend on the order of blocks; those run on one host thread.

use crate::exec::lower::variables::reached;
use crate::ptx::{AtomicOp, Base, FunctionKind, Instruction, Module, Opcode, Operand, Register, ScalarType, Space};

/// Whether a kernel's results can depend on the order in which its blocks reach memory: atomics outside shared memory
/// that round, or whose old value is read; also printing, whose lines would mix.
pub(in crate::exec) fn order_dependent(module: &Module, entry: u32) -> bool {
    let mut depends = false;
    for function in reached(module, entry) {
        let declared = &module.functions[function as usize];
        let Some(body) = &declared.body else {
            depends |= declared.kind == FunctionKind::Device;
            continue;
        };
        let read = read_registers(&body.instructions);
        for i in &body.instructions {
            if !matches!(i.opcode, Opcode::Atom | Opcode::Red) || i.modifiers.space == Some(Space::Shared) {
                continue;
            }
            use ScalarType::{Bf16, Bf16x2, F16, F16x2, F32, F64};
            let rounds = i.modifiers.atomic == Some(AtomicOp::Add)
                && matches!(i.modifiers.first_type(), Some(F16 | F16x2 | Bf16 | Bf16x2 | F32 | F64));
            let exchanges = matches!(i.modifiers.atomic, Some(AtomicOp::Exch | AtomicOp::Cas));
            let old = i.opcode == Opcode::Atom && matches!(i.operands[0], Operand::Register(r) if read.contains(&r));
            depends |= rounds || exchanges || old;
        }
    }
    depends
}

/// Registers that some instruction reads. Which operands are destinations is the same for all opcodes but a few.
pub(in crate::exec) fn read_registers(instructions: &[Instruction]) -> std::collections::HashSet<Register> {
    fn collect(operand: &Operand, into: &mut std::collections::HashSet<Register>) {
        match operand {
            Operand::Register(r) | Operand::Memory(Base::Register(r), _) => into.extend([*r]),
            Operand::Predicate(guard) => into.extend([guard.register]),
            Operand::Vector(all) => all.iter().for_each(|o| collect(o, into)),
            _ => {}
        }
    }
    let mut read = std::collections::HashSet::new();
    for i in instructions {
        read.extend(i.guard.iter().map(|g| g.register));
        i.operands.iter().skip(crate::exec::lower::registers::destinations(i)).for_each(|o| collect(o, &mut read));
    }
    read
}
