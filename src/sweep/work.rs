//! The memory of a sweep: the state, the cotangent, what a mode stores, and the gradients' slots.

use crate::device::{Device, Sgd};
use crate::error::Result;
use crate::field::{Basic, Field, Maps, Tensors};
use crate::memory::{Arena, Category};
use crate::scheme::{HeunCotangents, Scheme, Stack, Statistics, StepCache, StepGrads, StepStats};
use crate::shape::Shape;
use crate::sweep::{Gradient, SweepSpec, Update};
use crate::tensor::Tensor;

/// Everything that a sweep works with besides the blocks. Allocated once, before the first step.
pub struct Work<D: Device, F: Field<D> = Basic> {
    /// The state x_n; in a reconstructing sweep, the state it carries on from.
    pub x: Tensor<D>,
    /// The reconstructed x~_n at which the VJP is taken; only in modes that reconstruct.
    pub x_rec: Option<Tensor<D>>,
    /// `light`'s guess of the next reconstruction.
    pub(super) guess: Option<Tensor<D>>,
    /// The cotangent g = dL/dx_n.
    pub grad: Tensor<D>,
    /// Heun's inner cotangents.
    pub(super) cotangents: Option<HeunCotangents<D>>,
    /// What evaluations leave for pullbacks: as many as the mode stores, at least one.
    pub(super) caches: Vec<StepCache<D, F>>,
    /// Stored states: backprop's inputs of every step, checkpoint's inputs of every segment, or anchors.
    pub(super) states: Vec<Tensor<D>>,
    /// Checkpoint's states inside the segment being recomputed.
    pub(super) segment: Vec<Tensor<D>>,
    /// Squared distance of the reconstruction at each anchor, and the anchor's squared norm: `[2]` each.
    pub anchor_distances: Vec<Tensor<D>>,
    /// Statistics that nobody keeps.
    pub(super) spare: StepStats<D, F>,
    /// The parameter gradients.
    pub grads: Grads<D, F>,
    /// Scratch memory.
    pub scratch: F::Scratch,
}

impl<D: Device, F: Field<D>> Work<D, F> {
    /// The memory of a sweep over maps `[N, H, W, C]` with a device workspace of `workspace` elements.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, spec: &SweepSpec, depth: usize, map: Shape, workspace: usize) -> Result<Self> {
        let reconstructs = spec.gradient.reconstructs();
        let state = Category::State;
        // the single cache of the flat modes is scratch; a cache for every step is what the mode saves
        let cache = if reconstructs { Category::Scratch } else { Category::Saved };
        let stored = spec.stored_states(depth);
        let segment = if spec.gradient == Gradient::Checkpoint { spec.segment_steps(depth) - 1 } else { 0 };
        let mut tensor = |category| arena.tensor(category, map);
        let (x, grad) = (tensor(state)?, tensor(state)?);
        let x_rec = reconstructs.then(|| tensor(state)).transpose()?;
        let guess = (spec.gradient == Gradient::Light).then(|| tensor(state)).transpose()?;
        let cotangents = match spec.scheme {
            Scheme::Euler => None,
            Scheme::Heun => Some(HeunCotangents { a_y: tensor(state)?, a_1: tensor(state)? }),
        };
        let states = (0..stored).map(|_| tensor(Category::Saved)).collect::<Result<_>>()?;
        let segment = (0..segment).map(|_| tensor(Category::Saved)).collect::<Result<_>>()?;
        let anchors = if reconstructs { stored } else { 0 };
        Ok(Self {
            x,
            x_rec,
            guess,
            grad,
            cotangents,
            states,
            segment,
            caches: (0..spec.stored_caches(depth))
                .map(|_| StepCache::new(arena, cache, spec.scheme, map))
                .collect::<Result<_>>()?,
            anchor_distances: (0..anchors)
                .map(|_| arena.tensor(Category::Scratch, Shape::vector(2)))
                .collect::<Result<_>>()?,
            spare: StepStats::new(arena, spec.scheme, map)?,
            grads: Grads::new(arena, spec, depth, map)?,
            scratch: F::scratch(arena, map, workspace)?,
        })
    }

    /// Uses the first `n` images of every map.
    ///
    /// # Errors
    /// If `n` is larger than the batch that the memory was planned for.
    pub fn set_batch(&mut self, n: usize) -> Result<()> {
        let single = [&mut self.x, &mut self.grad].into_iter();
        let optional = self.x_rec.iter_mut().chain(&mut self.guess);
        let heun = self.cotangents.iter_mut().flat_map(|c| [&mut c.a_y, &mut c.a_1]);
        let stored = self.states.iter_mut().chain(&mut self.segment).chain(self.scratch.maps_mut());
        let caches = self.caches.iter_mut().flat_map(StepCache::maps_mut);
        single.chain(optional).chain(heun).chain(stored).chain(caches).try_for_each(|map| map.set_batch(n))
    }

    /// Pulls `grad` back through step n at `x_n`, which is `at`, from cache number `cache`.
    pub(super) fn pull(
        &mut self,
        d: &D,
        stack: &mut Stack<D, F>,
        n: usize,
        statistics: Statistics,
        at: At,
        cache: usize,
        sgd: Sgd<'_, D>,
    ) -> Result<()> {
        self.grads.begin(d, stack, n)?;
        let Self { x_rec, grad, cotangents, caches, states, segment, spare, grads, scratch, .. } = self;
        let x = match at {
            At::Reconstruction => x_rec.as_ref().expect("reconstructing modes have one"),
            At::State(i) => &states[i],
            At::Segment(i) => &segment[i],
        };
        let stages = stack.scheme.stages();
        let step = stack.step(d, n, statistics, spare)?;
        step.pull(d, x, &caches[cache], grad, grads.of_step(n, stages), cotangents.as_mut(), scratch)?;
        self.grads.end(d, stack, n, sgd)
    }
}

