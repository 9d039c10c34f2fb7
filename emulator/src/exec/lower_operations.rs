//! Lowering of the instructions that are more than a row function: memory, control flow, barriers, warp operations.

use std::collections::HashSet;

use super::code::{
    Access, Action, Address, Atomic, Bank, Barrier, BarrierKind, BaseWidth, CopyAsync, Matrices, Shuffle, Vote,
};
use super::lower::{Frame, Lowered, Lowering, reached, sink};
use crate::lanes::{Slot, Width};
use crate::ptx::{
    AtomicOp, BarrierOp, Base, Flag, FunctionKind, Instruction, MatrixCount, Module, Opcode, Operand, Register,
    RegisterClass, ScalarType, Scope, Semantics, Space, SpecialRegister,
};
use crate::row::{self, Binary, Unary};

/// Appends what an instruction becomes.
pub(super) fn lower<'m>(to: &mut Lowering<'m>, frame: &Frame<'m>, i: &Instruction) -> Lowered<()> {
    let guard = frame.guard(i);
    let mut slots = Vec::new();
    let action = match i.opcode {
        Opcode::Bra => match i.operands[..] {
            [Operand::Target(target)] => Action::Branch(target),
            _ => return Err("branches to something that is no label".into()),
        },
        Opcode::BrxIdx => match &i.operands[..] {
            [index, Operand::Targets(targets)] => {
                slots.push(to.operand(frame, index, Width::W32)?);
                Action::Table(targets.clone())
            }
            _ => return Err("branches to something that is no list of labels".into()),
        },
        Opcode::Ret | Opcode::Exit => Action::Exit,
        Opcode::Trap | Opcode::Brkpt => Action::Trap,
        Opcode::Pmevent | Opcode::Prefetch => Action::Nothing,
        Opcode::Nanosleep => Action::Yield,
        Opcode::Ld | Opcode::Ldu => {
            let access = access(i, &i.operands[0])?;
            data(to, frame, &i.operands[0], access.1, &mut slots)?;
            Action::Load(place(to, frame, i, access, &i.operands[1], &mut slots)?)
        }
        Opcode::St => {
            let access = access(i, &i.operands[1])?;
            data(to, frame, &i.operands[1], access.1, &mut slots)?;
            Action::Store(place(to, frame, i, access, &i.operands[0], &mut slots)?)
        }
        Opcode::Atom | Opcode::Red => atomic(to, frame, i, &mut slots)?,
        Opcode::CpAsync => {
            let to_address = address(to, frame, Some(Space::Shared), &i.operands[0], &mut slots)?;
            let from = address(to, frame, Some(Space::Global), &i.operands[1], &mut slots)?;
            let &Operand::Immediate(bytes) = &i.operands[2] else { return Err("has no constant size".into()) };
            if let Some(size) = i.operands.get(3) {
                slots.push(to.operand(frame, size, Width::W32)?);
            }
            Action::CopyAsync(CopyAsync { to: to_address, from, bytes: bytes as u8, sized: i.operands.len() > 3 })
        }
        Opcode::CpAsyncCommitGroup => Action::CopyCommit,
        Opcode::CpAsyncWaitAll => Action::CopyWait(None),
        Opcode::CpAsyncWaitGroup => match i.operands[..] {
            [Operand::Immediate(pending)] => Action::CopyWait(Some(pending as u32)),
            _ => return Err("has no constant number of groups".into()),
        },
        Opcode::Ldmatrix => {
            data(to, frame, &i.operands[0], Width::W32, &mut slots)?;
            Action::LoadMatrix(matrices(to, frame, i, &i.operands[1], &mut slots)?)
        }
        Opcode::Stmatrix => {
            data(to, frame, &i.operands[1], Width::W32, &mut slots)?;
            Action::StoreMatrix(matrices(to, frame, i, &i.operands[0], &mut slots)?)
        }
        Opcode::Cvta | Opcode::CvtaTo => return window(to, frame, i),
        Opcode::Isspacep => return is_space(to, frame, i),
        Opcode::BarSync | Opcode::BarrierSync => barrier(to, frame, i, BarrierKind::Sync, &mut slots)?,
        Opcode::BarArrive | Opcode::BarrierArrive => barrier(to, frame, i, BarrierKind::Arrive, &mut slots)?,
        Opcode::BarRed | Opcode::BarrierRed => {
            let op: BarrierOp = i.modifiers.barrier.ok_or("does not say how it reduces")?;
            barrier(to, frame, i, BarrierKind::Reduce(op), &mut slots)?
        }
        Opcode::Membar | Opcode::Fence => Action::Fence { wide: i.modifiers.scope != Some(Scope::Cta) },
        Opcode::BarWarpSync => {
            slots.push(to.operand(frame, &i.operands[0], Width::W32)?);
            Action::WarpSync
        }
        Opcode::Activemask => {
            slots.push(to.operand(frame, &i.operands[0], Width::W32)?);
            Action::ActiveMask
        }
        Opcode::Shfl => {
            result_pair(to, frame, &i.operands[0], &mut slots)?;
            plain(to, frame, &i.operands[1..], Width::W32, &mut slots)?;
            Action::Shuffle(match () {
                () if i.modifiers.has(Flag::Up) => Shuffle::Up,
                () if i.modifiers.has(Flag::Down) => Shuffle::Down,
                () if i.modifiers.has(Flag::Bfly) => Shuffle::Butterfly,
                () => Shuffle::Index,
            })
        }
        Opcode::Vote => {
            slots.push(to.operand(frame, &i.operands[0], Width::W32)?);
            let truth = predicate(to, frame, &i.operands[1])?;
            slots.push(truth);
            slots.push(to.operand(frame, &i.operands[2], Width::W32)?);
            Action::Vote(match () {
                () if i.modifiers.has(Flag::Ballot) => Vote::Ballot,
                () if i.modifiers.has(Flag::All) => Vote::All,
                () if i.modifiers.has(Flag::Any) => Vote::Any,
                () => Vote::Uniform,
            })
        }
        Opcode::MatchAny | Opcode::MatchAll => {
            let width = width_of(i.modifiers.first_type().ok_or("has no type")?);
            result_pair(to, frame, &i.operands[0], &mut slots)?;
            slots.push(to.operand(frame, &i.operands[1], width)?);
            slots.push(to.operand(frame, &i.operands[2], Width::W32)?);
            Action::Match { all: i.opcode == Opcode::MatchAll, width }
        }
        Opcode::Redux => {
            plain(to, frame, &i.operands, Width::W32, &mut slots)?;
            let op = i.modifiers.atomic.ok_or("does not say how it reduces")?;
            Action::Reduce(op, i.modifiers.first_type().ok_or("has no type")?)
        }
        Opcode::Mov if is_clock(&i.operands) => {
            slots.push(to.operand(frame, &i.operands[0], Width::W64)?);
            let Operand::Special(clock) = i.operands[1] else { return Err("reads no clock".into()) };
            Action::Clock(clock)
        }
        _ => match to.row(frame, i)? {
            Some((run, operands)) => {
                slots = operands;
                if i.opcode == Opcode::Mma { Action::Matrix(run) } else { Action::Row(run) }
            }
            None => return Err("cannot be executed by this emulator".into()),
        },
    };
    to.push(action, guard, &slots, i);
    Ok(())
}

