//! A residual block on small maps as one cooperative launch: which maps take this form, and its launches.
//!
//! A block of the launch keeps its images in shared memory, so that all blocks must be resident at once. There is at most one
//! per multiprocessor. Whether a multiprocessor holds one is asked when the device opens, and a launch that does nothing shows
//! whether all of them may be resident: a partition of a GPU may refuse that. Where not, a block is a chain of launches.

use std::sync::Arc;

use cudarc::driver::sys::{CUdevice_attribute, CUfunction_attribute, CUresult};
use cudarc::driver::{CudaContext, CudaFunction, DeviceRepr, DriverError, LaunchConfig};
use cudarc::nvrtc::Ptx;

use super::buffer::CudaBuffer;
use super::error::explain;
use super::geometry::counters;
use super::kernels::{ByBlock, Kernels};
use super::launch::cooperate;
use super::small_run::{Back, Forward};
use super::{Cuda, at};
use crate::code::{Code, CodedPass, Coder};
use crate::device::{BN_EPS, BN_MOMENTUM, Math};
use crate::error::Result;
use crate::operands::{BasicRunning, BasicStats, BasicTheta, Carry};
use crate::shape::Shape;

/// Threads of a block, floats of scratch: the constants of small_map.cuh and small_sums.cuh.
const THREADS: usize = 288;
const SCRATCH: usize = 768;

/// What the driver answers.
type Asked<T> = std::result::Result<T, DriverError>;

/// A kernel that does nothing, to launch cooperatively.
const NOTHING: &str = "\
.version 8.0
.target sm_80
.address_size 64
.visible .entry nothing() {
    ret;
}
";

/// What decides whether a map takes this form; read once when the device opens.
pub struct Limits {
    multiprocessors: usize,
    /// Shared memory that a block may have; 0 where the device launches nothing cooperatively.
    shared_bytes: usize,
    math: Math,
}

impl Limits {
    /// No map takes this form.
    pub const NONE: Limits = Limits { multiprocessors: 0, shared_bytes: 0, math: Math::Fp32 };

    /// Asks the device, and lets the kernels have its shared memory. Where no map can take this form, also says why.
    pub fn read(context: &Arc<CudaContext>, kernels: &Kernels, math: Math) -> Asked<(Limits, Option<String>)> {
        use CUdevice_attribute as Of;
        let multiprocessors = context.attribute(Of::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as usize;
        let cooperates = context.attribute(Of::CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH)? != 0;
        let shared = context.attribute(Of::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        let all = [&kernels.euler_step, &kernels.code_step, &kernels.inverse_vjp, &kernels.decode_vjp];
        let all = || all.into_iter().flat_map(ByBlock::all);
        // what the kernels declare themselves is theirs, and the rest is what a launch may ask for
        let mut own = 0;
        for kernel in all() {
            own = own.max(kernel.get_attribute(CUfunction_attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?);
        }
        let shared = (shared - own).max(0) as usize;
        let mut resident = true;
        for kernel in all() {
            kernel
                .set_attribute(CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared as i32)?;
            resident &= kernel.occupancy_max_active_blocks_per_multiprocessor(THREADS as u32, shared, None)? > 0;
        }
        let limits = Limits { multiprocessors, shared_bytes: shared, math };
        let reason = if !cooperates {
            Some("it has no cooperative launches".to_string())
        } else if !resident {
            Some("no multiprocessor holds a block of such a launch".to_string())
        } else {
            match limits.try_nothing(context) {
                Ok(()) => None,
                Err(e) if is_refusal(e) => Some(format!("it refuses a cooperative launch, {}", explain(e))),
                Err(e) => return Err(e),
            }
        };
        Ok((Limits { shared_bytes: if reason.is_some() { 0 } else { shared }, ..limits }, reason))
    }

    /// As many blocks, and with as much shared memory, as a launch can have.
    fn try_nothing(&self, context: &Arc<CudaContext>) -> Asked<()> {
        let module = context.load_module(Ptx::from_src(NOTHING))?;
        let kernel = module.load_function("nothing")?;
        kernel.set_attribute(
            CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
            self.shared_bytes as i32,
        )?;
        let config = LaunchConfig {
            grid_dim: (self.multiprocessors as u32, 1, 1),
            block_dim: (THREADS as u32, 1, 1),
            shared_mem_bytes: self.shared_bytes as u32,
        };
        let stream = context.default_stream();
        // SAFETY: the kernel has no parameters and touches nothing.
        unsafe { stream.launch_builder(&kernel).launch_cooperative(config) }?;
        stream.synchronize()
    }
}

/// Whether a driver says no to a launch as such; all else is an error to tell.
fn is_refusal(error: DriverError) -> bool {
    use CUresult::{
        CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE as TOO_LARGE, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES as NO_ROOM,
        CUDA_ERROR_NOT_PERMITTED as NOT_PERMITTED, CUDA_ERROR_NOT_SUPPORTED as NOT_SUPPORTED,
    };
    matches!(error.0, TOO_LARGE | NO_ROOM | NOT_PERMITTED | NOT_SUPPORTED)
}

/// How a map is laid on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    map: Shape,
    /// Images of a block; the last one may have fewer.
    images: usize,
    math: Math,
}

/// Which way a launch goes, and on the way back through how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toward {
    Forward,
    /// One block.
    Back,
    /// Several, with the next one's weights and norms at hand, and if `held` with x and g.
    BackThrough {
        held: bool,
    },
}

impl Form {
    fn blocks(self) -> usize {
        self.map.n().div_ceil(self.images)
    }

