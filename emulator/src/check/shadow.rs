//! The history of a stretch of memory: for each few bytes the last writer and up to two readers since.

use super::stamp::Tag;
use super::{Kind, WARP};

/// What orders an earlier access before a later one.
pub(super) trait Order<T> {
    /// Whether bytes must be written before they are read.
    const INITIALISED: bool;

    /// Whether `earlier` happens before `me`: none at all does, and so does all that the same thread did.
    fn before(&self, earlier: T, me: T) -> bool;
}

/// Why an access may not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conflict<T> {
    /// Reads what nobody wrote.
    Unwritten,
    /// Not ordered after this write.
    Write(T),
    /// Writes and is not ordered after this read.
    Read(T),
    /// Writes what this lane writes in the same instruction.
    Twice(T),
    /// Writes the value that this write left there.
    Same(T),
}

/// A conflict, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clash<T> {
    pub conflict: Conflict<T>,
    pub lane: u32,
    /// Of the bytes, from the start of the stretch.
    pub offset: u32,
}

/// A warp-wide access to a stretch of memory.
pub(super) struct RowAccess<'a, T> {
    pub kind: Kind,
    pub bytes: u32,
    pub mask: u32,
    pub offsets: &'a [u32; WARP],
    /// What lane 0 leaves behind.
    pub tag: T,
    /// Whether memory holds what a lane writes, asked only where that matters.
    pub held: &'a dyn Fn(u32) -> bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cell<T> {
    write: T,
    /// Reads that no access to these bytes is known to come after. Two suffice to find a writer that follows without a
    /// barrier, if they are of two warps where they can: the writer may have read as well.
    reads: [T; 2],
}

impl<T: Tag> Cell<T> {
    #[inline(always)]
    fn read<O: Order<T>>(&mut self, me: T, order: &O) -> Result<(), Conflict<T>> {
        // Not remembered: whether it matters depends on what becomes of the value.
        if O::INITIALISED && self.write.stamp().is_none() {
            return Err(Conflict::Unwritten);
        }
        if !order.before(self.write, me) && !both_strong(self.write, me) {
            return Err(Conflict::Write(self.write));
        }
        let [first, second] = self.reads;
        // What comes after this read comes after all that this read comes after.
        if order.before(first, me) {
            self.reads[0] = me;
        } else if (first.same_warp(second) && !me.same_warp(first)) || order.before(second, me) {
            self.reads[1] = me;
        }
        Ok(())
    }

    #[inline(always)]
    fn write<O: Order<T>>(&mut self, me: T, kind: Kind, order: &O) -> Result<(), Conflict<T>> {
        if O::INITIALISED && kind == Kind::Atomic && self.write.stamp().is_none() {
            return Err(Conflict::Unwritten);
        }
        if !order.before(self.write, me) && !both_strong(self.write, me) {
            return Err(Conflict::Write(self.write));
        }
        self.replace(me, order)
    }

    /// Writes behind the readers.
    fn replace<O: Order<T>>(&mut self, me: T, order: &O) -> Result<(), Conflict<T>> {
        for read in &mut self.reads {
            if order.before(*read, me) {
                *read = T::default();
            } else if !both_strong(*read, me) {
                return Err(Conflict::Read(*read));
            }
        }
        self.write = me;
        Ok(())
    }
}

#[inline(always)]
fn both_strong<T: Tag>(a: T, b: T) -> bool {
    let (one, other) = (a.stamp(), b.stamp());
    one.is_strong() && other.is_strong() || a.same_warp(b) && one.is_strong_in_warp() && other.is_strong_in_warp()
}

/// The history of a stretch of memory, in cells as small as the smallest access so far: an access always covers whole
/// cells, so neighbours of one and two bytes stay apart and words cost one cell.
#[derive(Debug)]
pub(super) struct Shadow<T> {
    cells: Box<[Cell<T>]>,
    shift: u32,
}

impl<T: Tag> Shadow<T> {
    /// Memory that nobody touched.
    pub fn new(bytes: usize) -> Shadow<T> {
        Shadow { cells: vec![Cell::default(); bytes.div_ceil(4)].into(), shift: 2 }
    }

    fn refine(&mut self, shift: u32) {
        let copies = 1 << (self.shift - shift);
        self.cells = self.cells.iter().flat_map(|&cell| std::iter::repeat_n(cell, copies)).collect();
        self.shift = shift;
    }

    #[inline(always)]
    fn range(&self, offset: u32, bytes: u32) -> std::ops::Range<usize> {
        let end = ((offset as usize + bytes as usize + (1 << self.shift) - 1) >> self.shift).min(self.cells.len());
        let start = (offset >> self.shift) as usize;
        start.min(end)..end
    }

    /// Checks a row and takes it into the history. [`Conflict::Unwritten`] of a read, [`Conflict::Twice`] and
    /// [`Conflict::Same`] come back only after the whole row was taken in, so that the caller may go on; any other
    /// conflict at once.
    pub fn access<O: Order<T>>(&mut self, row: &RowAccess<T>, order: &O) -> Result<(), Clash<T>> {
        if row.bytes < 1 << self.shift {
            self.refine(row.bytes.max(1).ilog2());
        }
        match row.kind {
            Kind::Read if let Some(cells) = self.consecutive(row) => {
                let mut unwritten = Ok(());
                for (lane, cell) in cells.iter_mut().enumerate() {
                    let me = row.tag.at(lane as u32);
                    match cell.read(me, order) {
                        Ok(()) => {}
                        Err(Conflict::Unwritten) => {
                            unwritten = unwritten.and(Err(row.clash(Conflict::Unwritten, lane)))
                        }
                        Err(conflict) => return Err(row.clash(conflict, lane)),
                    }
                }
                unwritten
            }
            // No two lanes write the same here.
            Kind::Write if let Some(cells) = self.consecutive(row) => {
                let mut same = Ok(());
                for (lane, cell) in cells.iter_mut().enumerate() {
                    let me = row.tag.at(lane as u32);
                    if let Err(conflict) = cell.write(me, Kind::Write, order) {
                        let told = row.forgiven(cell, conflict, me, order).map_err(|c| row.clash(c, lane))?;
                        same = same.and(Err(row.clash(told, lane)));
                    }
                }
                same
            }
            Kind::Read => self.read(row, order),
            Kind::Write | Kind::Atomic => self.write(row, order),
        }
    }

