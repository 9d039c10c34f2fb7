//! How kernels run.

/// How strictly and in what order kernels run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Options {
    /// Look for races, unwritten bytes and the like; bounds and alignment are always checked.
    pub checks: bool,
    /// Count what a profiler counts.
    pub counters: bool,
    /// Run warps and blocks in an order drawn from this seed; `None`: in their natural order.
    pub shuffle: Option<u64>,
    /// Host threads; results do not depend on it.
    pub threads: usize,
    /// Instructions that a warp may take before it counts as stuck.
    pub instruction_limit: u64,
}

impl Default for Options {
    /// Checks and counters on, natural order, a thread for each of the host's cores.
    fn default() -> Options {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        Options { checks: true, counters: true, shuffle: None, threads, instruction_limit: 1 << 36 }
    }
}
