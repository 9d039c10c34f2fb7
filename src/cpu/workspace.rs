//! How an operation divides the batch and its workspace.
//!
//! The batch is cut into groups of images by its size alone; partial sums are kept a group each and merged in the groups'
//! order, so the results are the same bits for any number of threads. What holds no result (the padded copy of one image)
//! is kept a thread each, where it stays in the cache.

use std::marker::PhantomData;

use super::simd::MAX_LANES;

/// Most groups of a batch: enough to keep 64 threads busy, few enough that merging costs nothing.
const MOST_GROUPS: usize = 64;

/// Images that share one pass over the weights, which lie in the second-level cache.
const GROUP: usize = 4;
/// Groups that a small batch is cut into rather than into larger ones.
const FEWEST_GROUPS: usize = 8;

/// A batch cut into groups of neighbouring images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Images of a group; the last group may have fewer.
    pub size: usize,
    /// Number of groups.
    pub count: usize,
}

impl Groups {
    /// At most `most` groups of `images`; of [`GROUP`] images at least, as long as that leaves [`FEWEST_GROUPS`].
    fn at_most(most: usize, images: usize) -> Self {
        let size = images.div_ceil(most).max(GROUP.min(images.div_ceil(FEWEST_GROUPS))).max(1);
        Self { size, count: images.div_ceil(size) }
    }

    /// For passes whose partial sums are a few numbers per channel.
    pub fn new(images: usize) -> Self {
        Self::at_most(MOST_GROUPS, images)
    }

    /// At least the number of groups of any batch up to `images`, which the number for `images` itself is not (65 images
    /// make 33 groups): what workspace is sized by, so that it also serves the last, smaller batch of an epoch.
    pub fn bound(images: usize) -> usize {
        images.min(MOST_GROUPS)
    }

    /// For passes whose partial sums are gradients of `weights` elements, with maps of `map` elements: at least 16 groups,
    /// more where all partial sums together take no more than half a map.
    pub fn for_weights(images: usize, map: usize, weights: usize) -> Self {
        Self::at_most(Self::most_for_weights(map, weights), images)
    }

    /// [`Groups::bound`] for [`Groups::for_weights`].
    pub fn bound_for_weights(images: usize, map: usize, weights: usize) -> usize {
        images.min(Self::most_for_weights(map, weights))
    }

    // Grows with the batch, as a bound for smaller batches must.
    fn most_for_weights(map: usize, weights: usize) -> usize {
        (map / (2 * weights).max(1)).clamp(16, MOST_GROUPS)
    }

    /// Images of group `g` of a batch of `images`.
    pub fn images_of(self, g: usize, images: usize) -> usize {
        self.size.min(images - g * self.size)
    }
}

/// Elements that [`Carver::take`] uses up for `len`.
pub const fn carved(len: usize) -> usize {
    len.next_multiple_of(MAX_LANES)
}

/// Hands out a workspace from front to back, each part starting on a full vector.
pub struct Carver<'a>(&'a mut [f32]);

impl<'a> Carver<'a> {
    /// Over the whole workspace.
    pub fn new(workspace: &'a mut [f32]) -> Self {
        Self(workspace)
    }

    /// The next `len` elements; their content is whatever an earlier operation left.
    ///
    /// # Panics
    /// If the workspace is used up, which is a bug in the size that the caller was told.
    pub fn take(&mut self, len: usize) -> &'a mut [f32] {
        let rest = std::mem::take(&mut self.0);
        assert!(carved(len) <= rest.len(), "workspace too small: {} elements left, {len} needed", rest.len());
        let (part, rest) = rest.split_at_mut(carved(len));
        self.0 = rest;
        &mut part[..len]
    }

    /// The next `threads` parts of `len` elements each, one for each thread of the pool.
    pub fn take_per_thread(&mut self, threads: usize, len: usize) -> PerThread<'a> {
        let all = self.take(threads * carved(len));
        PerThread { start: all.as_mut_ptr(), threads, len, of: PhantomData }
    }
}

/// One slice for each thread of a pool.
pub struct PerThread<'a> {
    start: *mut f32,
    threads: usize,
    len: usize,
    of: PhantomData<&'a mut [f32]>,
}

// SAFETY: each thread touches its own slice only, see `get`.
unsafe impl Sync for PerThread<'_> {}

impl PerThread<'_> {
    /// The calling thread's slice.
    ///
    /// # Safety
    /// The caller runs in the pool that the slices were counted for, lets go of the slice before it asks again, and calls
    /// nothing of rayon's while it holds the slice (a thread that waits inside rayon may start another task).
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn get(&self) -> &mut [f32] {
        let thread = rayon::current_thread_index().unwrap_or(usize::MAX);
        assert!(thread < self.threads, "called outside the device's pool");
        // SAFETY: the slices are disjoint, `thread` is below their number, and no other reference to this one exists: only
        // this thread asks for it, and the caller promises to hold one at a time.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(thread * carved(self.len)), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_cover_the_batch_and_never_exceed_the_bound_of_a_larger_one() {
        for images in 1..400 {
            let groups = Groups::new(images);
            assert_eq!((0..groups.count).map(|g| groups.images_of(g, images)).sum::<usize>(), images);
            assert!((images..400).all(|larger| groups.count <= Groups::bound(larger)));
            let groups = Groups::for_weights(images, 50 * images, 100);
            assert!((images..400).all(|larger| groups.count <= Groups::bound_for_weights(larger, 50 * larger, 100)));
        }
    }

    #[test]
    fn parts_of_a_workspace_start_on_full_vectors() {
        let mut memory = vec![0.0; carved(3) + carved(17)];
        let mut carver = Carver::new(&mut memory);
        assert_eq!((carver.take(3).len(), carver.take(17).len(), carver.0.len()), (3, 17, 0));
    }
}
