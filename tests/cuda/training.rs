//! Sweeps against the reference, training against the CPU, memory as planned, nothing allocated once a run has started.

use crate::support::gpu::{emulator, gpu, no_faults, ran_apart, turn};
use crate::support::{
    EPS_F32, GRADIENTS, SCHEMES, all_sweeps, assert_close, assert_coded_alike, batch, liven, numbered, read, small,
    swept,
};
use rewind::cpu::Cpu;
use rewind::cuda::Cuda;
use rewind::data::{Batches, EpochSpec, Mix, MixSpec};
use rewind::device::{AdamWStep, DescentStep, Device, Math, SgdStep};
use rewind::field::Basic;
use rewind::init::Init;
use rewind::memory::Category;
use rewind::net::{Net, NetSpec, Pass, StepResult};
use rewind::recipe::{Clip, Recipe, Share};
use rewind::reference::Reference;
use rewind::scheme::Scheme;
use rewind::sweep::{BnStatistics, Gradient, SweepSpec, Update};

const SGD: SgdStep = SgdStep::PAPER;

/// Euler in every mode, the others in those that differ by operations of theirs: the emulator takes long over steps of several stages.
fn schemes_and_modes() -> impl Iterator<Item = (Scheme, Gradient)> {
    let all = SCHEMES.into_iter().flat_map(|scheme| GRADIENTS.map(|gradient| (scheme, gradient)));
    all.filter(|(scheme, gradient)| match scheme {
        Scheme::Euler => true,
        Scheme::Heun => matches!(gradient, Gradient::Backprop | Gradient::Corrected | Gradient::Coded),
        _ => *gradient == Gradient::Coded,
    })
}

/// Sweeps by Euler that differ from their mode's plain one in one thing, by Heun in what its blocks keep, and plain ones of the rest: on
/// the emulator all of them, which the CPU is tried with, would take minutes.
fn differs_little(sweep: &SweepSpec) -> bool {
    let plain = SweepSpec { update: Update::After, ..SweepSpec::new(sweep.scheme, sweep.gradient) };
    let kept = SweepSpec { bn_stats: sweep.bn_stats, masks: sweep.masks, ..plain };
    match sweep.scheme {
        Scheme::Euler => {
            let things = [
                SweepSpec { bn_stats: sweep.bn_stats, ..plain },
                SweepSpec { masks: sweep.masks, ..plain },
                SweepSpec { anchors: sweep.anchors, ..plain },
                SweepSpec { fixed_point: sweep.fixed_point, ..plain },
                SweepSpec { bits: sweep.bits, coded_pass: sweep.coded_pass, ..plain },
                SweepSpec { code_room: sweep.code_room, ..plain },
                SweepSpec { checkpoint_every: sweep.checkpoint_every, ..plain },
            ];
            // statistics and signs of two kinds go together
            things.contains(sweep) || sweep.update == Update::After && sweep.bn_stats == BnStatistics::Hybrid
        }
        Scheme::Heun => *sweep == kept,
        _ => *sweep == plain,
    }
}

fn every_sweep_agrees_with_the_reference(asked: impl Fn(Scheme) -> bool) {
    let _turn = turn();
    let cuda = gpu(Math::Fp32);
    let asked = |sweep: &SweepSpec| asked(sweep.scheme) && differs_little(sweep);
    for sweep in all_sweeps().into_iter().filter(asked) {
        let expected = swept(&Reference, sweep);
        for ((name, found), (_, expected)) in swept(&cuda, sweep).iter().zip(&expected) {
            // as on the CPU: sums of up to 600 terms through some thirty layers that each may double what came before
            let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
            let what = format!("{name} by {sweep:?}");
            if sweep.gradient.codes() {
                assert_coded_alike(&what, found, expected);
                continue;
            }
            let tolerance = 8.0 * 600f64.sqrt() * EPS_F32 * 60.0 * largest.max(1e-3);
            assert_close(&what, found, expected, |_| tolerance);
        }
        no_faults();
    }
}

#[test]
fn every_sweep_of_euler_agrees_with_the_reference() {
    if ran_apart() {
        return;
    }
    every_sweep_agrees_with_the_reference(|scheme| scheme == Scheme::Euler);
}

