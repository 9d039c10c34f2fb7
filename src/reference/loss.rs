//! Softmax cross-entropy.

/// Mean loss and number of right answers; `grad = (softmax - onehot) / N`.
pub fn softmax_cross_entropy(logits: &[f64], labels: &[f64], grad: &mut [f64]) -> [f64; 2] {
    let classes = logits.len() / labels.len();
    let batch = labels.len() as f64;
    let (mut loss, mut correct) = (0.0, 0.0);
    for ((logits, grad), label) in logits.chunks(classes).zip(grad.chunks_mut(classes)).zip(labels) {
        let label = *label as usize;
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|l| (l - max).exp()).sum();
        loss += (max + sum.ln() - logits[label]) / batch;
        for (k, (grad, logit)) in grad.iter_mut().zip(logits).enumerate() {
            let target = if k == label { 1.0 } else { 0.0 };
            *grad = ((logit - max).exp() / sum - target) / batch;
        }
        let first_best = logits.iter().position(|l| *l == max);
        if first_best == Some(label) && logits.iter().all(|l| l.is_finite()) {
            correct += 1.0;
        }
    }
    [loss, correct]
}
