//! The GPUs that the emulator can pose as: limits for the driver's answers, rates for lower bounds of time.
//!
//! Where the figures come from, unless a field says otherwise: limits per compute capability from the CUDA Programming
//! Guide, "Compute Capabilities", tables "Device and Streaming Multiprocessor Information" and "Memory Information";
//! operations per clock and multiprocessor from its table "Throughput of Native Arithmetic Instructions"; counts, clocks
//! and peaks from NVIDIA's architecture whitepapers and data sheets (H100, A100, Ada, Blackwell, T4). Clocks are boost clocks: no chip
//! runs faster for long, which is what a lower bound of time needs. Latencies have a file of their own, with their sources.

mod latency;
mod named;
mod occupancy;

pub use latency::Latencies;
pub use named::{A100_SXM, H100_SXM, RTX_4090, RTX_5090, T4};
pub use occupancy::{Limit, Occupancy, blocks_per_sm, max_potential_block_size};

/// How far a rate can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// NVIDIA states it, or it follows from what NVIDIA states.
    Published,
    /// NVIDIA does not say; others measured it. Hardware may do a little better.
    Measured,
    /// Scaled or taken from what was measured on a card of another generation.
    Scaled,
}

/// Peak rates of the tensor cores on dense matrices, in FLOP per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TensorPeaks {
    /// `tf32` inputs, `f32` sums; 0 where there is no such type, as for `bf16`.
    pub tf32: f64,
    /// `bf16` inputs, `f32` sums.
    pub bf16: f64,
    /// `f16` inputs, `f32` sums.
    pub f16: f64,
    /// `f16` inputs and sums.
    pub f16_sum_f16: f64,
}

/// One GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// What [`Profile::named`] finds it by.
    pub name: &'static str,
    /// The GPU as its vendor names it.
    pub device: &'static str,
    /// Compute capability: major and minor.
    pub compute_capability: (u32, u32),

    /// Multiprocessors.
    pub sm_count: u32,
    /// Boost clock of the multiprocessors in kHz.
    pub clock_khz: u32,
    /// Lanes of a warp.
    pub warp_size: u32,
    /// Largest block.
    pub max_threads_per_block: u32,
    /// Largest block by dimension.
    pub max_block_dim: [u32; 3],
    /// Largest grid by dimension.
    pub max_grid_dim: [u32; 3],
    /// Threads that a multiprocessor holds at once.
    pub max_threads_per_sm: u32,
    /// Blocks that a multiprocessor holds at once.
    pub max_blocks_per_sm: u32,

    /// 32-bit registers of a multiprocessor.
    pub registers_per_sm: u32,
    /// The most that a block may take of them.
    pub max_registers_per_block: u32,
    /// The most that a thread may take of them.
    pub max_registers_per_thread: u32,
    /// A warp's registers are allocated in units of this many (occupancy calculator).
    pub register_unit: u32,
    /// Parts of a multiprocessor, each with its own scheduler and share of the registers (occupancy calculator).
    pub partitions_per_sm: u32,

    /// Shared memory of a multiprocessor in bytes, at the largest carve-out.
    pub shared_per_sm: u32,
    /// The most that a block gets without asking, in bytes.
    pub shared_per_block: u32,
    /// The most that a block gets after opting in, in bytes.
    pub shared_per_block_optin: u32,
    /// What the system keeps of each block's shared memory, in bytes.
    pub shared_reserved_per_block: u32,
    /// Shared memory is allocated in units of this many bytes (occupancy calculator).
    pub shared_unit: u32,

    /// Constant memory in bytes.
    pub constant_bytes: u32,
    /// Device memory in bytes, as sold; a driver reports about one percent less.
    pub memory_bytes: u64,
    /// Width of the memory bus in bits.
    pub memory_bus_bits: u32,
    /// Clock of the memory in kHz, as drivers report it: data moves on both edges of it.
    pub memory_clock_khz: u32,
    /// Whether ECC is on as delivered.
    pub ecc: bool,
    /// Says that it has cooperative launches and refuses each, as a partition of a GPU may.
    pub refuses_cooperation: bool,
    /// The most nodes of a graph that is made ready to launch: for more there is no memory, as there may be none on a GPU that is full.
    pub graph_nodes: usize,
    /// Size of the L2 cache in bytes.
    pub l2_bytes: u32,
    /// L2 bandwidth in bytes per second.
    pub l2_bandwidth: f64,
    /// Where [`Profile::l2_bandwidth`] comes from.
    pub l2_basis: Basis,
    /// Engines that copy while kernels run (as drivers report it; not in any data sheet).
    pub copy_engines: u32,

    /// FP32 additions, products or fused pairs a clock and multiprocessor.
    pub fp32_per_clock: u32,
    /// The same for FP64.
    pub fp64_per_clock: u32,
    /// The same for FP16, halves counted singly.
    pub half_per_clock: u32,
    /// Special functions (reciprocal, square root, exponential, logarithm, sine) a clock and multiprocessor.
    pub sfu_per_clock: u32,
    /// Tensor cores.
    pub tensor: TensorPeaks,
    /// What of those peaks `mma.sync` reaches: all, but on compute capability 9.0, whose peaks take `wgmma`.
    pub mma_sync: f64,
    /// How long results take.
    pub latencies: Latencies,
}

