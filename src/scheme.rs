//! The two schemes: one step with signed h, and its pullback.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::error::Result;
use crate::field::{Basic, Evaluated, Field, Maps, Normalise};
use crate::memory::{Arena, Category};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// How a residual network steps from x_n to x_{n+1}, with the step size h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum StepSize {
    /// `h = 1/N`, the method's: the deeper the net, the closer it is to an ODE and the smaller the error of going back.
    #[default]
    #[serde(rename = "1/N")]
    #[cfg_attr(feature = "clap", value(name = "1/N", alias = "1/n"))]
    OverDepth,
    /// `h = 1`, a plain residual network, which is close to no ODE at any depth.
    #[serde(rename = "1")]
    #[cfg_attr(feature = "clap", value(name = "1"))]
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
pub struct StepStats<D: Device, F: Field<D> = Basic> {
    /// Of the first evaluation, with theta_n.
    pub first: F::Stats,
    /// Of Heun's second evaluation, with theta_{n+1}.
    pub second: Option<F::Stats>,
}

impl<D: Device, F: Field<D>> StepStats<D, F> {
    /// New statistics, uninitialised, with room for the masks of ReLUs where asked for.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, scheme: Scheme, map: Shape, masks: bool) -> Result<Self> {
        let mut new = || F::stats(arena, Category::Statistics, map, masks);
        Ok(Self { first: new()?, second: if scheme == Scheme::Heun { Some(new()?) } else { None } })
    }
}

impl<D: Device, F: Field<D>> Maps<D> for StepStats<D, F> {
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        std::iter::once(&mut self.first).chain(&mut self.second).flat_map(Maps::maps_mut)
    }
}

/// What evaluating one step leaves for its pullback.
pub struct StepCache<D: Device, F: Field<D> = Basic> {
    /// Of the first evaluation, at x.
    pub first: F::Cache,
    /// Heun's `y = x + h k1` and the second evaluation's cache, at y.
    pub second: Option<(Tensor<D::Buffer>, F::Cache)>,
}

impl<D: Device, F: Field<D>> StepCache<D, F> {
    /// A new cache, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, category: Category, scheme: Scheme, map: Shape) -> Result<Self> {
        let first = F::cache(arena, category, map)?;
        let second = match scheme {
            Scheme::Euler => None,
            Scheme::Heun => Some((arena.tensor(category, map)?, F::cache(arena, category, map)?)),
        };
        Ok(Self { first, second })
    }

    /// The tensors whose first extent is the batch.
    pub fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        let second = self.second.iter_mut().flat_map(|(y, cache)| [y].into_iter().chain(cache.maps_mut()));
        self.first.maps_mut().chain(second)
    }
}

/// One evaluation within a step: which weights, which statistics, and where the statistics come from.
pub struct Evaluation<'a, D: Device, F: Field<D> = Basic> {
    /// The block's weights.
    pub theta: &'a F::Theta,
    /// The evaluation's statistics, read or written.
    pub stats: &'a mut F::Stats,
    /// Which of the two.
    pub normalise: Normalise<'a, F::Running>,
}

impl<D: Device, F: Field<D>> Evaluation<'_, D, F> {
    /// The same as read by what follows the evaluation.
    fn at<'a>(&'a self, cache: &'a F::Cache) -> Evaluated<'a, D, F> {
        Evaluated { theta: self.theta, stats: self.stats, cache }
    }

    fn eval(&mut self, d: &D, x: &Tensor<D::Buffer>, cache: &mut F::Cache, scratch: &mut F::Scratch) -> Result<()> {
        F::eval(d, x, self.theta, self.stats, self.normalise.again(), cache, scratch)
    }
}

/// One step from x_n by its increment `Phi_h(x_n) = x_{n+1} - x_n`. Its stages are the evaluations in the order in which they
/// are made: theta_n, and theta_{n+1} for Heun.
pub struct Step<'a, D: Device, F: Field<D> = Basic> {
    /// Signed step size.
    pub h: f64,
    /// The first evaluation.
    pub first: Evaluation<'a, D, F>,
    /// Heun's second evaluation.
    pub second: Option<Evaluation<'a, D, F>>,
}

