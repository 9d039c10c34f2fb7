//! A launch: its blocks over host threads.
//!
//! Results do not depend on how many threads there are: kernels whose outcome could depend on the order of blocks (see
//! [`Code::order_dependent`]) run on one.

use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::counters::Counters;
use crate::exec::run::block::{Block, Turn};
use crate::exec::run::env::{Faulty, Grid};
use crate::exec::run::order;
use crate::fault::Fault;

/// Blocks of a thread that wait for others while it starts new ones.
const PARKED: usize = 64;

/// Where host threads get their blocks from, and leave their faults.
struct Queue {
    order: Option<Vec<u32>>,
    count: u32,
    next: AtomicU64,
    stop: AtomicBool,
    fault: Mutex<Option<Box<Fault>>>,
}

impl Queue {
    fn take(&self) -> Option<u32> {
        let at = self.next.fetch_add(1, Relaxed);
        let at = u32::try_from(at).ok().filter(|&at| at < self.count)?;
        Some(self.order.as_ref().map_or(at, |order| order[at as usize]))
    }
}

impl Grid<'_> {
    /// Runs the launch to its end.
    pub fn run(&self) -> Faulty<Option<Counters>> {
        let count = self.launch.grid.iter().map(|&n| u64::from(n)).product::<u64>();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let queue = Queue {
            order: order::blocks(self.options.shuffle, count),
            count,
            next: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            fault: Mutex::new(None),
        };
        let threads = if self.code.order_dependent { 1 } else { self.options.threads.clamp(1, count as usize) };
        let mut counted = Vec::new();
        // This thread is one of them.
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| self.work(&queue, threads))).collect();
            counted.push(self.work(&queue, threads));
            for other in others {
                match other.join() {
                    Ok(result) => counted.push(result),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        if let Some(fault) = queue.fault.into_inner().unwrap_or_else(|e| e.into_inner()) {
            return Err(fault);
        }
        let mut all = None;
        for counters in counted.into_iter().flatten() {
            match &mut all {
                None => all = Some(counters),
                Some(all) => Counters::merge(all, &counters),
            }
        }
        Ok(all)
    }

    fn work(&self, queue: &Queue, threads: usize) -> Option<Counters> {
        let mut counters = self.options.counters.then(|| Counters::new(self.code.ops.len()));
        if let Err(fault) = self.run_blocks(queue, threads, counters.as_mut()) {
            queue.stop.store(true, Relaxed);
            let mut first = queue.fault.lock().unwrap_or_else(|e| e.into_inner());
            let [x, y, z] = fault.block;
            // Of several faults the one of the first block, as far as they are known.
            if first.as_ref().is_none_or(|f| (z, y, x) < (f.block[2], f.block[1], f.block[0])) {
                *first = Some(fault);
            }
        }
        counters
    }

    fn run_blocks(&self, queue: &Queue, threads: usize, mut counters: Option<&mut Counters>) -> Faulty<()> {
        let mut spare: Vec<Block> = Vec::new();
        let mut parked: Vec<Block> = Vec::new();
        // The blocks of a cooperative launch are all resident; each thread holds its share.
        let most = match self.launch.cooperative {
            true => (queue.count as usize).div_ceil(threads),
            false => PARKED,
        };
        if self.launch.cooperative {
            while parked.len() < most
                && let Some(linear) = queue.take()
            {
                parked.push(self.fresh(&mut spare, linear)?);
            }
        }
        loop {
            if queue.stop.load(Relaxed) {
                return Ok(());
            }
            let fresh = if parked.len() < most { queue.take() } else { None };
            let block = match fresh {
                Some(linear) => Some(self.fresh(&mut spare, linear)?),
                None if parked.is_empty() => None,
                None => Some(parked.remove(0)),
            };
            let Some(mut block) = block else { return Ok(()) };
            match block.turn(self, counters.as_deref_mut())? {
                Turn::Done => spare.push(block),
                Turn::Running => parked.push(block),
            }
        }
    }

    fn fresh(&self, spare: &mut Vec<Block>, linear: u32) -> Faulty<Block> {
        let block = spare.pop().or_else(|| Block::new(self));
        let Some(mut block) = block else {
            return Err(Box::new(Fault::no_memory(self.kernel)));
        };
        block.start(self, linear);
        Ok(block)
    }
}
