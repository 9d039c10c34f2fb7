//! Global memory: a table of allocations. Each has addresses of its own with a wide gap behind it, and addresses are
//! never handed out twice, so that an access out of bounds or after a free is always seen.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::cells::Cells;

/// Every allocation starts at a multiple of this, as the driver's do.
const ALIGN: u64 = 512;
/// Unused addresses behind each allocation, at least.
const GAP: u64 = 1 << 20;
const FIRST: u64 = 0x7_0000_0000;
/// Addresses of host memory registered with the device are those of the host, which lie below.
const LAST: u64 = 0x7000_0000_0000_0000;
/// Freed allocations that reports can still name.
const REMEMBERED: usize = 4096;

/// What an allocation is, for reports and for how it may be freed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `cuMemAlloc`
    Plain,
    /// `cuMemAllocAsync`
    Pool,
    /// Page-locked host memory.
    Host,
    /// A variable of a module.
    Variable(String),
    /// A constant variable of a module: kernels may not write it.
    Constant(String),
}

/// A piece of global memory.
#[derive(Debug)]
pub struct Allocation {
    /// Number in order of allocation, from 1.
    pub serial: u64,
    /// First address.
    pub base: u64,
    /// Size.
    pub bytes: u64,
    /// What it is.
    pub origin: Origin,
    /// Its contents.
    pub cells: Cells,
    // One byte for each byte: written yet? `None` where nobody asks, or where all is written from the start.
    written: Option<Cells>,
    all_written: AtomicBool,
}

impl Allocation {
    /// Notes that bytes have been written.
    #[inline(always)]
    pub fn mark(&self, at: usize, bytes: usize) {
        if let Some(written) = &self.written
            && !self.all_written.load(Relaxed)
        {
            match bytes {
                4 => written.store32(at, 0x0101_0101),
                8 => written.store64(at, 0x0101_0101_0101_0101),
                _ if at == 0 && bytes as u64 == self.bytes => self.all_written.store(true, Relaxed),
                _ => written.fill(at, bytes, 1),
            }
        }
    }

    /// The first byte of a range that nobody has written yet.
    #[inline(always)]
    pub fn unwritten(&self, at: usize, bytes: usize) -> Option<usize> {
        let written = self.written.as_ref()?;
        if self.all_written.load(Relaxed) {
            return None;
        }
        match bytes {
            4 if written.load32(at) == 0x0101_0101 => None,
            _ if at.is_multiple_of(8)
                && bytes.is_multiple_of(8)
                && (at..at + bytes).step_by(8).all(|word| written.load64(word) == 0x0101_0101_0101_0101) =>
            {
                None
            }
            _ => (at..at + bytes).find(|&i| written.load8(i) == 0),
        }
    }

    /// Whether some bytes may still be unwritten.
    #[inline(always)]
    pub fn may_be_unwritten(&self) -> bool {
        self.written.is_some() && !self.all_written.load(Relaxed)
    }

    /// As a reader of a report wants it.
    pub fn describe(&self) -> String {
        let what = match &self.origin {
            Origin::Plain => "allocated by cuMemAlloc".into(),
            Origin::Pool => "allocated by cuMemAllocAsync".into(),
            Origin::Host => "page-locked host memory".into(),
            Origin::Variable(name) => format!("variable `{name}`"),
            Origin::Constant(name) => format!("constant `{name}`"),
        };
        format!("allocation {} of {} bytes at {:#x} ({what})", self.serial, self.bytes, self.base)
    }
}

/// Why memory cannot be had, freed or reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The device is full.
    #[error("{asked} bytes asked and {free} of {total} free")]
    Full {
        /// Bytes asked.
        asked: u64,
        /// Bytes free.
        free: u64,
        /// Bytes of the device.
        total: u64,
    },
    /// Not the first address of an allocation.
    #[error("{0:#x} is not the start of an allocation")]
    NotAllocated(u64),
    /// A range that no allocation holds; the text says what lies there.
    #[error("{bytes} bytes at {address:#x}: {found}")]
    OutOfBounds {
        /// First byte.
        address: u64,
        /// Bytes asked.
        bytes: u64,
        /// The nearest allocation, or the freed one that was there.
        found: String,
    },
}

/// The table.
#[derive(Debug)]
pub struct GlobalMemory {
    // By address.
    live: Vec<Allocation>,
    freed: VecDeque<(u64, u64, String)>,
    next: u64,
    serial: u64,
    total: u64,
    used: u64,
    tracks_writes: bool,
}

