//! A net of the experiment: what it is planned to take, and what was measured.

use rewind::memory::Bytes;
use rewind::paper::memory::{Measured, MemorySpec};
use rewind::paper::spread::Spread;
use rewind::scheme::Scheme;

/// A net, of any seed.
#[derive(Clone, Debug)]
pub struct Row {
    pub spec: MemorySpec,
    pub planned: Bytes,
    /// A seed each; none if it was not measured.
    pub measured: Vec<(u64, Measured)>,
}

impl Row {
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
pub fn with(rows: &[Row], done: &[(&MemorySpec, Measured)]) -> Vec<Row> {
    let of = |row: &Row| {
        let same = |spec: &MemorySpec| MemorySpec { seed: row.spec.seed, ..spec.clone() } == row.spec;
        let mut measured: Vec<_> = done
            .iter()
            .filter(|(spec, _)| spec.depth == row.spec.depth && same(spec))
            .map(|(spec, measured)| (spec.seed, measured.clone()))
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
