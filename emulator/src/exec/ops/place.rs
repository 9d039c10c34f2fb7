//! Where the lanes of one access lie: the memory, and each lane's offset in it.

use crate::exec::code::{Address, Bank, BaseWidth, local_stride};
use crate::lanes::{Lanes, Slot, WARP};
use crate::memory::{Allocation, Cells, GlobalMemory, LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW, space_of};
use crate::ptx::Space;

/// A row of addresses.
pub(in crate::exec) type Addresses = [u64; WARP];

/// The memories that a thread can reach.
#[derive(Clone, Copy)]
pub(in crate::exec) struct Memories<'a> {
    pub global: &'a GlobalMemory,
    pub shared: &'a Cells,
    /// All lanes' local memories, one after the other.
    pub local: &'a Cells,
    /// Bytes of one lane's.
    pub local_bytes: u64,
    pub parameters: &'a Cells,
}

/// Some lanes of an access, in one piece of memory.
pub(in crate::exec) struct Place<'a> {
    pub space: Space,
    pub cells: &'a Cells,
    /// Within the cells; lanes outside `mask` repeat the offset of one inside.
    pub offsets: Addresses,
    /// The lanes that lie here.
    pub mask: u32,
    /// In global memory: the allocation.
    pub allocation: Option<&'a Allocation>,
}

impl Place<'_> {
    /// Whether all 32 lanes' bytes follow each other.
    #[inline(always)]
    pub fn is_consecutive(&self, bytes: u32) -> bool {
        let mut gap = u64::from(!self.mask);
        for (lane, offset) in self.offsets.iter().enumerate() {
            gap |= offset ^ (self.offsets[0] + lane as u64 * u64::from(bytes));
        }
        gap == 0
    }
}

/// Why an address cannot be accessed.
pub(in crate::exec) enum Misplaced {
    Misaligned { lane: usize, address: u64, bytes: u64, space: Space },
    OutOfBounds { lane: usize, address: u64, bytes: u64, space: Space },
}

/// Addresses as the program writes them.
#[inline(always)]
pub(in crate::exec) fn addresses(lanes: &Lanes, address: &Address, base: Option<Slot>) -> Addresses {
    match (address.base, base) {
        (BaseWidth::Wide, Some(slot)) => lanes.wide(slot).map(|a| a.wrapping_add_signed(address.offset)),
        // Sums of 32 bits: a base below the first byte and an offset that brings it back are what nvcc makes of `x[i - 1]`.
        (BaseWidth::Short, Some(slot)) => lanes.row(slot).map(|a| a.wrapping_add(address.offset as u32).into()),
        _ => [address.offset as u64; WARP],
    }
}

impl<'a> Memories<'a> {
    /// The memory that the first lane of `mask` reaches, and which other lanes reach it too. `bytes` is the size of the
    /// whole access, a power of two.
    #[inline(always)]
    pub fn place(&self, bank: Bank, at: &Addresses, mask: u32, bytes: u64) -> Result<Place<'a>, Misplaced> {
        let first = mask.trailing_zeros() as usize % WARP;
        let mut low = 0;
        for (lane, address) in at.iter().enumerate() {
            low |= if mask >> lane & 1 == 1 { *address } else { 0 };
        }
        let (space, window) = match bank {
            Bank::Global | Bank::Constant => (Space::Global, 0),
            Bank::Shared => (Space::Shared, 0),
            Bank::Local => (Space::Local, 0),
            Bank::Parameter => (Space::Param, 0),
            Bank::Generic => match space_of(at[first]).0 {
                Space::Shared => (Space::Shared, SHARED_WINDOW),
                Space::Local => (Space::Local, LOCAL_WINDOW),
                Space::Param => (Space::Param, PARAMETER_WINDOW),
                Space::Const | Space::Global => (Space::Global, 0),
            },
        };
        if low & (bytes - 1) != 0 {
            let bad = |&lane: &usize| mask >> lane & 1 == 1 && at[lane] & (bytes - 1) != 0;
            let lane = (0..WARP).find(bad).unwrap_or(first);
            return Err(Misplaced::Misaligned { lane, address: at[lane], bytes, space });
        }
        let outside = Misplaced::OutOfBounds { lane: first, address: at[first], bytes, space };
        let (cells, start, size, allocation) = match space {
            Space::Shared => (self.shared, window, self.shared.bytes() as u64, None),
            Space::Local => (self.local, window, self.local_bytes, None),
            Space::Param => (self.parameters, window, self.parameters.bytes() as u64, None),
            Space::Const | Space::Global => match self.global.holding(at[first]) {
                Some(found) => (&found.cells, found.base, found.bytes, Some(found)),
                None => return Err(outside),
            },
        };
        let Some(last) = size.checked_sub(bytes) else { return Err(outside) };
        let mut here = 0;
        let mut offsets = at.map(|a| a.wrapping_sub(start));
        for (lane, &offset) in offsets.iter().enumerate() {
            here |= u32::from(offset <= last) << lane;
        }
        here &= mask;
        if here >> first & 1 == 0 {
            return Err(outside);
        }
        if space == Space::Local {
            for (lane, offset) in offsets.iter_mut().enumerate() {
                *offset = offset.wrapping_add(lane as u64 * local_stride(size));
            }
        }
        if here != u32::MAX {
            let some = offsets[first];
            for (lane, offset) in offsets.iter_mut().enumerate() {
                *offset = if here >> lane & 1 == 1 { *offset } else { some };
            }
        }
        Ok(Place { space, cells, offsets, mask: here, allocation })
    }
}
