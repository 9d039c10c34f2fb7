//! The history of a stretch of memory: for each few bytes the last writer and up to two readers since.

use super::group::{Cell, Group};
use super::stamp::{EIGHT, Lanes, Tag};
use super::{Kind, WARP};

/// What orders an earlier access before a later one.
pub(super) trait Order<T> {
    /// Whether bytes whose last write this is count as never written, and must be written before they are read.
    fn unwritten(&self, write: T) -> bool;

    /// Whether `earlier` happens before `me`: none at all does, and so does all that the same thread did.
    fn before(&self, earlier: T, me: T) -> bool;

    /// Whether `earlier` happens before whatever any lane of `me`'s warp does now.
    fn known(&self, earlier: T, me: T) -> bool;

    /// Whether some lanes of the warp know more of it than others.
    fn by_lane(&self) -> bool;
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

/// The history of a stretch of memory, in cells as small as the smallest access so far: an access always covers whole
/// cells, so neighbours of one and two bytes stay apart and words cost one cell.
#[derive(Debug)]
pub(super) struct Shadow<T: Tag> {
    groups: Box<[Group<T>]>,
    /// Cells in use: the last group may have some to spare.
    cells: usize,
    shift: u32,
}

/// What a row comes to that was taken in as a whole: the first of each that is worth telling.
struct Told<T> {
    unwritten: Result<(), Clash<T>>,
    twice: Result<(), Clash<T>>,
    same: Result<(), Clash<T>>,
}

impl<T: Tag> Shadow<T> {
    /// Memory that nobody touched.
    pub fn new(bytes: usize) -> Shadow<T> {
        let cells = bytes.div_ceil(4);
        Shadow { groups: vec![Group::default(); cells.div_ceil(EIGHT)].into(), cells, shift: 2 }
    }

    /// Forgets all of it.
    pub fn forget(&mut self) {
        self.groups.fill(Group::default());
    }

    #[cold]
    fn refine(&mut self, shift: u32) {
        let copies = 1 << (self.shift - shift);
        let old = |at: usize| self.groups[at / copies / EIGHT].cell(at / copies);
        let cells = self.cells * copies;
        let group = |group: usize| Group::of(std::array::from_fn(|i| old((EIGHT * group + i).min(cells - 1))));
        self.groups = (0..cells.div_ceil(EIGHT)).map(group).collect();
        (self.cells, self.shift) = (cells, shift);
    }

    #[inline(always)]
    fn range(&self, offset: u32, bytes: u32) -> std::ops::Range<usize> {
        let end = ((offset as usize + bytes as usize + (1 << self.shift) - 1) >> self.shift).min(self.cells);
        let start = (offset >> self.shift) as usize;
        start.min(end)..end
    }

    /// Checks a row and takes it into the history. [`Conflict::Unwritten`] of a read, [`Conflict::Twice`] and
    /// [`Conflict::Same`] come back only after the whole row was taken in, so that the caller may go on; any other
    /// conflict at once.
    #[inline(always)]
    pub fn access<O: Order<T>>(&mut self, row: &RowAccess<T>, order: &O) -> Result<(), Clash<T>> {
        if row.bytes < 1 << self.shift {
            self.refine(row.bytes.max(1).ilog2());
        }
        // Cells of a lane, as a power of two.
        let shift = (row.bytes >> self.shift).trailing_zeros();
        let mut told = Told { unwritten: Ok(()), twice: Ok(()), same: Ok(()) };
        if is_consecutive(row) {
            self.run(row, (0, WARP as u32), shift, order, &mut told)?;
        } else {
            let mut rest = row.mask;
            while rest != 0 {
                let lane = rest.trailing_zeros();
                let count = run_length(row, lane);
                rest &= !(u32::MAX >> (WARP as u32 - count) << lane);
                if row.kind != Kind::Read || !is_between_equals(row, lane) {
                    self.run(row, (lane, count), shift, order, &mut told)?;
                }
            }
        }
        told.unwritten.and(told.twice).and(told.same)
    }

