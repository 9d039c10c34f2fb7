//! Softmax cross-entropy.

use crate::host::label_of;

/// Mean loss and number of right answers; `grad = (softmax - target) / N`: see [`crate::device::Head::softmax_cross_entropy`]. The
/// largest logit is subtracted first, so that no exponential overflows. On one thread: a batch's logits are a few thousand numbers.
pub fn softmax_cross_entropy(
    logits: &[f32],
    classes: usize,
    labels: &[f32],
    smoothing: f64,
    grad: &mut [f32],
) -> [f32; 2] {
    let images = logits.len() / classes;
    let share = 1.0 / images as f64;
    // of each class's right answer
    let smoothed = smoothing / classes as f64;
    let (mut loss, mut correct) = (0.0, 0.0);
    for ((logits, grad), label) in
        logits.chunks_exact(classes).zip(grad.chunks_exact_mut(classes)).zip(labels.chunks_exact(labels.len() / images))
    {
        let (label, other, of_other) = label_of(label);
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for (grad, logit) in grad.iter_mut().zip(logits) {
            *grad = (logit - max).exp();
            sum += f64::from(*grad);
        }
        let below = |k: usize| f64::from(logits[k]) - f64::from(max);
        loss += sum.ln() - (1.0 - smoothing) * ((1.0 - of_other) * below(label) + of_other * below(other));
        if smoothing > 0.0 {
            loss -= smoothed * logits.iter().map(|logit| f64::from(*logit) - f64::from(max)).sum::<f64>();
        }
        let scale = share / sum;
        // The right class's in f64: softmax - 1 would cancel once the net is sure.
        let hit = |k: usize| {
            let part = if k == label { 1.0 - of_other } else { 0.0 } + if k == other { of_other } else { 0.0 };
            (f64::from(grad[k]) * scale - share * ((1.0 - smoothing) * part + smoothed)) as f32
        };
        let rights = [hit(label), hit(other)];
        for grad in grad.iter_mut() {
            *grad = (f64::from(*grad) * scale - share * smoothed) as f32;
        }
        (grad[label], grad[other]) = (rights[0], rights[1]);
        let counts = if of_other > 0.5 { other } else { label };
        let first_best = logits.iter().position(|l| *l == max);
        if first_best == Some(counts) && logits.iter().all(|l| l.is_finite()) {
            correct += 1.0;
        }
    }
    [(loss * share) as f32, correct]
}
