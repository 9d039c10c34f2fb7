//! Staged nets and shared weights on a GPU or on the emulator: training steps against the reference.

use crate::support::gpu::{gpu, no_faults, ran_apart, turn};
use crate::support::{EPS_F32, assert_close, batch, read, rounded, staged, uniform};
use rewind::code::CodedPass;
use rewind::cuda::Cuda;
use rewind::device::Math;
use rewind::device::{Device, SgdStep};
use rewind::field::{Basic, Bottleneck, Field, PreActivation};
use rewind::init::Init;
use rewind::net::{Body, Net, NetSpec, Stages, Stem};
use rewind::reference::Reference;
use rewind::scheme::{Scheme, StepSize};
use rewind::sweep::{Gradient, SweepSpec, Update};
use rewind_train::config::Block;

const SGD: SgdStep = SgdStep { lr: 0.05, ..SgdStep::PAPER };

/// Everything that a checkpoint holds after two steps, one of them of a smaller batch.
fn trained<D: Device, F: Field<D>>(d: &D, spec: NetSpec) -> Vec<(String, Vec<f64>)> {
    let mut net = Net::<D, F>::build(d, spec, Init::Plain, 1).expect("net");
    assert_eq!(net.memory(), &Net::<D, F>::plan(d, &spec).expect("plan"), "{spec:?}");
    for n in [spec.batch, spec.batch - 1] {
        let images = uniform(7, spec.images().with_batch(n).len());
        let labels: Vec<f64> = (0..n).map(|i| (i % spec.classes) as f64).collect();
        net.load(d, &rounded::<D>(&images), &rounded::<D>(&labels)).expect("load");
        let (result, drift) = net.train_step(d, SGD).expect("step");
        let sound = drift.stem.is_some_and(|drift| drift > 0.0) == spec.sweep.gradient.reconstructs();
        assert!(result.loss.is_finite() && sound, "{result:?} {drift:?}");
    }
    net.checkpointed().into_iter().map(|(name, tensor)| (name, read(d, tensor))).collect()
}

#[test]
fn steps_of_staged_nets_end_at_the_weights_of_the_reference() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    let cuda = gpu(Math::Fp32);
    let stages = Some(Stages::new(&[2, 2], &[8, 12]).expect("stages"));
    for (scheme, update) in [(Scheme::Euler, Update::InSweep), (Scheme::Heun, Update::After)] {
        for block in [Block::Basic, Block::Bottleneck, Block::PreActivation] {
            for tied in [false, true] {
                let sweep = SweepSpec::new(scheme, Gradient::Corrected);
                let spec = staged(Body { tied, stages, ..Body::default() }, sweep, 2, 3);
                let spec = NetSpec { sweep: SweepSpec { update, ..sweep }, ..spec };
                compare(&cuda, block, spec);
            }
        }
    }
    // one stage is rebuilt, the other's activations are stored
    let swept = Some(std::array::from_fn(|stage| stage == 1));
    let sweep = SweepSpec::new(Scheme::Euler, Gradient::Corrected);
    compare(&cuda, Block::Basic, staged(Body { stages, swept, ..Body::default() }, sweep, 2, 3));
}

fn compare(cuda: &Cuda, block: Block, spec: NetSpec) {
    let (found, expected) = match block {
        Block::Basic => (trained::<_, Basic>(cuda, spec), trained::<_, Basic>(&Reference, spec)),
        Block::Bottleneck => (trained::<_, Bottleneck>(cuda, spec), trained::<_, Bottleneck>(&Reference, spec)),
        Block::PreActivation => {
            (trained::<_, PreActivation>(cuda, spec), trained::<_, PreActivation>(&Reference, spec))
        }
    };
    // the stem's statistics are the longest sums; of the small nets' blocks some have 400 terms
    let terms = spec.stem_conv_map().pixels().max(400) as f64;
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        // through some forty layers that each may double what came before; a second step from weights that are off by the first one's
        // error
        let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        let tolerance = 2.0 * 8.0 * terms.sqrt() * EPS_F32 * 80.0 * largest.max(1e-3);
        assert_close(&format!("{name} of {spec:?}"), found, expected, |_| tolerance);
    }
    no_faults();
}

/// A stem of 7x7 and max pooling, in front of one stack, and of stages of more channels than it has.
#[test]
fn steps_behind_max_pooling_end_at_the_weights_of_the_reference() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    let cuda = gpu(Math::Fp32);
    let stages = Some(Stages::new(&[1, 1], &[8, 12]).expect("stages"));
    let wide = Body { stages, stem_width: Some(5), ..Body::default() };
    let spec = |body, sweep| NetSpec { stem: Stem::Pooled7x7, image: 33, ..staged(body, sweep, 2, 3) };
    for (block, body) in [(Block::Basic, Body::default()), (Block::Bottleneck, wide)] {
        compare(&cuda, block, spec(body, SweepSpec::new(Scheme::Euler, Gradient::Backprop)));
    }
    // the published form: a ReLU behind every sum
    let published = Body { post_activation: true, ..wide };
    let published = |sweep| NetSpec { step_size: StepSize::One, ..spec(published, sweep) };
    for gradient in [Gradient::Backprop, Gradient::Checkpoint] {
        compare(&cuda, Block::Bottleneck, published(SweepSpec::new(Scheme::Euler, gradient)));
    }
    // an element at a threshold may have another code than the reference's: the CPU's test bounds what that does
    trained::<_, Bottleneck>(&cuda, published(SweepSpec::new(Scheme::Euler, Gradient::Coded)));
    // codes of a pass that they alter lead back to the stem's very output
    let sweep = SweepSpec { coded_pass: CodedPass::Altered, ..SweepSpec::new(Scheme::Euler, Gradient::Coded) };
    let mut net = Net::new(&cuda, spec(Body::default(), sweep), Init::Plain, 1).expect("net");
    batch(&mut net, &cuda, 3);
    assert_eq!(net.train_step(&cuda, SGD).expect("step").1.stem, Some(0.0));
    no_faults();
}
