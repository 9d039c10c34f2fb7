//! The memory of a sweep: the state, the cotangent, what a mode stores, and the gradients' slots.

use std::slice;

use crate::code::{Code, Coder};
use crate::device::{Descent, Device, SQUARES, whole};
use crate::error::Result;
use crate::field::{Basic, Field, FieldScratch, Maps, Tensors};
use crate::memory::{Arena, Category, Lent};
use crate::recipe::{Clip, Recipe, Share, clip_alone, gather};
use crate::scheme::{Cotangents, Stack, StackSpec, Statistics, StepCache, StepGrads, StepStats};
use crate::shape::Shape;
use crate::sweep::errors::SUMS;
use crate::sweep::signs::Signs;
use crate::sweep::{Gradient, LocalError, Sweep, SweepSpec, Update, Way};
use crate::tensor::{Real, Tensor};

/// Everything that a sweep works with besides the blocks. Allocated once, before the first step.
pub struct Work<D: Device, F: Field<D> = Basic> {
    /// The state x_n; in a reconstructing sweep, the state it carries on from.
    pub x: Tensor<D::Buffer>,
    /// The reconstructed x~_n at which the VJP is taken; only in modes that reconstruct. In a forward pass that codes it is the
    /// carry, and ends as what the head sees.
    pub x_rec: Option<Tensor<D::Buffer>>,
    /// Whether the last forward pass ended there.
    pub(crate) ends_in_carry: bool,
    /// How each step's state is found again on the way back.
    pub(crate) ways: Vec<Way>,
    /// Whether the sweep also measures what reconstruction would be worth in coded blocks, for an evaluation more each.
    pub(crate) probes: bool,
    /// What all codes share, in the modes that code.
    pub(crate) coder: Option<Coder<D::Buffer>>,
    /// The codes that there is room for.
    pub(crate) codes: Vec<Code<D::Buffer>>,
    /// What ReLUs behind the sums let through, where there are such and the mode codes.
    pub(super) signs: Option<Signs<D::Buffer>>,
    /// The steps' local errors, `[4]` each; see [`LocalError`].
    pub(super) errors: Option<Tensor<D::Buffer>>,
    /// The same on the host, as last read.
    sums: Vec<D::Real>,
    /// What they say of each step; none where the sweep measured nothing.
    pub(crate) measured: Vec<Option<LocalError>>,
    /// The step's loss, `[2]`, and NaN where a block's reconstruction was worth nothing.
    pub(crate) verdict: Tensor<D::Buffer>,
    /// The cotangent g = dL/dx_n.
    pub grad: Tensor<D::Buffer>,
    /// The cotangents inside a step.
    pub(super) cotangents: Cotangents<D>,
    /// What evaluations leave for pullbacks: as many as the mode stores, at least one.
    pub(super) caches: Vec<StepCache<D, F>>,
    /// Stored states: backprop's inputs of every step, checkpoint's inputs of every segment, or anchors.
    pub(super) states: Vec<Tensor<D::Buffer>>,
    /// Checkpoint's states inside the segment being recomputed.
    pub(super) segment: Vec<Tensor<D::Buffer>>,
    /// Squared distance of the reconstruction at each anchor, and the anchor's squared norm: `[2]` each.
    pub anchor_distances: Vec<Tensor<D::Buffer>>,
    /// Statistics that nobody keeps.
    pub(super) spare: StepStats<D, F>,
    /// The parameter gradients.
    pub grads: Grads<D, F>,
    /// Scratch memory.
    pub scratch: F::Scratch,
}

