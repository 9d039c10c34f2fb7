//! What a block's reconstruction is worth, measured by the sweep at no evaluation's cost.
//!
//! The sweep holds three states of each block: x_{n+1}, from which it came, the reconstruction `x~_n = x_{n+1} - Phi(x_{n+1})`,
//! and `x_{n+1} - Phi(x~_n)`, the next pass of the fixed-point iteration that the reverse step is the first pass of. How far the
//! last two lie apart bounds the error of the first of them; by how much less they do than the first two is the rate at which
//! the iteration contracts.

use super::SweepSpec;
use crate::operands::HOPELESS;

/// A sweep that reconstructs has the table of errors.
pub(super) const MEASURED: &str = "the modes that reconstruct measure their errors";

/// Sums per step.
pub const SUMS: usize = 4;

/// Where step n's sums begin in the table.
pub(super) const fn row(n: usize) -> usize {
    SUMS * n
}

/// The local error of one step's reconstruction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalError {
    /// `|next pass - reconstruction| / |next pass|`.
    pub delta: f64,
    /// The factor by which a pass comes closer; 0 where nothing moved.
    pub rho: f64,
}

impl LocalError {
    /// From the four sums of a step, `|x~_n - x_{n+1}|^2`, `|x_{n+1}|^2`, `|x~_n - x'|^2` and `|x'|^2` with the next pass x', and
    /// the number of passes between the first two pairs.
    pub fn of(sums: [f64; SUMS], passes: usize) -> Self {
        let [moved, _, left, norm] = sums;
        let ratio = |a: f64, b: f64| if a == 0.0 { 0.0 } else { (a / b).sqrt() };
        Self { delta: ratio(left, norm), rho: ratio(left, moved).powf(1.0 / passes.max(1) as f64) }
    }

    /// Whether the reconstruction is worth nothing, so that no gradient should be taken there: it is off by half of the state, or
    /// by a tenth where passes lead away. What [`crate::device::Coding::judge`] says on the device.
    pub fn is_hopeless(&self) -> bool {
        let Self { delta, rho } = *self;
        let squares = HOPELESS.map(f64::sqrt);
        !delta.is_finite() || !rho.is_finite() || delta > squares[0] || (delta > squares[1] && rho > 1.0)
    }
}

impl SweepSpec {
    /// Local errors that a sweep over `depth` residual functions measures.
    pub(crate) fn measured_errors(&self, depth: usize) -> usize {
        if self.gradient.measures_errors() { SUMS * self.scheme.steps(depth) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_ratios_of_norms() {
        let error = LocalError::of([4.0, 100.0, 1.0, 25.0], 1);
        assert_eq!(error, LocalError { delta: 0.2, rho: 0.5 });
        assert_eq!(LocalError::of([16.0, 100.0, 1.0, 25.0], 2).rho, 0.5);
        assert_eq!(LocalError::of([0.0; 4], 1), LocalError { delta: 0.0, rho: 0.0 });
    }

    #[test]
    fn what_is_no_number_is_hopeless() {
        let of = |delta, rho| LocalError { delta, rho }.is_hopeless();
        let contracting = [0.0, 0.4, 0.6, f64::INFINITY, f64::NAN].map(|delta| of(delta, 0.9));
        assert_eq!(contracting, [false, false, true, true, true]);
        // rounding alone may look as if passes led away
        let astray = [1e-8, 0.05, 0.2].map(|delta| of(delta, 1.5));
        assert_eq!(astray, [false, false, true]);
        assert!(of(0.0, f64::NAN));
    }
}
