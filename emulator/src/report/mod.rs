//! Lower bounds of the time that counted launches take on a named GPU, and a table of them.
//!
//! A bound is no measurement: it says that the launch cannot be faster, not how fast it is. What it leaves out is listed
//! in [`CAVEATS`] and printed above every table.

mod bounds;
mod kernels;
mod table;

pub use bounds::{Bounds, Resource, bounds};
pub use kernels::{KernelReport, by_kernel};
pub use table::table;

use serde::Serialize;

use crate::counters::LaunchCounts;
use crate::profile::Profile;

/// About what a launch costs beside its work, in microseconds: what empty kernels launched one after the other take.
/// NVIDIA does not publish it, and launches from a graph take less, so no bound includes it.
pub const LAUNCH_OVERHEAD_US: f64 = 2.0;

/// What the bounds assume and leave out.
pub const CAVEATS: [&str; 7] = [
    "Caches are cold at each launch and never miss within it: data that an earlier launch left in L2 can beat the DRAM bound.",
    "Latency is that of the longest chain of a block whose warps wait for nothing but their own results and barriers; other stalls and clock changes are left out.",
    "Latencies are measured by third parties, the shortest that were published; memory's are L1's and L2's, never DRAM's; a kernel that reads a clock has none.",
    "Every boost clock and data-sheet peak is reached, but by mma.sync on an H100 62 % of the tensor peak, as is said of it.",
    "Instructions are PTX's: the assembler may fuse some (mul and add) and expand others (div, sin); mov, cvta and parameter accesses count as free.",
    "A grid's blocks do equal work; conversions, integer and atomic units are not modelled.",
    "An L2 bandwidth marked as measured is not NVIDIA's figure: that one bound may be beaten.",
];

#[derive(Serialize)]
struct Report<'a> {
    gpu: &'a str,
    device: &'a str,
    lower_bound_not_a_measurement: bool,
    leaves_out: &'a [&'a str],
    launch_overhead_us: f64,
    kernels: Vec<KernelReport>,
}

/// The same as [`table`], as JSON, with the bounds by resource.
///
/// # Errors
/// None that these types can cause; serde's signature has one.
pub fn json(launches: &[LaunchCounts], profile: &Profile) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&Report {
        gpu: profile.name,
        device: profile.device,
        lower_bound_not_a_measurement: true,
        leaves_out: &CAVEATS,
        launch_overhead_us: LAUNCH_OVERHEAD_US,
        kernels: by_kernel(launches, profile),
    })
}

#[cfg(test)]
mod tests;
