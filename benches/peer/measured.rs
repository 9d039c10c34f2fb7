//! One run's figures, and what becomes of several.

use rewind::sweep::Gradient;

use crate::rows::Side;

/// What one process told when it was over.
#[derive(Clone, Debug)]
pub struct Measured {
    pub side: Side,
    pub gradient: Gradient,
    /// The peer's setting; nothing for ours.
    pub setting: &'static str,
    pub threads: usize,
    pub steps: usize,
    /// Median milliseconds per step.
    pub step_ms: f64,
    /// Peak of resident memory of the whole process, as the system counts it.
    pub peak_rss_bytes: Option<u64>,
    /// Cores that other programs kept busy meanwhile, where the system tells.
    pub other_cores: Option<f64>,
}

/// The middle of the values; of an even number the mean of the middle two.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}

/// Smallest and largest.
pub fn extent(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)))
}