    /// Takes in lanes whose bytes follow each other: the first of them, and how many.
    #[inline(always)]
    fn run<O: Order<T>>(
        &mut self,
        row: &RowAccess<T>,
        (lane, count): (u32, u32),
        shift: u32,
        order: &O,
        told: &mut Told<T>,
    ) -> Result<(), Clash<T>> {
        let range = self.range(row.offsets[lane as usize % WARP], row.bytes * count);
        let lanes = Lanes { start: lane << shift, shift };
        let mut at = range.start;
        while at < range.end {
            let (left, lanes) = (range.end - at, lanes.from((at - range.start) as u32));
            let group = &mut self.groups[at / EIGHT];
            let taken = match at % EIGHT {
                0 if left >= 8 && group.take::<8, O>(at, row, lanes, order) => 8,
                0 | 4 if left >= 4 && group.take::<4, O>(at, row, lanes, order) => 4,
                _ => {
                    // As far as the next place where several can be looked at together.
                    let some = left.min(4 - at % 4);
                    (0..some).try_for_each(|i| self.cell(at + i, lanes.of(i as u32), row, order, told))?;
                    some
                }
            };
            at += taken;
        }
        Ok(())
    }

    /// Takes a lane's access into one cell.
    #[inline(never)]
    fn cell<O: Order<T>>(
        &mut self,
        at: usize,
        lane: u32,
        row: &RowAccess<T>,
        order: &O,
        told: &mut Told<T>,
    ) -> Result<(), Clash<T>> {
        let group = &mut self.groups[at / EIGHT];
        let (me, mut cell) = (row.tag.at(lane), group.cell(at));
        let done = match row.kind {
            Kind::Read => cell.read(me, order),
            Kind::Write | Kind::Atomic => cell.write(me, row.kind, order),
        };
        if let Err(conflict) = done {
            let offset = row.offsets[lane as usize % WARP].max((at << self.shift) as u32);
            let clash = |conflict| Err(Clash { conflict, lane, offset });
            let Told { unwritten, twice, same } = told;
            match (row.kind, conflict) {
                (Kind::Read, Conflict::Unwritten) => *unwritten = (*unwritten).and(clash(conflict)),
                (Kind::Read, _) => return clash(conflict),
                (_, Conflict::Write(other)) if row.wrote(other, lane, offset) => {
                    *twice = (*twice).and(clash(Conflict::Twice(other)));
                    cell.write = me;
                }
                _ => match row.forgiven(&mut cell, conflict, me, order) {
                    Ok(told) => *same = (*same).and(clash(told)),
                    Err(conflict) => return clash(conflict),
                },
            }
        }
        group.set(at, cell);
        Ok(())
    }

    /// Whether some byte of these was never written.
    pub fn is_unwritten<O: Order<T>>(&self, offset: u32, bytes: u32, order: &O) -> bool {
        self.range(offset, bytes).any(|at| order.unwritten(self.groups[at / EIGHT].cell(at).write))
    }

    /// Puts a write into the history unchecked.
    pub fn overwrite(&mut self, offset: u32, bytes: u32, tag: T) {
        for at in self.range(offset, bytes) {
            self.groups[at / EIGHT].set(at, Cell { write: tag, reads: Default::default() });
        }
    }
}

/// Whether all 32 lanes' bytes follow each other: in most rows they do.
#[inline(always)]
fn is_consecutive<T>(row: &RowAccess<T>) -> bool {
    let mut gap = row.mask ^ u32::MAX;
    for (lane, offset) in row.offsets.iter().enumerate() {
        gap |= offset ^ row.offsets[0].wrapping_add(lane as u32 * row.bytes);
    }
    gap == 0
}

/// How many lanes from this one on access bytes that follow each other.
#[inline(always)]
fn run_length<T>(row: &RowAccess<T>, lane: u32) -> u32 {
    let mut next = lane as usize + 1;
    while next < WARP && row.mask >> next & 1 == 1 && row.offsets[next] == row.offsets[next - 1].wrapping_add(row.bytes)
    {
        next += 1;
    }
    next as u32 - lane
}

/// Of neighbours that read the same, the first and the last say enough.
#[inline(always)]
fn is_between_equals<T>(row: &RowAccess<T>, lane: u32) -> bool {
    let at = lane as usize;
    0 < at
        && at < WARP - 1
        && row.mask >> (at - 1) & 7 == 7
        && row.offsets[at - 1] == row.offsets[at]
        && row.offsets[at + 1] == row.offsets[at]
}

impl<T: Tag> RowAccess<'_, T> {
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

#[cfg(test)]
mod tests;
