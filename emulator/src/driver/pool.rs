//! Stream-ordered allocation. Freed memory goes back at once, so that pools never hold any: a use after the free is seen.

use super::code::{Code, Result};
use super::state::{Driver, Find, Handle, driver, in_context};

/// A memory pool.
#[derive(Debug, Default)]
pub struct Pool {
    release_threshold: u64,
    /// The three reuse policies, which have no effect here but are remembered.
    reuse: [Option<i32>; 3],
    used: u64,
    used_high: u64,
    /// The context of a pool that a program made; the device's own has none.
    created: bool,
}

impl Pool {
    /// Notes an allocation.
    pub fn grow(&mut self, bytes: u64) {
        self.used += bytes;
        self.used_high = self.used_high.max(self.used);
    }

    /// Notes a free.
    pub fn shrink(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }

    fn attribute(&self, attribute: u32) -> Result<Value> {
        // CUmemPool_attribute: reuse policies, release threshold, memory reserved and used, now and at most.
        match attribute {
            1..=3 => Ok(Value::Int(self.reuse[attribute as usize - 1].unwrap_or(1))),
            4 => Ok(Value::Long(self.release_threshold)),
            5 | 7 => Ok(Value::Long(self.used)),
            6 | 8 => Ok(Value::Long(self.used_high)),
            _ => Err(Code::INVALID_VALUE),
        }
    }
}

enum Value {
    Int(i32),
    Long(u64),
}

impl Driver {
    fn allocate_from(&mut self, call: &str, bytes: usize, pool: Handle, stream: Handle) -> Result<u64> {
        let place = self.place(stream)?;
        if let Some(capture) = self.capture_of(place)? {
            // Nodes that allocate are not supported; the address would have to be the graph's.
            return Err(self.invalidate(capture, call, Code::STREAM_CAPTURE_UNSUPPORTED));
        }
        self.refuse_implicit(place, call)?;
        self.pools.find(pool).map_err(|_| Code::INVALID_VALUE)?;
        self.allocate(call, place.context(), bytes, Some(pool))
    }

    fn free_async(&mut self, address: u64, stream: Handle) -> Result<()> {
        const CALL: &str = "cuMemFreeAsync";
        let place = self.place(stream)?;
        if let Some(capture) = self.capture_of(place)? {
            return Err(self.invalidate(capture, CALL, Code::STREAM_CAPTURE_UNSUPPORTED));
        }
        self.refuse_implicit(place, CALL)?;
        match self.owners.get(&address) {
            Some((_, Some(_))) => self.release(address),
            _ => Err(self.not_freeable(CALL, address)),
        }
    }
}

fn device(ordinal: i32) -> Result<()> {
    if ordinal == 0 { Ok(()) } else { Err(Code::INVALID_DEVICE) }
}

