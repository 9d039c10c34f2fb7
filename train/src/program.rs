//! What the binaries `train` and `train_cifar` do with their command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use crate::checkpoint::Checkpoint;
use crate::cli::{self, Cli};
use crate::config::RunConfig;
use crate::events::{Event, Listener};
use crate::folder::{CHECKPOINT, RunFolder};
use crate::log::{Log, LogKind};
use crate::pace::Clock;
use crate::progress::best_epoch;
use crate::report::FinalTable;
use crate::run::{Ending, Estimate, Test};
#[cfg(feature = "download")]
use crate::source;
use crate::terminal::{self, say};
use crate::training::{Plan, Trained, Training};
use crate::weights::{self, ExportAs, Exported};
use rewind::cpu::Cpu;
use rewind::device::Device;
use rewind::error::Error;
use rewind::memory::human;

static STOP: AtomicBool = AtomicBool::new(false);

/// The binary `train_cifar`.
pub fn train_cifar() -> ExitCode {
    terminal::run(start)
}

/// The binary `train`, which has the same flags and asks for its data.
pub fn train() -> ExitCode {
    terminal::run_as(
        |command| command.name("train").about(ABOUT).after_help(EXAMPLES),
        |cli: &Cli| {
            let named = cli.settings.data.is_some() || cli.config.is_some() || cli.resume.is_some();
            if !named && !cli.doctor && !fetches(cli) {
                let sentence = "--data names what to train on: a folder that holds a folder of pictures for each class, \
                    CIFAR's folder, or synthetic; --resume goes on with a run";
                return Err(Error::Usage(sentence.into()).into());
            }
            start(cli)
        },
    )
}

/// Writes a trained net's weights as safetensors with torchvision's names and axes.
///
/// PyTorch reads the file with `safetensors.torch.load_file`, and torchvision's net of the same name takes it strictly.
#[derive(clap::Parser)]
#[command(name = "export", version)]
struct ExportCli {
    /// A run's folder, or its checkpoint.safetensors.
    run: PathBuf,
    /// The file to write; it must not be there yet.
    #[arg(long, value_name = "FILE", default_value = "model.safetensors")]
    out: PathBuf,
    /// Numbers of the file: f32, f16 or bf16.
    #[arg(long, value_name = "TYPE", default_value_t, hide_possible_values = true)]
    dtype: ExportAs,
}

