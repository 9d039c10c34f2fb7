//! Loads, stores, atomics and asynchronous copies (sections 9.7.9 and 9.7.13).

use super::super::expect::{Expect, Form, Slot, Ty, form};
use super::super::modifier::{AtomicOp, CacheOp, Flag, Modifier, Scope, Semantics, VectorWidth};
use super::super::opcode::Opcode::*;
use super::super::types::Space;
use super::words::*;

const fn sem(s: Semantics) -> Modifier {
    Modifier::Semantics(s)
}
const fn op(o: AtomicOp) -> Modifier {
    Modifier::Atomic(o)
}
const fn space(s: Space) -> Modifier {
    Modifier::Space(s)
}
const fn cache(c: CacheOp) -> Modifier {
    Modifier::Cache(c)
}

const READABLE: Slot = Slot::Maybe(&[
    space(Space::Const),
    space(Space::Global),
    space(Space::Local),
    space(Space::Param),
    space(Space::Shared),
]);
const WRITABLE: Slot =
    Slot::Maybe(&[space(Space::Global), space(Space::Local), space(Space::Param), space(Space::Shared)]);
const GLOBAL: Slot = Slot::One(&[space(Space::Global)]);
const SHARED_GLOBAL: Slot = Slot::Maybe(&[space(Space::Global), space(Space::Shared)]);
const PREFETCHED: Slot = Slot::Maybe(&[space(Space::Global), space(Space::Local)]);
const LOAD_CACHE: Slot =
    Slot::Maybe(&[cache(CacheOp::Ca), cache(CacheOp::Cg), cache(CacheOp::Cs), cache(CacheOp::Lu), cache(CacheOp::Cv)]);
const STORE_CACHE: Slot =
    Slot::Maybe(&[cache(CacheOp::Wb), cache(CacheOp::Cg), cache(CacheOp::Cs), cache(CacheOp::Wt)]);
const EVICTION: Slot = Slot::Maybe(&[
    flag(Flag::EvictFirst),
    flag(Flag::EvictLast),
    flag(Flag::NoAllocate),
    flag(Flag::EvictNormal),
    flag(Flag::EvictUnchanged),
]);
const L2_LINE: Slot = Slot::Maybe(&[flag(Flag::L2Line64), flag(Flag::L2Line128), flag(Flag::L2Line256)]);
const NC: Slot = Slot::One(&[flag(Flag::Nc)]);
const WEAK: Slot = Slot::Maybe(&[sem(Semantics::Weak)]);
const VOLATILE: Slot = Slot::One(&[sem(Semantics::Volatile)]);
const LOAD_ORDER: Slot = Slot::One(&[sem(Semantics::Relaxed), sem(Semantics::Acquire)]);
const STORE_ORDER: Slot = Slot::One(&[sem(Semantics::Relaxed), sem(Semantics::Release)]);
const ATOMIC_ORDER: Slot =
    Slot::Maybe(&[sem(Semantics::Relaxed), sem(Semantics::Acquire), sem(Semantics::Release), sem(Semantics::AcqRel)]);
const SCOPES: &[Modifier] = &[Modifier::Scope(Scope::Cta), Modifier::Scope(Scope::Gpu), Modifier::Scope(Scope::Sys)];
const SCOPE: Slot = Slot::One(SCOPES);
const MAYBE_SCOPE: Slot = Slot::Maybe(SCOPES);
const VECTOR: Slot = Slot::Maybe(&[Modifier::Vector(VectorWidth::V2), Modifier::Vector(VectorWidth::V4)]);
const TYPE: Slot = Slot::One(&[B8, B16, B32, B64, U8, U16, U32, U64, S8, S16, S32, S64, F32, F64]);
const NOFTZ: Slot = Slot::One(&[flag(Flag::Noftz)]);

const LEVEL: Slot = Slot::One(&[flag(Flag::L1), flag(Flag::L2)]);
const SHARED_WORD: Slot = Slot::Word(&["shared", "shared::cta"]);
const GLOBAL_WORD: Slot = Slot::Word(&["global"]);
const CA: Slot = Slot::One(&[cache(CacheOp::Ca)]);
const CG: Slot = Slot::One(&[cache(CacheOp::Cg)]);
const SIZES: Expect = Expect::Constant(&[4, 8, 16]);
const SIZE16: Expect = Expect::Constant(&[16]);
const TO: Expect = Expect::SharedAddress;
const FROM: Expect = Expect::GlobalAddress;

