//! How long results take: clocks from the issue of an instruction to that of one that needs what it gives.
//!
//! NVIDIA publishes none of them; they come from microbenchmarks that follow one dependent chain. Where several were published for a
//! card its smallest stands here, and where none was, that of the nearest card: a lower bound must not be beaten by a lucky warp.
//! They were written down without the papers at hand: hold them against the tables before much is built on one of them.
//! The papers, by the letters that the comments below name them with:
//!
//! - J18: Jia et al., "Dissecting the NVIDIA Volta GPU Architecture via Microbenchmarking", arXiv 1804.06826.
//! - J19: Jia et al., "Dissecting the NVidia Turing T4 GPU via Microbenchmarking", arXiv 1903.07486.
//! - Z20: Zhang et al., "A Study of Single and Multi-device Synchronization Methods in Nvidia GPUs", IPDPS 2020.
//! - A22: Abdelkhalik et al., "Demystifying the Nvidia Ampere Architecture through Microbenchmarking and Instruction-level Analysis",
//!   arXiv 2208.11174.
//! - S23: Sun et al., "Dissecting Tensor Cores via Microbenchmarks", IEEE TPDS 2023, arXiv 2206.02874.
//! - L24: Luo et al., "Benchmarking and Dissecting the Nvidia Hopper GPU Architecture via Microbenchmarking", arXiv 2402.13499.

use super::Basis;

/// Clocks by kind of instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latencies {
    /// Sums, products, logic, comparisons, conversions, of any type: those that take longer count as the shortest.
    pub arithmetic: u32,
    /// Approximate reciprocals, roots, exponentials, logarithms, sines.
    pub special: u32,
    /// Matrix products of half the size of the next, or with sums in `f16`.
    pub short_product: u32,
    /// `mma` of `m16n8k8` on `tf32` or `m16n8k16` on 16 bits with sums in `f32`.
    pub product: u32,
    /// Loads from shared memory without conflicts.
    pub shared: u32,
    /// `ldmatrix` of one, two and four matrices.
    pub matrices: [u32; 3],
    /// `shfl`
    pub shuffle: u32,
    /// From the last warp's arrival at a block's barrier to the first instruction behind it.
    pub barrier: u32,
    /// Loads that hit in L1.
    pub l1: u32,
    /// Loads that hit in L2, and atomics, which are done there.
    pub l2: u32,
    /// Whether they were measured on that card or on one near it.
    pub basis: Basis,
}

/// A22 for arithmetic, shared memory (23), L1 (33) and L2 (200; L24 has 262 on average), S23 for products (17.7 and 24.7) and
/// `ldmatrix`; J18's Volta figures for special functions (14) and Z20's for `shfl` (22) and the barrier of one warp (22).
pub const A100: Latencies = Latencies {
    arithmetic: 4,
    special: 14,
    short_product: 17,
    product: 24,
    shared: 23,
    matrices: [23, 25, 29],
    shuffle: 22,
    barrier: 20,
    l1: 33,
    l2: 200,
    basis: Basis::Measured,
};

/// The A100's. L24 measured both cards alike: shared memory 29 on either, L2 263 against 262, L1 41 against 38; so that what A22
/// found of the A100, the smaller figures, is about what it would have found of the H100.
pub const H100: Latencies = Latencies { basis: Basis::Scaled, ..A100 };

/// L24 for L2 (273); S23's GeForce RTX 3070 Ti for products, whose rate by multiprocessor is the same (18.8 and 33.0). The rest is
/// the A100's.
pub const RTX_4090: Latencies = Latencies { short_product: 18, product: 33, l2: 273, basis: Basis::Scaled, ..A100 };

/// J19 for shared memory (19), L1 (32), L2 (188) and products, all of which are short there; Volta's for the rest, as above.
pub const T4: Latencies = Latencies {
    short_product: 14,
    product: 14,
    shared: 19,
    matrices: [19, 19, 19],
    l1: 32,
    l2: 188,
    basis: Basis::Scaled,
    ..A100
};
