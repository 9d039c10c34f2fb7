//! Trains a deep residual network on CIFAR without storing its activations.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rewind::cpu::Cpu;
use rewind::data::Dataset;
use rewind::device::Device;
use rewind::error::Error;
use rewind::field::{Basic, Bottleneck, Field};
use rewind::memory::{Bytes, human};
use rewind::net::{Net, NetSpec};
use rewind::sweep::{Gradient, SweepSpec};
use rewind_train::budget;
use rewind_train::checkpoint::Checkpoint;
use rewind_train::choose::{self, Wanted};
use rewind_train::cli::{self, Cli};
use rewind_train::config::{Block, DeviceChoice, RunConfig};
use rewind_train::folder::{RunFolder, run_name};
use rewind_train::log::{Log, LogKind};
use rewind_train::progress::{Progress, best_epoch};
use rewind_train::report::FinalTable;
use rewind_train::run::{Ending, Run};
use rewind_train::source::{self, Source};
use rewind_train::terminal::{self, INTERRUPTED, say};

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    terminal::run(start)
}

fn start(cli: &Cli) -> anyhow::Result<ExitCode> {
    if cli.doctor {
        return doctor();
    }
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

    let wanted = Wanted { device: config.device, math: config.math, threads: config.threads, eager: cli.eager };
    // a plan is all that --plan prints
    let mut opening = Log::new(LogKind::detect(cli.quiet || cli.plan));
    choose::on_device(wanted, &mut opening, Job { cli, config, dataset: Arc::new(dataset), resumed, log })
}

/// What was found of this machine, a line each.
fn doctor() -> anyhow::Result<ExitCode> {
    let mut lines = vec![
        ("rewind".to_string(), env!("CARGO_PKG_VERSION").to_string()),
        ("cpu".to_string(), Cpu::new(None)?.name()),
    ];
    #[cfg(feature = "cuda")]
    lines.extend(rewind::cuda::doctor::findings());
    #[cfg(not(feature = "cuda"))]
    lines.push(("GPU".to_string(), "not built in (feature cuda)".to_string()));
    say(&lines.iter().map(|(name, found)| format!("{name:<8} {found}\n")).collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}

/// Everything that is settled before the device is opened.
struct Job<'a> {
    cli: &'a Cli,
    config: RunConfig,
    dataset: Arc<Dataset>,
    resumed: Option<(RunFolder, Checkpoint)>,
    log: Log,
}

impl choose::Job for Job<'_> {
    type Output = ExitCode;

    fn on<D: Device<Real = f32>>(self, device: &D, _: DeviceChoice, _: &mut Log) -> anyhow::Result<ExitCode> {
        match self.config.block {
            Block::Basic => self.of::<D, Basic>(device),
            Block::Bottleneck => self.of::<D, Bottleneck>(device),
        }
    }
}

impl Job<'_> {
    fn of<D: Device<Real = f32>, F: Field<D>>(self, device: &D) -> anyhow::Result<ExitCode> {
        let Job { cli, mut config, dataset, resumed, mut log } = self;
        // a resumed run has what it was begun with
        if resumed.is_none()
            && let Some(less) = budget::fit_codes::<D, F>(device, &mut config, &dataset)?
        {
            log.note(&less);
        }
        let planned = budget::check_limit::<D, F>(device, &config, &dataset)?;
        let stored = stored_backprop::<D, F>(device, &config, &dataset)?;
        if cli.plan {
            say(&plan_text(&config, &planned, &stored))?;
            return Ok(ExitCode::SUCCESS);
        }
        if let Some((_, checkpoint)) = resumed.as_ref().filter(|_| !cli.eval_only)
            && !left_to_train(&config, &checkpoint.state().progress)?
        {
            log.note("this run has done what was asked for; give more with --epochs");
        }

        terminal::watch_for_interrupt(&STOP)?;
        let checkpoint = resumed.as_ref().map(|(_, checkpoint)| checkpoint);
        log.note(&format!(
            "{} on {}: {}, {}, gradient {}; activations {} (backprop: {})",
            dataset.name,
            device.name(),
            config.net_name(),
            config.sweep.scheme,
            config.sweep.gradient,
            human(planned.activations()),
            human(stored.activations()),
        ));
        let name = run_name(&dataset.name, &config);
        let mut run = Run::<D, F>::build(device, config.clone(), dataset, checkpoint, &STOP)?;
        if cli.eval_only {
            let Some(test) = device.install(|| run.test())? else { return Ok(ExitCode::from(INTERRUPTED)) };
            let (loss, percent, images) = (test.loss, 100.0 * test.accuracy, test.images);
            say(&format!("test loss {loss:.4}, accuracy {percent:.2} % on {images} images\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
        let folder = match resumed {
            Some((folder, _)) => folder,
            None => RunFolder::claim(cli.out.as_deref(), &name)?,
        };
        log.note(&format!("results go to {}", folder.path().display()));
        let trained = device.install(|| run.train(&folder, &mut log));
        if trained.is_err() {
            folder.remove_if_left_empty();
        }
        let (ending, summary) = trained?;
        log.finish();
        let progress = run.progress();
        let seconds = progress.sums.seconds + progress.history.iter().map(|row| row.epoch_seconds).sum::<f64>();
        let best_epoch = best_epoch(&progress.history).map(|row| row.epoch);
        say(&FinalTable { summary: &summary, best_epoch, seconds, stored_backprop: &stored }.to_string())?;
        if ending == Ending::Interrupted {
            log.note(&format!("stopped; continue with --resume {}", folder.path().display()));
            return Ok(ExitCode::from(INTERRUPTED));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What the same net would take with stored activations.
fn stored_backprop<D: Device, F: Field<D>>(d: &D, config: &RunConfig, dataset: &Dataset) -> Result<Bytes, Error> {
    let sweep = SweepSpec { update: config.sweep.update, ..SweepSpec::new(config.sweep.scheme, Gradient::Backprop) };
    Net::<D, F>::plan(d, &NetSpec { sweep, ..budget::net_spec(config, dataset) })
}

fn plan_text(config: &RunConfig, planned: &Bytes, stored: &Bytes) -> String {
    let (net, batch) = (config.net_name(), config.batch);
    format!(
        "memory plan: {net}, batch {batch}, gradient {}\n{}  \
         stored backprop would take {} of activations at this depth\n",
        config.sweep.gradient,
        planned.table(),
        human(stored.activations())
    )
}

/// Whether a resumed run has steps to do.
///
/// # Errors
/// [`Error::Usage`] if it has done more than was asked for.
fn left_to_train(config: &RunConfig, done: &Progress) -> Result<bool, Error> {
    let (epochs, steps) = (config.epochs.unwrap_or(0), config.max_steps.unwrap_or(u64::MAX));
    let less = |flag: &str, wanted: u64, done: u64, what: &str| {
        Err(Error::Usage(format!("{flag} {wanted} is less than the {done} {what} that this run has done: give more")))
    };
    if done.epoch > epochs {
        return less("--epochs", epochs as u64, done.epoch as u64, "epochs");
    }
    if done.global_step > steps {
        return less("--max-steps", steps, done.global_step, "steps");
    }
    Ok(done.epoch < epochs && done.global_step < steps)
}

/// `--download`: fetches the data set and makes it the run's.
#[cfg(feature = "download")]
fn download(cli: &Cli, config: &mut RunConfig) -> anyhow::Result<()> {
    use std::path::Path;

    use rewind_train::cli::DownloadSet;
    use rewind_train::download::{Progress, Which, fetch};
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
