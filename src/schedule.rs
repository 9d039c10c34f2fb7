//! The learning rate over epochs.

/// The learning rate of an epoch, counted from 1: a tenth after each of the epochs in `drops`.
pub fn learning_rate(start: f64, drops: &[usize], epoch: usize) -> f64 {
    drops.iter().filter(|drop| epoch > **drop).fold(start, |lr, _| lr / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falls_after_the_named_epochs() {
        let at = |epoch| learning_rate(0.1, &[30, 60], epoch);
        assert_eq!((at(1), at(30), at(31), at(60), at(61)), (0.1, 0.1, 0.01, 0.01, 0.001));
        assert_eq!(learning_rate(0.5, &[], 100), 0.5);
    }
}
