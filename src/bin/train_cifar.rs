//! Trains a deep residual network on CIFAR without storing its activations.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::Parser;
use rewind::cli::{self, Cli};
use rewind::config::RunConfig;
use rewind::cpu::Cpu;
use rewind::data::source::{self, Source};
use rewind::device::Device;
use rewind::error::Error;
use rewind::memory::{Bytes, human};
use rewind::plan;
use rewind::sweep::{Gradient, SweepSpec};
use rewind::train::checkpoint::Checkpoint;
use rewind::train::folder::{RunFolder, run_name};
use rewind::train::log::{Log, LogKind};
use rewind::train::progress::best_epoch;
use rewind::train::report::FinalTable;
use rewind::train::run::{self, Ending, Run};

/// The shell's convention for a program that Ctrl-C stopped.
const INTERRUPTED: u8 = 130;

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    match start(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            let code = error.downcast_ref::<Error>().map_or(1, |error| {
                if let Error::PlanOverLimit { table, .. } = error {
                    eprint!("{table}");
                }
                error.exit_code()
            });
            eprintln!("error: {error:#}");
            ExitCode::from(code)
        }
    }
}

fn start(cli: &Cli) -> anyhow::Result<ExitCode> {
    let resumed = match &cli.resume {
        Some(path) => {
            let folder = RunFolder::open(path)?;
            let checkpoint = Checkpoint::open(&folder.checkpoint())?;
            Some((folder, checkpoint))
        }
        None => None,
    };
    let held = resumed.as_ref().map(|(_, checkpoint)| &checkpoint.state().config);
    let mut config = cli::resolve(cli, held)?;
    #[cfg(feature = "download")]
    download(cli, &mut config)?;

    let mut log = Log::new(LogKind::detect(cli.quiet));
    let Source { dataset, origin, notice } = source::open(config.data.as_deref(), config.seed)?;
    config.settle(&origin);
    config.validate_for_data(dataset.train.len())?;
    if let Some(notice) = notice {
        log.note(&notice);
    }

    // the only device so far; a GPU will be chosen here
    let cpu = Cpu::new(config.threads)?;
    let dataset = Arc::new(dataset);
    let limit = config.memory_limit.into_iter().chain(cpu.available_bytes()).min();
    if let Some(limit) = limit {
        run::check_limit(&cpu, &config, &dataset, limit)?;
    }
    let planned = run::planned(&cpu, &config, &dataset);
    let stored = stored_backprop(&cpu, &config, &dataset);
    if cli.plan {
        print_plan(&config, &planned, &stored);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some((_, checkpoint)) = &resumed {
        let (done, wanted) = (checkpoint.state().progress.epoch, config.epochs.unwrap_or(0));
        if !cli.eval_only && done > wanted {
            let sentence =
                format!("--epochs {wanted} is less than the {done} epochs that this run has done: give more");
            return Err(Error::Usage(sentence).into());
        }
    }

    ctrlc::set_handler(|| {
        // the second Ctrl-C does not wait for the step and the checkpoint
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
    })
    .context("cannot watch for Ctrl-C")?;

    let checkpoint = resumed.as_ref().map(|(_, checkpoint)| checkpoint);
    log.note(&format!(
        "{} on {}: depth {}, {}, gradient {}; activations {} (stored backprop: {})",
        dataset.name,
        cpu.name(),
        config.depth,
        config.sweep.scheme,
        config.sweep.gradient,
        human(planned.activations()),
        human(stored.activations()),
    ));
    let name = run_name(&dataset.name, &config);
    let mut run = Run::new(&cpu, config.clone(), dataset, checkpoint, &STOP)?;
    if cli.eval_only {
        let test = cpu.install(|| run.test())?;
        let (loss, percent, images) = (test.loss, 100.0 * test.accuracy, test.images);
        println!("test loss {loss:.4}, accuracy {percent:.2} % on {images} images");
        return Ok(ExitCode::SUCCESS);
    }
    let folder = match resumed {
        Some((folder, _)) => folder,
        None => claim(cli.out.as_deref(), &name)?,
    };
    rewind::train::atomic::write_atomically(&folder.config(), |file| {
        std::io::Write::write_all(file, config.to_toml().as_bytes())
    })?;
    log.note(&format!("results go to {}", folder.path().display()));
    let (ending, summary) = cpu.install(|| run.train(&folder, &mut log))?;
    log.finish();
    let progress = run.progress();
    let seconds = progress.sums.seconds + progress.history.iter().map(|row| row.epoch_seconds).sum::<f64>();
    let best_epoch = best_epoch(&progress.history).map(|row| row.epoch);
    print!("{}", FinalTable { summary: &summary, best_epoch, seconds, stored_backprop: &stored });
    if ending == Ending::Interrupted {
        eprintln!("stopped; continue with --resume {}", folder.path().display());
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(ExitCode::SUCCESS)
}

fn claim(out: Option<&Path>, name: &str) -> anyhow::Result<RunFolder> {
    Ok(RunFolder::claim(out, name)?)
}

/// What the same net would take with stored activations.
fn stored_backprop<D: Device>(d: &D, config: &RunConfig, dataset: &rewind::data::Dataset) -> Bytes {
    let sweep = SweepSpec { update: config.sweep.update, ..SweepSpec::new(config.sweep.scheme, Gradient::Backprop) };
    plan::network(d, &rewind::net::NetSpec { sweep, ..run::net_spec(config, dataset) })
}

fn print_plan(config: &RunConfig, planned: &Bytes, stored: &Bytes) {
    let (depth, gradient) = (config.depth, config.sweep.gradient);
    println!("memory plan: depth {depth}, {} channels, batch {}, gradient {gradient}", config.channels, config.batch);
    print!("{}", planned.table());
    println!("  stored backprop would take {} of activations at this depth", human(stored.activations()));
}

/// `--download`: fetches the data set and makes it the run's.
#[cfg(feature = "download")]
fn download(cli: &Cli, config: &mut RunConfig) -> anyhow::Result<()> {
    use rewind::cli::DownloadSet;
    use rewind::data::download::{Progress, Which, fetch};
    let Some(set) = cli.download else { return Ok(()) };
    let which = match set {
        DownloadSet::Cifar10 => Which::Cifar10,
        DownloadSet::Cifar100 => Which::Cifar100,
    };
    let progress = if cli.quiet { Progress::Quiet } else { Progress::detect() };
    let folder = fetch(which, cli.download_from.as_deref(), Path::new(source::DEFAULT_FOLDER), progress)?;
    config.data = Some(folder.display().to_string());
    Ok(())
}