impl Profile {
    /// Every profile there is.
    pub const ALL: &'static [&'static Profile] = &[&H100_SXM, &A100_SXM, &RTX_4090, &RTX_5090, &T4];

    /// The profile of that name: `h100-sxm`, `a100-sxm`, `rtx-4090`, `rtx-5090` or `t4`.
    pub fn named(name: &str) -> Option<&'static Profile> {
        Self::ALL.iter().copied().find(|p| p.name == name)
    }

    /// Clock of the multiprocessors in Hz.
    pub fn clock_hz(&self) -> f64 {
        f64::from(self.clock_khz) * 1e3
    }

    /// Warps that a multiprocessor holds at once.
    pub const fn max_warps_per_sm(&self) -> u32 {
        self.max_threads_per_sm / self.warp_size
    }

    /// `SMs x operations a clock x clock`, of something every multiprocessor does so many of a clock, in operations a
    /// second.
    pub fn per_second(&self, per_clock_and_sm: u32) -> f64 {
        f64::from(self.sm_count) * f64::from(per_clock_and_sm) * self.clock_hz()
    }

    /// `2 x SMs x lanes x clock`: FP32 FLOP per second, a fused multiply-add counted as two.
    pub fn fp32_peak(&self) -> f64 {
        2.0 * self.per_second(self.fp32_per_clock)
    }

    /// The same for FP64, without tensor cores.
    pub fn fp64_peak(&self) -> f64 {
        2.0 * self.per_second(self.fp64_per_clock)
    }

    /// The same for FP16, without tensor cores.
    pub fn half_peak(&self) -> f64 {
        2.0 * self.per_second(self.half_per_clock)
    }

    /// `2 x clock x bus width`: bytes per second between device memory and the chip.
    pub fn dram_bandwidth(&self) -> f64 {
        2.0 * f64::from(self.memory_clock_khz) * 1e3 * f64::from(self.memory_bus_bits) / 8.0
    }

    /// FP32 operations in the time of one FP64 operation.
    pub const fn single_to_double_ratio(&self) -> u32 {
        self.fp32_per_clock / self.fp64_per_clock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data sheets round to three digits, hence half a percent.
    fn close(ours: f64, published: f64) {
        assert!((ours / published - 1.0).abs() < 5e-3, "{ours:e} against {published:e}");
    }

    #[test]
    fn derived_rates_are_the_published_ones() {
        close(H100_SXM.fp32_peak(), 66.9e12);
        close(A100_SXM.fp32_peak(), 19.5e12);
        close(RTX_4090.fp32_peak(), 82.6e12);
        close(RTX_5090.fp32_peak(), 104.8e12);
        // Its data sheet gives two digits.
        assert!((T4.fp32_peak() / 8.1e12 - 1.0).abs() < 1e-2);
        close(H100_SXM.fp64_peak(), 33.5e12);
        close(A100_SXM.fp64_peak(), 9.7e12);
        close(RTX_4090.fp64_peak(), 1.29e12);
        close(H100_SXM.half_peak(), 133.8e12);
        close(A100_SXM.half_peak(), 78e12);
        close(RTX_4090.half_peak(), 82.6e12);
        close(RTX_5090.half_peak(), 104.8e12);
        close(T4.half_peak(), 16.3e12);
        close(H100_SXM.dram_bandwidth(), 3.352e12);
        close(A100_SXM.dram_bandwidth(), 1.555e12);
        close(RTX_4090.dram_bandwidth(), 1.008e12);
        close(RTX_5090.dram_bandwidth(), 1.792e12);
        close(T4.dram_bandwidth(), 320e9);
    }

    #[test]
    fn every_profile_is_found_by_its_name_and_is_consistent() {
        assert_eq!(Profile::ALL.len(), 5);
        for &p in Profile::ALL {
            assert_eq!(Profile::named(p.name), Some(p));
            assert!(p.shared_per_block_optin + p.shared_reserved_per_block == p.shared_per_sm, "{}", p.name);
            assert_eq!(p.max_threads_per_sm % p.warp_size, 0);
            assert_eq!(p.registers_per_sm % (p.partitions_per_sm * p.register_unit), 0);
            let newer = p.compute_capability >= (8, 0);
            assert_eq!(p.tensor.tf32 > 0.0, newer, "{}", p.name);
            assert_eq!(p.tensor.tf32 < p.tensor.bf16, newer, "{}", p.name);
            assert!(p.tensor.bf16 <= p.tensor.f16 && p.tensor.f16 <= p.tensor.f16_sum_f16);
            let l = p.latencies;
            assert!(0 < l.arithmetic && l.arithmetic < l.special && l.special <= l.short_product, "{}", p.name);
            assert!(l.short_product <= l.product && l.shared <= l.matrices[0] && l.matrices.is_sorted(), "{}", p.name);
            assert!(l.shared < l.l1 && l.l1 < l.l2 && l.basis != Basis::Published, "{}", p.name);
        }
        assert_eq!(Profile::named("h100"), None);
    }

    #[test]
    fn single_to_double_ratios_are_the_guides() {
        assert_eq!(H100_SXM.single_to_double_ratio(), 2);
        assert_eq!(A100_SXM.single_to_double_ratio(), 2);
        assert_eq!(RTX_4090.single_to_double_ratio(), 64);
        assert_eq!(RTX_5090.single_to_double_ratio(), 64);
        assert_eq!(T4.single_to_double_ratio(), 32);
    }
}
