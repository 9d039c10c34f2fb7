//! Lowering of addresses and of what reaches memory.

use crate::exec::code::{
    Access, Action, Address, Atomic, Bank, BaseWidth, Matrices, Mbarrier, MbarrierOp, Tile, width_of,
};
use crate::exec::lower::frame::Frame;
use crate::exec::lower::registers::collect;
use crate::exec::lower::{Lowered, Lowering, sink};
use crate::lanes::{Slot, Width};
use crate::ptx::{
    AtomicOp, Base, Flag, Instruction, Layout, MatrixCount, Opcode, Operand, Register, RegisterClass, ScalarType,
    Scope, Semantics, Space,
};
use crate::row::{fragment_registers, sides};

fn register_width(register: Register) -> Width {
    match register.class {
        RegisterClass::Pred => Width::Pred,
        RegisterClass::B16 => Width::W16,
        RegisterClass::B32 => Width::W32,
        RegisterClass::B64 => Width::W64,
        RegisterClass::B128 => Width::W128,
    }
}

/// Element size, registers' width and count of a load's or store's data.
pub(in crate::exec) fn access(i: &Instruction, data: &Operand) -> Lowered<(ScalarType, Width, u8)> {
    let ty = i.modifiers.first_type().ok_or("has no type")?;
    let all = match data {
        Operand::Vector(all) => &all[..],
        one => std::slice::from_ref(one),
    };
    let mut width = None;
    for register in all.iter().filter_map(|o| if let Operand::Register(r) = o { Some(*r) } else { None }) {
        let found = register_width(register);
        if width.is_some_and(|w| w != found) {
            return Err("mixes registers of several widths, which is not supported".into());
        }
        width = Some(found);
    }
    Ok((ty, width.unwrap_or(width_of(ty)), all.len() as u8))
}

pub(in crate::exec) fn data<'m>(
    to: &mut Lowering<'m>,
    frame: &Frame<'m>,
    operand: &Operand,
    width: Width,
    slots: &mut Vec<Slot>,
) -> Lowered<()> {
    match operand {
        Operand::Vector(all) => to.plain(frame, all, width, slots),
        one => to.plain(frame, std::slice::from_ref(one), width, slots),
    }
}

/// An address operand in a space; pushes its base.
pub(in crate::exec) fn address<'m>(
    to: &mut Lowering<'m>,
    frame: &Frame<'m>,
    space: Option<Space>,
    operand: &Operand,
    slots: &mut Vec<Slot>,
) -> Lowered<Address> {
    let &Operand::Memory(base, offset) = operand else { return Err("has no address in brackets".into()) };
    let bank = match space {
        None => Bank::Generic,
        Some(Space::Global) => Bank::Global,
        Some(Space::Const) => Bank::Constant,
        Some(Space::Shared) => Bank::Shared,
        Some(Space::Local) => Bank::Local,
        Some(Space::Param) if frame.is_entry() => Bank::Parameter,
        Some(Space::Param) => Bank::Local,
    };
    match base {
        Base::Register(register) => {
            slots.push(frame.register(register));
            let base = if register_width(register) == Width::W64 { BaseWidth::Wide } else { BaseWidth::Short };
            Ok(Address { bank, base, offset })
        }
        Base::Absolute => Ok(Address { bank, base: BaseWidth::None, offset }),
        Base::Variable(variable) => {
            let (lies_in, at) = to.address(frame, variable)?;
            let bank = match lies_in {
                Space::Param => Bank::Parameter,
                Space::Local => Bank::Local,
                Space::Shared => Bank::Shared,
                Space::Const => Bank::Constant,
                Space::Global => Bank::Global,
            };
            Ok(Address { bank, base: BaseWidth::None, offset: offset.wrapping_add_unsigned(at) })
        }
    }
}

