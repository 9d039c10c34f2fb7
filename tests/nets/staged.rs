//! Nets of several stages, and nets whose blocks share one theta, on the f64 reference: gradients against central differences,
//! every mode against backprop, updates, memory and names; and the CPU against the reference.

use crate::support::{
    EPS_F32, GRADIENTS, NO_SGD, SCHEMES, all_sweeps, assert_close, numbered, read, small, staged, uniform, write,
};
use rewind::code::{Bits, CodedPass};
use rewind::cpu::Cpu;
use rewind::data::EpochSpec;
use rewind::device::SgdStep;
use rewind::device::prelude::*;
use rewind::field::{Basic, Bottleneck, Field, PreActivation, Tensors};
use rewind::init::Init;
use rewind::net::{Body, Net, NetSpec, Pass, Stages, Stem};
use rewind::reference::Reference;
use rewind::scheme::{Scheme, StepSize};
use rewind::sweep::{Gradient, Masks, SweepSpec, Update};
use rewind_train::config::Block;

const D: &Reference = &Reference;
const SGD: SgdStep = SgdStep::PAPER;

/// The bodies that are tried: staged nets of all blocks, those of published nets tied or not, and the paper's net tied.
fn bodies(blocks: &[usize]) -> Vec<(Block, Body)> {
    let stages = Stages::new(blocks, &[8, 12, 16][..blocks.len()]).expect("stages");
    let mut all = Vec::new();
    for block in [Block::Basic, Block::Bottleneck] {
        for tied in [false, true] {
            all.push((block, Body { tied, stages: Some(stages), ..Body::default() }));
        }
    }
    all.push((Block::PreActivation, Body { stages: Some(stages), ..Body::default() }));
    all.push((Block::Basic, Body { tied: true, ..Body::default() }));
    all
}

/// Nets behind the stem of a ResNet for ImageNet: one stack, and stages of more channels than the stem has.
fn behind_max_pooling(sweep: SweepSpec, blocks: usize) -> [(Block, NetSpec); 2] {
    let stages = Some(Stages::new(&[blocks, blocks], &[8, 12]).expect("stages"));
    let wide = Body { stages, stem_width: Some(5), ..Body::default() };
    // one stack's map of 9 x 9, and 5 x 5 after the second stage
    [(Block::Basic, Body::default()), (Block::Bottleneck, wide)]
        .map(|(block, body)| (block, NetSpec { stem: Stem::Pooled7x7, image: 33, ..staged(body, sweep, blocks, 3) }))
}

/// Stages with a ReLU behind every sum, as published ResNets have them.
fn post_activation(sweep: SweepSpec, blocks: usize, batch: usize) -> [(Block, NetSpec); 2] {
    let stages = Some(Stages::new(&[blocks, blocks], &[8, 12]).expect("stages"));
    let body = Body { stages, post_activation: true, ..Body::default() };
    [Block::Basic, Block::Bottleneck]
        .map(|block| (block, NetSpec { step_size: StepSize::One, ..staged(body, sweep, blocks, batch) }))
}

/// What a net of these residual functions gives.
trait Use {
    type Given;
    fn on<D: Device, F: Field<D>>(self, d: &D, net: Net<D, F>) -> Self::Given;
}

fn with<D: Device, U: Use>(d: &D, block: Block, spec: NetSpec, of: U) -> U::Given {
    match block {
        Block::Basic => of.on(d, alive::<D, Basic>(d, spec)),
        Block::Bottleneck => of.on(d, alive::<D, Bottleneck>(d, spec)),
        Block::PreActivation => of.on(d, alive::<D, PreActivation>(d, spec)),
    }
}

