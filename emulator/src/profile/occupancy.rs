//! How many blocks a multiprocessor holds at once: the arithmetic of NVIDIA's occupancy calculator.

use super::Profile;

/// What keeps a multiprocessor from holding one block more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Its threads, or the block's size itself.
    Threads,
    /// Its number of blocks.
    Blocks,
    /// Its registers.
    Registers,
    /// Its shared memory.
    SharedMemory,
}

/// The answer: zero blocks means that such a launch fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupancy {
    /// Blocks resident on a multiprocessor.
    pub blocks: u32,
    /// The scarcest resource; of several, the first in the order of [`Limit`].
    pub limited_by: Limit,
}

/// Blocks of `threads` threads with so many registers a thread and so much shared memory (static and dynamic together)
/// that fit on a multiprocessor, with its largest shared-memory carve-out.
pub fn blocks_per_sm(profile: &Profile, threads: u32, registers_per_thread: u32, shared_bytes: u32) -> Occupancy {
    let by_resource = [
        (Limit::Threads, by_threads(profile, threads)),
        (Limit::Blocks, profile.max_blocks_per_sm),
        (Limit::Registers, by_registers(profile, threads, registers_per_thread)),
        (Limit::SharedMemory, by_shared_memory(profile, shared_bytes)),
    ];
    let mut scarcest = by_resource[0];
    for next in by_resource {
        if next.1 < scarcest.1 {
            scarcest = next;
        }
    }
    Occupancy { blocks: scarcest.1, limited_by: scarcest.0 }
}

/// `max warps / warps of a block`
fn by_threads(profile: &Profile, threads: u32) -> u32 {
    if threads == 0 || threads > profile.max_threads_per_block {
        return 0;
    }
    profile.max_warps_per_sm() / threads.div_ceil(profile.warp_size)
}

/// Warps are spread over the partitions, and each partition holds as many as its own registers allow; what is left of
/// its registers is lost.
fn by_registers(profile: &Profile, threads: u32, registers_per_thread: u32) -> u32 {
    if registers_per_thread > profile.max_registers_per_thread {
        return 0;
    }
    let warps = threads.div_ceil(profile.warp_size).max(1);
    let per_warp = (registers_per_thread * profile.warp_size).next_multiple_of(profile.register_unit);
    if per_warp == 0 {
        return profile.max_blocks_per_sm;
    }
    let spread = u64::from(warps).next_multiple_of(u64::from(profile.partitions_per_sm));
    if spread * u64::from(per_warp) > u64::from(profile.max_registers_per_block) {
        return 0;
    }
    let warps_per_partition = profile.registers_per_sm / profile.partitions_per_sm / per_warp;
    warps_per_partition * profile.partitions_per_sm / warps
}

/// `shared memory / (block's own + reserved)`, the block's rounded up to a whole unit.
fn by_shared_memory(profile: &Profile, shared_bytes: u32) -> u32 {
    if shared_bytes > profile.shared_per_block_optin {
        return 0;
    }
    let taken = (shared_bytes + profile.shared_reserved_per_block).next_multiple_of(profile.shared_unit);
    profile.shared_per_sm.checked_div(taken).unwrap_or(profile.max_blocks_per_sm)
}

