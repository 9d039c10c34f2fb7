//! What kernels need and may use, as `cuFuncGetAttribute` tells it.

use super::code::{Code, Result};
use super::module::Function;
use super::state::{Driver, Find, Handle, driver, in_context};
use crate::exec::Kernel;
use crate::profile::{Profile, blocks_per_sm};

/// Registers of a thread: what ptxas said, or the estimate within what launch bounds make ptxas keep to by spilling.
pub fn registers(kernel: &Kernel, profile: &Profile) -> u32 {
    let mut most = profile.max_registers_per_thread;
    if let Some(threads) = most_threads(kernel) {
        let blocks = kernel.bounds.min_blocks_per_sm.unwrap_or(1).max(1);
        let warps = threads.div_ceil(profile.warp_size).max(1).saturating_mul(blocks);
        let per_thread = profile.registers_per_sm / warps.saturating_mul(profile.warp_size).max(1);
        // Registers are given out in units of a warp's, hence of eight a thread.
        most = most.min((per_thread & !7).max(16));
    }
    if let Some(limit) = kernel.bounds.max_registers {
        most = most.min(limit);
    }
    if kernel.registers_known { kernel.registers } else { kernel.registers.min(most) }
}

/// The product of `.maxntid` or `.reqntid`.
fn most_threads(kernel: &Kernel) -> Option<u32> {
    let bounds = kernel.bounds.required_threads.or(kernel.bounds.max_threads)?;
    Some(bounds.iter().fold(1_u32, |all, &n| all.saturating_mul(n.max(1))))
}

/// The largest block that a launch may ask.
pub fn max_threads(kernel: &Kernel, profile: &Profile) -> u32 {
    let most = most_threads(kernel).unwrap_or(u32::MAX).min(profile.max_threads_per_block);
    let registers = registers(kernel, profile);
    let fits = |threads: &u32| blocks_per_sm(profile, *threads, registers, 0).blocks > 0;
    (1..=most / profile.warp_size).rev().map(|warps| warps * profile.warp_size).find(fits).unwrap_or(most)
}

impl Function {
    /// Dynamic shared memory that a launch may ask: what was set, or what the kernel's own leaves of 48 KiB.
    pub fn dynamic_limit(&self, profile: &Profile) -> u32 {
        self.max_dynamic.unwrap_or_else(|| profile.shared_per_block.saturating_sub(self.kernel.static_shared))
    }

    fn attribute(&self, profile: &Profile, attribute: u32) -> Result<i32> {
        let kernel = &self.kernel;
        let (major, minor) = profile.compute_capability;
        // CU_FUNC_ATTRIBUTE_*
        let value = match attribute {
            0 => max_threads(kernel, profile),
            1 => kernel.static_shared,
            2 => u32::try_from(kernel.const_bytes).unwrap_or(u32::MAX),
            3 => kernel.local_bytes,
            4 => registers(kernel, profile),
            5 => kernel.target,
            6 => 10 * major + minor,
            8 => self.dynamic_limit(profile),
            9 => self.carveout as u32,
            // Cached globals, clusters.
            7 | 10..=15 => 0,
            _ => return Err(Code::INVALID_VALUE),
        };
        Ok(value as i32)
    }
}

impl Driver {
    fn set_attribute(&mut self, function: Handle, attribute: u32, value: i32) -> Result<()> {
        let profile = self.machine.profile;
        let function = self.functions.find_mut(function)?;
        match attribute {
            8 => {
                let most = profile.shared_per_block_optin.saturating_sub(function.kernel.static_shared);
                let value = u32::try_from(value).ok().filter(|&v| v <= most).ok_or(Code::INVALID_VALUE)?;
                function.max_dynamic = Some(value);
            }
            9 if (-1..=100).contains(&value) => function.carveout = value,
            // Clusters: only none.
            10..=13 | 15 if value == 0 => {}
            14 if matches!(value, 0 | 1) => {}
            10..=13 | 15 => return Err(Code::NOT_SUPPORTED),
            _ => return Err(Code::INVALID_VALUE),
        }
        Ok(())
    }
}

fn get_attribute(out: &Out<i32>, attribute: u32, function: Handle) -> Result<()> {
    in_context(|d, _| out.put(d.functions.find(function)?.attribute(d.machine.profile, attribute)?))
}

exports! {
    fn cuFuncGetAttribute(out: Out<i32>, attribute: u32, function: Handle) {
        get_attribute(&out, attribute, function)
    }
    fn cuFuncSetAttribute(function: Handle, attribute: u32, value: i32) {
        in_context(|d, _| d.set_attribute(function, attribute, value))
    }
    fn cuKernelGetAttribute(out: Out<i32>, attribute: u32, kernel: Handle, device: i32) {
        if device != 0 {
            return Err(Code::INVALID_DEVICE);
        }
        get_attribute(&out, attribute, kernel)
    }
    fn cuKernelSetAttribute(attribute: u32, value: i32, kernel: Handle, device: i32) {
        if device != 0 {
            return Err(Code::INVALID_DEVICE);
        }
        in_context(|d, _| d.set_attribute(kernel, attribute, value))
    }
    fn cuFuncSetCacheConfig(function: Handle, config: u32) {
        in_context(|d, _| {
            d.functions.find(function)?;
            if config <= 3 { Ok(()) } else { Err(Code::INVALID_VALUE) }
        })
    }
    fn cuFuncGetModule(out: Out<Handle>, function: Handle) {
        in_context(|d, _| out.put(d.functions.find(function)?.module))
    }
    fn cuFuncGetName(out: Out<*const c_char>, function: Handle) {
        driver(|d| out.put(d.functions.find(function)?.name.as_ptr()))
    }
    fn cuKernelGetName(out: Out<*const c_char>, kernel: Handle) {
        driver(|d| out.put(d.functions.find(kernel)?.name.as_ptr()))
    }
    fn cuFuncGetParamInfo(function: Handle, index: usize, offset: Out<usize>, bytes: Out<usize>) {
        driver(|d| {
            let kernel = &d.functions.find(function)?.kernel;
            let parameter = kernel.parameters.get(index).ok_or(Code::INVALID_VALUE)?;
            offset.put(parameter.offset as usize)?;
            bytes.offer(parameter.bytes as usize);
            Ok(())
        })
    }
    fn cuFuncIsLoaded(out: Out<u32>, function: Handle) {
        driver(|d| {
            d.functions.find(function)?;
            out.put(1)
        })
    }
    fn cuFuncLoad(function: Handle) {
        driver(|d| d.functions.find(function).map(drop))
    }
}