#[test]
fn every_sweep_of_several_stages_agrees_with_the_reference() {
    if ran_apart() {
        return;
    }
    every_sweep_agrees_with_the_reference(|scheme| scheme != Scheme::Euler);
}

/// Everything that a checkpoint holds after three steps, one of them with a smaller batch.
fn trained<D: Device>(d: &D, sweep: SweepSpec, step: DescentStep) -> Vec<(String, Vec<f64>)> {
    let second_moments = matches!(step, DescentStep::AdamW(_));
    let spec = NetSpec { sweep, second_moments, ..small(sweep, 4, 16, 6) };
    let mut net = Net::new(d, spec, Init::Paper, 1).expect("net");
    liven(d, &mut net, false);
    for n in [6, 5, 6] {
        batch(&mut net, d, n);
        let (result, _) = net.train_step(d, step).expect("step");
        assert!(result.loss.is_finite());
    }
    net.checkpointed().into_iter().map(|(name, tensor)| (name, read(d, tensor))).collect()
}

#[test]
fn three_steps_end_at_the_weights_of_the_cpu() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    let (cpu, cuda) = (Cpu::new(Some(2)).expect("cpu"), gpu(Math::Fp32));
    for (scheme, gradient) in schemes_and_modes() {
        let sweep = SweepSpec::new(scheme, gradient);
        let expected = trained(&cpu, sweep, SGD.into());
        for ((name, found), (_, expected)) in trained(&cuda, sweep, SGD.into()).iter().zip(&expected) {
            // a step's gradient is off by the bound above, and steps two and three start from weights that are
            let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
            let tolerance = 3.0 * 8.0 * 600f64.sqrt() * EPS_F32 * 60.0 * largest.max(1e-3);
            assert_close(&format!("{name} by {scheme} {gradient}"), found, expected, |_| tolerance);
        }
        no_faults();
    }
}

/// The third step is a replay of the first: the count that AdamW's corrections come from lies on the device.
#[test]
fn three_steps_of_adamw_end_at_the_weights_of_the_cpu() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    let (cpu, cuda) = (Cpu::new(Some(2)).expect("cpu"), gpu(Math::Fp32));
    // as far as SGD at the rate 0.1 steps where gradients are small, with no step that only a gradient's sign decides
    let step = AdamWStep { lr: 0.01, eps: 0.1, ..AdamWStep::PYTORCH };
    for gradient in [Gradient::Corrected, Gradient::Coded, Gradient::Backprop] {
        let sweep = SweepSpec::new(Scheme::Euler, gradient);
        let expected = trained(&cpu, sweep, step.into());
        assert_eq!(expected.last().map(|(name, count)| (&name[..], count[0])), Some(("optimiser.count", 3.0)));
        for ((name, found), (_, expected)) in trained(&cuda, sweep, step.into()).iter().zip(&expected) {
            // that of SGD's weights; squares are off by twice as much of themselves
            let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
            let tolerance = 2.0 * 3.0 * 8.0 * 600f64.sqrt() * EPS_F32 * 60.0 * largest.max(1e-3);
            assert_close(&format!("{name} by {gradient}"), found, expected, |_| tolerance);
        }
        no_faults();
    }
}

#[test]
fn any_order_of_blocks_and_warps_trains_to_the_same_bits() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    let Some(emulator) = emulator() else { return eprintln!("on a GPU the order is the hardware's") };
    for (math, gradient) in
        [Math::Fp32, Math::Tf32].into_iter().flat_map(|m| [(m, Gradient::Corrected), (m, Gradient::Coded)])
    {
        let sweep = SweepSpec::new(SCHEMES[0], gradient);
        let natural = emulator.options().expect("options");
        let expected = trained(&gpu(math), sweep, SGD.into());
        emulator.set_options(&rewind_emulator::machine::Options { shuffle: Some(2), ..natural }).expect("options");
        assert!(trained(&gpu(math), sweep, SGD.into()) == expected, "{gradient} in {math}");
        emulator.set_options(&natural).expect("options");
        no_faults();
    }
}