    /// The cells of a row without gaps, one for each of its 32 lanes: most rows are such.
    #[inline(always)]
    fn consecutive(&mut self, row: &RowAccess<T>) -> Option<&mut [Cell<T>; WARP]> {
        let first = row.offsets[0];
        let mut gap = row.mask ^ u32::MAX | row.bytes ^ 1 << self.shift;
        for (lane, offset) in row.offsets.iter().enumerate() {
            gap |= offset ^ first.wrapping_add(lane as u32 * row.bytes);
        }
        if gap != 0 {
            return None;
        }
        self.cells.get_mut((first >> self.shift) as usize..)?.first_chunk_mut()
    }

    fn read<O: Order<T>>(&mut self, row: &RowAccess<T>, order: &O) -> Result<(), Clash<T>> {
        let mut unwritten = Ok(());
        let mut mask = row.mask;
        while mask != 0 {
            let lane = mask.trailing_zeros();
            mask &= mask - 1;
            let offset = row.offsets[lane as usize];
            // Of neighbours that read the same, the first and the last say enough.
            if 0 < lane
                && lane < 31
                && row.mask >> (lane - 1) & 7 == 7
                && row.offsets[lane as usize - 1] == offset
                && row.offsets[lane as usize + 1] == offset
            {
                continue;
            }
            let range = self.range(offset, row.bytes);
            let (start, shift) = (range.start, self.shift);
            let me = row.tag.at(lane);
            for (at, cell) in self.cells[range].iter_mut().enumerate() {
                if let Err(conflict) = cell.read(me, order) {
                    let clash = Err(Clash { conflict, lane, offset: offset.max(((start + at) << shift) as u32) });
                    if !matches!(conflict, Conflict::Unwritten) {
                        return clash;
                    }
                    unwritten = unwritten.and(clash);
                }
            }
        }
        unwritten
    }

    fn write<O: Order<T>>(&mut self, row: &RowAccess<T>, order: &O) -> Result<(), Clash<T>> {
        let (mut twice, mut same) = (Ok(()), Ok(()));
        let mut mask = row.mask;
        while mask != 0 {
            let lane = mask.trailing_zeros();
            mask &= mask - 1;
            let offset = row.offsets[lane as usize];
            let range = self.range(offset, row.bytes);
            let (start, shift) = (range.start, self.shift);
            let me = row.tag.at(lane);
            for (at, cell) in self.cells[range].iter_mut().enumerate() {
                if let Err(conflict) = cell.write(me, row.kind, order) {
                    let offset = offset.max(((start + at) << shift) as u32);
                    match conflict {
                        Conflict::Write(other) if row.wrote(other, lane, offset) => {
                            twice = twice.and(Err(Clash { conflict: Conflict::Twice(other), lane, offset }));
                            cell.write = me;
                        }
                        _ => {
                            let told = row.forgiven(cell, conflict, me, order);
                            let conflict = told.map_err(|conflict| Clash { conflict, lane, offset })?;
                            same = same.and(Err(Clash { conflict, lane, offset }));
                        }
                    }
                }
            }
        }
        twice.and(same)
    }

    /// Whether some byte of these was never written.
    pub fn is_unwritten(&self, offset: u32, bytes: u32) -> bool {
        self.cells[self.range(offset, bytes)].iter().any(|cell| cell.write.stamp().is_none())
    }

    /// Puts a write into the history unchecked.
    pub fn overwrite(&mut self, offset: u32, bytes: u32, tag: T) {
        let range = self.range(offset, bytes);
        self.cells[range].fill(Cell { write: tag, reads: Default::default() });
    }
}

impl<T: Tag> RowAccess<'_, T> {
    #[cold]
    fn clash(&self, conflict: Conflict<T>, lane: usize) -> Clash<T> {
        Clash { conflict, lane: lane as u32, offset: self.offsets[lane] }
    }

    /// Takes a write into the history that comes after another by chance, if it leaves the same value; gives what to
    /// tell.
    #[cold]
    fn forgiven<O: Order<T>>(
        &self,
        cell: &mut Cell<T>,
        conflict: Conflict<T>,
        me: T,
        order: &O,
    ) -> Result<Conflict<T>, Conflict<T>> {
        match conflict {
            Conflict::Write(other)
                if self.kind == Kind::Write
                    && !other.stamp().is_unfinished()
                    && !other.stamp().is_strong_in_warp()
                    && !me.stamp().is_strong_in_warp()
                    && (self.held)(me.stamp().lane()) =>
            {
                cell.replace(me, order)?;
                Ok(Conflict::Same(other))
            }
            other => Err(other),
        }
    }

    /// Whether `other` is this very row's write of an earlier lane.
    fn wrote(&self, other: T, lane: u32, offset: u32) -> bool {
        let earlier = other.stamp().lane();
        let base = self.offsets[earlier as usize];
        earlier < lane
            && self.mask >> earlier & 1 == 1
            && self.tag.same_warp(other)
            && (base..base.saturating_add(self.bytes)).contains(&offset)
    }
}
