//! Opening a GPU: is there a driver, is it new enough, is there a device; the kernels loaded and looked up.

use cudarc::driver::{CudaContext, sys};

use super::error::{driver, explain};
use super::kernels::Kernels;
use super::{Cuda, conv};
use crate::config::Math;
use crate::error::{Error, Result};

/// The driver's version that the embedded PTX asks for: PTX 9.0 came with CUDA 13.0, whose first driver is 580.
const NEEDED: i32 = 13000;

impl Cuda {
    /// Opens the GPU of this number.
    ///
    /// # Errors
    /// [`Error::Device`] with the reason: no driver, one too old, no such device, or kernels that do not load.
    pub fn open(ordinal: usize, math: Math) -> Result<Self> {
        let refused = |reason: String| Error::Device { what: "opening the GPU", reason };
        // SAFETY: looks for the driver's library and calls nothing in it.
        if !unsafe { sys::is_culib_present() } {
            return Err(refused("this machine has no NVIDIA driver (no libcuda)".into()));
        }
        cudarc::driver::result::init().map_err(|e| driver("starting the driver", e))?;
        let mut version = 0;
        // SAFETY: writes one integer.
        unsafe { sys::cuDriverGetVersion(&mut version) }
            .result()
            .map_err(|e| driver("asking the driver's version", e))?;
        if version < NEEDED {
            let (major, minor) = (version / 1000, version % 1000 / 10);
            return Err(refused(format!(
                "the driver supports CUDA {major}.{minor} and the kernels need 13.0: install driver 580 or newer"
            )));
        }
        let count = CudaContext::device_count().map_err(|e| refused(explain(e)))?;
        if ordinal >= count as usize {
            return Err(refused(format!("there is no device {ordinal}: the driver lists {count}")));
        }
        let context = CudaContext::new(ordinal).map_err(|e| driver("opening the GPU", e))?;
        // SAFETY: all work goes to one stream, so nothing needs to be ordered by events.
        unsafe { context.disable_event_tracking() };
        let kernels = Kernels::load(&context)?;
        let stream = context.new_stream().map_err(|e| driver("making a stream", e))?;
        let flag = stream.alloc_zeros(1).map_err(|e| driver("reserving memory", e))?;
        let counters = stream.alloc_zeros(conv::COUNTERS).map_err(|e| driver("reserving memory", e))?;
        let name = context.name().map_err(|e| driver("asking the GPU's name", e))?;
        let name = format!("cuda:{ordinal} ({name}, {math})");
        Ok(Self { stream, kernels, math, flag, counters, name })
    }
}
