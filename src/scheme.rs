//! The two schemes: one step with signed h, and its pullback.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::error::Result;
use crate::field::basic::{self, Normalise};
use crate::memory::{Arena, Category};
use crate::operands::{BasicCache, BasicRunning, BasicStats, BasicTheta, Scratch};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// How a residual network steps from x_n to x_{n+1}, with the step size h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// `x_{n+1} = x_n + h f(x_n, theta_n)`, N steps: a residual network.
    Euler,
    /// `k1 = f(x_n, theta_n)`, `k2 = f(x_n + h k1, theta_{n+1})`, `x_{n+1} = x_n + h/2 (k1 + k2)`, N - 1 steps: a HeunNet.
    Heun,
}

impl Scheme {
    /// Steps from x_0 to the head for N residual functions.
    pub const fn steps(self, depth: usize) -> usize {
        match self {
            Self::Euler => depth,
            Self::Heun => depth - 1,
        }
    }

    /// Evaluations of f in one step; also the number of neighbouring blocks that a step uses.
    pub const fn stages(self) -> usize {
        match self {
            Self::Euler => 1,
            Self::Heun => 2,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Euler => "euler",
            Self::Heun => "heun",
        })
    }
}

/// The step size h.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum StepSize {
    /// `h = 1/N`, the method's: the deeper the net, the closer it is to an ODE and the smaller the error of going back.
    #[default]
    #[serde(rename = "1/N")]
    #[value(name = "1/N", alias = "1/n")]
    OverDepth,
    /// `h = 1`, a plain residual network, which is close to no ODE at any depth.
    #[serde(rename = "1")]
    #[value(name = "1")]
    One,
}

impl StepSize {
    /// h at N residual functions.
    pub const fn h(self, depth: usize) -> f64 {
        match self {
            Self::OverDepth => 1.0 / depth as f64,
            Self::One => 1.0,
        }
    }
}

impl fmt::Display for StepSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OverDepth => "1/N",
            Self::One => "1",
        })
    }
}

/// The statistics of one step: one set an evaluation.
pub struct StepStats<D: Device> {
    /// Of the first evaluation, with theta_n.
    pub first: BasicStats<D>,
    /// Of Heun's second evaluation, with theta_{n+1}.
    pub second: Option<BasicStats<D>>,
}

impl<D: Device> StepStats<D> {
    /// New statistics, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, scheme: Scheme, channels: usize) -> Result<Self> {
        let mut new = || BasicStats::new(arena, Category::Statistics, channels);
        Ok(Self { first: new()?, second: if scheme == Scheme::Heun { Some(new()?) } else { None } })
    }
}

/// What evaluating one step leaves for its pullback.
pub struct StepCache<D: Device> {
    /// Of the first evaluation, at x.
    pub first: BasicCache<D>,
    /// Heun's `y = x + h k1` and the second evaluation's cache, at y.
    pub second: Option<(Tensor<D>, BasicCache<D>)>,
}

impl<D: Device> StepCache<D> {
    /// A new cache, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, category: Category, scheme: Scheme, map: Shape) -> Result<Self> {
        let first = BasicCache::new(arena, category, map)?;
        let second = match scheme {
            Scheme::Euler => None,
            Scheme::Heun => Some((arena.tensor(category, map)?, BasicCache::new(arena, category, map)?)),
        };
        Ok(Self { first, second })
    }

    /// The tensors whose first extent is the batch.
    pub fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D>> {
        let BasicCache { z1, z2 } = &mut self.first;
        let second = self.second.as_mut().map(|(y, c)| [y, &mut c.z1, &mut c.z2]);
        [z1, z2].into_iter().chain(second.into_iter().flatten())
    }
}

/// One evaluation within a step: which weights, which statistics, and where the statistics come from.
pub struct Stage<'a, D: Device> {
    /// The block's weights.
    pub theta: &'a BasicTheta<D>,
    /// The evaluation's statistics, read or written.
    pub stats: &'a mut BasicStats<D>,
    /// Which of the two.
    pub normalise: Normalise<'a, D>,
}

