//! The binary `predict`: what a trained net takes pictures for.
//!
//! A picture is made into an image as the test of its run does it: its shorter side resized, the middle taken, normalised. A picture that
//! cannot be read stops no other.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use rewind::data::{Dataset, Normaliser, Split};
use rewind::device::Device;
use rewind::error::{Error, Result};
use rewind::field::{Basic, Bottleneck, Field, PreActivation};
use rewind::net::{Net, NetSpec, is_optimisers};
use rewind::recipe::Recipe;
use rewind::sweep::{Gradient, SweepSpec};
use rewind_pictures::loader::Loader;
use rewind_pictures::resize::{Filter, Prepare, View};
use rewind_pictures::scan::Item;
use rewind_pictures::source::{Files, Limits};
use serde::Serialize;

use crate::budget::net_spec;
use crate::checkpoint::{Checkpoint, saved_shape};
use crate::choose::{self, Wanted};
use crate::config::{Block, DeviceChoice, Form, RunConfig};
use crate::folder::CHECKPOINT;
use crate::host_memory::Room;
use crate::log::{Log, LogKind};
use crate::picture_spec::PictureSpec;
use crate::pictures::data;
use crate::softmax::Softmax;
use crate::terminal::{complain, run, say};

/// Pictures that go through the net together, where there is room for them.
const BATCH: usize = 32;
/// Columns of the bar of a probability of 1.
const BAR: usize = 30;

/// Classifies pictures with a trained net.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "predict", version, about = ABOUT, after_help = EXAMPLES)]
pub struct Cli {
    /// The pictures: JPEG, PNG, WebP, BMP or GIF.
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// Folder of the run that trained the net, or its checkpoint.safetensors.
    #[arg(long, value_name = "RUN")]
    pub checkpoint: PathBuf,
    /// Classes to print for each picture, the likeliest first.
    #[arg(long, value_name = "K", default_value_t = 5)]
    pub top: usize,
    /// Print a line of JSON for each picture.
    #[arg(long)]
    pub json: bool,
    /// auto, cpu, cuda or cuda:1.
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
    /// Threads that compute [default: one per core].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Print nothing but classes and errors.
    #[arg(long, short)]
    pub quiet: bool,
}

const ABOUT: &str = "\
Classifies pictures with a trained net.

A picture is resized, cropped and normalised as in the test of the run that trained the net.";

