//! What kernels take besides plain addresses: the structs of kernels/operand.cuh, reduce.cuh, last.cuh, drift.cuh and
//! conv_grad_w.cu, passed by value.

use cudarc::driver::DeviceRepr;

use super::Cuda;
use super::buffer::{CudaBuffer, Tensor, at};
use super::geometry::launch_counter;
use crate::device::{BN_EPS, BN_MOMENTUM};
use crate::operands::{Affine, BnStats, Measure, Reconstruction};

/// A batch norm as addresses; all null for none.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Norm {
    pub mean: u64,
    pub rstd: u64,
    pub gamma: u64,
    pub beta: u64,
}

// SAFETY: four addresses, as operand.cuh declares; copied by value.
unsafe impl DeviceRepr for Norm {}
const _: () = assert!(size_of::<Norm>() == 32);

impl Norm {
    pub fn new(stats: &BnStats<CudaBuffer>, affine: &Affine<CudaBuffer>) -> Norm {
        Norm { mean: at(&stats.mean), rstd: at(&stats.rstd), gamma: at(&affine.gamma), beta: at(&affine.beta) }
    }

    const NONE: Norm = Norm { mean: 0, rstd: 0, gamma: 0, beta: 0 };
}

/// What a tile's operand is made of.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Operand {
    map: u64,
    z: u64,
    norm: Norm,
    sums_gamma: u64,
    sums_beta: u64,
    scale: f32,
    pad: u32,
}

// SAFETY: eight addresses, a float and the padding that C adds, as operand.cuh declares; copied by value.
unsafe impl DeviceRepr for Operand {}
const _: () = assert!(size_of::<Operand>() == 72);

impl Operand {
    /// The map itself.
    pub fn plain(map: u64) -> Operand {
        Operand { map, z: 0, norm: Norm::NONE, sums_gamma: 0, sums_beta: 0, scale: 1.0, pad: 0 }
    }

    /// `relu(bn(z))`.
    pub fn norm_relu(z: &Tensor, norm: Norm) -> Operand {
        Operand { norm, ..Operand::plain(at(z)) }
    }

    /// Batch norm's gradient by its input, from that by its output.
    pub fn bn_grad(grad: &Tensor, scale: f64, z: &Tensor, norm: Norm, sums: &Affine<CudaBuffer>) -> Operand {
        let (sums_gamma, sums_beta) = (at(&sums.gamma), at(&sums.beta));
        Operand { map: at(grad), z: at(z), norm, sums_gamma, sums_beta, scale: scale as f32, pad: 0 }
    }
}

/// Where the shares of a reduction lie, its counters, and how many tiles make a group.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Reduction {
    partial: u64,
    counters: u64,
    group: u32,
    pad: u32,
}

// SAFETY: two addresses, a u32 and the padding that C adds, as reduce.cuh declares; copied by value.
unsafe impl DeviceRepr for Reduction {}
const _: () = assert!(size_of::<Reduction>() == 24);

impl Reduction {
    pub fn new(partial: u64, counters: u64, group: u32) -> Reduction {
        Reduction { partial, counters, group, pad: 0 }
    }
}

/// Where a batch's statistics go; all null for nowhere.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Statistics {
    mean: u64,
    rstd: u64,
    running_mean: u64,
    running_var: u64,
    eps: f32,
    weight: f32,
}

// SAFETY: four addresses and two floats, as reduce.cuh declares; copied by value.
unsafe impl DeviceRepr for Statistics {}
const _: () = assert!(size_of::<Statistics>() == 40);

impl Statistics {
    pub fn of(measure: Option<Measure<'_, CudaBuffer>>) -> Statistics {
        let (eps, weight) = (BN_EPS as f32, BN_MOMENTUM as f32);
        let Some(Measure { stats, running }) = measure else {
            return Statistics { mean: 0, rstd: 0, running_mean: 0, running_var: 0, eps, weight };
        };
        let (running_mean, running_var) = running.map_or((0, 0), |r| (at(&r.mean), at(&r.var)));
        Statistics { mean: at(&stats.mean), rstd: at(&stats.rstd), running_mean, running_var, eps, weight }
    }
}