/// The binary `export`.
pub fn export() -> ExitCode {
    terminal::run(|cli: &ExportCli| {
        let ExportCli { run, out, dtype } = cli;
        if out.symlink_metadata().is_ok() {
            return Err(Error::Usage(format!("--out {} is there already: name another file", out.display())).into());
        }
        let file = if run.is_dir() { run.join(CHECKPOINT) } else { run.clone() };
        let Exported { tensors, bytes, same } = weights::export(&Checkpoint::open(&file)?, out, *dtype)?;
        say(&format!("{}: {tensors} tensors as {dtype}, {}\n", out.display(), human(bytes as u64)))?;
        if !same {
            say(
                "torchvision's net has a ReLU behind every sum, which this net of the form ode has not: its answers differ\n",
            )?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

const ABOUT: &str = "\
Trains a deep residual network on your own pictures without storing its activations.

The pictures lie as ImageNet's do: DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, or DIR/CLASS/*.jpg
with --val-split. JPEG, PNG, WebP, BMP and GIF are read. Results go to a folder of their own under runs/.";

const EXAMPLES: &str = "\
Examples:
  train --data pictures --net resnet18              a ResNet-18 on 224 x 224 crops
  train --data pictures --net resnet101 --plan      what a ResNet-101 would take
  train --data pictures --val-split 0.1 --image 64  a tenth of each class is held out
  train --resume runs/pictures-staged1-1-1-1-euler-auto-seed0
  predict cat.jpg --checkpoint runs/pictures-staged1-1-1-1-euler-auto-seed0

Exit codes: 0 done, 1 the run failed, 2 the request makes no sense, 130 stopped by Ctrl-C, 143 by
SIGTERM.";

#[cfg(feature = "download")]
fn fetches(cli: &Cli) -> bool {
    cli.download.is_some()
}

#[cfg(not(feature = "download"))]
fn fetches(_: &Cli) -> bool {
    false
}

fn start(cli: &Cli) -> anyhow::Result<ExitCode> {
    if cli.doctor {
        return doctor();
    }
    let resumed = match &cli.resume {
        Some(path) => {
            // who only reads may do so beside a session that trains
            let reads = cli.plan || (cli.eval_only && !cli.report);
            let (folder, file) = if cli.eval_only && path.is_file() {
                if cli.report {
                    let sentence =
                        "--report leaves files in the folder of a run: name the folder, not a checkpoint in it";
                    return Err(Error::Usage(sentence.into()).into());
                }
                (RunFolder::around(path), path.clone())
            } else {
                let folder = if reads { RunFolder::look(path)? } else { RunFolder::open(path)? };
                let file = folder.checkpoint();
                (folder, file)
            };
            let checkpoint = Checkpoint::open(&file)?;
            checkpoint.check_rates()?;
            Some((folder, checkpoint))
        }
        None => None,
    };
    let held = resumed.as_ref().map(|(_, checkpoint)| &checkpoint.state().config);
    // without the feature `download` nothing changes it
    #[cfg_attr(not(feature = "download"), allow(unused_mut))]
    let mut config = cli::resolve(cli, held)?;
    if let (Some(out), false) = (&cli.out, cli.plan) {
        RunFolder::check_free(out)?;
    }
    #[cfg(feature = "download")]
    download(cli, &mut config)?;

    let training = Training::new(config).eager(cli.eager).stop(&STOP);
    let training = match (resumed, &cli.out) {
        (Some((folder, checkpoint)), _) => training.resume(folder, checkpoint),
        (None, Some(path)) => training.folder(path),
        (None, None) => training.named_folder(),
    };
    let mut log = Log::new(LogKind::detect(cli.quiet));
    let training = training.on(|event| match event {
        // a plan is all that --plan prints
        Event::Device(_) if cli.plan => {}
        Event::Planned { .. } => {
            if let Err(error) = terminal::watch_for_interrupt(&STOP) {
                log.note(&format!("{error:#}"));
            }
        }
        event => log.hear(event),
    });
    if cli.time {
        let Some((plan, estimate)) = training.estimate()? else { return Ok(terminal::stopped()) };
        say(&(plan_text(&plan) + &time_text(&estimate)))?;
        return Ok(ExitCode::SUCCESS);
    }
    if cli.plan {
        say(&plan_text(&training.plan()?))?;
        return Ok(ExitCode::SUCCESS);
    }
    if cli.eval_only {
        let test = if cli.report { training.report()? } else { training.test()? };
        let Some(Test { loss, accuracy, images }) = test else { return Ok(terminal::stopped()) };
        say(&format!("test loss {loss:.4}, accuracy {:.2} % on {images} images\n", 100.0 * accuracy))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Trained { ending, summary, progress, folder, stored } = training.train()?;
    log.finish();
    let seconds = progress.sums.seconds + progress.history.iter().map(|row| row.epoch_seconds).sum::<f64>();
    let best_epoch = best_epoch(&progress.history).map(|row| row.epoch);
    let table =
        FinalTable { summary: &summary, best_epoch, seconds, stored_backprop: &stored, folder: folder.as_ref() };
    say(&table.to_string())?;
    if ending == Ending::Interrupted {
        if let Some(folder) = folder {
            log.note(&format!("stopped; continue with --resume {}", folder.path().display()));
        }
        return Ok(terminal::stopped());
    }
    Ok(ExitCode::SUCCESS)
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

fn plan_text(plan: &Plan) -> String {
    let Plan { config, planned, stored } = plan;
    let RunConfig { batch, sweep, .. } = config;
    format!(
        "memory plan: {}, batch {batch}, gradient {}\n{}  stored backprop would take {} of activations at this depth\n",
        config.net_name(),
        sweep.gradient,
        planned.table(),
        human(stored.activations())
    )
}

fn time_text(estimate: &Estimate) -> String {
    let Estimate { steps, step_seconds, epoch_seconds, run_seconds } = *estimate;
    format!(
        "  from {steps} step{}: {step_seconds:.3} s per step, {} per epoch with its test, {} for the whole run\n",
        if steps == 1 { "" } else { "s" },
        Clock(epoch_seconds),
        Clock(run_seconds)
    )
}

/// `--download`: fetches the data set and makes it the run's.
#[cfg(feature = "download")]
fn download(cli: &Cli, config: &mut RunConfig) -> anyhow::Result<()> {
    use std::path::Path;

    use crate::cli::DownloadSet;
    use crate::download::{Progress, Which, fetch};
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
