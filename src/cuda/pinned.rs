//! Page-locked host memory, which the device copies from while the host goes on.

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, result};

use super::error::driver;
use crate::error::Result;

/// A page-locked buffer of `T`, and the copy out of it that may be under way.
pub struct Pinned<T: Copy + Default> {
    start: *mut T,
    len: usize,
    /// The last copy out of it.
    copied: CudaEvent,
}

// SAFETY: the memory is this value's alone, as a `Box<[T]>`'s would be.
unsafe impl<T: Copy + Default + Send> Send for Pinned<T> {}

impl<T: Copy + Default> Pinned<T> {
    /// Takes room for `len` values.
    pub fn new(context: &Arc<CudaContext>, len: usize) -> Result<Self> {
        let failed = |e| driver("reserving page-locked memory", e);
        context.bind_to_thread().map_err(failed)?;
        let copied = context.new_event(None).map_err(failed)?;
        // SAFETY: the size is not zero; what is not initialised is written just below.
        let start = unsafe { result::malloc_host(len.max(1) * size_of::<T>(), 0) }.map_err(failed)?.cast::<T>();
        for i in 0..len {
            // SAFETY: within the reservation, which is aligned to a page.
            unsafe { start.add(i).write(T::default()) };
        }
        Ok(Self { start, len, copied })
    }

    /// The values, once the last copy out of them is done.
    pub fn values_mut(&mut self) -> Result<&mut [T]> {
        let failed = |e| driver("waiting for a copy to the GPU", e);
        if !self.copied.try_is_complete().map_err(failed)? {
            self.copied.synchronize().map_err(failed)?;
        }
        // SAFETY: `len` initialised values, and nothing else reads or writes them now.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.start, self.len) })
    }

    /// Starts a copy of the first `len` values to the address, behind what the stream has to do; does not wait for it.
    ///
    /// # Safety
    /// The device has room for them there.
    pub unsafe fn copy_to(&mut self, len: usize, to: u64, stream: &CudaStream) -> Result<()> {
        let failed = |e| driver("copying to the GPU", e);
        assert!(len <= self.len);
        stream.context().bind_to_thread().map_err(failed)?;
        // SAFETY: initialised, and not written before the event that is recorded below has passed.
        let from = unsafe { std::slice::from_raw_parts(self.start, len) };
        // SAFETY: the caller promises the room.
        unsafe { result::memcpy_htod_async(to, from, stream.cu_stream()) }.map_err(failed)?;
        self.copied.record(stream).map_err(failed)
    }
}

impl<T: Copy + Default> Drop for Pinned<T> {
    fn drop(&mut self) {
        // An error here was reported by an earlier call, or the driver is gone: nothing is left to do about it.
        let _ = self.copied.synchronize();
        // SAFETY: taken by `malloc_host`, given back once; no copy reads it any more.
        let _ = unsafe { result::free_host(self.start.cast()) };
    }
}
