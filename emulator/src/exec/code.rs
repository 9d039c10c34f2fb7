//! The executable form of a kernel: one flat list of operations, calls inlined, operands resolved to rows.

use std::sync::{Arc, OnceLock};

pub use crate::exec::file::File;
pub use crate::exec::shuffle::Shuffle;
use crate::lanes::{Row, Slot, Width};
use crate::ptx::{AtomicOp, BarrierOp, ScalarType, SpecialRegister};
use crate::row::RowFn;

/// One operation.
#[derive(Debug, Clone)]
pub struct Op {
    /// What it does.
    pub action: Action,
    /// Runs in the lanes where this predicate holds.
    pub guard: Option<Slot>,
    /// Its operands within [`Code::slots`].
    pub slots: (u32, u32),
    /// Its line in the PTX.
    pub line: u32,
}

/// What an operation does. Slots are listed in the order in which [`Op::slots`] holds them.
#[derive(Debug, Clone)]
pub enum Action {
    /// Registers to registers.
    Row(RowFn),
    /// Memory to registers: destinations, then the base.
    Load(Access),
    /// Registers to memory: sources, then the base.
    Store(Access),
    /// Read, modify, write: destination, base, operand, and for `cas` the value to swap in.
    Atomic(Atomic),
    /// Global to shared memory: both bases, then the bytes to read if given.
    CopyAsync(Box<CopyAsync>),
    /// A barrier in shared memory: the result if there is one, the base, then the operand.
    Mbarrier(Mbarrier),
    /// Global to shared memory, telling a barrier: both bases, the bytes, the barrier's base.
    CopyBulk(Box<CopyBulk>),
    /// Closes a group of copies.
    CopyCommit,
    /// Waits until so many groups are pending; `None`: until none is.
    CopyWait(Option<u32>),
    /// `ldmatrix`: destinations, then the base.
    LoadMatrix(Matrices),
    /// `stmatrix`: sources, then the base.
    StoreMatrix(Matrices),
    /// `wmma.load`: destinations, then the base, then the distance if given.
    LoadTile(Tile),
    /// `wmma.store`: sources, then the same.
    StoreTile(Tile),
    /// `mma`, which all lanes must execute.
    Matrix(RowFn),
    /// Goes there in the lanes of the guard.
    Branch(u32),
    /// Goes to the one of these that the index in its slot names.
    Table(Box<[u32]>),
    /// The lanes end.
    Exit,
    /// The launch fails.
    Trap,
    /// A block barrier.
    Barrier(Barrier),
    /// `bar.warp.sync`: the mask.
    WarpSync,
    /// Destination, predicate or none, value, lane or delta, clamp and segments, mask.
    Shuffle(Shuffle),
    /// Destination, predicate, mask.
    Vote(Vote),
    /// Destination, predicate for `all`, value, mask; 64-bit values where set.
    Match {
        /// All lanes must agree.
        all: bool,
        /// The value's width.
        width: Width,
    },
    /// One lane of those in the mask: its number, the predicate that holds in it, the mask.
    Elect,
    /// Destination, value, mask.
    Reduce(AtomicOp, ScalarType),
    /// Destination.
    ActiveMask,
    /// A memory fence; whether it reaches other blocks.
    Fence {
        /// Scope wider than the block.
        wide: bool,
    },
    /// Reads a clock: destination.
    Clock(SpecialRegister),
    /// Gives the other warps a turn.
    Yield,
    /// Nothing at all: prefetches and events.
    Nothing,
    /// `vprintf`: local addresses of its two arguments and its result.
    Print {
        /// Where the pointer to the format lies.
        format: u32,
        /// Where the pointer to the arguments lies.
        arguments: u32,
        /// Where the result goes.
        result: Option<u32>,
    },
    /// `__assertfail`: local addresses of message, file, line and function.
    Assert([u32; 4]),
}

impl Action {
    /// Whether it may have to wait for other lanes of the warp, and is then come to again.
    #[inline(always)]
    pub fn gathers(&self) -> bool {
        matches!(
            self,
            Action::LoadMatrix(_)
                | Action::StoreMatrix(_)
                | Action::Matrix(_)
                | Action::LoadTile(_)
                | Action::StoreTile(_)
                | Action::WarpSync
                | Action::Shuffle(_)
                | Action::Vote(_)
                | Action::Match { .. }
                | Action::Reduce(..)
                | Action::Elect
        )
    }
}

