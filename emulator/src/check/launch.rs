//! What the blocks of one launch share: the history of global memory, and what strong writes passed on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::clock::{Blocks, Clock, join, join_block};
use super::shadow::Shadow;
use super::stamp::GridStamp;

/// Bytes of global memory whose history lies behind one lock.
pub(super) const PAGE: u64 = 4096;

const SHARDS: usize = 64;

/// The history of one page of global memory.
pub(super) type Page = Mutex<Shadow<GridStamp>>;

/// What is checked across the blocks of one launch; its host threads share it. A launch starts with a new one: whatever
/// earlier launches did comes before. Its memory is nine times the global memory that the launch touches.
#[derive(Debug)]
pub struct LaunchChecks {
    pages: [Mutex<HashMap<u64, Arc<Page>>>; SHARDS],
    places: [Mutex<HashMap<u64, Arc<Blocks>>>; SHARDS],
    any_place: AtomicBool,
}

impl Default for LaunchChecks {
    fn default() -> Self {
        LaunchChecks {
            pages: std::array::from_fn(|_| Mutex::default()),
            places: std::array::from_fn(|_| Mutex::default()),
            any_place: AtomicBool::new(false),
        }
    }
}

impl LaunchChecks {
    /// Nothing has happened.
    pub fn new() -> LaunchChecks {
        LaunchChecks::default()
    }

    pub(super) fn page(&self, number: u64) -> Arc<Page> {
        let mut pages = lock(&self.pages[number as usize % SHARDS]);
        let fresh = || Arc::new(Mutex::new(Shadow::new(PAGE as usize)));
        Arc::clone(pages.entry(number).or_insert_with(fresh))
    }

    /// A strong write passes on what its warp released. Must come before the write itself.
    pub(super) fn publish(&self, place: u64, block: u32, released: &Clock) {
        {
            let mut places = lock(&self.places[place as usize % SHARDS]);
            let known = places.entry(place).or_default();
            join(known, &released.others);
            join_block(known, block, &released.own);
        }
        self.any_place.store(true, Ordering::Release);
        fence(Ordering::Release);
    }

    /// What was passed on at a place. Must come after the read that takes it up.
    pub(super) fn published(&self, place: u64) -> Option<Arc<Blocks>> {
        fence(Ordering::Acquire);
        if !self.any_place.load(Ordering::Acquire) {
            return None;
        }
        lock(&self.places[place as usize % SHARDS]).get(&place).cloned()
    }
}

/// A history is whole after every access, so that a panic elsewhere does no harm to it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
