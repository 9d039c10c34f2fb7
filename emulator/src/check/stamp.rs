//! Who touched a byte, when and where in the text, in eight bytes.

use super::{Access, Kind};

/// Warps that a block has at most: 1024 threads.
pub(super) const WARPS: usize = 32;

/// Tags that lie together, so that SIMD can look at them at once.
pub(super) const EIGHT: usize = 8;

/// Who did an access. What lies in shared memory needs no block, what lies in global memory does.
pub(super) trait Tag: Copy + Default {
    /// Eight of them.
    type Eight: Eight<Tag = Self>;
    /// The same access, done by this lane. Must be called on a tag of lane 0.
    fn at(self, lane: u32) -> Self;
    /// The part that does not name the block.
    fn stamp(self) -> Stamp;
    /// Whether both were done by one warp.
    fn same_warp(self, other: Self) -> bool;
}

/// Which lanes neighbouring cells belong to: cell `i` to lane `(start + i) / 2^shift`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lanes {
    pub start: u32,
    pub shift: u32,
}

impl Lanes {
    #[inline(always)]
    pub fn of(self, cell: u32) -> u32 {
        (self.start + cell) >> self.shift
    }

    /// The lanes of cells from this one on.
    #[inline(always)]
    pub fn from(self, cell: u32) -> Lanes {
        Lanes { start: self.start + cell, ..self }
    }
}

/// Whether something holds for each of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    All,
    None,
    Some,
}

/// Eight tags. Functions of some `N` of them concern those from `from` on.
pub(super) trait Eight: Copy + Default + std::fmt::Debug {
    type Tag;
    fn get(&self, at: usize) -> Self::Tag;
    fn set(&mut self, at: usize, tag: Self::Tag);
    /// Whether they are of one warp and one epoch.
    fn alike<const N: usize>(&self, from: usize) -> bool;
    /// Whether they are of these lanes.
    fn of_lanes<const N: usize>(&self, from: usize, lanes: Lanes) -> Share;
    /// Becomes a tag of lane 0, done by these lanes.
    fn put<const N: usize>(&mut self, from: usize, tag: Self::Tag, lanes: Lanes);
    /// Forgets them.
    fn clear<const N: usize>(&mut self, from: usize);
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

impl Eight for [Stamp; EIGHT] {
    type Tag = Stamp;

    #[inline(always)]
    fn get(&self, at: usize) -> Stamp {
        self[at % EIGHT]
    }

    #[inline(always)]
    fn set(&mut self, at: usize, tag: Stamp) {
        self[at % EIGHT] = tag;
    }

    #[inline(always)]
    fn alike<const N: usize>(&self, from: usize) -> bool {
        let Some(some) = self[from % EIGHT..].first_chunk::<N>() else { return false };
        let mut difference = 0;
        for tag in some {
            difference |= tag.0 ^ some[0].0;
        }
        difference & (Stamp::WARP | u64::MAX << Stamp::EPOCH_SHIFT) == 0
    }

    #[inline(always)]
    fn of_lanes<const N: usize>(&self, from: usize, lanes: Lanes) -> Share {
        let Some(some) = self[from % EIGHT..].first_chunk::<N>() else { return Share::Some };
        let mut same = 0;
        for (cell, tag) in some.iter().enumerate() {
            same += u32::from(tag.lane() == lanes.of(cell as u32));
        }
        match same {
            0 => Share::None,
            _ if same == N as u32 => Share::All,
            _ => Share::Some,
        }
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, from: usize, tag: Stamp, lanes: Lanes) {
        let Some(some) = self[from % EIGHT..].first_chunk_mut::<N>() else { return };
        for (cell, old) in some.iter_mut().enumerate() {
            *old = tag.at(lanes.of(cell as u32));
        }
    }

    #[inline(always)]
    fn clear<const N: usize>(&mut self, from: usize) {
        let Some(some) = self[from % EIGHT..].first_chunk_mut::<N>() else { return };
        *some = [Stamp::default(); N];
    }
}

impl Tag for Stamp {
    type Eight = [Stamp; EIGHT];

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

/// An access within a launch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct GridStamp {
    stamp: Stamp,
    pub block: u32,
}

impl GridStamp {
    pub fn new(stamp: Stamp, block: u32) -> GridStamp {
        GridStamp { stamp, block }
    }
}

/// Twelve bytes for each: three of these stand behind every word of global memory in use.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct GridStamps {
    stamps: [Stamp; EIGHT],
    blocks: [u32; EIGHT],
}

impl Eight for GridStamps {
    type Tag = GridStamp;

    #[inline(always)]
    fn get(&self, at: usize) -> GridStamp {
        GridStamp { stamp: self.stamps[at % EIGHT], block: self.blocks[at % EIGHT] }
    }

    #[inline(always)]
    fn set(&mut self, at: usize, tag: GridStamp) {
        (self.stamps[at % EIGHT], self.blocks[at % EIGHT]) = (tag.stamp, tag.block);
    }

    #[inline(always)]
    fn alike<const N: usize>(&self, from: usize) -> bool {
        let Some(some) = self.blocks[from % EIGHT..].first_chunk::<N>() else { return false };
        let mut difference = 0;
        for block in some {
            difference |= block ^ some[0];
        }
        difference == 0 && self.stamps.alike::<N>(from)
    }

    #[inline(always)]
    fn of_lanes<const N: usize>(&self, from: usize, lanes: Lanes) -> Share {
        self.stamps.of_lanes::<N>(from, lanes)
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, from: usize, tag: GridStamp, lanes: Lanes) {
        self.stamps.put::<N>(from, tag.stamp, lanes);
        let Some(some) = self.blocks[from % EIGHT..].first_chunk_mut::<N>() else { return };
        *some = [tag.block; N];
    }

    #[inline(always)]
    fn clear<const N: usize>(&mut self, from: usize) {
        self.put::<N>(from, GridStamp::default(), Lanes { start: 0, shift: u32::BITS - 1 });
    }
}

impl Tag for GridStamp {
    type Eight = GridStamps;

    #[inline(always)]
    fn at(self, lane: u32) -> GridStamp {
        GridStamp { stamp: self.stamp.at(lane), ..self }
    }

    #[inline(always)]
    fn stamp(self) -> Stamp {
        self.stamp
    }

    #[inline(always)]
    fn same_warp(self, other: GridStamp) -> bool {
        self.block == other.block && self.stamp.same_warp(other.stamp)
    }
}