    /// Shared memory of a block: the layouts of `Block`, `Step` and `Vjp` in small_block.cuh, small_step.cuh and small_vjp.cuh.
    fn shared_bytes(self, toward: Toward) -> usize {
        let (h, w, c) = (self.map.h(), self.map.w(), self.map.c());
        let rows = self.images * h * w;
        let map = rows * c * size_of::<f32>();
        let row = 2 * c + 16;
        let line = (w + 2) * row + (256 - 2 * row) % 128;
        let factors = self.images * (h + 2) * line;
        let short = self.math.is_short();
        let weight = 9 * c * c * if short { 2 } else { 4 };
        let maps = match (short, toward) {
            (true, Toward::Forward) => 2 * map + factors,
            // the last map of factors begins as one of f32
            (true, _) => 2 * map + 2 * factors + factors.max(map),
            (false, Toward::Forward) => 3 * map,
            (false, _) => 4 * map,
        };
        let next = match toward {
            Toward::Forward | Toward::Back => 0,
            Toward::BackThrough { held } => 14 * c * size_of::<f32>() + weight + if held { 2 * map } else { 0 },
        };
        maps + 2 * weight + (SCRATCH + 12 * c + rows.next_multiple_of(16)) * size_of::<f32>() + next
    }

    fn config(self, toward: Toward) -> LaunchConfig {
        LaunchConfig {
            grid_dim: (self.blocks() as u32, 1, 1),
            block_dim: (THREADS as u32, 1, 1),
            shared_mem_bytes: self.shared_bytes(toward) as u32,
        }
    }

    fn kernel(self, of: &ByBlock) -> &CudaFunction {
        of.of(self.math, self.map.c() == 32)
    }

    fn extents(self) -> Extents {
        let [n, h, w, _] = self.map.0.map(|v| v as u32);
        Extents { n, h, w, images: self.images as u32 }
    }
}

impl Limits {
    /// On the way back through several blocks: whether x and g may stay in shared memory; none where there is no room even without.
    pub fn holds(&self, form: Form) -> Option<bool> {
        let fits = |held: &bool| form.shared_bytes(Toward::BackThrough { held: *held }) <= self.shared_bytes;
        [true, false].into_iter().find(fits)
    }

