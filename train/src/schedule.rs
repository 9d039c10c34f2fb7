//! The learning rate over a run.

use std::f64::consts::PI;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::RunConfig;

/// How the learning rate goes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// To a tenth after each of some epochs.
    #[default]
    Step,
    /// On half a cosine, epoch by epoch, from the whole rate in the first towards 0 after the last.
    Cosine,
    /// On half a cosine, step by step, from the whole rate behind the warm-up towards 0 after the last step.
    CosineSteps,
    /// Up to the whole rate over [`ONE_CYCLE_UP`] of the steps and down for the rest, each on half a cosine.
    OneCycle,
}

/// The part of a cycle in which the rate rises, PyTorch's default; the rate that it starts from is one 25th, and it ends at that divided by
/// 10,000.
pub const ONE_CYCLE_UP: f64 = 0.3;
const ONE_CYCLE_START: f64 = 1.0 / 25.0;
const ONE_CYCLE_END: f64 = ONE_CYCLE_START / 1e4;

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Step => "step",
            Self::Cosine => "cosine",
            Self::CosineSteps => "cosine-steps",
            Self::OneCycle => "one-cycle",
        })
    }
}

impl Schedule {
    /// Whether a rate depends on how long the run is to be.
    pub fn spans_the_run(self) -> bool {
        self != Self::Step
    }

    /// Whether the rate changes from step to step.
    fn goes_by_steps(self) -> bool {
        matches!(self, Self::CosineSteps | Self::OneCycle)
    }
}

/// The learning rate over a whole run.
#[derive(Clone, Debug, PartialEq)]
pub struct Course<'a> {
    /// How it goes down.
    pub schedule: Schedule,
    /// The whole rate.
    pub rate: f64,
    /// Epochs after which it falls, of [`Schedule::Step`].
    pub drops: &'a [usize],
    /// Epochs in which it rises from 0, a step at a time.
    pub warmup: usize,
    /// Epochs of the run.
    pub epochs: usize,
    /// Steps of an epoch.
    pub steps: usize,
}

impl<'a> Course<'a> {
    /// That of a run whose epochs have so many steps.
    pub fn of(config: &'a RunConfig, steps: usize) -> Self {
        let RunConfig { lr, lr_schedule, lr_drop, warmup, epochs, .. } = config;
        let (drops, epochs) = (lr_drop.as_deref().unwrap_or_default(), epochs.unwrap_or(0));
        Self { schedule: *lr_schedule, rate: *lr, drops, warmup: *warmup, epochs, steps }
    }

    /// Whether the rate changes within an epoch, counted from 1.
    pub fn changes_within(&self, epoch: usize) -> bool {
        self.schedule.goes_by_steps() || epoch <= self.warmup
    }

    /// The rate of a step, from 0, of an epoch, counted from 1.
    ///
    /// - Step: the whole rate times a tenth for each drop before the epoch.
    /// - Cosine: `rate (1 + cos(pi (epoch - 1) / epochs)) / 2`, PyTorch's CosineAnnealingLR stepped once per epoch.
    /// - Cosine by steps: the same of all steps behind the warm-up, PyTorch's stepped once per step.
    /// - One cycle: PyTorch's OneCycleLR with its defaults, the momentum left as it is.
    ///
    /// In the warm-up's W steps step t has (t + 1) / W of that: PyTorch's LinearLR from 1 / W.
    pub fn at(&self, epoch: usize, step: usize) -> f64 {
        let Self { schedule, rate, drops, warmup, epochs, steps } = *self;
        let half_cosine = |part: f64| (1.0 + (PI * part).cos()) / 2.0;
        let done = (epoch - 1) * steps + step;
        let (all, rising) = (epochs * steps, warmup.min(epochs) * steps);
        let reached = match schedule {
            Schedule::Step => drops.iter().filter(|drop| epoch > **drop).fold(rate, |rate, _| rate / 10.0),
            Schedule::Cosine => rate * half_cosine((epoch - 1) as f64 / epochs as f64),
            Schedule::CosineSteps if done < rising => rate,
            Schedule::CosineSteps => rate * half_cosine((done - rising) as f64 / (all - rising) as f64),
            Schedule::OneCycle => {
                let up = ONE_CYCLE_UP * all as f64 - 1.0;
                let (from, to, part) = match done as f64 {
                    done if done <= up => (ONE_CYCLE_START, 1.0, done / up),
                    done => (1.0, ONE_CYCLE_END, (done - up) / (all as f64 - 1.0 - up)),
                };
                rate * (to + (from - to) * half_cosine(part))
            }
        };
        match done < rising {
            true => reached * (done + 1) as f64 / rising as f64,
            false => reached,
        }
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

    fn course(schedule: Schedule, epochs: usize, steps: usize) -> Course<'static> {
        Course { schedule, rate: 0.1, drops: &[], warmup: 0, epochs, steps }
    }

