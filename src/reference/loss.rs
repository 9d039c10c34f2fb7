//! Softmax cross-entropy.

use crate::host::label_of;

/// Mean loss and number of right answers; `grad = (softmax - target) / N`: see [`crate::device::Head::softmax_cross_entropy`].
pub fn softmax_cross_entropy(
    logits: &[f64],
    classes: usize,
    labels: &[f64],
    smoothing: f64,
    grad: &mut [f64],
) -> [f64; 2] {
    let images = logits.len() / classes;
    let batch = images as f64;
    let (mut loss, mut correct) = (0.0, 0.0);
    for ((logits, grad), label) in
        logits.chunks(classes).zip(grad.chunks_mut(classes)).zip(labels.chunks(labels.len() / images))
    {
        let (label, other, share) = label_of(label);
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|l| (l - max).exp()).sum();
        let of_answers = (1.0 - share) * (logits[label] - max) + share * (logits[other] - max);
        loss += (sum.ln() - (1.0 - smoothing) * of_answers) / batch;
        if smoothing > 0.0 {
            let mean = logits.iter().map(|l| l - max).sum::<f64>() / classes as f64;
            loss -= smoothing * mean / batch;
        }
        for (k, (grad, logit)) in grad.iter_mut().zip(logits).enumerate() {
            let right = if k == label { 1.0 - share } else { 0.0 } + if k == other { share } else { 0.0 };
            let target = (1.0 - smoothing) * right + smoothing / classes as f64;
            *grad = ((logit - max).exp() / sum - target) / batch;
        }
        let first_best = logits.iter().position(|l| *l == max);
        let counts = if share > 0.5 { other } else { label };
        if first_best == Some(counts) && logits.iter().all(|l| l.is_finite()) {
            correct += 1.0;
        }
    }
    [loss, correct]
}