/// The block size that keeps most threads resident, the largest of equals, and the grid that then fills the device:
/// `(blocks, threads)`, both zero if no size fits. `shared_bytes` tells static and dynamic shared memory of a block of
/// given size; `limit` is the largest size allowed, zero for the device's own limit.
pub fn max_potential_block_size(
    profile: &Profile,
    registers_per_thread: u32,
    shared_bytes: impl Fn(u32) -> u32,
    limit: u32,
) -> (u32, u32) {
    let limit = if limit == 0 { profile.max_threads_per_block } else { limit.min(profile.max_threads_per_block) };
    let (mut most, mut best) = (0, (0, 0));
    for warps in (1..=limit.div_ceil(profile.warp_size)).rev() {
        let threads = (warps * profile.warp_size).min(limit);
        let blocks = blocks_per_sm(profile, threads, registers_per_thread, shared_bytes(threads)).blocks;
        if blocks * threads > most {
            most = blocks * threads;
            best = (blocks * profile.sm_count, threads);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::super::{A100_SXM, H100_SXM, RTX_4090, RTX_5090, T4};
    use super::*;

    fn occupancy(profile: &Profile, threads: u32, registers: u32, shared: u32) -> (u32, Limit) {
        let o = blocks_per_sm(profile, threads, registers, shared);
        (o.blocks, o.limited_by)
    }

    /// CUDA C++ Best Practices Guide, "Calculating Occupancy": with 65,536 registers and 2,048 threads, 37 registers a
    /// thread allow 12 blocks of 128 threads (75 %) but only 4 of 320 (63 %).
    #[test]
    fn best_practices_guides_example() {
        for profile in [&A100_SXM, &H100_SXM] {
            assert_eq!(occupancy(profile, 128, 37, 0), (12, Limit::Registers));
            assert_eq!(occupancy(profile, 320, 37, 0), (4, Limit::Registers));
            // The same page: 32 registers a thread is the most that full occupancy allows.
            assert_eq!(occupancy(profile, 128, 32, 0), (16, Limit::Threads));
            assert_eq!(occupancy(profile, 128, 33, 0), (12, Limit::Registers));
        }
    }

    /// Tuning guides: 32 blocks on 8.0 and 9.0, 24 on 8.9, and 64 or 48 warps.
    #[test]
    fn small_and_large_blocks_hit_the_block_and_thread_limits() {
        assert_eq!(occupancy(&H100_SXM, 32, 16, 0), (32, Limit::Blocks));
        assert_eq!(occupancy(&A100_SXM, 32, 16, 0), (32, Limit::Blocks));
        assert_eq!(occupancy(&RTX_4090, 32, 16, 0), (24, Limit::Blocks));
        assert_eq!(occupancy(&H100_SXM, 1024, 32, 0), (2, Limit::Threads));
        assert_eq!(occupancy(&RTX_4090, 1024, 32, 0), (1, Limit::Threads));
        assert_eq!(occupancy(&RTX_4090, 768, 32, 0), (2, Limit::Threads));
        // 33 threads take two warps.
        assert_eq!(occupancy(&RTX_4090, 33, 16, 0), (24, Limit::Threads));
        assert_eq!(occupancy(&H100_SXM, 65, 16, 0), (21, Limit::Threads));
    }

    /// 228 KiB hold four blocks of 56 KiB, as each takes 1 KiB more, but only three with one byte more than that.
    #[test]
    fn each_block_takes_a_kibibyte_more_and_whole_units() {
        assert_eq!(occupancy(&H100_SXM, 128, 32, 56 * 1024), (4, Limit::SharedMemory));
        assert_eq!(occupancy(&H100_SXM, 128, 32, 56 * 1024 + 1), (3, Limit::SharedMemory));
        // 164 KiB: ten of 15 KiB plus 1 KiB leave 4 KiB.
        assert_eq!(occupancy(&A100_SXM, 128, 32, 15 * 1024), (10, Limit::SharedMemory));
        assert_eq!(occupancy(&H100_SXM, 128, 32, 227 * 1024), (1, Limit::SharedMemory));
        assert_eq!(occupancy(&H100_SXM, 128, 32, 227 * 1024 + 1), (0, Limit::SharedMemory));
        for profile in [&RTX_4090, &RTX_5090] {
            assert_eq!(occupancy(profile, 128, 32, 99 * 1024), (1, Limit::SharedMemory));
            assert_eq!(occupancy(profile, 128, 32, 99 * 1024 + 1), (0, Limit::SharedMemory));
        }
        // 64 KiB, nothing kept back: also of a block that uses none.
        assert_eq!(occupancy(&T4, 128, 32, 64 * 1024), (1, Limit::SharedMemory));
        assert_eq!(occupancy(&T4, 128, 32, 32 * 1024), (2, Limit::SharedMemory));
        assert_eq!(occupancy(&T4, 32, 16, 0), (16, Limit::Blocks));
        assert_eq!(occupancy(&T4, 1024, 32, 0), (1, Limit::Threads));
    }

    /// 65 registers: 2,080 a warp, allocated as 2,304; a partition's 16,384 hold seven warps, the whole 28. At 168
    /// registers (5,376 a warp) it is 12, at 255 (8,192) exactly 8.
    #[test]
    fn registers_come_in_units_of_256_a_warp() {
        assert_eq!(occupancy(&H100_SXM, 128, 65, 0), (7, Limit::Registers));
        assert_eq!(occupancy(&H100_SXM, 128, 168, 0), (3, Limit::Registers));
        assert_eq!(occupancy(&H100_SXM, 256, 255, 0), (1, Limit::Registers));
        assert_eq!(occupancy(&H100_SXM, 288, 255, 0), (0, Limit::Registers));
        // 96 registers, 3,072 a warp: five warps a partition, 20 in all, where the undivided file would hold 21.
        assert_eq!(occupancy(&H100_SXM, 96, 96, 0), (6, Limit::Registers));
        assert_eq!(occupancy(&H100_SXM, 32, 96, 0), (20, Limit::Registers));
    }

    #[test]
    fn impossible_launches_hold_no_block() {
        assert_eq!(occupancy(&H100_SXM, 0, 32, 0), (0, Limit::Threads));
        assert_eq!(occupancy(&H100_SXM, 1025, 32, 0), (0, Limit::Threads));
        assert_eq!(occupancy(&H100_SXM, 128, 256, 0), (0, Limit::Registers));
        assert_eq!(occupancy(&H100_SXM, u32::MAX, u32::MAX, u32::MAX).0, 0);
        assert_eq!(occupancy(&H100_SXM, 1024, 65, 0), (0, Limit::Registers));
    }

    #[test]
    fn the_best_block_is_the_largest_that_keeps_most_threads_resident() {
        assert_eq!(max_potential_block_size(&H100_SXM, 32, |_| 0, 0), (2 * 132, 1024));
        // 1,536 threads: 1,024 leaves a third idle, 768 none.
        assert_eq!(max_potential_block_size(&RTX_4090, 32, |_| 0, 0), (2 * 128, 768));
        // 500 threads take 16 warps, three times: 1,500; 384 fit four times.
        assert_eq!(max_potential_block_size(&RTX_4090, 32, |_| 0, 500), (4 * 128, 384));
        assert_eq!(max_potential_block_size(&RTX_4090, 32, |_| 0, 20), (24 * 128, 20));
        assert_eq!(max_potential_block_size(&H100_SXM, 32, |threads| threads * 256, 0).1, 896);
        assert_eq!(max_potential_block_size(&H100_SXM, 300, |_| 0, 0), (0, 0));
    }
}