/// How a row operation passes values on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flow {
    /// How many of its slots, from the first on, it writes.
    pub results: u8,
    /// Which of its slots are predicates, a bit each.
    pub predicates: u32,
    /// Reads or sets the carry flag.
    pub carries: bool,
    /// Takes its first source where its third, a predicate, holds, else the second: `selp`.
    pub selects: bool,
}

/// How an address is formed from a base's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseWidth {
    /// No register: the offset is the address, and there is no slot.
    None,
    /// A 32-bit register.
    Short,
    /// A 64-bit register.
    Wide,
}

/// Which memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bank {
    /// Decided by the address.
    Generic,
    /// Global memory.
    Global,
    /// Constant memory: global memory that is not written.
    Constant,
    /// The block's.
    Shared,
    /// The thread's.
    Local,
    /// The kernel's parameters.
    Parameter,
}

/// An address: base plus offset in a bank.
#[derive(Debug, Clone, Copy)]
pub struct Address {
    /// Memory.
    pub bank: Bank,
    /// Base.
    pub base: BaseWidth,
    /// Offset in bytes.
    pub offset: i64,
}

/// A load or store.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// Where.
    pub address: Address,
    /// Bytes of an element.
    pub bytes: u8,
    /// Sign-extended into a wider register.
    pub signed: bool,
    /// Elements.
    pub count: u8,
    /// The registers' width, the same for all elements.
    pub width: Width,
    /// Volatile, relaxed, acquire or release.
    pub strong: bool,
    /// A volatile load that no thread waits with.
    pub warp_only: bool,
    /// Orders memory beyond the access itself: acquire loads, release stores; whether beyond the block.
    pub fence: Option<bool>,
}

/// An atomic.
#[derive(Debug, Clone, Copy)]
pub struct Atomic {
    /// Where.
    pub address: Address,
    /// What.
    pub op: AtomicOp,
    /// On what type.
    pub ty: ScalarType,
    /// Whether what was there matters: not for an exchange whose result nobody uses.
    pub reads: bool,
    /// Fence before and after: `.acquire`, `.release`, `.acq_rel`; whether beyond the block.
    pub fence: Option<bool>,
}

/// An asynchronous copy.
#[derive(Debug, Clone, Copy)]
pub struct CopyAsync {
    /// Destination.
    pub to: Address,
    /// Source.
    pub from: Address,
    /// Bytes written.
    pub bytes: u8,
    /// Whether a slot says how many to read; the rest become zero.
    pub sized: bool,
}

/// `ldmatrix` and `stmatrix`.
#[derive(Debug, Clone, Copy)]
pub struct Matrices {
    /// Where.
    pub address: Address,
    /// 1, 2 or 4.
    pub count: u8,
    /// Transposed.
    pub transposed: bool,
}

/// An operation on a barrier in shared memory.
#[derive(Debug, Clone, Copy)]
pub struct Mbarrier {
    /// Where.
    pub address: Address,
    /// What.
    pub op: MbarrierOp,
}

/// What `mbarrier` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MbarrierOp {
    /// Makes one for a number of arrivals.
    Init,
    /// Ends its life.
    Invalidate,
    /// Arrives so many times.
    Arrive {
        /// Later phases expect as many fewer.
        drop: bool,
        /// The phase may end with this.
        may_complete: bool,
    },
    /// Announces bytes and arrives once.
    ArriveExpecting {
        /// Later phases expect one fewer.
        drop: bool,
    },
    /// Announces bytes.
    Expect,
    /// Bytes have arrived.
    Complete,
    /// The thread's earlier `cp.async` arrive.
    CopiesArrive {
        /// The arrival is one of those pending: `.noinc`.
        counted: bool,
    },
    /// Asks whether a phase is over.
    Wait {
        /// Named by its parity, not by a state.
        parity: bool,
    },
}

impl MbarrierOp {
    /// Whether there is a slot for a result.
    pub const fn has_result(self) -> bool {
        matches!(self, MbarrierOp::Arrive { .. } | MbarrierOp::ArriveExpecting { .. } | MbarrierOp::Wait { .. })
    }
}

