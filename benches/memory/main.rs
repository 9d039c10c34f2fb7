//! The project's central picture: what a training step takes at depth 4 to 4096 in each gradient mode, planned and measured.
//!
//! `cargo bench --bench memory` plans every cell with the library's own plan and runs two real training steps of every cell
//! that fits, each in a process of its own; it fails where what was taken is not what was planned, to the byte. It prints
//! tables and writes `memory.csv` and `memory.svg` under `target/bench/`; `-- --help` lists its options. Started by
//! `cargo test --benches`, or with `--test`, it runs four blocks and eight and writes nothing.
//!
//! The net is the default one without a data set, which is the same in every cell: `data` is one batch.

mod cell;
mod picture;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use clap::Parser;
use rewind::cpu::Cpu;
use rewind::error::Error;
use rewind::memory::human;
use rewind::scheme::Scheme;
use rewind_paper::experiments::memory::cell::MemorySpec;
use rewind_train::cli;
use rewind_train::host_memory::Room;

use cell::{Cell, METHODS};

/// Depths: powers of two from the first to the last.
const DEPTHS: std::ops::RangeInclusive<usize> = 4..=4096;
const QUICK_DEPTH: usize = 64;
const TEST_DEPTH: usize = 8;
/// A cell runs if it takes at most this share of the memory that is free at the start: the machine is not ours alone.
const MEMORY_SHARE: f64 = 0.5;

/// Memory against depth for each gradient mode, planned and measured.
#[derive(Debug, Parser)]
#[command(name = "memory")]
struct Arguments {
    /// Depths to 64 only.
    #[arg(long)]
    quick: bool,
    /// Deepest net that is run; deeper ones are planned only.
    #[arg(long, value_name = "N", default_value_t = *DEPTHS.end())]
    measure_to: usize,
    /// euler, heun or rk4.
    #[arg(long, value_name = "SCHEME", default_value_t = Scheme::Euler, hide_possible_values = true)]
    scheme: Scheme,
    /// Threads that compute [default: one per core]; each has some scratch.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Folder for memory.csv and memory.svg [default: bench/ in the target folder].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The shallowest nets only, and no files.
    #[arg(long)]
    test: bool,
    /// Cargo's word for a bench that is to be measured.
    #[arg(long, hide = true)]
    bench: bool,
    /// What a process of its own is to measure, as JSON.
    #[arg(long, value_name = "JSON", hide = true)]
    cell: Option<String>,
    /// Benches that were asked for by name.
    #[arg(hide = true)]
    names: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(refusal) if refusal.use_stderr() => return refused(&Error::Usage(cli::sentence(&refusal)).into()),
        // --help comes this way
        Err(text) => text.exit(),
    };
    let done = match &arguments.cell {
        Some(cell) => in_this_process(cell),
        None => run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refused(&error),
    }
}

/// One sentence, and the exit code that goes with it.
fn refused(error: &anyhow::Error) -> ExitCode {
    let own = error.downcast_ref::<Error>();
    match own {
        // the library's sentences hold their cause already
        Some(own) => eprintln!("error: {own}"),
        None => eprintln!("error: {error:#}"),
    }
    ExitCode::from(own.map_or(1, Error::exit_code))
}

/// Trains in this process and prints what that took, as JSON on one line.
fn in_this_process(cell: &str) -> anyhow::Result<()> {
    let spec: MemorySpec = serde_json::from_str(cell).context("--cell is for the bench's own use")?;
    // Ctrl-C ends the process
    let measured = spec.measure(&Cpu::new(spec.threads)?, &AtomicBool::new(false))?;
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !arguments.names.is_empty() && !arguments.names.iter().any(|name| "memory".contains(name.as_str())) {
        return Ok(());
    }
    let Arguments { scheme, measure_to, threads, .. } = *arguments;
    // as criterion's benches do, without cargo's word
    let test = arguments.test || !arguments.bench;
    let last = if test {
        TEST_DEPTH
    } else if arguments.quick {
        QUICK_DEPTH
    } else {
        *DEPTHS.end()
    };
    let depths: Vec<usize> = std::iter::successors(Some(*DEPTHS.start()), |depth| Some(2 * depth))
        .take_while(|depth| *depth <= last)
        .collect();
    let cpu = Cpu::new(threads)?;
    let threads = cpu.threads();
    let folder = (!test).then(|| arguments.out.clone().unwrap_or_else(default_folder));
    if let Some(folder) = &folder {
        // before the minutes that it takes to fill it
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let Some(Room { bytes: free, .. }) = Room::of(&cpu) else {
        bail!("this system does not tell how much memory is free")
    };
    let limit = (MEMORY_SHARE * free as f64) as u64;
    eprintln!(
        "measured: nets to depth {measure_to} that take at most {}, {MEMORY_SHARE} of the free memory",
        human(limit)
    );

    let mut cells = Vec::new();
    for depth in depths {
        for method in METHODS {
            let mut cell = Cell::planned(&cpu, method, scheme, depth, threads)?;
            let planned = cell.planned.total();
            if depth <= measure_to && planned <= limit {
                let measured = cell.spec.in_own_process(&["--cell"], &cell.planned)?;
                let measured = measured.context("a process was interrupted")?;
                eprintln!(
                    "depth {depth:>4}, {method}: planned {}, measured {}, process {}",
                    human(planned),
                    human(measured.ledger.total()),
                    measured.process_peak_bytes.map_or("unknown".into(), human),
                );
                cell.measured = Some(measured);
            } else {
                eprintln!("depth {depth:>4}, {method}: planned {}, not measured", human(planned));
            }
            cells.push(cell);
        }
    }
    print!("{}", tables::text(&cells));
    let (csv, svg) = (tables::csv(&cells), picture::draw(&cells).map_err(anyhow::Error::msg)?);
    if let Some(folder) = folder {
        write(&folder.join("memory.csv"), &csv)?;
        write(&folder.join("memory.svg"), &svg)?;
    }
    Ok(())
}

/// `bench/` in the folder that cargo builds into.
fn default_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from).join("bench")
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}