impl<D: Device, F: Field<D>> Step<'_, D, F> {
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
    pub fn evaluate(
        &mut self,
        d: &D,
        x: &Tensor<D::Buffer>,
        cache: &mut StepCache<D, F>,
        scratch: &mut F::Scratch,
    ) -> Result<()> {
        self.first.eval(d, x, &mut cache.first, scratch)?;
        if let (Some(stage), Some((y, second))) = (&mut self.second, &mut cache.second) {
            F::advance(d, x, self.h, self.first.at(&cache.first), y)?;
            stage.eval(d, y, second, scratch)?;
        }
        Ok(())
    }

    /// The share of h that each evaluation contributes.
    pub(crate) fn weight(&self) -> f64 {
        if self.second.is_some() { self.h / 2.0 } else { self.h }
    }

    /// `y = x + sign * increment`, from the cache of [`Step::evaluate`].
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn advance(
        &self,
        d: &D,
        x: &Tensor<D::Buffer>,
        sign: f64,
        cache: &StepCache<D, F>,
        y: &mut Tensor<D::Buffer>,
        scratch: &mut F::Scratch,
    ) -> Result<()> {
        let h = sign * self.weight();
        F::advance(d, x, h, self.first.at(&cache.first), y)?;
        if let (Some(stage), Some((_, second))) = (&self.second, &cache.second) {
            F::advance_acc(d, h, stage.at(second), y, scratch)?;
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
        cache: &StepCache<D, F>,
        x_acc: &mut Tensor<D::Buffer>,
        scratch: &mut F::Scratch,
    ) -> Result<()> {
        let h = sign * self.weight();
        F::advance_acc(d, h, self.first.at(&cache.first), x_acc, scratch)?;
        if let (Some(stage), Some((_, second))) = (&self.second, &cache.second) {
            F::advance_acc(d, h, stage.at(second), x_acc, scratch)?;
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
        x: &Tensor<D::Buffer>,
        cache: &StepCache<D, F>,
        grad: &mut Tensor<D::Buffer>,
        grad_theta_acc: StepGrads<'_, D, F>,
        cotangents: Option<&mut HeunCotangents<D>>,
        scratch: &mut F::Scratch,
    ) -> Result<()> {
        let at = self.first.at(&cache.first);
        let StepGrads { first: grads, second: grads_next } = grad_theta_acc;
        let (Some(stage), Some((y, cache_y)), Some(grads_next), Some(HeunCotangents { a_y, a_1 })) =
            (&self.second, &cache.second, grads_next, cotangents)
        else {
            F::vjp_outer(d, grad, self.h, at, grads, scratch)?;
            return F::vjp_inner(d, x, at, grads, grad, scratch);
        };
        d.fill(0.0, a_y)?;
        F::vjp_outer(d, grad, self.h / 2.0, stage.at(cache_y), grads_next, scratch)?;
        F::vjp_inner(d, y, stage.at(cache_y), grads_next, a_y, scratch)?;
        d.copy(grad, a_1)?;
        d.axpby(self.h, a_y, self.h / 2.0, a_1)?;
        d.axpby(1.0, a_y, 1.0, grad)?;
        F::vjp_outer(d, a_1, 1.0, at, grads, scratch)?;
        F::vjp_inner(d, x, at, grads, grad, scratch)
    }
}

/// Where a step's parameter gradients accumulate.
pub struct StepGrads<'a, D: Device, F: Field<D> = Basic> {
    /// Of theta_n.
    pub first: &'a mut F::Theta,
    /// Of theta_{n+1}, for Heun.
    pub second: Option<&'a mut F::Theta>,
}

/// The two cotangents inside a Heun step, `[N, H, W, C]`.
pub struct HeunCotangents<D: Device> {
    /// Of y.
    pub a_y: Tensor<D::Buffer>,
    /// Of k1.
    pub a_1: Tensor<D::Buffer>,
}

