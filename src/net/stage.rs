//! One stage of a net: the block that begins it, if any, the residual stack, and the memory of its sweep.

use super::first::First;
use super::moved::averaged;
use super::result::{BatchResult, StepResult, largest, relative};
use super::spec::{FirstSpec, StageSpec};
use crate::code::CodedPass;
use crate::device::{Descent, Device};
use crate::error::{Error, Result};
use crate::field::{Basic, Field, FieldScratch, Idle, Maps, Tensors};
use crate::init::{BlockPlace, Init};
use crate::memory::{Arena, Category, Lent, Memory};
use crate::operands::Reconstruction;
use crate::scheme::{Averages, Stack, Statistics};
use crate::shape::Shape;
use crate::sweep::{Gradient, Sweep, SweepSpec, Update, Work};
use crate::tensor::{Real, Tensor};

/// One stage of a net.
pub struct Stage<D: Device, F: Field<D> = Basic> {
    pub(super) first: Option<First<D>>,
    /// The gradient of the stem's output and an idle map of its shape, where this is the first stage and has another.
    below: Option<[Tensor<D::Buffer>; 2]>,
    /// How the blocks' gradient is computed.
    pub(super) sweep: SweepSpec,
    /// The residual blocks.
    pub stack: Stack<D, F>,
    /// The sweep's memory.
    pub work: Work<D, F>,
    /// How far the last sweep's reconstruction of x_0 was, `[2]`.
    distance: Tensor<D::Buffer>,
    /// What the steps of a pass gave.
    pub(super) tape: Tape<D>,
}

/// What [`Stage::below`] gives.
type Below<'a, D> = (
    Option<&'a Tensor<<D as Memory>::Buffer>>,
    &'a mut Tensor<<D as Memory>::Buffer>,
    &'a mut Tensor<<D as Memory>::Buffer>,
    &'a mut <D as Memory>::Buffer,
);

/// Who of a stage takes turns in the memory that holds nothing between two uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The block that begins the stage.
    First,
    /// The sweep over its stack.
    Stack,
}

/// What the sweep leaves at the stack's lower end.
pub(super) struct LowerEnd<'a, D: Device> {
    /// Where the true x_0 goes.
    pub x_0: &'a mut Tensor<D::Buffer>,
    /// The sweep's x_0, where it rebuilt one, and where its distance from the true one goes.
    pub reconstruction: Option<Reconstruction<'a, D::Buffer>>,
    /// dL/dx_0.
    pub grad: &'a mut Tensor<D::Buffer>,
    pub idle: Idle<'a, D>,
}

/// What the last steps of a pass gave, where the device writes it.
pub(super) struct Tape<D: Device> {
    /// The step's number in its pass, `[1]`.
    pub step: Tensor<D::Buffer>,
    /// `[1, 1, STEPS_AHEAD, 4]`, and its copy.
    results: Tensor<D::Buffer>,
    read: Vec<D::Real>,
}

impl<D: Device> Tape<D> {
    /// Reads the device's.
    pub fn look(&mut self, d: &D) -> Result<()> {
        d.download(&self.results, &mut self.read)
    }

    /// What was read of a step: its loss, its right answers, and the stage's drift.
    pub fn of(&self, step: usize) -> (f64, usize, f64) {
        let (rows, _) = self.read.as_chunks::<4>();
        let [loss, correct, distance, norm] = rows[step % D::STEPS_AHEAD].map(Real::to_f64);
        (loss, correct as usize, relative([distance, norm]))
    }
}

