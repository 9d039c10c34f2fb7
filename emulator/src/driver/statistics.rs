//! How often the driver was asked for what.

use serde::{Deserialize, Serialize};

/// Calls since the start or the last reset. Work that a graph launch submits counts as if submitted singly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Device allocations of any kind, variables of modules not included.
    pub allocations: u64,
    /// Bytes of these.
    pub allocated_bytes: u64,
    /// Device memory freed.
    pub frees: u64,
    /// Page-locked or managed host allocations, and registrations.
    pub host_allocations: u64,
    /// Modules loaded.
    pub modules: u64,
    /// Kernels run.
    pub launches: u64,
    /// Graphs launched.
    pub graph_launches: u64,
    /// Copies from the host to the device.
    pub copies_to_device: u64,
    /// Bytes of these.
    pub bytes_to_device: u64,
    /// Copies from the device to the host.
    pub copies_to_host: u64,
    /// Bytes of these.
    pub bytes_to_host: u64,
    /// Copies within the device.
    pub copies_within_device: u64,
    /// Memory set.
    pub sets: u64,
    /// Waits for a stream, an event or the context.
    pub synchronisations: u64,
    /// Streams created.
    pub streams: u64,
    /// Events created.
    pub events: u64,
}
