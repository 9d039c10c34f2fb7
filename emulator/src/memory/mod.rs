//! The device's memory: what the driver allocates and what kernels reach by 64-bit addresses.

mod cells;
mod global;
mod window;

pub use cells::Cells;
pub use global::{Allocation, GlobalMemory, MemoryError, Origin};
pub use window::{LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW, WINDOW_BYTES, generic, space_of};
