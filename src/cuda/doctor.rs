//! What `train_cifar --doctor` tells of the GPUs: what is embedded, the driver, each device, and whether it can be used.

use cudarc::driver::CudaContext;
use cudarc::driver::sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT as MULTIPROCESSORS;

use super::error::explain;
use super::images;
use super::open::{device_count, driver_version, identity};
use super::{Cuda, ORIGIN};
use crate::device::Math;
use crate::error::{Error, Result};
use crate::memory::human;

/// Lines of name and finding, for a person; nothing here fails.
pub fn findings() -> Vec<(String, String)> {
    let line = |name: &str, found: String| (name.to_string(), found);
    let needed = images::needed();
    let branch = needed.driver_branch().map_or(String::new(), |branch| format!(", driver {branch}"));
    let mut lines =
        vec![line("kernels", format!("{ORIGIN}; the PTX needs a driver for CUDA {needed} or newer{branch}"))];
    match driver_version() {
        Ok(version) => lines.push(line("driver", format!("supports CUDA {version}"))),
        Err(error) => {
            lines.push(line("driver", format!("{}: training runs on the CPU", reason(error))));
            return lines;
        }
    }
    match device_count() {
        Ok(0) => lines.push(line("GPU", "none that the driver lists: training runs on the CPU".into())),
        Ok(count) => lines.extend((0..count).map(|ordinal| line(&format!("cuda:{ordinal}"), device(ordinal)))),
        Err(error) => lines.push(line("GPU", reason(error))),
    }
    lines
}

fn device(ordinal: usize) -> String {
    let told = about(ordinal).unwrap_or_else(reason);
    match Cuda::open(ordinal, Math::Tf32) {
        Ok(gpu) => format!("{told}; usable, with {}", gpu.kernel_form()),
        Err(error) => format!("{told}; not usable ({})", reason(error)),
    }
}

fn about(ordinal: usize) -> Result<String> {
    let (name, (major, minor)) = identity(ordinal)?;
    let opened = || {
        let context = CudaContext::new(ordinal)?;
        Ok((context.attribute(MULTIPROCESSORS)?, context.mem_get_info()?))
    };
    let rest = match opened() {
        Ok((processors, (free, total))) => {
            let [free, total] = [free, total].map(|bytes| human(bytes as u64));
            format!("{processors} multiprocessors, {free} of {total} free")
        }
        Err(error) => explain(error),
    };
    Ok(format!("{name}, compute capability {major}.{minor}, {rest}"))
}

/// An error without what was being done: that is plain here.
fn reason(error: Error) -> String {
    match error {
        Error::Device { reason, .. } => reason,
        other => other.to_string(),
    }
}