/// What a residual stack is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackSpec {
    /// The scheme.
    pub scheme: Scheme,
    /// Residual functions N.
    pub depth: usize,
    /// The step size.
    pub step_size: StepSize,
    /// The state x, `[N, H, W, C]`.
    pub map: Shape,
    /// Whether the forward pass's statistics are kept for the sweep.
    pub keeps_statistics: bool,
    /// Whether its ReLUs' masks are kept with them.
    pub keeps_masks: bool,
    /// Whether all blocks have one theta. Their running statistics stay their own.
    pub tied: bool,
}

impl StackSpec {
    /// How many sets of weights there are.
    pub const fn thetas(&self) -> usize {
        if self.tied { 1 } else { self.depth }
    }
}

/// All blocks of the residual stack, by kind of memory.
pub struct Stack<D: Device, F: Field<D> = Basic> {
    /// The scheme.
    pub scheme: Scheme,
    /// The step size.
    pub h: f64,
    /// Whether all blocks have one theta.
    pub tied: bool,
    /// Weights, one a block, or one for all.
    pub theta: Vec<F::Theta>,
    /// The optimiser's velocities, as many.
    pub velocity: Vec<F::Theta>,
    /// Running statistics, one a block.
    pub running: Vec<F::Running>,
    /// The forward pass's statistics, one a step; none where the sweep measures its own.
    pub saved: Vec<StepStats<D, F>>,
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

impl<D: Device, F: Field<D>> Stack<D, F> {
    /// A new stack, uninitialised but for its step size.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, spec: StackSpec) -> Result<Self> {
        let StackSpec { scheme, depth, step_size, map, keeps_statistics, keeps_masks, tied } = spec;
        let saved = if keeps_statistics { scheme.steps(depth) } else { 0 };
        let blocks = |arena: &mut Arena<'_, D>, category| -> Result<Vec<_>> {
            (0..spec.thetas()).map(|_| F::theta(arena, category, map)).collect()
        };
        Ok(Self {
            scheme,
            h: step_size.h(depth),
            tied,
            theta: blocks(arena, Category::Parameters)?,
            velocity: blocks(arena, Category::Optimiser)?,
            running: (0..depth).map(|_| F::running(arena, map)).collect::<Result<_>>()?,
            saved: (0..saved).map(|_| StepStats::new(arena, scheme, map, keeps_masks)).collect::<Result<_>>()?,
        })
    }

    /// Number of residual functions N.
    pub fn depth(&self) -> usize {
        self.running.len()
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
        spare: &'a mut StepStats<D, F>,
    ) -> Result<Step<'a, D, F>> {
        let Self { h, tied, theta, running, saved, .. } = self;
        let (this, next) = if *tied { (0, 0) } else { (n, n + 1) };
        let keeps = match statistics {
            Statistics::MeasureAndRun => !saved.is_empty(),
            Statistics::Saved => true,
            Statistics::Measure | Statistics::Running => false,
        };
        let StepStats { first, second } = if keeps { &mut saved[n] } else { spare };
        if statistics == Statistics::Running {
            for (stats, running) in std::iter::once(&mut *first).chain(second.as_mut()).zip(&running[n..]) {
                F::running_stats(d, running, stats)?;
            }
        }
        let (running_n, running_next) = running[n..].split_at_mut(1);
        let normalise = |running: Option<&'a mut F::Running>| match statistics {
            Statistics::MeasureAndRun => Normalise::Batch(running),
            Statistics::Measure => Normalise::Batch(None),
            Statistics::Saved | Statistics::Running => Normalise::Given,
        };
        Ok(Step {
            h: *h,
            first: Evaluation { theta: &theta[this], stats: first, normalise: normalise(running_n.first_mut()) },
            second: second.as_mut().map(|stats| Evaluation {
                theta: &theta[next],
                stats,
                normalise: normalise(running_next.first_mut()),
            }),
        })
    }
}
