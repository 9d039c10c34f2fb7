//! Softmax cross-entropy.

/// Mean loss and number of right answers; `grad = (softmax - target) / N`: see [`crate::device::Head::softmax_cross_entropy`]. The
/// largest logit is subtracted first, so that no exponential overflows. On one thread: a batch's logits are a few thousand numbers.
pub fn softmax_cross_entropy(logits: &[f32], labels: &[f32], smoothing: f64, grad: &mut [f32]) -> [f32; 2] {
    let classes = logits.len() / labels.len();
    let share = 1.0 / labels.len() as f64;
    // of each class's right answer
    let smoothed = smoothing / classes as f64;
    let (mut loss, mut correct) = (0.0, 0.0);
    for ((logits, grad), label) in logits.chunks_exact(classes).zip(grad.chunks_exact_mut(classes)).zip(labels) {
        let label = *label as usize;
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for (grad, logit) in grad.iter_mut().zip(logits) {
            *grad = (logit - max).exp();
            sum += f64::from(*grad);
        }
        loss += sum.ln() - (1.0 - smoothing) * (f64::from(logits[label]) - f64::from(max));
        if smoothing > 0.0 {
            loss -= smoothed * logits.iter().map(|logit| f64::from(*logit) - f64::from(max)).sum::<f64>();
        }
        let scale = share / sum;
        // The right class's in f64: softmax - 1 would cancel once the net is sure.
        let right = (f64::from(grad[label]) * scale - share * (1.0 - smoothing + smoothed)) as f32;
        for grad in grad.iter_mut() {
            *grad = (f64::from(*grad) * scale - share * smoothed) as f32;
        }
        grad[label] = right;
        let first_best = logits.iter().position(|l| *l == max);
        if first_best == Some(label) && logits.iter().all(|l| l.is_finite()) {
            correct += 1.0;
        }
    }
    [(loss * share) as f32, correct]
}
