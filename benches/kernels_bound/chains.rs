//! The block-steps.

use super::bed::{Bed, uniform};
use super::case::{Block, Case};
use super::form::{RUN, Way};
use rewind::cuda::{Cuda, CudaBuffer};
use rewind::device::prelude::*;
use rewind::device::{Sgd, SgdStep};
use rewind::field::chain::memory::{ChainCache, ChainRunning, ChainScratch, ChainStats, ChainTheta};
use rewind::field::chain::{Layout, passes};
use rewind::field::{Basic, Bottleneck, Field, Normalise, Tensors};
use rewind::init::{BlockPlace, Draw, Init};
use rewind::memory::{Arena, Category, take};
use rewind::operands::Carry;
use rewind::recipe::Recipe;
use rewind::scheme::{Scheme, Stack, StackSpec, StepSize};
use rewind::shape::Shape;
use rewind::sweep::{Gradient, Sweep, SweepSpec, Work};
use rewind::tensor::Tensor;
use rewind_emulator::Emulator;

/// The step size; no count depends on it.
const H: f64 = 0.125;

/// A basic block, by the device's own operations.
pub fn basic_step(cuda: &Cuda, way: Way, map: Shape, emulator: &Emulator) {
    let Bed {
        mut x,
        mut x_rec,
        mut grad,
        mut theta,
        mut grad_theta,
        mut velocity,
        mut stats,
        mut running,
        mut cache,
        mut scratch,
        lr,
        loss,
        mut errors,
        mut coder,
        mut code,
        mut carry,
    } = Bed::new(cuda, map);
    emulator.reset_counters().expect("the emulator answers");
    let (stats, running, cache, scratch) = (&mut stats, Some(&mut running), &mut cache, &mut scratch);
    let (x, grad, grad_theta) = (&mut x, &mut grad, &mut grad_theta);
    if way == Way::Coded {
        let (coder, code, carry) = (&mut coder, &mut code, &mut carry);
        cuda.code_step(H, &theta, stats, running, coder, code, x, carry, cache, scratch).expect("code_step");
        cuda.decode_vjp(H, &theta, stats, coder, code, x, cache, grad, grad_theta, scratch).expect("decode_vjp");
    } else {
        let (carry, errors) = (Carry::Correction, (&mut errors, 0));
        cuda.euler_step(H, &theta, stats, running, x, cache, scratch).expect("euler_step");
        cuda.inverse_vjp(H, carry, &theta, stats, x, &mut x_rec, errors, cache, grad, grad_theta, scratch)
            .expect("inverse_vjp");
    }
    let step = SgdStep::PAPER.on_device(&lr, &loss);
    cuda.sgd_block(step, grad_theta, &mut velocity, &mut theta).expect("sgd_block");
}

/// What an update needs: a learning rate of 0, and a loss that is finite.
struct Rates {
    lr: Tensor<CudaBuffer>,
    loss: Tensor<CudaBuffer>,
}

impl Rates {
    fn new(arena: &mut Arena<'_, Cuda>) -> rewind::Result<Rates> {
        let mut tensor = |len| arena.tensor(Category::Scratch, Shape::vector(len));
        Ok(Rates { lr: tensor(1)?, loss: tensor(2)? })
    }

    fn fill(&mut self, d: &Cuda) {
        d.fill(0.0, &mut self.lr).and_then(|()| d.fill(1.0, &mut self.loss)).expect("fill");
    }

    fn sgd(&self) -> Sgd<'_, CudaBuffer> {
        SgdStep::PAPER.on_device(&self.lr, &self.loss)
    }
}

