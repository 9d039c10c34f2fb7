//! Opening a GPU: is there a driver, is it new enough, is there a device, is it new enough; the kernels loaded and looked up.

use cudarc::driver::{CudaContext, result, sys};

use super::error::{driver, explain};
use super::geometry::COUNTERS;
use super::images::{self, Capability, Images, OLDEST};
use super::kernels::Kernels;
use super::small_block::Limits;
use super::version::CudaVersion;
use super::{Cuda, half};
use crate::device::{DeviceMemory, Math};
use crate::error::{Error, Result};
use crate::shape::Shape;

fn refused(reason: String) -> Error {
    Error::Device { what: "opening the GPU", reason }
}

/// The CUDA version that this machine's driver supports.
///
/// # Errors
/// [`Error::Device`] if there is no driver.
pub fn driver_version() -> Result<CudaVersion> {
    // SAFETY: looks for the driver's library and calls nothing in it.
    if !unsafe { sys::is_culib_present() } {
        return Err(refused("this machine has no NVIDIA driver (no libcuda)".into()));
    }
    let mut version = 0;
    // SAFETY: writes one integer; may be called before all else.
    let asked = unsafe { sys::cuDriverGetVersion(&mut version) }.result();
    asked.map_err(|e| driver("asking the driver's version", e))?;
    Ok(CudaVersion(version))
}

/// How many GPUs the driver lists; starts the driver.
///
/// # Errors
/// [`Error::Device`] with the driver's reason.
pub fn device_count() -> Result<usize> {
    match result::init() {
        Ok(()) => Ok(CudaContext::device_count().map_err(|e| driver("counting the GPUs", e))? as usize),
        // so says the driver where it finds no GPU, or may show none
        Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => Ok(0),
        Err(error) => Err(driver("starting the driver", error)),
    }
}

/// A GPU's name and compute capability, asked without opening it.
///
/// # Errors
/// [`Error::Device`] with the driver's reason.
pub fn identity(ordinal: usize) -> Result<(String, Capability)> {
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    let asked = || {
        let device = result::device::get(ordinal as i32)?;
        // SAFETY: the handle is the driver's own.
        let of = |attribute| unsafe { result::device::get_attribute(device, attribute) };
        Ok((result::device::get_name(device)?, (of(MAJOR)?, of(MINOR)?)))
    };
    asked().map_err(|e| driver("asking what the GPU is", e))
}

/// The first of `count` things, by number, that opens; else why none does.
fn first_usable<T>(count: usize, mut open: impl FnMut(usize) -> Result<T>) -> Result<(usize, T)> {
    let mut reasons = Vec::new();
    for ordinal in 0..count {
        match open(ordinal) {
            Ok(gpu) => return Ok((ordinal, gpu)),
            Err(error) if count == 1 => return Err(error),
            Err(Error::Device { reason, .. }) => reasons.push(format!("cuda:{ordinal}: {reason}")),
            Err(error) => reasons.push(format!("cuda:{ordinal}: {error}")),
        }
    }
    Err(refused(if count == 0 { "the driver lists no GPU".into() } else { reasons.join("; ") }))
}

impl Cuda {
    /// Opens the first GPU that can be used, and tells its number.
    ///
    /// # Errors
    /// [`Error::Device`] with the reason of each.
    pub fn open_any(math: Math) -> Result<(usize, Self)> {
        driver_version()?;
        first_usable(device_count()?, |ordinal| Self::open(ordinal, math))
    }

