//! What steps give: losses, right answers, drifts.

/// What one batch gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchResult {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Images whose largest logit is their label's.
    pub correct: usize,
}

/// What one step of a pass gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepResult {
    /// Loss and right answers.
    pub batch: BatchResult,
    /// The drift at the end of the sweep, 0 in a test; none in modes that reconstruct nothing.
    pub drift: Option<f64>,
}

/// What one backward sweep gave besides gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Drift {
    /// `|x~_0 - x_0| / |x_0|` at the end of the sweep; none in modes that reconstruct nothing.
    pub stem: Option<f64>,
    /// The largest such distance at an anchor, before the restart there.
    pub anchors: Option<f64>,
}

/// `|a - b| / |b|` from the squares of the two norms.
pub(super) fn relative(pair: [f64; 2]) -> f64 {
    (pair[0] / pair[1].max(f64::MIN_POSITIVE)).sqrt()
}

/// The largest of two that may be missing.
pub(super) fn largest(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    // a drift that is not a number is the largest there is
    let of = |a: f64, b: f64| if a.is_nan() || a > b { a } else { b };
    a.map_or(b, |a| Some(b.map_or(a, |b| of(a, b))))
}
