//! Which 32-byte sectors of global memory a request touches, and which a launch has touched at all.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::{AccessKind, SECTOR};
use crate::lanes::WARP;

/// Sectors of a chunk of 32 KiB: what one entry of the table covers.
const CHUNK_SECTORS: u64 = 1024;
const CHUNK_WORDS: usize = (CHUNK_SECTORS / 64) as usize;
/// Chunks whose place is remembered without asking the table.
const RECENT: usize = 256;
const NO_CHUNK: u64 = u64::MAX;

/// 64 sectors, a bit each.
#[derive(Debug, Clone, Copy, Default)]
struct Word {
    loaded: u64,
    stored: u64,
    /// Touched by request number `request`.
    now: u64,
    request: u64,
}

/// Chunk numbers are spread well enough by one multiplication; the default hasher costs as much as all the rest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Multiply(u64);

impl Hasher for Multiply {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0.rotate_left(8) ^ u64::from(byte));
        }
    }

    fn write_u32(&mut self, key: u32) {
        self.write_u64(self.0.rotate_left(8) ^ u64::from(key));
    }

    fn write_isize(&mut self, key: isize) {
        self.write_u64(self.0.rotate_left(8) ^ key as u64);
    }

    fn write_u64(&mut self, key: u64) {
        // The odd number closest to 2^64 over the golden ratio; the table takes its bits from both ends.
        let product = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ product >> 32;
    }
}

/// How many sectors were touched at least once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unique {
    pub loaded: u64,
    pub stored: u64,
    pub either: u64,
}

/// The sectors that a launch has touched so far.
#[derive(Debug, Clone)]
pub(super) struct Sectors {
    /// [`CHUNK_WORDS`] to a chunk.
    words: Vec<Word>,
    /// Index of a chunk's first word, by number of the chunk.
    chunks: HashMap<u64, u32, BuildHasherDefault<Multiply>>,
    recent: Box<[(u64, u32); RECENT]>,
    /// The number of the request at hand, from 1.
    request: u64,
}

impl Default for Sectors {
    fn default() -> Sectors {
        Sectors { words: Vec::new(), chunks: HashMap::default(), recent: Box::new([(NO_CHUNK, 0); RECENT]), request: 0 }
    }
}

/// Bits to set in a word's `loaded` and `stored`.
#[derive(Clone, Copy)]
struct Marks {
    load: u64,
    store: u64,
}

impl Marks {
    const fn of(kind: AccessKind) -> Marks {
        match kind {
            AccessKind::Load => Marks { load: u64::MAX, store: 0 },
            AccessKind::Store => Marks { load: 0, store: u64::MAX },
            AccessKind::Atomic => Marks { load: u64::MAX, store: u64::MAX },
        }
    }
}

impl Sectors {
    /// Marks what the lanes of `mask` touch and tells how many different sectors that are. At least one lane and byte.
    #[inline(always)]
    pub fn touch(&mut self, kind: AccessKind, addresses: &[u64; WARP], mask: u32, bytes: u32) -> u64 {
        let marks = Marks::of(kind);
        let base = addresses[0];
        if mask == u32::MAX {
            let step = addresses[1].wrapping_sub(base);
            if (step == 0 || step == u64::from(bytes)) && regular(addresses, step) {
                let last = base.saturating_add(step * (WARP as u64 - 1)).saturating_add(u64::from(bytes) - 1);
                return self.range(marks, base / SECTOR, last / SECTOR);
            }
        }
        self.scattered(marks, addresses, mask, u64::from(bytes))
    }

    /// The sectors from `first` to `last`.
    #[inline]
    fn range(&mut self, marks: Marks, first: u64, last: u64) -> u64 {
        let mut at = first;
        loop {
            let end = last.min(at | 63);
            let bits = u64::MAX >> (63 - (end - at)) << (at % 64);
            let index = self.word(at);
            let word = &mut self.words[index];
            word.loaded |= bits & marks.load;
            word.stored |= bits & marks.store;
            if end == last {
                return last - first + 1;
            }
            at = end + 1;
        }
    }

