//! A block: its warps, its shared memory, its sixteen barriers.
//!
//! One host thread runs a block at a time, warp after warp, each until it waits. If no warp can go on and not all have
//! ended, some thread skipped a barrier that others wait at.

use std::sync::Arc;

use crate::check::BlockChecks;
use crate::counters::Counters;
use crate::exec::chain::{BlockChain, Steps};
use crate::exec::code::Action;
use crate::exec::run::barrier::Barriers;
use crate::exec::run::env::{Env, Faulty, Grid, RESERVED, thread};
use crate::exec::run::order::Order;
use crate::exec::run::warp::{State, Stop, Warp};
use crate::fault::{Fault, FaultKind};
use crate::lanes::{Lane, Lanes, WARP};
use crate::memory::Cells;
use crate::ptx::SpecialRegister;

/// Instructions that a warp runs before the next one gets a turn, in natural order.
const SLICE: u64 = 1 << 16;
/// The same when warps wait for other blocks.
const SHORT_SLICE: u64 = 2048;
/// Rounds over all warps after which a block that is still running lets another one run.
const ROUNDS: u32 = 64;

/// A resident block.
pub(in crate::exec) struct Block {
    index: [u32; 3],
    linear: u32,
    threads: u32,
    warps: Vec<Warp>,
    shared: Cells,
    barriers: Barriers,
    checks: Option<BlockChecks>,
    chain: Option<BlockChain>,
    order: Order,
}

/// How a block's turn ended.
pub(in crate::exec) enum Turn {
    Done,
    /// It can go on, and perhaps waits for another block.
    Running,
}

impl Block {
    /// Memory for the blocks of a grid; [`Block::start`] makes it one of them. `None` if the system has none left.
    pub fn new(grid: &Grid<'_>) -> Option<Block> {
        let threads = grid.launch.block.iter().product::<u32>();
        let code = grid.code;
        let mut warps = Vec::new();
        for index in 0..threads.div_ceil(WARP as u32) {
            let lanes = Lanes::new(grid.file.rows, code.predicates, code.constants.clone());
            let bytes = code.local_stride() * WARP;
            let written = match grid.options.checks {
                true => Some(Cells::zeroed(bytes)?),
                false => None,
            };
            warps.push(Warp::new(index, lanes, Cells::zeroed(bytes)?, written));
        }
        let shared = Cells::zeroed(grid.shared_bytes())?;
        let steps = || code.steps.get_or_init(|| Arc::new(Steps::of(code))).clone();
        let chain = grid.latencies.map(|latencies| BlockChain::new(latencies, warps.len(), steps()));
        let (barriers, order) = (Barriers::default(), Order::natural());
        Some(Block { index: [0; 3], linear: 0, threads, warps, shared, barriers, checks: None, chain, order })
    }

    /// Becomes the block of this number.
    pub fn start(&mut self, grid: &Grid<'_>, linear: u32) {
        let [x, y, _] = grid.launch.grid;
        self.linear = linear;
        self.index = [linear % x, linear / x % y, linear / x / y];
        self.barriers = Barriers::default();
        self.shared.fill(0, self.shared.bytes(), 0);
        self.order = Order::new(grid.options.shuffle, linear);
        self.chain.iter_mut().for_each(BlockChain::reset);
        let warps = self.warps.len() as u32;
        match (&mut self.checks, &grid.checks) {
            (Some(checks), _) => checks.restart(linear),
            (none, Some(launch)) => *none = Some(BlockChecks::new(launch, linear, warps, self.shared.bytes())),
            (_, None) => {}
        }
        for index in 0..self.warps.len() {
            let first = index as u32 * WARP as u32;
            let here = (self.threads - first).min(WARP as u32);
            self.warps[index].start(if here == WARP as u32 { u32::MAX } else { (1 << here) - 1 });
            self.fill_specials(grid, index);
        }
    }