const EXAMPLES: &str = "\
Examples:
  predict cat.jpg --checkpoint runs/NAME                the five likeliest classes
  predict photos/*.jpg --checkpoint runs/NAME --top 1 --json

Exit codes: 0 done, 1 a picture or the checkpoint cannot be read, 2 the request makes no sense.";

/// The binary.
pub fn program() -> ExitCode {
    run(start)
}

fn start(cli: &Cli) -> anyhow::Result<ExitCode> {
    if cli.top == 0 {
        return Err(Error::Usage("--top 0 prints no class: give 1 or more".into()).into());
    }
    let asked = RunConfig { threads: cli.threads, ..RunConfig::default() };
    asked.validate()?;
    let checkpoint = Checkpoint::open(&file_of(&cli.checkpoint)?)?;
    let pictures = PictureSpec::held_by(&checkpoint)?;
    let held = &checkpoint.state().config;
    let (threads, device) = (cli.threads, cli.device);
    // next to nothing is kept for a way back that is never taken
    let gradient = if held.form == Form::Torchvision { Gradient::Coded } else { Gradient::Adjoint };
    let sweep = SweepSpec::new(held.sweep.scheme, gradient);
    let config = RunConfig { sweep, sweep_stages: None, threads, device, init_from: None, ..held.clone() };
    config.validate_for_data(config.batch, pictures.side).map_err(|e| checkpoint.error(format!("its net: {e}")))?;
    let config = RunConfig { batch: BATCH.min(cli.images.len()), ..config };
    let wanted = Wanted { device, math: config.math, threads, round_as: config.round_as, eager: true };
    let mut log = Log::new(LogKind::detect(cli.quiet));
    let broken = choose::on_device(wanted, &mut log, Job { cli, checkpoint: &checkpoint, pictures, config })?;
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The checkpoint that is meant: of a folder its own.
fn file_of(named: &Path) -> Result<PathBuf> {
    if !named.is_dir() {
        return Ok(named.into());
    }
    let file = named.join(CHECKPOINT);
    match file.symlink_metadata() {
        Ok(_) => Ok(file),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Error::Usage(format!(
            "--checkpoint {} holds no {CHECKPOINT}: name the folder of a run, or such a file",
            named.display()
        ))),
        Err(e) => Err(Error::io("look into", named)(e)),
    }
}

struct Job<'a> {
    cli: &'a Cli,
    checkpoint: &'a Checkpoint,
    pictures: PictureSpec,
    config: RunConfig,
}

impl choose::Job for Job<'_> {
    /// Whether a picture could not be read.
    type Output = bool;

    fn on<D: Device<Real = f32>>(self, device: &D, _: DeviceChoice, _: &mut Log) -> anyhow::Result<bool> {
        match self.config.block {
            Block::Basic => device.install(|| self.of::<D, Basic>(device)),
            Block::Bottleneck => device.install(|| self.of::<D, Bottleneck>(device)),
            Block::PreActivation => device.install(|| self.of::<D, PreActivation>(device)),
        }
    }
}

impl Job<'_> {
    fn of<D: Device<Real = f32>, F: Field<D>>(mut self, device: &D) -> anyhow::Result<bool> {
        let mut net = self.net::<D, F>(device)?;
        let PictureSpec { side, ref classes, .. } = self.pictures;
        let normaliser = Normaliser::new(side, self.pictures.normalise());
        let loader = self.loader()?;
        let len = loader.view_bytes();
        let (batch, all) = (self.config.batch, self.cli.images.len());
        let (mut images, mut logits) = (vec![0.0; batch * len], vec![0.0; batch * classes.len()]);
        let mut loading = loader.start((0..all).collect::<Vec<_>>(), |_| View::Centre).map_err(data)?;
        let (mut waiting, mut any_broken) = (Vec::with_capacity(batch), false);
        while let Some(loaded) = loading.next() {
            let read = loaded.view.map_err(|broken| broken.reason.clone()).map(|view| {
                let n = waiting.iter().filter(|(_, read): &&(_, Read)| read.is_ok()).count();
                normaliser.normalise(view, &mut images[n * len..][..len]);
            });
            any_broken |= read.is_err();
            waiting.push((loaded.position, read));
            if waiting.len() < batch && loaded.position + 1 < all {
                continue;
            }
            let n = waiting.iter().filter(|(_, read)| read.is_ok()).count();
            if n > 0 {
                net.load(device, &images[..n * len], &vec![0.0; n])?;
                net.evaluate(device)?;
                device.download(net.logits(), &mut logits[..n * classes.len()])?;
            }
            let mut answers = logits.chunks_exact(classes.len());
            for (position, read) in waiting.drain(..) {
                let path = &self.cli.images[position];
                match read {
                    Ok(()) => self.tell(path, answers.next().expect("an answer for each image"))?,
                    Err(reason) => self.tell_broken(path, reason)?,
                }
            }
        }
        Ok(any_broken)
    }

    /// The trained net, for as many pictures at a time as there is room for.
    fn net<D: Device<Real = f32>, F: Field<D>>(&mut self, device: &D) -> Result<Net<D, F>> {
        let split = Split::with_capacity(self.pictures.side, 0);
        let dataset = Dataset {
            name: String::new(),
            classes: self.pictures.classes.len(),
            normalise: self.pictures.normalise(),
            train: split.clone(),
            test: split,
            fingerprint: None,
            part_of: None,
        };
        Net::<D, F>::each_planned(device, &net_spec(&self.config, &dataset), &mut |name, shape| {
            self.checkpoint.check_tensor(name, &saved_shape(shape))
        })?;
        let room = Room::of(device).map_or(u64::MAX, |room| room.bytes);
        // nothing is trained, so that the memory of that stays out
        let spec = |batch| NetSpec {
            batch,
            second_moments: false,
            recipe: Recipe::default(),
            mixes: false,
            ..net_spec(&self.config, &dataset)
        };
        let mut batch = self.config.batch;
        while batch > 1 && Net::<D, F>::plan(device, &spec(batch))?.total() > room {
            batch /= 2;
        }
        let mut net = Net::<D, F>::build(device, spec(batch), self.config.init, 0)?;
        self.config.batch = batch;
        for (name, tensor) in net.checkpointed_mut() {
            if !is_optimisers(&name) {
                let name = self.checkpoint.answering(&name);
                device.upload(&self.checkpoint.tensor(&name, &saved_shape(tensor.shape()))?, tensor)?;
            }
        }
        Ok(net)
    }

    /// The pictures, on their way to the size that the net sees.
    fn loader(&self) -> Result<Loader> {
        let side = self.pictures.side;
        let prepare = Prepare { resize: Some(self.config.resize.unwrap_or(side) as u32), filter: Filter::Bilinear };
        let item = |path: &PathBuf| Item { path: path.clone(), class: 0, bytes: 0, modified: None };
        let items: Vec<Item> = self.cli.images.iter().map(item).collect();
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.cli.threads.unwrap_or_else(cores).min(items.len());
        let files = Arc::new(Files::new(items, prepare, Limits::default()));
        Loader::new(files, side as u32, prepare.filter, threads, 2 * threads).map_err(data)
    }

    /// Prints what a picture was taken for.
    fn tell(&self, path: &Path, logits: &[f32]) -> anyhow::Result<()> {
        if !logits.iter().all(|logit| logit.is_finite()) {
            let problem = format!("its net gives no finite numbers for {}: use another checkpoint", path.display());
            return Err(self.checkpoint.error(problem).into());
        }
        let softmax = Softmax::of(logits);
        let names = &self.pictures.classes;
        let mut classes: Vec<Guess<'_>> = (logits.iter().zip(names).enumerate())
            .map(|(class, (logit, name))| Guess { class, name, probability: softmax.probability(*logit) })
            .collect();
        // stable, so that of equals the first comes first
        classes.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        classes.truncate(self.cli.top);
        match self.cli.json {
            true => line(&Line { image: path.display().to_string(), classes: Some(classes), error: None }),
            false => say(&as_bars(path, &classes)),
        }
    }

    fn tell_broken(&self, path: &Path, reason: String) -> anyhow::Result<()> {
        complain(&Error::Data { path: path.into(), problem: reason.clone() }.into());
        match self.cli.json {
            true => line(&Line { image: path.display().to_string(), classes: None, error: Some(reason) }),
            false => Ok(()),
        }
    }
}

/// Whether a picture could be read, or why not.
type Read = std::result::Result<(), String>;

/// A class that a picture may be of.
#[derive(Serialize)]
struct Guess<'a> {
    class: usize,
    name: &'a str,
    probability: f64,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<Guess<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn line(line: &Line<'_>) -> anyhow::Result<()> {
    say(&(serde_json::to_string(line)? + "\n"))
}

/// The picture, and a line for each class: percent, a bar, the name.
fn as_bars(path: &Path, classes: &[Guess<'_>]) -> String {
    let mut text = format!("{}\n", printable(&path.display().to_string()));
    for Guess { name, probability, .. } in classes {
        let bar = "#".repeat((probability * BAR as f64).round() as usize);
        writeln!(text, "{:8.2} %  {bar:<BAR$}  {}", 100.0 * probability, printable(name))
            .expect("a string takes any text");
    }
    text
}

/// A name without what would move a terminal's cursor.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_is_well_formed_and_its_help_fits_100_columns() {
        Cli::command().debug_assert();
        let help = Cli::command().render_help().to_string();
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        assert!(help.contains("[default: 5]") && help.contains("[default: auto]"), "{help}");
    }

    #[test]
    fn bars_are_as_long_as_a_class_is_likely() {
        let guess = |name, probability| Guess { class: 0, name, probability };
        let text = as_bars(Path::new("a/b.png"), &[guess("a\u{1b}[2Jcat", 1.0), guess("dog", 0.5), guess("ant", 0.0)]);
        let bar = |n: usize| format!("{:<30}", "#".repeat(n));
        let expected = format!(
            "a/b.png\n  100.00 %  {}  a?[2Jcat\n   50.00 %  {}  dog\n    0.00 %  {}  ant\n",
            bar(30),
            bar(15),
            bar(0)
        );
        assert_eq!(text, expected);
    }
}