impl<'a, D: Device> Stage<'a, D> {
    fn eval(&mut self, d: &D, x: &Tensor<D>, cache: &mut BasicCache<D>, scratch: &mut Scratch<D>) -> Result<()> {
        let normalise = match &mut self.normalise {
            Normalise::Given => Normalise::Given,
            Normalise::Batch(running) => Normalise::Batch(running.as_deref_mut()),
        };
        basic::eval(d, x, self.theta, self.stats, normalise, cache, scratch)
    }
}

/// One step from x_n by its increment `Phi_h(x_n) = x_{n+1} - x_n`. Its stages are the evaluations in the order in which they
/// are made: theta_n, and theta_{n+1} for Heun.
pub struct Step<'a, D: Device> {
    /// Signed step size.
    pub h: f64,
    /// The first evaluation.
    pub first: Stage<'a, D>,
    /// Heun's second evaluation.
    pub second: Option<Stage<'a, D>>,
}

impl<'a, D: Device> Step<'a, D> {
    /// The step that undoes this one: -h and the stages mirrored.
    pub fn reversed(self) -> Self {
        let (first, second) = match self.second {
            None => (self.first, None),
            Some(second) => (second, Some(self.first)),
        };
        Self { h: -self.h, first, second }
    }

    /// Evaluates the residual functions at `x`.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn evaluate(&mut self, d: &D, x: &Tensor<D>, cache: &mut StepCache<D>, scratch: &mut Scratch<D>) -> Result<()> {
        self.first.eval(d, x, &mut cache.first, scratch)?;
        if let (Some(stage), Some((y, second))) = (&mut self.second, &mut cache.second) {
            let Stage { theta, stats, .. } = &self.first;
            d.norm_step(x, self.h, &cache.first.z2, &stats.bn2, &theta.bn2, y)?;
            stage.eval(d, y, second, scratch)?;
        }
        Ok(())
    }

    /// The share of h that each evaluation contributes.
    fn weight(&self) -> f64 {
        if self.second.is_some() { self.h / 2.0 } else { self.h }
    }

    /// `y = x + sign * increment`, from the cache of [`Step::evaluate`].
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn advance(
        &self,
        d: &D,
        x: &Tensor<D>,
        sign: f64,
        cache: &StepCache<D>,
        y: &mut Tensor<D>,
        scratch: &mut Scratch<D>,
    ) -> Result<()> {
        let h = sign * self.weight();
        d.norm_step(x, h, &cache.first.z2, &self.first.stats.bn2, &self.first.theta.bn2, y)?;
        if let (Some(stage), Some((_, second))) = (&self.second, &cache.second) {
            d.norm_step_acc(h, &second.z2, &stage.stats.bn2, &stage.theta.bn2, y, scratch)?;
        }
        Ok(())
    }

    /// `x += sign * increment`, from the cache of [`Step::evaluate`].
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn advance_acc(
        &self,
        d: &D,
        sign: f64,
        cache: &StepCache<D>,
        x_acc: &mut Tensor<D>,
        scratch: &mut Scratch<D>,
    ) -> Result<()> {
        let h = sign * self.weight();
        d.norm_step_acc(h, &cache.first.z2, &self.first.stats.bn2, &self.first.theta.bn2, x_acc, scratch)?;
        if let (Some(stage), Some((_, second))) = (&self.second, &cache.second) {
            d.norm_step_acc(h, &second.z2, &stage.stats.bn2, &stage.theta.bn2, x_acc, scratch)?;
        }
        Ok(())
    }

    /// The exact VJP of the step at `x`, from the cache of [`Step::evaluate`] there: `grad` goes from dL/dx_{n+1} to dL/dx_n.
    ///
    /// Euler: `dL/dtheta_n += h (df/dtheta)^T g`, `g += h J^T g`. Heun: `a_y = J2^T (h/2) g`, `a_1 = (h/2) g + h a_y`,
    /// `g += a_y + J1^T a_1`.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn pull(
        &self,
        d: &D,
        x: &Tensor<D>,
        cache: &StepCache<D>,
        grad: &mut Tensor<D>,
        grad_theta_acc: StepGrads<'_, D>,
        cotangents: Option<&mut HeunCotangents<D>>,
        scratch: &mut Scratch<D>,
    ) -> Result<()> {
        let Stage { theta, stats, .. } = &self.first;
        let StepGrads { first: grads, second: grads_next } = grad_theta_acc;
        let (Some(stage), Some((y, cache_y)), Some(grads_next), Some(HeunCotangents { a_y, a_1 })) =
            (&self.second, &cache.second, grads_next, cotangents)
        else {
            d.basic_vjp_outer(grad, self.h, theta, stats, &cache.first, grads, scratch)?;
            return d.basic_vjp_inner(x, theta, stats, &cache.first, grads, grad, scratch);
        };
        d.fill(0.0, a_y)?;
        d.basic_vjp_outer(grad, self.h / 2.0, stage.theta, stage.stats, cache_y, grads_next, scratch)?;
        d.basic_vjp_inner(y, stage.theta, stage.stats, cache_y, grads_next, a_y, scratch)?;
        d.copy(grad, a_1)?;
        d.axpby(self.h, a_y, self.h / 2.0, a_1)?;
        d.axpby(1.0, a_y, 1.0, grad)?;
        d.basic_vjp_outer(a_1, 1.0, theta, stats, &cache.first, grads, scratch)?;
        d.basic_vjp_inner(x, theta, stats, &cache.first, grads, grad, scratch)
    }
}

