//! Copying between two buffers far beyond the last-level cache.

use std::sync::Mutex;

/// Bytes of each buffer: eight times a 32 MiB cache.
const BYTES: usize = 256 << 20;

/// Two buffers.
pub struct Buffers {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Buffers {
    /// Buffers of full size, or small ones.
    pub fn new(quick: bool) -> Self {
        let bytes = if quick { 1 << 20 } else { BYTES };
        // not zeros: those are pages that all map to one, until they are written
        Self { from: vec![1; bytes], to: vec![2; bytes] }
    }

    /// Bytes of each buffer.
    pub fn bytes(&self) -> usize {
        self.from.len()
    }

    /// The buffers cut for so many threads.
    pub fn parts(&mut self, threads: usize) -> Parts<'_> {
        let len = self.from.len().div_ceil(threads);
        let Self { from, to } = self;
        Parts(from.chunks(len).zip(to.chunks_mut(len)).map(Mutex::new).collect())
    }
}

/// A part of both buffers for each thread; the locks are never waited for.
pub struct Parts<'a>(Vec<Mutex<(&'a [u8], &'a mut [u8])>>);

impl Parts<'_> {
    /// Copies one thread's part.
    pub fn copy(&self, thread: usize) {
        // rounding up may leave the last thread without a part
        let Some(part) = self.0.get(thread) else { return };
        let (from, to) = &mut *part.lock().expect("no copy panics");
        to.copy_from_slice(from);
        std::hint::black_box(to);
    }
}