impl GlobalMemory {
    /// A device of so many bytes; `tracks_writes` to find reads of bytes that nobody wrote.
    pub fn new(total: u64, tracks_writes: bool) -> GlobalMemory {
        GlobalMemory { live: Vec::new(), freed: VecDeque::new(), next: FIRST, serial: 0, total, used: 0, tracks_writes }
    }

    /// Bytes of the device.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes free.
    pub fn free_bytes(&self) -> u64 {
        self.total - self.used
    }

    /// Allocates; the contents are unwritten.
    ///
    /// # Errors
    /// [`MemoryError::Full`].
    pub fn allocate(&mut self, bytes: u64, origin: Origin) -> Result<u64, MemoryError> {
        let full = MemoryError::Full { asked: bytes, free: self.free_bytes(), total: self.total };
        let base = self.next;
        let end = base.checked_add(bytes).filter(|&end| end < LAST);
        let (Some(end), true) = (end, bytes <= self.free_bytes()) else { return Err(full) };
        let size = usize::try_from(bytes).map_err(|_| full.clone())?;
        let cells = Cells::zeroed(size).ok_or(full.clone())?;
        // The driver zeroes a module's variables or fills them before any kernel runs.
        let written = match &origin {
            Origin::Variable(_) | Origin::Constant(_) => None,
            _ if self.tracks_writes => Some(Cells::zeroed(size).ok_or(full)?),
            _ => None,
        };
        self.next = (end + GAP).next_multiple_of(ALIGN);
        self.insert(base, bytes, origin, cells, written);
        self.used += bytes;
        Ok(base)
    }

    /// Makes host memory reachable at its own address; it counts as written and takes nothing of the device.
    ///
    /// # Safety
    /// It stays allocated until [`GlobalMemory::release`].
    #[allow(unsafe_code)]
    pub unsafe fn register(&mut self, start: *mut u8, bytes: usize) -> u64 {
        // SAFETY: the caller promises it.
        let cells = unsafe { Cells::external(start, bytes) };
        self.insert(start as u64, bytes as u64, Origin::Host, cells, None);
        start as u64
    }

    fn insert(&mut self, base: u64, bytes: u64, origin: Origin, cells: Cells, written: Option<Cells>) {
        self.serial += 1;
        let place = self.live.partition_point(|a| a.base < base);
        let all_written = AtomicBool::new(false);
        self.live.insert(place, Allocation { serial: self.serial, base, bytes, origin, cells, written, all_written });
    }

    /// Frees the allocation that starts here.
    ///
    /// # Errors
    /// [`MemoryError::NotAllocated`].
    pub fn release(&mut self, base: u64) -> Result<Allocation, MemoryError> {
        let at = self.live.binary_search_by_key(&base, |a| a.base).map_err(|_| MemoryError::NotAllocated(base))?;
        let old = self.live.remove(at);
        if old.origin != Origin::Host {
            self.used -= old.bytes;
        }
        if self.freed.len() == REMEMBERED {
            self.freed.pop_front();
        }
        self.freed.push_back((old.base, old.base + old.bytes, old.describe()));
        Ok(old)
    }

    /// The allocation that holds this address.
    #[inline]
    pub fn holding(&self, address: u64) -> Option<&Allocation> {
        let after = self.live.partition_point(|a| a.base <= address);
        let found = self.live[..after].last()?;
        (address - found.base < found.bytes).then_some(found)
    }

    /// The allocation that holds the whole range, and the offset within it.
    ///
    /// # Errors
    /// [`MemoryError::OutOfBounds`]
    pub fn range(&self, address: u64, bytes: u64) -> Result<(&Allocation, usize), MemoryError> {
        match self.holding(address) {
            Some(found) if bytes <= found.bytes - (address - found.base) => {
                Ok((found, (address - found.base) as usize))
            }
            _ => Err(MemoryError::OutOfBounds { address, bytes, found: self.neighbourhood(address) }),
        }
    }

    /// What lies at or near an address that cannot be accessed.
    pub fn neighbourhood(&self, address: u64) -> String {
        if let Some(found) = self.holding(address) {
            return format!("runs over the end of {}", found.describe());
        }
        if let Some((.., text)) = self.freed.iter().rev().find(|(base, end, _)| (*base..*end).contains(&address)) {
            return format!("lies in freed memory: {text}");
        }
        let after = self.live.partition_point(|a| a.base <= address);
        let below = self.live[..after].last().map(|a| (address - (a.base + a.bytes) + 1, "after", a));
        let above = self.live.get(after).map(|a| (a.base - address, "before", a));
        match below.into_iter().chain(above).min_by_key(|(distance, ..)| *distance) {
            Some((distance, side, a)) if distance < GAP => {
                format!("lies {distance} bytes {side} {}", a.describe())
            }
            _ => "lies in no allocation".into(),
        }
    }