pub(in crate::exec) fn place<'m>(
    to: &mut Lowering<'m>,
    frame: &Frame<'m>,
    i: &Instruction,
    (ty, width, count): (ScalarType, Width, u8),
    operand: &Operand,
    slots: &mut Vec<Slot>,
) -> Lowered<Access> {
    let address = address(to, frame, i.modifiers.space, operand, slots)?;
    let signed = matches!(ty, ScalarType::S8 | ScalarType::S16 | ScalarType::S32);
    let is_load = i.opcode == Opcode::Ld;
    let guesses = match i.operands[..] {
        [Operand::Register(to), Operand::Memory(base, at)] if is_load => frame.guesses.contains(&(to, base, at)),
        _ => false,
    };
    let strong = guesses || !matches!(i.modifiers.semantics, None | Some(Semantics::Weak));
    let mut decides = false;
    collect(&i.operands[0], &mut |r, _| decides |= frame.deciding.contains(&r));
    let warp_only = is_load && i.modifiers.semantics == Some(Semantics::Volatile) && !decides;
    let ordering = matches!(i.modifiers.semantics, Some(Semantics::Acquire | Semantics::Release));
    let fence = ordering.then_some(i.modifiers.scope != Some(Scope::Cta));
    Ok(Access { address, bytes: ty.bytes() as u8, signed, count, width, strong, warp_only, fence })
}

pub(in crate::exec) fn atomic<'m>(
    to: &mut Lowering<'m>,
    frame: &Frame<'m>,
    i: &Instruction,
    slots: &mut Vec<Slot>,
) -> Lowered<Action> {
    let ty = i.modifiers.first_type().ok_or("has no type")?;
    let op: AtomicOp = i.modifiers.atomic.ok_or("does not say what it does")?;
    let width = width_of(ty);
    let (destination, rest) = match i.opcode {
        Opcode::Atom => (to.operand(frame, &i.operands[0], width)?, &i.operands[1..]),
        _ => (sink(), &i.operands[..]),
    };
    slots.push(destination);
    let address = address(to, frame, i.modifiers.space, &rest[0], slots)?;
    to.plain(frame, &rest[1..], width, slots)?;
    let ordering = matches!(i.modifiers.semantics, Some(Semantics::Acquire | Semantics::Release | Semantics::AcqRel));
    let fence = ordering.then_some(i.modifiers.scope != Some(Scope::Cta));
    let reads = match i.operands[0] {
        _ if op != AtomicOp::Exch => true,
        Operand::Register(old) if i.opcode == Opcode::Atom => frame.read.contains(&old),
        _ => false,
    };
    Ok(Action::Atomic(Atomic { address, op, ty, reads, fence }))
}

pub(in crate::exec) fn matrices<'m>(
    to: &mut Lowering<'m>,
    frame: &Frame<'m>,
    i: &Instruction,
    operand: &Operand,
    slots: &mut Vec<Slot>,
) -> Lowered<Matrices> {
    let address = address(to, frame, i.modifiers.space, operand, slots)?;
    let count = match i.modifiers.matrices.ok_or("does not say how many matrices")? {
        MatrixCount::X1 => 1,
        MatrixCount::X2 => 2,
        MatrixCount::X4 => 4,
    };
    Ok(Matrices { address, count, transposed: i.modifiers.has(Flag::Trans) })
}

/// What a register of a `wmma` fragment holds.
pub(in crate::exec) fn tile_register(i: &Instruction) -> ScalarType {
    if i.modifiers.first_type() == Some(ScalarType::F64) { ScalarType::F64 } else { ScalarType::B32 }
}

