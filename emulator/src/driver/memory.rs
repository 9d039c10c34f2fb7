//! Device memory: allocation, and what is known of an address.

use super::code::{Code, Result};
use super::export::say;
use super::host::Kind;
use super::state::{Driver, Find, Handle, driver, in_context};
use crate::memory::{MemoryError, Origin};

impl Driver {
    /// Allocates for a context, from a pool or plainly.
    pub fn allocate(&mut self, call: &str, context: Handle, bytes: usize, pool: Option<Handle>) -> Result<u64> {
        if bytes == 0 {
            return Err(Code::INVALID_VALUE);
        }
        let origin = if pool.is_some() { Origin::Pool } else { Origin::Plain };
        let base = self.machine.memory.allocate(bytes as u64, origin).map_err(|e| {
            say(call, &e);
            if matches!(e, MemoryError::Full { .. }) { Code::OUT_OF_MEMORY } else { Code::UNKNOWN }
        })?;
        self.owners.insert(base, (context, pool));
        self.statistics.allocations += 1;
        self.statistics.allocated_bytes += bytes as u64;
        if let Some(pool) = pool {
            self.pools.find_mut(pool)?.grow(bytes as u64);
        }
        Ok(base)
    }

    /// Frees what [`Driver::allocate`] gave.
    pub fn release(&mut self, base: u64) -> Result<()> {
        let (_, pool) = self.owners.remove(&base).ok_or(Code::INVALID_VALUE)?;
        let old = self.machine.memory.release(base).map_err(|_| Code::INVALID_VALUE)?;
        self.statistics.frees += 1;
        if let Some(pool) = pool.and_then(|pool| self.pools.get_mut(&pool)) {
            pool.shrink(old.bytes);
        }
        Ok(())
    }

    /// Says why memory cannot be freed.
    pub fn not_freeable(&self, call: &str, address: u64) -> Code {
        let memory = &self.machine.memory;
        match memory.holding(address) {
            Some(found) => {
                say(call, format_args!("{address:#x} lies in {}, which this call cannot free", found.describe()))
            }
            None => say(call, format_args!("{address:#x} {}", memory.neighbourhood(address))),
        }
        Code::INVALID_VALUE
    }

    fn free(&mut self, address: u64) -> Result<()> {
        if address == 0 {
            return Ok(());
        }
        self.refuse_unsafe("cuMemFree")?;
        let at = address as usize;
        if self.host.get(&at).is_some_and(|b| b.kind == Kind::Managed) {
            return self.release_host(at);
        }
        self.release(address).map_err(|_| self.not_freeable("cuMemFree", address))
    }
}

/// `CU_POINTER_ATTRIBUTE_*`; the answer's size differs by attribute.
fn pointer_attribute(d: &Driver, out: &PointerAnswer, attribute: u32, address: u64) -> Result<()> {
    let found = d.machine.memory.holding(address).ok_or(Code::INVALID_VALUE)?;
    let host = d.host.get(&(found.base as usize));
    let owner = host.map(|b| b.context).or_else(|| d.owners.get(&found.base).map(|o| o.0));
    // CU_MEMORYTYPE_HOST and _DEVICE
    let memory_type = if host.is_some_and(|b| b.kind != Kind::Managed) { 1 } else { 2 };
    match attribute {
        1 => out.word(owner.unwrap_or(0) as u64),
        2 => out.half(memory_type),
        3 => out.word(address),
        4 if host.is_some() => out.word(address),
        6 => out.half(0),
        7 => out.word(found.serial),
        8 => out.half(host.is_some_and(|b| b.kind == Kind::Managed).into()),
        9 => out.half(0),
        10 => out.byte(0),
        11 => out.word(found.base),
        12 => out.word(found.bytes),
        13 => out.byte(1),
        16 => out.half(3),
        17 => out.word(d.owners.get(&found.base).and_then(|o| o.1).unwrap_or(0) as u64),
        _ => Err(Code::INVALID_VALUE),
    }
}

/// An answer of 1, 4 or 8 bytes.
struct PointerAnswer(Host);

impl PointerAnswer {
    fn write(&self, bytes: &[u8]) -> Result<()> {
        self.0.target(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }
    fn byte(&self, value: u8) -> Result<()> {
        self.write(&[value])
    }
    fn half(&self, value: u32) -> Result<()> {
        self.write(&value.to_ne_bytes())
    }
    fn word(&self, value: u64) -> Result<()> {
        self.write(&value.to_ne_bytes())
    }
}

exports! {
    fn cuMemAlloc_v2(out: Out<u64>, bytes: usize) {
        in_context(|d, context| {
            d.refuse_unsafe("cuMemAlloc")?;
            out.put(d.allocate("cuMemAlloc", context, bytes, None)?)
        })
    }
    fn cuMemAllocPitch_v2(out: Out<u64>, pitch: Out<usize>, width: usize, height: usize, element: u32) {
        in_context(|d, context| {
            d.refuse_unsafe("cuMemAllocPitch")?;
            if !matches!(element, 4 | 8 | 16) {
                return Err(Code::INVALID_VALUE);
            }
            let row = width.checked_next_multiple_of(512).ok_or(Code::INVALID_VALUE)?;
            let bytes = row.checked_mul(height).ok_or(Code::INVALID_VALUE)?;
            pitch.put(row)?;
            out.put(d.allocate("cuMemAllocPitch", context, bytes, None)?)
        })
    }
    fn cuMemFree_v2(address: u64) {
        in_context(|d, _| d.free(address))
    }
    fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) {
        in_context(|d, _| {
            free.put(d.machine.memory.free_bytes() as usize)?;
            total.put(d.machine.memory.total() as usize)
        })
    }
    fn cuMemGetAddressRange_v2(base: Out<u64>, bytes: Out<usize>, address: u64) {
        in_context(|d, _| {
            let found = d.machine.memory.holding(address).ok_or(Code::NOT_FOUND)?;
            base.offer(found.base);
            bytes.offer(found.bytes as usize);
            Ok(())
        })
    }
    fn cuPointerGetAttribute(out: Host, attribute: u32, address: u64) {
        driver(|d| pointer_attribute(d, &PointerAnswer(out), attribute, address))
    }
    fn cuPointerGetAttributes(count: u32, attributes: In<u32>, answers: In<Host>, address: u64) {
        driver(|d| {
            for i in 0..count as usize {
                let answer = PointerAnswer(answers.at(i)?);
                // Addresses unknown to the driver are no error here; the memory type then reads 0.
                match pointer_attribute(d, &answer, attributes.at(i)?, address) {
                    Err(_) if attributes.at(i)? == 2 => answer.half(0)?,
                    _ => {}
                }
            }
            Ok(())
        })
    }
    fn cuMemAdvise_v2(address: u64, bytes: usize, _advice: u32, _location: u64) {
        in_context(|d, _| d.machine.memory.range(address, bytes as u64).map(drop).map_err(|_| Code::INVALID_VALUE))
    }
    fn cuMemPrefetchAsync_v2(address: u64, bytes: usize, _location: u64, _flags: u32, stream: Handle) {
        in_context(|d, _| {
            d.place(stream)?;
            d.machine.memory.range(address, bytes as u64).map(drop).map_err(|_| Code::INVALID_VALUE)
        })
    }
    fn cuStreamAttachMemAsync(stream: Handle, address: u64, _bytes: usize, _flags: u32) {
        in_context(|d, _| {
            d.place(stream)?;
            d.machine.memory.holding(address).map(drop).ok_or(Code::INVALID_VALUE)
        })
    }
}
