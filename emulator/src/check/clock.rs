//! What a warp knows to have happened: an epoch for every warp of its block, and for those of other blocks that
//! released something to it.

use std::sync::Arc;

use super::stamp::WARPS;

/// The epoch up to which each warp of one block is known.
pub(super) type Epochs = [u32; WARPS];

#[inline(always)]
pub(super) fn raise(epochs: &mut Epochs, to: &Epochs) {
    for (mine, &theirs) in epochs.iter_mut().zip(to) {
        *mine = (*mine).max(theirs);
    }
}

fn within(small: &Epochs, large: &Epochs) -> bool {
    small.iter().zip(large).all(|(s, l)| s <= l)
}

/// What is known of several blocks, sorted by block. Parts are shared: after a grid-wide barrier all blocks know the
/// same, and most joins end at a comparison of pointers.
#[derive(Debug, Clone, Default)]
pub(super) struct Blocks(Vec<(u32, Arc<Epochs>)>);

impl Blocks {
    pub fn get(&self, block: u32) -> Option<&Epochs> {
        let at = self.0.binary_search_by_key(&block, |entry| entry.0).ok()?;
        Some(&self.0[at].1)
    }

    /// Whether this knows all that `other` knows.
    fn covers(&self, other: &Blocks) -> bool {
        let mut mine = self.0.iter();
        other.0.iter().all(|(block, theirs)| {
            mine.by_ref()
                .find(|(candidate, _)| candidate >= block)
                .is_some_and(|(found, known)| found == block && (Arc::ptr_eq(known, theirs) || within(theirs, known)))
        })
    }

    fn union(&self, other: &Blocks) -> Blocks {
        let mut out = Vec::with_capacity(self.0.len().max(other.0.len()));
        let (mut mine, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        loop {
            let take = match (mine.peek(), theirs.peek()) {
                (None, None) => return Blocks(out),
                (Some(_), None) => mine.next().cloned(),
                (None, Some(_)) => theirs.next().cloned(),
                (Some(a), Some(b)) if a.0 < b.0 => mine.next().cloned(),
                (Some(a), Some(b)) if a.0 > b.0 => theirs.next().cloned(),
                (Some(a), Some(b)) => {
                    let entry = if Arc::ptr_eq(&a.1, &b.1) || within(&b.1, &a.1) {
                        (*a).clone()
                    } else {
                        let mut both = *a.1;
                        raise(&mut both, &b.1);
                        (a.0, Arc::new(both))
                    };
                    mine.next();
                    theirs.next();
                    Some(entry)
                }
            };
            out.extend(take);
        }
    }
}

/// Takes in what `other` knows.
pub(super) fn join(blocks: &mut Arc<Blocks>, other: &Arc<Blocks>) {
    if Arc::ptr_eq(blocks, other) || blocks.covers(other) {
        return;
    }
    *blocks = if other.covers(blocks) { Arc::clone(other) } else { Arc::new(blocks.union(other)) };
}

/// Takes in what is known of one block.
pub(super) fn join_block(blocks: &mut Arc<Blocks>, block: u32, epochs: &Epochs) {
    match blocks.0.binary_search_by_key(&block, |entry| entry.0) {
        Ok(at) => {
            if !within(epochs, &blocks.0[at].1) {
                raise(Arc::make_mut(&mut Arc::make_mut(blocks).0[at].1), epochs);
            }
        }
        Err(at) => Arc::make_mut(blocks).0.insert(at, (block, Arc::new(*epochs))),
    }
}

/// What a warp knows, as it passes it on within its block.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock {
    pub own: Epochs,
    /// Other blocks; an entry for the own block may be there and says nothing that `own` does not.
    pub others: Arc<Blocks>,
}

impl Clock {
    pub fn join(&mut self, other: &Clock) {
        raise(&mut self.own, &other.own);
        join(&mut self.others, &other.others);
    }
}

/// Joins where either may be missing.
pub(super) fn join_option(clock: &mut Option<Clock>, other: &Option<Clock>) {
    match (clock.as_mut(), other) {
        (Some(clock), Some(other)) => clock.join(other),
        (None, Some(other)) => *clock = Some(other.clone()),
        (_, None) => {}
    }
}
