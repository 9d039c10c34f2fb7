//! The CPU device as a whole: sweeps against the f64 reference, equal bits where they are promised, memory as planned.

use crate::support::{
    EPS_F32, GRADIENTS, SCHEMES, all_sweeps, assert_close, assert_coded_alike, batch, gradients, liven, read, small,
    swept,
};
use rewind::cpu::{Cpu, Isa, Rounding};
use rewind::device::{Device, SgdStep};
use rewind::field::Basic;
use rewind::init::Init;
use rewind::net::{Net, NetSpec, Stem};
use rewind::reference::Reference;
use rewind::scheme::Scheme;
use rewind::shape::Shape;
use rewind::sweep::{BnStatistics, Gradient, SweepSpec, Update};

const SGD: SgdStep = SgdStep::PAPER;

fn cpu(threads: usize) -> Cpu {
    Cpu::new(Some(threads)).expect("cpu")
}

#[test]
fn every_sweep_agrees_with_the_reference() {
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(isa, 2).expect("cpu");
        for sweep in all_sweeps().into_iter().filter(|sweep| sweep.update == Update::After) {
            let expected = swept(&Reference, sweep);
            for ((name, found), (_, expected)) in swept(&cpu, sweep).iter().zip(&expected) {
                // sums of up to 600 terms, eight times sqrt of that many roundings, through some thirty layers of
                // convolution and normalisation that each may double what came before of it
                let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
                let what = format!("{name} by {sweep:?} on {isa:?}");
                if sweep.gradient.codes() {
                    assert_coded_alike(&what, found, expected);
                    continue;
                }
                let tolerance = 8.0 * 600f64.sqrt() * EPS_F32 * 60.0 * largest.max(1e-3);
                assert_close(&what, found, expected, |_| tolerance);
            }
        }
    }
}

#[test]
fn the_3x3_stem_agrees_with_the_reference() {
    fn gradients_of<D: Device>(d: &D, sweep: SweepSpec) -> Vec<(String, Vec<f64>)> {
        let spec = NetSpec { stem: Stem::Same3x3, ..small(sweep, 3, 5, 2) };
        assert_eq!(spec.stem_map(), Shape::map(2, 32, 32, 5));
        let mut net = Net::new(d, spec, Init::Paper, 1).expect("net");
        liven(d, &mut net, false);
        batch(&mut net, d, 2);
        net.forward(d).expect("forward");
        net.backward(d, SgdStep { lr: 0.0, momentum: 0.0, weight_decay: 0.0, ..SgdStep::PAPER }).expect("backward");
        gradients(d, &net)
    }
    let cpu = cpu(2);
    for gradient in [Gradient::Backprop, Gradient::Adjoint] {
        let sweep = SweepSpec::new(Scheme::Euler, gradient);
        let (found, expected) = (gradients_of(&cpu, sweep), gradients_of(&Reference, sweep));
        for ((name, found), (_, expected)) in found.iter().zip(&expected) {
            // as above, and sums of the 2048 pixels of two images
            let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
            let tolerance = 8.0 * 2048f64.sqrt() * EPS_F32 * 60.0 * largest.max(1e-3);
            assert_close(&format!("{name} by {gradient}"), found, expected, |_| tolerance);
        }
    }
}

/// The bits of everything that a checkpoint holds after three steps, one of them with a smaller batch.
fn trained(cpu: &Cpu, sweep: SweepSpec) -> Vec<(String, Vec<u64>)> {
    let spec = NetSpec { sweep, ..small(sweep, 5, 6, 9) };
    let mut net = Net::new(cpu, spec, Init::Paper, 1).expect("net");
    liven(cpu, &mut net, false);
    for n in [9, 5, 9] {
        batch(&mut net, cpu, n);
        let (result, _) = net.train_step(cpu, SGD).expect("step");
        assert!(result.loss.is_finite());
    }
    let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect();
    net.checkpointed().into_iter().map(|(name, tensor)| (name, bits(read(cpu, tensor)))).collect()
}

#[test]
fn threads_and_the_time_of_the_update_do_not_change_a_bit() {
    let (one, two, five) = (cpu(1), cpu(2), cpu(5));
    for sweep in all_sweeps().into_iter().filter(|sweep| sweep.update == Update::InSweep) {
        let expected = trained(&one, sweep);
        assert!(trained(&two, sweep) == expected, "two threads: {sweep:?}");
        assert!(trained(&five, sweep) == expected, "five threads: {sweep:?}");
        assert!(trained(&two, SweepSpec { update: Update::After, ..sweep }) == expected, "after: {sweep:?}");
    }
}

#[test]
fn checkpoint_trains_to_the_bits_of_backprop() {
    let cpu = cpu(2);
    for scheme in SCHEMES {
        let expected = trained(&cpu, SweepSpec::new(scheme, Gradient::Backprop));
        assert!(trained(&cpu, SweepSpec::new(scheme, Gradient::Checkpoint)) == expected, "{scheme}");
    }
}

#[test]
fn recomputation_leaves_running_statistics_alone() {
    let cpu = cpu(2);
    for scheme in SCHEMES {
        let running = |gradient, bn_stats| {
            let sweep = SweepSpec { bn_stats, ..SweepSpec::new(scheme, gradient) };
            let mut net = Net::new(&cpu, small(sweep, 5, 6, 9), Init::Paper, 1).expect("net");
            liven(&cpu, &mut net, false);
            batch(&mut net, &cpu, 9);
            net.train_step(&cpu, SGD).expect("step");
            let tensors = net.checkpointed().into_iter().filter(|(name, _)| name.contains("running"));
            tensors.map(|(name, tensor)| (name, read(&cpu, tensor))).collect::<Vec<_>>()
        };
        let expected = running(Gradient::Backprop, BnStatistics::Saved);
        assert_eq!(expected.len(), 2 + 5 * 4);
        for gradient in GRADIENTS {
            for bn_stats in [BnStatistics::Saved, BnStatistics::Batch] {
                assert!(running(gradient, bn_stats) == expected, "{scheme} {gradient} {bn_stats:?}");
            }
        }
    }
}

#[test]
fn the_plan_is_what_is_taken() {
    // the workspace has a part a thread
    for cpu in [cpu(1), cpu(2), cpu(7), cpu(2).round_as(Some(Rounding::Fp16))] {
        for sweep in all_sweeps() {
            for (depth, channels, n) in [(2, 3, 5), (7, 16, 2), (3, 33, 70)] {
                let stem = if depth == 2 { Stem::Same3x3 } else { Stem::Strided5x5 };
                let spec = NetSpec { stem, sweep, ..small(sweep, depth, channels, n) };
                let net = Net::new(&cpu, spec, Init::Paper, 0).expect("net");
                assert_eq!(
                    net.memory(),
                    &Net::<_, Basic>::plan(&cpu, &spec).expect("plan"),
                    "{}: {spec:?}",
                    cpu.name()
                );
            }
        }
    }
}

#[test]
fn activations_are_flat_in_depth() {
    let cpu = cpu(2);
    for gradient in [Gradient::Adjoint, Gradient::Corrected] {
        for scheme in SCHEMES {
            let activations = |depth| {
                let sweep = SweepSpec::new(scheme, gradient);
                let spec = NetSpec { sweep, ..small(sweep, depth, 16, 8) };
                Net::new(&cpu, spec, Init::Paper, 0).expect("net").memory().activations()
            };
            assert_eq!(activations(8), activations(64), "{scheme} {gradient}");
            assert_eq!(activations(8), activations(512), "{scheme} {gradient}");
        }
    }
}