impl<D: Device, F: Field<D>> Stage<D, F> {
    /// Takes all memory, with a workspace of at least `workspace` elements.
    pub(super) fn new(arena: &mut Arena<'_, D>, spec: &StageSpec, first_stage: bool, workspace: usize) -> Result<Self> {
        let recomputes = spec.sweep.gradient != Gradient::Backprop;
        let new = |first: FirstSpec| {
            let links = F::first_links(first.channels, first.stride);
            First::new(arena, &first, &links, &spec.stack, recomputes)
        };
        let first = spec.first.map(new).transpose()?;
        let changed = spec.first.filter(|first| first_stage && first.projection().is_some());
        let below = changed.map(|FirstSpec { input, .. }| {
            let grad = arena.tensor(Category::State, input)?;
            Ok::<_, Error>([grad, arena.lend(|arena| arena.tensor(Category::Scratch, input))?])
        });
        Ok(Self {
            first,
            below: below.transpose()?,
            sweep: spec.sweep,
            stack: Stack::new(arena, spec.stack)?,
            work: Work::new(arena, &spec.sweep, spec.stack, workspace)?,
            distance: arena.tensor(Category::Scratch, Shape::vector(2))?,
            tape: Tape {
                step: arena.tensor(Category::Data, Shape::vector(1))?,
                results: arena.tensor(Category::Scratch, Shape([1, 1, D::STEPS_AHEAD, 4]))?,
                read: vec![D::Real::default(); 4 * D::STEPS_AHEAD],
            },
        })
    }

    /// Weights and running statistics at the start. `stage` is its number.
    pub(super) fn initialise(&mut self, d: &D, init: Init, seed: u64, stage: usize) -> Result<()> {
        if let Some(first) = &mut self.first {
            first.initialise(d, seed, stage)?;
        }
        let Stack { theta, running, .. } = &mut self.stack;
        let shared = theta.len() - 1;
        // of one theta for all blocks the first block's draws stay, which come last
        for (layer, running) in running.iter_mut().enumerate().rev() {
            F::initialise(d, init, seed, BlockPlace { stage, layer }, &mut theta[layer.min(shared)], running)?;
        }
        Ok(())
    }

    /// Uses the first `n` images of every map.
    pub(super) fn set_batch(&mut self, n: usize) -> Result<()> {
        self.first.iter_mut().flat_map(First::maps_mut).try_for_each(|map| map.set_batch(n))?;
        self.below.iter_mut().flatten().try_for_each(|map| map.set_batch(n))?;
        self.stack.saved.iter_mut().flat_map(Maps::maps_mut).try_for_each(|mask| mask.set_batch(n))?;
        self.work.set_batch(n)
    }

    /// Where the stage takes its input.
    pub(super) fn input(&mut self) -> (&mut Tensor<D::Buffer>, &mut D::Buffer) {
        let workspace = self.work.scratch.idle().workspace;
        (self.first.as_mut().map_or(&mut self.work.x, |first| &mut first.input), workspace)
    }

    /// The beginning block: from its input to x_0 in `work.x`.
    pub(super) fn begin(&mut self, d: &D, statistics: Statistics) -> Result<()> {
        let Self { first: Some(first), work: Work { x, .. }, .. } = self else { return Ok(()) };
        first.eval(d, statistics)?;
        first.output(d, x)
    }

