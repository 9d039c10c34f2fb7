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
#[derive(Debug, Default)]
pub struct Asked {
    /// One for each buffer of the user with the most, the largest first.
    lens: Vec<usize>,
    /// Elements that all users named.
    named: u64,
}

impl Asked {
    /// One more user.
    pub fn and<B>(mut self, user: Vec<Lent<'_, B>>) -> Self {
        self.lens.resize(self.lens.len().max(user.len()), 0);
        for (len, Lent { len: asked, .. }) in self.lens.iter_mut().zip(largest_first(user)) {
            *len = asked.max(*len);
            self.named += asked as u64;
        }
        self
    }
}

/// The memory, and who has it.
pub struct Turns<M: Memory, U> {
    /// In a turn, what lies idle.
    slots: Vec<Tensor<M::Buffer>>,
    holder: Option<U>,
}

impl<M: Memory, U: Copy + PartialEq> Turns<M, U> {
    /// Memory for all that the arena has lent to.
    ///
    /// # Errors
    /// If the arena is full, and [`Error::Usage`] if it lent more than the users named.
    pub fn new(arena: &mut Arena<'_, M>, Asked { lens, named }: Asked) -> Result<Self> {
        if named != arena.lent() {
            return Err(Error::Usage(format!(
                "a residual function asked for {} elements of scratch memory and named {named} of them as its buffers: maps_mut and \
                 lent_mut have to name every tensor that its constructors take",
                arena.lent()
            )));
        }
        let slot = |len: usize| arena.tensor(Category::Scratch, Shape::vector(len));
        Ok(Self { slots: lens.into_iter().map(slot).collect::<Result<_>>()?, holder: None })
    }

    /// Gives the memory to `user`. `exchange` hands a user's buffers to what it is given.
    pub fn give(&mut self, user: U, mut exchange: impl FnMut(U, &mut dyn FnMut(Vec<Lent<'_, M::Buffer>>))) {
        if self.slots.is_empty() || self.holder == Some(user) {
            return;
        }
        let Self { slots, holder } = self;
        // a slot goes to the same buffer in every turn, so that what a device has recorded stays true
        let mut swap = |of_user: Vec<Lent<'_, M::Buffer>>| {
            for (slot, Lent { len, buffer }) in slots.iter_mut().zip(largest_first(of_user)) {
                debug_assert!(len <= slot.shape().len());
                std::mem::swap(&mut slot.buffer, buffer);
            }
        };
        if let Some(former) = holder.take() {
            exchange(former, &mut swap);
        }
        exchange(user, &mut swap);
        *holder = Some(user);
    }
}

/// In the order of the slots.
fn largest_first<B>(mut buffers: Vec<Lent<'_, B>>) -> Vec<Lent<'_, B>> {
    buffers.sort_by_key(|lent| std::cmp::Reverse(lent.len));
    buffers
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
            let turns =
                Turns::new(arena, users.iter_mut().fold(Asked::default(), |asked, user| asked.and(lent(user))))?;
            Ok((users, turns))
        };
        let ((users, turns), ledger) = take(&Reference, made).expect("room");
        (users, turns, ledger.of(Category::Scratch))
    }

    fn lent(user: &mut [Tensor<Buffer>]) -> Vec<Lent<'_, Buffer>> {
        user.iter_mut().map(Tensor::lent).collect()
    }

    #[test]
    fn whoever_has_the_turn_has_all_its_buffers_and_nobody_else_any() {
        let lens: [&[usize]; 3] = [&[8, 100, 3], &[50, 60], &[1, 2, 3, 4]];
        let (mut users, mut turns, bytes) = users(&lens);
        // 100, 50, 3 and 1 elements of eight bytes, in lines of 64
        assert_eq!(bytes, 832 + 448 + 64 + 64);
        let mut places = [None, None, None];
        for user in [0, 1, 2, 1, 0, 2, 2, 0] {
            turns.give(user, |user, swap| swap(lent(&mut users[user])));
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
            Turns::<Reference, usize>::new(arena, Asked::default().and(lent(&mut two[..1])))
        });
        let message = made.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains("asked for 11 elements of scratch memory and named 5"), "{message}");
    }
}