/// A net with a batch, all of whose gradients are alive.
fn alive<D: Device, F: Field<D>>(d: &D, spec: NetSpec) -> Net<D, F> {
    let mut net = Net::<D, F>::build(d, spec, Init::Plain, 1).expect("net");
    for (name, tensor) in net.checkpointed_mut() {
        if name.contains("bn") && !name.contains("running") && !name.starts_with("velocity") {
            let shift = if name.ends_with("weight") { 1.0 } else { 0.0 };
            let values: Vec<f64> = uniform(seed(&name), tensor.shape().len()).iter().map(|v| shift + 0.3 * v).collect();
            write(d, &values, tensor);
        }
    }
    load(d, &mut net, spec.batch);
    net
}

/// By name, so that a tied net has the values of the first block of an untied one.
fn seed(name: &str) -> u64 {
    name.replace("shared", "0").bytes().fold(7, |seed, byte| (31 * seed + u64::from(byte)) % 1_000_003)
}

fn load<D: Device, F: Field<D>>(d: &D, net: &mut Net<D, F>, n: usize) {
    let len = net.spec().images().with_batch(n).len();
    let images = crate::support::rounded::<D>(&uniform(7, len));
    let labels: Vec<f64> = (0..n).map(|i| (i % net.spec().classes) as f64).collect();
    net.load(d, &images, &crate::support::rounded::<D>(&labels)).expect("load");
}

type Named = Vec<(String, Vec<f64>)>;

fn read_all<D: Device>(d: &D, tensors: Vec<(String, &rewind::tensor::Tensor<D::Buffer>)>) -> Named {
    tensors.into_iter().map(|(name, tensor)| (name, read(d, tensor))).collect()
}

/// All gradients, the loss, and the drift.
struct Gradients;

impl Use for Gradients {
    type Given = (Named, f64, Option<f64>);

    fn on<D: Device, F: Field<D>>(self, d: &D, mut net: Net<D, F>) -> Self::Given {
        let loss = net.forward(d).expect("forward").loss;
        let drift = net.backward(d, NO_SGD).expect("backward");
        (read_all(d, net.gradients()), loss, drift.stem)
    }
}

/// Everything that a checkpoint holds after three steps, one of a smaller batch.
struct Trained;

impl Use for Trained {
    type Given = Named;

    fn on<D: Device, F: Field<D>>(self, d: &D, mut net: Net<D, F>) -> Named {
        let batch = net.spec().batch;
        for n in [batch, batch - 1, batch] {
            load(d, &mut net, n);
            let (result, _) = net.train_step(d, SGD).expect("step");
            assert!(result.loss.is_finite());
        }
        read_all(d, net.checkpointed())
    }
}

/// `|a - b| / |b|` over everything.
fn error(a: &Named, b: &Named) -> f64 {
    let pairs = || a.iter().zip(b).flat_map(|((_, a), (_, b))| a.iter().zip(b));
    let (distance, norm) = pairs().fold((0.0, 0.0), |(d, n), (a, b)| (d + (a - b) * (a - b), n + b * b));
    f64::sqrt(distance / norm)
}

/// Central differences of the loss along a direction in every parameter tensor.
struct Differences;

impl Use for Differences {
    type Given = ();

    fn on<D: Device, F: Field<D>>(self, d: &D, mut net: Net<D, F>) {
        net.forward(d).expect("forward");
        net.backward(d, NO_SGD).expect("backward");
        let what = net.spec().body;
        for (index, (name, grad)) in read_all(d, net.gradients()).into_iter().enumerate() {
            let direction = uniform(1000 + index as u64, grad.len());
            let slope: f64 = grad.iter().zip(&direction).map(|(g, v)| g * v).sum();
            let start = {
                let tensors = net.checkpointed();
                read(d, tensors.iter().find(|(other, _)| *other == name).expect("a parameter").1)
            };
            let mut loss_at = |by: f64| {
                let moved: Vec<f64> = start.iter().zip(&direction).map(|(x, v)| x + by * v).collect();
                let mut tensors = net.checkpointed_mut();
                write(d, &moved, tensors.iter_mut().find(|(other, _)| *other == name).expect("a parameter").1);
                drop(tensors);
                net.forward(d).expect("forward").loss
            };
            let mut off = |delta: f64| {
                let difference = (loss_at(delta) - loss_at(-delta)) / (2.0 * delta);
                (difference, (slope - difference).abs() / (1.0 + slope.abs()))
            };
            // of some ten thousand ReLUs one may open between the two points and bend the loss; then they come closer, where
            // rounding, 1e-16 times some hundred, is more of the difference
            let (wide, narrow) = (off(1e-6), off(1e-8));
            assert!(
                wide.1 < 1e-6 || narrow.1 < 2e-5,
                "{name} of {what:?}: {slope}, by differences {wide:?} {narrow:?}"
            );
            off(0.0);
        }
    }
}