    /// Lanes anywhere: each sets its bit in `now`, and those that this request had not set before count.
    #[inline(never)]
    fn scattered(&mut self, marks: Marks, addresses: &[u64; WARP], mask: u32, bytes: u64) -> u64 {
        self.request += 1;
        let mut different = 0;
        let (mut here, mut chunk, mut chunk_first) = (u64::MAX, NO_CHUNK, 0);
        let mut left = mask;
        while left != 0 {
            let address = addresses[left.trailing_zeros() as usize];
            left &= left - 1;
            let (first, last) = (address / SECTOR, address.saturating_add(bytes - 1) / SECTOR);
            if first != last {
                different += self.straddling(marks, first, last);
            } else if first != here {
                here = first;
                if first / CHUNK_SECTORS != chunk {
                    chunk = first / CHUNK_SECTORS;
                    chunk_first = self.first_word(chunk);
                }
                let index = chunk_first + (first / 64) as usize % CHUNK_WORDS;
                different += self.words[index].touch(marks, 1 << (first % 64), self.request);
            }
        }
        different
    }

    /// An access over several sectors: aligned ones are none of these, as they are no larger than a sector.
    #[cold]
    fn straddling(&mut self, marks: Marks, first: u64, last: u64) -> u64 {
        let mut different = 0;
        for sector in first..=last {
            let index = self.word(sector);
            different += self.words[index].touch(marks, 1 << (sector % 64), self.request);
        }
        different
    }

    /// The index of the word that holds a sector's bit.
    #[inline(always)]
    fn word(&mut self, sector: u64) -> usize {
        self.first_word(sector / CHUNK_SECTORS) + (sector / 64) as usize % CHUNK_WORDS
    }

    #[inline(always)]
    fn first_word(&mut self, chunk: u64) -> usize {
        let (known, first) = self.recent[chunk as usize % RECENT];
        if known == chunk { first as usize } else { self.find(chunk) as usize }
    }

    #[cold]
    fn find(&mut self, chunk: u64) -> u32 {
        let words = &mut self.words;
        let first = *self.chunks.entry(chunk).or_insert_with(|| {
            let first = words.len();
            words.resize(first + CHUNK_WORDS, Word::default());
            first as u32
        });
        self.recent[chunk as usize % RECENT] = (chunk, first);
        first
    }

    /// Adds what another thread touched.
    pub fn merge(&mut self, other: &Sectors) {
        for (&chunk, &from) in &other.chunks {
            let first = self.find(chunk) as usize;
            let from = from as usize;
            let more = &other.words[from..from + CHUNK_WORDS];
            for (word, more) in self.words[first..first + CHUNK_WORDS].iter_mut().zip(more) {
                word.loaded |= more.loaded;
                word.stored |= more.stored;
            }
        }
    }

    pub fn unique(&self) -> Unique {
        let count = |bits: fn(&Word) -> u64| self.words.iter().map(|w| u64::from(bits(w).count_ones())).sum();
        Unique { loaded: count(|w| w.loaded), stored: count(|w| w.stored), either: count(|w| w.loaded | w.stored) }
    }
}

impl Word {
    /// Sets one bit; 1 if the request at hand had not touched it before.
    #[inline(always)]
    fn touch(&mut self, marks: Marks, bit: u64, request: u64) -> u64 {
        let now = if self.request == request { self.now } else { 0 };
        let fresh = u64::from(now & bit == 0);
        self.now = now | bit;
        self.request = request;
        self.loaded |= bit & marks.load;
        self.stored |= bit & marks.store;
        fresh
    }
}

/// Whether every address is `step` past the one before; without branches, for SIMD.
#[inline(always)]
pub(crate) fn regular(addresses: &[u64; WARP], step: u64) -> bool {
    let mut differences = 0;
    let mut expected = addresses[0];
    for &address in addresses {
        differences |= address ^ expected;
        expected = expected.wrapping_add(step);
    }
    differences == 0
}
