//! The profiles themselves. What is not explained here is explained with the fields of [`Profile`].

use super::{Basis, Profile, TensorPeaks, latency};

const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;
const GIB: u64 = 1024 * MIB as u64;

/// What the tables of the programming guide give for most compute capabilities alike.
const COMMON: Profile = Profile {
    name: "",
    device: "",
    compute_capability: (0, 0),
    sm_count: 0,
    clock_khz: 0,
    warp_size: 32,
    max_threads_per_block: 1024,
    max_block_dim: [1024, 1024, 64],
    max_grid_dim: [(1 << 31) - 1, 65_535, 65_535],
    max_threads_per_sm: 2048,
    max_blocks_per_sm: 32,
    registers_per_sm: 64 * KIB,
    max_registers_per_block: 64 * KIB,
    max_registers_per_thread: 255,
    register_unit: 256,
    partitions_per_sm: 4,
    shared_per_sm: 0,
    shared_per_block: 48 * KIB,
    shared_per_block_optin: 0,
    shared_reserved_per_block: KIB,
    shared_unit: 128,
    constant_bytes: 64 * KIB,
    memory_bytes: 0,
    memory_bus_bits: 0,
    memory_clock_khz: 0,
    ecc: true,
    refuses_cooperation: false,
    graph_nodes: usize::MAX,
    l2_bytes: 0,
    l2_bandwidth: 0.0,
    l2_basis: Basis::Published,
    copy_engines: 3,
    fp32_per_clock: 128,
    fp64_per_clock: 0,
    half_per_clock: 0,
    sfu_per_clock: 16,
    tensor: TensorPeaks { tf32: 0.0, bf16: 0.0, f16: 0.0, f16_sum_f16: 0.0 },
    mma_sync: 1.0,
    latencies: latency::A100,
};

/// NVIDIA H100 in its SXM5 form: 132 multiprocessors, 80 GB of HBM3.
///
/// The whitepaper gives two boost clocks: 1980 MHz for ordinary arithmetic, here as the clock, and 1830 MHz for tensor
/// cores, which is in their peaks. These peaks take `wgmma`; `mma.sync`, all that this emulator runs, is said to reach
/// 60 to 65 % of them, which NVIDIA does not publish; the bounds use 62 % and state the published peak's beside it. The whitepaper does not state the L2
/// bandwidth; 5.5 TB/s was measured on the PCIe form.
pub const H100_SXM: Profile = Profile {
    name: "h100-sxm",
    device: "NVIDIA H100 80GB HBM3",
    compute_capability: (9, 0),
    sm_count: 132,
    clock_khz: 1_980_000,
    shared_per_sm: 228 * KIB,
    shared_per_block_optin: 227 * KIB,
    memory_bytes: 80 * GIB,
    memory_bus_bits: 5120,
    memory_clock_khz: 2_619_000,
    l2_bytes: 50 * MIB,
    l2_bandwidth: 5.5e12,
    l2_basis: Basis::Measured,
    fp64_per_clock: 64,
    half_per_clock: 256,
    tensor: TensorPeaks { tf32: 494.7e12, bf16: 989.4e12, f16: 989.4e12, f16_sum_f16: 989.4e12 },
    mma_sync: 0.62,
    latencies: latency::H100,
    ..COMMON
};

/// NVIDIA A100 in its SXM4 form: 108 multiprocessors of 64 FP32 lanes, 40 GB of HBM2.
///
/// L2: 5120 bytes a clock by the whitepaper, at 1410 MHz.
pub const A100_SXM: Profile = Profile {
    name: "a100-sxm",
    device: "NVIDIA A100-SXM4-40GB",
    compute_capability: (8, 0),
    sm_count: 108,
    clock_khz: 1_410_000,
    shared_per_sm: 164 * KIB,
    shared_per_block_optin: 163 * KIB,
    memory_bytes: 40 * GIB,
    memory_bus_bits: 5120,
    memory_clock_khz: 1_215_000,
    l2_bytes: 40 * MIB,
    l2_bandwidth: 5120.0 * 1.41e9,
    fp32_per_clock: 64,
    fp64_per_clock: 32,
    half_per_clock: 256,
    tensor: TensorPeaks { tf32: 156e12, bf16: 312e12, f16: 312e12, f16_sum_f16: 312e12 },
    ..COMMON
};