#[test]
fn backprop_agrees_with_central_differences() {
    for scheme in SCHEMES {
        for (block, body) in bodies(&[2, 3]) {
            with(D, block, staged(body, SweepSpec::new(scheme, Gradient::Backprop), 3, 4), Differences);
        }
    }
    let sweep = SweepSpec::new(Scheme::Euler, Gradient::Backprop);
    for (block, spec) in behind_max_pooling(sweep, 2).into_iter().chain(post_activation(sweep, 2, 4)) {
        with(D, block, spec, Differences);
    }
}

#[test]
fn a_relu_behind_every_sum_goes_back_with_stored_states_or_their_codes() {
    let of = |sweep| post_activation(sweep, 4, 3).map(|(block, spec)| with(D, block, spec, Gradients));
    let mode = |gradient| SweepSpec::new(Scheme::Euler, gradient);
    let exact = of(mode(Gradient::Backprop));
    for checkpoint_every in [None, Some(1), Some(3)] {
        let again = of(SweepSpec { checkpoint_every, ..mode(Gradient::Checkpoint) });
        assert!(again.iter().zip(&exact).all(|(again, exact)| again.0 == exact.0), "{checkpoint_every:?}");
    }
    // what a code leaves out moves an input of a ReLU inside a block past 0 now and then; the loss is the forward pass's own
    let coded = [Bits::Two, Bits::Four, Bits::Eight].map(|bits| of(SweepSpec { bits, ..mode(Gradient::Coded) }));
    for block in 0..exact.len() {
        let errors = coded.each_ref().map(|of| error(&of[block].0, &exact[block].0));
        println!("{errors:?}");
        assert!(errors[2] > 1e-9 && errors[2] < errors[1] / 3.0 && errors[1] < errors[0], "{errors:?}");
        assert!(errors[2] < 0.1, "{errors:?}");
        for (_, loss, drift) in coded.each_ref().map(|of| &of[block]) {
            assert!(*loss == exact[block].1 && drift.is_some_and(|drift| drift > 0.0 && drift < 0.5), "{drift:?}");
        }
    }
}

#[test]
fn a_relu_behind_every_sum_refuses_what_cannot_go_back() {
    let refused = |sweep| {
        let [(_, spec), _] = post_activation(sweep, 4, 2);
        Net::<Reference, Basic>::plan(D, &spec).expect_err("a refusal").to_string()
    };
    let mode = |gradient| SweepSpec::new(Scheme::Euler, gradient);
    for gradient in [Gradient::Adjoint, Gradient::Corrected, Gradient::Auto] {
        assert!(refused(mode(gradient)).contains("no reverse step undoes a ReLU behind the sum"));
    }
    let altered = SweepSpec { coded_pass: CodedPass::Altered, ..mode(Gradient::Coded) };
    assert!(refused(altered).contains("`coded_pass` altered"));
    assert!(refused(SweepSpec { masks: Masks::Saved, ..mode(Gradient::Coded) }).contains("use `masks` recomputed"));
    assert!(refused(SweepSpec::new(Scheme::Heun, Gradient::Backprop)).contains("`scheme` heun"));
}