/// Where a step's parameter gradients accumulate.
pub struct StepGrads<'a, D: Device> {
    /// Of theta_n.
    pub first: &'a mut BasicTheta<D>,
    /// Of theta_{n+1}, for Heun.
    pub second: Option<&'a mut BasicTheta<D>>,
}

/// The two cotangents inside a Heun step, `[N, H, W, C]`.
pub struct HeunCotangents<D: Device> {
    /// Of y.
    pub a_y: Tensor<D>,
    /// Of k1.
    pub a_1: Tensor<D>,
}

/// All blocks of the residual stack, by kind of memory.
pub struct Stack<D: Device> {
    /// The scheme.
    pub scheme: Scheme,
    /// The step size.
    pub h: f64,
    /// Weights, one a block.
    pub theta: Vec<BasicTheta<D>>,
    /// The optimiser's velocities, one a block.
    pub velocity: Vec<BasicTheta<D>>,
    /// Running statistics, one a block.
    pub running: Vec<BasicRunning<D>>,
    /// The forward pass's statistics, one a step; none where the sweep measures its own.
    pub saved: Vec<StepStats<D>>,
}

/// Where a step of the stack takes its statistics from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// Measured on the batch; the running statistics move. The forward pass of training.
    MeasureAndRun,
    /// Measured on the batch; nothing moves.
    Measure,
    /// Those that the forward pass saved.
    Saved,
    /// The running statistics: evaluation.
    Running,
}

impl<D: Device> Stack<D> {
    /// Number of residual functions N.
    pub fn depth(&self) -> usize {
        self.theta.len()
    }

    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.scheme.steps(self.depth())
    }

    /// Step n of the stack, from x_n to x_{n+1}. Statistics that are not saved go to `spare`.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn step<'a>(
        &'a mut self,
        d: &D,
        n: usize,
        statistics: Statistics,
        spare: &'a mut StepStats<D>,
    ) -> Result<Step<'a, D>> {
        let Self { h, theta, running, saved, .. } = self;
        let keeps = match statistics {
            Statistics::MeasureAndRun => !saved.is_empty(),
            Statistics::Saved => true,
            Statistics::Measure | Statistics::Running => false,
        };
        let StepStats { first, second } = if keeps { &mut saved[n] } else { spare };
        if statistics == Statistics::Running {
            for (stats, running) in std::iter::once(&mut *first).chain(second.as_mut()).zip(&running[n..]) {
                d.bn_running_stats(&running.bn1, &mut stats.bn1)?;
                d.bn_running_stats(&running.bn2, &mut stats.bn2)?;
            }
        }
        let (running_n, running_next) = running[n..].split_at_mut(1);
        let normalise = |running: Option<&'a mut BasicRunning<D>>| match statistics {
            Statistics::MeasureAndRun => Normalise::Batch(running),
            Statistics::Measure => Normalise::Batch(None),
            Statistics::Saved | Statistics::Running => Normalise::Given,
        };
        Ok(Step {
            h: *h,
            first: Stage { theta: &theta[n], stats: first, normalise: normalise(running_n.first_mut()) },
            second: second.as_mut().map(|stats| Stage {
                theta: &theta[n + 1],
                stats,
                normalise: normalise(running_next.first_mut()),
            }),
        })
    }
}