/// Which of the stored tensors holds the state at which a step is pulled back.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    /// `x_rec`.
    Reconstruction,
    /// `states[i]`.
    State(usize),
    /// `segment[i]`.
    Segment(usize),
}

/// The blocks' gradients: one slot a block, or, with updates in the sweep, one slot for each block that a step touches,
/// used in turn.
pub struct Grads<D: Device, F: Field<D> = Basic> {
    /// Block n's gradient is in slot n modulo their number.
    pub slots: Vec<F::Theta>,
    update: Update,
}

impl<D: Device, F: Field<D>> Grads<D, F> {
    fn new(arena: &mut Arena<'_, D>, spec: &SweepSpec, depth: usize, map: Shape) -> Result<Self> {
        let slots = match spec.update {
            Update::InSweep => spec.scheme.stages(),
            Update::After => depth,
        };
        let new = |_| F::theta(arena, Category::Gradients, map);
        Ok(Self { slots: (0..slots).map(new).collect::<Result<_>>()?, update: spec.update })
    }

    /// The slots of step n.
    fn of_step(&mut self, n: usize, stages: usize) -> StepGrads<'_, D, F> {
        let len = self.slots.len();
        if stages == 1 {
            return StepGrads { first: &mut self.slots[n % len], second: None };
        }
        let [first, second] =
            self.slots.get_disjoint_mut([n % len, (n + 1) % len]).expect("neighbours have different slots");
        StepGrads { first, second: Some(second) }
    }

    /// Zeroes the slots that step n is the first to add to.
    pub(super) fn begin(&mut self, d: &D, stack: &Stack<D, F>, n: usize) -> Result<()> {
        let len = self.slots.len();
        let last = n + 1 == stack.steps();
        let layers = if last { n..n + stack.scheme.stages() } else { n..n + 1 };
        for layer in layers {
            for (_, grad) in self.slots[layer % len].named_mut() {
                d.fill(0.0, grad)?;
            }
        }
        Ok(())
    }

    /// Updates the blocks whose gradient step n completed, if updates are in the sweep. No later step of the sweep uses them.
    pub(super) fn end(&mut self, d: &D, stack: &mut Stack<D, F>, n: usize, sgd: Sgd<'_, D>) -> Result<()> {
        if self.update == Update::After {
            return Ok(());
        }
        let stages = stack.scheme.stages();
        let complete = if n == 0 { 0..stages } else { n + stages - 1..n + stages };
        complete.into_iter().try_for_each(|layer| self.apply(d, stack, layer, sgd))
    }

    /// One SGD step on one block.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn apply(&self, d: &D, stack: &mut Stack<D, F>, layer: usize, sgd: Sgd<'_, D>) -> Result<()> {
        let Stack { theta, velocity, .. } = stack;
        F::sgd(d, sgd, &self.slots[layer % self.slots.len()], &mut velocity[layer], &mut theta[layer])
    }
}