/// Nets for which f16 has kernels of its own, in a launch of a whole block and in a chain: what two steps leave is as far from f32's as TF32's is, which rounds
/// to as many bits. Single tensors vary, since a ReLU whose input is within a rounding of 0 may go either way; so it is the mean over
/// all tensors of their relative distances that may be twice TF32's, and no more.
#[test]
fn half_precision_is_as_near_to_full_as_tf32() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    let trained = |d: &Cuda, sweep, channels| {
        let mut net = Net::new(d, small(sweep, 1, channels, 2), Init::Paper, 1).expect("net");
        liven(d, &mut net, false);
        for n in [2, 1] {
            batch(&mut net, d, n);
            let (result, _) = net.train_step(d, SGD).expect("step");
            assert!(result.loss.is_finite());
        }
        net.checkpointed().into_iter().map(|(name, tensor)| (name, read(d, tensor))).collect::<Vec<_>>()
    };
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let [full, tf32, half, bf16] = [Math::Fp32, Math::Tf32, Math::Fp16, Math::Bf16].map(gpu);
    for (gradient, channels) in [
        (Gradient::Coded, 16),
        (Gradient::Corrected, 32),
        (Gradient::Coded, 64),
        (Gradient::Corrected, 64),
        (Gradient::Backprop, 64),
    ] {
        let sweep = SweepSpec::new(SCHEMES[0], gradient);
        let expected = trained(&full, sweep, channels);
        let distance = |d: &Cuda| {
            let found = trained(d, sweep, channels);
            let each = found.iter().zip(&expected).map(|((_, found), (_, expected))| {
                let off = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
                off / norm(&mut expected.iter().copied()).max(1e-6)
            });
            (each.sum::<f64>() / expected.len() as f64, found)
        };
        let ((by_tf32, _), (by_half, found)) = (distance(&tf32), distance(&half));
        assert!(
            by_half > 0.0 && by_half < 2.0 * by_tf32,
            "{gradient}, {channels} channels: {by_half:e} from f32, TF32 {by_tf32:e}"
        );
        println!("{gradient}, {channels} channels: from f32 TF32 is {by_tf32:e}, fp16 {by_half:e}");
        if gradient == Gradient::Corrected {
            // 8 bits where TF32 has 11
            let (by_bf16, _) = distance(&bf16);
            assert!(
                by_bf16 > by_half && by_bf16 < 2.0 * 8.0 * by_tf32,
                "{gradient}, {channels} channels: bf16 {by_bf16:e} from f32, TF32 {by_tf32:e}"
            );
        }
        no_faults();
        if let (Some(emulator), Gradient::Coded) = (emulator(), gradient) {
            let natural = emulator.options().expect("options");
            let shuffled = rewind_emulator::machine::Options { shuffle: Some(1), ..natural };
            emulator.set_options(&shuffled).expect("options");
            let again = trained(&half, sweep, channels);
            emulator.set_options(&natural).expect("options");
            assert!(again == found, "other bits in another order");
        }
    }
    no_faults();
}

#[test]
fn the_plan_is_what_is_taken_and_activations_are_flat() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    let (cpu, cuda) = (Cpu::new(Some(2)).expect("cpu"), gpu(Math::Tf32));
    for sweep in all_sweeps() {
        let spec = NetSpec { sweep, ..small(sweep, 3, 16, 5) };
        let net = Net::new(&cuda, spec, Init::Paper, 0).expect("net");
        assert_eq!(net.memory(), &Net::<_, Basic>::plan(&cuda, &spec).expect("plan"), "{spec:?}");
        let on_cpu = Net::<_, Basic>::plan(&cpu, &spec).expect("plan");
        for category in Category::ALL.into_iter().filter(|category| *category != Category::Scratch) {
            assert_eq!(net.memory().of(category), on_cpu.of(category), "{category} of {spec:?}");
        }
    }
    for gradient in [Gradient::Adjoint, Gradient::Corrected] {
        let sweep = SweepSpec::new(SCHEMES[0], gradient);
        let activations = |depth| {
            let spec = NetSpec { sweep, ..small(sweep, depth, 16, 4) };
            Net::new(&cuda, spec, Init::Paper, 0).expect("net").memory().activations()
        };
        assert_eq!(activations(4), activations(32), "{gradient}");
    }
}

