//! What a training step takes, in bytes and seconds: a cell is some steps of one net, in a process of its own, since what the
//! system counts of a process is a peak and never falls.

use std::io;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rewind::device::{Device, SgdStep};
use rewind::error::{Error, Result};
use rewind::field::Basic;
use rewind::memory::{Bytes, Category};
use rewind::net::{Net, NetSpec};
use rewind::scheme::Scheme;
use rewind_train::config::{DeviceChoice, RunConfig};
use rewind_train::report::rss_peak_bytes;
use rewind_train::terminal::was_stopped;
use serde::{Deserialize, Serialize};

use crate::cells::Cell;
use crate::method::{Method, evaluations};

/// The experiment's name, and that of its folder.
pub(super) const NAME: &str = "memory";

/// Classes of the head: CIFAR-10's.
const CLASSES: usize = 10;

/// A net, and how long it is measured. Its images are noise: neither bytes nor seconds depend on what they show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemorySpec {
    /// The scheme.
    pub scheme: Scheme,
    /// The way to the gradient.
    pub method: Method,
    /// Residual functions N.
    pub depth: usize,
    /// Channels of the residual stack.
    pub channels: usize,
    /// Images per step.
    pub batch: usize,
    /// Decides weights and images; several seeds are several measurements.
    pub seed: u64,
    /// Where it is measured; never [`DeviceChoice::Auto`].
    pub device: DeviceChoice,
    /// The CPU's threads; none means one per core.
    pub threads: Option<usize>,
    /// The device's own name for itself, which a result belongs to.
    pub device_name: String,
    /// Steps that are timed at least, after one that is not.
    pub steps: usize,
    /// More steps are timed until so many seconds have passed.
    pub seconds: f64,
}

/// What the steps took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The arena's ledger, whose end is its peak: nothing is given back while a net lives.
    pub ledger: Bytes,
    /// The most that was resident of the whole process before the net was made, where the system tells.
    pub process_before_bytes: Option<u64>,
    /// The most that was resident at all.
    pub process_peak_bytes: Option<u64>,
    /// What a GPU's driver counts as taken; none on the CPU.
    pub device_bytes: Option<u64>,
    /// Of each step that was timed.
    pub step_seconds: Vec<f64>,
}

impl Measured {
    /// What the process grew by: the net, and what the system puts around it.
    pub fn process_growth_bytes(&self) -> Option<u64> {
        self.process_peak_bytes?.checked_sub(self.process_before_bytes?)
    }

    /// The median of the steps: a few that were disturbed do not move it.
    pub fn median_step_seconds(&self) -> Option<f64> {
        let mut sorted = self.step_seconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }
}

impl MemorySpec {
    /// The net: the paper's, but for depth and channels.
    pub fn net(&self) -> NetSpec {
        let (depth, channels, batch) = (self.depth, self.channels, self.batch);
        let sweep = self.method.sweep(self.scheme, depth);
        NetSpec { depth, channels, batch, classes: CLASSES, sweep, ..NetSpec::default() }
    }

    /// The plan of the net: every byte by category.
    ///
    /// # Errors
    /// As [`Net::plan`].
    pub fn planned<D: Device>(&self, d: &D) -> Result<Bytes> {
        Net::<D, Basic>::plan(d, &self.net())
    }

    /// Trains in this process; none if it was told to stop.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the loss is no number, and whatever the device reports.
    pub fn measure<D: Device<Real = f32>>(&self, device: &D, stop: &AtomicBool) -> Result<Option<Measured>> {
        let init = RunConfig::default().init;
        let spec = self.net();
        let mut noise = ChaCha8Rng::seed_from_u64(self.seed);
        let images: Vec<f32> =
            (0..spec.images().len()).map(|_| noise.next_u32() as f32 / u32::MAX as f32 - 0.5).collect();
        let labels: Vec<f32> = (0..spec.batch).map(|image| (image % spec.classes) as f32).collect();
        let process_before_bytes = rss_peak_bytes();
        let mut net = Net::new(device, spec, init, self.seed)?;
        net.load(device, &images, &labels)?;
        drop(images);
        let mut step = || -> Result<f64> {
            let start = Instant::now();
            let (result, _) = device.install(|| net.train_step(device, SgdStep::PAPER))?;
            let seconds = start.elapsed().as_secs_f64();
            match result.loss.is_finite() {
                true => Ok(seconds),
                false => {
                    let (place, advice) = ("the loss".into(), "try a lower `lr`".into());
                    Err(Error::NotFinite { epoch: 1, step: 1, loss: result.loss, place, advice })
                }
            }
        };
        // the first one touches the memory, and a GPU records it
        step()?;
        let (mut step_seconds, mut total) = (Vec::new(), 0.0);
        while step_seconds.len() < self.steps || total < self.seconds {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let seconds = step()?;
            total += seconds;
            step_seconds.push(seconds);
        }
        Ok(Some(Measured {
            ledger: net.memory().clone(),
            process_before_bytes,
            process_peak_bytes: rss_peak_bytes(),
            device_bytes: device.device_memory().map(|memory| memory.taken_bytes()),
            step_seconds,
        }))
    }

    /// Has a new process of this program measure, which is given `words` and this as JSON, and prints what it measured as JSON;
    /// none if it was told to stop. Holds what was taken to `planned`.
    ///
    /// # Errors
    /// [`Error::Io`] if the process cannot be started or fails, or if it took other than was planned.
    pub fn in_own_process(&self, words: &[&str], planned: &Bytes) -> Result<Option<Measured>> {
        let program = std::env::current_exe().map_err(Error::io("find", "this program".as_ref()))?;
        let failed = |problem: String| Error::io("measure in a process of", &program)(io::Error::other(problem));
        let json = serde_json::to_string(self).map_err(|e| failed(e.to_string()))?;
        let output = Command::new(&program)
            .args(words)
            .arg(json)
            .stdin(Stdio::null())
            .output()
            .map_err(Error::io("start a process of", &program))?;
        if was_stopped(output.status.code()) {
            return Ok(None);
        }
        let Self { scheme, method, depth, .. } = self;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().map_or("", |line| line.trim_start_matches("error: "));
            return Err(failed(format!("{scheme} {method} at depth {depth} ended with {}: {last}", output.status)));
        }
        let measured: Measured = serde_json::from_slice(&output.stdout)
            .map_err(|e| failed(format!("{scheme} {method} at depth {depth} left no report: {e}")))?;
        let differs = |category: &Category| measured.ledger.of(*category) != planned.of(*category);
        if let Some(category) = Category::ALL.into_iter().find(differs) {
            return Err(failed(format!(
                "{scheme} {method} at depth {depth} took {} bytes for {category} and its plan says {}",
                measured.ledger.of(category),
                planned.of(category)
            )));
        }
        Ok(Some(measured))
    }
}

impl Cell for MemorySpec {
    type Result = Measured;

    fn key(&self) -> String {
        let Self { scheme, method, depth, channels, batch, seed, .. } = self;
        format!("depth{depth:04}-{scheme}-{method}-channels{channels}-batch{batch}-seed{seed}")
    }

    /// In evaluations of a block.
    fn work(&self) -> f64 {
        let sweep = self.method.sweep(self.scheme, self.depth);
        ((1 + self.steps) * self.depth * self.scheme.stages() * evaluations(&sweep)) as f64
    }
}