    fn fill_specials(&mut self, grid: &Grid<'_>, warp: usize) {
        use SpecialRegister::*;
        let launch = grid.launch;
        let first = warp as u32 * WARP as u32;
        let threads: [[u32; 3]; WARP] = std::array::from_fn(|lane| thread(launch.block, first + lane as u32));
        let every = |value: u32| [value; WARP];
        for &(special, slot) in &grid.file.specials {
            let values: [u32; WARP] = match special {
                TidX => threads.map(|t| t[0]),
                TidY => threads.map(|t| t[1]),
                TidZ => threads.map(|t| t[2]),
                NtidX => every(launch.block[0]),
                NtidY => every(launch.block[1]),
                NtidZ => every(launch.block[2]),
                CtaidX => every(self.index[0]),
                CtaidY => every(self.index[1]),
                CtaidZ => every(self.index[2]),
                NctaidX => every(launch.grid[0]),
                NctaidY => every(launch.grid[1]),
                NctaidZ => every(launch.grid[2]),
                Laneid => std::array::from_fn(|lane| lane as u32),
                Warpid => every(warp as u32),
                Nwarpid => every(grid.profile.max_threads_per_sm / WARP as u32),
                Smid => every(self.linear % grid.profile.sm_count),
                Nsmid => every(grid.profile.sm_count),
                LanemaskEq => std::array::from_fn(|lane| 1 << lane),
                LanemaskLt => std::array::from_fn(|lane| (1 << lane) - 1),
                LanemaskLe => std::array::from_fn(|lane| u32::MAX >> (31 - lane)),
                LanemaskGt => std::array::from_fn(|lane| !(u32::MAX >> (31 - lane))),
                LanemaskGe => std::array::from_fn(|lane| !((1 << lane) - 1)),
                DynamicSmemSize => every(launch.dynamic_shared),
                TotalSmemSize => every(self.shared.bytes() as u32),
                ReservedSmemBegin | ReservedSmem0 => every(grid.reserved_start()),
                ReservedSmem1 => every(grid.reserved_start() + RESERVED / 2),
                ReservedSmemEnd => every(grid.reserved_start() + RESERVED),
                ReservedSmemCap => every(RESERVED),
                WarpSize => every(WARP as u32),
                // How cooperative groups find the grid's barrier: the upper and lower half of its workspace's address.
                Envreg1 => every((grid.workspace >> 32) as u32),
                Envreg2 => every(grid.workspace as u32),
                Gridid => {
                    u64::store(&mut self.warps[warp].lanes, slot, [grid.serial; WARP], u32::MAX);
                    continue;
                }
                // Read by an operation of their own.
                Clock | ClockHi | Clock64 | Globaltimer | GlobaltimerLo | GlobaltimerHi => continue,
            };
            u32::store(&mut self.warps[warp].lanes, slot, values, u32::MAX);
        }
    }

    /// Runs for a while.
    pub fn turn(&mut self, grid: &Grid<'_>, counters: Option<&mut Counters>) -> Faulty<Turn> {
        let Block { warps, shared, barriers, checks, chain, order, .. } = self;
        let (checks, chain) = (checks.as_mut(), chain.as_mut());
        let mut env = Env { grid, shared, checks, counters, chain, block: self.index };
        let slice = if grid.launch.cooperative { SHORT_SLICE } else { SLICE };
        for _ in 0..if grid.launch.cooperative { 1 } else { ROUNDS } {
            let (mut moved, mut done) = (false, true);
            for w in order.warps(warps.len()) {
                let alive = warps[w].alive;
                let mut yields = false;
                while !yields && warps[w].is_ready() {
                    moved = true;
                    match warps[w].run(&mut env, order.slice(slice))? {
                        Stop::Barrier { at, mask } => barriers.reached(warps, &mut env, w, at, mask)?,
                        Stop::Slice | Stop::Done | Stop::Blocked => yields = true,
                    }
                    // Also behind barriers: a loop of barriers that the block meets at again and again ends no slice.
                    if warps[w].executed > grid.options.instruction_limit && warps[w].alive != 0 {
                        return Err(stuck(&warps[w], &env));
                    }
                }
                // Where nobody checks, barriers do not wait for threads that have ended, as on hardware.
                if !grid.options.checks && warps[w].alive != alive {
                    barriers.settle_all(warps, &mut env)?;
                }
                done &= warps[w].alive == 0;
            }
            if done {
                if let (Some(counters), Some(chain)) = (env.counters, env.chain) {
                    counters.ended(chain.clocks());
                }
                return Ok(Turn::Done);
            }
            if !moved {
                return Err(skipped(warps, &env));
            }
        }
        Ok(Turn::Running)
    }
}

