//! One step by its tableau: the evaluations, the increment, the reversed step, and the exact pullback.

use super::kind::Scheme;
use super::tableau::Tableau;
use crate::device::Device;
use crate::error::Result;
use crate::field::{Basic, Evaluated, Field, Maps, Normalise};
use crate::memory::{Arena, Category};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The statistics of one step.
pub struct StepStats<D: Device, F: Field<D> = Basic> {
    /// One set for each stage.
    pub stages: Vec<F::Stats>,
}

impl<D: Device, F: Field<D>> StepStats<D, F> {
    /// New statistics, uninitialised, with room for the masks of ReLUs where asked for.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, scheme: Scheme, map: Shape, masks: bool) -> Result<Self> {
        let new = |_| F::stats(arena, Category::Statistics, map, masks);
        Ok(Self { stages: (0..scheme.stages()).map(new).collect::<Result<_>>()? })
    }
}

impl<D: Device, F: Field<D>> Maps<D> for StepStats<D, F> {
    fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        self.stages.iter_mut().flat_map(Maps::maps_mut)
    }
}

/// What one stage leaves for the step's pullback.
struct StageCache<D: Device, F: Field<D>> {
    /// Where it was evaluated; the first stage is at x.
    y: Option<Tensor<D::Buffer>>,
    of: F::Cache,
}

/// What evaluating one step leaves for its pullback.
pub struct StepCache<D: Device, F: Field<D> = Basic> {
    stages: Vec<StageCache<D, F>>,
}

impl<D: Device, F: Field<D>> StepCache<D, F> {
    /// A new cache, uninitialised.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, category: Category, scheme: Scheme, map: Shape) -> Result<Self> {
        let new = |i| {
            let y = (i > 0).then(|| arena.tensor(category, map)).transpose()?;
            Ok(StageCache { y, of: F::cache(arena, category, map)? })
        };
        Ok(Self { stages: (0..scheme.stages()).map(new).collect::<Result<_>>()? })
    }

    /// The cache of the first stage: of a whole step where there is no other.
    pub fn first_mut(&mut self) -> &mut F::Cache {
        &mut self.stages[0].of
    }

    /// The tensors whose first extent is the batch.
    pub fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        self.stages.iter_mut().flat_map(|StageCache { y, of }| y.iter_mut().chain(of.maps_mut()))
    }
}

/// The operands of a step of one stage, for operations of the field that take a whole step.
pub struct SingleStage<'a, D: Device, F: Field<D> = Basic> {
    /// Signed length of the step.
    pub h: f64,
    /// The block's weights.
    pub theta: &'a F::Theta,
    /// The evaluation's statistics, read or written.
    pub stats: &'a mut F::Stats,
    /// The running statistics, where they move.
    pub running: Option<&'a mut F::Running>,
}

/// One step from x_n by its increment `Phi_h(x_n) = x_{n+1} - x_n`.
pub struct Step<'a, D: Device, F: Field<D> = Basic> {
    tableau: &'static Tableau,
    /// Signed length of the step.
    h: f64,
    /// Whether the stages' residual functions come in reverse order.
    mirrored: bool,
    /// Whether a ReLU follows the sum, of a step of one stage.
    post_activation: bool,
    /// The weights of the blocks that the step uses, or the one set of all.
    theta: &'a [F::Theta],
    /// One set for each stage.
    stats: &'a mut [F::Stats],
    /// Where they come from, with the running ones of the blocks.
    normalise: Normalise<'a, [F::Running]>,
}

impl<'a, D: Device, F: Field<D>> Step<'a, D, F> {
    pub(super) fn new(
        tableau: &'static Tableau,
        h: f64,
        post_activation: bool,
        theta: &'a [F::Theta],
        stats: &'a mut [F::Stats],
        normalise: Normalise<'a, [F::Running]>,
    ) -> Self {
        Self { tableau, h: h * tableau.stride as f64, mirrored: false, post_activation, theta, stats, normalise }
    }

