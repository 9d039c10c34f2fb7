//! The device's memory: one allocation, carved into buffers.

use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaStream, DevicePtr};

use crate::error::Result;

/// One reservation of device memory; alive as long as any of its buffers. One of no elements takes nothing.
pub struct CudaRegion {
    memory: Option<Arc<CudaSlice<f32>>>,
    start: u64,
}

impl CudaRegion {
    pub(super) fn new(stream: &Arc<CudaStream>, len: usize) -> Result<Self> {
        if len == 0 {
            return Ok(Self { memory: None, start: 0 });
        }
        // SAFETY: plain numbers, which every user writes before reading.
        let memory = unsafe { stream.alloc::<f32>(len) }.map_err(|e| super::error::reserve(len, e))?;
        // All work is on this one stream, so no access needs to be ordered by the slice's own events.
        let start = memory.device_ptr(stream).0;
        Ok(Self { memory: Some(Arc::new(memory)), start })
    }

    /// A part of the region.
    pub(super) fn carve(&self, offset: usize, len: usize) -> CudaBuffer {
        debug_assert!(offset + len <= self.memory.as_ref().map_or(0, |memory| memory.len()));
        // of no elements it lies nowhere: a kernel that took it for more would fault, and change nothing
        let address = if len == 0 { 0 } else { self.start + (offset * size_of::<f32>()) as u64 };
        CudaBuffer { address, _memory: self.memory.clone() }
    }
}

/// A part of a region: the address that kernels get.
pub struct CudaBuffer {
    address: u64,
    _memory: Option<Arc<CudaSlice<f32>>>,
}

impl CudaBuffer {
    /// All of a slice.
    pub(super) fn over(memory: Arc<CudaSlice<f32>>, stream: &Arc<CudaStream>) -> Self {
        let address = memory.device_ptr(stream).0;
        Self { address, _memory: Some(memory) }
    }

    /// Where it starts in the device's memory.
    pub(super) fn address(&self) -> u64 {
        self.address
    }
}

/// A tensor on a GPU.
pub type Tensor = crate::tensor::Tensor<CudaBuffer>;

/// A tensor's address.
pub(super) fn at(tensor: &Tensor) -> u64 {
    tensor.buffer.address()
}

/// The address of a vector's element.
pub(super) fn part(vector: &Tensor, offset: usize) -> u64 {
    at(vector) + (offset * size_of::<f32>()) as u64
}
