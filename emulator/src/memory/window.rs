//! Generic addresses (PTX ISA section 5.2 and 9.7.9.20): shared and local memory and a kernel's
//! parameters appear in windows of the 64-bit address
//! space; every other generic address is a global one.

use crate::ptx::Space;

/// Generic address of byte 0 of the block's shared memory.
pub const SHARED_WINDOW: u64 = 0x7f00_0000_0000_0000;
/// Generic address of byte 0 of the thread's local memory.
pub const LOCAL_WINDOW: u64 = 0x7f80_0000_0000_0000;
/// Generic address of byte 0 of the kernel's parameters.
pub const PARAMETER_WINDOW: u64 = 0x7f40_0000_0000_0000;
/// Size of each window: shared and local addresses have 32 bits or fewer.
pub const WINDOW_BYTES: u64 = 1 << 32;

/// The generic address of an address in a space; one that is generic already stays so.
pub fn generic(space: Space, address: u64) -> u64 {
    let window = match space {
        Space::Shared => SHARED_WINDOW,
        Space::Local => LOCAL_WINDOW,
        Space::Param => PARAMETER_WINDOW,
        Space::Global | Space::Const => return address,
    };
    // Windows are far from what addresses within a space can be, also from ones that are out of bounds.
    if address.wrapping_sub(window).wrapping_add(WINDOW_BYTES) < 2 * WINDOW_BYTES {
        address
    } else {
        window.wrapping_add(address)
    }
}

/// The space that a generic address lies in, and the address there.
#[inline(always)]
pub fn space_of(generic: u64) -> (Space, u64) {
    if generic.wrapping_sub(SHARED_WINDOW) < WINDOW_BYTES {
        (Space::Shared, generic - SHARED_WINDOW)
    } else if generic.wrapping_sub(LOCAL_WINDOW) < WINDOW_BYTES {
        (Space::Local, generic - LOCAL_WINDOW)
    } else if generic.wrapping_sub(PARAMETER_WINDOW) < WINDOW_BYTES {
        (Space::Param, generic - PARAMETER_WINDOW)
    } else {
        (Space::Global, generic)
    }
}