#[test]
fn every_mode_comes_to_backprop() {
    for scheme in SCHEMES {
        for (block, body) in bodies(&[12, 12]) {
            let of = |sweep| with(D, block, staged(body, sweep, 12, 3), Gradients);
            let (exact, _, none) = of(SweepSpec::new(scheme, Gradient::Backprop));
            assert_eq!(none, None);
            for gradient in GRADIENTS {
                let sweep = SweepSpec::new(scheme, gradient);
                let what = format!("{body:?} {scheme} {gradient}");
                if !gradient.reconstructs() {
                    assert!(of(sweep).0 == exact, "{what}");
                    continue;
                }
                if gradient.codes() {
                    let near = error(&of(sweep).0, &exact);
                    assert!(near > 1e-9 && near < 0.5, "{what}: {near}");
                    let coded = SweepSpec { gradient: Gradient::Coded, coded_pass: CodedPass::Altered, ..sweep };
                    let (ran, _, drift) = of(coded);
                    assert_eq!(drift, Some(0.0), "{what}");
                    assert!(ran == of(SweepSpec { anchors: Some(1), ..coded }).0, "{what}");
                    continue;
                }
                let errors = [0, 1, 60].map(|fixed_point| {
                    let (found, _, drift) = of(SweepSpec { fixed_point, ..sweep });
                    (error(&found, &exact), drift.expect("a drift"))
                });
                println!("{what}: {errors:?}");
                assert!(errors[0].0 > 1e-9 && errors[1].1 < errors[0].1, "{what}: {errors:?}");
                // each pass contracts by h Lip(f), below two thirds here: 3e-11, then what lies behind amplifies it
                assert!(errors[2].0 < 1e-9 && errors[2].1 < 1e-9, "{what}: {errors:?}");
            }
            let anchored = of(SweepSpec { anchors: Some(1), ..SweepSpec::new(scheme, Gradient::Adjoint) });
            let plain = of(SweepSpec::new(scheme, Gradient::Adjoint));
            assert!(error(&anchored.0, &exact) < error(&plain.0, &exact), "{body:?} {scheme}");
        }
    }
}

#[test]
fn modes_come_to_backprop_behind_max_pooling() {
    let of = |sweep| behind_max_pooling(sweep, 12).map(|(block, spec)| with(D, block, spec, Gradients));
    let exact = of(SweepSpec::new(Scheme::Euler, Gradient::Backprop));
    let rebuilt = of(SweepSpec { fixed_point: 60, ..SweepSpec::new(Scheme::Euler, Gradient::Corrected) });
    let altered = SweepSpec { coded_pass: CodedPass::Altered, ..SweepSpec::new(Scheme::Euler, Gradient::Coded) };
    for (exact, (found, _, drift)) in exact.iter().zip(rebuilt) {
        assert!(error(&found, &exact.0) < 1e-9 && drift.is_some_and(|drift| drift < 1e-9), "{drift:?}");
    }
    for (exact, (found, _, drift)) in exact.iter().zip(of(altered)) {
        assert!(error(&found, &exact.0) < 0.5 && drift == Some(0.0), "{drift:?}");
    }
}

#[test]
fn updates_in_the_sweep_give_the_bits_of_updates_after_it() {
    for gradient in [Gradient::Backprop, Gradient::Checkpoint, Gradient::Coded] {
        for (block, spec) in post_activation(SweepSpec::new(Scheme::Euler, gradient), 3, 4) {
            let sweep = SweepSpec { update: Update::InSweep, ..spec.sweep };
            let expected = with(D, block, spec, Trained);
            assert!(with(D, block, NetSpec { sweep, ..spec }, Trained) == expected, "{block} {gradient}");
        }
    }
    let bodies = bodies(&[2, 3]);
    for (b, (block, body)) in bodies.iter().copied().enumerate() {
        // the first of them by every sweep, the others by every sixth in turn
        let own = |at: usize| b == 0 || at % bodies.len() == b;
        let sweeps = all_sweeps().into_iter().filter(|sweep| sweep.update == Update::InSweep).enumerate();
        for sweep in sweeps.filter(|(at, _)| own(*at)).map(|(_, sweep)| sweep) {
            let spec = NetSpec { sweep, ..staged(body, sweep, 3, 4) };
            let after = SweepSpec { update: Update::After, ..sweep };
            let expected = with(D, block, NetSpec { sweep: after, ..spec }, Trained);
            assert!(expected.iter().all(|(_, values)| values.iter().all(|v| v.is_finite())), "{sweep:?}");
            assert!(with(D, block, spec, Trained) == expected, "{block} {body:?} {sweep:?}");
        }
    }
}

