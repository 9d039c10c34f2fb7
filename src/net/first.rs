//! The plain ResNet block that begins a stage, `y = relu(F(x) + S(x))`: it may change the map, so that it cannot be a step of an
//! ODE. Its input is stored, and where the stage's mode stores activations, so are its own: how many there are does not depend on depth.

use super::spec::FirstSpec;
use super::trained::Trained;
use crate::device::{Descent, Device};
use crate::error::Result;
use crate::field::chain::memory::{ChainCache, ChainRunning, ChainScratch, ChainStats, ChainTheta};
use crate::field::chain::{Layout, Link, passes};
use crate::field::{Maps, Normalise};
use crate::init::Draw;
use crate::memory::{Arena, Category, Lent};
use crate::operands::Reconstruction;
use crate::recipe::{Recipe, Share};
use crate::scheme::{StackSpec, Statistics};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// One way from x to y, and all memory that training it takes.
pub(super) struct Way<D: Device> {
    pub weights: Trained<ChainTheta<D>>,
    pub running: ChainRunning<D>,
    /// The average of the running statistics over steps, if one is kept.
    pub running_average: Option<ChainRunning<D>>,
    stats: ChainStats<D>,
    cache: ChainCache<D>,
    scratch: ChainScratch<D>,
}

impl<D: Device> Way<D> {
    fn new(arena: &mut Arena<'_, D>, layout: &Layout, stack: &StackSpec, recomputes: bool) -> Result<Self> {
        let StackSpec { second_moments, recipe, .. } = *stack;
        let cache = |arena: &mut Arena<'_, D>, category| ChainCache::new(arena, category, layout);
        Ok(Self {
            weights: Trained::new(second_moments, recipe, |category| ChainTheta::new(arena, category, layout.clone()))?,
            running: ChainRunning::new(arena, layout)?,
            running_average: recipe.average.map(|_| ChainRunning::new(arena, layout)).transpose()?,
            stats: ChainStats::new(arena, Category::Statistics, layout, false)?,
            cache: match recomputes {
                true => arena.lend(|arena| cache(arena, Category::Scratch))?,
                false => cache(arena, Category::Saved)?,
            },
            scratch: arena.lend(|arena| ChainScratch::new(arena, layout))?,
        })
    }

    /// What holds nothing between two uses: with `recomputes` also what an evaluation leaves.
    fn lent_mut(&mut self, recomputes: bool) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        let Self { cache, scratch, .. } = self;
        cache.maps_mut().filter(move |_| recomputes).chain(scratch.tensors_mut())
    }

    fn eval(&mut self, d: &D, x: &Tensor<D::Buffer>, statistics: Statistics, workspace: &mut D::Buffer) -> Result<()> {
        let Self { weights: Trained { theta, .. }, running, stats, cache, scratch, .. } = self;
        let normalise = match statistics {
            Statistics::MeasureAndRun => Normalise::Batch(Some(running)),
            Statistics::Measure => Normalise::Batch(None),
            Statistics::Saved => Normalise::Given,
            Statistics::Running => {
                passes::running_stats(d, running, stats)?;
                Normalise::Given
            }
        };
        passes::eval(d, x, theta, stats, normalise, cache, scratch, workspace)
    }

    /// All gradients but x's, from that of the value.
    fn vjp(
        &mut self,
        d: &D,
        x: &Tensor<D::Buffer>,
        grad_y: &Tensor<D::Buffer>,
        workspace: &mut D::Buffer,
    ) -> Result<()> {
        self.weights.clear(d)?;
        let Self { weights: Trained { theta, grad, .. }, stats, cache, scratch, .. } = self;
        passes::vjp_outer(d, grad_y, 1.0, theta, stats, cache, scratch, workspace)?;
        passes::vjp_inner(d, x, theta, stats, cache, grad, scratch, workspace)
    }

    /// x's.
    fn grad_x(
        &mut self,
        d: &D,
        x: &Tensor<D::Buffer>,
        grad_x: &mut Tensor<D::Buffer>,
        workspace: &mut D::Buffer,
    ) -> Result<()> {
        let Self { weights: Trained { theta, grad, .. }, stats, scratch, .. } = self;
        passes::vjp_input(d, x, theta, stats, grad, scratch, Some(grad_x), workspace)
    }
}