impl<D: Device, F: Field<D>> Work<D, F> {
    /// The memory of a sweep over a stack, with a device workspace of at least `workspace` elements for others to use.
    ///
    /// # Errors
    /// If the arena is full.
    pub fn new(arena: &mut Arena<'_, D>, spec: &SweepSpec, stack: StackSpec, workspace: usize) -> Result<Self> {
        let StackSpec { depth, map, .. } = stack;
        if stack.post_activation {
            spec.check_post_activation()?;
        }
        let reconstructs = spec.gradient.reconstructs();
        let state = Category::State;
        // the single cache of the flat modes is scratch; a cache for every step is what the mode saves
        let cache = if reconstructs { Category::Scratch } else { Category::Saved };
        let stored = spec.stored_states(depth);
        let segment = if spec.gradient == Gradient::Checkpoint { spec.segment_steps(depth) - 1 } else { 0 };
        let mut tensor = |category| arena.tensor(category, map);
        let (x, grad) = (tensor(state)?, tensor(state)?);
        let x_rec = reconstructs.then(|| tensor(state)).transpose()?;
        let states = (0..stored).map(|_| tensor(Category::Saved)).collect::<Result<_>>()?;
        let segment = (0..segment).map(|_| tensor(Category::Saved)).collect::<Result<_>>()?;
        let anchors = if reconstructs { stored } else { 0 };
        let d = arena.device();
        let codes = if spec.gradient.codes() { d.code_workspace(map) } else { 0 };
        let caches = |arena: &mut Arena<'_, D>| {
            (0..spec.stored_caches(depth))
                .map(|_| StepCache::new(arena, cache, spec.scheme, map))
                .collect::<Result<_>>()
        };
        let workspace = workspace.max(d.bn_workspace(map)).max(d.squared_distance_workspace(map)).max(codes);
        Ok(Self {
            x,
            x_rec,
            ends_in_carry: false,
            ways: spec.first_ways(depth, stack.step_size),
            probes: false,
            coder: (spec.gradient.codes())
                .then(|| Coder::new(arena, map.c(), spec.bits, spec.coded_pass))
                .transpose()?,
            codes: (0..spec.stored_codes(depth)).map(|_| Code::new(arena, map, spec.bits)).collect::<Result<_>>()?,
            signs: (spec.gradient.codes() && stack.post_activation)
                .then(|| Signs::new(arena, map, spec.scheme.steps(depth)))
                .transpose()?,
            errors: match spec.measured_errors(depth) {
                0 => None,
                len => Some(arena.tensor(Category::Statistics, Shape::vector(len))?),
            },
            sums: vec![D::Real::default(); spec.measured_errors(depth)],
            measured: vec![None; spec.scheme.steps(depth)],
            verdict: arena.tensor(Category::Scratch, Shape::vector(2))?,
            grad,
            cotangents: Cotangents::new(arena, spec.scheme, map)?,
            states,
            segment,
            caches: if reconstructs { arena.lend(caches)? } else { caches(arena)? },
            anchor_distances: (0..anchors)
                .map(|_| arena.tensor(Category::Scratch, Shape::vector(2)))
                .collect::<Result<_>>()?,
            spare: StepStats::new(arena, spec.scheme, map, false)?,
            grads: Grads::new(arena, spec, stack)?,
            scratch: arena.lend(|arena| F::scratch(arena, map, workspace))?,
        })
    }

    /// What holds nothing between two sweeps: of caches those of the modes that reconstruct.
    pub(crate) fn lent_mut(&mut self) -> impl Iterator<Item = Lent<'_, D::Buffer>> {
        let Self { x_rec, caches, scratch, .. } = self;
        let caches = caches.iter_mut().filter(|_| x_rec.is_some()).flat_map(StepCache::maps_mut);
        scratch.lent_mut().chain(caches.map(Tensor::lent))
    }

    /// The stored states in the order of the steps that start there; `backprop` stores all from x_0 on.
    pub fn states(&self) -> &[Tensor<D::Buffer>] {
        &self.states
    }

    /// What the head sees of the last forward pass: x_N, with what no code held.
    pub fn output(&self) -> &Tensor<D::Buffer> {
        match &self.x_rec {
            Some(carry) if self.ends_in_carry => carry,
            _ => &self.x,
        }
    }

    /// The same, with the workspace.
    pub(crate) fn output_and_workspace(&mut self) -> (&Tensor<D::Buffer>, &mut D::Buffer) {
        let Self { x, x_rec, ends_in_carry, scratch, .. } = self;
        (x_rec.as_ref().filter(|_| *ends_in_carry).unwrap_or(x), scratch.idle().workspace)
    }

    /// How each step's state is found again on the way back.
    pub fn ways(&self) -> &[Way] {
        &self.ways
    }

    /// Whether these are ways for this stack: one for each step, and codes that there are, none of them twice.
    pub(crate) fn takes(&self, ways: &[Way]) -> bool {
        let mut taken = vec![false; self.codes.len()];
        let free = |way: &Way| match way {
            Way::Coded(slot) => taken.get_mut(*slot).is_some_and(|taken| !std::mem::replace(taken, true)),
            Way::Reconstructed | Way::Refined => true,
        };
        ways.len() == self.ways.len() && ways.iter().all(free)
    }

    /// Reads the local errors that the last sweep measured. Waits for the device; allocates nothing.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub(crate) fn look_at_errors(&mut self, d: &D, spec: &SweepSpec) -> Result<()> {
        let Self { errors: Some(errors), sums, measured, ways, probes, .. } = self else { return Ok(()) };
        d.download(errors, sums)?;
        let (rows, _) = sums.as_chunks::<SUMS>();
        for ((row, way), measured) in rows.iter().zip(&*ways).zip(measured) {
            let passes = match way {
                Way::Coded(_) if !*probes => None,
                Way::Coded(_) => Some(0),
                Way::Refined => Some(spec.fixed_point + super::auto::PASSES),
                Way::Reconstructed => Some(spec.fixed_point),
            };
            *measured = passes.map(|passes| LocalError::of(row.map(Real::to_f64), passes + 1));
        }
        Ok(())
    }

    /// Uses the first `n` images of every map.
    ///
    /// # Errors
    /// If `n` is larger than the batch that the memory was planned for.
    pub fn set_batch(&mut self, n: usize) -> Result<()> {
        let single = [&mut self.x, &mut self.grad].into_iter();
        let optional = self.x_rec.iter_mut().chain(self.codes.iter_mut().map(|code| &mut code.packed));
        let inner = self.cotangents.maps_mut();
        let stored = self.states.iter_mut().chain(&mut self.segment).chain(self.scratch.maps_mut());
        let signs = self.signs.iter_mut().flat_map(Signs::maps_mut);
        let caches = self.caches.iter_mut().flat_map(StepCache::maps_mut).chain(signs);
        single.chain(optional).chain(inner).chain(stored).chain(caches).try_for_each(|map| map.set_batch(n))
    }
}

