//! What all convolutions' launches share: the geometry that kernels are told, and the counters of reductions.

use cudarc::driver::{DevicePtr, DeviceRepr};

use super::Cuda;
use crate::shape::{Conv, Shape};

/// Counters of arrived blocks that a reduction may use, all zero between launches. The device keeps one more, for sums over a
/// whole launch beside it, and behind that the words of half.rs.
pub const COUNTERS: usize = 16384;

/// The struct of common.cuh.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Geometry {
    n: u32,
    h: u32,
    w: u32,
    c_in: u32,
    oh: u32,
    ow: u32,
    c_out: u32,
    kernel: u32,
    stride: u32,
    padding: u32,
}

// SAFETY: ten u32 in order, as common.cuh asserts; copied by value.
unsafe impl DeviceRepr for Geometry {}
const _: () = assert!(size_of::<Geometry>() == 40);

impl Geometry {
    pub fn new(x: Shape, conv: Conv, c_out: usize) -> Geometry {
        let [n, h, w, c_in] = x.0.map(|v| v as u32);
        let (oh, ow) = (conv.out(x.h()) as u32, conv.out(x.w()) as u32);
        let (kernel, stride, padding) = (conv.kernel as u32, conv.stride as u32, conv.padding as u32);
        Geometry { n, h, w, c_in, oh, ow, c_out: c_out as u32, kernel, stride, padding }
    }
}

/// How many tiles of pixels merge their shares first, so that neither level reads many: reduce.cuh's groups.
pub fn group(tiles: usize, channel_tiles: usize) -> usize {
    let tiles = tiles.max(1);
    // each tile of channels takes a counter for each group and one more
    let most = (COUNTERS / channel_tiles).saturating_sub(1).max(1);
    tiles.div_ceil(tiles.isqrt().clamp(1, most))
}

/// The counter beside those: of a sum over a whole launch.
pub fn launch_counter(d: &Cuda) -> u64 {
    counters(d) + (COUNTERS * size_of::<u32>()) as u64
}

/// Where the counters of arrived blocks lie.
pub fn counters(d: &Cuda) -> u64 {
    d.counters.device_ptr(&d.stream).0
}
