//! Barriers of a cooperative grid: words of global memory to which every block adds.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One round of a word.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    blocks: u32,
    latest: u64,
}

/// What blocks have added to a word.
#[derive(Debug, Default)]
struct Word {
    /// How often each block did.
    by_block: HashMap<u32, usize>,
    rounds: Vec<Round>,
}

/// The words of a launch.
#[derive(Debug, Default)]
pub(in crate::exec) struct Arrivals(Mutex<Words>);

impl Arrivals {
    /// One block's turn. An addition to memory and its record take one turn, and so do a look at memory and at the records: a block on
    /// another host thread would else find all records and a word that is not yet what they say, or the word and no record.
    pub fn turn(&self) -> MutexGuard<'_, Words> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Words by address.
#[derive(Debug, Default)]
pub(in crate::exec) struct Words(HashMap<u64, Word>);

impl Words {
    /// A block adds to a word at the time `adds`, or looks at it. Gives when all blocks had come to the block's last
    /// round: 0 if not all have, or the block never did.
    pub fn at(&mut self, address: u64, block: u32, blocks: u64, adds: Option<u64>) -> u64 {
        let Words(words) = self;
        let word = match adds {
            Some(_) => words.entry(address).or_default(),
            None => match words.get_mut(&address) {
                Some(word) => word,
                None => return 0,
            },
        };
        if let Some(time) = adds {
            let round = word.by_block.entry(block).or_default();
            if *round == word.rounds.len() {
                word.rounds.push(Round::default());
            }
            let Round { blocks, latest } = &mut word.rounds[*round];
            (*blocks, *latest) = (*blocks + 1, (*latest).max(time));
            *round += 1;
        }
        let rounds = word.by_block.get(&block).copied().unwrap_or(0);
        let last = rounds.checked_sub(1).map(|last| word.rounds[last]);
        last.filter(|round| u64::from(round.blocks) == blocks).map_or(0, |round| round.latest)
    }
}
