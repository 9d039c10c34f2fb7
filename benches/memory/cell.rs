//! One cell of the table: a gradient mode at a depth, what it is planned to take and what it took.

use rewind::device::Device;
use rewind::memory::Bytes;
use rewind::scheme::Scheme;
use rewind_paper::experiments::memory::cell::{Measured, MemorySpec};
use rewind_paper::method::Method;
use rewind_train::config::{DeviceChoice, RunConfig};

/// The columns of the table, from the one that keeps most.
pub const METHODS: [Method; 6] =
    [Method::Backprop, Method::Checkpoint, Method::AnchorsSqrt, Method::Coded4, Method::Adjoint, Method::Corrected];

/// Training steps of a cell: the second shows that the first took everything.
pub const STEPS: usize = 2;

pub struct Cell {
    pub spec: MemorySpec,
    pub planned: Bytes,
    /// None where the cell was not run.
    pub measured: Option<Measured>,
}

impl Cell {
    /// The default net at this depth.
    ///
    /// # Errors
    /// As [`MemorySpec::planned`].
    pub fn planned<D: Device>(
        d: &D,
        method: Method,
        scheme: Scheme,
        depth: usize,
        threads: usize,
    ) -> rewind::Result<Self> {
        let RunConfig { channels, batch, seed, .. } = RunConfig::default();
        let spec = MemorySpec {
            scheme,
            method,
            depth,
            channels,
            batch,
            seed,
            device: DeviceChoice::Cpu,
            threads: Some(threads),
            device_name: d.name(),
            steps: STEPS - 1,
            seconds: 0.0,
        };
        Ok(Self { planned: spec.planned(d)?, spec, measured: None })
    }
}
