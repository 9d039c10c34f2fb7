//! The checks against plain vector clocks for every thread, on small random programs.
//!
//! The oracle keeps every access to every byte and follows the memory model to the letter; it is far too slow for
//! kernels. What the checks find must be a race there, with the very access that they name. Where only barriers order,
//! they must find the first race as well.

mod checking;

use std::collections::HashMap;

use checking::{Grid, With, read};
use proptest::prelude::*;
use rewind_emulator::check::{Access, FenceScope, Finding, Kind, What};

const BLOCKS: usize = 2;
const WARPS: usize = 3;
/// Lanes in use.
const LANES: usize = 3;
const THREADS: usize = BLOCKS * WARPS * LANES;
/// Bytes of shared and of global memory in use.
const BYTES: u32 = 8;
const SHARED_FLAG: u32 = 64;
const ALL: u32 = (1 << LANES) - 1;

type Clock = [u32; THREADS];

fn thread(block: usize, warp: usize, lane: usize) -> usize {
    (block * WARPS + warp) * LANES + lane
}

fn join(into: &mut Clock, from: &Clock) {
    for (into, from) in into.iter_mut().zip(from) {
        *into = (*into).max(*from);
    }
}

/// One byte's access by a thread, which knew `at` of itself.
#[derive(Clone, Copy)]
struct Seen {
    thread: usize,
    at: u32,
    line: u32,
    kind: Kind,
    strong: bool,
}

/// Memory is either a block's shared memory or the global one.
type Byte = (Option<usize>, u32);

#[derive(Clone)]
struct Oracle {
    clocks: [Clock; THREADS],
    /// Released by the last fence, and taken up since: for the block and for the GPU.
    released: [[Clock; 2]; THREADS],
    taken: [[Clock; 2]; THREADS],
    /// What can be taken up at a flag, by block and by GPU.
    places: HashMap<(Byte, Option<usize>), Clock>,
    arrived: HashMap<(usize, u32), Clock>,
    history: HashMap<Byte, Vec<Seen>>,
}

impl Oracle {
    fn new() -> Oracle {
        let mut clocks = [[0; THREADS]; THREADS];
        for (thread, clock) in clocks.iter_mut().enumerate() {
            clock[thread] = 1;
        }
        Oracle {
            clocks,
            released: [[[0; THREADS]; 2]; THREADS],
            taken: [[[0; THREADS]; 2]; THREADS],
            places: HashMap::new(),
            arrived: HashMap::new(),
            history: HashMap::new(),
        }
    }

    /// All accesses that race with this one, and takes it in. Lanes go one after the other.
    fn access(&mut self, block: usize, shared: bool, access: &Access, offsets: &[u32; 32]) -> Vec<Race> {
        let mut races = Vec::new();
        for lane in (0..LANES).filter(|lane| access.mask >> lane & 1 == 1) {
            let me = thread(block, access.warp as usize, lane);
            let strong = access.strong || access.kind == Kind::Atomic;
            for byte in offsets[lane]..offsets[lane] + access.bytes {
                let history = self.history.entry((shared.then_some(block), byte)).or_default();
                for &earlier in history.iter() {
                    let write = earlier.kind != Kind::Read || access.kind != Kind::Read;
                    let ordered = earlier.thread == me || earlier.at <= self.clocks[me][earlier.thread];
                    if write && !ordered && !(strong && earlier.strong) {
                        races.push(Race { lane: lane as u32, byte, earlier });
                    }
                }
                let (at, line) = (self.clocks[me][me], access.line);
                history.push(Seen { thread: me, at, line, kind: access.kind, strong });
            }
            if strong {
                self.flag((shared.then_some(block), offsets[lane]), block, me, access.kind);
            }
        }
        races
    }

    fn flag(&mut self, place: Byte, block: usize, me: usize, kind: Kind) {
        // A plain write ends what earlier writes passed on; an atomic goes on with it.
        if kind == Kind::Write {
            self.places.retain(|(old, _), _| *old != place);
        }
        for (wide, key) in [(0, Some(block)), (1, None)] {
            if kind != Kind::Read {
                let clock = self.places.entry((place, key)).or_insert([0; THREADS]);
                join(clock, &self.released[me][wide]);
            }
            if kind != Kind::Write
                && let Some(clock) = self.places.get(&(place, key))
            {
                join(&mut self.taken[me][wide], clock);
            }
        }
    }

