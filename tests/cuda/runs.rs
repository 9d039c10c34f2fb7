//! Runs of blocks in one launch: the bits of block by block, in every mode, and launches that do not grow with depth.

use rewind::code::{Bits, CodedPass};
use rewind::cuda::Cuda;
use rewind::device::{AdamWStep, Decay, DescentStep, Math, SgdStep};
use rewind::field::Basic;
use rewind::init::Init;
use rewind::net::{Net, NetSpec};
use rewind::scheme::Scheme;
use rewind::sweep::{Gradient, SweepSpec, Update, Way};

use crate::support::gpu::{emulator, gpu, no_faults, ran_apart, turn};
use crate::support::{batch, liven, read, small};

const SGD: SgdStep = SgdStep::PAPER;

/// A small net with maps of 5 x 5.
fn net(sweep: SweepSpec, depth: usize, channels: usize, images: usize) -> NetSpec {
    NetSpec { sweep, image: 17, ..small(sweep, depth, channels, images) }
}

/// A GPU whose runs of blocks are one launch, or one each.
fn opened(math: Math, runs: bool) -> Cuda {
    let mut cuda = gpu(math);
    cuda.set_runs(runs);
    cuda
}

/// Everything that two steps leave, one of them with a smaller batch: weights, velocities, running statistics, states, what the
/// sweep measured and, where updates come after it, the gradients.
fn left(d: &Cuda, spec: NetSpec, ways: Option<&[Way]>, step: DescentStep) -> Vec<(String, Vec<f64>)> {
    let mut net = Net::<_, Basic>::new(d, spec, Init::Paper, 1).expect("net");
    liven(d, &mut net, false);
    if let Some(ways) = ways {
        assert!(net.set_ways(&[ways.to_vec()]), "ways of such a net");
    }
    let mut left = Vec::new();
    for n in [spec.batch, spec.batch - 1] {
        batch(&mut net, d, n);
        let (result, drift) = net.train_step(d, step).expect("step");
        left.push(("loss and drift".to_string(), vec![result.loss, drift.stem.unwrap_or(0.0)]));
        net.look_at_errors(d).expect("errors");
        let errors = net.local_errors().flatten().flatten().flat_map(|error| [error.delta, error.rho]);
        left.push(("local errors".to_string(), errors.collect()));
    }
    let stage = &net.stages[0];
    left.extend([("x", &stage.work.x), ("g", &stage.work.grad)].map(|(name, of)| (name.to_string(), read(d, of))));
    if spec.sweep.update == Update::After {
        for slot in &stage.work.grads.slots {
            left.extend(slot.named().map(|(name, of)| (format!("gradient of {name}"), read(d, of))));
        }
    }
    left.extend(net.checkpointed().into_iter().map(|(name, of)| (name, read(d, of))));
    left
}

fn bits_are_the_same(math: Math, spec: NetSpec, ways: Option<&[Way]>) {
    bits_are_the_same_by(math, spec, ways, SGD.into());
}

fn bits_are_the_same_by(math: Math, spec: NetSpec, ways: Option<&[Way]>, step: DescentStep) {
    let [at_one_go, each] = [true, false].map(|runs| left(&opened(math, runs), spec, ways, step));
    for ((name, found), (_, expected)) in at_one_go.iter().zip(&each) {
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert!(bits(found) == bits(expected), "{name} in {math} by {:?} and {step:?}", spec.sweep);
    }
    no_faults();
}

/// Sweeps of Euler that rebuild states and have blocks that make a run.
fn sweeps() -> Vec<SweepSpec> {
    let of = |gradient| SweepSpec::new(Scheme::Euler, gradient);
    use Gradient::{Adjoint, Auto, Coded, Corrected};
    let mut all = [Adjoint, Corrected, Coded, Auto].map(of).to_vec();
    all.extend([Corrected, Coded].map(|gradient| SweepSpec { update: Update::After, ..of(gradient) }));
    // anchors cut runs short
    all.extend([Corrected, Auto].map(|gradient| SweepSpec { anchors: Some(3), ..of(gradient) }));
    all.extend([Bits::One, Bits::Eight].map(|bits| SweepSpec { bits, ..of(Coded) }));
    all.push(SweepSpec { coded_pass: CodedPass::Altered, ..of(Coded) });
    all.push(SweepSpec { code_room: Some(2), ..of(Auto) });
    all
}

#[test]
fn a_run_of_blocks_leaves_the_bits_of_block_by_block() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    for sweep in sweeps() {
        bits_are_the_same(Math::Fp16, net(sweep, 5, 16, 3), None);
    }
}

#[test]
fn it_does_with_nesterovs_momentum_and_where_weights_alone_decay() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    let sgd = SgdStep { nesterov: true, weight_decay: 0.5, decay: Decay::Weights, ..SGD };
    for gradient in [Gradient::Corrected, Gradient::Coded] {
        bits_are_the_same_by(Math::Fp16, net(SweepSpec::new(Scheme::Euler, gradient), 3, 16, 2), None, sgd.into());
    }
}

