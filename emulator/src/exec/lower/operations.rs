//! Lowering of the instructions that are more than a row function: memory, control flow, barriers, warp operations.

use crate::exec::code::{
    Action, Barrier, BarrierKind, CopyAsync, CopyBulk, Mbarrier, MbarrierOp, Shuffle, Vote, width_of,
};
use crate::exec::lower::frame::Frame;
use crate::exec::lower::memory::{
    access, address, atomic, data, matrices, mbarrier, mbarrier_op, place, tile, tile_register,
};
use crate::exec::lower::{Lowered, Lowering, sink};
use crate::lanes::{Slot, Width};
use crate::ptx::{BarrierOp, Flag, Instruction, Opcode, Operand, Scope, Space, SpecialRegister};
use crate::row::{self, Binary, Unary};

/// Appends what an instruction becomes.
pub(in crate::exec) fn lower<'m>(to: &mut Lowering<'m>, frame: &Frame<'m>, i: &Instruction) -> Lowered<()> {
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
        // Registers are as many as a thread needs, whatever it gives back.
        Opcode::Pmevent | Opcode::Prefetch | Opcode::Setmaxnreg => Action::Nothing,
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
            let copy = CopyAsync { to: to_address, from, bytes: bytes as u8, sized: i.operands.len() > 3 };
            Action::CopyAsync(Box::new(copy))
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
        Opcode::WmmaLoadA | Opcode::WmmaLoadB | Opcode::WmmaLoadC => {
            data(to, frame, &i.operands[0], width_of(tile_register(i)), &mut slots)?;
            Action::LoadTile(tile(to, frame, i, &i.operands[1], &mut slots)?)
        }
        Opcode::WmmaStoreD => {
            data(to, frame, &i.operands[1], width_of(tile_register(i)), &mut slots)?;
            Action::StoreTile(tile(to, frame, i, &i.operands[0], &mut slots)?)
        }
        Opcode::MbarrierPendingCount => {
            to.plain(frame, &i.operands[..1], Width::W32, &mut slots)?;
            to.plain(frame, &i.operands[1..], Width::W64, &mut slots)?;
            Action::Row(row::unary::<PendingCount>(to.level()).run)
        }
        Opcode::CpAsyncBulk => {
            let destination = address(to, frame, Some(Space::Shared), &i.operands[0], &mut slots)?;
            let from = address(to, frame, Some(Space::Global), &i.operands[1], &mut slots)?;
            to.plain(frame, &i.operands[2..3], Width::W32, &mut slots)?;
            let at = address(to, frame, Some(Space::Shared), &i.operands[3], &mut slots)?;
            let barrier = Mbarrier { address: at, op: MbarrierOp::Complete };
            Action::CopyBulk(Box::new(CopyBulk { to: destination, from, barrier }))
        }
        _ if mbarrier_op(i).is_some() => mbarrier(to, frame, i, &mut slots)?,
        Opcode::Cvta | Opcode::CvtaTo => return window(to, frame, i),
        Opcode::Isspacep => return is_space(to, frame, i),
        Opcode::BarSync | Opcode::BarrierSync => barrier(to, frame, i, BarrierKind::Sync, &mut slots)?,
        Opcode::BarArrive | Opcode::BarrierArrive => barrier(to, frame, i, BarrierKind::Arrive, &mut slots)?,
        Opcode::BarRed | Opcode::BarrierRed => {
            let op: BarrierOp = i.modifiers.barrier.ok_or("does not say how it reduces")?;
            barrier(to, frame, i, BarrierKind::Reduce(op), &mut slots)?
        }
        Opcode::Membar | Opcode::Fence => Action::Fence { wide: i.modifiers.scope != Some(Scope::Cta) },
        // Makes `mbarrier.init` known to the cluster, which here is the block.
        Opcode::FenceMbarrierInit => Action::Fence { wide: false },
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
            to.plain(frame, &i.operands[1..], Width::W32, &mut slots)?;
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
        Opcode::ElectSync => {
            result_pair(to, frame, &i.operands[0], &mut slots)?;
            slots.push(to.operand(frame, &i.operands[1], Width::W32)?);
            Action::Elect
        }
        Opcode::Redux => {
            to.plain(frame, &i.operands, Width::W32, &mut slots)?;
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
                if matches!(i.opcode, Opcode::Mma | Opcode::WmmaMma | Opcode::Movmatrix) {
                    Action::Matrix(run)
                } else {
                    Action::Row(run)
                }
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

/// A result with its predicate, or without: then the predicate is the sink.
fn result_pair<'m>(to: &mut Lowering<'m>, frame: &Frame<'m>, operand: &Operand, slots: &mut Vec<Slot>) -> Lowered<()> {
    match operand {
        Operand::Pair(value, predicate) => {
            slots.push(value.map_or(sink(), |r| frame.register(r)));
            slots.push(frame.register(*predicate));
        }
        other => {
            slots.push(to.operand(frame, other, Width::W32)?);
            slots.push(sink());
        }
    }
    Ok(())
}

/// A predicate that is read.
fn predicate<'m>(to: &mut Lowering<'m>, frame: &Frame<'m>, operand: &Operand) -> Lowered<Slot> {
    to.operand(frame, operand, Width::Pred)
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
    to.plain(frame, &rest[..numbers], Width::W32, slots)?;
    if reduces {
        let truth = predicate(to, frame, &rest[numbers])?;
        slots.push(truth);
    }
    let bar = matches!(i.opcode, Opcode::BarSync | Opcode::BarArrive | Opcode::BarRed);
    let aligned = bar || i.modifiers.has(Flag::Aligned);
    Ok(Action::Barrier(Barrier { kind, counted: numbers > 1, aligned }))
}

struct PendingCount;
impl Unary for PendingCount {
    type A = u64;
    type D = u32;
    #[inline(always)]
    fn of(a: u64) -> u32 {
        crate::exec::ops::mbarrier::pending_count(a)
    }
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
