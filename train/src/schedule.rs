//! The learning rate over epochs.

use std::f64::consts::PI;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How the learning rate goes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// To a tenth after each of some epochs.
    #[default]
    Step,
    /// On half a cosine, from the whole rate in the first epoch towards 0 after the last.
    Cosine,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Step => "step",
            Self::Cosine => "cosine",
        })
    }
}

/// The learning rate of an epoch, counted from 1, of `epochs`. Step: `start` times a tenth for each of `drops` before it.
/// Cosine: `start (1 + cos(pi (epoch - 1) / epochs)) / 2`, PyTorch's CosineAnnealingLR.
pub fn learning_rate(schedule: Schedule, start: f64, drops: &[usize], epoch: usize, epochs: usize) -> f64 {
    match schedule {
        Schedule::Step => drops.iter().filter(|drop| epoch > **drop).fold(start, |lr, _| lr / 10.0),
        Schedule::Cosine => start * (1.0 + (PI * (epoch - 1) as f64 / epochs as f64).cos()) / 2.0,
    }
}

/// A third and two thirds of `epochs`, rounded up: the recipe's 30 and 60 of 90. After the last epoch nothing falls.
pub fn thirds(epochs: usize) -> Vec<usize> {
    let mut drops: Vec<usize> = [1, 2].map(|part| (part * epochs).div_ceil(3)).into();
    drops.retain(|drop| (1..epochs).contains(drop));
    drops.dedup();
    drops
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_word_it_falls_after_a_third_and_two_thirds() {
        let expected = [vec![], vec![], vec![1], vec![1, 2], vec![2, 3], vec![2, 4]];
        assert_eq!([0, 1, 2, 3, 4, 5].map(thirds), expected);
        assert_eq!((thirds(90), thirds(200)), (vec![30, 60], vec![67, 134]));
    }

    #[test]
    fn falls_after_the_named_epochs() {
        let at = |epoch| learning_rate(Schedule::Step, 0.1, &[30, 60], epoch, 90);
        assert_eq!((at(1), at(30), at(31), at(60), at(61)), (0.1, 0.1, 0.01, 0.01, 0.001));
        assert_eq!(learning_rate(Schedule::Step, 0.5, &[], 100, 100), 0.5);
    }

    #[test]
    fn a_cosine_has_half_the_rate_in_the_middle() {
        let at = |epoch| learning_rate(Schedule::Cosine, 0.1, &[30], epoch, 200);
        assert_eq!(at(1), 0.1);
        assert!((at(101) - 0.05).abs() < 1e-15);
        // torch.optim.lr_scheduler.CosineAnnealingLR(T_max=200) in its epochs 51 and 200, counted from 1
        assert!((at(51) - 0.08535533905932738).abs() < 1e-15, "{}", at(51));
        assert!((at(200) - 6.168375916970619e-06).abs() < 1e-12, "{}", at(200));
    }
}
