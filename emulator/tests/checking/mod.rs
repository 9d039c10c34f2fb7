//! A few blocks to check, and short names for accesses.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;

use rewind_emulator::check::{Access, BlockChecks, FenceScope, Finding, Kind, LaunchChecks};

pub const FULL: u32 = u32::MAX;

/// Where global memory starts; what lies there is beyond 32 bits.
pub const GLOBAL: u64 = 0x7f_0000_0000;

/// Blocks of one launch with 1 KiB of shared memory each.
pub struct Grid {
    pub launch: Arc<LaunchChecks>,
    pub blocks: Vec<BlockChecks>,
    pub warps: Vec<u32>,
}

impl Grid {
    pub fn new(blocks: u32, warps: u32) -> Grid {
        let launch = Arc::new(LaunchChecks::new());
        let blocks = (0..blocks).map(|block| BlockChecks::new(&launch, block, warps, 1024)).collect();
        Grid { launch, blocks, warps: (0..warps).collect() }
    }

    pub fn shared(&mut self, block: usize, access: Access, offsets: [u32; 32]) -> Result<(), Finding> {
        self.blocks[block].shared(&access, &offsets)
    }

    pub fn global(&mut self, block: usize, access: Access, offsets: [u32; 32]) -> Result<(), Finding> {
        self.blocks[block].global(&access, &offsets.map(|offset| GLOBAL + u64::from(offset)))
    }

    pub fn barrier(&mut self, block: usize) {
        self.blocks[block].barrier(0, &self.warps);
    }

    pub fn warp_sync(&mut self, block: usize, warp: u32, mask: u32) {
        self.blocks[block].warp_sync(warp, mask);
    }

    pub fn fence(&mut self, block: usize, warp: u32) {
        self.blocks[block].fence(warp, FenceScope::Gpu);
    }
}

/// All lanes read four bytes.
pub fn read(warp: u32) -> Access {
    Access { warp, mask: FULL, bytes: 4, kind: Kind::Read, strong: false, warp_only: false, line: 1 }
}

/// All lanes write four bytes.
pub fn write(warp: u32) -> Access {
    Access { kind: Kind::Write, ..read(warp) }
}

/// Changes to an access.
pub trait With {
    fn lanes(self, mask: u32) -> Access;
    fn bytes(self, bytes: u32) -> Access;
    fn kind(self, kind: Kind) -> Access;
    fn line(self, line: u32) -> Access;
    fn strong(self) -> Access;
}

impl With for Access {
    fn lanes(self, mask: u32) -> Access {
        Access { mask, ..self }
    }
    fn bytes(self, bytes: u32) -> Access {
        Access { bytes, ..self }
    }
    fn kind(self, kind: Kind) -> Access {
        Access { kind, ..self }
    }
    fn line(self, line: u32) -> Access {
        Access { line, ..self }
    }
    fn strong(self) -> Access {
        Access { strong: true, ..self }
    }
}

/// An offset for each lane.
pub fn each(offset: impl Fn(u32) -> u32) -> [u32; 32] {
    std::array::from_fn(|lane| offset(lane as u32))
}

/// Consecutive words.
pub fn row(base: u32) -> [u32; 32] {
    each(|lane| base + 4 * lane)
}