/// A copy of any size that tells a barrier.
#[derive(Debug, Clone, Copy)]
pub struct CopyBulk {
    /// Destination.
    pub to: Address,
    /// Source.
    pub from: Address,
    /// The barrier.
    pub barrier: Mbarrier,
}

/// A matrix that `wmma` loads or stores.
#[derive(Debug, Clone, Copy)]
pub struct Tile {
    /// Where.
    pub address: Address,
    /// Its columns.
    pub columns: u16,
    /// Its rows times its columns.
    pub elements: u16,
    /// Columns lie one after the other, instead of rows.
    pub by_columns: bool,
    /// Bytes of an element.
    pub bytes: u8,
    /// Registers of a fragment.
    pub registers: u8,
    /// Elements of a register.
    pub packed: u8,
    /// Whether a slot says how far rows or columns are apart; otherwise they touch.
    pub strided: bool,
}

/// A block barrier: slots are the destination of a reduction, the number, the count if given, the predicate.
#[derive(Debug, Clone, Copy)]
pub struct Barrier {
    /// What it does besides.
    pub kind: BarrierKind,
    /// Whether a count of threads is given.
    pub counted: bool,
    /// Whether the warp's threads must come together.
    pub aligned: bool,
}

/// Kinds of barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarrierKind {
    /// Waits.
    Sync,
    /// Counts and goes on.
    Arrive,
    /// Waits and joins predicates.
    Reduce(BarrierOp),
}

/// What a vote asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vote {
    /// `.all`
    All,
    /// `.any`
    Any,
    /// `.uni`
    Uniform,
    /// `.ballot`
    Ballot,
}

/// A lowered kernel.
#[derive(Debug)]
pub struct Code {
    /// The operations; every path ends in an exit.
    pub ops: Vec<Op>,
    /// Operands of all operations, by the program's names: each register has rows of its own.
    pub slots: Vec<Slot>,
    /// Constants, laid out as rows.
    pub constants: Arc<[Row]>,
    /// Rows that registers of the program's names take.
    pub rows: usize,
    /// Predicates of a warp.
    pub predicates: usize,
    /// Special registers read, and where.
    pub specials: Vec<(SpecialRegister, Slot)>,
    /// Static shared memory in bytes; dynamic shared memory follows, aligned to 16.
    pub static_shared: u32,
    /// Whether there is dynamic shared memory.
    pub dynamic_shared: bool,
    /// Local memory a thread in bytes.
    pub local_bytes: u32,
    /// Results may depend on the order of blocks: atomics whose old value is used, or that round, and printing.
    pub order_dependent: bool,
    /// The SIMD level that the operations were compiled for.
    pub level: crate::row::Level,
    /// How each operation passes values on, where it is one on rows.
    pub flows: Vec<Flow>,
    /// What each operation counts as.
    pub classes: Vec<crate::counters::Class>,
    /// What each operation waits for; made when somebody asks.
    pub steps: OnceLock<Arc<crate::exec::chain::Steps>>,
    /// Where a warp keeps its registers; made for the first launch.
    pub file: OnceLock<File>,
    /// The module's text, for reports.
    pub source: Arc<str>,
}

impl Code {
    /// From one lane's local memory to the next one's: a multiple of what the widest access is aligned to.
    pub fn local_stride(&self) -> usize {
        local_stride(self.local_bytes.into()) as usize
    }

    /// An operation's operands by the program's names.
    #[inline(always)]
    pub fn names(&self, op: &Op) -> &[Slot] {
        &self.slots[op.slots.0 as usize..op.slots.1 as usize]
    }

    /// A line of the PTX.
    pub fn text(&self, line: u32) -> &str {
        self.source.lines().nth(line as usize - 1).unwrap_or_default()
    }
}

/// See [`Code::local_stride`].
#[inline(always)]
pub fn local_stride(bytes: u64) -> u64 {
    bytes.next_multiple_of(16)
}

/// The rows that a value of this type takes.
pub(in crate::exec) fn width_of(ty: ScalarType) -> Width {
    match ty.bits() {
        1 => Width::Pred,
        4 | 8 | 16 => Width::W16,
        32 => Width::W32,
        64 => Width::W64,
        _ => Width::W128,
    }
}

/// Where dynamic shared memory starts.
pub(in crate::exec) fn dynamic_start(static_shared: u64) -> u64 {
    static_shared.next_multiple_of(16)
}