impl<D: Device, F: Field<D>> Sweep<'_, D, F> {
    /// Pulls `work.grad` back through step n at `x_n`, which is `at`, from cache number `cache`.
    pub(super) fn pull(
        &mut self,
        n: usize,
        statistics: Statistics,
        at: At,
        cache: usize,
        sgd: Descent<'_, D::Buffer>,
    ) -> Result<()> {
        let Self { d, stack, work, .. } = self;
        let Work { x, x_rec, grad, cotangents, caches, states, segment, spare, grads, scratch, verdict, .. } =
            &mut **work;
        grads.begin(*d, stack, n)?;
        let x = match at {
            At::X => x,
            At::Reconstruction => x_rec.as_ref().expect("reconstructing modes have one"),
            At::State(i) => &states[i],
            At::Segment(i) => &segment[i],
        };
        if stack.post_activation && !matches!(at, At::Reconstruction) {
            // of a reconstruction the signs were kept, and have been replayed
            let next = scratch.idle().map;
            stack.step(*d, n, statistics, spare)?.rectified(*d, x, &caches[cache], next)?;
            d.relu_grad(next, grad)?;
        }
        let slots = StepGrads { first: stack.scheme.first(n), slots: &mut grads.slots };
        let step = stack.step(*d, n, statistics, spare)?;
        step.pull(*d, x, &caches[cache], grad, slots, cotangents, scratch)?;
        grads.end(*d, stack, n, sgd.with_loss(verdict))
    }
}

/// Which of the stored tensors holds the state at which a step is pulled back.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    /// `x`.
    X,
    /// `x_rec`.
    Reconstruction,
    /// `states[i]`.
    State(usize),
    /// `segment[i]`.
    Segment(usize),
}

/// The blocks' gradients: one slot per block, or, with updates in the sweep or with one theta for all blocks, one slot for each
/// block that a step touches, used in turn.
pub struct Grads<D: Device, F: Field<D> = Basic> {
    /// Block n's gradient is in slot n modulo their number.
    pub slots: Vec<F::Theta>,
    /// With one theta for all blocks, the sum of the gradients of those that the sweep has passed.
    pub sum: Option<F::Theta>,
    /// Where several batches make a step, the sum over them of each theta's gradients.
    pub gathered: Vec<F::Theta>,
    /// Which of a step's batches the next sweep is of.
    pub(crate) share: Share,
    pub(crate) recipe: Recipe,
    /// Where squares are summed, if blocks' gradients are clipped by themselves, `[SQUARES]`.
    pub(crate) squares: Option<Tensor<D::Buffer>>,
    update: Update,
}

impl<D: Device, F: Field<D>> Grads<D, F> {
    fn new(arena: &mut Arena<'_, D>, spec: &SweepSpec, stack: StackSpec) -> Result<Self> {
        let recipe = stack.recipe;
        let slots = match spec.update {
            Update::InSweep => spec.scheme.span(),
            Update::After if stack.tied || recipe.accumulates => spec.scheme.span(),
            Update::After => stack.depth,
        };
        let mut new = || F::theta(arena, Category::Gradients, stack.map);
        let slots = (0..slots).map(|_| new()).collect::<Result<_>>()?;
        let gathered = if recipe.accumulates { stack.thetas() } else { 0 };
        let gathered = (0..gathered).map(|_| new()).collect::<Result<_>>()?;
        let sum = stack.tied.then(new).transpose()?;
        let alone = matches!(recipe.clip, Some(Clip::Blocks(_)));
        let squares = alone.then(|| arena.tensor(Category::Optimiser, Shape::vector(SQUARES))).transpose()?;
        Ok(Self { slots, sum, gathered, share: Share::default(), recipe, squares, update: spec.update })
    }

