//! How far one gradient is from another, in numbers that stay finite.

use crate::gradients::Gradient64;

/// What a drift or an error counts as where it is larger, or no number: both lost their meaning long before.
pub const MOST: f64 = 1e6;

/// `value`, or [`MOST`] where it is larger or no number.
pub fn bounded(value: f64) -> f64 {
    if value < MOST { value } else { MOST }
}

/// Squares of norms, and the inner product.
#[derive(Clone, Copy, Default)]
pub struct Sums {
    distance: f64,
    exact: f64,
    found: f64,
    inner: f64,
}

impl Sums {
    /// Adds those of a tensor.
    pub fn add(&mut self, found: &[f64], exact: &[f64]) {
        for (a, b) in found.iter().zip(exact) {
            self.distance += (a - b).powi(2);
            self.exact += b * b;
            self.found += a * a;
            self.inner += a * b;
        }
    }

    /// Of two sets of tensors together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            distance: self.distance + other.distance,
            exact: self.exact + other.exact,
            found: self.found + other.found,
            inner: self.inner + other.inner,
        }
    }

    /// `<g, g*> / (|g| |g*|)`.
    pub fn cosine(self) -> f64 {
        self.inner / (self.found * self.exact).sqrt().max(f64::MIN_POSITIVE)
    }

    /// `|g - g*|^2 / |g*|^2`; of two gradients that are both 0 it is 0.
    pub fn squared(self) -> f64 {
        self.distance / self.exact.max(f64::MIN_POSITIVE)
    }
}

/// `|g - g*| / |g*|` and `<g, g*> / (|g| |g*|)`, over all tensors together.
pub fn distance(found: &[Gradient64], exact: &[Gradient64]) -> (f64, f64) {
    let mut sums = Sums::default();
    for ((_, found), (_, exact)) in found.iter().zip(exact) {
        sums.add(found, exact);
    }
    (sums.squared().sqrt(), sums.cosine())
}