/// The matrix of `wmma.load` and `wmma.store` (PTX ISA section 9.7.14.4).
pub(in crate::exec) fn tile<'m>(
    to: &mut Lowering<'m>,
    frame: &Frame<'m>,
    i: &Instruction,
    operand: &Operand,
    slots: &mut Vec<Slot>,
) -> Lowered<Tile> {
    let ty = i.modifiers.first_type().ok_or("has no type")?;
    let [m, n, k] = sides(i.modifiers.shape.ok_or("has no shape")?);
    let (rows, columns) = match i.opcode {
        Opcode::WmmaLoadA => (m, k),
        Opcode::WmmaLoadB => (k, n),
        _ => (m, n),
    };
    let accumulator = matches!(i.opcode, Opcode::WmmaLoadC | Opcode::WmmaStoreD);
    let address = address(to, frame, i.modifiers.space, operand, slots)?;
    if let Some(stride) = i.operands.get(2) {
        slots.push(to.operand(frame, stride, Width::W32)?);
    }
    // A single in the format of tensor cores has four bytes.
    let bytes = ty.bytes() as u8;
    Ok(Tile {
        address,
        columns: columns as u16,
        elements: (rows * columns) as u16,
        by_columns: i.modifiers.layouts[0] == Some(Layout::Col),
        bytes,
        registers: fragment_registers(ty, rows * columns, accumulator) as u8,
        packed: if bytes < 4 { 4 / bytes } else { 1 },
        strided: i.operands.len() > 2,
    })
}

/// What an instruction does to a barrier in shared memory, if that is what it does.
pub(in crate::exec) fn mbarrier_op(i: &Instruction) -> Option<MbarrierOp> {
    Some(match i.opcode {
        Opcode::MbarrierInit => MbarrierOp::Init,
        Opcode::MbarrierInval => MbarrierOp::Invalidate,
        Opcode::MbarrierArrive => MbarrierOp::Arrive { drop: false, may_complete: true },
        Opcode::MbarrierArriveNoComplete => MbarrierOp::Arrive { drop: false, may_complete: false },
        Opcode::MbarrierArriveDrop => MbarrierOp::Arrive { drop: true, may_complete: true },
        Opcode::MbarrierArriveDropNoComplete => MbarrierOp::Arrive { drop: true, may_complete: false },
        Opcode::MbarrierArriveExpectTx => MbarrierOp::ArriveExpecting { drop: false },
        Opcode::MbarrierArriveDropExpectTx => MbarrierOp::ArriveExpecting { drop: true },
        Opcode::MbarrierExpectTx => MbarrierOp::Expect,
        Opcode::MbarrierCompleteTx => MbarrierOp::Complete,
        Opcode::MbarrierTestWait | Opcode::MbarrierTryWait => MbarrierOp::Wait { parity: false },
        Opcode::MbarrierTestWaitParity | Opcode::MbarrierTryWaitParity => MbarrierOp::Wait { parity: true },
        Opcode::CpAsyncMbarrierArrive => MbarrierOp::CopiesArrive { counted: i.modifiers.has(Flag::Noinc) },
        _ => return None,
    })
}

/// An operation on a barrier in shared memory (PTX ISA section 9.7.13.15).
pub(in crate::exec) fn mbarrier<'m>(
    to: &mut Lowering<'m>,
    frame: &Frame<'m>,
    i: &Instruction,
    slots: &mut Vec<Slot>,
) -> Lowered<Action> {
    let op = mbarrier_op(i).ok_or("is no operation on a barrier")?;
    let waits = matches!(op, MbarrierOp::Wait { .. });
    let mut operands = i.operands.iter();
    if op.has_result() {
        let result = operands.next().ok_or("has no result")?;
        slots.push(to.operand(frame, result, if waits { Width::Pred } else { Width::W64 })?);
    }
    // Copies arrive at shared memory, as all others do.
    let address = address(to, frame, i.modifiers.space, operands.next().ok_or("has no address")?, slots)?;
    if let Some(value) = operands.next() {
        let width = if op == (MbarrierOp::Wait { parity: false }) { Width::W64 } else { Width::W32 };
        slots.push(to.operand(frame, value, width)?);
    }
    // How long a wait may sleep, a further operand, is a hint.
    Ok(Action::Mbarrier(Mbarrier { address, op }))
}
