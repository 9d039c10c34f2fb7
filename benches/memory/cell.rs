//! One cell of the table: a gradient mode at a depth, what it is planned to take and what it took.

use std::fmt;

use anyhow::bail;
use rewind::config::RunConfig;
use rewind::data::{self, synthetic};
use rewind::device::Device;
use rewind::memory::{Bytes, Category};
use rewind::net::{Body, NetSpec, Stem};
use rewind::plan;
use rewind::scheme::{Scheme, StepSize};
use rewind::sweep::{Gradient, SweepSpec};
use serde::{Deserialize, Serialize};

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    pub gradient: Gradient,
    /// Whether every K-th state is kept, K about the square root of the depth.
    pub anchored: bool,
}

impl Mode {
    /// From the one that keeps most.
    pub const ALL: [Self; 6] = [
        Self { gradient: Gradient::Backprop, anchored: false },
        Self { gradient: Gradient::Checkpoint, anchored: false },
        Self { gradient: Gradient::Adjoint, anchored: true },
        Self { gradient: Gradient::Light, anchored: false },
        Self { gradient: Gradient::Adjoint, anchored: false },
        Self { gradient: Gradient::Corrected, anchored: false },
    ];

    fn sweep(self, scheme: Scheme, depth: usize) -> SweepSpec {
        let plain = SweepSpec::new(scheme, self.gradient);
        SweepSpec { anchors: self.anchored.then(|| plain.segment_steps(depth)), ..plain }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}{}", self.gradient, if self.anchored { " + anchors" } else { "" }))
    }
}

/// What a cell's process has to know.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CellSpec {
    pub depth: usize,
    pub threads: usize,
    pub sweep: SweepSpec,
}

impl CellSpec {
    /// The default net at this depth, for ten classes.
    pub fn net(&self) -> NetSpec {
        let RunConfig { channels, batch, .. } = RunConfig::default();
        NetSpec {
            depth: self.depth,
            channels,
            batch,
            stem: Stem::Strided5x5,
            image: data::IMAGE,
            image_channels: data::CHANNELS,
            classes: synthetic::CLASSES.len(),
            step_size: StepSize::OverDepth,
            sweep: self.sweep,
            body: Body::default(),
        }
    }
}

/// What a cell's process found.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The arena's ledger, whose end is its peak: nothing is given back while a net lives.
    pub ledger: Bytes,
    /// The most that was resident of the whole process, where the system tells.
    pub process_bytes: Option<u64>,
}

pub struct Cell {
    pub mode: Mode,
    pub spec: CellSpec,
    pub planned: Bytes,
    /// None where the cell was not run.
    pub measured: Option<Measured>,
}

impl Cell {
    pub fn planned<D: Device>(d: &D, mode: Mode, scheme: Scheme, depth: usize, threads: usize) -> Self {
        let spec = CellSpec { depth, threads, sweep: mode.sweep(scheme, depth) };
        Self { mode, spec, planned: plan::network(d, &spec.net()), measured: None }
    }

    /// Holds what was taken to what was planned, category by category.
    ///
    /// # Errors
    /// Names the cell and the first category that differs.
    pub fn check(&self, taken: &Bytes) -> anyhow::Result<()> {
        let differs = Category::ALL.into_iter().find(|category| taken.of(*category) != self.planned.of(*category));
        if let Some(category) = differs {
            bail!(
                "{} at depth {} took {} bytes for {category} and its plan says {}",
                self.mode,
                self.spec.depth,
                taken.of(category),
                self.planned.of(category)
            );
        }
        Ok(())
    }
}
