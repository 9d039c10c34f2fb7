//! Host memory that the device can reach: page-locked, registered and managed. It has one address for both.

use std::alloc::{Layout, alloc_zeroed, dealloc};

use super::code::{Code, Result};
use super::export::say;
use super::state::{Driver, Handle, in_context};

const PAGE: usize = 4096;

/// How it came to be, which says how it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `cuMemHostAlloc`, `cuMemAllocHost`
    Locked,
    /// `cuMemHostRegister`: the program's own memory.
    Registered,
    /// `cuMemAllocManaged`
    Managed,
}

/// A piece of it.
#[derive(Debug)]
pub struct HostBlock {
    pub context: Handle,
    pub kind: Kind,
    bytes: usize,
    flags: u32,
}

fn layout(bytes: usize) -> Result<Layout> {
    Layout::from_size_align(bytes, PAGE).map_err(|_| Code::OUT_OF_MEMORY)
}

impl Driver {
    /// Whether an address lies in host memory that the device can reach.
    pub fn is_host(&self, address: usize) -> bool {
        let base = self.machine.memory.holding(address as u64).map(|a| a.base as usize);
        base.is_some_and(|base| self.host.contains_key(&base))
    }

    #[allow(unsafe_code)]
    fn allocate_host(&mut self, call: &str, context: Handle, bytes: usize, kind: Kind, flags: u32) -> Result<usize> {
        self.refuse_unsafe(call)?;
        if bytes == 0 {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: the size is not zero.
        let start = unsafe { alloc_zeroed(layout(bytes)?) };
        if start.is_null() {
            return Err(Code::OUT_OF_MEMORY);
        }
        // SAFETY: allocated just now, and freed by `release_host` alone, after it is taken off the device.
        unsafe { self.machine.memory.register(start, bytes) };
        self.host.insert(start as usize, HostBlock { context, kind, bytes, flags });
        self.statistics.host_allocations += 1;
        Ok(start as usize)
    }

    #[allow(unsafe_code)]
    fn register_host(&mut self, context: Handle, address: Host, bytes: usize, flags: u32) -> Result<()> {
        self.refuse_unsafe("cuMemHostRegister")?;
        let end = address.0.checked_add(bytes).ok_or(Code::INVALID_VALUE)?;
        if address.0 == 0 || bytes == 0 {
            return Err(Code::INVALID_VALUE);
        }
        if self.host.iter().any(|(&at, block)| at < end && address.0 < at + block.bytes) {
            return Err(Code::HOST_MEMORY_ALREADY_REGISTERED);
        }
        // SAFETY: the caller of cuMemHostRegister keeps the memory allocated until it is unregistered.
        unsafe { self.machine.memory.register(address.0 as *mut u8, bytes) };
        self.host.insert(address.0, HostBlock { context, kind: Kind::Registered, bytes, flags });
        self.statistics.host_allocations += 1;
        Ok(())
    }

    /// Takes it off the device, and frees it if it is not the program's own.
    #[allow(unsafe_code)]
    pub fn release_host(&mut self, address: usize) -> Result<()> {
        let block = self.host.remove(&address).ok_or(Code::INVALID_VALUE)?;
        self.machine.memory.release(address as u64).map_err(|_| Code::INVALID_VALUE)?;
        if block.kind != Kind::Registered {
            // SAFETY: `allocate_host` allocated it with this layout; nothing on the device refers to it any more.
            unsafe { dealloc(address as *mut u8, layout(block.bytes)?) };
        }
        Ok(())
    }

    fn free_host(&mut self, call: &str, address: Host, kind: Kind, otherwise: Code) -> Result<()> {
        self.refuse_unsafe(call)?;
        match self.host.get(&address.0) {
            Some(block) if block.kind == kind => self.release_host(address.0),
            _ => {
                say(call, format_args!("{:#x} is not the start of such memory", address.0));
                Err(otherwise)
            }
        }
    }
}

exports! {
    fn cuMemHostAlloc(out: Out<usize>, bytes: usize, flags: u32) {
        in_context(|d, context| {
            // Portable, mapped, write-combined.
            if flags > 7 {
                return Err(Code::INVALID_VALUE);
            }
            out.put(d.allocate_host("cuMemHostAlloc", context, bytes, Kind::Locked, flags)?)
        })
    }
    fn cuMemAllocHost_v2(out: Out<usize>, bytes: usize) {
        in_context(|d, context| out.put(d.allocate_host("cuMemAllocHost", context, bytes, Kind::Locked, 0)?))
    }
    fn cuMemFreeHost(address: Host) {
        in_context(|d, _| d.free_host("cuMemFreeHost", address, Kind::Locked, Code::INVALID_VALUE))
    }
    fn cuMemHostRegister_v2(address: Host, bytes: usize, flags: u32) {
        in_context(|d, context| d.register_host(context, address, bytes, flags))
    }
    fn cuMemHostUnregister(address: Host) {
        in_context(|d, _| {
            d.free_host("cuMemHostUnregister", address, Kind::Registered, Code::HOST_MEMORY_NOT_REGISTERED)
        })
    }
    fn cuMemHostGetDevicePointer_v2(out: Out<u64>, address: Host, flags: u32) {
        in_context(|d, _| {
            if flags != 0 || !d.is_host(address.0) {
                return Err(Code::INVALID_VALUE);
            }
            out.put(address.address())
        })
    }
    fn cuMemHostGetFlags(out: Out<u32>, address: Host) {
        in_context(|d, _| out.put(d.host.get(&address.0).ok_or(Code::INVALID_VALUE)?.flags))
    }
    fn cuMemAllocManaged(out: Out<u64>, bytes: usize, flags: u32) {
        in_context(|d, context| {
            // CU_MEM_ATTACH_GLOBAL or _HOST
            if !matches!(flags, 1 | 2) {
                return Err(Code::INVALID_VALUE);
            }
            out.put(d.allocate_host("cuMemAllocManaged", context, bytes, Kind::Managed, flags)? as u64)
        })
    }
}