    fn tick(&mut self, thread: usize) {
        self.clocks[thread][thread] += 1;
    }

    fn fence(&mut self, block: usize, warp: usize, scope: FenceScope) {
        for me in (0..LANES).map(|lane| thread(block, warp, lane)) {
            let wide = if scope == FenceScope::Gpu { 2 } else { 1 };
            for taken in &mut self.taken[me][..wide] {
                join(&mut self.clocks[me], taken);
            }
            self.released[me][..wide].fill(self.clocks[me]);
            self.tick(me);
        }
    }

    fn meet(&mut self, threads: &[usize], start: Clock) {
        let mut joint = start;
        for &thread in threads {
            join(&mut joint, &self.clocks[thread]);
        }
        for &thread in threads {
            self.clocks[thread] = joint;
            self.tick(thread);
        }
    }

    fn arrive(&mut self, block: usize, barrier: u32, warp: usize) {
        for me in (0..LANES).map(|lane| thread(block, warp, lane)) {
            join(self.arrived.entry((block, barrier)).or_insert([0; THREADS]), &self.clocks[me]);
            self.tick(me);
        }
    }
}

#[derive(Clone, Copy)]
struct Race {
    lane: u32,
    byte: u32,
    earlier: Seen,
}

#[derive(Debug, Clone)]
enum Step {
    Access { shared: bool, access: Access, offsets: [u32; 3] },
    WarpSync { warp: usize, mask: u32 },
    Barrier { id: u32, warps: u32 },
    Arrive { id: u32, warp: usize },
    Fence { warp: usize, scope: FenceScope },
}

fn access(weak_only: bool) -> impl Strategy<Value = Step> {
    let size = prop_oneof![3 => Just(4u32), 1 => Just(1), 1 => Just(2), 1 => Just(8)];
    let kind = prop_oneof![3 => Just(Kind::Read), 2 => Just(Kind::Write), 1 => Just(Kind::Atomic)];
    (any::<bool>(), 0..WARPS as u32, 1..=ALL, size, kind, 0..4u32, any::<[u8; 3]>()).prop_map(
        move |(shared, warp, mask, bytes, kind, mode, at)| {
            let kind = if weak_only && kind == Kind::Atomic { Kind::Write } else { kind };
            let strong = !weak_only && mode == 0;
            // Half of the strong accesses go to a flag, so that messages pass.
            if !weak_only && mode < 2 {
                let access = read(warp).bytes(4).kind(kind).lanes(mask).strong();
                return Step::Access { shared, access, offsets: [SHARED_FLAG; 3] };
            }
            let access = Access { strong, ..read(warp).bytes(bytes).kind(kind).lanes(mask) };
            let distinct = kind == Kind::Write;
            let offsets = std::array::from_fn(|lane| {
                let slots = BYTES / bytes;
                let slot = if distinct { u32::from(at[0]) + lane as u32 } else { u32::from(at[lane]) };
                slot % slots * bytes
            });
            Step::Access { shared, access, offsets }
        },
    )
}

fn steps(weak_only: bool, length: usize) -> impl Strategy<Value = Vec<(usize, Step)>> {
    let scope = prop_oneof![Just(FenceScope::Block), Just(FenceScope::Gpu)];
    let step = if weak_only {
        prop_oneof![
            6 => access(true),
            2 => (0..WARPS).prop_map(|warp| Step::WarpSync { warp, mask: u32::MAX }),
            1 => Just(Step::Barrier { id: 0, warps: (1 << WARPS) - 1 }),
        ]
        .boxed()
    } else {
        prop_oneof![
            8 => access(false),
            2 => (0..WARPS, prop_oneof![1..=ALL, Just(u32::MAX)])
                .prop_map(|(warp, mask)| Step::WarpSync { warp, mask }),
            1 => (0..3u32, 1..1u32 << WARPS).prop_map(|(id, warps)| Step::Barrier { id, warps }),
            1 => (0..3u32, 0..WARPS).prop_map(|(id, warp)| Step::Arrive { id, warp }),
            4 => (0..WARPS, scope).prop_map(|(warp, scope)| Step::Fence { warp, scope }),
        ]
        .boxed()
    };
    prop::collection::vec((0..BLOCKS, step), 1..length)
}

/// Whether the finding is this race.
fn names(finding: &Finding, race: &Race, shared: bool) -> bool {
    let other = finding.other.expect("a race has two sides");
    let base = if shared { 0 } else { checking::GLOBAL };
    finding.lane == race.lane
        && finding.address == base + u64::from(race.byte)
        && thread(other.block as usize, other.warp as usize, other.lane as usize) == race.earlier.thread
        && other.line == race.earlier.line
        && other.kind == race.earlier.kind
}