    /// The gradients that the sweep leaves where updates come after it: one per set of weights.
    pub fn of_parameters(&self) -> impl Iterator<Item = &F::Theta> {
        let Self { slots, sum, gathered, .. } = self;
        let single = sum.as_ref().map_or(&slots[..], slice::from_ref);
        if gathered.is_empty() { single.iter() } else { gathered.iter() }
    }

    /// The same, to be written.
    pub(crate) fn of_parameters_mut(&mut self) -> impl Iterator<Item = &mut F::Theta> {
        let Self { slots, sum, gathered, .. } = self;
        let single = sum.as_mut().map_or(&mut slots[..], slice::from_mut);
        if gathered.is_empty() { single.iter_mut() } else { gathered.iter_mut() }
    }

    /// Whether gradients are clipped or gathered before the optimiser sees them, which no device does inside of a run.
    pub(super) fn are_treated(&self) -> bool {
        self.recipe.accumulates || self.squares.is_some()
    }

    /// Begins a sweep.
    pub(super) fn clear(&mut self, d: &D) -> Result<()> {
        self.sum.iter_mut().flat_map(|sum| sum.named_mut()).try_for_each(|(_, sum)| d.fill(0.0, sum))
    }

    /// Zeroes the slots that step n is the first to add to.
    pub(super) fn begin(&mut self, d: &D, stack: &Stack<D, F>, n: usize) -> Result<()> {
        let len = self.slots.len();
        let (first, next) = (stack.scheme.first(n), stack.scheme.first(n + 1));
        let last = n + 1 == stack.steps();
        let layers = if last { first..first + stack.scheme.span() } else { first..next };
        for layer in layers {
            for (_, grad) in self.slots[layer % len].named_mut() {
                d.fill(0.0, grad)?;
            }
        }
        Ok(())
    }

    /// Takes in the gradients that step n completed: updates their blocks, if updates are in the sweep, none of whose later
    /// steps uses them. One theta for all blocks is used to the end, so that its update comes after the sweep's last step.
    pub(super) fn end(&mut self, d: &D, stack: &mut Stack<D, F>, n: usize, sgd: Descent<'_, D::Buffer>) -> Result<()> {
        // up to the last block that the step before this one uses too
        let used = |n: usize| stack.scheme.first(n) + stack.scheme.span();
        let complete = if n == 0 { 0..used(0) } else { used(n - 1)..used(n) };
        if let Some(sum) = &mut self.sum {
            // the sweep goes down, so that the order of the sum is that of the sweep
            for layer in complete.rev() {
                let slot = &self.slots[layer % self.slots.len()];
                let pairs = slot.named().zip(sum.named_mut());
                pairs.into_iter().try_for_each(|((_, slot), (_, sum))| d.axpby(1.0, slot, 1.0, sum))?;
            }
            return if n == 0 { self.complete(d, stack, 0, sgd) } else { Ok(()) };
        }
        complete.into_iter().try_for_each(|layer| self.complete(d, stack, layer, sgd))
    }

    /// Takes in the whole gradient of theta number `layer`: updates it, if updates are in the sweep and this is the last batch of the step.
    fn complete(&mut self, d: &D, stack: &mut Stack<D, F>, layer: usize, sgd: Descent<'_, D::Buffer>) -> Result<()> {
        let Self { slots, sum, gathered, share, update, .. } = self;
        if let Some(gathered) = gathered.get_mut(layer) {
            let grad = sum.as_ref().unwrap_or(&slots[layer % slots.len()]);
            gather::<D, F::Theta>(d, *share, grad, gathered)?;
        }
        let now = *update == Update::InSweep && share.ends.is_some();
        if now { self.apply(d, stack, layer, sgd) } else { Ok(()) }
    }

    /// One step of the optimiser on theta number `layer`.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn apply<'s>(
        &mut self,
        d: &D,
        stack: &mut Stack<D, F>,
        layer: usize,
        sgd: impl Into<Descent<'s, D::Buffer>>,
    ) -> Result<()>
    where
        D::Buffer: 's,
    {
        let sgd = sgd.into();
        let Stack { theta, velocity, second, .. } = stack;
        let Self { slots, sum, gathered, recipe, squares, .. } = self;
        let slot = layer % slots.len();
        let grad = gathered.get_mut(layer).or(sum.as_mut()).unwrap_or(&mut slots[slot]);
        clip_alone::<D, F::Theta>(d, *recipe, squares.as_mut(), grad)?;
        let grad = &*grad;
        let (velocity, theta) = (&mut velocity[layer], &mut theta[layer]);
        match sgd {
            Descent::Sgd(sgd) => F::sgd(d, sgd, grad, velocity, theta),
            Descent::AdamW(_) => {
                d.descend_all(sgd, &mut whole::moved::<D, _>(grad, velocity, second.get_mut(layer), theta))
            }
        }
    }
}