/// Of AdamW's steps no run takes any: blocks go back one by one, as they do where there are no runs.
#[test]
fn it_does_with_adamw() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    for gradient in [Gradient::Corrected, Gradient::Coded] {
        for update in [Update::InSweep, Update::After] {
            let sweep = SweepSpec { update, ..SweepSpec::new(Scheme::Euler, gradient) };
            let spec = NetSpec { second_moments: true, ..net(sweep, 3, 16, 2) };
            bits_are_the_same_by(Math::Fp16, spec, None, AdamWStep::PYTORCH.into());
        }
    }
}

#[test]
fn it_does_in_every_arithmetic() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    for gradient in [Gradient::Corrected, Gradient::Coded] {
        let sweep = SweepSpec::new(Scheme::Euler, gradient);
        for math in [Math::Bf16, Math::Tf32, Math::Fp32] {
            bits_are_the_same(math, net(sweep, 3, 16, 2), None);
        }
    }
}

/// In the mode `auto` codes lie anywhere: each stretch of neighbours is a launch of its own.
#[test]
fn blocks_whose_ways_alternate_leave_them_too() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    use Way::{Coded, Reconstructed, Refined};
    let ways = [Reconstructed, Reconstructed, Coded(4), Coded(5), Coded(0), Coded(2), Refined, Reconstructed, Coded(1)];
    let sweep = SweepSpec::new(Scheme::Euler, Gradient::Auto);
    bits_are_the_same(Math::Fp16, net(sweep, ways.len(), 16, 2), Some(&ways));
}

/// More images than multiprocessors, so that blocks hold two, the last one less; and maps of 32 channels.
#[test]
fn many_images_and_wider_maps_leave_them_too() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    for gradient in [Gradient::Corrected, Gradient::Coded] {
        let sweep = SweepSpec::new(Scheme::Euler, gradient);
        for (math, channels, images) in [(Math::Fp16, 16, 137), (Math::Fp16, 32, 2), (Math::Tf32, 32, 2)] {
            bits_are_the_same(math, net(sweep, 2, channels, images), None);
        }
    }
}

/// What was worth nothing stops the blocks below it, in one launch as block by block.
#[test]
fn a_reconstruction_that_is_worth_nothing_stops_the_run() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    let sweep = SweepSpec::new(Scheme::Euler, Gradient::Corrected);
    let moved = [true, false].map(|runs| {
        let cuda = opened(Math::Fp16, runs);
        let mut net = Net::<_, Basic>::new(&cuda, net(sweep, 6, 16, 2), Init::Paper, 1).expect("net");
        liven(&cuda, &mut net, false);
        // a block that moves states by a thousand times their size, and whose reverse step leads away
        let huge = vec![3000.0f32; 16];
        cuda_upload(&cuda, &huge, &mut net.stages[0].stack.theta[3].bn2.gamma);
        let before: Vec<_> = net.stages[0].stack.theta.iter().map(|theta| read(&cuda, &theta.conv1)).collect();
        batch(&mut net, &cuda, 2);
        net.train_step(&cuda, SGD).expect("step");
        let after = net.stages[0].stack.theta.iter().map(|theta| read(&cuda, &theta.conv1));
        after.zip(before).map(|(after, before)| after != before).collect::<Vec<_>>()
    });
    assert_eq!(moved[0], moved[1]);
    assert_eq!(moved[0], [false, false, false, false, true, true]);
    no_faults();
}

fn cuda_upload(cuda: &Cuda, values: &[f32], to: &mut rewind::tensor::Tensor<rewind::cuda::CudaBuffer>) {
    rewind::device::Device::upload(cuda, values, to).expect("upload");
}

#[test]
fn launches_do_not_grow_with_depth() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    let Some(emulator) = emulator() else { return eprintln!("on a GPU nobody counts the launches") };
    let options = emulator.options().expect("options");
    emulator
        .set_options(&rewind_emulator::machine::Options { counters: true, ..options })
        .expect("before the driver starts");
    for gradient in [Gradient::Corrected, Gradient::Coded] {
        let launches = [8, 512].map(|depth| {
            let cuda = gpu(Math::Fp16);
            let sweep = SweepSpec::new(Scheme::Euler, gradient);
            let spec = net(sweep, depth, 16, 2);
            let mut net = Net::<_, Basic>::new(&cuda, spec, Init::Paper, 1).expect("net");
            batch(&mut net, &cuda, 2);
            emulator.reset_counters().expect("counters");
            net.train_step(&cuda, SGD).expect("step");
            no_faults();
            emulator.launches().expect("counters").len()
        });
        println!("{gradient}: {} launches at depth 8, {} at depth 512", launches[0], launches[1]);
        assert_eq!(launches[0], launches[1], "{gradient}");
    }
}