/// A data set whose epochs end with a smaller batch, in training and in test.
const TRAIN: usize = 9;
const TEST: usize = 5;
const BATCH: usize = 4;

/// One epoch and its test on the data set that the device holds, each asked for as a whole before anything is read.
fn epoch(d: &Cuda, net: &mut Net<Cuda>, number: usize, sgd: SgdStep) -> Vec<StepResult> {
    let (train, test) = (Batches { images: TRAIN, batch: BATCH }, Batches { images: TEST, batch: BATCH });
    net.set_learning_rate(d, sgd.lr).expect("set_learning_rate");
    net.begin_pass(d, Pass::Train { table: number % 2 }, 0).expect("begin_pass");
    for step in 0..train.count() {
        net.ask_train_step(d, train.len(step), sgd).expect("ask_train_step");
        if step == 0 {
            draw(d, net, number + 1);
        }
    }
    let mut all: Vec<_> = net.results(d, 0, train.count()).expect("results").collect();
    net.begin_pass(d, Pass::Test, 0).expect("begin_pass");
    for step in 0..test.count() {
        net.ask_test_step(d, test.len(step)).expect("ask_test_step");
    }
    all.extend(net.results(d, 0, test.count()).expect("results"));
    all
}

fn draw<D: Device>(d: &D, net: &mut Net<D>, epoch: usize) {
    let spec = EpochSpec { seed: 3, augment: true };
    net.write_table(d, epoch % 2, |places| spec.draw(epoch as u64, places)).expect("write_table");
}

/// A net with live blocks that holds its data and has the first epoch drawn.
fn held<D: Device>(d: &D, sweep: SweepSpec) -> Net<D> {
    let mut net = Net::new(d, NetSpec { sweep, ..small(sweep, 4, 4, BATCH) }, Init::Paper, 1).expect("net");
    liven(d, &mut net, false);
    net.hold(d, numbered(TRAIN, TEST)).expect("hold");
    draw(d, &mut net, 1);
    net
}

fn a_replayed_run_has_the_bits_of_an_eager_one(asked: impl Fn(Scheme) -> bool) {
    let _turn = turn();
    let (replayed, mut eager) = (gpu(Math::Fp32), gpu(Math::Fp32));
    eager.set_eager(true);
    let run = |d: &Cuda, sweep| {
        let mut net = held(d, sweep);
        // the second epoch is replayed as a whole, at another rate and by the other table
        let lr = |number| if number < 2 { 0.05 } else { 0.005 };
        let results = (1..=2).map(|number| epoch(d, &mut net, number, SgdStep { lr: lr(number), ..SGD })).collect();
        let tensors: Vec<_> = net.checkpointed().into_iter().map(|(name, tensor)| (name, read(d, tensor))).collect();
        (results, tensors)
    };
    for (scheme, gradient) in schemes_and_modes().filter(|(scheme, _)| asked(*scheme)) {
        let updates: &[Update] = match gradient {
            Gradient::Corrected => &[Update::InSweep, Update::After],
            _ => &[Update::InSweep],
        };
        for update in updates {
            let sweep = SweepSpec { update: *update, ..SweepSpec::new(scheme, gradient) };
            let (expected, tensors): (Vec<Vec<StepResult>>, _) = run(&eager, sweep);
            assert!(expected.iter().flatten().all(|step| step.batch.loss.is_finite()), "{sweep:?}");
            assert!(expected[0] != expected[1], "nothing was learnt by {sweep:?}");
            let (found, found_tensors) = run(&replayed, sweep);
            // as text, in which a drift that is no number equals itself
            assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{sweep:?}");
            assert!(found_tensors == tensors, "{sweep:?}");
            no_faults();
        }
    }
}

#[test]
fn a_replayed_run_by_euler_has_the_bits_of_an_eager_one() {
    if ran_apart() {
        return;
    }
    a_replayed_run_has_the_bits_of_an_eager_one(|scheme| scheme == Scheme::Euler);
}

