//! The CUDA device: f32 state, hand-written kernels (`kernels/*.cu`), launched through cudarc on one stream;
//! copies of data that nobody waits for go by a second one.
//!
//! Convolutions multiply on the tensor cores in TF32 or in full f32, as [`Math`] says; sums are f32 in both. No kernel uses
//! float atomics and every sum has one order, so two runs give the same bits. No operation allocates or waits, but for
//! [`Device::download`] and [`crate::device::Elementwise::all_finite`].

mod adamw;
mod batch_norm;
mod block;
mod buffer;
mod code;
mod conv;
pub mod doctor;
mod elementwise;
mod ends;
mod error;
mod feed;
mod geometry;
mod gradients;
mod graph;
mod half;
mod head;
mod images;
mod kernels;
mod launch;
mod mask;
mod nvtx;
mod open;
mod operand;
mod pinned;
mod sgd;
mod shaped;
mod small_block;
mod small_run;
mod version;

use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaStream};

pub use self::buffer::{CudaBuffer, CudaRegion};
pub use self::feed::CudaData;
pub use self::graph::Recording;
pub use self::images::{ORIGIN, VERSION};
#[doc(hidden)]
pub use self::launch::{Launched, on_launch};

use self::buffer::{Tensor, at, part};
use self::error::driver;
use self::images::Form;
use self::kernels::Kernels;
use self::launch::{launch, over_fours};
use self::operand::Norm;
use crate::check;
use crate::device::Math;
use crate::device::{Device, DeviceMemory};
use crate::error::Result;
use crate::memory::Memory;
use crate::operands::{Affine, BnStats};
use crate::shape::Shape;

/// A GPU.
pub struct Cuda {
    stream: Arc<CudaStream>,
    /// For copies while the other one computes.
    copies: Arc<CudaStream>,
    kernels: Kernels,
    limits: small_block::Limits,
    /// Why this GPU takes no block as one cooperative launch, where that is so.
    chains: Option<String>,
    half: half::Limits,
    math: Math,
    /// Where a kernel leaves whether it met a number that is not finite.
    flag: CudaSlice<u32>,
    /// Where blocks of a reduction count themselves: zero between launches.
    counters: CudaSlice<u32>,
    name: String,
    /// The form in which the kernels were loaded.
    form: Form,
    /// What the driver told of its memory when the device was opened.
    at_open: DeviceMemory,
    eager: bool,
    /// Whether runs of blocks are one launch where they can be.
    runs: bool,
}

impl Memory for Cuda {
    type Real = f32;
    type Region = CudaRegion;
    type Buffer = CudaBuffer;

    fn reserve(&self, len: usize) -> Result<CudaRegion> {
        CudaRegion::new(&self.stream, len)
    }

    unsafe fn carve(&self, region: &CudaRegion, offset: usize, len: usize) -> CudaBuffer {
        region.carve(offset, len)
    }
}

impl Device for Cuda {
    type Recording = Recording;

    const SCRATCH_MAPS: usize = 2;

    const STEPS_AHEAD: usize = 256;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn available_bytes(&self) -> Option<u64> {
        self.stream.context().mem_get_info().ok().map(|(free, _)| free as u64)
    }

    fn device_memory(&self) -> Option<DeviceMemory> {
        let (free, _) = self.stream.context().mem_get_info().ok()?;
        Some(DeviceMemory { free_now_bytes: free as u64, ..self.at_open })
    }

    fn phase<R>(&self, name: &'static str, f: impl FnOnce() -> R) -> R {
        let _range = nvtx::Range::start(name);
        f()
    }

    fn synchronize(&self) -> Result<()> {
        self.stream.synchronize().map_err(|e| driver("waiting for the GPU", e))
    }

    fn replay(&self, recorded: &mut Option<Recording>, f: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.eager { f() } else { graph::replay(&self.stream, recorded, f) }
    }

    fn upload(&self, from: &[f32], to: &mut Tensor) -> Result<()> {
        check::host("upload", from.len(), to.shape())?;
        if from.is_empty() {
            return Ok(());
        }
        let stream = self.stream.cu_stream();
        // SAFETY: the tensor holds as many elements as the slice, which the copy has read when it returns: from memory that
        // is not page-locked it is taken before.
        unsafe { cudarc::driver::result::memcpy_htod_async(at(to), from, stream) }.map_err(|e| driver("upload", e))
    }

    fn download(&self, from: &Tensor, to: &mut [f32]) -> Result<()> {
        check::host("download", to.len(), from.shape())?;
        if to.is_empty() {
            return Ok(());
        }
        let stream = self.stream.cu_stream();
        // SAFETY: the tensor holds as many elements as the slice, which is not used before the stream is done.
        unsafe { cudarc::driver::result::memcpy_dtoh_async(to, at(from), stream) }
            .map_err(|e| driver("download", e))?;
        self.stream.synchronize().map_err(|e| driver("download", e))
    }
}

impl Cuda {
    /// The stream that all operations go to. Who reads or writes a tensor's memory elsewhere orders that with this stream.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// A tensor over a slice of the caller's, which lives as long as one of the two: for [`crate::net::Blocks`] in a network whose
    /// other parts are not ours.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the slice has another length.
    pub fn tensor(&self, shape: Shape, memory: &Arc<CudaSlice<f32>>) -> Result<Tensor> {
        check::host("tensor", memory.len(), shape)?;
        Ok(Tensor::new(shape, CudaBuffer::over(memory.clone(), &self.stream)))
    }

    /// Launches kernel by kernel in place of replaying recorded steps: the same bits, slower, as profilers want it.
    pub fn set_eager(&mut self, eager: bool) {
        self.eager = eager;
    }

    /// Whether blocks that follow each other are one launch where they can be, or one each: the same bits, for profilers and tests.
    pub fn set_runs(&mut self, runs: bool) {
        self.runs = runs;
    }

    /// `y = x + h bn(z)`; y may be x.
    fn step(
        &self,
        x: u64,
        h: f64,
        z: &Tensor,
        stats: &BnStats<CudaBuffer>,
        affine: &Affine<CudaBuffer>,
        y: u64,
    ) -> Result<()> {
        let (Norm { mean, rstd, gamma, beta }, len) = (Norm::new(stats, affine), z.shape().len());
        let (h, c) = (h as f32, z.shape().c() as u32);
        launch!(
            self,
            "norm_step",
            &self.kernels.norm_step,
            over_fours(len),
            y,
            x,
            h,
            at(z),
            mean,
            rstd,
            gamma,
            beta,
            len as u64,
            c
        )
    }
}
