//! A launch: its blocks over host threads.
//!
//! Results do not depend on how many threads there are: kernels whose outcome could depend on the order of blocks (see
//! [`Code::order_dependent`]) run on one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use super::Launch;
use super::block::{Block, Turn};
use super::code::Code;
use super::lower_variables::dynamic_start;
use super::order;
use super::warp::Faulty;
use crate::check::LaunchChecks;
use crate::counters::Counters;
use crate::fault::Fault;
use crate::machine::Options;
use crate::memory::{Cells, GlobalMemory};
use crate::profile::Profile;

/// Blocks of a thread that wait for others while it starts new ones.
const PARKED: usize = 64;

/// Bytes of shared memory that the system keeps in every block: on hardware in front of all else, here behind it, and
/// only for kernels that ask where it is (cooperative groups keep the barriers of tiles of several warps there).
pub(super) const RESERVED: u32 = 1024;

/// What all blocks of a launch share.
pub(super) struct Grid<'a> {
    pub kernel: &'a str,
    pub code: &'a Code,
    pub launch: &'a Launch,
    pub options: &'a Options,
    pub profile: &'a Profile,
    pub global: &'a GlobalMemory,
    pub parameters: &'a Cells,
    pub checks: Option<Arc<LaunchChecks>>,
    /// The launch's number, `%gridid`.
    pub serial: u64,
    /// Address of the cooperative launch's barrier.
    pub workspace: u64,
    /// What the kernel printed.
    pub printed: Mutex<String>,
}

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
    /// Shared memory of a block that is the kernel's own.
    fn own_shared_bytes(&self) -> u64 {
        let fixed = u64::from(self.code.static_shared);
        let dynamic = u64::from(self.launch.dynamic_shared);
        if dynamic > 0 { dynamic_start(fixed) + dynamic } else { fixed }
    }

    /// Where the system's part of shared memory starts.
    pub fn reserved_start(&self) -> u32 {
        self.own_shared_bytes().next_multiple_of(RESERVED.into()) as u32
    }

    /// Whether this byte of shared memory is the system's.
    pub fn is_reserved(&self, offset: u64) -> bool {
        offset >= self.reserved_start().into()
    }

    /// Shared memory of a block.
    pub fn shared_bytes(&self) -> usize {
        if self.code.specials.iter().any(|(special, _)| special.is_reserved_smem()) {
            (self.reserved_start() + RESERVED) as usize
        } else {
            self.own_shared_bytes() as usize
        }
    }

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
        if threads == 1 {
            counted.push(self.work(&queue, 1));
        } else {
            std::thread::scope(|scope| {
                let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| self.work(&queue, threads))).collect();
                for worker in workers {
                    match worker.join() {
                        Ok(result) => counted.push(result),
                        Err(panic) => std::panic::resume_unwind(panic),
                    }
                }
            });
        }
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