    /// The step that undoes this one: -h, and the stages' residual functions in reverse order.
    pub fn reversed(self) -> Self {
        Self { h: -self.h, mirrored: !self.mirrored, ..self }
    }

    /// The operands of the first stage as those of the whole step, of which there is one.
    pub fn single(self) -> SingleStage<'a, D, F> {
        let Self { tableau, h, theta, stats, normalise, .. } = self;
        debug_assert!(tableau.stages() == 1);
        let running = match normalise {
            Normalise::Batch(running) => running.and_then(|running| running.first_mut()),
            Normalise::Given => None,
        };
        SingleStage { h: h * tableau.b[0], theta: &theta[0], stats: &mut stats[0], running }
    }

    /// The stage of the tableau whose residual function stage `i` uses.
    fn uses(&self, i: usize) -> usize {
        if self.mirrored { self.tableau.stages() - 1 - i } else { i }
    }

    fn theta(&self, i: usize) -> &'a F::Theta {
        // of one set for all blocks, that one
        let block = self.tableau.theta[self.uses(i)];
        &self.theta[block.min(self.theta.len() - 1)]
    }

    /// Stage i, as read by what follows its evaluation.
    fn at<'b>(&'b self, i: usize, cache: &'b StageCache<D, F>) -> Evaluated<'b, D, F> {
        Evaluated { theta: self.theta(i), stats: &self.stats[self.uses(i)], cache: &cache.of }
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
        for i in 0..self.tableau.stages() {
            let (before, rest) = cache.stages.split_at_mut(i);
            let StageCache { y, of } = &mut rest[0];
            let at = match y {
                None => x,
                Some(y) => {
                    self.combine(d, x, self.h, self.tableau.a[i], before, y, scratch)?;
                    y
                }
            };
            let (theta, uses) = (self.theta(i), self.uses(i));
            let normalise = self.normalise.of(self.tableau.theta[uses]);
            F::eval(d, at, theta, &mut self.stats[uses], normalise, of, scratch)?;
        }
        Ok(())
    }

    /// `y = x + h sum_i w_i k_i`.
    fn combine(
        &self,
        d: &D,
        x: &Tensor<D::Buffer>,
        h: f64,
        weights: &[f64],
        stages: &[StageCache<D, F>],
        y: &mut Tensor<D::Buffer>,
        scratch: &mut F::Scratch,
    ) -> Result<()> {
        let mut parts = weights.iter().enumerate().filter(|(_, w)| **w != 0.0);
        match parts.next() {
            None => d.copy(x, y)?,
            Some((i, w)) => F::advance(d, x, h * w, self.at(i, &stages[i]), y)?,
        }
        parts.try_for_each(|(i, w)| F::advance_acc(d, h * w, self.at(i, &stages[i]), y, scratch))
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
        self.combine(d, x, sign * self.h, self.tableau.b, &cache.stages, y, scratch)?;
        if self.post_activation { d.relu(y) } else { Ok(()) }
    }

    /// `y = relu(x + h f(x))` of a step of one stage, from the cache of [`Step::evaluate`]; needs no scratch memory, so that y may be in
    /// it.
    pub(crate) fn rectified(
        &self,
        d: &D,
        x: &Tensor<D::Buffer>,
        cache: &StepCache<D, F>,
        y: &mut Tensor<D::Buffer>,
    ) -> Result<()> {
        F::advance(d, x, self.h * self.tableau.b[0], self.at(0, &cache.stages[0]), y)?;
        d.relu(y)
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
        let parts = self.tableau.b.iter().zip(&cache.stages).enumerate().filter(|(_, (b, _))| **b != 0.0);
        parts
            .into_iter()
            .try_for_each(|(i, (b, stage))| F::advance_acc(d, sign * self.h * b, self.at(i, stage), x_acc, scratch))?;
        if self.post_activation { d.relu(x_acc) } else { Ok(()) }
    }

    /// What the increment is made of where it is known before it is there: a factor, and the weights of at most two stages, whose values it
    /// takes alike. Of other steps no weights.
    pub(crate) fn known(&self) -> (f64, [Option<&'a F::Theta>; 2]) {
        match self.tableau.b {
            [b] => (self.h * b, [Some(self.theta(0)), None]),
            [b, c] if b == c => (self.h * b, [Some(self.theta(0)), Some(self.theta(1))]),
            _ => (self.h, [None; 2]),
        }
    }

    /// The exact VJP of the step at `x`, but for a ReLU behind the sum, from the cache of [`Step::evaluate`] there: `grad` goes from
    /// `g = dL/dx_{n+1}` to dL/dx_n.
    ///
    /// From the last stage to the first, `a_i = h (b_i g + sum_j a_ji v_j)` is the cotangent of k_i, and `v_i = J_i^T a_i` that of y_i;
    /// `dL/dx_n = g + sum_i v_i`, and `dL/dtheta += (df/dtheta)^T a_i` of the stage's theta.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn pull(
        &self,
        d: &D,
        x: &Tensor<D::Buffer>,
        cache: &StepCache<D, F>,
        grad: &mut Tensor<D::Buffer>,
        mut grad_theta_acc: StepGrads<'_, D, F>,
        cotangents: &mut Cotangents<D>,
        scratch: &mut F::Scratch,
    ) -> Result<()> {
        let Self { tableau: Tableau { a, b, theta, .. }, h, .. } = *self;
        for (i, stage) in cache.stages.iter().enumerate().rev() {
            let (at, grads) = (self.at(i, stage), grad_theta_acc.of(theta[self.uses(i)]));
            let Cotangents { k, y } = &mut *cotangents;
            let mut later = (i + 1..b.len()).filter(|j| a[*j][i] != 0.0);
            match (later.next(), k) {
                (Some(first), Some(k)) => {
                    d.copy(grad, k)?;
                    d.axpby(h * a[first][i], &y[first - 1], h * b[i], k)?;
                    later.try_for_each(|j| d.axpby(h * a[j][i], &y[j - 1], 1.0, k))?;
                    F::vjp_outer(d, k, 1.0, at, grads, scratch)?;
                }
                _ => F::vjp_outer(d, grad, h * b[i], at, grads, scratch)?,
            }
            match &stage.y {
                Some(from) => {
                    let v = &mut y[i - 1];
                    d.fill(0.0, v)?;
                    F::vjp_inner(d, from, at, grads, v, scratch)?;
                }
                None => {
                    y.iter().rev().try_for_each(|v| d.axpby(1.0, v, 1.0, grad))?;
                    F::vjp_inner(d, x, at, grads, grad, scratch)?;
                }
            }
        }
        Ok(())
    }
}

