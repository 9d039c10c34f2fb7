//! Work done on several threads ahead of who needs it, handed over in order, in a fixed number of slots.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// What one thread does: fills the slot for a position. Each thread has one of its own, with memory of its own.
pub(crate) type Worker<T> = Box<dyn FnMut(usize, &mut T) + Send>;

/// Positions `0..len` worked on by threads, and received in order.
///
/// Threads take the positions in order, each only when a slot is free. So the position that is needed next always has a slot,
/// and no more than the slots exist at any time.
pub(crate) struct Ahead<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
    next: usize,
    len: usize,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    slot_is_free: Condvar,
    slot_is_full: Condvar,
}

struct State<T> {
    free: Vec<T>,
    full: BTreeMap<usize, Result<T, Box<dyn Any + Send>>>,
    next: usize,
    stopped: bool,
}

impl<T> Shared<T> {
    // no thread panics while it holds the lock
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.slot_is_free.notify_all();
    }
}

impl<T: Send + 'static> Ahead<T> {
    /// Starts the threads: `worker` makes what each does.
    ///
    /// # Errors
    /// The system's, if it has no more threads.
    pub fn start(len: usize, slots: Vec<T>, threads: usize, worker: impl Fn() -> Worker<T>) -> io::Result<Self> {
        let state = State { free: slots, full: BTreeMap::new(), next: 0, stopped: false };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), slot_is_free: Condvar::new(), slot_is_full: Condvar::new() });
        let mut ahead = Self { shared, threads: Vec::with_capacity(threads), next: 0, len };
        for _ in 0..threads.max(1) {
            let (shared, mut work) = (ahead.shared.clone(), worker());
            // if one fails to start, those that did are stopped as `ahead` is dropped
            let thread = thread::Builder::new().name("pictures".into()).spawn(move || {
                while let Some((position, mut slot)) = take(&shared, len) {
                    let done = catch_unwind(AssertUnwindSafe(|| work(position, &mut slot)));
                    shared.lock().full.insert(position, done.map(|()| slot));
                    shared.slot_is_full.notify_one();
                }
            })?;
            ahead.threads.push(thread);
        }
        Ok(ahead)
    }

    /// The slot of the next position, as soon as it is full; none after the last. It has to be given back.
    ///
    /// # Panics
    /// If the worker did, with its message.
    pub fn next(&mut self) -> Option<T> {
        if self.next == self.len {
            return None;
        }
        let mut state = self.shared.lock();
        loop {
            match state.full.remove(&self.next) {
                Some(Ok(slot)) => {
                    self.next += 1;
                    return Some(slot);
                }
                Some(Err(panic)) => {
                    drop(state);
                    resume_unwind(panic);
                }
                None => state = self.shared.slot_is_full.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Frees a slot for the threads.
    pub fn give_back(&self, slot: T) {
        self.shared.lock().free.push(slot);
        self.shared.slot_is_free.notify_one();
    }

    /// Positions that are done and wait.
    pub fn waiting(&self) -> usize {
        self.shared.lock().full.len()
    }
}

/// The next position and a slot for it; none if there is nothing left to do.
fn take<T>(shared: &Shared<T>, len: usize) -> Option<(usize, T)> {
    let mut state = shared.lock();
    loop {
        if state.stopped || state.next == len {
            return None;
        }
        if let Some(slot) = state.free.pop() {
            state.next += 1;
            return Some((state.next - 1, slot));
        }
        state = shared.slot_is_free.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

impl<T> Drop for Ahead<T> {
    /// Waits for the work in progress and does no more.
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            // workers' panics are caught
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn squares(len: usize, slots: usize, threads: usize) -> Ahead<usize> {
        Ahead::start(len, vec![0; slots], threads, || {
            Box::new(|position, slot| {
                // the first takes longest, so that the others are done before it
                if position % 5 == 0 {
                    thread::sleep(std::time::Duration::from_millis(1));
                }
                *slot = position * position;
            })
        })
        .unwrap()
    }

    #[test]
    fn positions_come_in_order_for_any_threads_and_slots() {
        for (threads, slots) in [(1, 1), (1, 4), (2, 1), (3, 2), (5, 9)] {
            let mut ahead = squares(23, slots, threads);
            for position in 0..23 {
                let slot = ahead.next().unwrap();
                assert_eq!(slot, position * position, "{threads} threads, {slots} slots");
                assert!(ahead.waiting() < slots);
                ahead.give_back(slot);
            }
            assert!(ahead.next().is_none() && ahead.next().is_none());
        }
        assert!(squares(0, 2, 2).next().is_none());
    }

    #[test]
    fn who_leaves_early_waits_for_no_more_than_is_in_progress() {
        let begun = Arc::new(AtomicUsize::new(0));
        let mut ahead = Ahead::start(1000, vec![(); 3], 2, || {
            let begun = begun.clone();
            Box::new(move |_, _| {
                begun.fetch_add(1, Ordering::Relaxed);
            })
        })
        .unwrap();
        assert!(ahead.next().is_some());
        drop(ahead);
        assert!(begun.load(Ordering::Relaxed) <= 3);
    }

    #[test]
    #[should_panic(expected = "position 3 is not liked")]
    fn a_workers_panic_is_the_receivers() {
        let mut ahead = Ahead::start(9, vec![(); 2], 2, || {
            Box::new(|position, _| assert!(position != 3, "position {position} is not liked"))
        })
        .unwrap();
        while let Some(slot) = ahead.next() {
            ahead.give_back(slot);
        }
    }
}
