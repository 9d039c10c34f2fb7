//! Who touched a byte, when and where in the text, in eight bytes.

use super::{Access, Kind};

/// Warps that a block has at most: 1024 threads.
pub(super) const WARPS: usize = 32;

/// Who did an access. What lies in shared memory needs no block, what lies in global memory does.
pub(super) trait Tag: Copy + Default {
    /// The same access, done by this lane. Must be called on a tag of lane 0.
    fn at(self, lane: u32) -> Self;
    /// The part that does not name the block.
    fn stamp(self) -> Stamp;
    /// Whether both were done by one warp.
    fn same_warp(self, other: Self) -> bool;
}

/// An access within a block: epoch, line, kind, lane and warp. All zero for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stamp(u64);

impl Stamp {
    const WARP: u64 = 0x1f;
    const LANE_SHIFT: u32 = 5;
    const STRONG: u64 = 1 << 10;
    const ATOMIC: u64 = 1 << 11;
    const ASYNC: u64 = 1 << 12;
    const LINE_SHIFT: u32 = 13;
    const LINE_MAX: u64 = (1 << 19) - 1;
    const EPOCH_SHIFT: u32 = 32;

    /// What lane 0 would leave behind; epochs start at 1.
    pub fn new(access: &Access, epoch: u32) -> Stamp {
        let (strong, atomic) = match access {
            Access { kind: Kind::Atomic, .. } => (Self::STRONG, Self::ATOMIC),
            // No atomic is weak, which leaves this combination for it.
            Access { warp_only: true, .. } => (0, Self::ATOMIC),
            Access { strong, .. } => (if *strong { Self::STRONG } else { 0 }, 0),
        };
        let line = if u64::from(access.line) > Self::LINE_MAX { 0 } else { u64::from(access.line) };
        let who = u64::from(access.warp) & Self::WARP;
        Stamp(u64::from(epoch) << Self::EPOCH_SHIFT | line << Self::LINE_SHIFT | strong | atomic | who)
    }

    /// The same as the unfinished write of an asynchronous copy. Its epoch is past all others, so that no access comes
    /// after it.
    pub fn unfinished(self) -> Stamp {
        Stamp((self.0 | Self::ASYNC | u64::from(u32::MAX) << Self::EPOCH_SHIFT) & !Self::STRONG)
    }

    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    pub fn epoch(self) -> u32 {
        (self.0 >> Self::EPOCH_SHIFT) as u32
    }

    pub fn warp(self) -> usize {
        (self.0 & Self::WARP) as usize
    }

    pub fn lane(self) -> u32 {
        (self.0 >> Self::LANE_SHIFT) as u32 & 31
    }

    /// 0 when the line does not fit.
    pub fn line(self) -> u32 {
        (self.0 >> Self::LINE_SHIFT & Self::LINE_MAX) as u32
    }

    pub fn is_strong(self) -> bool {
        self.0 & Self::STRONG != 0
    }

    pub fn is_atomic(self) -> bool {
        self.0 & (Self::ATOMIC | Self::STRONG) == Self::ATOMIC | Self::STRONG
    }

    /// Strong, if only towards its own warp.
    pub fn is_strong_in_warp(self) -> bool {
        self.0 & (Self::ATOMIC | Self::STRONG) != 0
    }

    pub fn is_unfinished(self) -> bool {
        self.0 & Self::ASYNC != 0
    }
}

impl Tag for Stamp {
    #[inline(always)]
    fn at(self, lane: u32) -> Stamp {
        Stamp(self.0 | u64::from(lane) << Self::LANE_SHIFT)
    }

    #[inline(always)]
    fn stamp(self) -> Stamp {
        self
    }

    #[inline(always)]
    fn same_warp(self, other: Stamp) -> bool {
        (self.0 ^ other.0) & Self::WARP == 0
    }
}

/// An access within a launch. Twelve bytes: three of these stand behind every word of global memory in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct GridStamp {
    low: u32,
    high: u32,
    pub block: u32,
}

impl GridStamp {
    pub fn new(stamp: Stamp, block: u32) -> GridStamp {
        GridStamp { low: stamp.0 as u32, high: (stamp.0 >> 32) as u32, block }
    }
}

impl Tag for GridStamp {
    #[inline(always)]
    fn at(self, lane: u32) -> GridStamp {
        GridStamp { low: self.low | lane << Stamp::LANE_SHIFT, ..self }
    }

    #[inline(always)]
    fn stamp(self) -> Stamp {
        Stamp(u64::from(self.high) << 32 | u64::from(self.low))
    }

    #[inline(always)]
    fn same_warp(self, other: GridStamp) -> bool {
        self.block == other.block && self.stamp().same_warp(other.stamp())
    }
}