/// Where a step's parameter gradients accumulate.
pub struct StepGrads<'a, D: Device, F: Field<D> = Basic> {
    /// Slots that blocks take in turn.
    pub slots: &'a mut [F::Theta],
    /// The step's first block.
    pub first: usize,
}

impl<D: Device, F: Field<D>> StepGrads<'_, D, F> {
    /// The slot of a block, counted from the step's first.
    fn of(&mut self, block: usize) -> &mut F::Theta {
        let slot = (self.first + block) % self.slots.len();
        &mut self.slots[slot]
    }
}

/// The cotangents inside a step of several stages, `[N, H, W, C]`.
pub struct Cotangents<D: Device> {
    /// Of one stage's value k.
    k: Option<Tensor<D::Buffer>>,
    /// Of every stage's y but the first's, which is x.
    y: Vec<Tensor<D::Buffer>>,
}

impl<D: Device> Cotangents<D> {
    /// New ones, uninitialised: as many as there are stages, or none for one.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, scheme: Scheme, map: Shape) -> Result<Self> {
        let inner = scheme.stages() - 1;
        let mut tensor = || arena.tensor(Category::State, map);
        Ok(Self {
            k: (inner > 0).then(&mut tensor).transpose()?,
            y: (0..inner).map(|_| tensor()).collect::<Result<_>>()?,
        })
    }

    /// Those tensors.
    pub fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        self.k.iter_mut().chain(&mut self.y)
    }
}