    /// The form for a map, if it takes it: as few images to a block as leave one block to a multiprocessor. What has no room with
    /// factors in 16 bits may have it in TF32, which has no borders to keep.
    pub fn form(&self, map: Shape) -> Option<Form> {
        // The kernels count elements in 32 bits.
        let counted = !map.is_empty() && map.len() <= u32::MAX as usize;
        if !counted || !matches!(map.c(), 16 | 32) {
            return None;
        }
        let images = map.n().div_ceil(self.multiprocessors.max(1));
        let next = self.math.is_short().then_some(Math::Tf32);
        let fits = |math| {
            let form = Form { map, images, math };
            (form.shared_bytes(Toward::Back) <= self.shared_bytes).then_some(form)
        };
        fits(self.math).or_else(|| next.and_then(fits))
    }

    /// Elements of workspace for a map and for every smaller batch of it, some of which may take this form where the map
    /// does not: two sums of both norms, both convolutions' gradients of two residual blocks, and a local error a block.
    pub fn workspace(&self, map: Shape) -> usize {
        let c = map.c();
        let blocks = if self.form(map.with_batch(1)).is_some() { map.n().min(self.multiprocessors) } else { 0 };
        blocks * (4 * c + 36 * c * c + 4)
    }
}

/// The struct of small_block.cu.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Extents {
    n: u32,
    h: u32,
    w: u32,
    images: u32,
}

/// Addresses of a block's weights or of their gradients, as in small_block.cu.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Theta {
    conv1: u64,
    gamma1: u64,
    beta1: u64,
    conv2: u64,
    gamma2: u64,
    beta2: u64,
}

/// Addresses of both norms' mean and rstd, or running mean and variance, as in small_block.cu; 0 where there are none.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Norms {
    mean1: u64,
    scale1: u64,
    mean2: u64,
    scale2: u64,
}

/// Addresses of a code and of what all codes share, as in small_block.cu.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Coded {
    packed: u64,
    mean: u64,
    rstd: u64,
    rest: u64,
    grid: u64,
    counter: u64,
    words: u32,
    bits: u32,
    plain: u32,
    unused: u32,
}

// SAFETY: plain numbers in the order of small_block.cu, which asserts the sizes too; copied by value.
unsafe impl DeviceRepr for Extents {}
// SAFETY: as above.
unsafe impl DeviceRepr for Theta {}
// SAFETY: as above.
unsafe impl DeviceRepr for Norms {}
// SAFETY: as above.
unsafe impl DeviceRepr for Coded {}
const _: () = assert!(size_of::<Coded>() == 64);
const _: () = assert!(size_of::<Extents>() == 16 && size_of::<Theta>() == 48 && size_of::<Norms>() == 32);

impl Theta {
    pub fn of(theta: &BasicTheta<CudaBuffer>) -> Theta {
        let [conv1, gamma1, beta1, conv2, gamma2, beta2] = theta.named().map(|(_, tensor)| at(tensor));
        Theta { conv1, gamma1, beta1, conv2, gamma2, beta2 }
    }

    pub fn addresses(self) -> [u64; 6] {
        let Theta { conv1, gamma1, beta1, conv2, gamma2, beta2 } = self;
        [conv1, gamma1, beta1, conv2, gamma2, beta2]
    }
}

impl Norms {
    pub fn stats(stats: &BasicStats<CudaBuffer>) -> Norms {
        let (bn1, bn2) = (&stats.bn1, &stats.bn2);
        Norms { mean1: at(&bn1.mean), scale1: at(&bn1.rstd), mean2: at(&bn2.mean), scale2: at(&bn2.rstd) }
    }

    pub fn running(running: &BasicRunning<CudaBuffer>) -> Norms {
        let (bn1, bn2) = (&running.bn1, &running.bn2);
        Norms { mean1: at(&bn1.mean), scale1: at(&bn1.var), mean2: at(&bn2.mean), scale2: at(&bn2.var) }
    }