    #[test]
    fn without_a_word_it_falls_after_a_third_and_two_thirds() {
        let expected = [vec![], vec![], vec![1], vec![1, 2], vec![2, 3], vec![2, 4]];
        assert_eq!([0, 1, 2, 3, 4, 5].map(thirds), expected);
        assert_eq!((thirds(90), thirds(200)), (vec![30, 60], vec![67, 134]));
    }

    #[test]
    fn falls_after_the_named_epochs() {
        let recipe = Course { drops: &[30, 60], ..course(Schedule::Step, 90, 7) };
        let at = |epoch| recipe.at(epoch, 3);
        assert_eq!((at(1), at(30), at(31), at(60), at(61)), (0.1, 0.1, 0.01, 0.01, 0.001));
        assert_eq!(Course { rate: 0.5, ..course(Schedule::Step, 100, 1) }.at(100, 0), 0.5);
    }

    #[test]
    fn a_cosine_has_half_the_rate_in_the_middle() {
        let at = |epoch| course(Schedule::Cosine, 200, 5).at(epoch, 4);
        assert_eq!(at(1), 0.1);
        assert!((at(101) - 0.05).abs() < 1e-15);
        // torch.optim.lr_scheduler.CosineAnnealingLR(T_max=200) in its epochs 51 and 200, counted from 1
        assert!((at(51) - 0.08535533905932738).abs() < 1e-15, "{}", at(51));
        assert!((at(200) - 6.168375916970619e-06).abs() < 1e-12, "{}", at(200));
    }

    /// Ten steps each of PyTorch 2.15's schedulers at a rate of 0.1.
    #[test]
    fn rates_step_by_step_are_those_of_pytorch() {
        let close = |name: &str, course: &Course<'_>, golden: [f64; 10]| {
            let found: Vec<f64> = (0..10).map(|t| course.at(1 + t / course.steps, t % course.steps)).collect();
            let off = found.iter().zip(golden).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off < 1e-15, "{name}: {found:?}");
        };
        close(
            "CosineAnnealingLR(T_max=10)",
            &course(Schedule::CosineSteps, 2, 5),
            [
                0.1,
                0.09755282581475769,
                0.09045084971874738,
                0.07938926261462367,
                0.06545084971874739,
                0.05000000000000001,
                0.03454915028125264,
                0.020610737385376353,
                0.009549150281252635,
                0.002447174185242324,
            ],
        );
        close(
            "OneCycleLR(max_lr=0.1, total_steps=10)",
            &course(Schedule::OneCycle, 2, 5),
            [
                0.0040000000000000036,
                0.052000000000000005,
                0.1,
                0.09504846320134738,
                0.0811745653949763,
                0.06112620219362893,
                0.03887419780637107,
                0.0188258346050237,
                0.004951936798652629,
                4e-07,
            ],
        );
        // SequentialLR([LinearLR(start_factor=1/4, total_iters=3), CosineAnnealingLR(T_max=6)], milestones=[4])
        let warm = Course { warmup: 2, ..course(Schedule::CosineSteps, 5, 2) };
        close(
            "a warm-up of four steps",
            &warm,
            [
                0.025,
                0.05,
                0.07500000000000001,
                0.1,
                0.1,
                0.09330127018922195,
                0.07500000000000001,
                0.05,
                0.025000000000000012,
                0.006698729810778065,
            ],
        );
    }

    #[test]
    fn only_a_warm_up_changes_the_rate_within_an_epoch_of_steps() {
        let warm = Course { warmup: 2, ..course(Schedule::Step, 5, 4) };
        assert_eq!([1, 2, 3].map(|epoch| warm.changes_within(epoch)), [true, true, false]);
        assert_eq!((warm.at(1, 0), warm.at(1, 3), warm.at(2, 3), warm.at(3, 0)), (0.0125, 0.05, 0.1, 0.1));
    }
}
