//! Throughput of every operation of a device, of a block forward and backward, and of a whole training step.
//!
//! `cargo bench --bench blocks -- inverse_vjp` runs what has this in its ID. IDs are `operation/device/shape`, and
//! `operation/device_primitives/shape` for a fused operation's definition; the same on the CPU and, where there is one, on
//! the GPU. Throughput is in FLOP, 2 per multiply-add of a direct convolution, padding counted, so that criterion's `elem/s`
//! reads FLOP/s; in bytes where memory bounds the operation. At the end a table sets all of it against the machine's peak.

#[path = "../bed/mod.rs"]
mod bed;
mod block;
mod convolutions;
mod elementwise;
mod ends;
mod fractions;
mod fused;
mod harness;
#[path = "../machine/mod.rs"]
mod machine;
mod norms;
mod step;
#[path = "../training/mod.rs"]
mod training;

use std::time::Duration;

use criterion::Criterion;
use rewind::cpu::Cpu;
#[cfg(feature = "cuda")]
use rewind::cuda::Cuda;
use rewind::device::Device;

use crate::fractions::{Session, estimates_folder};
use crate::harness::Bench;
use crate::machine::Peak;

/// The device whose results the machine's peak is the measure of.
const CPU: &str = "cpu";

fn main() {
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    // as criterion decides it
    let testing = given("--test") || !given("--bench");
    let folder = estimates_folder();
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_millis(1500))
        .output_directory(&folder)
        .configure_from_args();
    let mut session = Session::begin(folder);
    let cpu = Cpu::new(None).expect("the machine starts a thread a core");
    let peak = (!given("--list")).then(|| Peak::measure(&cpu, testing));
    if let Some(peak) = peak.as_ref().filter(|_| !testing) {
        println!("{}\n{peak}\n", cpu.name());
    }
    all(&mut Bench { criterion: &mut criterion, device: CPU, d: &cpu, session: &mut session });
    #[cfg(feature = "cuda")]
    match Cuda::open(0, rewind::device::Math::Tf32) {
        Ok(gpu) => all(&mut Bench { criterion: &mut criterion, device: "cuda", d: &gpu, session: &mut session }),
        Err(reason) => eprintln!("no GPU is measured: {reason}"),
    }
    criterion.final_summary();
    if let Some(peak) = peak {
        session.report(&peak);
    }
}

fn all<D: Device<Real = f32>>(bench: &mut Bench<'_, D>) {
    convolutions::all(bench);
    norms::all(bench);
    elementwise::all(bench);
    ends::all(bench);
    fused::all(bench);
    block::all(bench);
    step::all(bench);
}