fn is_clock(operands: &[Operand]) -> bool {
    use SpecialRegister::{Clock, Clock64, ClockHi, Globaltimer, GlobaltimerHi, GlobaltimerLo};
    let [_, Operand::Special(special)] = operands else { return false };
    matches!(special, Clock | Clock64 | ClockHi | Globaltimer | GlobaltimerHi | GlobaltimerLo)
}

pub(super) fn width_of(ty: ScalarType) -> Width {
    match ty.bits() {
        1 => Width::Pred,
        8 | 16 => Width::W16,
        32 => Width::W32,
        64 => Width::W64,
        _ => Width::W128,
    }
}

fn register_width(register: Register) -> Width {
    match register.class {
        RegisterClass::Pred => Width::Pred,
        RegisterClass::B16 => Width::W16,
        RegisterClass::B32 => Width::W32,
        RegisterClass::B64 => Width::W64,
        RegisterClass::B128 => Width::W128,
    }
}

fn plain<'m>(
    to: &mut Lowering<'m>,
    frame: &Frame<'m>,
    operands: &[Operand],
    width: Width,
    slots: &mut Vec<Slot>,
) -> Lowered<()> {
    for operand in operands {
        slots.push(to.operand(frame, operand, width)?);
    }
    Ok(())
}

/// A result with its predicate, or without: then the predicate is the sink.
fn result_pair<'m>(to: &mut Lowering<'m>, frame: &Frame<'m>, operand: &Operand, slots: &mut Vec<Slot>) -> Lowered<()> {
    match operand {
        Operand::Pair(value, predicate) => {
            slots.push(value.map_or(sink(Width::W32), |r| frame.register(r)));
            slots.push(frame.register(*predicate));
        }
        other => {
            slots.push(to.operand(frame, other, Width::W32)?);
            slots.push(sink(Width::Pred));
        }
    }
    Ok(())
}

