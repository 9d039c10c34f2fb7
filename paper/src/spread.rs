//! What several seeds gave: their mean and quartiles.

use serde::{Deserialize, Serialize};

/// Mean and quartiles of some values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many values.
    pub seeds: usize,
    /// Their mean.
    pub mean: f64,
    /// A quarter of them is below it.
    pub low: f64,
    /// A quarter of them is above it.
    pub high: f64,
}

impl Spread {
    /// None of no value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        // between two values on a straight line, as numpy's percentile does
        let quantile = |q: f64| {
            let at = q * last as f64;
            let (below, share) = (at.floor() as usize, at.fract());
            values[below] + share * (values[(below + 1).min(last)] - values[below])
        };
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Some(Self { seeds: values.len(), mean, low: quantile(0.25), high: quantile(0.75) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_values() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0]), Some(Spread { seeds: 1, mean: 3.0, low: 3.0, high: 3.0 }));
        // numpy.percentile([1, 2, 4, 9], [25, 75]) is [1.75, 5.25]
        assert_eq!(Spread::of([9.0, 1.0, 4.0, 2.0]), Some(Spread { seeds: 4, mean: 4.0, low: 1.75, high: 5.25 }));
    }
}
