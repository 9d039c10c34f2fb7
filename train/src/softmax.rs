//! What the logits of one image say.

/// The largest of an image's logits, and what turns each of them into a probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Softmax {
    /// The class of the largest logit, the first of equals: what the net takes the image for.
    pub best: usize,
    /// `log(sum_k exp(logit_k))`.
    log_sum: f64,
}

impl Softmax {
    /// Of one image's logits, one for each class.
    pub fn of(logits: &[f32]) -> Self {
        let larger = |best: usize, k: usize| if logits[k] > logits[best] { k } else { best };
        let best = (0..logits.len()).fold(0, larger);
        let max = f64::from(logits[best]);
        let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - max).exp()).sum();
        Self { best, log_sum: max + sum.ln() }
    }

    /// The cross-entropy of the class that has this logit.
    pub fn loss(&self, logit: f32) -> f64 {
        self.log_sum - f64::from(logit)
    }

    /// The probability of the class that has this logit.
    pub fn probability(&self, logit: f32) -> f64 {
        (-self.loss(logit)).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_and_the_first_of_equals_is_best() {
        let logits = [1.0_f32, 500.0, -3.0, 500.0];
        let softmax = Softmax::of(&logits);
        assert_eq!(softmax.best, 1);
        let sum: f64 = logits.iter().map(|logit| softmax.probability(*logit)).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        assert!((softmax.loss(500.0) - std::f64::consts::LN_2).abs() < 1e-12);
        assert!((softmax.loss(1.0) - 499.0 - std::f64::consts::LN_2).abs() < 1e-9);
    }
}
