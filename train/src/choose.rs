//! Opens the device that was asked for and hands it to a job, which is generic over devices: the one place where a choice that
//! the user made becomes a type.

use rewind::cpu::Cpu;

use crate::config::{DeviceChoice, RunConfig};
use crate::log::Log;
use crate::settings::flagged;
#[cfg(feature = "cuda")]
use rewind::cuda::Cuda;
use rewind::device::Device;
use rewind::device::Math;
#[cfg(not(feature = "cuda"))]
use rewind::error::Error;
#[cfg(feature = "cuda")]
use std::{sync::mpsc::RecvTimeoutError, time::Duration};

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

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The device.
    pub device: DeviceChoice,
    /// How a GPU multiplies.
    pub math: Math,
    /// Threads of the CPU; none means one per core.
    pub threads: Option<usize>,
    /// Whether a GPU launches kernel by kernel, in place of recorded graphs.
    pub eager: bool,
}

impl Wanted {
    /// A device, with the default of all else.
    pub fn new(device: DeviceChoice, threads: Option<usize>) -> Self {
        Self { device, math: RunConfig::default().math, threads, eager: false }
    }
}

/// Has `job` done on the chosen device. Where the choice is open, that is a GPU if there is a usable one; the log is told which, and
/// why.
///
/// # Errors
/// If the device cannot be opened, and whatever the job reports.
pub fn on_device<J: Job>(wanted: Wanted, log: &mut Log, job: J) -> anyhow::Result<J::Output> {
    match wanted.device {
        DeviceChoice::Cpu => job.on(&Cpu::new(wanted.threads).map_err(flagged)?, DeviceChoice::Cpu, log),
        _ => on_gpu(wanted, log, job),
    }
}

#[cfg(feature = "cuda")]
fn on_gpu<J: Job>(wanted: Wanted, log: &mut Log, job: J) -> anyhow::Result<J::Output> {
    let Wanted { device, math, threads, eager } = wanted;
    let ordinal = if let DeviceChoice::Cuda(ordinal) = device { ordinal } else { 0 };
    match patiently(log, || Cuda::open(ordinal, math)) {
        Ok(mut gpu) => {
            gpu.set_eager(eager);
            log.note(&format!("GPU kernels: {} (embedded: {})", gpu.kernel_form(), rewind::cuda::ORIGIN));
            job.on(&gpu, DeviceChoice::Cuda(ordinal), log)
        }
        Err(reason) if device == DeviceChoice::Auto => {
            log.note(&format!("on the CPU ({reason})"));
            job.on(&Cpu::new(threads).map_err(flagged)?, DeviceChoice::Cpu, log)
        }
        Err(reason) => Err(reason.into()),
    }
}

/// Opens the GPU; where that takes long, says why. The driver compiles PTX that it has not seen yet, which took 17 s for these
/// kernels on an H200, and keeps the result.
#[cfg(feature = "cuda")]
fn patiently<T>(log: &mut Log, open: impl FnOnce() -> T) -> T {
    let (opened, wait) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        // the GPU is opened on this thread, which is the one that uses it
        scope.spawn(move || {
            if wait.recv_timeout(Duration::from_secs(2)) == Err(RecvTimeoutError::Timeout) {
                log.note("the driver compiles the kernels, once for this GPU: some twenty seconds");
            }
        });
        let result = open();
        drop(opened);
        result
    })
}

#[cfg(not(feature = "cuda"))]
fn on_gpu<J: Job>(wanted: Wanted, log: &mut Log, job: J) -> anyhow::Result<J::Output> {
    match wanted.device {
        DeviceChoice::Auto => job.on(&Cpu::new(wanted.threads).map_err(flagged)?, DeviceChoice::Cpu, log),
        _ => {
            let sentence = "this build has no CUDA device: build with the feature cuda, or give --device cpu";
            Err(Error::Usage(sentence.into()).into())
        }
    }
}