#[test]
fn a_replayed_run_of_several_stages_has_the_bits_of_an_eager_one() {
    if ran_apart() {
        return;
    }
    a_replayed_run_has_the_bits_of_an_eager_one(|scheme| scheme != Scheme::Euler);
}

#[test]
fn a_pass_on_the_device_is_the_pass_of_the_host() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    let (cpu, cuda) = (Cpu::new(Some(2)).expect("cpu"), gpu(Math::Fp32));
    let sweep = SweepSpec::new(SCHEMES[0], Gradient::Corrected);
    let (mut net, mut oracle) = (held(&cuda, sweep), held(&cpu, sweep));
    let found = epoch(&cuda, &mut net, 1, SGD);
    let batches = Batches { images: TRAIN, batch: BATCH };
    oracle.set_learning_rate(&cpu, SGD.lr).expect("set_learning_rate");
    oracle.begin_pass(&cpu, Pass::Train { table: 1 }, 0).expect("begin_pass");
    for (step, found) in found[..batches.count()].iter().enumerate() {
        oracle.ask_train_step(&cpu, batches.len(step), SGD).expect("ask_train_step");
        let expected = oracle.results(&cpu, step, 1).expect("results").next().expect("a result");
        // the same images: another draw would be off by a tenth or more
        let (a, b) = (found.batch.loss, expected.batch.loss);
        assert!((a - b).abs() < 1e-3 * b, "step {step}: {a} and {b}");
    }
}

#[test]
fn after_a_loss_that_is_not_finite_nothing_moves() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    let cuda = gpu(Math::Fp32);
    let mut net = held(&cuda, SweepSpec::new(SCHEMES[0], Gradient::Corrected));
    let sgd = SgdStep { lr: 1e18, ..SGD };
    net.set_learning_rate(&cuda, sgd.lr).expect("set_learning_rate");
    net.begin_pass(&cuda, Pass::Train { table: 1 }, 0).expect("begin_pass");
    let parameters = |net: &Net<Cuda>| {
        let all = net.checkpointed().into_iter().filter(|(name, _)| !name.contains("running"));
        all.map(|(_, tensor)| read(&cuda, tensor).into_iter().map(f64::to_bits).collect()).collect::<Vec<Vec<u64>>>()
    };
    net.ask_train_step(&cuda, BATCH, sgd).expect("ask_train_step");
    let expected = parameters(&net);
    // more than the epoch has: all of them repeat the second
    for _ in 0..4 {
        net.ask_train_step(&cuda, BATCH, sgd).expect("ask_train_step");
    }
    let losses: Vec<f64> = net.results(&cuda, 0, 2).expect("results").map(|step| step.batch.loss).collect();
    assert!(losses[0].is_finite() && !losses[1].is_finite(), "{losses:?}");
    assert!(parameters(&net) == expected);
    assert_eq!(net.first_non_finite(&cuda).expect("diagnosis"), "the state after block 0");
    no_faults();
}

#[test]
fn an_epoch_allocates_nothing_and_waits_only_to_read() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    let Some(emulator) = emulator() else { return eprintln!("on a GPU nobody counts the driver's calls") };
    let cuda = gpu(Math::Tf32);
    for (scheme, gradient) in schemes_and_modes() {
        let mut net = held(&cuda, SweepSpec::new(scheme, gradient));
        // the first epoch records a full and a smaller batch of each pass
        epoch(&cuda, &mut net, 1, SGD);
        emulator.reset_statistics().expect("statistics");
        epoch(&cuda, &mut net, 2, SGD);
        let counted = emulator.statistics().expect("statistics");
        let what = format!("{scheme} {gradient}: {counted:?}");
        assert_eq!((counted.allocations, counted.host_allocations, counted.frees), (0, 0, 0), "{what}");
        assert_eq!((counted.streams, counted.events, counted.modules), (0, 0, 0), "{what}");
        // three training steps and two of the test, one look at each; the next epoch's table
        assert_eq!((counted.graph_launches, counted.synchronisations), (5, 2), "{what}");
        assert_eq!((counted.copies_to_host, counted.copies_to_device), (2, 1), "{what}");
        assert!(counted.launches > 50, "{what}");
    }
}

