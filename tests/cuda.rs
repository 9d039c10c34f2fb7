//! The CUDA device as a whole, on a GPU or on the emulator: sweeps against the reference, training against the CPU, memory as
//! planned, nothing allocated once a run has started.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod support;

use rewind::config::Math;
use rewind::cpu::Cpu;
use rewind::device::{Device, SgdStep};
use rewind::init::Init;
use rewind::net::{Net, NetSpec};
use rewind::plan;
use rewind::reference::Reference;
use rewind::sweep::{Gradient, SweepSpec, Update};
use support::gpu::{emulator, gpu, no_faults, turn};
use support::{EPS_F32, GRADIENTS, SCHEMES, all_sweeps, assert_close, batch, liven, read, small, swept};

const SGD: SgdStep = SgdStep { lr: 0.1, momentum: 0.9, weight_decay: 5e-4 };

#[test]
fn every_sweep_agrees_with_the_reference() {
    let _turn = turn();
    let cuda = gpu(Math::Fp32);
    for sweep in all_sweeps().into_iter().filter(|sweep| sweep.update == Update::After) {
        let expected = swept(&Reference, sweep);
        for ((name, found), (_, expected)) in swept(&cuda, sweep).iter().zip(&expected) {
            // as on the CPU: sums of up to 600 terms through some thirty layers that each may double what came before
            let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
            let tolerance = 8.0 * 600f64.sqrt() * EPS_F32 * 60.0 * largest.max(1e-3);
            assert_close(&format!("{name} by {sweep:?}"), found, expected, |_| tolerance);
        }
        no_faults();
    }
}

/// Everything that a checkpoint holds after three steps, one of them with a smaller batch.
fn trained<D: Device>(d: &D, sweep: SweepSpec) -> Vec<(String, Vec<f64>)> {
    let spec = NetSpec { sweep, ..small(sweep, 4, 16, 6) };
    let mut net = Net::new(d, spec, Init::Paper, 1).expect("net");
    liven(d, &mut net, false);
    for n in [6, 5, 6] {
        batch(&mut net, d, n);
        let (result, _) = net.train_step(d, SGD).expect("step");
        assert!(result.loss.is_finite());
    }
    net.checkpointed().into_iter().map(|(name, tensor)| (name, read(d, tensor))).collect()
}

#[test]
fn three_steps_end_at_the_weights_of_the_cpu() {
    let _turn = turn();
    let (cpu, cuda) = (Cpu::new(Some(2)).expect("cpu"), gpu(Math::Fp32));
    for scheme in SCHEMES {
        for gradient in GRADIENTS {
            let sweep = SweepSpec::new(scheme, gradient);
            let expected = trained(&cpu, sweep);
            for ((name, found), (_, expected)) in trained(&cuda, sweep).iter().zip(&expected) {
                // a step's gradient is off by the bound above, and steps two and three start from weights that are
                let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
                let tolerance = 3.0 * 8.0 * 600f64.sqrt() * EPS_F32 * 60.0 * largest.max(1e-3);
                assert_close(&format!("{name} by {scheme} {gradient}"), found, expected, |_| tolerance);
            }
            no_faults();
        }
    }
}

#[test]
fn any_order_of_blocks_and_warps_trains_to_the_same_bits() {
    let _turn = turn();
    let Some(emulator) = emulator() else { return eprintln!("on a GPU the order is the hardware's") };
    let sweep = SweepSpec::new(SCHEMES[0], Gradient::Corrected);
    for math in [Math::Fp32, Math::Tf32] {
        let natural = emulator.options().expect("options");
        let expected = trained(&gpu(math), sweep);
        for seed in [1, 2, 3] {
            emulator
                .set_options(&rewind_emulator::machine::Options { shuffle: Some(seed), ..natural })
                .expect("options");
            assert!(trained(&gpu(math), sweep) == expected, "{math}, seed {seed}");
        }
        emulator.set_options(&natural).expect("options");
        no_faults();
    }
}

#[test]
fn the_plan_is_what_is_taken_and_activations_are_flat() {
    let _turn = turn();
    let cuda = gpu(Math::Tf32);
    for sweep in all_sweeps() {
        let spec = NetSpec { sweep, ..small(sweep, 3, 16, 5) };
        let net = Net::new(&cuda, spec, Init::Paper, 0).expect("net");
        assert_eq!(net.memory(), &plan::network(&cuda, &spec), "{spec:?}");
    }
    for gradient in [Gradient::Adjoint, Gradient::Corrected, Gradient::Light] {
        let sweep = SweepSpec::new(SCHEMES[0], gradient);
        let activations = |depth| {
            let spec = NetSpec { sweep, ..small(sweep, depth, 16, 4) };
            Net::new(&cuda, spec, Init::Paper, 0).expect("net").memory().activations()
        };
        assert_eq!(activations(4), activations(32), "{gradient}");
    }
}

#[test]
fn a_step_allocates_nothing() {
    let _turn = turn();
    let Some(emulator) = emulator() else { return eprintln!("on a GPU nobody counts the driver's allocations") };
    let cuda = gpu(Math::Tf32);
    let sweep = SweepSpec::new(SCHEMES[0], Gradient::Corrected);
    let mut net = Net::new(&cuda, NetSpec { sweep, ..small(sweep, 4, 16, 4) }, Init::Paper, 0).expect("net");
    batch(&mut net, &cuda, 4);
    net.train_step(&cuda, SGD).expect("step");
    emulator.reset_statistics().expect("statistics");
    for _ in 0..2 {
        batch(&mut net, &cuda, 4);
        net.train_step(&cuda, SGD).expect("step");
    }
    let counted = emulator.statistics().expect("statistics");
    assert!(counted.launches > 100, "{counted:?}");
    assert_eq!(counted.allocations, 0, "{counted:?}");
}
