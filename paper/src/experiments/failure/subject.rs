//! The nets that are trained: what tells one from another, whatever the seed and the way to the gradient.

use std::fmt;

use rewind::init::Init;
use rewind::scheme::{Scheme, StepSize};
use rewind_train::config::RunConfig;
use serde::Serialize;

use super::cell::Done;
use crate::method::Method;
use crate::options::plain::unusual;

/// A net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Subject {
    pub depth: usize,
    pub scheme: Scheme,
    pub step_size: StepSize,
    pub init: Init,
}

impl Subject {
    pub const fn of(config: &RunConfig) -> Self {
        Self { depth: config.depth, scheme: config.sweep.scheme, step_size: config.step_size, init: config.init }
    }

    /// Those that have runs, in their order.
    pub fn all(done: &Done<'_>) -> Vec<Self> {
        let mut all = Vec::new();
        for (trial, _) in done {
            let subject = Self::of(trial.training.config());
            if !all.contains(&subject) {
                all.push(subject);
            }
        }
        all
    }

    pub const fn init_name(self) -> &'static str {
        match self.init {
            Init::Paper => "paper",
            Init::Smooth => "smooth",
            Init::Plain => "plain",
        }
    }

    /// The name of a run: what tells it from the others, and from those of other recipes that a user may try next.
    pub fn key(self, method: Method, config: &RunConfig) -> String {
        let Self { depth, scheme, step_size, .. } = self;
        let step = match step_size {
            StepSize::OverDepth => "stepN",
            StepSize::One => "step1",
        };
        let (seed, epochs, init) = (config.seed, config.epochs.unwrap_or(0), self.init_name());
        let unusual = unusual(config);
        format!("seed{seed}-depth{depth:04}-{scheme}-{step}-{init}-{method}-epochs{epochs}{unusual}")
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { depth, scheme, step_size, .. } = self;
        f.pad(&format!("{depth} blocks, {scheme}, h = {step_size}, {} init", self.init_name()))
    }
}