#[test]
fn the_plan_is_what_is_taken_and_flat_in_the_blocks_of_a_stage() {
    struct Memory;
    impl Use for Memory {
        type Given = u64;
        fn on<D: Device, F: Field<D>>(self, d: &D, net: Net<D, F>) -> u64 {
            assert_eq!(net.memory(), &Net::<D, F>::plan(d, net.spec()).expect("plan"), "{:?}", net.spec());
            net.memory().activations()
        }
    }
    for sweep in all_sweeps() {
        for ((block, shallow), (_, deep)) in bodies(&[2, 3]).into_iter().zip(bodies(&[9, 30])) {
            // 2 to 5 blocks per stage, and 9 to 41
            let specs =
                [(shallow, 4), (deep, 40)].map(|(body, depth)| NetSpec { sweep, ..staged(body, sweep, depth, 3) });
            let [few, many] = specs.map(|spec| with(D, block, spec, Memory));
            let fewest = specs[0].stages().iter().map(|stage| stage.stack.depth).min().expect("a net has a stage");
            let coded = sweep.stored_codes(9) > sweep.stored_codes(fewest);
            let flat = sweep.gradient.reconstructs() && sweep.anchors.is_none() && !coded && !sweep.keeps_masks();
            assert_eq!(few == many, flat, "{block} {shallow:?} {sweep:?}");
        }
    }
}

#[test]
fn a_tied_gradient_is_the_sum_of_the_untied_ones() {
    /// The gradients of a net whose blocks have the weights of the first.
    struct Equal;
    impl Use for Equal {
        type Given = Named;
        fn on<D: Device, F: Field<D>>(self, d: &D, mut net: Net<D, F>) -> Named {
            for stage in &mut net.stages {
                let first: Vec<_> = stage.stack.theta[0].named().map(|(_, tensor)| read(d, tensor)).collect();
                for theta in &mut stage.stack.theta {
                    theta.named_mut().zip(&first).for_each(|((_, tensor), values)| write(d, values, tensor));
                }
            }
            net.forward(d).expect("forward");
            net.backward(d, NO_SGD).expect("backward");
            read_all(d, net.gradients())
        }
    }
    for scheme in SCHEMES {
        for gradient in GRADIENTS {
            for (block, tied) in bodies(&[4, 3]).into_iter().filter(|(_, body)| body.tied) {
                let of = |body| with(D, block, staged(body, SweepSpec::new(scheme, gradient), 5, 4), Equal);
                let (shared, own) = (of(tied), of(Body { tied: false, ..tied }));
                for (name, found) in &shared {
                    let Some((stage, tensor)) = name.split_once("blocks.shared.") else { continue };
                    let mut sum = vec![0.0; found.len()];
                    let blocks = own.iter().filter(|(other, _)| {
                        other.starts_with(&format!("{stage}blocks.")) && other.ends_with(&format!(".{tensor}"))
                    });
                    blocks.for_each(|(_, values)| sum.iter_mut().zip(values).for_each(|(sum, v)| *sum += v));
                    let largest = sum.iter().fold(0.0f64, |a, b| a.max(b.abs()));
                    assert_close(&format!("{name} {block} {tied:?} {scheme} {gradient}"), found, &sum, |_| {
                        1e-12 * (largest + 1.0)
                    });
                }
            }
        }
    }
}

