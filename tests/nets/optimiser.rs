//! The optimiser against PyTorch, and which parameters decay. `tests/golden/make_optimisers.py` made the numbers.

use std::path::Path;

use crate::support::{EPS_F32, assert_close, batch, read, small, staged, write};
use rewind::cpu::Cpu;
use rewind::device::prelude::*;
use rewind::device::{AdamWStep, Decay, DescentStep, Moved, SgdStep};
use rewind::field::{Basic, Bottleneck, Field};
use rewind::init::Init;
use rewind::memory::{Arena, Category, padded_bytes};
use rewind::net::{Body, Net, NetSpec, Stages};
use rewind::reference::Reference;
use rewind::scheme::Scheme;
use rewind::shape::Shape;
use rewind::sweep::{Gradient, SweepSpec, Update};
use rewind::tensor::Tensor;

const STEPS: usize = 10;
const NAMES: [&str; 2] = ["weight", "bias"];

fn golden() -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/optimisers.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("the golden numbers")).expect("JSON")
}

fn numbers(of: &serde_json::Value) -> Vec<f64> {
    of.as_array().expect("an array").iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn tensor<D: Device>(d: &D, values: &[f64]) -> Tensor<D::Buffer> {
    let mut arena = Arena::new(d, padded_bytes::<D::Real>(values.len())).expect("arena");
    let mut tensor = arena.tensor(Category::Scratch, Shape::vector(values.len())).expect("tensor");
    write(d, values, &mut tensor);
    tensor
}

/// The weight and the bias after ten steps.
fn ten_steps<D: Device>(d: &D, golden: &serde_json::Value, step: DescentStep) -> [Vec<f64>; 2] {
    let (lr, loss, mut count) = (tensor(d, &[step.lr()]), tensor(d, &[1.0, 0.0]), tensor(d, &[0.0; 3]));
    let mut theta = NAMES.map(|name| tensor(d, &numbers(&golden["start"][name])));
    let zeros = |theta: &Tensor<D::Buffer>| tensor(d, &vec![0.0; theta.shape().len()]);
    let (mut velocity, mut second) = (theta.each_ref().map(zeros), theta.each_ref().map(zeros));
    for i in 0..STEPS {
        let grads = NAMES.map(|name| tensor(d, &numbers(&golden["grads"][name][i])));
        let moments = velocity.iter_mut().zip(&mut second);
        let both = theta.iter_mut().zip(moments).zip(&grads).zip([true, false]);
        let mut moved = both.map(|(((theta, (velocity, second)), grad), is_weight)| Moved {
            is_weight,
            grad,
            velocity,
            second: Some(second),
            theta,
        });
        if let DescentStep::AdamW(AdamWStep { betas, .. }) = step {
            d.count_step(betas, &loss, &mut count).expect("count_step");
        }
        let step = step.on_device(&lr, Some(&count), &loss).expect("a count");
        d.descend_all(step, &mut moved).expect("descend_all");
    }
    theta.each_ref().map(|theta| read(d, theta))
}

#[test]
fn sgd_takes_pytorchs_steps() {
    let golden = golden();
    for (case, nesterov) in [("sgd", false), ("nesterov", true)] {
        let step = SgdStep { nesterov, weight_decay: 0.05, decay: Decay::Weights, ..SgdStep::PAPER };
        let expected = NAMES.map(|name| numbers(&golden["after"][case][name]));
        for (found, expected) in ten_steps(&Reference, &golden, step.into()).iter().zip(&expected) {
            // f64 on both sides; the momentum adds up ten steps of a few roundings each
            assert_close(case, found, expected, |_| 1e-13);
        }
        // Gradients are below 4 and velocities below 20. A step rounds the velocity five times at most, of which the momentum makes less
        // than fifty in all, and theta three times; 0.1 of the velocity's error goes to theta in each step.
        let bound = EPS_F32 * STEPS as f64 * (0.1 * 50.0 * 20.0 + 3.0 * 8.0);
        for (found, expected) in ten_steps(&Cpu::new(Some(1)).expect("cpu"), &golden, step.into()).iter().zip(&expected)
        {
            assert_close(&format!("{case} in f32"), found, expected, |_| bound);
        }
    }
}

#[test]
fn adamw_takes_pytorchs_steps() {
    let golden = golden();
    let other = AdamWStep { lr: 0.02, betas: [0.8, 0.95], eps: 1e-3, ..AdamWStep::PYTORCH };
    for (case, step) in [("adamw", AdamWStep { lr: 0.01, ..AdamWStep::PYTORCH }), ("adamw, other numbers", other)] {
        let step = AdamWStep { weight_decay: 0.05, decay: Decay::Weights, ..step };
        let expected = NAMES.map(|name| numbers(&golden["after"][case][name]));
        for (found, expected) in ten_steps(&Reference, &golden, step.into()).iter().zip(&expected) {
            // as above; 1 - 0.999^t has three digits less than 1 has
            assert_close(case, found, expected, |_| 1e-13);
        }
        // Gradients are of order 1, so that a step is at most some rates long: the mean is off by ten roundings, of 4 at most, which the
        // root of squares may be an eighth of; it, the corrections, root, quotient and decay add some ten roundings more.
        let bound = EPS_F32 * STEPS as f64 * (step.lr * 8.0 * (10.0 * 4.0 + 10.0) + 3.0 * 4.0);
        for (found, expected) in ten_steps(&Cpu::new(Some(1)).expect("cpu"), &golden, step.into()).iter().zip(&expected)
        {
            assert_close(&format!("{case} in f32"), found, expected, |_| bound);
        }
    }
}

#[test]
fn adamw_needs_a_net_with_memory_for_it() {
    let d = &Reference;
    let spec = small(SweepSpec::new(Scheme::Euler, Gradient::Coded), 2, 4, 3);
    let mut net = Net::<_, Basic>::build(d, spec, Init::Paper, 1).expect("net");
    let refused = net.train_step(d, AdamWStep::PYTORCH).expect_err("no memory for it").to_string();
    assert!(refused.contains("`second_moments`"), "{refused}");
    let of = |second_moments| Net::<_, Basic>::plan(d, &NetSpec { second_moments, ..spec }).expect("plan");
    let (without, with) = (of(false), of(true));
    // SGD's velocities and rate, and AdamW's second moments and count
    let (sgd, both) = (without.of(Category::Optimiser), with.of(Category::Optimiser));
    assert_eq!(both, 2 * sgd, "the rate and the count are padded to the same size");
    assert_eq!(with.total() - without.total(), both - sgd);
}

#[test]
fn a_loss_that_is_not_finite_is_no_step_of_adamw() {
    let d = &Reference;
    let spec = NetSpec { second_moments: true, ..small(SweepSpec::new(Scheme::Euler, Gradient::Coded), 2, 4, 3) };
    let mut net = Net::<_, Basic>::build(d, spec, Init::Paper, 1).expect("net");
    let labels: Vec<f64> = (0..spec.batch).map(|i| (i % spec.classes) as f64).collect();
    let (images, broken) = (crate::support::uniform(7, spec.images().len()), vec![f64::NAN; spec.images().len()]);
    let all = |net: &Net<Reference>| -> Vec<_> {
        let kept = net.checkpointed().into_iter().filter(|(name, _)| !name.contains("running"));
        kept.map(|(name, tensor)| (name, read(d, tensor))).collect()
    };
    net.load(d, &images, &labels).expect("load");
    net.train_step(d, AdamWStep::PYTORCH).expect("step");
    let before = all(&net);
    assert_eq!(before.last().map(|(name, count)| (&name[..], count[0])), Some(("optimiser.count", 1.0)));
    net.load(d, &broken, &labels).expect("load");
    net.train_step(d, AdamWStep::PYTORCH).expect("step");
    assert_eq!(all(&net), before);
}

#[test]
fn in_the_sweep_and_behind_it_adamw_leaves_the_same_bits() {
    let d = &Cpu::new(Some(2)).expect("cpu");
    let of = |update, gradient| {
        let sweep = SweepSpec { update, ..SweepSpec::new(Scheme::Euler, gradient) };
        let spec = NetSpec { sweep, second_moments: true, ..small(sweep, 3, 5, 3) };
        let mut net = Net::<_, Basic>::build(d, spec, Init::Paper, 1).expect("net");
        batch(&mut net, d, 3);
        for _ in 0..3 {
            net.train_step(d, AdamWStep::PYTORCH).expect("step");
        }
        net.checkpointed().into_iter().map(|(name, tensor)| (name, read(d, tensor))).collect::<Vec<_>>()
    };
    for gradient in [Gradient::Coded, Gradient::Backprop] {
        assert_eq!(of(Update::InSweep, gradient), of(Update::After, gradient), "{gradient}");
    }
}

/// The parameters after a step from the same weights.
fn after_a_step<F: Field<Reference>>(spec: NetSpec, step: SgdStep) -> Vec<(String, Vec<f64>)> {
    let d = &Reference;
    let mut net = Net::<_, F>::build(d, spec, Init::Paper, 1).expect("net");
    let images: Vec<f64> = crate::support::uniform(7, spec.images().len());
    let labels: Vec<f64> = (0..spec.batch).map(|i| (i % spec.classes) as f64).collect();
    net.load(d, &images, &labels).expect("load");
    net.train_step(d, step).expect("step");
    net.checkpointed().into_iter().map(|(name, tensor)| (name, read(d, tensor))).collect()
}

fn weights_alone_decay<F: Field<Reference>>(spec: NetSpec) {
    let of = |weight_decay, decay| after_a_step::<F>(spec, SgdStep { weight_decay, decay, ..SgdStep::PAPER });
    let (all, none, weights) = (of(0.5, Decay::All), of(0.0, Decay::All), of(0.5, Decay::Weights));
    let (mut decayed, mut left) = (0, 0);
    for (((name, found), (_, all)), (_, none)) in weights.iter().zip(&all).zip(&none) {
        let name = name.strip_prefix("velocity.").unwrap_or(name);
        if name.contains("running") {
            continue;
        }
        // by their modules' names, as a recipe in PyTorch might tell them apart
        let is_weight = name == "head.weight" || (name.contains("conv") && name.ends_with(".weight"));
        *(if is_weight { &mut decayed } else { &mut left }) += 1;
        assert_eq!(found, if is_weight { all } else { none }, "{name}");
        assert!(!is_weight || all != none, "{name} has a decay to be seen");
    }
    assert!(decayed > 4 && left > 4, "{decayed} weights and {left} others");
}

#[test]
fn weights_alone_decay_if_asked_for() {
    let sweep = |gradient| SweepSpec::new(Scheme::Euler, gradient);
    weights_alone_decay::<Basic>(small(sweep(Gradient::Backprop), 2, 4, 3));
    let in_sweep = NetSpec { sweep: sweep(Gradient::Coded), ..small(sweep(Gradient::Coded), 2, 4, 3) };
    weights_alone_decay::<Basic>(in_sweep);
    let stages = Stages::new(&[1, 2], &[8, 12]).expect("stages");
    let body = Body { stages: Some(stages), ..Body::default() };
    weights_alone_decay::<Bottleneck>(staged(body, sweep(Gradient::Coded), 2, 3));
}
