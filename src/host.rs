//! Host memory for the devices that compute on the CPU: one aligned region, carved into buffers.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::memory::ALIGN_BYTES;
use crate::operands::HOPELESS;
use crate::tensor::{Real, Tensor};

/// Bytes that the system could give to a program without swapping, which Linux tells.
pub fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// One zeroed reservation of host memory; alive as long as any of its buffers.
pub struct HostRegion<T>(Arc<Block<T>>);

struct Block<T> {
    start: NonNull<T>,
    layout: Layout,
    len: usize,
}

// SAFETY: a block is plain memory; who may touch which part is decided by the buffers, which do not overlap.
unsafe impl<T: Send> Send for Block<T> {}
// SAFETY: as above; a shared block hands out nothing.
unsafe impl<T: Sync> Sync for Block<T> {}

impl<T> Drop for Block<T> {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc_zeroed` with this layout and is freed once, here.
        unsafe { dealloc(self.start.as_ptr().cast(), self.layout) }
    }
}

impl<T: Real> HostRegion<T> {
    /// Reserves `len` zeros.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the system refuses.
    pub fn new(len: usize) -> Result<Self> {
        let bytes = len.max(1).saturating_mul(size_of::<T>());
        let refused = || Error::OutOfMemory { bytes: bytes as u64 };
        let layout = Layout::from_size_align(bytes, ALIGN_BYTES).map_err(|_| refused())?;
        // SAFETY: the layout's size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }.cast()).ok_or_else(refused)?;
        Ok(Self(Arc::new(Block { start, layout, len })))
    }

    /// A part of the region.
    ///
    /// # Safety
    /// The range lies within the region and overlaps no other buffer carved from it.
    pub unsafe fn carve(&self, offset: usize, len: usize) -> HostBuffer<T> {
        debug_assert!(offset + len <= self.0.len);
        // SAFETY: the caller promises that the offset lies within the block.
        let start = unsafe { self.0.start.add(offset) };
        HostBuffer { start, len, _block: self.0.clone() }
    }
}

/// A part of a region, used as a slice.
pub struct HostBuffer<T> {
    start: NonNull<T>,
    len: usize,
    _block: Arc<Block<T>>,
}

// SAFETY: a buffer is the only owner of its range, as a `Box<[T]>` would be.
unsafe impl<T: Send> Send for HostBuffer<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for HostBuffer<T> {}

impl<T> Deref for HostBuffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the range lies within a live block of initialised (zeroed) plain numbers, and is this buffer's alone.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for HostBuffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `&mut self` makes it exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

/// Tensors of the devices that compute on the host.
impl<T: Real> Tensor<HostBuffer<T>> {
    /// The tensor's elements.
    pub(crate) fn values(&self) -> &[T] {
        &self.buffer[..self.shape().len()]
    }

    /// The tensor's elements, to be written.
    pub(crate) fn values_mut(&mut self) -> &mut [T] {
        let len = self.shape().len();
        &mut self.buffer[..len]
    }
}

/// [`crate::device::Feed::record_step`] in the host's memory.
pub(crate) fn record_step<T: Real>(
    outcome: &[T],
    distance: Option<&[T]>,
    always: bool,
    results: &mut [T],
    step: &mut [T],
) {
    let (rows, _) = results.as_chunks_mut::<4>();
    let at = step[0].to_f64() as usize % rows.len();
    let none = [T::default(); 2];
    let distance = distance.unwrap_or(&none);
    rows[at] = [outcome[0], outcome[1], distance[0], distance[1]];
    if always || outcome[0].to_f64().is_finite() {
        step[0] = T::from_f64(step[0].to_f64() + 1.0);
    }
}

/// [`crate::device::Coding::judge`] in the host's memory.
pub(crate) fn judge<T: Real>(errors: &[T], verdict: &mut T) {
    let [moved, _, left, norm] = [0, 1, 2, 3].map(|k| errors[k].to_f64());
    let finite = errors.iter().all(|sum| sum.to_f64().is_finite());
    let hopeless = left > HOPELESS[0] * norm || (left > moved && left > HOPELESS[1] * norm);
    if !finite || hopeless {
        *verdict = T::from_f64(f64::NAN);
    }
}

/// The right answer of an image from its one number or its three: the class, the other's, and the other's share, which is 0 of an image that
/// is no mixture. See [`crate::device::Head::softmax_cross_entropy`].
pub(crate) fn label_of<R: Real>(label: &[R]) -> (usize, usize, f64) {
    let [class, other, share] = match *label {
        [class, other, share] => [class, other, share],
        _ => [label[0], label[0], R::default()],
    };
    (class.to_f64() as usize, other.to_f64() as usize, share.to_f64())
}

/// Writes the right answer of an image, of which `label` has room for one number or for three: see
/// [`crate::device::Head::softmax_cross_entropy`].
pub fn put_label<R: Real>((class, other, share): (u16, u16, f32), label: &mut [R]) {
    let numbers = [f64::from(class), f64::from(other), f64::from(share)];
    label.iter_mut().zip(numbers).for_each(|(to, number)| *to = R::from_f64(number));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_disjoint_aligned_and_outlive_the_region() {
        let region = HostRegion::<f32>::new(48).expect("48 floats");
        // SAFETY: the two ranges lie within 48 elements and do not overlap.
        let (mut a, mut b) = unsafe { (region.carve(0, 16), region.carve(16, 32)) };
        drop(region);
        a.fill(1.0);
        b.fill(2.0);
        assert_eq!(a.as_ptr() as usize % ALIGN_BYTES, 0);
        assert!(a.iter().all(|v| *v == 1.0) && b.iter().all(|v| *v == 2.0));
    }
}