#[test]
fn tensors_have_the_names_that_are_documented() {
    struct Names;
    impl Use for Names {
        type Given = Vec<String>;
        fn on<D: Device, F: Field<D>>(self, _: &D, mut net: Net<D, F>) -> Vec<String> {
            let names: Vec<String> = net.checkpointed().into_iter().map(|(name, _)| name).collect();
            let mut other: Vec<String> = net.checkpointed_mut().into_iter().map(|(name, _)| name).collect();
            let mut sorted = names.clone();
            sorted.sort();
            other.sort();
            assert_eq!(sorted, other);
            sorted.dedup();
            assert_eq!(sorted.len(), names.len(), "no name comes twice");
            names
        }
    }
    let sweep = SweepSpec::new(Scheme::Euler, Gradient::Corrected);
    let names = bodies(&[2, 2]).into_iter().map(|(block, body)| with(D, block, staged(body, sweep, 3, 2), Names));
    let expected: [&[&str]; 6] = [
        &["stages.0.first.conv2.weight", "stages.1.shortcut.bn1.running_mean", "stages.1.blocks.1.bn2.bias"],
        &[
            "stages.0.blocks.shared.conv1.weight",
            "stages.0.blocks.1.bn1.running_var",
            "velocity.stages.1.first.bn1.bias",
        ],
        &["stages.1.first.conv3.weight", "stages.0.blocks.1.conv3.weight", "velocity.stages.1.shortcut.conv1.weight"],
        &["stages.1.blocks.shared.bn3.weight", "stages.1.blocks.1.bn3.running_var"],
        &["stages.0.first.bn1.weight", "stages.1.shortcut.conv1.weight", "velocity.stages.1.blocks.1.conv2.weight"],
        &["blocks.shared.conv1.weight", "blocks.2.bn2.running_var", "velocity.blocks.shared.bn1.weight"],
    ];
    for (names, expected) in names.zip(expected) {
        for name in expected {
            assert!(names.iter().any(|other| other == name), "{name} is not among {names:?}");
        }
        assert!(!names.iter().any(|name| name.starts_with("stages.0.shortcut")), "the first stage changes no shape");
    }
}

#[test]
fn the_first_place_that_is_not_finite_is_named() {
    let sweep = SweepSpec::new(Scheme::Euler, Gradient::Corrected);
    let body = Body { stages: Some(Stages::new(&[2, 3], &[4, 8]).expect("stages")), ..Body::default() };
    let mut net = alive::<Reference, Basic>(D, staged(body, sweep, 3, 2));
    D.fill(f64::INFINITY, &mut net.stages[1].stack.theta[2].bn2.gamma).expect("fill");
    assert!(!net.train_step(D, NO_SGD).expect("step").0.loss.is_finite());
    assert_eq!(net.first_non_finite(D).expect("diagnosis"), "the state after block 2 of stage 1");
    for (name, tensor) in net.checkpointed_mut() {
        if name == "stages.1.first.bn2.weight" {
            D.fill(f64::NAN, tensor).expect("fill");
        }
    }
    assert_eq!(net.first_non_finite(D).expect("diagnosis"), "the state after the first block of stage 1");
}

#[test]
fn the_cpu_agrees_with_the_reference() {
    let cpu = Cpu::new(Some(2)).expect("cpu");
    for scheme in SCHEMES {
        for gradient in GRADIENTS {
            let sweep = SweepSpec::new(scheme, gradient);
            // a batch in which no input of a ReLU is so close to 0 that the two devices see it on different sides
            let specs = bodies(&[3, 4]).into_iter().map(|(block, body)| (block, staged(body, sweep, 4, 6)));
            let rectified = sweep.check_post_activation().is_ok().then(|| post_activation(sweep, 3, 6));
            for (block, spec) in specs.chain(rectified.into_iter().flatten()) {
                let body = spec.body;
                let ((expected, loss, _), (found, loss_found, _)) =
                    (with(D, block, spec, Gradients), with(&cpu, block, spec, Gradients));
                let error = error(&found, &expected);
                println!("{body:?} {scheme} {gradient}: {error:.2e}");
                // some thousand roundings one after the other, and a ReLU's input may round to the other side of 0
                // at a threshold one element may be coded the other way: up to two of the increment's sigmas, of states of about one
                let flip = if gradient.codes() { 2.0 / (6.0 * 11.0 * 11.0 * 8.0f64).sqrt() } else { 0.0 };
                assert!(
                    error < 3000.0 * EPS_F32 + flip && (loss - loss_found).abs() < 1e-4 + flip / 100.0,
                    "{body:?} {scheme} {gradient}: {error:.2e}"
                );
            }
        }
    }
}

