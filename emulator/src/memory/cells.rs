//! Bytes that several host threads may touch at once, as the blocks of a kernel do: every access is a relaxed atomic
//! one, so that a kernel with a data race gives some value and not undefined behaviour here.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

/// A piece of memory.
#[derive(Debug)]
pub struct Cells {
    start: *mut u8,
    bytes: usize,
    // Keeps owned memory alive; nothing reads it. Words, so that 8-byte accesses are aligned; vectors go in halves.
    _owned: Option<Vec<u64>>,
}

// SAFETY: all access goes through atomics; the memory is owned or promised by `external`'s caller.
#[allow(unsafe_code)]
unsafe impl Send for Cells {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Cells {}

macro_rules! access {
    ($($load:ident, $store:ident, $atomic:ident: $ty:ty, $cell:ty;)+) => {$(
        /// The value at a byte offset.
        ///
        /// # Panics
        /// Out of bounds or misaligned, which callers check first.
        #[inline(always)]
        pub fn $load(&self, at: usize) -> $ty {
            self.$atomic(at).load(Relaxed)
        }

        /// Stores a value at a byte offset.
        ///
        /// # Panics
        /// As above.
        #[inline(always)]
        pub fn $store(&self, at: usize, value: $ty) {
            self.$atomic(at).store(value, Relaxed);
        }

        /// The cell itself, for read-modify-write.
        ///
        /// # Panics
        /// As above.
        #[inline(always)]
        pub fn $atomic(&self, at: usize) -> &$cell {
            const BYTES: usize = size_of::<$ty>();
            let inside = self.bytes >= BYTES && at <= self.bytes - BYTES;
            assert!(inside && (self.start as usize + at).is_multiple_of(BYTES), "checked by the caller");
            #[allow(unsafe_code)]
            // SAFETY: in bounds and aligned by the line above, alive as long as self, and only accessed by atomics.
            unsafe {
                <$cell>::from_ptr(self.start.add(at).cast())
            }
        }
    )+};
}

impl Cells {
    /// Zeroed memory; pages are taken from the system when first touched. `None` if the system has none.
    pub fn zeroed(bytes: usize) -> Option<Cells> {
        let words = bytes.div_ceil(8).max(1);
        let layout = std::alloc::Layout::array::<u64>(words).ok()?;
        #[allow(unsafe_code)]
        // SAFETY: the layout is not empty; the vector takes over exactly this allocation, whose zeros are valid words.
        let mut owned = unsafe {
            let start = std::alloc::alloc_zeroed(layout).cast::<u64>();
            if start.is_null() {
                return None;
            }
            Vec::from_raw_parts(start, words, words)
        };
        Some(Cells { start: owned.as_mut_ptr().cast(), bytes, _owned: Some(owned) })
    }

    /// Memory of somebody else, such as a page-locked buffer of the host.
    ///
    /// # Safety
    /// It stays allocated as long as the cells are used.
    #[allow(unsafe_code)]
    pub unsafe fn external(start: *mut u8, bytes: usize) -> Cells {
        Cells { start, bytes, _owned: None }
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where it lies in the host's memory.
    pub fn start(&self) -> *mut u8 {
        self.start
    }

    access! {
        load8, store8, atomic8: u8, AtomicU8;
        load16, store16, atomic16: u16, AtomicU16;
        load32, store32, atomic32: u32, AtomicU32;
        load64, store64, atomic64: u64, AtomicU64;
    }

    /// 32 values at once.
    ///
    /// # Panics
    /// If any is out of bounds or misaligned.
    #[inline(always)]
    pub fn gather32<O: Copy + Into<u64>>(&self, offsets: &[O; 32]) -> [u32; 32] {
        self.check_row(offsets, 4, 4);
        let mut out = [0; 32];
        for lane in 0..32 {
            #[allow(unsafe_code)]
            // SAFETY: in bounds and aligned by the check above, alive as long as self, and only accessed by atomics.
            unsafe {
                let cell = self.start.add(offsets[lane].into() as usize).cast();
                out[lane] = AtomicU32::from_ptr(cell).load(Relaxed);
            }
        }
        out
    }

    /// `N` times two values that follow each other, at once for 32 places.
    ///
    /// # Panics
    /// If any is out of bounds or not aligned to 8 bytes.
    #[inline(always)]
    pub fn gather_pairs<O: Copy + Into<u64>, const N: usize>(&self, offsets: &[O; 32]) -> [[[u32; 32]; 2]; N] {
        self.check_row(offsets, 8 * N, 8);
        let mut out = [[[0; 32]; 2]; N];
        for lane in 0..32 {
            for (pair, rows) in out.iter_mut().enumerate() {
                #[allow(unsafe_code)]
                // SAFETY: as in `gather32`.
                let both = unsafe {
                    let cell = self.start.add(offsets[lane].into() as usize + 8 * pair).cast();
                    AtomicU64::from_ptr(cell).load(Relaxed)
                };
                // As two neighbours in memory.
                let [first, second]: [u32; 2] = bytemuck::cast(both);
                (rows[0][lane], rows[1][lane]) = (first, second);
            }
        }
        out
    }

    /// Stores where the mask says, the highest lane last.
    ///
    /// # Panics
    /// If any offset, of whatever lane, is out of bounds or misaligned.
    #[inline(always)]
    pub fn scatter32<O: Copy + Into<u64>>(&self, offsets: &[O; 32], values: &[u32; 32], mask: u32) {
        self.check_row(offsets, 4, 4);
        for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
            #[allow(unsafe_code)]
            // SAFETY: as in `gather32`.
            unsafe {
                let cell = self.start.add(offsets[lane].into() as usize).cast();
                AtomicU32::from_ptr(cell).store(values[lane], Relaxed);
            }
        }
    }

