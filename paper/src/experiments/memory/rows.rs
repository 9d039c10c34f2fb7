//! A net of the experiment: what it is planned to take, and what was measured.

use rewind::memory::Bytes;
use rewind::scheme::Scheme;
use serde::Serialize;

use super::cell::{Measured, MemorySpec};
use crate::cells::Cell;
use crate::spread::Spread;

/// A net to measure, of one seed. What it is planned to take is a setting of its cell: measured by a program that planned
/// otherwise, it is another net.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Planned {
    #[serde(flatten)]
    pub spec: MemorySpec,
    pub planned: Bytes,
}

impl Cell for Planned {
    type Result = Measured;

    fn key(&self) -> String {
        self.spec.key()
    }

    fn work(&self) -> f64 {
        self.spec.work()
    }
}

/// A net, of any seed.
#[derive(Clone, Debug)]
pub struct Row {
    pub spec: MemorySpec,
    pub planned: Bytes,
    /// A seed each; none if it was not measured.
    pub measured: Vec<(u64, Measured)>,
}

impl Row {
    pub fn of_seed(&self, seed: u64) -> Planned {
        Planned { spec: MemorySpec { seed, ..self.spec.clone() }, planned: self.planned.clone() }
    }

    /// A measured value over the seeds.
    pub fn spread(&self, value: impl Fn(&Measured) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.measured.iter().filter_map(|(_, measured)| value(measured)))
    }

    /// Seconds of a step: of each seed the median.
    pub fn step_seconds(&self) -> Option<Spread> {
        self.spread(Measured::median_step_seconds)
    }

    /// Bytes that the process, or the GPU's driver, counts for the net.
    pub fn counted_bytes(&self) -> Option<Spread> {
        self.spread(|measured| {
            measured.device_bytes.or_else(|| measured.process_growth_bytes()).map(|bytes| bytes as f64)
        })
    }
}

/// The rows with what was measured of them.
pub fn with(rows: &[Row], done: &[(&Planned, Measured)]) -> Vec<Row> {
    let of = |row: &Row| {
        let same = |spec: &MemorySpec| MemorySpec { seed: row.spec.seed, ..spec.clone() } == row.spec;
        let mut measured: Vec<_> = done
            .iter()
            .filter(|(net, _)| net.spec.depth == row.spec.depth && same(&net.spec))
            .map(|(net, measured)| (net.spec.seed, measured.clone()))
            .collect();
        measured.sort_by_key(|(seed, _)| *seed);
        Row { measured, ..row.clone() }
    };
    rows.iter().map(of).collect()
}

/// The schemes of the rows, in their order.
pub fn schemes(rows: &[Row]) -> Vec<Scheme> {
    let mut schemes = Vec::new();
    for row in rows {
        if !schemes.contains(&row.spec.scheme) {
            schemes.push(row.spec.scheme);
        }
    }
    schemes
}