/// A predicate that is read.
fn predicate<'m>(to: &mut Lowering<'m>, frame: &Frame<'m>, operand: &Operand) -> Lowered<Slot> {
    to.operand(frame, operand, Width::Pred)
}

/// Element size, registers' width and count of a load's or store's data.
fn access(i: &Instruction, data: &Operand) -> Lowered<(ScalarType, Width, u8)> {
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

fn data<'m>(
    to: &mut Lowering<'m>,
    frame: &Frame<'m>,
    operand: &Operand,
    width: Width,
    slots: &mut Vec<Slot>,
) -> Lowered<()> {
    match operand {
        Operand::Vector(all) => plain(to, frame, all, width, slots),
        one => plain(to, frame, std::slice::from_ref(one), width, slots),
    }
}

/// An address operand in a space; pushes its base.
fn address<'m>(
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

fn place<'m>(
    to: &mut Lowering<'m>,
    frame: &Frame<'m>,
    i: &Instruction,
    (ty, width, count): (ScalarType, Width, u8),
    operand: &Operand,
    slots: &mut Vec<Slot>,
) -> Lowered<Access> {
    let address = address(to, frame, i.modifiers.space, operand, slots)?;
    let signed = matches!(ty, ScalarType::S8 | ScalarType::S16 | ScalarType::S32);
    let strong = !matches!(i.modifiers.semantics, None | Some(Semantics::Weak));
    let ordering = matches!(i.modifiers.semantics, Some(Semantics::Acquire | Semantics::Release));
    let fence = ordering.then_some(i.modifiers.scope != Some(Scope::Cta));
    Ok(Access { address, bytes: ty.bytes() as u8, signed, count, width, strong, fence })
}

fn atomic<'m>(to: &mut Lowering<'m>, frame: &Frame<'m>, i: &Instruction, slots: &mut Vec<Slot>) -> Lowered<Action> {
    let ty = i.modifiers.first_type().ok_or("has no type")?;
    let op: AtomicOp = i.modifiers.atomic.ok_or("does not say what it does")?;
    let width = width_of(ty);
    let (destination, rest) = match i.opcode {
        Opcode::Atom => (to.operand(frame, &i.operands[0], width)?, &i.operands[1..]),
        _ => (sink(width), &i.operands[..]),
    };
    slots.push(destination);
    let address = address(to, frame, i.modifiers.space, &rest[0], slots)?;
    plain(to, frame, &rest[1..], width, slots)?;
    let ordering = matches!(i.modifiers.semantics, Some(Semantics::Acquire | Semantics::Release | Semantics::AcqRel));
    let fence = ordering.then_some(i.modifiers.scope != Some(Scope::Cta));
    let reads = match i.operands[0] {
        _ if op != AtomicOp::Exch => true,
        Operand::Register(old) if i.opcode == Opcode::Atom => frame.read.contains(&old),
        _ => false,
    };
    Ok(Action::Atomic(Atomic { address, op, ty, reads, fence }))
}

fn matrices<'m>(
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

