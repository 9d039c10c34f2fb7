//! What is trained: the runs, and what a curve is drawn for: a scheme, a way to the gradient, and the statistics of its recomputations.

use std::fmt;

use rewind::scheme::Scheme;
use rewind::sweep::{BnStatistics, SweepSpec};
use rewind_train::config::RunConfig;
use rewind_train::settings::LrDrop;
use serde::Serialize;

use crate::method::Method;
use crate::options::plain::unusual;
use crate::training::experiment::Labelled;
use crate::training::{Trained, Training};

/// The experiment's name, and that of its folder.
pub const NAME: &str = "depth";

/// A run, and the curve that it belongs to.
pub type Run = Labelled<Series, Training>;

/// The runs so far, and what they gave.
pub type Done<'a> = [(&'a Run, Trained)];

/// The modes that show, in Euler nets, what the statistics change.
const COMPARED: [Method; 3] = [Method::Adjoint, Method::AnchorsEach, Method::Corrected];

/// The runs that differ in depth and seed alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Series {
    pub scheme: Scheme,
    pub mode: Method,
    /// Saved where nothing is recomputed.
    pub bn_stats: BnStatistics,
    /// Whether it stands beside the others to compare the two kinds of statistics.
    #[serde(skip)]
    pub aside: bool,
}

impl Series {
    /// Those of a request. Where the statistics are left open, some of Euler's are trained with both kinds.
    pub fn all(schemes: &[Scheme], modes: &[Method], bn_stats: Option<BnStatistics>) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        let mut add = |series: Self| {
            if !all.contains(&series) {
                all.push(series);
            }
        };
        for scheme in schemes {
            for mode in modes {
                let given = bn_stats.unwrap_or(BnStatistics::Saved);
                let bn_stats = if mode.reconstructs() { given } else { BnStatistics::Saved };
                add(Self { scheme: *scheme, mode: *mode, bn_stats, aside: false });
            }
        }
        if bn_stats.is_none() {
            let compared = |series: &&Self| series.scheme == Scheme::Euler && COMPARED.contains(&series.mode);
            let batch = |series: &Self| Self { bn_stats: BnStatistics::Batch, aside: true, ..*series };
            let aside: Vec<Self> = all.iter().filter(compared).map(batch).collect();
            all.extend(aside);
        }
        all
    }

    pub fn sweep(self, depth: usize) -> SweepSpec {
        SweepSpec { bn_stats: self.bn_stats, ..self.mode.sweep(self.scheme, depth) }
    }

    /// The same with stored activations.
    pub const fn exact(self) -> Self {
        Self { mode: Method::Backprop, bn_stats: BnStatistics::Saved, aside: false, ..self }
    }

    /// The same with saved statistics.
    pub const fn saved(self) -> Self {
        Self { bn_stats: BnStatistics::Saved, aside: false, ..self }
    }

    /// The name of a run: what tells it from the others, and from those of other recipes that a user may try next.
    pub fn key(self, config: &RunConfig) -> String {
        let RunConfig { depth, seed, lr_drop, .. } = config;
        let mut key = format!("seed{seed}-depth{depth:04}-{}-{}", self.scheme, self.mode);
        if self.bn_stats == BnStatistics::Batch {
            key += "-batch-statistics";
        }
        let drops = LrDrop(lr_drop.clone().unwrap_or_default()).to_string().replace(',', "-");
        key += &format!("-epochs{}-drop{drops}", config.epochs.unwrap_or(0));
        key + &unusual(config)
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batch = if self.bn_stats == BnStatistics::Batch { ", batch statistics" } else { "" };
        f.pad(&format!("{}{batch}", self.mode))
    }
}

/// Which epoch's test error is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Metric {
    /// The last one's.
    Last,
    /// The smallest, chosen on test data.
    Best,
}

impl Metric {
    /// Per cent of the test images.
    pub fn of(self, trained: &Trained) -> f64 {
        100.0
            * match self {
                Self::Last => trained.test_error(),
                Self::Best => trained.best_test_error().0,
            }
    }

    pub const fn description(self) -> &'static str {
        match self {
            Self::Last => "after the last epoch",
            Self::Best => "of the best epoch, chosen on test data",
        }
    }
}
