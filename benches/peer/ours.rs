//! Runs of `train_cifar`, each stopped by Ctrl-C's signal when its time is over.
//!
//! A limit in steps would have the program test 10,000 images at the end, which costs a slow net more than its timed steps. A
//! run that is stopped writes its summary at once. Its step time includes drawing and augmenting the batch.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rewind::sweep::Gradient;

use crate::load::Load;
use crate::measured::Measured;
use crate::rows::{Net, Side};

/// How much longer a run gets that made too few steps.
const LONGER: f64 = 2.0;
/// A program that has not begun to train by then never will.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Builds `train_cifar` as this bench is built, and tells where it lies.
///
/// # Errors
/// If cargo fails, or does not leave it beside the benches.
pub fn built() -> Result<PathBuf> {
    match std::env::var_os("CARGO") {
        Some(cargo) => {
            let status = Command::new(cargo).args(["build", "--release", "--bin", "train_cifar"]).status();
            ensure!(status.context("cannot start cargo")?.success(), "cargo cannot build train_cifar");
        }
        None => println!("not started by cargo: train_cifar is taken as it lies beside this bench"),
    }
    let bench = std::env::current_exe().context("this bench has no path")?;
    let folder = bench.parent().and_then(Path::parent).context("this bench lies in no target folder")?;
    let program = folder.join(format!("train_cifar{}", std::env::consts::EXE_SUFFIX));
    ensure!(program.exists(), "{} is not there: cargo build --release --bin train_cifar makes it", program.display());
    Ok(program)
}

/// How ours is run.
pub struct Ours<'a> {
    /// `train_cifar`, see [`built`].
    pub program: PathBuf,
    pub data: &'a Path,
    /// The least number of steps that a median is taken of.
    pub min_steps: usize,
}

impl Ours<'_> {
    /// Trains on `data` for `net.seconds`, or longer until there are enough steps.
    pub fn run(&self, net: Net, gradient: Gradient, data: &Path, threads: usize) -> Result<Measured> {
        let mut seconds = net.seconds;
        loop {
            let measured = self.timed(net, gradient, data, threads, seconds)?;
            if measured.steps >= self.min_steps {
                return Ok(measured);
            }
            // the step's own time is known now
            let wanted = (self.min_steps + 1) as f64 * measured.step_ms / 1e3;
            seconds = wanted.max(LONGER * seconds);
        }
    }

    fn timed(&self, net: Net, gradient: Gradient, data: &Path, threads: usize, seconds: f64) -> Result<Measured> {
        let place = tempfile::tempdir().context("cannot make a temporary folder")?;
        let run = place.path().join("run");
        let (scheme, gradient_name) = (net.scheme.to_string(), gradient.to_string());
        let stem = if net.map == 32 { "3x3" } else { "5x5" };
        let mut command = Command::new(&self.program);
        command.args(["--device", "cpu", "--quiet", "--scheme", &scheme, "--gradient", &gradient_name, "--stem", stem]);
        for (flag, value) in
            [("--depth", net.depth), ("--channels", net.channels), ("--batch", net.batch), ("--threads", threads)]
        {
            command.args([flag, &value.to_string()]);
        }
        command.arg("--data").arg(data).arg("--out").arg(&run);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let load = Load::start();
        let child = command.spawn().context("cannot start train_cifar")?;
        let interrupted = wait_and_interrupt(child, &run, seconds)?;
        let summary = std::fs::read_to_string(run.join("summary.json")).map_err(|_| anyhow::anyhow!(interrupted))?;
        let summary: serde_json::Value = serde_json::from_str(&summary).context("train_cifar's summary.json")?;
        let steps = summary["steps"].as_u64().context("no steps in train_cifar's summary.json")? as usize;
        let Some(step_seconds) = summary["step_seconds_median"].as_f64() else {
            bail!("train_cifar made no step of {} in {seconds:.0} s", net.id());
        };
        Ok(Measured {
            side: Side::Ours,
            gradient,
            setting: "",
            threads,
            steps,
            step_ms: 1e3 * step_seconds,
            other_cores: load.others(),
            peak_rss_bytes: summary["rss_peak_bytes"].as_u64(),
        })
    }
}

/// Waits until training begins, lets it go on for `seconds`, stops it and gives what it said.
fn wait_and_interrupt(mut child: Child, run: &Path, seconds: f64) -> Result<String> {
    let start = Instant::now();
    // written just before the first step
    let begun = run.join("metrics.csv");
    while !begun.exists() && child.try_wait()?.is_none() {
        if start.elapsed() > START_LIMIT {
            child.kill()?;
            bail!("train_cifar did not begin to train within {} s", START_LIMIT.as_secs());
        }
        sleep(Duration::from_millis(5));
    }
    let begun = Instant::now();
    // a run that fails does not have to be waited for
    while begun.elapsed().as_secs_f64() < seconds && child.try_wait()?.is_none() {
        sleep(Duration::from_millis(50));
    }
    if child.try_wait()?.is_none() {
        let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
            child.kill()?;
            bail!("cannot send train_cifar Ctrl-C's signal: this bench needs the program kill");
        }
    }
    let ended = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&ended.stderr).trim().to_string();
    // 130: stopped by the signal
    ensure!(matches!(ended.status.code(), Some(0 | 130)), "train_cifar failed: {said}");
    Ok(format!("train_cifar left no summary: {said}"))
}