    /// Copies from the device.
    ///
    /// # Errors
    /// [`MemoryError::OutOfBounds`]
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryError> {
        let (from, at) = self.range(address, out.len() as u64)?;
        from.cells.read(at, out);
        Ok(())
    }

    /// Copies to the device.
    ///
    /// # Errors
    /// [`MemoryError::OutOfBounds`]
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        let (to, at) = self.range(address, bytes.len() as u64)?;
        to.cells.write(at, bytes);
        to.mark(at, bytes.len());
        Ok(())
    }

    /// Sets memory to a repeated pattern of 1, 2 or 4 bytes.
    ///
    /// # Errors
    /// [`MemoryError::OutOfBounds`]
    pub fn fill(&self, address: u64, pattern: &[u8], count: u64) -> Result<(), MemoryError> {
        let bytes = count.saturating_mul(pattern.len() as u64);
        let (to, at) = self.range(address, bytes)?;
        if pattern.iter().all(|&b| b == pattern[0]) {
            to.cells.fill(at, bytes as usize, pattern[0]);
        } else {
            (0..count as usize).for_each(|i| to.cells.write(at + i * pattern.len(), pattern));
        }
        to.mark(at, bytes as usize);
        Ok(())
    }

    /// Copies within the device; bytes not written yet stay so.
    ///
    /// # Errors
    /// [`MemoryError::OutOfBounds`]
    pub fn copy(&self, to: u64, from: u64, bytes: u64) -> Result<(), MemoryError> {
        let (source, at) = self.range(from, bytes)?;
        let mut data = vec![0; bytes as usize];
        source.cells.read(at, &mut data);
        let (target, place) = self.range(to, bytes)?;
        target.cells.write(place, &data);
        if source.unwritten(at, bytes as usize).is_none() {
            target.mark(place, bytes as usize);
        } else if let (Some(known), Some(noted)) = (&source.written, &target.written) {
            known.read(at, &mut data);
            noted.write(place, &data);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_never_used_twice_and_gaps_are_seen() {
        let mut memory = GlobalMemory::new(1 << 20, true);
        let a = memory.allocate(100, Origin::Plain).unwrap();
        let b = memory.allocate(100, Origin::Pool).unwrap();
        assert!(b >= a + GAP && b.is_multiple_of(ALIGN));
        memory.write(a, &[1; 100]).unwrap();
        let past = memory.write(a + 97, &[1; 4]).unwrap_err().to_string();
        assert!(past.contains("runs over the end of allocation 1 of 100 bytes"), "{past}");
        let gap = memory.read(a + 100, &mut [0]).unwrap_err().to_string();
        assert!(gap.contains("lies 1 bytes after allocation 1"), "{gap}");
        memory.release(a).unwrap();
        let freed = memory.read(a + 5, &mut [0]).unwrap_err().to_string();
        assert!(freed.contains("freed memory: allocation 1"), "{freed}");
        assert!(memory.allocate(100, Origin::Plain).unwrap() > b);
        assert_eq!(memory.free_bytes(), (1 << 20) - 200);
        assert!(matches!(memory.allocate(1 << 20, Origin::Plain), Err(MemoryError::Full { .. })));
        assert_eq!(memory.release(a + 1).unwrap_err(), MemoryError::NotAllocated(a + 1));
    }

    #[test]
    fn unwritten_bytes_are_known_and_copied_as_such() {
        let mut memory = GlobalMemory::new(1 << 20, true);
        let a = memory.allocate(16, Origin::Plain).unwrap();
        let b = memory.allocate(16, Origin::Plain).unwrap();
        memory.write(a + 4, &[7; 5]).unwrap();
        memory.copy(b, a, 16).unwrap();
        for base in [a, b] {
            let (found, _) = memory.range(base, 16).unwrap();
            assert_eq!(found.unwritten(4, 4), None);
            assert_eq!(found.unwritten(4, 5), None);
            assert_eq!(found.unwritten(8, 4), Some(9));
            assert_eq!(found.unwritten(0, 8), Some(0));
        }
        memory.fill(b, &[1, 2], 8).unwrap();
        assert_eq!(memory.range(b, 16).unwrap().0.unwritten(0, 16), None);
        let mut out = [0; 16];
        memory.read(b, &mut out).unwrap();
        assert_eq!(out, [1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2]);
    }
}