    pub fn addresses(self) -> [u64; 4] {
        let Norms { mean1, scale1, mean2, scale2 } = self;
        [mean1, scale1, mean2, scale2]
    }
}

impl Coded {
    pub fn new(d: &Cuda, form: Form, coder: &Coder<CudaBuffer>, code: &Code<CudaBuffer>) -> Coded {
        let (words, bits) = (coder.bits.words(form.map.image_len()) as u32, coder.bits.count() as u32);
        let (mean, rstd, counter) = (at(&code.scale.mean), at(&code.scale.rstd), counters(d));
        Coded {
            packed: at(&code.packed),
            mean,
            rstd,
            rest: at(&coder.rest),
            grid: at(&coder.grid),
            counter,
            words,
            bits,
            plain: u32::from(coder.pass == CodedPass::Plain),
            unused: 0,
        }
    }

    /// Those that are the code's own.
    pub fn addresses(self) -> [u64; 3] {
        [self.packed, self.mean, self.rstd]
    }
}

impl Form {
    /// `x += h f(x)` of each block, f's statistics measured on the batch.
    pub fn euler_step(self, d: &Cuda, h: f64, run: Forward, x: u64, workspace: u64) -> Result<()> {
        let kernel = self.kernel(&d.kernels.euler_step);
        let [h, eps, weight] = [h, BN_EPS, BN_MOMENTUM].map(|v| v as f32);
        let (config, extents) = (self.config(Toward::Forward), self.extents());
        cooperate!(d, "euler_step", kernel, config, x, run, workspace, h, eps, weight, extents)
    }

    /// `carry += h f(x)` of each block, f's statistics measured on the batch, and the coding of that.
    pub fn code_step(
        self,
        d: &Cuda,
        h: f64,
        run: Forward,
        code: Coded,
        x: u64,
        carry: u64,
        workspace: u64,
    ) -> Result<()> {
        let kernel = self.kernel(&d.kernels.code_step);
        let (eps, weight) = (BN_EPS as f32, BN_MOMENTUM as f32);
        let (config, extents) = (self.config(Toward::Forward), self.extents());
        cooperate!(d, "code_step", kernel, config, x, carry, run, code, workspace, h, eps, weight, extents)
    }

    fn toward_back(run: &Back) -> Toward {
        if run.blocks > 1 { Toward::BackThrough { held: run.held != 0 } } else { Toward::Back }
    }

    /// The decoding of each x_n and the VJP there, with given statistics.
    pub fn decode_vjp(
        self,
        d: &Cuda,
        h: f64,
        run: Back,
        code: Coded,
        x: u64,
        grad_x: u64,
        workspace: u64,
    ) -> Result<()> {
        let kernel = self.kernel(&d.kernels.decode_vjp);
        let (config, h, extents) = (self.config(Self::toward_back(&run)), h as f32, self.extents());
        cooperate!(d, "decode_vjp", kernel, config, x, grad_x, run, code, workspace, h, extents)
    }

    /// The inverse step and the VJP of each block, with given statistics; `errors` receives the first one's local error.
    pub fn inverse_vjp(
        self,
        d: &Cuda,
        h: f64,
        carry: Carry,
        run: Back,
        x: u64,
        errors: u64,
        grad_x: u64,
        workspace: u64,
    ) -> Result<()> {
        let kernel = self.kernel(&d.kernels.inverse_vjp);
        let (config, h, extents) = (self.config(Self::toward_back(&run)), h as f32, self.extents());
        let correct = u32::from(carry == Carry::Correction);
        cooperate!(d, "inverse_vjp", kernel, config, x, errors, grad_x, run, workspace, h, correct, extents)
    }
}

#[cfg(test)]
#[path = "small_block_tests.rs"]
mod tests;
