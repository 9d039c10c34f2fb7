//! A residual stack: its blocks by kind of memory, and the steps over them.

use super::kind::Scheme;
use super::step::{Step, StepStats};
use super::step_size::StepSize;
use crate::device::Device;
use crate::error::Result;
use crate::field::{Basic, Field, Normalise};
use crate::memory::{Arena, Category};
use crate::recipe::Recipe;
use crate::shape::Shape;

/// What a residual stack is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// Whether AdamW is to train them, which keeps a second moment of each parameter.
    pub second_moments: bool,
    /// What else their training does.
    pub recipe: Recipe,
    /// Whether a ReLU follows the sum of every step, as in a published ResNet: `x_{n+1} = relu(x_n + h f(x_n))`. See
    /// [`crate::sweep::SweepSpec::check_post_activation`].
    pub post_activation: bool,
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
    /// Whether a ReLU follows the sum of every step.
    pub post_activation: bool,
    /// Weights, one per block, or one for all.
    pub theta: Vec<F::Theta>,
    /// The optimiser's velocities, as many.
    pub velocity: Vec<F::Theta>,
    /// AdamW's means of the gradients' squares, as many; none without AdamW.
    pub second: Vec<F::Theta>,
    /// Running statistics, one per block.
    pub running: Vec<F::Running>,
    /// The averages of weights and of running statistics over steps, if they are kept.
    pub averages: Option<Averages<D, F>>,
    /// The forward pass's statistics, one per step; none where the sweep measures its own.
    pub saved: Vec<StepStats<D, F>>,
}

/// Averages over steps, as many as there are of what they are of.
pub struct Averages<D: Device, F: Field<D> = Basic> {
    /// Of the weights.
    pub theta: Vec<F::Theta>,
    /// Of the running statistics.
    pub running: Vec<F::Running>,
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
    /// As [`Scheme::check`], and if the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, spec: StackSpec) -> Result<Self> {
        let StackSpec {
            scheme,
            depth,
            step_size,
            map,
            keeps_statistics,
            keeps_masks,
            tied,
            second_moments,
            recipe,
            post_activation,
        } = spec;
        scheme.check(depth)?;
        let saved = if keeps_statistics { scheme.steps(depth) } else { 0 };
        let blocks = |arena: &mut Arena<'_, D>, category| -> Result<Vec<_>> {
            (0..spec.thetas()).map(|_| F::theta(arena, category, map)).collect()
        };
        let running = |arena: &mut Arena<'_, D>| (0..depth).map(|_| F::running(arena, map)).collect::<Result<Vec<_>>>();
        Ok(Self {
            scheme,
            h: step_size.h(depth),
            tied,
            post_activation,
            theta: blocks(arena, Category::Parameters)?,
            velocity: blocks(arena, Category::Optimiser)?,
            second: if second_moments { blocks(arena, Category::Optimiser)? } else { Vec::new() },
            running: running(arena)?,
            averages: match recipe.average {
                Some(_) => Some(Averages { theta: blocks(arena, Category::Optimiser)?, running: running(arena)? }),
                None => None,
            },
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
        let Self { scheme, h, tied, post_activation, theta, running, saved, .. } = self;
        let (tableau, first) = (scheme.tableau(), scheme.first(n));
        let blocks = first..first + tableau.span();
        let keeps = match statistics {
            Statistics::MeasureAndRun => !saved.is_empty(),
            Statistics::Saved => true,
            Statistics::Measure | Statistics::Running => false,
        };
        let StepStats { stages: stats } = if keeps { &mut saved[n] } else { spare };
        let running = &mut running[blocks.clone()];
        if statistics == Statistics::Running {
            for (stats, block) in stats.iter_mut().zip(tableau.theta) {
                F::running_stats(d, &running[*block], stats)?;
            }
        }
        let normalise = match statistics {
            Statistics::MeasureAndRun => Normalise::Batch(Some(running)),
            Statistics::Measure => Normalise::Batch(None),
            Statistics::Saved | Statistics::Running => Normalise::Given,
        };
        let theta = if *tied { &theta[..] } else { &theta[blocks] };
        Ok(Step::new(tableau, *h, *post_activation, theta, stats, normalise))
    }
}