exports! {
    fn cuMemAllocAsync(out: Out<u64>, bytes: usize, stream: Handle) {
        in_context(|d, _| out.put(d.allocate_from("cuMemAllocAsync", bytes, d.current_pool, stream)?))
    }
    fn cuMemAllocFromPoolAsync(out: Out<u64>, bytes: usize, pool: Handle, stream: Handle) {
        in_context(|d, _| out.put(d.allocate_from("cuMemAllocFromPoolAsync", bytes, pool, stream)?))
    }
    fn cuMemFreeAsync(address: u64, stream: Handle) {
        in_context(|d, _| d.free_async(address, stream))
    }
    fn cuDeviceGetDefaultMemPool(out: Out<Handle>, ordinal: i32) {
        driver(|d| {
            device(ordinal)?;
            out.put(d.default_pool)
        })
    }
    fn cuDeviceGetMemPool(out: Out<Handle>, ordinal: i32) {
        driver(|d| {
            device(ordinal)?;
            out.put(d.current_pool)
        })
    }
    fn cuDeviceSetMemPool(ordinal: i32, pool: Handle) {
        driver(|d| {
            device(ordinal)?;
            d.pools.find(pool).map_err(|_| Code::INVALID_VALUE)?;
            d.current_pool = pool;
            Ok(())
        })
    }
    fn cuMemPoolCreate(out: Out<Handle>, properties: In<[i32; 4]>) {
        driver(|d| {
            // CUmemPoolProps: allocation type (pinned), handle types, location type (device) and id.
            let [kind, handles, location, id] = properties.get()?;
            if kind != 1 || location != 1 || id != 0 {
                return Err(Code::INVALID_VALUE);
            }
            if handles != 0 {
                return Err(Code::NOT_SUPPORTED);
            }
            let handle = d.handle();
            d.pools.insert(handle, Pool { created: true, ..Pool::default() });
            out.put(handle)
        })
    }
    fn cuMemPoolDestroy(pool: Handle) {
        driver(|d| {
            if !d.pools.find(pool).map_err(|_| Code::INVALID_VALUE)?.created {
                return Err(Code::INVALID_VALUE);
            }
            d.pools.remove(&pool);
            // Allocations from it live on until they are freed; the device falls back to its own pool.
            if d.current_pool == pool {
                d.current_pool = d.default_pool;
            }
            Ok(())
        })
    }
    fn cuMemPoolTrimTo(pool: Handle, _keep: usize) {
        driver(|d| d.pools.find(pool).map(drop).map_err(|_| Code::INVALID_VALUE))
    }
    fn cuMemPoolSetAccess(pool: Handle, entries: In<[i32; 3]>, count: usize) {
        driver(|d| {
            d.pools.find(pool).map_err(|_| Code::INVALID_VALUE)?;
            // CUmemAccessDesc: location type (device) and id, and what it may do. The pool is the one device's, which must be
            // able to read and write it.
            (0..count).try_for_each(|i| match entries.at(i)? {
                [1, 0, 3] => Ok(()),
                [1, 0, _] => Err(Code::INVALID_VALUE),
                _ => Err(Code::INVALID_DEVICE),
            })
        })
    }
    fn cuMemPoolGetAccess(out: Out<u32>, pool: Handle, location: In<[i32; 2]>) {
        driver(|d| {
            d.pools.find(pool).map_err(|_| Code::INVALID_VALUE)?;
            if location.get()? == [1, 0] { out.put(3) } else { Err(Code::INVALID_DEVICE) }
        })
    }
    // Nothing here makes such handles: `cuMemCreate` is not supported.
    fn cuMemGetAllocationPropertiesFromHandle(_properties: Out<u8>, _handle: u64) {
        driver(|_| Err(Code::INVALID_VALUE))
    }
    fn cuMemPoolGetAttribute(pool: Handle, attribute: u32, out: Host) {
        driver(|d| match d.pools.find(pool).map_err(|_| Code::INVALID_VALUE)?.attribute(attribute)? {
            Value::Int(value) => {
                out.target(4)?.copy_from_slice(&value.to_ne_bytes());
                Ok(())
            }
            Value::Long(value) => {
                out.target(8)?.copy_from_slice(&value.to_ne_bytes());
                Ok(())
            }
        })
    }
    fn cuMemPoolSetAttribute(pool: Handle, attribute: u32, value: Host) {
        driver(|d| {
            let pool = d.pools.find_mut(pool).map_err(|_| Code::INVALID_VALUE)?;
            let long = || -> Result<u64> {
                Ok(u64::from_ne_bytes(value.source(8)?.try_into().map_err(|_| Code::INVALID_VALUE)?))
            };
            match attribute {
                1..=3 => {
                    let int = value.source(4)?.try_into().map_err(|_| Code::INVALID_VALUE)?;
                    pool.reuse[attribute as usize - 1] = Some(i32::from_ne_bytes(int));
                }
                4 => pool.release_threshold = long()?,
                // The marks of the most memory can be reset, and only that.
                6 | 8 if long()? == 0 => pool.used_high = pool.used,
                _ => return Err(Code::INVALID_VALUE),
            }
            Ok(())
        })
    }
}