#[test]
fn a_pass_tells_the_largest_drift_of_all_stages() {
    let cpu = &Cpu::new(Some(2)).expect("cpu");
    let sweep = SweepSpec::new(Scheme::Euler, Gradient::Adjoint);
    let body = Body { stages: Some(Stages::new(&[8, 16], &[4, 8]).expect("stages")), ..Body::default() };
    let spec = NetSpec { image: 32, ..staged(body, sweep, 3, 4) };
    let mut net = alive::<Cpu, Basic>(cpu, spec);
    net.hold(cpu, numbered(9, 4)).expect("hold");
    net.write_table(cpu, 0, |places| EpochSpec { seed: 1, augment: true }.draw(0, places)).expect("table");
    net.begin_pass(cpu, Pass::Train { table: 0 }, 0).expect("pass");
    net.set_learning_rate(cpu, 0.0).expect("rate");
    net.ask_train_step(cpu, 4, NO_SGD).expect("step");
    let told = net.results(cpu, 0, 1).expect("results").next().expect("one").drift.expect("a drift");
    // the same batch and weights again
    net.forward(cpu).expect("forward");
    let of_net = net.backward(cpu, NO_SGD).expect("backward").stem.expect("a drift");
    // what each stage's sweep gives by itself, from the x_0 that it went back to
    let each: Vec<f64> = (0..2)
        .map(|s| {
            net.forward(cpu).expect("forward");
            net.backward(cpu, NO_SGD).expect("backward");
            let (found, exact) = (read(cpu, &net.stages[s].work.x), {
                let x_rec = net.stages[s].work.x_rec.as_ref().expect("it reconstructs");
                read(cpu, x_rec)
            });
            let distance: f64 = found.iter().zip(&exact).map(|(a, b)| (a - b).powi(2)).sum();
            (distance / exact.iter().map(|b| b * b).sum::<f64>()).sqrt()
        })
        .collect();
    println!("{told} {of_net} {each:?}");
    assert_eq!(told, of_net);
    assert_close("the largest", &[told], &[each[0].max(each[1])], |_| 1e-5 * told);
    assert!((each[0] - each[1]).abs() > 1e-3 * told, "stages drift apart by different amounts");
    net.begin_pass(cpu, Pass::Test, 0).expect("pass");
    net.ask_test_step(cpu, 4).expect("step");
    assert_eq!(net.results(cpu, 0, 1).expect("results").next().expect("one").drift, Some(0.0));
}

#[test]
fn a_staged_net_of_the_papers_kind_has_the_maps_of_a_resnet() {
    let sweep = SweepSpec::new(Scheme::Euler, Gradient::Corrected);
    let stages = Stages::new(&[4, 4, 4], &[16, 32, 64]).expect("stages");
    let body = Body { stages: Some(stages), ..Body::default() };
    let spec = NetSpec { body, stem: Stem::Same3x3, ..small(sweep, 1, 1, 2) };
    let maps: Vec<String> = spec.stages().iter().map(|stage| stage.stack.map.to_string()).collect();
    assert_eq!(maps, ["[2, 32, 32, 16]", "[2, 16, 16, 32]", "[2, 8, 8, 64]"]);
    assert_eq!(spec.pooled().to_string(), "[2, 1, 1, 64]");
}