    /// The buffers of one that takes turns.
    pub(super) fn lent_mut(&mut self, part: Part) -> impl Iterator<Item = Lent<'_, D::Buffer>> {
        let Self { first, below, work, .. } = self;
        let of_first = first.iter_mut().filter(move |_| part == Part::First).flat_map(First::lent_mut);
        let of_stack = Some(work).filter(|_| part == Part::Stack).into_iter().flat_map(Work::lent_mut);
        let below = below.iter_mut().filter(move |_| part == Part::Stack).map(|[_, idle]| idle.lent());
        of_first.chain(of_stack).chain(below)
    }

    /// The ReLU between this stage's x_N, which its sweep starts from, and the next block or the head: `y = relu(x_N)`.
    pub(super) fn leave(&self, d: &D, y: &mut Tensor<D::Buffer>) -> Result<()> {
        d.copy(self.work.output(), y)?;
        d.relu(y)
    }

    /// What the sweep leaves at the stack's lower end.
    pub(super) fn lower_end(&mut self) -> LowerEnd<'_, D> {
        lower_end(&mut self.work, &mut self.distance)
    }

    /// The true x_0, written by `write` to memory that the sweep has left free, and how far the reconstruction was from it: no number
    /// where the sweep met one that was worth nothing.
    pub(super) fn measure_drift(
        &mut self,
        d: &D,
        write: impl FnOnce(&mut Tensor<D::Buffer>) -> Result<()>,
    ) -> Result<()> {
        let LowerEnd { x_0, reconstruction, idle, .. } = self.lower_end();
        write(x_0)?;
        reconstruction.map_or(Ok(()), |of| d.drift(of, x_0, idle.workspace))
    }

    /// From dL/dx_0 to the gradients of the beginning block, and the drift. The gradient of the block's input goes to `before`, which is
    /// that of the x_N of the stage before, where there is one.
    pub(super) fn first_backward(&mut self, d: &D, before: Option<&mut Tensor<D::Buffer>>) -> Result<()> {
        let Self { first: Some(first), below, work, distance, .. } = self else { return Ok(()) };
        let LowerEnd { x_0, reconstruction, grad, .. } = lower_end(work, distance);
        first.restore(d)?;
        first.output(d, x_0)?;
        // x_0 came out of a ReLU
        d.relu_grad(x_0, grad)?;
        reconstruction.map_or(Ok(()), |of| first.drift(d, of, x_0))?;
        let Some(before) = before else {
            return first.backward(d, grad, below.as_mut().map(|[grad_x, _]| grad_x));
        };
        first.backward(d, grad, Some(before))?;
        d.relu_grad(&first.input, before)
    }

    /// What the way back leaves below the first stage: the stem's output if it is kept, its gradient, and an idle map of its shape with
    /// the workspace.
    pub(super) fn below(&mut self) -> Below<'_, D> {
        let Self { first, below, work: Work { grad, scratch, .. }, .. } = self;
        let (y, Idle { map, workspace, .. }) = (first.as_ref().map(|first| &first.input), scratch.idle());
        match below {
            None => (y, grad, map, workspace),
            Some([grad, map]) => (y, grad, map, workspace),
        }
    }

    /// Applies the optimiser to everything that the sweep has not updated, unless that met a reconstruction worth nothing.
    pub(super) fn update(&mut self, d: &D, sgd: Descent<'_, D::Buffer>) -> Result<()> {
        let Self { first, stack, work, sweep, .. } = self;
        let sgd = sgd.with_loss(&work.verdict);
        if let Some(first) = first {
            first.clip_alone(d, work.grads.recipe, work.grads.squares.as_mut())?;
            first.update(d, sgd)?;
        }
        if sweep.update == Update::After {
            for layer in 0..stack.theta.len() {
                work.grads.apply(d, stack, layer, sgd)?;
            }
        }
        Ok(())
    }

    /// The gradients that a step of the optimiser takes.
    pub(super) fn gradients(&self) -> impl Iterator<Item = (&'static str, &Tensor<D::Buffer>)> {
        let of_first = self.first.iter().flat_map(First::ways).flat_map(|(_, way)| way.weights.of_step().named());
        of_first.chain(self.work.grads.of_parameters().flat_map(Tensors::named))
    }

    /// The same, to be written.
    pub(super) fn gradients_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Tensor<D::Buffer>)> {
        let Self { first, work, .. } = self;
        let of_first = first.iter_mut().flat_map(First::ways_mut);
        let of_first = of_first.flat_map(|(_, way)| way.weights.of_step_mut().named_mut());
        of_first.chain(work.grads.of_parameters_mut().flat_map(Tensors::named_mut))
    }

    /// Everything of which averages may be kept, with them.
    pub(super) fn averaged_mut(&mut self) -> impl Iterator<Item = (&mut Tensor<D::Buffer>, &mut Tensor<D::Buffer>)> {
        let Self { first, stack: Stack { theta, running, averages, .. }, .. } = self;
        let of_first = first.iter_mut().flat_map(First::ways_mut).flat_map(|(_, way)| {
            let weights = averaged::<D, _>(&mut way.weights.theta, way.weights.average.as_mut());
            weights.chain(averaged::<D, _>(&mut way.running, way.running_average.as_mut()))
        });
        let (of_theta, of_running) = match averages {
            Some(Averages { theta, running }) => (&mut theta[..], &mut running[..]),
            None => Default::default(),
        };
        let thetas = theta.iter_mut().zip(of_theta).flat_map(|(of, average)| averaged::<D, _>(of, Some(average)));
        let runnings = running.iter_mut().zip(of_running).flat_map(|(of, average)| averaged::<D, _>(of, Some(average)));
        of_first.chain(thetas).chain(runnings)
    }

    /// Writes what a step gave to the tape: see [`crate::device::Feed::record_step`].
    pub(super) fn record(&mut self, d: &D, outcome: &Tensor<D::Buffer>, trained: bool) -> Result<()> {
        let distance = (trained && self.work.x_rec.is_some()).then_some(&self.distance);
        let Tape { step, results, .. } = &mut self.tape;
        d.record_step(outcome, distance, !trained, results, step)
    }

    /// The last sweep's drift at x_0 and its largest at an anchor.
    pub(super) fn drift(&self, d: &D) -> Result<(Option<f64>, Option<f64>)> {
        let relative_in = |pair: &Tensor<D::Buffer>| -> Result<f64> {
            let mut values = [D::Real::default(); 2];
            d.download(pair, &mut values)?;
            Ok(relative(values.map(Real::to_f64)))
        };
        let stem = self.work.x_rec.as_ref().map(|_| relative_in(&self.distance)).transpose()?;
        let mut anchors: Option<f64> = None;
        for pair in &self.work.anchor_distances {
            anchors = Some(anchors.unwrap_or(0.0).max(relative_in(pair)?));
        }
        Ok((stem, anchors))
    }

    /// One step of the stack: for [`super::Net::first_non_finite`].
    pub(super) fn advance(&mut self, d: &D, n: usize, statistics: Statistics) -> Result<()> {
        self.sweep(d).advance(n, statistics)
    }

    /// The sweep over the stack.
    pub(super) fn sweep<'a>(&'a mut self, d: &'a D) -> Sweep<'a, D, F> {
        let Self { sweep, stack, work, .. } = self;
        Sweep { d, spec: sweep, stack, work }
    }
}