/// Runs a program until the first finding. Accesses that race in the oracle's eyes can be left out.
fn run(program: &[(usize, Step)], leave_out_races: bool) -> Result<Outcome, TestCaseError> {
    let mut grid = Grid::new(BLOCKS as u32, WARPS as u32);
    let mut oracle = Oracle::new();
    // Everything is written first, by a thread of each block that all others of the block then meet.
    for block in 0..BLOCKS {
        let all = Access { line: 0, ..checking::write(0).lanes(1).bytes(8) };
        for offset in [0, SHARED_FLAG] {
            grid.shared(block, all, [offset; 32]).expect("first");
        }
        grid.barrier(block);
    }
    let mut missed = 0;
    for (index, (block, step)) in program.iter().enumerate() {
        let block = *block;
        match step {
            Step::Access { shared, access, offsets } => {
                let access = access.line(index as u32 + 1);
                let row = std::array::from_fn(|lane| offsets.get(lane).copied().unwrap_or(0));
                let before = leave_out_races.then(|| oracle.clone());
                let races = oracle.access(block, *shared, &access, &row);
                if let Some(before) = before
                    && !races.is_empty()
                {
                    oracle = before;
                    continue;
                }
                let result = if *shared { grid.shared(block, access, row) } else { grid.global(block, access, row) };
                if let Err(finding) = result {
                    let alarm = races.iter().any(|race| names(&finding, race, *shared));
                    prop_assert!(alarm, "false alarm at step {}: {}", index, finding);
                    let kind = if *shared { What::SharedRace } else { What::GlobalRace };
                    prop_assert!(finding.what == kind || finding.what == What::SameInstructionWrite);
                    return Ok(Outcome { found: true, missed });
                }
                missed += usize::from(!races.is_empty());
            }
            Step::WarpSync { warp, mask } => {
                grid.warp_sync(block, *warp as u32, *mask);
                let lanes = (0..LANES).filter(|lane| mask >> lane & 1 == 1);
                oracle.meet(&lanes.map(|lane| thread(block, *warp, lane)).collect::<Vec<_>>(), [0; THREADS]);
            }
            Step::Barrier { id, warps } => {
                let warps: Vec<_> = (0..WARPS).filter(|warp| warps >> warp & 1 == 1).collect();
                grid.blocks[block].barrier(*id, &warps.iter().map(|&warp| warp as u32).collect::<Vec<_>>());
                let threads = warps.iter().flat_map(|&warp| (0..LANES).map(move |lane| thread(block, warp, lane)));
                let arrived = oracle.arrived.remove(&(block, *id)).unwrap_or([0; THREADS]);
                oracle.meet(&threads.collect::<Vec<_>>(), arrived);
            }
            Step::Arrive { id, warp } => {
                grid.blocks[block].arrive(*id, *warp as u32);
                oracle.arrive(block, *id, *warp);
            }
            Step::Fence { warp, scope } => {
                grid.blocks[block].fence(*warp as u32, *scope);
                oracle.fence(block, *warp, *scope);
            }
        }
    }
    Ok(Outcome { found: false, missed })
}

struct Outcome {
    found: bool,
    /// Steps before the finding in which the oracle saw a race.
    missed: usize,
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 10_000,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(7),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_finding_is_a_race(program in steps(false, 40)) {
        run(&program, false)?;
    }

    #[test]
    fn programs_without_races_stay_silent(program in steps(false, 150)) {
        prop_assert!(!run(&program, true)?.found);
    }

    #[test]
    fn where_only_barriers_order_no_race_is_missed(program in steps(true, 40)) {
        prop_assert_eq!(run(&program, false)?.missed, 0);
    }
}

#[test]
fn most_random_programs_race_late_enough_to_try_the_order() {
    // Guards the two tests above against programs that end at their first step or never race.
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::new(config());
    let (mut found, mut silent) = (0, 0);
    for _ in 0..1000 {
        let program = steps(false, 40).new_tree(&mut runner).expect("no filter").current();
        let outcome = run(&program, false).expect("no false alarm");
        found += usize::from(outcome.found);
        silent += usize::from(!outcome.found);
    }
    assert!(found > 300 && silent > 100, "{found} found, {silent} silent");
}