#[test]
fn labels_are_smoothed_in_training_alone() {
    let of = |label_smoothing| {
        let spec = NetSpec { label_smoothing, ..small(SweepSpec::new(Scheme::Euler, Gradient::Backprop), 2, 4, 5) };
        let mut net = alive::<Reference, Basic>(D, spec);
        let tested = net.evaluate(D).expect("test");
        let trained = net.forward(D).expect("forward").loss;
        let logits = read(D, net.logits());
        (tested, trained, logits)
    };
    let ((plain, hard, logits), (smoothed, soft, _)) = (of(0.0), of(0.25));
    assert_eq!(plain, smoothed);
    // the loss moves by a quarter of how far the label's logit lies above the mean one
    let rows: Vec<_> = logits.chunks_exact(10).collect();
    let above = |(n, row): (usize, &&[f64])| row[n % 10] - row.iter().sum::<f64>() / 10.0;
    let expected = 0.25 * rows.iter().enumerate().map(above).sum::<f64>() / rows.len() as f64;
    assert_close("the loss", &[soft - hard], &[expected], |_| 1e-13);
}

#[test]
fn stages_that_are_not_swept_store_what_backprop_does() {
    let spec = |gradient, swept| {
        let stages = Some(Stages::new(&[3, 3], &[8, 12]).expect("stages"));
        staged(Body { stages, swept, ..Body::default() }, SweepSpec::new(Scheme::Euler, gradient), 3, 4)
    };
    let chosen = |stages: &[usize]| Some(std::array::from_fn(|stage| stages.contains(&stage)));
    for block in [Block::Basic, Block::Bottleneck] {
        let of = |gradient, swept| with(D, block, spec(gradient, swept), Gradients);
        let [exact, all] = [Gradient::Backprop, Gradient::Adjoint].map(|gradient| of(gradient, None));
        let [first, last, none, both] = [&[0][..], &[1], &[], &[0, 1]].map(|s| of(Gradient::Adjoint, chosen(s)));
        assert!(both.0 == all.0 && both.2 == all.2, "both is all");
        assert!(none.0 == exact.0 && none.2.is_none(), "nothing is rebuilt, so that nothing drifts");
        let of_stage = |named: &Named, stage: usize| -> Named {
            let prefix = format!("stages.{stage}.");
            named.iter().filter(|(name, _)| name.starts_with(&prefix)).cloned().collect()
        };
        assert!(!of_stage(&exact.0, 0).is_empty());
        // the gradient comes from above: what the upper stage does, the lower one cannot change
        assert!(of_stage(&last.0, 1) == of_stage(&all.0, 1) && of_stage(&last.0, 1) != of_stage(&exact.0, 1));
        assert!(of_stage(&first.0, 1) == of_stage(&exact.0, 1) && of_stage(&first.0, 0) != of_stage(&exact.0, 0));
        assert!(first.2.is_some_and(|drift| drift > 0.0) && last.2.is_some_and(|drift| drift > 0.0));
        // the lower stage's map is the larger, so that storing it takes more
        let activations = |gradient, swept| {
            let plan = match block {
                Block::Basic => Net::<Reference, Basic>::plan(D, &spec(gradient, swept)),
                Block::Bottleneck => Net::<Reference, Bottleneck>::plan(D, &spec(gradient, swept)),
                Block::PreActivation => Net::<Reference, PreActivation>::plan(D, &spec(gradient, swept)),
            };
            plan.expect("a plan").activations()
        };
        let plans =
            [chosen(&[0, 1]), chosen(&[0]), chosen(&[1]), None].map(|swept| activations(Gradient::Adjoint, swept));
        assert_eq!(plans[0], plans[3]);
        assert!(plans[0] < plans[1] && plans[1] < plans[2], "{plans:?}");
        assert!(plans[2] < activations(Gradient::Backprop, None));
    }
}