/// The block, with its input.
pub(super) struct First<D: Device> {
    /// x, `[N, H, W, C]`, kept for the backward.
    pub input: Tensor<D::Buffer>,
    main: Way<D>,
    shortcut: Option<Way<D>>,
    /// Whether what the evaluation leaves is computed anew on the way back, and not kept from the forward pass.
    recomputes: bool,
    /// An idle map of x's shape.
    idle: Tensor<D::Buffer>,
    /// The device's.
    workspace: Tensor<D::Buffer>,
}

/// Streams of random numbers that lie between the first of one way's convolutions and the other's.
const DRAWS: usize = 3;

/// The prefixes of the names of both ways' tensors.
const PREFIXES: [&str; 2] = ["first.", "shortcut."];

impl<D: Device> First<D> {
    /// With the links that the field asks for, trained as the stage's stack is; `recomputes` says whether only the input is kept for the way back.
    ///
    /// # Errors
    /// As [`Layout::of`].
    pub fn new(
        arena: &mut Arena<'_, D>,
        spec: &FirstSpec,
        main: &[Link],
        stack: &StackSpec,
        recomputes: bool,
    ) -> Result<Self> {
        let mut way = |links: &[Link]| Way::new(arena, &Layout::of(links, spec.input)?, stack, recomputes);
        let projection = |conv| way(&[Link::Conv { conv, channels: spec.channels }, Link::Norm]);
        let shortcut = spec.projection().map(projection).transpose()?;
        let main = way(main)?;
        let layouts = [&main].into_iter().chain(&shortcut).map(|way| &way.weights.theta.layout);
        let d = arena.device();
        let of_ways = layouts.map(|layout| passes::workspace(d, layout)).max().unwrap_or(0);
        let workspace = of_ways.max(d.squared_distance_workspace(main.weights.theta.layout.output()));
        Ok(Self {
            main,
            shortcut,
            recomputes,
            input: arena.tensor(Category::Saved, spec.input)?,
            idle: arena.lend(|arena| arena.tensor(Category::Scratch, spec.input))?,
            workspace: arena.lend(|arena| arena.tensor(Category::Scratch, Shape::vector(workspace)))?,
        })
    }

