//! A whole training step of the default net at depth 16.

use clap::ValueEnum;
use rewind::device::Device;
use rewind::net::NetSpec;
use rewind::scheme::Scheme;
use rewind::shape::Conv;
use rewind::sweep::{Gradient, SweepSpec};

use crate::block::evaluations;
use crate::harness::{Bench, flop, label};
use crate::training::{Training, default_net};

const DEPTH: usize = 16;

/// Multiply-adds of the convolutions, times two.
fn step_flop(spec: &NetSpec) -> u64 {
    let map = spec.stem_map();
    let evaluation = 2 * Conv::SAME_3X3.flop(map, map.c());
    let steps = spec.sweep.scheme.steps(spec.depth) as u64;
    let stem = 2 * Conv::STEM_5X5.flop(spec.images(), spec.channels);
    stem + evaluations(&spec.sweep, steps).into_iter().sum::<u64>() * evaluation
}

pub fn all<D: Device<Real = f32>>(bench: &mut Bench<'_, D>) {
    for scheme in [Scheme::Euler, Scheme::Heun] {
        for gradient in Gradient::value_variants() {
            let spec = default_net(DEPTH, SweepSpec::new(scheme, *gradient));
            let shape = format!("{}_depth{DEPTH}", label(spec.stem_map()));
            let name = format!("train_step_{scheme}_{gradient}");
            let prepare = |d: &D| Training::new(d, spec);
            bench.operation(&name, "", shape, flop(step_flop(&spec)), prepare, &mut |d, training: &mut Training<D>| {
                training.step(d).map(drop)
            });
        }
    }
}
