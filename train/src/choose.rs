//! Opens the device that was asked for and hands it to a job, which is generic over devices: the one place where a choice that
//! the user made becomes a type.

use rewind::cpu::{Cpu, Rounding};

use crate::config::{DeviceChoice, RunConfig};
#[cfg(feature = "cuda")]
use crate::events::Event;
use crate::events::Listener;
use crate::log::Log;
use crate::settings::flagged;
#[cfg(feature = "cuda")]
use rewind::cuda::Cuda;
use rewind::device::Device;
use rewind::device::Math;
use rewind::error::Error;
#[cfg(feature = "cuda")]
use std::{sync::mpsc::RecvTimeoutError, time::Duration};

/// What is done on a device, once it is open; told to a listener `L`, failing with an `E`.
pub trait Job<L = Log, E = anyhow::Error> {
    /// What it gives.
    type Output;

    /// Does it on `device`, which is `opened`: never [`DeviceChoice::Auto`].
    ///
    /// # Errors
    /// Whatever the job reports.
    fn on<D: Device<Real = f32>>(self, device: &D, opened: DeviceChoice, listener: &mut L) -> Result<Self::Output, E>;
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
    /// What the CPU rounds the operands of convolutions to; none leaves them as they are.
    pub round_as: Option<Rounding>,
    /// Whether a GPU launches kernel by kernel, in place of recorded graphs.
    pub eager: bool,
}

impl Wanted {
    /// A device, with the default of all else.
    pub fn new(device: DeviceChoice, threads: Option<usize>) -> Self {
        Self { device, math: RunConfig::default().math, threads, round_as: None, eager: false }
    }
}

/// Has `job` done on the chosen device. Where the choice is open, that is a GPU if there is a usable one; the listener is told which,
/// and why.
///
/// # Errors
/// If the device cannot be opened, and whatever the job reports.
pub fn on_device<L: Listener + Send, E: From<Error>, J: Job<L, E>>(
    wanted: Wanted,
    listener: &mut L,
    job: J,
) -> Result<J::Output, E> {
    match (wanted.device, wanted.round_as) {
        // a GPU rounds itself, so where the choice is open this decides it
        (DeviceChoice::Cpu, _) | (DeviceChoice::Auto, Some(_)) => {
            let cpu = Cpu::new(wanted.threads).map_err(flagged)?.round_as(wanted.round_as);
            job.on(&cpu, DeviceChoice::Cpu, listener)
        }
        (DeviceChoice::Cuda(_), Some(rounding)) => {
            let sentence = format!("--round-as {rounding} is for the CPU: give --device cpu, or --math for a GPU");
            Err(Error::Usage(sentence).into())
        }
        (_, None) => on_gpu(wanted, listener, job),
    }
}

#[cfg(feature = "cuda")]
fn on_gpu<L: Listener + Send, E: From<Error>, J: Job<L, E>>(
    wanted: Wanted,
    listener: &mut L,
    job: J,
) -> Result<J::Output, E> {
    let Wanted { device, math, threads, eager, .. } = wanted;
    let open = || match device {
        DeviceChoice::Cuda(ordinal) => Cuda::open(ordinal, math).map(|gpu| (ordinal, gpu)),
        _ => Cuda::open_any(math),
    };
    match patiently(listener, open) {
        Ok((ordinal, mut gpu)) => {
            gpu.set_eager(eager);
            listener.hear(&Event::Device(&format!(
                "GPU kernels: {} (embedded: {})",
                gpu.kernel_form(),
                rewind::cuda::ORIGIN
            )));
            job.on(&gpu, DeviceChoice::Cuda(ordinal), listener)
        }
        Err(reason) if device == DeviceChoice::Auto => {
            listener.hear(&Event::Device(&format!("on the CPU ({reason})")));
            job.on(&Cpu::new(threads).map_err(flagged)?, DeviceChoice::Cpu, listener)
        }
        Err(reason) => Err(reason.into()),
    }
}

/// Opens the GPU; where that takes long, says why. The driver compiles PTX that it has not seen yet, which took 17 s for these
/// kernels on an H200, and keeps the result.
#[cfg(feature = "cuda")]
fn patiently<T>(listener: &mut (impl Listener + Send), open: impl FnOnce() -> T) -> T {
    let (opened, wait) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        // the GPU is opened on this thread, which is the one that uses it
        let told = std::thread::Builder::new().spawn_scoped(scope, move || {
            if wait.recv_timeout(Duration::from_secs(2)) == Err(RecvTimeoutError::Timeout) {
                listener
                    .hear(&Event::Device("the driver compiles the kernels, once for this GPU: some twenty seconds"));
            }
        });
        // where no thread is to be had, nobody is told; the scope waits for it otherwise
        drop(told);
        let result = open();
        drop(opened);
        result
    })
}

#[cfg(not(feature = "cuda"))]
fn on_gpu<L: Listener + Send, E: From<Error>, J: Job<L, E>>(
    wanted: Wanted,
    listener: &mut L,
    job: J,
) -> Result<J::Output, E> {
    match wanted.device {
        DeviceChoice::Auto => job.on(&Cpu::new(wanted.threads).map_err(flagged)?, DeviceChoice::Cpu, listener),
        _ => {
            let sentence = "this build has no CUDA device: build with the feature cuda, or give --device cpu";
            Err(Error::Usage(sentence.into()).into())
        }
    }
}
