//! Memory that several users take in turn: what holds nothing between one use and the next lies in the same buffers for all of them.
//!
//! The buffers are moved, not aliased: who has no turn holds buffers of no elements, so that a use out of turn can read nothing.

use super::arena::{Arena, Memory};
use super::bytes::Category;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A buffer that holds nothing between two turns, and the elements that it is to have.
pub struct Lent<'a, B> {
    /// Elements.
    pub len: usize,
    /// Of at least as many elements in its user's turn, and of none else.
    pub buffer: &'a mut B,
}

/// What memory serves any one of some users.
#[derive(Debug)]
pub struct Asked<U> {
    /// One for each buffer of the user with the most, the largest first.
    lens: Vec<usize>,
    /// Which of them each user's buffers get, in the order in which it names them.
    slots: Vec<(U, Vec<usize>)>,
    /// Elements that all users named.
    named: u64,
}

impl<U> Default for Asked<U> {
    fn default() -> Self {
        Self { lens: Vec::new(), slots: Vec::new(), named: 0 }
    }
}

impl<U> Asked<U> {
    /// One more user.
    pub fn and<'a, B: 'a>(mut self, user: U, buffers: impl Iterator<Item = Lent<'a, B>>) -> Self {
        let asked: Vec<usize> = buffers.map(|lent| lent.len).collect();
        let mut largest_first: Vec<usize> = (0..asked.len()).collect();
        largest_first.sort_by_key(|buffer| std::cmp::Reverse(asked[*buffer]));
        self.lens.resize(self.lens.len().max(asked.len()), 0);
        let mut slots = vec![0; asked.len()];
        for (slot, buffer) in largest_first.into_iter().enumerate() {
            slots[buffer] = slot;
            self.lens[slot] = asked[buffer].max(self.lens[slot]);
        }
        self.named += asked.iter().sum::<usize>() as u64;
        self.slots.push((user, slots));
        self
    }
}

/// The memory, and who has it.
pub struct Turns<M: Memory, U> {
    /// In a turn, what lies idle.
    memory: Vec<Tensor<M::Buffer>>,
    /// As [`Asked::slots`]: a slot goes to the same buffer in every turn, so that what a device has recorded stays true.
    slots: Vec<(U, Vec<usize>)>,
    /// The number of who has the memory.
    holder: Option<usize>,
}

impl<M: Memory, U: Copy + PartialEq> Turns<M, U> {
    /// Memory for all that the arena has lent to.
    ///
    /// # Errors
    /// If the arena is full, and [`Error::Usage`] if it lent more than the users named.
    pub fn new(arena: &mut Arena<'_, M>, Asked { lens, slots, named }: Asked<U>) -> Result<Self> {
        if named != arena.lent() {
            return Err(Error::Usage(format!(
                "a residual function asked for {} elements of scratch memory and named {named} of them as its buffers: maps_mut and \
                 lent_mut have to name every tensor that its constructors take",
                arena.lent()
            )));
        }
        let slot = |len: usize| arena.tensor(Category::Scratch, Shape::vector(len));
        Ok(Self { memory: lens.into_iter().map(slot).collect::<Result<_>>()?, slots, holder: None })
    }

    /// Gives the memory to `user`, if it is one. `each` shows a user's buffers, in the order of [`Asked::and`], to what it is given.
    /// Allocates nothing.
    pub fn give(&mut self, user: U, mut each: impl FnMut(U, &mut dyn FnMut(&mut M::Buffer))) {
        let Self { memory, slots, holder } = self;
        let next = slots.iter().position(|(of, _)| *of == user);
        if next.is_none() || next == *holder {
            return;
        }
        for turn in [*holder, next].into_iter().flatten() {
            let (user, slots) = &slots[turn];
            let mut slots = slots.iter();
            each(*user, &mut |buffer| {
                if let Some(slot) = slots.next() {
                    std::mem::swap(&mut memory[*slot].buffer, buffer);
                }
            });
        }
        *holder = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::take;
    use crate::reference::Reference;

    type Buffer = <Reference as Memory>::Buffer;

    /// Users by the lengths of their buffers, as an arena lends them, and their turns.
    fn users(lens: &[&[usize]]) -> (Vec<Vec<Tensor<Buffer>>>, Turns<Reference, usize>, u64) {
        let made = |arena: &mut Arena<'_, Reference>| {
            arena.lends(true);
            let user = |arena: &mut Arena<'_, Reference>, lens: &[usize]| {
                arena
                    .lend(|arena| lens.iter().map(|len| arena.tensor(Category::Scratch, Shape::vector(*len))).collect())
            };
            let mut users = lens.iter().map(|lens| user(arena, lens)).collect::<Result<Vec<Vec<_>>>>()?;
            let asked =
                users.iter_mut().enumerate().fold(Asked::default(), |asked, (i, user)| asked.and(i, lent(user)));
            let turns = Turns::new(arena, asked)?;
            Ok((users, turns))
        };
        let ((users, turns), ledger) = take(&Reference, made).expect("room");
        (users, turns, ledger.of(Category::Scratch))
    }

    fn lent(user: &mut [Tensor<Buffer>]) -> impl Iterator<Item = Lent<'_, Buffer>> {
        user.iter_mut().map(Tensor::lent)
    }

    #[test]
    fn whoever_has_the_turn_has_all_its_buffers_and_nobody_else_any() {
        let lens: [&[usize]; 3] = [&[8, 100, 3], &[50, 60], &[1, 2, 3, 4]];
        let (mut users, mut turns, bytes) = users(&lens);
        // 100, 50, 3 and 1 elements of eight bytes, in lines of 64
        assert_eq!(bytes, 832 + 448 + 64 + 64);
        let mut places = [None, None, None];
        for user in [0, 1, 2, 1, 0, 2, 2, 0] {
            turns.give(user, |user, swap| lent(&mut users[user]).for_each(|lent| swap(lent.buffer)));
            for (other, buffers) in users.iter().enumerate() {
                for tensor in buffers {
                    let len = tensor.buffer.len();
                    assert!(
                        if other == user { len >= tensor.shape().len() } else { len == 0 },
                        "{user}: {other} has {len}"
                    );
                }
            }
            let at: Vec<_> = users[user].iter().map(|tensor| tensor.buffer.as_ptr()).collect();
            assert_eq!(places[user].get_or_insert(at.clone()), &at, "the same buffers in every turn");
        }
    }

    #[test]
    fn a_user_that_leaves_a_buffer_unnamed_is_refused() {
        let made = take(&Reference, |arena| {
            arena.lends(true);
            let mut two = arena.lend(|arena| {
                let mut tensor = |len| arena.tensor(Category::Scratch, Shape::vector(len));
                Ok([tensor(5)?, tensor(6)?])
            })?;
            Turns::<Reference, usize>::new(arena, Asked::default().and(0, lent(&mut two[..1])))
        });
        let message = made.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains("asked for 11 elements of scratch memory and named 5"), "{message}");
    }
}
