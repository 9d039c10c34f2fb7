//! The distance of one gradient from another, in several measures.

use rewind::net::Drift;
use serde::{Deserialize, Serialize};

use crate::distance::{Sums, bounded};
use crate::gradients::Gradient64;
use crate::method::Method;

/// What one cell gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Of every mode, in the order of `modes` of the cell; in f64 then [`Method::Backprop`] in f32 against f64, which is
    /// rounding alone.
    pub errors: Vec<ModeErrors>,
    /// How far the net was trained, if it was.
    pub training: Option<TrainedTo>,
}

impl Measured {
    /// A mode's errors, where they were measured.
    pub fn of(&self, mode: Method) -> Option<&ModeErrors> {
        self.errors.iter().find(|errors| errors.mode == mode)
    }
}

/// How far a net was trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainedTo {
    /// Epochs.
    pub epochs: usize,
    /// The fraction of the test images that it then classified wrongly.
    pub test_error: Option<f64>,
}

/// How far a mode's gradient of the residual blocks' weights, g, is from exact backprop's, g*.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModeErrors {
    /// The mode.
    pub mode: Method,
    /// `|g - g*| / |g*|` over all blocks together, at most [`crate::distance::MOST`], which also stands for what is no
    /// number, as in all ratios here.
    pub error: f64,
    /// `<g, g*> / (|g| |g*|)`; 0 where the gradient is not finite.
    pub cosine: f64,
    /// The paper's code's measure: the mean over tensors that are no biases of `mean((g - g*)^2) / mean(g*^2)`.
    pub squared: f64,
    /// `|x~_0 - x_0| / |x_0|` at the end of the sweep; none if the sweep could not rebuild a block.
    pub drift: Option<f64>,
    /// The largest such distance at an anchor.
    pub anchor_drift: Option<f64>,
    /// Of a mode that codes, the same codes in the pass that they alter.
    pub altered: Option<Altered>,
    /// `|g - g*| / |g*|` of each block, from the first.
    pub blocks: Vec<f64>,
}

/// The gradient g of the forward pass that codes alter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Altered {
    /// `|g - g'| / |g'|` with the exact gradient g' of that pass: by the same sweep, but from every block's true state.
    pub own: f64,
    /// `|g - g*| / |g*|`: how far that pass's gradient is from the plain pass's.
    pub error: f64,
    /// `|x~_0 - x_0| / |x_0|` at the end of the sweep.
    pub drift: Option<f64>,
    /// The largest such distance one block below a true state, of all blocks but the first.
    pub step_drift: Option<f64>,
}

/// Compares gradients named `blocks.<n>.<tensor>`, or `stages.<s>.blocks.<n>.<tensor>`, in the same order.
pub(super) fn compare(mode: Method, found: &[Gradient64], exact: &[Gradient64], drift: Drift) -> ModeErrors {
    // what stands before the tensor's own name, conv1.weight
    let block = |name: &str| name.rsplitn(3, '.').nth(2).map(str::to_string);
    let (mut blocks, mut squared) = (Vec::new(), Vec::new());
    let of_block =
        |(a, _): &(&Gradient64, &Gradient64), (b, _): &(&Gradient64, &Gradient64)| block(&a.0) == block(&b.0);
    let pairs: Vec<_> = found.iter().zip(exact).collect();
    for tensors in pairs.chunk_by(of_block) {
        let mut sums = Sums::default();
        for ((name, found), (_, exact)) in tensors {
            let mut own = Sums::default();
            own.add(found, exact);
            if !name.contains("bias") {
                squared.push(own.squared());
            }
            sums = sums.plus(own);
        }
        blocks.push(sums);
    }
    let all = blocks.iter().copied().fold(Sums::default(), Sums::plus);
    let cosine = all.cosine();
    ModeErrors {
        mode,
        error: bounded(all.squared().sqrt()),
        cosine: if cosine.is_finite() { cosine } else { 0.0 },
        squared: bounded(squared.iter().sum::<f64>() / squared.len().max(1) as f64),
        drift: drift.stem.filter(|drift| drift.is_finite()),
        anchor_drift: drift.anchors.filter(|drift| drift.is_finite()),
        altered: None,
        blocks: blocks.into_iter().map(|sums| bounded(sums.squared().sqrt())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::distance;

    #[test]
    fn measures_are_those_worked_out_by_hand() {
        let named = |names: [(&str, [f64; 2]); 3]| names.map(|(name, values)| (name.to_string(), values.to_vec()));
        let exact = named([
            ("blocks.0.conv1.weight", [3.0, 4.0]),
            ("blocks.0.bn1.bias", [0.0, 5.0]),
            ("blocks.1.conv1.weight", [0.0, 2.0]),
        ]);
        let found = named([
            ("blocks.0.conv1.weight", [3.0, 3.0]),
            ("blocks.0.bn1.bias", [0.0, 5.0]),
            ("blocks.1.conv1.weight", [1.0, 2.0]),
        ]);
        let errors = compare(Method::Adjoint, &found, &exact, Drift { stem: Some(0.5), anchors: None });
        assert_eq!(errors.blocks, [(1.0f64 / 50.0).sqrt(), (1.0f64 / 4.0).sqrt()]);
        assert_eq!(errors.error, (2.0f64 / 54.0).sqrt());
        assert_eq!(errors.squared, (1.0 / 25.0 + 1.0 / 4.0) / 2.0);
        assert_eq!(errors.cosine, 50.0 / (48.0f64 * 54.0).sqrt());
        assert_eq!((errors.drift, errors.anchor_drift), (Some(0.5), None));
        assert_eq!(distance(&found, &exact), (errors.error, errors.cosine));
    }
}
