//! Two training steps in a process of their own: the system's count of a process is a peak and never falls.

use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rewind::config::RunConfig;
use rewind::cpu::Cpu;
use rewind::device::SgdStep;
use rewind::memory::{Bytes, Category};
use rewind::net::Net;
use rewind::train::report::rss_peak_bytes;
use serde_json::{Value, json};

use crate::cell::{Cell, CellSpec, Measured};

/// The second step shows that the first took everything.
pub const STEPS: usize = 2;

/// Trains in this process and prints what that took, as JSON on one line.
pub fn in_this_process(cell: &str) -> anyhow::Result<()> {
    let cell: CellSpec = serde_json::from_str(cell).context("--cell is for the bench's own use")?;
    let RunConfig { lr, momentum, weight_decay, init, seed, .. } = RunConfig::default();
    let cpu = Cpu::new(Some(cell.threads))?;
    let spec = cell.net();
    let mut net = Net::new(&cpu, spec, init, seed)?;
    // memory does not depend on what the pictures show
    let mut noise = ChaCha8Rng::seed_from_u64(seed);
    let images: Vec<f32> = (0..spec.images().len()).map(|_| noise.next_u32() as f32 / u32::MAX as f32 - 0.5).collect();
    let labels: Vec<f32> = (0..spec.batch).map(|image| (image % spec.classes) as f32).collect();
    net.load(&cpu, &images, &labels)?;
    drop(images);
    for _ in 0..STEPS {
        let (result, _) = cpu.install(|| net.train_step(&cpu, SgdStep { lr, momentum, weight_decay }))?;
        ensure!(result.loss.is_finite(), "the loss is {}", result.loss);
    }
    println!("{}", json!({ "ledger": net.memory(), "process_bytes": rss_peak_bytes() }));
    Ok(())
}

/// Has a new process of this program train the cell.
pub fn in_own_process(cell: &Cell) -> anyhow::Result<Measured> {
    let what = format!("{} at depth {}", cell.mode, cell.spec.depth);
    let program = std::env::current_exe().context("cannot find this program")?;
    let output = Command::new(program)
        .arg("--cell")
        .arg(serde_json::to_string(&cell.spec)?)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start a process for {what}"))?;
    if !output.status.success() {
        bail!("the process of {what} failed: {}", output.status);
    }
    let report: Value =
        serde_json::from_slice(&output.stdout).with_context(|| format!("the process of {what} left no report"))?;
    let mut ledger = Bytes::default();
    for category in Category::ALL {
        let taken = report["ledger"][category.to_string()].as_u64();
        ledger.charge(category, taken.with_context(|| format!("the process of {what} tells nothing of {category}"))?);
    }
    Ok(Measured { ledger, process_bytes: report["process_bytes"].as_u64() })
}
