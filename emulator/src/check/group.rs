//! The history of one cell, and of eight neighbours that can be looked at together.

use super::Kind;
use super::shadow::{Conflict, Order, RowAccess};
use super::stamp::{EIGHT, Eight, Lanes, Share, Tag};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cell<T> {
    pub write: T,
    /// Reads that no access to these bytes is known to come after. Two suffice to find a writer that follows without a
    /// barrier, if they are of two warps where they can: the writer may have read as well.
    pub reads: [T; 2],
}

impl<T: Tag> Cell<T> {
    #[inline(always)]
    pub fn read<O: Order<T>>(&mut self, me: T, order: &O) -> Result<(), Conflict<T>> {
        // Not remembered: whether it matters depends on what becomes of the value.
        if order.unwritten(self.write) {
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
    pub fn write<O: Order<T>>(&mut self, me: T, kind: Kind, order: &O) -> Result<(), Conflict<T>> {
        if kind == Kind::Atomic && order.unwritten(self.write) {
            return Err(Conflict::Unwritten);
        }
        if !order.before(self.write, me) && !both_strong(self.write, me) {
            return Err(Conflict::Write(self.write));
        }
        self.replace(me, order)
    }

    /// Writes behind the readers.
    pub fn replace<O: Order<T>>(&mut self, me: T, order: &O) -> Result<(), Conflict<T>> {
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

/// Eight cells: their writes lie together, and so do their reads.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
pub(super) struct Group<T: Tag> {
    write: T::Eight,
    reads: [T::Eight; 2],
}

impl<T: Tag> Group<T> {
    pub fn of(cells: [Cell<T>; EIGHT]) -> Group<T> {
        let mut group = Group::default();
        cells.into_iter().enumerate().for_each(|(at, cell)| group.set(at, cell));
        group
    }

    #[inline(always)]
    pub fn cell(&self, at: usize) -> Cell<T> {
        let at = at % EIGHT;
        Cell { write: self.write.get(at), reads: [self.reads[0].get(at), self.reads[1].get(at)] }
    }

    #[inline(always)]
    pub fn set(&mut self, at: usize, cell: Cell<T>) {
        let at = at % EIGHT;
        self.write.set(at, cell.write);
        self.reads[0].set(at, cell.reads[0]);
        self.reads[1].set(at, cell.reads[1]);
    }

    /// Takes a row's access into `N` cells from `from` on, if nothing is wrong with it and they have the same history, as
    /// they mostly do: as [`Cell::read`] and [`Cell::write`] of each would. Otherwise leaves them alone and gives false.
    #[inline(always)]
    pub fn take<const N: usize, O: Order<T>>(
        &mut self,
        from: usize,
        row: &RowAccess<T>,
        lanes: Lanes,
        order: &O,
    ) -> bool {
        let (from, me) = (from % EIGHT, row.tag);
        if before::<N, T, O>(&self.write, from, me, lanes, order) != Share::All
            || row.kind != Kind::Write && order.unwritten(self.write.get(from))
        {
            return false;
        }
        let [first, second] = &mut self.reads;
        let readers = before::<N, T, O>(first, from, me, lanes, order);
        if row.kind == Kind::Read && readers == Share::All {
            first.put::<N>(from, me, lanes);
            return true;
        }
        let others = before::<N, T, O>(second, from, me, lanes, order);
        if row.kind != Kind::Read {
            let alone = readers == Share::All && others == Share::All;
            if alone {
                first.clear::<N>(from);
                second.clear::<N>(from);
                self.write.put::<N>(from, me, lanes);
            }
            return alone;
        }
        if readers == Share::Some || others == Share::Some {
            return false;
        }
        let (one, other) = (first.get(from), second.get(from));
        if one.same_warp(other) && !me.same_warp(one) || others == Share::All {
            second.put::<N>(from, me, lanes);
        }
        true
    }
}

/// Whether `N` tags happen before what these lanes do now.
#[inline(always)]
fn before<const N: usize, T: Tag, O: Order<T>>(tags: &T::Eight, from: usize, me: T, lanes: Lanes, order: &O) -> Share {
    let some = tags.get(from);
    if !tags.alike::<N>(from) {
        Share::Some
    } else if order.known(some, me) {
        Share::All
    } else if !some.same_warp(me) || some.stamp().is_unfinished() {
        Share::None
    } else if order.by_lane() {
        Share::Some
    } else {
        tags.of_lanes::<N>(from, lanes)
    }
}
