//! One reservation of memory, handed out tensor by tensor.

use super::bytes::{Bytes, Category, padded_bytes};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Real, Tensor};

/// Memory that tensors lie in: reserved once, then carved into buffers.
pub trait Memory: Sized + Sync + 'static {
    /// Number type of the tensors.
    type Real: Real;
    /// One reservation of memory.
    type Region;
    /// A part of a region.
    type Buffer: Send + Sync + 'static;

    /// Reserves `len` elements.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the machine refuses.
    fn reserve(&self, len: usize) -> Result<Self::Region>;

    /// A part of a region.
    ///
    /// # Safety
    /// The range lies within the region and overlaps no other buffer carved from it.
    unsafe fn carve(&self, region: &Self::Region, offset: usize, len: usize) -> Self::Buffer;
}

/// One reservation of device memory, handed out front to back; the ledger counts what was taken for what.
pub struct Arena<'d, M: Memory> {
    device: &'d M,
    region: M::Region,
    used: u64,
    capacity: u64,
    ledger: Bytes,
}

impl<'d, M: Memory> Arena<'d, M> {
    /// Reserves `bytes` on the device.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the machine refuses.
    pub fn new(device: &'d M, bytes: u64) -> Result<Self> {
        let len = bytes.div_ceil(size_of::<M::Real>() as u64) as usize;
        Ok(Self { device, region: device.reserve(len)?, used: 0, capacity: bytes, ledger: Bytes::default() })
    }

    /// The next tensor of the arena.
    ///
    /// # Errors
    /// [`Error::ArenaFull`] if the plan has no room for it, which is a bug in the plan.
    pub fn tensor(&mut self, category: Category, shape: Shape) -> Result<Tensor<M::Buffer>> {
        let bytes = padded_bytes::<M::Real>(shape.len());
        if self.used + bytes > self.capacity {
            return Err(Error::ArenaFull { category, asked: bytes, used: self.used, capacity: self.capacity });
        }
        let offset = self.used as usize / size_of::<M::Real>();
        self.used += bytes;
        self.ledger.charge(category, bytes);
        // SAFETY: `used` only grows, by at least the buffer's length, so no two buffers of this region overlap; the range
        // ends within the region, checked above.
        let buffer = unsafe { self.device.carve(&self.region, offset, shape.len()) };
        Ok(Tensor::new(shape, buffer))
    }

    /// What was taken so far.
    pub fn ledger(&self) -> &Bytes {
        &self.ledger
    }
}
