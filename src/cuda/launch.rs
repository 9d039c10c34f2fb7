//! Launch shapes, and the one way a kernel is launched.

use std::sync::OnceLock;

use cudarc::driver::{CudaFunction, DeviceRepr, LaunchConfig};

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

/// A launch about to be made, for tests that know what its kernel takes.
#[doc(hidden)]
pub struct Launched<'a> {
    /// The operation.
    pub operation: &'static str,
    /// The kernel: the address that a `CUfunction` is.
    pub function: usize,
    /// The sizes of its arguments.
    pub argument_bytes: &'a [usize],
}

static LISTENER: OnceLock<fn(&Launched<'_>)> = OnceLock::new();

/// Has every launch of this process told from now on; the first who asks is told.
#[doc(hidden)]
pub fn on_launch(listener: fn(&Launched<'_>)) {
    LISTENER.get_or_init(|| listener);
}

/// Tells of a launch, if somebody asked. A driver takes only the addresses of arguments, so that nothing else sees their sizes.
pub fn tell<const N: usize>(
    operation: &'static str,
    kernel: &CudaFunction,
    argument_bytes: impl FnOnce() -> [usize; N],
) {
    if let Some(listener) = LISTENER.get() {
        let function = kernel.cu_function() as usize;
        listener(&Launched { operation, function, argument_bytes: &argument_bytes() });
    }
}

/// The size of an argument that is passed by value.
pub fn bytes_of<T: DeviceRepr>(_: &T) -> usize {
    size_of::<T>()
}

/// Launches a kernel: the device, its name for errors, the kernel, the shape, and the arguments in the order of the `.cu`.
macro_rules! launch {
    ($device:expr, $name:literal, $kernel:expr, $config:expr, $($argument:expr),+ $(,)?) => {{
        use cudarc::driver::PushKernelArg;
        $crate::cuda::launch::tell($name, $kernel, || [$($crate::cuda::launch::bytes_of(&$argument)),+]);
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
        $crate::cuda::launch::tell($name, $kernel, || [$($crate::cuda::launch::bytes_of(&$argument)),+]);
        // SAFETY: as in `launch`.
        let launched =
            unsafe { $device.stream.launch_builder($kernel)$(.arg(&$argument))+.launch_cooperative($config) };
        launched.map(drop).map_err(|e| $crate::cuda::error::driver($name, e))
    }};
}
pub(super) use cooperate;
