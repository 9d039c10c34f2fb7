//! What `train_cifar --doctor` tells of the GPUs: the driver, each device, and whether the kernels load there.

use cudarc::driver::{CudaContext, sys};

use super::error::explain;
use super::{Cuda, ORIGIN};
use crate::config::Math;
use crate::memory::human;

/// Lines of name and finding, for a person; nothing here fails.
pub fn findings() -> Vec<(String, String)> {
    let line = |name: &str, found: String| (name.to_string(), found);
    let mut lines = vec![line("kernels", ORIGIN.to_string())];
    // SAFETY: looks for the driver's library and calls nothing in it.
    if !unsafe { sys::is_culib_present() } {
        lines.push(line("driver", "none (no libcuda): training runs on the CPU".into()));
        return lines;
    }
    if let Err(error) = cudarc::driver::result::init() {
        lines.push(line("driver", format!("there, but it does not start: {}", explain(error))));
        return lines;
    }
    let mut version = 0;
    // SAFETY: writes one integer.
    let asked = unsafe { sys::cuDriverGetVersion(&mut version) }.result();
    lines.push(line(
        "driver",
        match asked {
            Ok(()) => format!("supports CUDA {}.{}", version / 1000, version % 1000 / 10),
            Err(error) => explain(error),
        },
    ));
    let count = match CudaContext::device_count() {
        Ok(count) => count as usize,
        Err(error) => {
            lines.push(line("GPU", explain(error)));
            0
        }
    };
    for ordinal in 0..count {
        lines.push(line(&format!("cuda:{ordinal}"), device(ordinal)));
    }
    if count == 0 {
        lines.push(line("GPU", "none that the driver lists: training runs on the CPU".into()));
    }
    lines
}

fn device(ordinal: usize) -> String {
    let about = || {
        let context = CudaContext::new(ordinal)?;
        let (major, minor) = context.compute_capability()?;
        let (free, total) = context.mem_get_info()?;
        let [free, total] = [free, total].map(|bytes| human(bytes as u64));
        Ok(format!("{}, compute capability {major}.{minor}, {free} of {total} free", context.name()?))
    };
    let usable = match Cuda::open(ordinal, Math::Tf32) {
        Ok(_) => "usable".to_string(),
        Err(reason) => format!("not usable ({reason})"),
    };
    match about() {
        Ok(about) => format!("{about}; {usable}"),
        Err(error) => explain(error),
    }
}
