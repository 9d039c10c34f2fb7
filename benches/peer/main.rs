//! Training steps of `train_cifar` and of the same net in PyTorch, in turn within one sitting:
//! `cargo bench --bench peer -- --data DIR`. `-- --help` lists the options.
//!
//! A step's time is the median of one process's steps; a ratio is the peer's time over ours, round by round. Our time
//! includes drawing and augmenting the batch; the peer's is of four batches made before. The peer runs in the setting that
//! was the fastest of one short run each. Resident memory is the whole process's, the data set included: ours holds the built-in
//! set (24,000 images, 70 MiB) or all of CIFAR-10 (60,000, 176 MiB), the peer's a sixth of CIFAR-10.

mod facts;
mod load;
mod measured;
mod ours;
mod results;
mod rows;
mod sitting;
mod torch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use load::NOTICEABLE;
use ours::Ours;
use results::{Results, table};
use rewind_train::cli::sentence;
use rows::{ROWS, Row};
use sitting::Sitting;
use torch::Torch;

/// Names that --only finds besides the rows'.
const LINEAR: &str = "linear-in-depth";
const THREADS: &str = "images-a-second";
const MEMORY: &str = "memory";

/// Compares train_cifar's training steps with PyTorch's, run in turn.
#[derive(Parser)]
#[command(name = "peer")]
struct Options {
    /// Folder with CIFAR-10's binary files.
    #[arg(long, value_name = "DIR", default_value = "datasets")]
    data: PathBuf,
    /// The interpreter that has PyTorch.
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: String,
    /// Runs of each mode.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// Threads of both programs [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Only what has this in its name, such as euler/16, heun, 32x32, memory, linear or images.
    #[arg(long, value_name = "PART")]
    only: Option<String>,
    /// Folder for the CSV files [default: bench in cargo's target folder].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// One round of few steps: shows that it works; its figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Print the speed of PyTorch's large products first.
    #[arg(long)]
    peak: bool,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) if error.use_stderr() => {
            eprintln!("error: {}", sentence(&error));
            return ExitCode::from(2);
        }
        // --help comes this way
        Err(text) => text.exit(),
    };
    // a bare `cargo bench` asks for no peer: what it lacks must not stop the benches after this one
    let bare = std::env::args().skip(1).all(|argument| argument == "--bench");
    match compare(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if bare => {
            eprintln!("PyTorch is left out: {error:#}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Result<()> {
    let wanted = |name: &str| options.only.as_ref().is_none_or(|part| name.contains(part.as_str()));
    let rows: Vec<&Row> = ROWS.iter().filter(|row| wanted(&row.net.id())).collect();
    if let (Some(part), true) = (&options.only, rows.is_empty() && ![LINEAR, THREADS, MEMORY].into_iter().any(wanted)) {
        let names: Vec<_> =
            ROWS.iter().map(|row| row.net.id()).chain([MEMORY.into(), LINEAR.into(), THREADS.into()]).collect();
        bail!("nothing has {part:?} in its name: there are {}", names.join(", "));
    }
    let data = cifar10(&options.data)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.map_or(cores, usize::from);
    let torch = Torch::find(&options.python, &data, threads)?;
    let facts = facts::facts(threads, &torch.version);
    facts.iter().for_each(|(key, value)| println!("{key:<20} {value}"));
    let default = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
    let folder = options.out.as_ref().unwrap_or(&default);
    let mut results = Results::new(folder, &facts)?;
    if options.peak {
        print!("{}", torch.peak()?);
    }
    let rounds = if options.quick { 1 } else { usize::from(options.rounds) };
    let min_steps = if options.quick { 2 } else { 5 };
    let ours = Ours { program: ours::built()?, data: &data, min_steps };
    let mut sitting = Sitting { ours, torch, threads, rounds, quick: options.quick, results: &mut results };
    let mut all = Vec::new();
    for row in rows {
        all.extend(sitting.row(row)?);
    }
    if wanted(MEMORY) {
        all.extend(sitting.memory(MEMORY)?);
    }
    if wanted(THREADS) {
        sitting.images_a_second(THREADS)?;
    }
    if wanted(LINEAR) {
        sitting.linear_in_depth(LINEAR)?;
    }
    if !all.is_empty() {
        println!("\nAll comparisons of this sitting, of {rounds} rounds at most:");
        table(&all);
    }
    if results.disturbed > 0 {
        println!(
            "\n{} runs shared the machine with programs that took more than {NOTICEABLE} of a core (other_cores in peer_runs.csv): \
             repeat the sitting on an idle machine.",
            results.disturbed
        );
    }
    println!("\npeer_runs.csv, peer_summary.csv and peer_machine.csv are in {}", folder.display());
    Ok(())
}

/// The folder of CIFAR-10's files: the one that was named, or the one of the usual name in it.
fn cifar10(named: &Path) -> Result<PathBuf> {
    // cargo starts benches in the package's folder
    for folder in [named.to_path_buf(), named.join("cifar-10-batches-bin")] {
        if folder.join("data_batch_1.bin").is_file() && folder.join("test_batch.bin").is_file() {
            // train_cifar runs elsewhere
            return Ok(folder.canonicalize()?);
        }
    }
    bail!(
        "no CIFAR-10 in {}: name the folder of its .bin files with --data, or fetch them with `cargo run --release --bin train_cifar -- --download --plan`",
        named.display()
    )
}