fn barrier<'m>(
    to: &mut Lowering<'m>,
    frame: &Frame<'m>,
    i: &Instruction,
    kind: BarrierKind,
    slots: &mut Vec<Slot>,
) -> Lowered<Action> {
    let (mut rest, reduces) = (&i.operands[..], matches!(kind, BarrierKind::Reduce(_)));
    if reduces {
        slots.push(to.operand(frame, &rest[0], Width::W32)?);
        rest = &rest[1..];
    }
    let numbers = rest.len() - usize::from(reduces);
    plain(to, frame, &rest[..numbers], Width::W32, slots)?;
    if reduces {
        let truth = predicate(to, frame, &rest[numbers])?;
        slots.push(truth);
    }
    let bar = matches!(i.opcode, Opcode::BarSync | Opcode::BarArrive | Opcode::BarRed);
    let aligned = bar || i.modifiers.has(Flag::Aligned);
    Ok(Action::Barrier(Barrier { kind, counted: numbers > 1, aligned }))
}

struct Plus;
impl Binary for Plus {
    type A = u64;
    type B = u64;
    type D = u64;
    #[inline(always)]
    fn of(a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }
}

/// `cvta` and `cvta.to`: between a space's own addresses and generic ones, a fixed distance apart.
fn window<'m>(to: &mut Lowering<'m>, frame: &Frame<'m>, i: &Instruction) -> Lowered<()> {
    let space = i.modifiers.space.ok_or("names no space")?;
    let distance = to.window(frame, space);
    let distance = if i.opcode == Opcode::Cvta { distance } else { distance.wrapping_neg() };
    let slots = [
        to.operand(frame, &i.operands[0], Width::W64)?,
        to.operand(frame, &i.operands[1], Width::W64)?,
        to.constant(Width::W64, distance),
    ];
    let run = row::binary::<Plus>(to.level()).run;
    to.push(Action::Row(run), frame.guard(i), &slots, i);
    Ok(())
}

macro_rules! in_window {
    ($name:ident, $space:pat) => {
        struct $name;
        impl Unary for $name {
            type A = u64;
            type D = bool;
            #[inline(always)]
            fn of(a: u64) -> bool {
                matches!(crate::memory::space_of(a).0, $space)
            }
        }
    };
}
in_window!(InShared, Space::Shared);
in_window!(InLocal, Space::Local);
in_window!(InGlobal, Space::Global);
in_window!(InParameter, Space::Param);

/// `isspacep`. Constants have global addresses here; a generic pointer to one counts as both.
fn is_space<'m>(to: &mut Lowering<'m>, frame: &Frame<'m>, i: &Instruction) -> Lowered<()> {
    let level = to.level();
    let run = match i.modifiers.space.ok_or("names no space")? {
        Space::Shared => row::unary::<InShared>(level).run,
        Space::Local => row::unary::<InLocal>(level).run,
        Space::Global | Space::Const => row::unary::<InGlobal>(level).run,
        Space::Param => row::unary::<InParameter>(level).run,
    };
    let slots = [to.operand(frame, &i.operands[0], Width::Pred)?, to.operand(frame, &i.operands[1], Width::W64)?];
    to.push(Action::Row(run), frame.guard(i), &slots, i);
    Ok(())
}

/// Whether a kernel's results can depend on the order in which its blocks reach memory: atomics outside shared memory
/// that round, or whose old value is read; also printing, whose lines would mix.
pub(super) fn order_dependent(module: &Module, entry: u32) -> bool {
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
pub(super) fn read_registers(instructions: &[Instruction]) -> HashSet<Register> {
    fn collect(operand: &Operand, into: &mut HashSet<Register>) {
        match operand {
            Operand::Register(r) | Operand::Memory(Base::Register(r), _) => into.extend([*r]),
            Operand::Predicate(guard) => into.extend([guard.register]),
            Operand::Vector(all) => all.iter().for_each(|o| collect(o, into)),
            _ => {}
        }
    }
    let mut read = HashSet::new();
    for i in instructions {
        read.extend(i.guard.iter().map(|g| g.register));
        i.operands.iter().skip(super::registers::destinations(i)).for_each(|o| collect(o, &mut read));
    }
    read
}