/// Where batch norm's gradient sums go, scaled, and the gradient of its affine map.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct GradSums {
    gamma: u64,
    beta: u64,
    grad_gamma: u64,
    grad_beta: u64,
    scale: f32,
    keep: u32,
}

// SAFETY: four addresses, a float and a u32, as reduce.cuh declares; copied by value.
unsafe impl DeviceRepr for GradSums {}
const _: () = assert!(size_of::<GradSums>() == 40);

impl GradSums {
    /// `keep` adds to the gradient that is there.
    pub fn new(sums: &mut Affine<CudaBuffer>, grad: &mut Affine<CudaBuffer>, scale: f64, keep: bool) -> GradSums {
        let (gamma, beta) = (at(&sums.gamma), at(&sums.beta));
        let (grad_gamma, grad_beta) = (at(&grad.gamma), at(&grad.beta));
        GradSums { gamma, beta, grad_gamma, grad_beta, scale: scale as f32, keep: u32::from(keep) }
    }
}

/// One convolution's gradient by its weights.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct WeightJob {
    x: Operand,
    grad: Operand,
    pub grad_w: u64,
}

// SAFETY: two operands and an address, as conv_grad_w.cu declares; copied by value.
unsafe impl DeviceRepr for WeightJob {}
const _: () = assert!(size_of::<WeightJob>() == 152);

impl WeightJob {
    pub fn new(x: Operand, grad: Operand, grad_w: u64) -> WeightJob {
        WeightJob { x, grad, grad_w }
    }
}

/// Where two sums over a map go, the blocks' shares of them, and the blocks' counter.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct PairSum {
    pub out: u64,
    pub partial: u64,
    pub counter: u64,
}

// SAFETY: three addresses, as last.cuh declares; copied by value.
unsafe impl DeviceRepr for PairSum {}
const _: () = assert!(size_of::<PairSum>() == 24);

impl PairSum {
    /// Of a launch that sums nothing else over all its blocks. `partial` has room for two numbers a block.
    pub fn new(d: &Cuda, out: u64, partial: u64) -> PairSum {
        PairSum { out, partial, counter: launch_counter(d) }
    }
}

/// A reconstruction, null for none; the grid and the verdict, null where there is none; and where its distance from the state goes.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Drift {
    pub x: u64,
    pub grid: u64,
    pub verdict: u64,
    pub to: PairSum,
}

// SAFETY: six addresses, as drift.cuh declares; copied by value.
unsafe impl DeviceRepr for Drift {}
const _: () = assert!(size_of::<Drift>() == 48);

impl Drift {
    /// None.
    pub const NONE: Drift = Drift { x: 0, grid: 0, verdict: 0, to: PairSum { out: 0, partial: 0, counter: 0 } };

    /// With the blocks' shares from `partial` on.
    pub fn new(d: &Cuda, of: Reconstruction<'_, CudaBuffer>, partial: u64) -> Drift {
        let Reconstruction { x, grid, verdict, distance } = of;
        let to = PairSum::new(d, at(distance), partial);
        Drift { x: at(x), grid: grid.map_or(0, at), verdict: at(verdict), to }
    }
}

/// The reverse step's next pass: the state it starts from and replaces, the reconstruction, whether the state becomes the pass
/// itself, and where the distance of the two goes.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct NextPass {
    pub x: u64,
    pub rec: u64,
    pub h: f32,
    pub correct: u32,
    pub left: PairSum,
}

// SAFETY: addresses, a float and a u32, as conv_block.cu declares; copied by value.
unsafe impl DeviceRepr for NextPass {}
const _: () = assert!(size_of::<NextPass>() == 48);

impl NextPass {
    /// No pass.
    pub const NONE: NextPass =
        NextPass { x: 0, rec: 0, h: 0.0, correct: 0, left: PairSum { out: 0, partial: 0, counter: 0 } };
}

/// Where the largest magnitudes of a gradient and of its normalised map are, or go; null for nowhere.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Peaks {
    pub grad: u64,
    pub zhat: u64,
}

// SAFETY: two addresses, as peaks.cuh declares; copied by value.
unsafe impl DeviceRepr for Peaks {}
const _: () = assert!(size_of::<Peaks>() == 16);

impl Peaks {
    /// Nowhere.
    pub const NONE: Peaks = Peaks { grad: 0, zhat: 0 };
}