/// [`RUN`] basic blocks, by a sweep over them.
pub fn run_of_steps(d: &Cuda, way: Way, map: Shape, emulator: &Emulator) {
    let gradient = if way == Way::Coded { Gradient::Coded } else { Gradient::Corrected };
    let spec = SweepSpec::new(Scheme::Euler, gradient);
    let stack = StackSpec {
        scheme: Scheme::Euler,
        depth: RUN,
        step_size: StepSize::OverDepth,
        map,
        keeps_statistics: true,
        keeps_masks: false,
        tied: false,
        second_moments: false,
        recipe: Recipe::default(),
        post_activation: false,
    };
    let ((mut stack, mut work, mut rates), _) = take(d, |arena| {
        Ok((Stack::<_, Basic>::new(arena, stack)?, Work::new(arena, &spec, stack, 0)?, Rates::new(arena)?))
    })
    .expect("memory");
    for (layer, (theta, running)) in stack.theta.iter_mut().zip(&mut stack.running).enumerate() {
        let place = BlockPlace { stage: 0, layer };
        Basic::initialise(d, Init::Plain, 1, place, theta, running).expect("initialise");
    }
    stack.velocity.iter_mut().flat_map(Tensors::<Cuda>::named_mut).for_each(|(_, v)| d.fill(0.0, v).expect("fill"));
    let mut seed = 1;
    [&mut work.x, &mut work.grad].into_iter().for_each(|map| uniform(d, &mut seed, 0.0, 1.0, map));
    rates.fill(d);
    let mut sweep = Sweep { d, spec: &spec, stack: &mut stack, work: &mut work };
    emulator.reset_counters().expect("the emulator answers");
    sweep.forward().expect("forward");
    sweep.backward(rates.sgd()).expect("backward");
}

/// A bottleneck, by the field's operations.
pub fn bottleneck_step(d: &Cuda, map: Shape, emulator: &Emulator) {
    type F = Bottleneck;
    let (operands, _) = take(d, |arena| {
        let mut state = || arena.tensor(Category::State, map);
        let states = [state()?, state()?, state()?];
        let mut theta = |category| <F as Field<Cuda>>::theta(arena, category, map);
        let thetas = [theta(Category::Parameters)?, theta(Category::Gradients)?, theta(Category::Optimiser)?];
        let stats = <F as Field<Cuda>>::stats(arena, Category::Statistics, map, false)?;
        let running = <F as Field<Cuda>>::running(arena, map)?;
        let cache = <F as Field<Cuda>>::cache(arena, Category::Scratch, map)?;
        let workspace = d.squared_distance_workspace(map);
        let scratch = <F as Field<Cuda>>::scratch(arena, map, workspace)?;
        let errors = arena.tensor(Category::Scratch, Shape::vector(4))?;
        Ok((states, thetas, stats, running, cache, scratch, errors, Rates::new(arena)?))
    })
    .expect("memory");
    let (states, thetas, mut stats, mut running, mut cache, mut scratch, mut errors, mut rates) = operands;
    let ([mut x, mut x_rec, mut grad], [mut theta, mut grad_theta, mut velocity]) = (states, thetas);
    F::initialise(d, Init::Plain, 1, BlockPlace { stage: 0, layer: 0 }, &mut theta, &mut running).expect("initialise");
    let mut seed = 1;
    [&mut x, &mut grad].into_iter().for_each(|map| uniform(d, &mut seed, 0.0, 1.0, map));
    velocity.named_mut().for_each(|(_, velocity)| d.fill(0.0, velocity).expect("fill"));
    rates.fill(d);
    emulator.reset_counters().expect("the emulator answers");
    let (stats, cache, scratch, x) = (&mut stats, &mut cache, &mut scratch, &mut x);
    F::euler_step(d, H, &theta, stats, Some(&mut running), x, cache, scratch).expect("euler_step");
    let (carry, errors) = (Carry::Correction, (&mut errors, 0));
    let (grad, grad_theta) = (&mut grad, &mut grad_theta);
    F::inverse_vjp(d, H, carry, &theta, stats, x, &mut x_rec, errors, cache, grad, grad_theta, scratch)
        .expect("inverse_vjp");
    F::sgd(d, rates.sgd(), grad_theta, &mut velocity, &mut theta).expect("sgd");
}

/// One way of a first block from its input to its output.
struct Branch {
    /// Weights, their gradients and velocities.
    thetas: [ChainTheta<Cuda>; 3],
    stats: ChainStats<Cuda>,
    running: ChainRunning<Cuda>,
    cache: ChainCache<Cuda>,
    scratch: ChainScratch<Cuda>,
    grad_x: Tensor<CudaBuffer>,
}

impl Branch {
    fn new(arena: &mut Arena<'_, Cuda>, layout: &Layout) -> rewind::Result<Branch> {
        let mut theta = |category| ChainTheta::new(arena, category, layout.clone());
        Ok(Branch {
            thetas: [theta(Category::Parameters)?, theta(Category::Gradients)?, theta(Category::Optimiser)?],
            stats: ChainStats::new(arena, Category::Statistics, layout, false)?,
            running: ChainRunning::new(arena, layout)?,
            cache: ChainCache::new(arena, Category::Saved, layout)?,
            scratch: ChainScratch::new(arena, layout)?,
            grad_x: arena.tensor(Category::State, layout.map(0))?,
        })
    }

