//! Runs of `torch_tiny.py`, and the search for its best setting.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use rewind::sweep::Gradient;

use crate::load::Load;
use crate::measured::Measured;
use crate::rows::{Net, Side};

/// Ways to run the same program.
pub const SETTINGS: [Setting; 3] = [
    Setting { name: "eager, channels-last", flags: &["--channels-last"] },
    Setting { name: "eager, NCHW", flags: &[] },
    Setting { name: "compiled, channels-last", flags: &["--channels-last", "--compile"] },
];

/// A memory layout, and whether the steps are compiled.
#[derive(Clone, Copy, PartialEq)]
pub struct Setting {
    pub name: &'static str,
    flags: &'static [&'static str],
}

/// How long a run goes.
#[derive(Clone, Copy)]
pub struct Length {
    pub seconds: f64,
    pub min_steps: usize,
    pub warmup: usize,
}

/// PyTorch, under one interpreter.
pub struct Torch {
    python: String,
    data: PathBuf,
    threads: usize,
    /// PyTorch's version.
    pub version: String,
}

impl Torch {
    /// Asks the interpreter for PyTorch.
    pub fn find(python: &str, data: &Path, threads: usize) -> Result<Self> {
        let asked = Command::new(python).args(["-c", "import numpy, torch; print(torch.__version__)"]).output();
        let Ok(answer) = asked else {
            bail!("there is no {python} to run PyTorch with: install Python 3, or name it with --python");
        };
        let version = String::from_utf8_lossy(&answer.stdout).trim().to_string();
        if !answer.status.success() || version.is_empty() {
            bail!(
                "{python} has no PyTorch: run `{python} -m pip install torch==2.13.0 numpy`, or name another --python"
            );
        }
        Ok(Self { python: python.into(), data: data.into(), threads, version })
    }

    fn script(&self, arguments: &[String]) -> Result<Output> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peer/torch_tiny.py");
        let ended = Command::new(&self.python).arg(script).args(arguments).output();
        let ended = ended.with_context(|| format!("cannot start {}", self.python))?;
        let said = String::from_utf8_lossy(&ended.stderr);
        // the last line of a traceback says what it was
        let last = said.trim().lines().last().unwrap_or("it said nothing");
        ensure!(ended.status.success(), "torch_tiny.py failed: {last}");
        Ok(ended)
    }

    /// One timed run.
    pub fn run(&self, net: Net, gradient: Gradient, setting: Setting, length: Length) -> Result<Measured> {
        let mut arguments = vec!["bench".to_string(), "--data".into(), self.data.display().to_string()];
        let options = [
            ("--scheme", net.scheme.to_string()),
            ("--backward", gradient.to_string()),
            ("--depth", net.depth.to_string()),
            ("--channels", net.channels.to_string()),
            ("--map", net.map.to_string()),
            ("--batch", net.batch.to_string()),
            ("--threads", self.threads.to_string()),
            ("--steps", "100000".into()),
            ("--min-steps", length.min_steps.to_string()),
            ("--warmup", length.warmup.to_string()),
            ("--max-seconds", length.seconds.to_string()),
        ];
        arguments.extend(options.into_iter().flat_map(|(flag, value)| [flag.to_string(), value]));
        arguments.extend(setting.flags.iter().map(ToString::to_string));
        let load = Load::start();
        let ended = self.script(&arguments)?;
        let told: serde_json::Value = serde_json::from_slice(&ended.stdout).context("torch_tiny.py's line of JSON")?;
        let number = |key: &str| told[key].as_f64().with_context(|| format!("no {key} in torch_tiny.py's line"));
        Ok(Measured {
            side: Side::Peer,
            gradient,
            setting: setting.name,
            threads: self.threads,
            steps: number("steps")? as usize,
            step_ms: number("ms_median")?,
            other_cores: load.others(),
            peak_rss_bytes: Some((1e6 * number("peak_rss_mb")?) as u64),
        })
    }

    /// The speed of large products, line by line.
    pub fn peak(&self) -> Result<String> {
        let ended = self.script(&["peak".into(), "--threads".into(), self.threads.to_string()])?;
        Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
    }
}