    /// What holds nothing between two uses of the block.
    pub fn lent_mut(&mut self) -> impl Iterator<Item = Lent<'_, D::Buffer>> {
        let Self { main, shortcut, recomputes, idle, workspace, .. } = self;
        let ways = [main].into_iter().chain(shortcut).flat_map(|way| way.lent_mut(*recomputes));
        ways.chain([idle, workspace]).map(Tensor::lent)
    }

    /// F's way and S's, with what stands before the names of their tensors.
    pub fn ways(&self) -> impl Iterator<Item = (&'static str, &Way<D>)> {
        PREFIXES.into_iter().zip([&self.main].into_iter().chain(&self.shortcut))
    }

    /// The same, to be written.
    pub fn ways_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Way<D>)> {
        PREFIXES.into_iter().zip([&mut self.main].into_iter().chain(&mut self.shortcut))
    }

    /// PyTorch's default weights.
    pub fn initialise(&mut self, d: &D, seed: u64, stage: usize) -> Result<()> {
        let mut before = 0;
        for (_, Way { weights, running, .. }) in self.ways_mut() {
            passes::initialise(d, seed, |conv| Draw::First(stage, before + conv), 1.0, &mut weights.theta, running)?;
            before += DRAWS;
        }
        Ok(())
    }

    /// The maps whose first extent is the batch.
    pub fn maps_mut(&mut self) -> impl Iterator<Item = &mut Tensor<D::Buffer>> {
        let Self { input, main, shortcut, idle, .. } = self;
        let ways = [main].into_iter().chain(shortcut);
        [input, idle].into_iter().chain(ways.flat_map(|way| way.cache.maps_mut().chain(way.scratch.maps_mut())))
    }

    /// Evaluates both ways at the input. [`First::output`] is then y.
    pub fn eval(&mut self, d: &D, statistics: Statistics) -> Result<()> {
        let Self { input, main, shortcut, workspace, .. } = self;
        let workspace = &mut workspace.buffer;
        main.eval(d, input, statistics, workspace)?;
        shortcut.as_mut().map_or(Ok(()), |shortcut| shortcut.eval(d, input, statistics, workspace))
    }

    /// What the forward pass's evaluation left, again.
    pub fn restore(&mut self, d: &D) -> Result<()> {
        if self.recomputes { self.eval(d, Statistics::Saved) } else { Ok(()) }
    }

    /// `y = relu(F + S)` from what the last evaluation left.
    pub fn output(&mut self, d: &D, y: &mut Tensor<D::Buffer>) -> Result<()> {
        let Self { input, main: Way { weights, stats, cache, scratch, .. }, shortcut, .. } = self;
        // of y's shape, and idle
        let idle = scratch.grad_z.last_mut().expect("a chain has a convolution");
        let x = match shortcut {
            None => input,
            Some(Way { weights, stats, cache, .. }) => {
                passes::value(d, &weights.theta, stats, cache, idle)?;
                idle
            }
        };
        passes::advance(d, x, 1.0, &weights.theta, stats, cache, y)?;
        d.relu(y)
    }

    /// How far a reconstruction of the output is from `y`: see [`crate::device::Ends::drift`].
    pub fn drift(&mut self, d: &D, of: Reconstruction<'_, D::Buffer>, y: &mut Tensor<D::Buffer>) -> Result<()> {
        d.drift(of, y, &mut self.workspace.buffer)
    }

    /// From `grad = dL/d(F + S)` to all gradients: x's goes to `grad_x` where the shape changes and else stays in `grad`.
    pub fn backward(
        &mut self,
        d: &D,
        grad: &mut Tensor<D::Buffer>,
        grad_x: Option<&mut Tensor<D::Buffer>>,
    ) -> Result<()> {
        let Self { input, main, shortcut, idle, workspace, .. } = self;
        let workspace = &mut workspace.buffer;
        main.vjp(d, input, grad, workspace)?;
        main.grad_x(d, input, idle, workspace)?;
        let (Some(shortcut), Some(grad_x)) = (shortcut, grad_x) else {
            return d.axpby(1.0, idle, 1.0, grad);
        };
        shortcut.vjp(d, input, grad, workspace)?;
        shortcut.grad_x(d, input, grad_x, workspace)?;
        d.axpby(1.0, idle, 1.0, grad_x)
    }

    /// Takes in a batch's gradients: see [`Trained::gather`].
    pub fn gather(&mut self, d: &D, share: Share) -> Result<()> {
        self.ways_mut().try_for_each(|(_, way)| way.weights.gather(d, share))
    }

    /// Clips each way's gradients by themselves, if the recipe says so.
    pub fn clip_alone(&mut self, d: &D, recipe: Recipe, mut squares: Option<&mut Tensor<D::Buffer>>) -> Result<()> {
        self.ways_mut().try_for_each(|(_, way)| way.weights.clip_alone(d, recipe, squares.as_deref_mut()))
    }

    /// One step of the optimiser.
    pub fn update(&mut self, d: &D, sgd: Descent<'_, D::Buffer>) -> Result<()> {
        self.ways_mut().try_for_each(|(_, way)| way.weights.update(d, sgd))
    }
}