/// NVIDIA GeForce RTX 4090: 128 multiprocessors, 24 GB of GDDR6X.
///
/// The L2 bandwidth is not published; about 5 TB/s has been measured.
pub const RTX_4090: Profile = Profile {
    name: "rtx-4090",
    device: "NVIDIA GeForce RTX 4090",
    compute_capability: (8, 9),
    sm_count: 128,
    clock_khz: 2_520_000,
    max_threads_per_sm: 1536,
    max_blocks_per_sm: 24,
    shared_per_sm: 100 * KIB,
    shared_per_block_optin: 99 * KIB,
    memory_bytes: 24 * GIB,
    memory_bus_bits: 384,
    memory_clock_khz: 10_501_000,
    ecc: false,
    l2_bytes: 72 * MIB,
    l2_bandwidth: 5.0e12,
    l2_basis: Basis::Measured,
    copy_engines: 2,
    fp64_per_clock: 2,
    half_per_clock: 128,
    tensor: TensorPeaks { tf32: 82.6e12, bf16: 165.2e12, f16: 165.2e12, f16_sum_f16: 330.3e12 },
    latencies: latency::RTX_4090,
    ..COMMON
};

/// NVIDIA GeForce RTX 5090: 170 multiprocessors, 32 GB of GDDR7.
///
/// The L2 bandwidth is not published; this is what was measured on the RTX 4090, per clock and multiprocessor.
pub const RTX_5090: Profile = Profile {
    name: "rtx-5090",
    device: "NVIDIA GeForce RTX 5090",
    compute_capability: (12, 0),
    sm_count: 170,
    clock_khz: 2_407_000,
    max_threads_per_sm: 1536,
    max_blocks_per_sm: 24,
    shared_per_sm: 100 * KIB,
    shared_per_block_optin: 99 * KIB,
    memory_bytes: 32 * GIB,
    memory_bus_bits: 512,
    memory_clock_khz: 14_001_000,
    ecc: false,
    l2_bytes: 96 * MIB,
    l2_bandwidth: 5.0e12 * (170.0 * 2.407) / (128.0 * 2.52),
    l2_basis: Basis::Scaled,
    copy_engines: 2,
    fp64_per_clock: 2,
    half_per_clock: 128,
    tensor: TensorPeaks { tf32: 104.8e12, bf16: 209.5e12, f16: 209.5e12, f16_sum_f16: 419e12 },
    latencies: latency::RTX_4090,
    ..COMMON
};

/// NVIDIA T4: 40 multiprocessors of 64 FP32 lanes, 16 GB of GDDR6, and tensor cores for halves and integers only.
///
/// All of a multiprocessor's shared memory can be one block's: nothing of it is kept back. The L2 bandwidth is not
/// published; 1.27 TB/s has been measured.
pub const T4: Profile = Profile {
    name: "t4",
    device: "Tesla T4",
    compute_capability: (7, 5),
    sm_count: 40,
    clock_khz: 1_590_000,
    max_threads_per_sm: 1024,
    max_blocks_per_sm: 16,
    shared_per_sm: 64 * KIB,
    shared_per_block_optin: 64 * KIB,
    shared_reserved_per_block: 0,
    shared_unit: 256,
    memory_bytes: 16 * GIB,
    memory_bus_bits: 256,
    memory_clock_khz: 5_001_000,
    l2_bytes: 4 * MIB,
    l2_bandwidth: 1.27e12,
    l2_basis: Basis::Measured,
    fp32_per_clock: 64,
    fp64_per_clock: 2,
    half_per_clock: 128,
    tensor: TensorPeaks { tf32: 0.0, bf16: 0.0, f16: 65e12, f16_sum_f16: 65e12 },
    latencies: latency::T4,
    ..COMMON
};
