//! The fast CPU device: f32, vectors over the channels, threads over the images.
//!
//! Every result is the same bits for any number of threads: the batch is cut into groups by its size alone, and the groups'
//! partial sums are merged in order. No operation allocates. Call several operations from within [`Device::install`] to spare
//! each the way into the pool.

mod adamw;
mod batch_norm;
mod block;
mod channel_sums;
mod code;
mod conv;
mod conv_batch;
mod conv_grad;
mod conv_grad_kernel;
mod conv_kernel;
mod elementwise;
mod epilogue;
mod feed;
mod gradients;
mod head;
mod linear;
mod loss;
mod mask;
mod padded;
mod passes;
mod pixelwise;
mod pool;
mod rounding;
mod sgd;
mod simd;
mod winograd;
mod workspace;

pub use rounding::Rounding;
pub use simd::Isa;

use self::simd::Kernel;
use crate::check;
use crate::device::{Device, Ends};
use crate::error::{Error, Result};
use crate::host::{HostBuffer, HostRegion};
use crate::memory::Memory;
use crate::tensor::Tensor as DeviceTensor;

/// The fast CPU device.
pub struct Cpu {
    isa: Isa,
    pool: rayon::ThreadPool,
    rounding: Option<Rounding>,
}

type Buffer = HostBuffer<f32>;
type Tensor = DeviceTensor<Buffer>;

impl Cpu {
    /// The device with the best instruction set of this machine, and as many threads as it has cores if none are given.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are to be no threads, or the system refuses them.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        let cores = || std::thread::available_parallelism().map_or(1, |n| n.get());
        Self::with_isa(Isa::detect(), threads.unwrap_or_else(cores))
    }

    /// The device with a given instruction set: tests run all that the machine has.
    ///
    /// # Errors
    /// As [`Cpu::new`], and if the machine lacks the instruction set.
    pub fn with_isa(isa: Isa, threads: usize) -> Result<Self> {
        if !isa.is_available() {
            return Err(Error::Usage(format!("this machine has no {isa}")));
        }
        if threads == 0 {
            return Err(Error::Usage("`threads` 0 leaves nobody to compute: give 1 or more, or leave it out".into()));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("rewind-cpu-{i}"))
            .build()
            .map_err(|e| Error::Usage(format!("cannot start the device's threads ({e}): give fewer `threads`")))?;
        Ok(Self { isa, pool, rounding: None })
    }

    /// The same device, but with the operands of its convolutions rounded as a GPU's tensor cores would see them. Slower than
    /// without, and for that question alone. None, which a new device has, leaves every number f32.
    pub fn round_as(self, rounding: Option<Rounding>) -> Self {
        Self { rounding, ..self }
    }

    /// Threads of the pool. Workspace sizes depend on it, results do not.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `f` on a thread of the pool. From within, operations start without a detour.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.pool.install(f)
    }

    /// Runs a kernel on the calling thread.
    fn run<K: Kernel>(&self, kernel: K) {
        // SAFETY: `with_isa` made sure that the machine has the instruction set.
        unsafe { self.isa.run(kernel) }
    }
}

impl Memory for Cpu {
    type Real = f32;
    type Region = HostRegion<f32>;
    type Buffer = Buffer;

    fn reserve(&self, len: usize) -> Result<Self::Region> {
        HostRegion::new(len)
    }

    unsafe fn carve(&self, region: &Self::Region, offset: usize, len: usize) -> Buffer {
        // SAFETY: handed on to the caller.
        unsafe { region.carve(offset, len) }
    }
}

impl Ends for Cpu {}

impl Device for Cpu {
    type Recording = ();

    const SCRATCH_MAPS: usize = 0;

    const STEPS_AHEAD: usize = 1;

    fn name(&self) -> String {
        let threads = self.threads();
        let rounded = self.rounding.map_or(String::new(), |rounding| format!(", convolutions in {rounding}"));
        format!("cpu ({}, {threads} thread{}{rounded})", self.isa, if threads == 1 { "" } else { "s" })
    }

    fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        // not this method: the one of `Cpu` itself
        self.install(f)
    }

    fn upload(&self, from: &[f32], to: &mut Tensor) -> Result<()> {
        check::host("upload", from.len(), to.shape())?;
        to.values_mut().copy_from_slice(from);
        Ok(())
    }

    fn download(&self, from: &Tensor, to: &mut [f32]) -> Result<()> {
        check::host("download", to.len(), from.shape())?;
        to.copy_from_slice(from.values());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{BatchNorm, Coding, Convolution, Elementwise, ResidualBlock};
    use crate::shape::{Conv, Shape};

    #[test]
    fn workspace_for_a_batch_serves_every_smaller_one() {
        let whole = Shape::map(150, 3, 4, 5);
        let cpus = [None, Some(Rounding::Tf32)].map(|r| Cpu::new(Some(2)).expect("a device").round_as(r));
        for (n, cpu) in (1..=150).flat_map(|n| cpus.iter().map(move |cpu| (n, cpu))) {
            let map = whole.with_batch(n);
            let fits =
                |of: &dyn Fn(Shape) -> usize| assert!(of(map) <= of(whole), "{map}: {} > {}", of(map), of(whole));
            fits(&|map| cpu.block_workspace(map));
            fits(&|map| cpu.bn_workspace(map));
            fits(&|map| cpu.squared_distance_workspace(map));
            fits(&|map| cpu.code_workspace(map));
            fits(&|map| cpu.conv_workspace(map, Conv::SAME_3X3, 5));
            fits(&|map| cpu.conv_workspace(map, Conv { kernel: 5, stride: 3, padding: 2 }, 7));
        }
    }

    #[test]
    fn names_itself_and_refuses_what_cannot_run() {
        let cpu = Cpu::with_isa(Isa::Portable, 1).expect("any machine");
        assert_eq!(cpu.name(), "cpu (portable, 1 thread)");
        assert_eq!(cpu.round_as(Some(Rounding::Bf16)).name(), "cpu (portable, 1 thread, convolutions in bf16)");
        assert_eq!(Cpu::new(Some(3)).expect("a device").threads(), 3);
        assert!(Cpu::new(Some(0)).is_err_and(|e| e.to_string().contains("`threads` 0")));
        let absent = Isa::ALL.into_iter().find(|isa| !isa.is_available()).expect("no machine has them all");
        assert!(Cpu::with_isa(absent, 1).is_err_and(|e| e.to_string().contains(&absent.to_string())));
    }
}