/// The fault of a warp that ran into the limit of instructions.
fn stuck(warp: &Warp, env: &Env<'_, '_>) -> Box<Fault> {
    // The lanes that would go on; the others only wait for them.
    let ready = warp.groups.iter().filter(|g| g.state == State::Ready).min_by_key(|g| g.pc);
    let group = ready.or(warp.groups.first());
    let at = group.map_or(0, |g| if g.state == State::Ready { g.pc } else { g.at });
    let op = &env.grid.code.ops[(at as usize).min(env.grid.code.ops.len() - 1)];
    let what = format!(
        "the warp has run {} instructions and still does not end: an endless loop, or a wait for something that never \
         comes",
        warp.executed
    );
    env.fault(FaultKind::Stuck, warp.index, op, group.map_or(1, |g| g.mask), None, what)
}

/// The fault when every thread waits: names one that waits, and one that is elsewhere.
fn skipped(warps: &[Warp], env: &Env<'_, '_>) -> Box<Fault> {
    let code = env.grid.code;
    let waiting = warps.iter().flat_map(|w| w.groups.iter().map(move |g| (w, g)));
    let at_barrier = |g: &crate::exec::run::warp::Group| matches!(g.state, State::Barrier { .. });
    let chosen = waiting.clone().min_by_key(|(w, g)| (!at_barrier(g), w.index, g.at));
    let Some((warp, group)) = chosen else {
        let op = &code.ops[0];
        return env.fault(FaultKind::Stuck, 0, op, 1, None, "no thread can go on".into());
    };
    let op = &code.ops[group.at as usize];
    let place = |w: &Warp, lanes: u32| thread(env.grid.launch.block, w.index * 32 + lanes.trailing_zeros() % 32);
    // Somebody who waits elsewhere, or has ended.
    let elsewhere = waiting.clone().find(|(_, g)| code.ops[g.at as usize].line != op.line).map(|(w, g)| {
        let line = code.ops[g.at as usize].line;
        format!("thread {:?} waits at line {line} (`{}`)", place(w, g.mask), code.text(line).trim())
    });
    let threads = env.grid.launch.block.iter().product::<u32>();
    let ended = warps.iter().find_map(|w| {
        let all = (threads - w.index * 32).min(32);
        let lane = (0..all).find(|l| w.alive >> l & 1 == 0)?;
        let line = w.ended_at[lane as usize];
        Some(format!("thread {:?} ended at line {line}", place(w, 1 << lane)))
    });
    let other = ended.into_iter().chain(elsewhere).collect::<Vec<_>>().join(", and ");
    if at_barrier(group) {
        let here = waiting.filter(|(_, g)| code.ops[g.at as usize].line == op.line);
        let count: u32 = here.map(|(_, g)| g.mask.count_ones()).sum();
        let what = format!("{count} of {threads} threads wait at a barrier that the others skip: {other}");
        return env.fault(FaultKind::Barrier, warp.index, op, group.mask, None, what);
    }
    let mask = if let State::Gather { mask } = group.state { mask } else { 0 };
    let missing = mask & !group.mask;
    let what = format!(
        "lanes {:#010x} wait for lanes {missing:#010x} of their warp, which do not come{}{other}",
        group.mask,
        if other.is_empty() { "" } else { ": " }
    );
    let kind = if matches!(op.action, Action::Shuffle(_)) { FaultKind::Shuffle } else { FaultKind::Convergence };
    env.fault(kind, warp.index, op, group.mask, None, what)
}