    fn eval(&mut self, d: &Cuda, x: &Tensor<CudaBuffer>, workspace: &mut CudaBuffer) -> rewind::Result<()> {
        let Branch { thetas: [theta, ..], stats, running, cache, scratch, .. } = self;
        passes::eval(d, x, theta, stats, Normalise::Batch(Some(running)), cache, scratch, workspace)
    }

    fn backward(
        &mut self,
        d: &Cuda,
        x: &Tensor<CudaBuffer>,
        grad_y: &Tensor<CudaBuffer>,
        workspace: &mut CudaBuffer,
    ) -> rewind::Result<()> {
        let Branch { thetas: [theta, grad, _], stats, cache, scratch, grad_x, .. } = self;
        grad.named_mut().try_for_each(|(_, grad)| d.fill(0.0, grad))?;
        passes::vjp_outer(d, grad_y, 1.0, theta, stats, cache, scratch, workspace)?;
        passes::vjp_inner(d, x, theta, stats, cache, grad, scratch, workspace)?;
        passes::vjp_input(d, x, theta, stats, grad, scratch, Some(grad_x), workspace)
    }

    fn update(&mut self, d: &Cuda, sgd: Sgd<'_, CudaBuffer>) -> rewind::Result<()> {
        let [theta, grad, velocity] = &mut self.thetas;
        let moved = velocity.named_mut().zip(theta.named_mut());
        grad.named()
            .zip(moved)
            .try_for_each(|((_, grad), ((_, velocity), (_, theta)))| d.sgd(sgd, grad, velocity, theta))
    }
}

/// The block that begins a stage, as `net::first` runs it: both ways forward, y, and back.
pub fn first_step(d: &Cuda, map: Shape, channels: usize, stride: usize, emulator: &Emulator) {
    let layouts = Case { name: "", map, block: Block::First { channels, stride } }.layouts();
    let [main, shortcut] = &layouts[..] else { unreachable!("a first block has two ways") };
    let workspace = passes::workspace(d, main).max(passes::workspace(d, shortcut));
    let (operands, _) = take(d, |arena| {
        let mut state = |map| arena.tensor(Category::State, map);
        let states = [state(map)?, state(main.output())?, state(main.output())?, state(main.output())?];
        let branches = [Branch::new(arena, main)?, Branch::new(arena, shortcut)?];
        let workspace = arena.tensor(Category::Scratch, Shape::vector(workspace))?.buffer;
        Ok((states, branches, workspace, Rates::new(arena)?))
    })
    .expect("memory");
    let ([mut x, mut idle, mut y, mut grad], mut branches, mut workspace, mut rates) = operands;
    for (way, Branch { thetas: [theta, _, velocity], running, .. }) in branches.iter_mut().enumerate() {
        passes::initialise(d, 1, |conv| Draw::First(way, conv), 1.0, theta, running).expect("initialise");
        velocity.named_mut().for_each(|(_, velocity)| d.fill(0.0, velocity).expect("fill"));
    }
    let mut seed = 1;
    [&mut x, &mut grad].into_iter().for_each(|map| uniform(d, &mut seed, 0.0, 1.0, map));
    rates.fill(d);
    emulator.reset_counters().expect("the emulator answers");
    let workspace = &mut workspace;
    branches.iter_mut().for_each(|branch| branch.eval(d, &x, workspace).expect("eval"));
    let [main, shortcut] = &branches;
    passes::value(d, &shortcut.thetas[0], &shortcut.stats, &shortcut.cache, &mut idle).expect("value");
    passes::advance(d, &idle, 1.0, &main.thetas[0], &main.stats, &main.cache, &mut y).expect("advance");
    d.relu(&mut y).expect("relu");
    d.relu_grad(&y, &mut grad).expect("relu_grad");
    branches.iter_mut().for_each(|branch| branch.backward(d, &x, &grad, workspace).expect("backward"));
    let [main, shortcut] = &mut branches;
    d.axpby(1.0, &main.grad_x, 1.0, &mut shortcut.grad_x).expect("axpby");
    branches.iter_mut().for_each(|branch| branch.update(d, rates.sgd()).expect("update"));
}
