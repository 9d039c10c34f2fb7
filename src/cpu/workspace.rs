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

/// Groups of a pass that sums gradients of weights, as long as their sums have no more elements than [`MOST_PARTIALS`].
const LEAST_FOR_WEIGHTS: usize = 16;
/// 32 MiB: the gradients of a 3x3 convolution over 241 channels for 16 groups.
const MOST_PARTIALS: usize = 8 << 20;

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

    /// For passes whose partial sums are gradients of `weights` elements, with maps of `map` elements: at least 16 groups, fewer where
    /// these would take more than [`MOST_PARTIALS`], and more where all partial sums together take no more than half a map.
    pub fn for_weights(images: usize, map: usize, weights: usize) -> Self {
        Self::at_most(Self::most_for_weights(map, weights), images)
    }

    /// [`Groups::bound`] for [`Groups::for_weights`].
    pub fn bound_for_weights(images: usize, map: usize, weights: usize) -> usize {
        images.min(Self::most_for_weights(map, weights))
    }

    // Grows with the batch, as a bound for smaller batches must.
    fn most_for_weights(map: usize, weights: usize) -> usize {
        let weights = weights.max(1);
        let least = (MOST_PARTIALS / weights).clamp(FEWEST_GROUPS, LEAST_FOR_WEIGHTS);
        (map / (2 * weights)).clamp(least, MOST_GROUPS)
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

    /// The next parts of `len` elements each, for `tasks` of which `threads` run at once: [`at_once`] of them.
    pub fn take_per_task(&mut self, threads: usize, tasks: usize, len: usize) -> PerTask<'a> {
        let count = at_once(threads, tasks);
        PerTask { parts: self.take_per_thread(count, len), one_each: tasks <= threads }
    }
}

/// Tasks that run at once.
pub fn at_once(threads: usize, tasks: usize) -> usize {
    threads.min(tasks)
}

/// One slice for each thread of a pool, or for each task where there are fewer of those.
pub struct PerTask<'a> {
    parts: PerThread<'a>,
    one_each: bool,
}

impl PerTask<'_> {
    /// The slice of task number `task` on the calling thread.
    ///
    /// # Safety
    /// As [`PerThread::get`]; and no two tasks that run at once have the same number.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn get(&self, task: usize) -> &mut [f32] {
        if self.one_each {
            // SAFETY: the task's own part, which it asks for once at a time: the caller's promise.
            unsafe { self.parts.part(task) }
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.parts.get() }
        }
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
        // SAFETY: only this thread asks for the part, and the caller promises to hold one at a time.
        unsafe { self.part(thread) }
    }

    /// Part number `i`.
    ///
    /// # Safety
    /// Nobody else holds it.
    #[allow(clippy::mut_from_ref)]
    unsafe fn part(&self, i: usize) -> &mut [f32] {
        assert!(i < self.threads, "called outside the device's pool");
        // SAFETY: the parts are disjoint, `i` is below their number, and no other reference to this one exists: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(i * carved(self.len)), self.len) }
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