    /// The same with `N` times two values that follow each other.
    ///
    /// # Panics
    /// If any offset, of whatever lane, is out of bounds or not aligned to 8 bytes.
    #[inline(always)]
    pub fn scatter_pairs<O: Copy + Into<u64>, const N: usize>(
        &self,
        offsets: &[O; 32],
        values: [[&[u32; 32]; 2]; N],
        mask: u32,
    ) {
        self.check_row(offsets, 8 * N, 8);
        for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
            for (pair, [first, second]) in values.iter().enumerate() {
                let both: u64 = bytemuck::cast([first[lane], second[lane]]);
                #[allow(unsafe_code)]
                // SAFETY: as in `gather32`.
                unsafe {
                    let cell = self.start.add(offsets[lane].into() as usize + 8 * pair).cast();
                    AtomicU64::from_ptr(cell).store(both, Relaxed);
                }
            }
        }
    }

    #[inline(always)]
    fn check_row<O: Copy + Into<u64>>(&self, offsets: &[O; 32], bytes: usize, align: u64) {
        let (mut largest, mut low) = (0, 0);
        for &offset in offsets {
            largest = largest.max(offset.into());
            low |= (self.start as u64).wrapping_add(offset.into());
        }
        let inside = self.bytes >= bytes && largest <= (self.bytes - bytes) as u64;
        assert!(inside && low.is_multiple_of(align), "checked by the caller");
    }

    /// Bytes before the first whole aligned word of a range, and how many such words follow.
    fn words(&self, at: usize, bytes: usize) -> (usize, usize) {
        let head = (self.start as usize + at).next_multiple_of(8) - (self.start as usize + at);
        if head > bytes { (bytes, 0) } else { (head, (bytes - head) / 8) }
    }

    /// Copies bytes out.
    ///
    /// # Panics
    /// Out of bounds, which callers check first; also those below.
    pub fn read(&self, at: usize, out: &mut [u8]) {
        let (head, words) = self.words(at, out.len());
        let (before, rest) = out.split_at_mut(head);
        let (middle, after) = rest.split_at_mut(8 * words);
        before.iter_mut().enumerate().for_each(|(i, b)| *b = self.load8(at + i));
        let at = at + head;
        for (i, word) in middle.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *word = self.load64(at + 8 * i).to_ne_bytes();
        }
        after.iter_mut().enumerate().for_each(|(i, b)| *b = self.load8(at + 8 * words + i));
    }

    /// Copies bytes in.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        let (head, words) = self.words(at, bytes.len());
        let (before, rest) = bytes.split_at(head);
        let (middle, after) = rest.split_at(8 * words);
        before.iter().enumerate().for_each(|(i, &b)| self.store8(at + i, b));
        let at = at + head;
        for (i, &word) in middle.as_chunks::<8>().0.iter().enumerate() {
            self.store64(at + 8 * i, u64::from_ne_bytes(word));
        }
        after.iter().enumerate().for_each(|(i, &b)| self.store8(at + 8 * words + i, b));
    }

    /// Sets bytes.
    pub fn fill(&self, at: usize, bytes: usize, value: u8) {
        let (head, words) = self.words(at, bytes);
        (0..head).for_each(|i| self.store8(at + i, value));
        (0..words).for_each(|i| self.store64(at + head + 8 * i, u64::from_ne_bytes([value; 8])));
        (head + 8 * words..bytes).for_each(|i| self.store8(at + i, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_any_place_and_length_touch_their_bytes_alone() {
        for at in 0..17 {
            for bytes in 0..40 {
                let cells = Cells::zeroed(64).expect("64 bytes");
                let data: Vec<u8> = (1..=bytes as u8).collect();
                cells.write(at, &data);
                let mut all = [0; 64];
                cells.read(0, &mut all);
                let expected: Vec<u8> =
                    (0..64).map(|i| if i >= at && i < at + bytes { data[i - at] } else { 0 }).collect();
                assert_eq!(all[..], expected, "{bytes} bytes at {at}");
                let mut back = vec![0; bytes];
                cells.read(at, &mut back);
                assert_eq!(back, data);
                cells.fill(at, bytes, 0);
                cells.read(0, &mut all);
                assert_eq!(all, [0; 64]);
            }
        }
    }
}
