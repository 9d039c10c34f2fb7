//! Branches, calls, barriers, fences and what a warp does together (sections 9.7.12, 9.7.13 and 9.7.19).

use super::super::expect::{Expect, Form, Slot, Ty, form};
use super::super::modifier::{AtomicOp, BarrierOp, Flag, Modifier, Scope, Semantics};
use super::super::opcode::Opcode::*;
use super::super::types::ScalarType;
use super::words::*;

const ANY: Slot = Slot::Word(&["any"]);
const ALL: Slot = Slot::Word(&["all"]);
const UNI: Slot = Slot::Maybe(&[flag(Flag::Uni)]);
const MAYBE_ALIGNED: Slot = Slot::Maybe(&[flag(Flag::Aligned)]);
const AND_OR: Slot = Slot::One(&[Modifier::Barrier(BarrierOp::And), Modifier::Barrier(BarrierOp::Or)]);
const POPC: Slot = Slot::One(&[Modifier::Barrier(BarrierOp::Popc)]);
const TO_PRED: Slot = Slot::One(&[PRED]);
const TO_U32: Slot = Slot::One(&[U32]);
const FENCED: Slot =
    Slot::One(&[Modifier::Scope(Scope::Cta), Modifier::Scope(Scope::Gpu), Modifier::Scope(Scope::Sys)]);
const LEVEL: Slot = Slot::One(&[Modifier::Scope(Scope::Cta), Modifier::Scope(Scope::Gl), Modifier::Scope(Scope::Sys)]);
const ORDER: Slot = Slot::Maybe(&[Modifier::Semantics(Semantics::Sc), Modifier::Semantics(Semantics::AcqRel)]);
const SHUFFLE: Slot = Slot::One(&[flag(Flag::Up), flag(Flag::Down), flag(Flag::Bfly), flag(Flag::Idx)]);
const VOTE: Slot = Slot::One(&[flag(Flag::All), flag(Flag::Any), flag(Flag::Uni)]);
const BALLOT: Slot = Slot::One(&[flag(Flag::Ballot)]);
const SUMMED: Slot =
    Slot::One(&[Modifier::Atomic(AtomicOp::Add), Modifier::Atomic(AtomicOp::Min), Modifier::Atomic(AtomicOp::Max)]);
const LOGIC: Slot =
    Slot::One(&[Modifier::Atomic(AtomicOp::And), Modifier::Atomic(AtomicOp::Or), Modifier::Atomic(AtomicOp::Xor)]);
const INC: Slot = Slot::Word(&["inc"]);
const DEC: Slot = Slot::Word(&["dec"]);
const RELEASE: Slot = Slot::Word(&["release"]);
const CLUSTER: Slot = Slot::Word(&["cluster"]);
/// Registers of a thread come in eights.
const REGISTERS: Expect = Expect::Constant(&[
    24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128, 136, 144, 152, 160, 168, 176, 184, 192, 200, 208, 216,
    224, 232, 240, 248, 256,
]);
const Q: Expect = Expect::Predicate;
const PAIR32: Expect = Expect::WritePair(Ty::Is(ScalarType::B32));

pub const FORMS: &[Form] = &[
    form(Bra, &[UNI], &[Expect::Target]),
    form(BrxIdx, &[UNI], &[A32, Expect::Targets]),
    form(Call, &[UNI], &[Expect::Call]),
    form(Ret, &[UNI], &[]),
    form(Exit, &[], &[]),
    form(Trap, &[], &[]),
    form(Brkpt, &[], &[]),
    form(Pmevent, &[], &[Expect::UpTo(15)]),
    form(Nanosleep, &[TO_U32], &[A32]).since(70),
    form(BarSync, &[], &[A32]),
    form(BarSync, &[], &[A32, A32]),
    form(BarArrive, &[], &[A32, A32]),
    form(BarRed, &[AND_OR, TO_PRED], &[P, A32, Q]),
    form(BarRed, &[AND_OR, TO_PRED], &[P, A32, A32, Q]),
    form(BarRed, &[POPC, TO_U32], &[D32, A32, Q]),
    form(BarRed, &[POPC, TO_U32], &[D32, A32, A32, Q]),
    form(BarWarpSync, &[], &[A32]),
    form(BarrierSync, &[SYNC, MAYBE_ALIGNED], &[A32]),
    form(BarrierSync, &[SYNC, MAYBE_ALIGNED], &[A32, A32]),
    form(BarrierArrive, &[MAYBE_ALIGNED], &[A32, A32]),
    form(BarrierRed, &[AND_OR, MAYBE_ALIGNED, TO_PRED], &[P, A32, Q]),
    form(BarrierRed, &[AND_OR, MAYBE_ALIGNED, TO_PRED], &[P, A32, A32, Q]),
    form(BarrierRed, &[POPC, MAYBE_ALIGNED, TO_U32], &[D32, A32, Q]),
    form(BarrierRed, &[POPC, MAYBE_ALIGNED, TO_U32], &[D32, A32, A32, Q]),
    form(Membar, &[LEVEL], &[]),
    form(Fence, &[ORDER, FENCED], &[]).since(70),
    form(FenceMbarrierInit, &[RELEASE, CLUSTER], &[]).since(90),
    form(Setmaxnreg, &[INC, SYNC, ALIGNED, TO_U32], &[REGISTERS]).since(90),
    form(Setmaxnreg, &[DEC, SYNC, ALIGNED, TO_U32], &[REGISTERS]).since(90),
    form(ElectSync, &[SYNC], &[PAIR32, A32]).since(90),
    form(Activemask, &[BITS32], &[D]),
    form(Shfl, &[SYNC, SHUFFLE, BITS32], &[Expect::WritePair(Ty::First), A, A32, A32, A32]),
    form(Vote, &[SYNC, VOTE, TO_PRED], &[P, Q, A32]),
    form(Vote, &[SYNC, BALLOT, BITS32], &[D, Q, A32]),
    form(MatchAny, &[ANY, SYNC, BITS32_64], &[D32, A, A32]).since(70),
    form(MatchAll, &[ALL, SYNC, BITS32_64], &[PAIR32, A, A32]).since(70),
    form(Redux, &[SYNC, SUMMED, INTEGERS32], &[D, A, A32]).since(80),
    form(Redux, &[SYNC, LOGIC, BITS32], &[D, A, A32]).since(80),
];