/// Two epochs of a net that clips, gathers batches, keeps averages and mixes images: all results, and everything that it holds.
fn by_recipe<D: Device>(d: &D, update: Update, clip: Clip, step: DescentStep) -> (String, Vec<(String, Vec<f64>)>) {
    let sweep = SweepSpec { update, ..SweepSpec::new(Scheme::Euler, Gradient::Corrected) };
    let recipe = Recipe { clip: Some(clip), accumulates: true, average: Some(0.75) };
    let second_moments = matches!(step, DescentStep::AdamW(_));
    let spec = NetSpec { sweep, recipe, second_moments, mixes: true, ..small(sweep, 4, 4, BATCH) };
    let mut net = Net::new(d, spec, Init::Paper, 1).expect("net");
    liven(d, &mut net, false);
    net.begin_averages(d).expect("averages");
    net.hold(d, numbered(TRAIN, TEST)).expect("hold");
    let (train, test) = (Batches::of_training(TRAIN, BATCH).expect("batches"), Batches { images: TEST, batch: BATCH });
    let mix = MixSpec { mixup: 0.8, cutmix: 1.0 };
    let draw = |net: &mut Net<D>, epoch: usize| {
        let mixes = |mixes: &mut [Mix]| {
            (0..).zip(mixes).for_each(|(step, of)| *of = mix.draw(3, epoch as u64, step, 32));
        };
        net.write_mixes(d, epoch % 2, mixes).expect("write_mixes");
        let spec = EpochSpec { seed: 3, augment: true };
        net.write_table(d, epoch % 2, |places| spec.draw(epoch as u64, places)).expect("write_table");
    };
    let mut all = Vec::new();
    draw(&mut net, 1);
    net.set_learning_rate(d, step.lr()).expect("rate");
    for epoch in 1..=2 {
        net.begin_pass(d, Pass::Train { table: epoch % 2 }, 0).expect("begin_pass");
        for at in 0..train.count() {
            net.set_share(Share::of(at, train.count(), 2));
            net.ask_train_step(d, train.len(at), step).expect("ask_train_step");
            if at == 0 {
                draw(&mut net, epoch + 1);
            }
        }
        all.extend(net.results(d, 0, train.count()).expect("results"));
        net.begin_pass(d, Pass::Test, 0).expect("begin_pass");
        (0..test.count()).for_each(|at| net.ask_test_step(d, test.len(at)).expect("ask_test_step"));
        all.extend(net.results(d, 0, test.count()).expect("results"));
    }
    assert!(all.iter().all(|step| step.batch.loss.is_finite()));
    (format!("{all:?}"), net.checkpointed().into_iter().map(|(name, tensor)| (name, read(d, tensor))).collect())
}

/// Sums begin, grow and end in recordings of their own; tests are recorded of the averages.
#[test]
fn a_recipe_is_replayed_to_the_bits_of_an_eager_one_and_ends_at_the_weights_of_the_cpu() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    let (cpu, replayed, mut eager) = (Cpu::new(Some(2)).expect("cpu"), gpu(Math::Fp32), gpu(Math::Fp32));
    eager.set_eager(true);
    let adamw = AdamWStep { lr: 0.01, eps: 0.1, ..AdamWStep::PYTORCH };
    let cases = [
        (Update::InSweep, Clip::Blocks(0.05), SGD.into()),
        (Update::After, Clip::All(0.1), SGD.into()),
        (Update::InSweep, Clip::Blocks(0.05), adamw.into()),
    ];
    for (update, clip, step) in cases {
        let expected = by_recipe(&eager, update, clip, step);
        assert!(by_recipe(&replayed, update, clip, step) == expected, "{update:?}, {clip:?}");
        no_faults();
        for ((name, found), (_, expected)) in expected.1.iter().zip(&by_recipe(&cpu, update, clip, step).1) {
            // that of three steps, of which there are twice as many here
            let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
            let tolerance = 2.0 * 3.0 * 8.0 * 600f64.sqrt() * EPS_F32 * 60.0 * largest.max(1e-3);
            assert_close(&format!("{name} by {update:?}, {clip:?}"), found, expected, |_| tolerance);
        }
    }
}
