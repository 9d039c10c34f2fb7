//! Softmax cross-entropy.

/// Mean loss and number of right answers; `grad = (softmax - target) / N`: see [`crate::device::Head::softmax_cross_entropy`].
pub fn softmax_cross_entropy(logits: &[f64], labels: &[f64], smoothing: f64, grad: &mut [f64]) -> [f64; 2] {
    let classes = logits.len() / labels.len();
    let batch = labels.len() as f64;
    let (mut loss, mut correct) = (0.0, 0.0);
    for ((logits, grad), label) in logits.chunks(classes).zip(grad.chunks_mut(classes)).zip(labels) {
        let label = *label as usize;
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|l| (l - max).exp()).sum();
        loss += (sum.ln() - (1.0 - smoothing) * (logits[label] - max)) / batch;
        if smoothing > 0.0 {
            let mean = logits.iter().map(|l| l - max).sum::<f64>() / classes as f64;
            loss -= smoothing * mean / batch;
        }
        for (k, (grad, logit)) in grad.iter_mut().zip(logits).enumerate() {
            let target = if k == label { 1.0 - smoothing } else { 0.0 } + smoothing / classes as f64;
            *grad = ((logit - max).exp() / sum - target) / batch;
        }
        let first_best = logits.iter().position(|l| *l == max);
        if first_best == Some(label) && logits.iter().all(|l| l.is_finite()) {
            correct += 1.0;
        }
    }
    [loss, correct]
}
