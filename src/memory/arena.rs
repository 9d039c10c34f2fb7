//! One reservation of memory, handed out tensor by tensor, and the dry run that says how large it has to be.

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

    /// Reserves `len` elements; of none, for a dry run, it takes next to nothing.
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
    /// None in a dry run, which only counts.
    capacity: Option<u64>,
    ledger: Bytes,
    /// Whether [`Arena::lend`] lends.
    lends: bool,
    /// Whether what is asked for is lent just now.
    lending: bool,
    /// Elements lent so far.
    lent: u64,
}

impl<'d, M: Memory> Arena<'d, M> {
    /// Reserves `bytes` on the device.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the machine refuses.
    pub fn new(device: &'d M, bytes: u64) -> Result<Self> {
        Self::reserved(device, Some(bytes))
    }

    fn reserved(device: &'d M, capacity: Option<u64>) -> Result<Self> {
        let len = capacity.unwrap_or(0).div_ceil(size_of::<M::Real>() as u64) as usize;
        let region = device.reserve(len)?;
        Ok(Self { device, region, used: 0, capacity, ledger: Bytes::default(), lends: false, lending: false, lent: 0 })
    }

    /// The device whose memory it is.
    pub fn device(&self) -> &'d M {
        self.device
    }

    /// The next tensor of the arena.
    ///
    /// # Errors
    /// [`Error::ArenaFull`] if there is no room for it: what is made in [`take`] takes other than it did in its dry run.
    pub fn tensor(&mut self, category: Category, shape: Shape) -> Result<Tensor<M::Buffer>> {
        if self.lending {
            self.lent += shape.len() as u64;
            // SAFETY: nothing overlaps a buffer of no elements.
            return Ok(Tensor::new(shape, unsafe { self.device.carve(&self.region, 0, 0) }));
        }
        let bytes = padded_bytes::<M::Real>(shape.len());
        let offset = self.used as usize / size_of::<M::Real>();
        self.used += bytes;
        let (offset, len) = match self.capacity {
            None => (0, 0),
            Some(capacity) if self.used > capacity => {
                return Err(Error::ArenaFull { category, asked: bytes, used: self.used - bytes, capacity });
            }
            Some(_) => (offset, shape.len()),
        };
        self.ledger.charge(category, bytes);
        // SAFETY: `used` only grows, by at least the buffer's length, so no two buffers of this region overlap; the range
        // ends within the region, checked above. Nothing overlaps a buffer of no elements.
        let buffer = unsafe { self.device.carve(&self.region, offset, len) };
        Ok(Tensor::new(shape, buffer))
    }

    /// What `make` makes, whose tensors hold nothing between two uses. While the arena [lends](Arena::lends) they get their
    /// shapes alone: their memory comes with their user's turn, see [`super::Turns`].
    ///
    /// # Errors
    /// Those of `make`.
    pub fn lend<T>(&mut self, make: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let before = std::mem::replace(&mut self.lending, self.lends);
        let made = make(self);
        self.lending = before;
        made
    }

    /// Says whether what is made from now on by [`Arena::lend`] takes turns.
    pub fn lends(&mut self, lends: bool) {
        self.lends = lends;
    }

    /// Elements that were lent.
    pub fn lent(&self) -> u64 {
        self.lent
    }

    /// What was taken so far.
    pub fn ledger(&self) -> &Bytes {
        &self.ledger
    }
}

/// The memory plan of what `make` makes: what it takes by category, from a dry run on an arena that only counts. The dry run's
/// tensors have their shapes and no memory behind them, so that a constructor may hand them on but run no operation on them.
///
/// # Errors
/// Those of `make`.
pub fn dry_run<M: Memory, T>(device: &M, make: impl FnOnce(&mut Arena<'_, M>) -> Result<T>) -> Result<Bytes> {
    let mut arena = Arena::reserved(device, None)?;
    make(&mut arena)?;
    Ok(arena.ledger)
}

/// What `make` makes, in a reservation of what its dry run took, and the ledger.
///
/// # Errors
/// Those of `make`, and [`Error::OutOfMemory`] if the machine has no room.
pub fn take<M: Memory, T>(device: &M, make: impl Fn(&mut Arena<'_, M>) -> Result<T>) -> Result<(T, Bytes)> {
    let mut arena = Arena::new(device, dry_run(device, &make)?.total())?;
    Ok((make(&mut arena)?, arena.ledger))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Reference;

    #[test]
    fn a_dry_run_counts_what_no_machine_has_and_takes_nothing() {
        let [rows, columns] = [1 << 20, 1 << 24];
        let planned = dry_run(&Reference, |arena| {
            let tensor = arena.tensor(Category::Saved, Shape([1, 1, rows, columns]))?;
            assert_eq!((tensor.shape().len(), tensor.buffer.len()), (rows * columns, 0));
            arena.tensor(Category::Data, Shape::vector(1))
        });
        let planned = planned.expect("a plan");
        assert_eq!((planned.of(Category::Saved), planned.of(Category::Data)), (1 << 47, 64));
    }

    #[test]
    fn what_is_made_fills_its_arena_and_what_takes_more_than_its_dry_run_is_refused() {
        let (tensors, ledger) = take(&Reference, |arena| {
            [3, 9]
                .into_iter()
                .map(|len| arena.tensor(Category::Scratch, Shape::vector(len)))
                .collect::<Result<Vec<_>>>()
        })
        .expect("room");
        assert_eq!(tensors.iter().map(|tensor| tensor.buffer.len()).collect::<Vec<_>>(), [3, 9]);
        assert_eq!(ledger.total(), 64 + 128);
        let runs = std::cell::Cell::new(0);
        let growing = take(&Reference, |arena| {
            runs.set(runs.get() + 1);
            arena.tensor(Category::Scratch, Shape::vector(8 * runs.get()))
        });
        assert!(matches!(growing.err(), Some(Error::ArenaFull { asked: 128, used: 0, capacity: 64, .. })));
    }
}