    /// Opens the GPU of this number.
    ///
    /// # Errors
    /// [`Error::Device`] with the reason: no driver, one too old, no such device, one too old, or kernels that do not load.
    pub fn open(ordinal: usize, math: Math) -> Result<Self> {
        let version = driver_version()?;
        match device_count()? {
            0 => return Err(refused("the driver lists no GPU".into())),
            count if ordinal >= count => {
                let last = count - 1;
                let listed = if last == 0 { "cuda:0 alone".into() } else { format!("cuda:0 to cuda:{last}") };
                return Err(refused(format!("there is no device {ordinal}: the driver lists {listed}")));
            }
            _ => {}
        }
        let (name, capability) = identity(ordinal)?;
        if capability < OLDEST {
            let ((major, minor), (least, _)) = (capability, OLDEST);
            return Err(refused(format!(
                "{name} has compute capability {major}.{minor}, and the kernels need {least}.0 (Ampere) or newer"
            )));
        }
        images::check_driver(version)?;
        let context = CudaContext::new(ordinal).map_err(|e| driver("opening the GPU", e))?;
        // SAFETY: all operations go to one stream; what goes by the other is ordered by events of its own.
        unsafe { context.disable_event_tracking() };
        let (free, total) = context.mem_get_info().map_err(|e| refused(explain(e)))?;
        let [free, total] = [free, total].map(|bytes| bytes as u64);
        let at_open = DeviceMemory { total_bytes: total, free_at_open_bytes: free, free_now_bytes: free };
        let images = Images::load(&context, capability, version)?;
        let kernels = Kernels::find(&images)?;
        let (limits, chains) =
            Limits::read(&context, &kernels, math).map_err(|e| driver("asking for the GPU's limits", e))?;
        let half = half::Limits::read(&context, &kernels).map_err(|e| driver("asking for the GPU's limits", e))?;
        let stream = context.new_stream().map_err(|e| driver("making a stream", e))?;
        let copies = context.new_stream().map_err(|e| driver("making a stream", e))?;
        let flag = stream.alloc_zeros(1).map_err(|e| driver("reserving memory", e))?;
        let counters = stream.alloc_zeros(COUNTERS + 1 + half::WORDS).map_err(|e| driver("reserving memory", e))?;
        let name = format!("cuda:{ordinal} ({name}, {math})");
        let (form, eager, runs) = (images.form, false, true);
        Ok(Self {
            stream,
            copies,
            kernels,
            limits,
            chains,
            half,
            math,
            flag,
            counters,
            name,
            form,
            at_open,
            eager,
            runs,
        })
    }

    /// The same device with every block as a chain of launches, those on small maps too, which otherwise are one cooperative
    /// launch: to compare the two.
    #[must_use]
    pub fn chained(mut self) -> Self {
        self.limits = Limits::NONE;
        self
    }

    /// The same device with a launch of f16 convolutions in few blocks, each with many tiles, as on large maps: for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn in_few_blocks(mut self) -> Self {
        self.half.blocks = 1;
        self.name.push_str(" in few blocks");
        self
    }

    /// Whether a residual block on such a map is one cooperative launch forward and one backward.
    pub fn is_cooperative(&self, map: Shape) -> bool {
        self.limits.form(map).is_some()
    }

    /// The form in which this GPU got its kernels, in words, and why no block is one cooperative launch, where that is so.
    pub fn kernel_form(&self) -> String {
        match &self.chains {
            None => self.form.to_string(),
            Some(reason) => format!("{}, a block on small maps as a chain of launches since {reason}", self.form),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_gpu_that_opens_is_taken_and_else_each_reason_is_told() {
        let old = |ordinal: usize| refused(format!("GPU {ordinal} is old"));
        let second = first_usable(3, |ordinal| if ordinal == 1 { Ok("good") } else { Err(old(ordinal)) });
        assert_eq!(second.expect("one opens"), (1, "good"));
        let told = |count| first_usable::<()>(count, |ordinal| Err(old(ordinal))).expect_err("none opens").to_string();
        assert_eq!(told(2), "opening the GPU: cuda:0: GPU 0 is old; cuda:1: GPU 1 is old");
        assert_eq!(told(1), "opening the GPU: GPU 0 is old");
        assert_eq!(told(0), "opening the GPU: the driver lists no GPU");
    }
}
