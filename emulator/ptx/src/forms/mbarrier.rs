//! Barriers in shared memory and what reports to them (sections 9.7.13.15 and 9.7.9.25.4).

use super::super::expect::{Expect, Form, Slot, Ty, form};
use super::super::modifier::{Flag, Modifier, Scope, Semantics};
use super::super::opcode::Opcode::*;
use super::super::types::Space;
use super::words::*;

const SHARED: Slot = Slot::Maybe(&[Modifier::Space(Space::Shared)]);
const WORD: Slot = Slot::One(&[B64]);
const RELEASE: Slot = Slot::Maybe(&[Modifier::Semantics(Semantics::Release), Modifier::Semantics(Semantics::Relaxed)]);
const ACQUIRE: Slot = Slot::Maybe(&[Modifier::Semantics(Semantics::Acquire), Modifier::Semantics(Semantics::Relaxed)]);
const RELAXED: Slot = Slot::Maybe(&[Modifier::Semantics(Semantics::Relaxed)]);
const SCOPE: Slot = Slot::Maybe(&[Modifier::Scope(Scope::Cta), Modifier::Scope(Scope::Cluster)]);
const NOINC: Slot = Slot::Maybe(&[flag(Flag::Noinc)]);
const AT: Expect = Expect::Store;
const STATE: Expect = Expect::WriteOrSink(Ty::First);
/// A launch without clusters is one of clusters of a block each.
const TO_SHARED: Slot = Slot::Word(&["shared::cluster", "shared::cta"]);
const FROM_GLOBAL: Slot = Slot::Word(&["global"]);
const COMPLETES: Slot = Slot::Word(&["mbarrier::complete_tx::bytes"]);

pub const FORMS: &[Form] = &[
    form(MbarrierInit, &[SHARED, WORD], &[AT, A32]).since(80),
    form(MbarrierInval, &[SHARED, WORD], &[AT]).since(80),
    form(MbarrierArrive, &[RELEASE, SCOPE, SHARED, WORD], &[STATE, AT]).since(80),
    form(MbarrierArrive, &[RELEASE, SCOPE, SHARED, WORD], &[STATE, AT, A32]).since(80),
    form(MbarrierArriveNoComplete, &[RELEASE, SCOPE, SHARED, WORD], &[STATE, AT, A32]).since(80),
    form(MbarrierArriveExpectTx, &[RELEASE, SCOPE, SHARED, WORD], &[STATE, AT, A32]).since(90),
    form(MbarrierArriveDrop, &[RELEASE, SCOPE, SHARED, WORD], &[STATE, AT]).since(80),
    form(MbarrierArriveDrop, &[RELEASE, SCOPE, SHARED, WORD], &[STATE, AT, A32]).since(80),
    form(MbarrierArriveDropNoComplete, &[RELEASE, SCOPE, SHARED, WORD], &[STATE, AT, A32]).since(80),
    form(MbarrierArriveDropExpectTx, &[RELEASE, SCOPE, SHARED, WORD], &[STATE, AT, A32]).since(90),
    form(MbarrierExpectTx, &[RELAXED, SCOPE, SHARED, WORD], &[AT, A32]).since(90),
    form(MbarrierCompleteTx, &[RELAXED, SCOPE, SHARED, WORD], &[AT, A32]).since(90),
    form(MbarrierTestWait, &[ACQUIRE, SCOPE, SHARED, WORD], &[P, AT, A]).since(80),
    form(MbarrierTestWaitParity, &[ACQUIRE, SCOPE, SHARED, WORD], &[P, AT, A32]).since(80),
    form(MbarrierTryWait, &[ACQUIRE, SCOPE, SHARED, WORD], &[P, AT, A]).since(90),
    form(MbarrierTryWait, &[ACQUIRE, SCOPE, SHARED, WORD], &[P, AT, A, A32]).since(90),
    form(MbarrierTryWaitParity, &[ACQUIRE, SCOPE, SHARED, WORD], &[P, AT, A32]).since(90),
    form(MbarrierTryWaitParity, &[ACQUIRE, SCOPE, SHARED, WORD], &[P, AT, A32, A32]).since(90),
    form(MbarrierPendingCount, &[WORD], &[D32, A]).since(80),
    form(CpAsyncMbarrierArrive, &[NOINC, SHARED, WORD], &[AT]).since(80),
    form(
        CpAsyncBulk,
        &[TO_SHARED, FROM_GLOBAL, COMPLETES],
        &[Expect::SharedAddress, Expect::GlobalAddress, A32, Expect::SharedAddress],
    )
    .since(90),
];
