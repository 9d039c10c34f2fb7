//! Opens the device that was asked for and hands it to a job, which is generic over devices: the one place where a choice that
//! the user made becomes a type.

use rewind::cpu::Cpu;

use crate::config::DeviceChoice;
use crate::log::Log;
#[cfg(feature = "cuda")]
use rewind::cuda::Cuda;
use rewind::device::Device;
use rewind::device::Math;
#[cfg(not(feature = "cuda"))]
use rewind::error::Error;

/// What is done on a device, once it is open.
pub trait Job {
    /// What it gives.
    type Output;

    /// Does it on `device`, which is `opened`: never [`DeviceChoice::Auto`].
    ///
    /// # Errors
    /// Whatever the job reports.
    fn on<D: Device<Real = f32>>(self, device: &D, opened: DeviceChoice, log: &mut Log)
    -> anyhow::Result<Self::Output>;
}

/// Has `job` done on the chosen device; `threads` are the CPU's, none means one a core. Where the choice is open, that is a GPU
/// if there is a usable one; the log is told which, and why.
///
/// # Errors
/// If the device cannot be opened, and whatever the job reports.
pub fn on_device<J: Job>(
    choice: DeviceChoice,
    math: Math,
    threads: Option<usize>,
    log: &mut Log,
    job: J,
) -> anyhow::Result<J::Output> {
    match choice {
        DeviceChoice::Cpu => job.on(&Cpu::new(threads)?, DeviceChoice::Cpu, log),
        _ => on_gpu(choice, math, threads, log, job),
    }
}

#[cfg(feature = "cuda")]
fn on_gpu<J: Job>(
    choice: DeviceChoice,
    math: Math,
    threads: Option<usize>,
    log: &mut Log,
    job: J,
) -> anyhow::Result<J::Output> {
    let ordinal = if let DeviceChoice::Cuda(ordinal) = choice { ordinal } else { 0 };
    match Cuda::open(ordinal, math) {
        Ok(gpu) => {
            log.note(&format!("GPU kernels: {} (embedded: {})", gpu.kernel_form(), rewind::cuda::ORIGIN));
            job.on(&gpu, DeviceChoice::Cuda(ordinal), log)
        }
        Err(reason) if choice == DeviceChoice::Auto => {
            log.note(&format!("on the CPU ({reason})"));
            job.on(&Cpu::new(threads)?, DeviceChoice::Cpu, log)
        }
        Err(reason) => Err(reason.into()),
    }
}

#[cfg(not(feature = "cuda"))]
fn on_gpu<J: Job>(
    choice: DeviceChoice,
    _: Math,
    threads: Option<usize>,
    log: &mut Log,
    job: J,
) -> anyhow::Result<J::Output> {
    match choice {
        DeviceChoice::Auto => job.on(&Cpu::new(threads)?, DeviceChoice::Cpu, log),
        _ => {
            let sentence = "this build has no CUDA device: build with the feature cuda, or give --device cpu";
            Err(Error::Usage(sentence.into()).into())
        }
    }
}
