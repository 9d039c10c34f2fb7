//! Where a training step's time goes: every operation of every phase beside the least time that it could take here.
//!
//! `cargo bench --bench profile`, `-- adjoint` for one gradient mode, `-- --write` to renew `benches/results/profile.csv`. The
//! default net at depth 16 on the CPU, with a clock around every operation; `Grain` says how far fused ones are taken apart.
//! A table is that of the step with the median total time. The direct floor of an operation is its multiply-adds done
//! directly at the measured FMA peak, or its operands read and written once at the measured copy bandwidth, whichever takes
//! longer: an algorithm with fewer multiplications may be below it, and so may one whose operands lie in cache.

mod cost;
mod grain;
mod ledger;
#[path = "../machine/mod.rs"]
mod machine;
mod table;
mod timed;
#[path = "../training/mod.rs"]
mod training;

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use rewind::Result;
use rewind::cpu::Cpu;
use rewind::device::Device;
use rewind::scheme::Scheme;
use rewind::sweep::{Gradient, SweepSpec};
use rewind_paper::table::csv;

use crate::grain::Grain;
use crate::ledger::Ledger;
use crate::machine::Peak;
use crate::timed::Timed;
use crate::training::{Training, default_net};

const DEPTH: usize = 16;
/// Steps before the clock counts: caches, pages and branch predictors settle.
const WARM_UP: usize = 3;
const STEPS: usize = 21;

/// What is profiled without a choice.
const PROFILES: [(Gradient, Grain); 6] = [
    (Gradient::Adjoint, Grain::Whole),
    (Gradient::Corrected, Grain::Whole),
    (Gradient::Corrected, Grain::Parts),
    (Gradient::Corrected, Grain::Primitives),
    (Gradient::Backprop, Grain::Whole),
    (Gradient::Backprop, Grain::Primitives),
];

/// Profiles the training step.
#[derive(Parser)]
struct Arguments {
    /// Gradient modes, all grains of each; three modes if none are given.
    modes: Vec<Gradient>,
    /// Renew benches/results/profile.csv.
    #[arg(long)]
    write: bool,
    /// One step each, to see that it runs: the figures mean nothing.
    #[arg(long)]
    test: bool,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let cpu = Cpu::new(None)?;
    // cargo adds --bench when it measures, as criterion takes it
    let testing = arguments.test || !arguments.bench;
    let peak = Peak::measure(&cpu, testing);
    println!("{}\n{peak}", cpu.name());
    let chosen = |mode: &Gradient| Grain::value_variants().iter().map(|grain| (*mode, *grain)).collect::<Vec<_>>();
    let profiles = match &arguments.modes[..] {
        [] => PROFILES.to_vec(),
        modes => modes.iter().flat_map(chosen).collect(),
    };
    let mut rows = Vec::new();
    for (gradient, grain) in profiles {
        if testing && grain == Grain::Whole {
            changes_no_bit(gradient)?;
        }
        let step = median_step(gradient, grain, if testing { 1 } else { STEPS })?;
        println!("\n{gradient}, depth {DEPTH}, {grain}: {:.2} ms per step", step.total.as_secs_f64() * 1e3);
        print!("{}", table::text(&step, &peak));
        rows.extend(table::rows([gradient.to_string(), grain.to_string()], &step, &peak));
    }
    if arguments.write {
        let (file, csv) = ("benches/results/profile.csv", csv(&table::CSV_HEADER, rows));
        let written = std::fs::create_dir_all("benches/results").and_then(|()| std::fs::write(file, csv));
        written.map_err(|reason| format!("cannot write {file}: {reason}"))?;
        println!("\nwritten to {file}");
    }
    Ok(())
}

/// Trains with the clock and without, and compares the losses.
fn changes_no_bit(gradient: Gradient) -> Result<()> {
    let spec = default_net(DEPTH, SweepSpec::new(Scheme::Euler, gradient));
    let cpu = Cpu::new(None)?;
    let timed = Timed::new(Cpu::new(None)?, Grain::Whole);
    let (mut plain, mut clocked) = (Training::new(&cpu, spec), Training::new(&timed, spec));
    for step in 0..3 {
        assert_eq!(plain.step(&cpu)?, clocked.step(&timed)?, "the loss of step {step}, without and with the clock");
    }
    Ok(())
}

/// The step of the median total time.
fn median_step(gradient: Gradient, grain: Grain, steps: usize) -> Result<Ledger> {
    let timed = Timed::new(Cpu::new(None)?, grain);
    let sweep = SweepSpec::new(Scheme::Euler, gradient);
    let mut training = Training::new(&timed, default_net(DEPTH, sweep));
    let mut ledgers = timed.install(|| {
        for _ in 0..WARM_UP.min(steps) {
            training.step(&timed)?;
        }
        let step = |_| {
            timed.take();
            let start = Instant::now();
            training.step(&timed)?;
            Ok(timed.take().closed(start.elapsed()))
        };
        (0..steps).map(step).collect::<Result<Vec<_>>>()
    })?;
    ledgers.sort_by_key(|ledger| ledger.total);
    Ok(ledgers.swap_remove(steps / 2))
}
