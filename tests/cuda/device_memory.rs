//! What the driver tells of the device's memory, against what the arena holds.

use crate::support::gpu::{emulator, gpu, ran_apart, turn};
use crate::support::{NO_SGD, SCHEMES, batch, small};
use rewind::cpu::Cpu;
use rewind::device::Device;
use rewind::device::Math;
use rewind::init::Init;
use rewind::net::{Net, NetSpec};
use rewind::sweep::{Gradient, SweepSpec};

#[test]
fn the_driver_counts_the_arena_and_little_else() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    let cuda = gpu(Math::Tf32);
    let opened = cuda.device_memory().expect("a driver tells");
    assert!(opened.free_at_open_bytes <= opened.total_bytes && opened.free_now_bytes <= opened.free_at_open_bytes);
    let sweep = SweepSpec::new(SCHEMES[0], Gradient::Corrected);
    let mut net = Net::new(&cuda, NetSpec { sweep, ..small(sweep, 4, 16, 4) }, Init::Paper, 0).expect("net");
    batch(&mut net, &cuda, 4);
    net.train_step(&cuda, NO_SGD).expect("step");
    let trained = cuda.device_memory().expect("a driver tells");
    let (arena, taken) = (net.memory().total(), opened.free_now_bytes - trained.free_now_bytes);
    if emulator().is_none() {
        // a real driver gives whole chunks, and other processes come and go
        return eprintln!("{taken} bytes taken for an arena of {arena}");
    }
    // the arena to the byte, and the small workspace that a first cooperative launch may take for the grid's barrier
    assert!((arena..arena + 256).contains(&taken), "{taken} bytes taken for an arena of {arena}");
    // what opening takes besides: 16384 counters of the kernels' reductions, the flag of the finite check, and the modules'
    // variables, of which the kernels have none
    let around = trained.taken_bytes() - taken;
    assert!(around <= 4 * 16384 + 256, "{around} bytes taken by opening");
    drop(net);
    // the first cooperative launch leaves the driver a small workspace for the grid's barrier, which it keeps
    let left = opened.free_now_bytes - cuda.device_memory().expect("a driver tells").free_now_bytes;
    assert!(left < 256, "{left} bytes are not given back");
}

#[test]
fn the_cpu_has_no_memory_of_its_own() {
    assert_eq!(Cpu::new(Some(1)).expect("cpu").device_memory(), None);
}
