//! What the heap says: a training run takes what its plan says, and a training step allocates nothing.
//!
//! One test in a process of its own, because the counting allocator counts the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rewind::cpu::Cpu;
use rewind::data::Dataset;
use rewind::field::Basic;
use rewind::scheme::Scheme;
use rewind::sweep::{Gradient, SweepSpec};
use rewind_train::budget;
use rewind_train::config::{NetKind, RunConfig};
use rewind_train::folder::RunFolder;
use rewind_train::log::{Log, LogKind};
use rewind_train::run::Run;
use rewind_train::synthetic;

/// Counts allocations and live bytes of the whole process, all threads.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed on to the system's allocator; counting changes no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn count(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    let live = LIVE.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
    PEAK.fetch_max(live, Ordering::Relaxed);
}

#[global_allocator]
static HEAP: Counting = Counting;

static RUNNING: AtomicBool = AtomicBool::new(false);

fn config(net: NetKind, sweep: SweepSpec) -> RunConfig {
    RunConfig {
        net,
        // a staged net's theta is shared too
        tied: net == NetKind::Staged,
        blocks: vec![2, 2],
        widths: vec![4, 8],
        depth: 3,
        channels: 8,
        // at the default rate so shallow a net's reconstruction falls apart within an epoch
        lr: 0.01,
        batch: 64,
        epochs: Some(1),
        sweep,
        ..RunConfig::default()
    }
}

/// Trains `steps` steps into a new folder; returns the allocations of the whole and the peak of live bytes over the start.
fn train(cpu: &Cpu, dataset: &Arc<Dataset>, config: &RunConfig, steps: u64) -> (u64, u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = RunFolder::claim(Some(folder.path()), "run").expect("an empty folder");
    let mut log = Log::new(LogKind::Quiet);
    let config = RunConfig { max_steps: Some(steps), ..config.clone() };
    let (allocations, live) = (ALLOCATIONS.load(Ordering::SeqCst), LIVE.load(Ordering::SeqCst));
    PEAK.store(live, Ordering::SeqCst);
    // one job from outside: the pool's queue for those allocates a block now and then
    cpu.install(|| {
        let mut run = Run::new(cpu, config, dataset.clone(), None, &RUNNING).expect("run");
        run.train(&folder, &mut log).expect("training");
    });
    (ALLOCATIONS.load(Ordering::SeqCst) - allocations, PEAK.load(Ordering::SeqCst) - live)
}

#[test]
fn a_step_allocates_nothing_and_the_heap_holds_what_was_planned() {
    let cpu = Cpu::new(Some(2)).expect("cpu");
    let dataset = Arc::new(synthetic::generate(0));
    let gradients = [
        Gradient::Auto,
        Gradient::Coded,
        Gradient::Corrected,
        Gradient::Adjoint,
        Gradient::Backprop,
        Gradient::Checkpoint,
    ];
    let tiny = [Scheme::Euler, Scheme::Heun]
        .into_iter()
        .flat_map(|scheme| gradients.map(|gradient| (NetKind::Tiny, SweepSpec::new(scheme, gradient), 305)));
    // a staged net's maps are ten times as large
    let staged = [Gradient::Auto, Gradient::Corrected, Gradient::Backprop]
        .map(|gradient| (NetKind::Staged, SweepSpec::new(Scheme::Heun, gradient), 35));
    for (net, sweep, steps) in tiny.chain(staged) {
        let (what, config) = (format!("{net} {} {}", sweep.scheme, sweep.gradient), config(net, sweep));
        // threads, their queues and standard output allocate on first use
        train(&cpu, &dataset, &config, 3);
        let (few, _) = train(&cpu, &dataset, &config, 5);
        let (many, peak) = train(&cpu, &dataset, &config, steps);
        // the texts around the steps hold times, whose digits vary and with them the growth of a string or two; and a thread's queue of tasks,
        // 64 of 16 bytes, grows and shrinks now and then: four times in 300 steps of one mode. Less than one allocation in ten steps.
        assert!(many < few + (steps - 5) / 10, "{what}: {} more steps made {} more allocations", steps - 5, many - few);

        // the data set was there before
        let planned = budget::planned::<_, Basic>(&cpu, &config, &dataset).unwrap().total() - dataset.bytes();
        println!("{what}: planned {planned} bytes, peak of the heap {peak}");
        assert!(peak >= planned, "{what}: planned {planned} bytes and the heap held {peak}");
        // names of tensors, the checkpoint's header and buffers, the picture: nothing that grows with the batch
        assert!(peak < planned + (1 << 20), "{what}: planned {planned}, the heap held {peak}");
    }
}