/// What a sweep leaves at its stack's lower end.
fn lower_end<'a, D: Device, F: Field<D>>(
    work: &'a mut Work<D, F>,
    distance: &'a mut Tensor<D::Buffer>,
) -> LowerEnd<'a, D> {
    let on_grid = work.ends_in_carry && work.coder.as_ref().is_some_and(|coder| coder.pass == CodedPass::Altered);
    let Work { x, x_rec, grad, scratch, coder, verdict, .. } = work;
    // the reconstruction stays in x; without one x is free
    let (reconstruction, x_0) = match x_rec {
        Some(x_rec) => {
            let grid = coder.as_ref().filter(|_| on_grid).map(|coder| &coder.grid);
            (Some(Reconstruction { x, grid, verdict, distance }), x_rec)
        }
        None => (None, x),
    };
    LowerEnd { x_0, reconstruction, grad, idle: scratch.idle() }
}

/// A step's result from the tapes of all stages, each with whether its sweep reconstructs.
pub(super) fn step_result<'a, D: Device>(step: usize, tapes: impl Iterator<Item = (&'a Tape<D>, bool)>) -> StepResult {
    let mut result = StepResult { batch: BatchResult { loss: 0.0, correct: 0 }, drift: None };
    for (i, (tape, reconstructs)) in tapes.enumerate() {
        let (loss, correct, drift) = tape.of(step);
        if i == 0 {
            result.batch = BatchResult { loss, correct };
        }
        result.drift = largest(result.drift, reconstructs.then_some(drift));
    }
    result
}
