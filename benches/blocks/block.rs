//! One block of a sweep, forward, and backward in every gradient mode: the time of a sweep over 8 steps, divided by 8, so
//! that what a mode shares between blocks (a segment's stored state) is in it. The update of the
//! block's weights is part of the backward, as in training.

use std::time::{Duration, Instant};

use clap::ValueEnum;
use rewind::Result;
use rewind::device::{Device, SgdStep};
use rewind::init::Init;
use rewind::memory::{Arena, Category};
use rewind::net::{Net, NetSpec, Stage};
use rewind::scheme::Scheme;
use rewind::shape::{Conv, Shape};
use rewind::sweep::{self, Gradient, SweepSpec};
use rewind::tensor::Tensor;

use crate::bed::uniform;
use crate::harness::{Bench, MAPS, flop, label};

const STEPS: usize = 8;

/// Evaluations of f that a sweep over so many steps asks for, a VJP counted as two: forward, and backward.
pub fn evaluations(spec: &SweepSpec, steps: u64) -> [u64; 2] {
    let backward = match spec.gradient {
        Gradient::Backprop => 2 * steps,
        Gradient::Checkpoint => 3 * steps,
        Gradient::Adjoint | Gradient::Corrected => 4 * steps,
        Gradient::Coded => 3 * steps,
        // so shallow a stack starts coded
        Gradient::Auto => 3 * steps,
    };
    [steps, backward].map(|n| n * spec.scheme.stages() as u64)
}

/// A stack of blocks with what its sweep starts from.
struct Sweep<D: Device> {
    net: Net<D>,
    x_0: Vec<f32>,
    grad: Vec<f32>,
    lr: Tensor<D::Buffer>,
    loss: Tensor<D::Buffer>,
}

impl<D: Device<Real = f32>> Sweep<D> {
    fn new(d: &D, sweep: SweepSpec, map: Shape) -> Self {
        let depth = STEPS + sweep.scheme.stages() - 1;
        let image = (map.h() - 1) * Conv::STEM_5X5.stride + Conv::STEM_5X5.kernel - 2 * Conv::STEM_5X5.padding;
        let spec = NetSpec { depth, channels: map.c(), batch: map.n(), image, sweep, ..NetSpec::default() };
        assert_eq!(spec.stem_map(), map);
        let mut net = Net::new(d, spec, Init::Paper, 0).expect("memory");
        // f is 0 in a fresh net
        for theta in &mut net.stages[0].stack.theta {
            d.fill(0.5, &mut theta.bn2.gamma).expect("fill");
        }
        let mut seed = 1;
        let mut values = || {
            uniform(d, &mut seed, 0.0, 1.0, &mut net.stages[0].work.x);
            let mut values = vec![0.0; map.len()];
            d.download(&net.stages[0].work.x, &mut values).expect("download");
            values
        };
        let (x_0, grad) = (values(), values());
        let mut arena = Arena::new(d, 128).expect("memory");
        let mut zeros = |len| {
            let mut tensor = arena.tensor(Category::Scratch, Shape::vector(len)).expect("room");
            d.fill(0.0, &mut tensor).expect("fill");
            tensor
        };
        let (lr, loss) = (zeros(1), zeros(2));
        Self { net, x_0, grad, lr, loss }
    }

    /// Sweeps forward from x_0 and back, with weights that stay what they are, and gives the seconds of both.
    fn run(&mut self, d: &D) -> Result<[Duration; 2]> {
        let Self { net, x_0, grad, lr, loss } = self;
        let spec = net.spec().sweep;
        let timed = |run: &mut dyn FnMut() -> Result<()>| {
            d.synchronize()?;
            let start = Instant::now();
            run()?;
            d.synchronize()?;
            Ok(start.elapsed())
        };
        d.upload(x_0, &mut net.stages[0].work.x)?;
        let forward = timed(&mut || {
            let Stage { stack, work, .. } = &mut net.stages[0];
            sweep::Sweep { d, spec: &spec, stack, work }.forward()
        })?;
        d.upload(grad, &mut net.stages[0].work.grad)?;
        let sgd = SgdStep::PAPER.on_device(lr, loss);
        let backward = timed(&mut || {
            let Stage { stack, work, .. } = &mut net.stages[0];
            sweep::Sweep { d, spec: &spec, stack, work }.backward(sgd)
        })?;
        Ok([forward, backward])
    }
}

pub fn all<D: Device<Real = f32>>(bench: &mut Bench<'_, D>) {
    for scheme in [Scheme::Euler, Scheme::Heun] {
        direction(bench, &format!("block_forward_{scheme}"), 0, SweepSpec::new(scheme, Gradient::Corrected));
        for gradient in Gradient::value_variants() {
            let spec = SweepSpec::new(scheme, *gradient);
            direction(bench, &format!("block_backward_{scheme}_{gradient}"), 1, spec);
        }
    }
}

/// Measures the sweep forward (0) or backward (1).
fn direction<D: Device<Real = f32>>(bench: &mut Bench<'_, D>, name: &str, which: usize, spec: SweepSpec) {
    // a sweep at the largest map takes half a second, which would be most of the time of all benchmarks
    for map in [MAPS[0], MAPS[1]] {
        let evaluation = 2 * Conv::SAME_3X3.flop(map, map.c());
        let throughput = flop(evaluations(&spec, STEPS as u64)[which] * evaluation / STEPS as u64);
        let run = &mut |d: &D, sweep: &mut Sweep<D>, repeats| {
            let mut seconds = Duration::ZERO;
            for _ in 0..repeats {
                seconds += sweep.run(d)?[which];
            }
            Ok(seconds / STEPS as u32)
        };
        bench.timed(name, "", label(map), throughput, |d| Sweep::new(d, spec, map), run);
    }
}
