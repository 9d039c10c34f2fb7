//! Launch shapes, and the one way a kernel is launched.

use cudarc::driver::LaunchConfig;

/// Blocks of the kernels that go over all elements: enough to fill any card, each thread then strides. elements.cuh counts on
/// there being fewer than 2^24 threads.
pub const MOST_BLOCKS: usize = 4096;
/// Threads of their blocks.
pub const THREADS: usize = 256;

/// A grid of `blocks` in two dimensions.
pub fn grid(blocks: [usize; 2], threads: usize) -> LaunchConfig {
    let [x, y] = blocks.map(|n| n.max(1) as u32);
    LaunchConfig { grid_dim: (x, y, 1), block_dim: (threads as u32, 1, 1), shared_mem_bytes: 0 }
}

/// For a kernel that goes over `len` elements.
pub fn over(len: usize) -> LaunchConfig {
    grid([len.div_ceil(THREADS).min(MOST_BLOCKS), 1], THREADS)
}

/// For a kernel that goes over `len` elements, four per thread.
pub fn over_fours(len: usize) -> LaunchConfig {
    over(len.div_ceil(4))
}

/// For a kernel with a warp for each of `count` results.
pub fn warps(count: usize) -> LaunchConfig {
    grid([count.div_ceil(THREADS / 32), 1], THREADS)
}

/// Launches a kernel: the device, its name for errors, the kernel, the shape, and the arguments in the order of the `.cu`.
macro_rules! launch {
    ($device:expr, $name:literal, $kernel:expr, $config:expr, $($argument:expr),+ $(,)?) => {{
        use cudarc::driver::PushKernelArg;
        // One chain: the references to the arguments must live until the launch.
        // SAFETY: the call lists the arguments of that kernel one for one; shapes were checked before.
        let launched = unsafe { $device.stream.launch_builder($kernel)$(.arg(&$argument))+.launch($config) };
        launched.map(drop).map_err(|e| $crate::cuda::error::driver($name, e))
    }};
}
pub(super) use launch;

/// The same for a kernel whose blocks wait for each other: all of them must be resident at once.
macro_rules! cooperate {
    ($device:expr, $name:literal, $kernel:expr, $config:expr, $($argument:expr),+ $(,)?) => {{
        use cudarc::driver::PushKernelArg;
        // SAFETY: as in `launch`.
        let launched =
            unsafe { $device.stream.launch_builder($kernel)$(.arg(&$argument))+.launch_cooperative($config) };
        launched.map(drop).map_err(|e| $crate::cuda::error::driver($name, e))
    }};
}
pub(super) use cooperate;
