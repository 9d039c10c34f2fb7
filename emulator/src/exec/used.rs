//! What an operation reads and writes.

use crate::exec::code::{Action, BarrierKind, Code, MbarrierOp, Op, Vote};
use crate::lanes::Slot;
use crate::ptx::BarrierOp;

/// Slots, and which of them are predicates; the guard is not among them.
pub(in crate::exec) struct Used {
    pub reads: Vec<(Slot, bool)>,
    pub writes: Vec<(Slot, bool)>,
    pub carries: bool,
}

impl Used {
    pub fn by(code: &Code, op: &Op, pc: usize) -> Used {
        let (slots, flow) = (code.names(op), code.flows[pc]);
        // how many slots are results, and which are predicates, a bit each
        let (results, predicates) = match &op.action {
            Action::Row(_) | Action::Matrix(_) => (usize::from(flow.results), flow.predicates),
            Action::Load(access) => (usize::from(access.count), 0),
            Action::Atomic(_) | Action::Reduce(..) | Action::ActiveMask | Action::Clock(_) => (1, 0),
            Action::Mbarrier(barrier) => {
                (usize::from(barrier.op.has_result()), u32::from(matches!(barrier.op, MbarrierOp::Wait { .. })))
            }
            Action::LoadMatrix(matrices) => (usize::from(matrices.count), 0),
            Action::LoadTile(tile) => (usize::from(tile.registers), 0),
            Action::Barrier(barrier) => match barrier.kind {
                BarrierKind::Reduce(by) => (1, 1 << (slots.len() - 1) | u32::from(by != BarrierOp::Popc)),
                BarrierKind::Sync | BarrierKind::Arrive => (0, 0),
            },
            Action::Shuffle(_) | Action::Match { .. } | Action::Elect => (2, 0b10),
            Action::Vote(vote) => (1, 0b10 | u32::from(*vote != Vote::Ballot)),
            Action::Store(_)
            | Action::CopyAsync(_)
            | Action::CopyBulk(_)
            | Action::CopyCommit
            | Action::CopyWait(_)
            | Action::StoreMatrix(_)
            | Action::StoreTile(_)
            | Action::Branch(_)
            | Action::Table(_)
            | Action::Exit
            | Action::Trap
            | Action::WarpSync
            | Action::Fence { .. }
            | Action::Yield
            | Action::Nothing
            | Action::Print { .. }
            | Action::Assert(_) => (0, 0),
        };
        let named = |(n, &slot): (usize, &Slot)| (slot, predicates >> n & 1 == 1);
        let mut writes: Vec<_> = slots.iter().enumerate().map(named).collect();
        let reads = writes.split_off(results.min(slots.len()));
        let rows = matches!(op.action, Action::Row(_) | Action::Matrix(_));
        Used { reads, writes, carries: rows && flow.carries }
    }
}