const ADD: Slot = Slot::One(&[op(AtomicOp::Add)]);
const MIN_MAX: Slot = Slot::One(&[op(AtomicOp::Min), op(AtomicOp::Max)]);
const INC_DEC: Slot = Slot::One(&[op(AtomicOp::Inc), op(AtomicOp::Dec)]);
const LOGIC: Slot = Slot::One(&[op(AtomicOp::And), op(AtomicOp::Or), op(AtomicOp::Xor)]);
const EXCH: Slot = Slot::One(&[op(AtomicOp::Exch)]);
const CAS: Slot = Slot::One(&[op(AtomicOp::Cas)]);
const ADDED: Slot = Slot::One(&[U32, S32, U64, F32, F64]);
const ORDERED: Slot = Slot::One(&[U32, S32, U64, S64]);
const COUNTED: Slot = Slot::One(&[U32]);
const SWAPPED: Slot = Slot::One(&[B16, B32, B64]);
const OLD: Expect = Expect::WriteOrSink(Ty::First);

macro_rules! atomic {
    ($opcode:ident, [$($slot:ident),+], $operands:expr) => {
        form($opcode, &[ATOMIC_ORDER, MAYBE_SCOPE, SHARED_GLOBAL, $($slot),+], $operands)
    };
}
const ATOM: &[Expect] = &[OLD, Expect::Store, A];
const RED: &[Expect] = &[Expect::Store, A];

pub const FORMS: &[Form] = &[
    form(Ld, &[WEAK, READABLE, LOAD_CACHE, EVICTION, L2_LINE, VECTOR, TYPE], &[Expect::WriteData, Expect::Load]),
    form(Ld, &[VOLATILE, READABLE, L2_LINE, VECTOR, TYPE], &[Expect::WriteData, Expect::Load]),
    form(Ld, &[LOAD_ORDER, SCOPE, SHARED_GLOBAL, L2_LINE, VECTOR, TYPE], &[Expect::WriteData, Expect::Load]).since(70),
    form(Ld, &[GLOBAL, LOAD_CACHE, NC, EVICTION, L2_LINE, VECTOR, TYPE], &[Expect::WriteData, Expect::Load]),
    form(Ldu, &[Slot::Maybe(&[space(Space::Global)]), VECTOR, TYPE], &[Expect::WriteData, Expect::Load]),
    form(St, &[WEAK, WRITABLE, STORE_CACHE, EVICTION, VECTOR, TYPE], &[Expect::Store, Expect::ReadData]),
    form(St, &[VOLATILE, WRITABLE, VECTOR, TYPE], &[Expect::Store, Expect::ReadData]),
    form(St, &[STORE_ORDER, SCOPE, SHARED_GLOBAL, VECTOR, TYPE], &[Expect::Store, Expect::ReadData]).since(70),
    form(Prefetch, &[PREFETCHED, LEVEL], &[Expect::Load]),
    atomic!(Atom, [ADD, ADDED], ATOM),
    atomic!(Atom, [ADD, NOFTZ, HALVES], ATOM).since(60),
    atomic!(Atom, [ADD, NOFTZ, BRAIN], ATOM).since(90),
    atomic!(Atom, [MIN_MAX, ORDERED], ATOM),
    atomic!(Atom, [INC_DEC, COUNTED], ATOM),
    atomic!(Atom, [LOGIC, BITS32_64], ATOM),
    atomic!(Atom, [EXCH, BITS32_64], ATOM),
    atomic!(Atom, [CAS, SWAPPED], &[OLD, Expect::Store, A, A]),
    atomic!(Red, [ADD, ADDED], RED),
    atomic!(Red, [ADD, NOFTZ, HALVES], RED).since(60),
    atomic!(Red, [ADD, NOFTZ, BRAIN], RED).since(90),
    atomic!(Red, [MIN_MAX, ORDERED], RED),
    atomic!(Red, [INC_DEC, COUNTED], RED),
    atomic!(Red, [LOGIC, BITS32_64], RED),
    form(CpAsync, &[CA, SHARED_WORD, GLOBAL_WORD, L2_LINE], &[TO, FROM, SIZES]).since(80),
    form(CpAsync, &[CA, SHARED_WORD, GLOBAL_WORD, L2_LINE], &[TO, FROM, SIZES, A32]).since(80),
    form(CpAsync, &[CG, SHARED_WORD, GLOBAL_WORD, L2_LINE], &[TO, FROM, SIZE16]).since(80),
    form(CpAsync, &[CG, SHARED_WORD, GLOBAL_WORD, L2_LINE], &[TO, FROM, SIZE16, A32]).since(80),
    form(CpAsyncCommitGroup, &[], &[]).since(80),
    form(CpAsyncWaitGroup, &[], &[Expect::UpTo(u32::MAX as u64)]).since(80),
    form(CpAsyncWaitAll, &[], &[]).since(80),
];
