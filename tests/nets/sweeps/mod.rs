//! The sweeps on the f64 reference: exact modes agree with finite differences and with each other to the bit, approximate
//! ones have the order that the method promises.

mod blocks;
mod coded;
use crate::support::{
    GRADIENTS, NO_SGD, SCHEMES, all_sweeps, assert_close, batch, block_error, gradients, liven, read, small, uniform,
    write,
};
use rewind::code::CodedPass;
use rewind::device::SgdStep;
use rewind::device::prelude::*;
use rewind::init::Init;
use rewind::net::{Net, NetSpec};
use rewind::reference::Reference;
use rewind::scheme::{Scheme, StepSize};
use rewind::sweep::{BnStatistics, Gradient, Masks, SweepSpec, Update};

const D: &Reference = &Reference;

/// A net with live gradients on a batch of four, forward and backward done, nothing updated.
fn swept(sweep: SweepSpec, depth: usize, smooth: bool) -> Net<Reference> {
    let mut net = Net::new(D, small(sweep, depth, 4, 4), Init::Paper, 1).expect("net");
    liven(D, &mut net, smooth);
    batch(&mut net, D, 4);
    net.forward(D).expect("forward");
    net
}

fn block_gradients(sweep: SweepSpec, depth: usize, smooth: bool) -> (Vec<(String, Vec<f64>)>, Option<f64>) {
    let mut net = swept(sweep, depth, smooth);
    let drift = net.backward(D, NO_SGD).expect("backward");
    (gradients(D, &net), drift.stem)
}

#[test]
fn backprop_agrees_with_central_differences() {
    for scheme in SCHEMES {
        let mut net = swept(SweepSpec::new(scheme, Gradient::Backprop), 3, false);
        net.backward(D, NO_SGD).expect("backward");
        for (index, (name, grad)) in gradients(D, &net).into_iter().enumerate() {
            let direction = uniform(1000 + index as u64, grad.len());
            let slope: f64 = grad.iter().zip(&direction).map(|(g, v)| g * v).sum();
            let start = {
                let tensors = net.checkpointed();
                read(D, tensors.iter().find(|(other, _)| *other == name).expect("a parameter").1)
            };
            let delta = 1e-6;
            let mut loss_at = |sign: f64| {
                let moved: Vec<f64> = start.iter().zip(&direction).map(|(x, v)| x + sign * delta * v).collect();
                let mut tensors = net.checkpointed_mut();
                let tensor = &mut tensors.iter_mut().find(|(other, _)| *other == name).expect("a parameter").1;
                write(D, &moved, tensor);
                drop(tensors);
                net.forward(D).expect("forward").loss
            };
            let difference = (loss_at(1.0) - loss_at(-1.0)) / (2.0 * delta);
            loss_at(0.0);
            // rounding of the loss, 1e-16 times a few hundred roundings, over delta; curvature delta^2; a ReLU input that
            // crosses 0 within delta would show as delta times its weight
            assert_close(&format!("{scheme} {name}"), &[slope], &[difference], |_| 1e-7 * (1.0 + slope.abs()));
        }
    }
}

#[test]
fn checkpoint_gives_the_bits_of_backprop() {
    for scheme in SCHEMES {
        let (expected, drift) = block_gradients(SweepSpec::new(scheme, Gradient::Backprop), 7, false);
        assert_eq!(drift, None);
        for every in [None, Some(1), Some(2), Some(5), Some(7), Some(50)] {
            let sweep = SweepSpec { checkpoint_every: every, ..SweepSpec::new(scheme, Gradient::Checkpoint) };
            let (found, _) = block_gradients(sweep, 7, false);
            assert!(found == expected, "{scheme}, every {every:?}");
        }
    }
}

/// Opens every ReLU (its input stays positive), which makes f smooth, and puts the weights on a smooth curve over depth.
fn smooth_errors(sweep: SweepSpec, depth: usize) -> (f64, f64) {
    let run = |sweep: SweepSpec| {
        let mut net = Net::new(D, small(sweep, depth, 4, 4), Init::Paper, 1).expect("net");
        liven(D, &mut net, true);
        for theta in &mut net.stages[0].stack.theta {
            let open: Vec<f64> = read(D, &theta.bn1.beta).iter().map(|b| b + 8.0).collect();
            write(D, &open, &mut theta.bn1.beta);
        }
        batch(&mut net, D, 4);
        net.forward(D).expect("forward");
        let drift = net.backward(D, NO_SGD).expect("backward");
        (gradients(D, &net), drift.stem)
    };
    let (exact, _) = run(SweepSpec::new(sweep.scheme, Gradient::Backprop));
    let (found, drift) = run(sweep);
    (block_error(&found, &exact), drift.expect("a reconstructing mode"))
}

/// The orders in 1/N of the gradient's error and of the drift, from depth 16 to 64.
fn orders(sweep: SweepSpec) -> (f64, f64) {
    let (gradient_16, drift_16) = smooth_errors(sweep, 16);
    let (gradient_64, drift_64) = smooth_errors(sweep, 64);
    let order = |a: f64, b: f64| (a / b).ln() / 4f64.ln();
    let orders = (order(gradient_16, gradient_64), order(drift_16, drift_64));
    println!(
        "{sweep:?}: gradient {gradient_16:.2e} to {gradient_64:.2e}, drift {drift_16:.2e} to {drift_64:.2e}, {orders:?}"
    );
    orders
}

/// Measured slopes approach the order from either side; a tenth is left for the terms of higher order.
const SLACK: f64 = 0.1;

#[test]
fn adjoint_is_of_first_order() {
    for bn_stats in [BnStatistics::Saved, BnStatistics::Batch] {
        let sweep = SweepSpec { bn_stats, ..SweepSpec::new(Scheme::Euler, Gradient::Adjoint) };
        let (gradient, drift) = orders(sweep);
        assert!(gradient > 1.0 - SLACK && drift > 1.0 - SLACK, "{bn_stats:?}: {gradient:.2}, {drift:.2}");
    }
}

#[test]
fn corrected_is_of_second_order() {
    for bn_stats in [BnStatistics::Saved, BnStatistics::Batch] {
        let sweep = SweepSpec { bn_stats, ..SweepSpec::new(Scheme::Euler, Gradient::Corrected) };
        let (gradient, drift) = orders(sweep);
        assert!(gradient > 2.0 - SLACK && drift > 2.0 - SLACK, "{bn_stats:?}: {gradient:.2}, {drift:.2}");
    }
}

/// Errors of the blocks' gradients in a net whose ReLUs are met on both sides of zero, at 32 and at 128 blocks.
fn errors_with_masks(sweep: SweepSpec, smooth: bool) -> [f64; 2] {
    let errors = [32, 128].map(|depth| {
        let (exact, _) = block_gradients(SweepSpec::new(sweep.scheme, Gradient::Backprop), depth, smooth);
        block_error(&block_gradients(sweep, depth, smooth).0, &exact)
    });
    println!("{sweep:?}, smooth {smooth}: {errors:?}");
    errors
}

#[test]
fn saved_masks_give_relu_nets_the_order_of_smooth_ones() {
    let order = |[a, b]: [f64; 2]| (a / b).ln() / 4f64.ln();
    for smooth in [false, true] {
        for bn_stats in [BnStatistics::Saved, BnStatistics::Hybrid] {
            let with = |gradient, masks| {
                let sweep = SweepSpec { masks, bn_stats, ..SweepSpec::new(Scheme::Euler, gradient) };
                errors_with_masks(sweep, smooth)
            };
            let corrected = with(Gradient::Corrected, Masks::Saved);
            assert!(order(corrected) > 2.0 - SLACK, "{bn_stats:?}, smooth {smooth}: {:.2}", order(corrected));
            let [rough, adjoint] = [Masks::Recomputed, Masks::Saved].map(|masks| with(Gradient::Adjoint, masks));
            assert!(order(adjoint) > 1.0 - SLACK && rough[1] > 2.0 * adjoint[1], "{bn_stats:?}, smooth {smooth}");
            // what they are for: recomputed signs leave several times the error
            let [shallow, deep] = with(Gradient::Corrected, Masks::Recomputed);
            assert!(shallow > 4.0 * corrected[0] && deep > 8.0 * corrected[1], "{bn_stats:?}, smooth {smooth}");
            let [recomputed, saved] = [Masks::Recomputed, Masks::Saved].map(|masks| with(Gradient::Coded, masks));
            assert!(recomputed[0] > 4.0 * saved[0] && recomputed[1] > 8.0 * saved[1], "{bn_stats:?}, smooth {smooth}");
        }
    }
}

#[test]
fn masks_at_the_true_states_change_nothing() {
    for scheme in SCHEMES {
        let coded_pass = CodedPass::Altered;
        let exact = SweepSpec { coded_pass, ..SweepSpec::new(scheme, Gradient::Coded) };
        let run = |masks| block_gradients(SweepSpec { masks, ..exact }, 7, false);
        let ((expected, drift), (found, masked)) = (run(Masks::Recomputed), run(Masks::Saved));
        assert_eq!((drift, masked), (Some(0.0), Some(0.0)), "{scheme}");
        assert!(found == expected, "{scheme}");
    }
}

#[test]
fn heun_and_rk4_are_of_second_order_at_least() {
    for scheme in [Scheme::Heun, Scheme::Rk4] {
        for gradient in [Gradient::Adjoint, Gradient::Corrected] {
            for bn_stats in [BnStatistics::Saved, BnStatistics::Batch] {
                let (error, drift) = orders(SweepSpec { bn_stats, ..SweepSpec::new(scheme, gradient) });
                let what = format!("{scheme} {gradient} {bn_stats:?}");
                assert!(error > 2.0 - SLACK && drift > 2.0 - SLACK, "{what}: {error:.2}, {drift:.2}");
            }
        }
    }
}

#[test]
fn a_sweep_that_meets_a_hopeless_block_spares_the_weights_below_it() {
    let sgd = SgdStep::PAPER;
    for update in [Update::InSweep, Update::After] {
        for gradient in [Gradient::Adjoint, Gradient::Corrected] {
            let sweep = SweepSpec { update, ..SweepSpec::new(Scheme::Euler, gradient) };
            let spec = NetSpec { sweep, step_size: StepSize::One, ..small(sweep, 4, 4, 4) };
            let mut net = Net::new(D, spec, Init::Paper, 1).expect("net");
            liven(D, &mut net, false);
            batch(&mut net, D, 4);
            // block 2 moves the state by far more than the state, and its reverse step leads astray
            let large: Vec<f64> = read(D, &net.stages[0].stack.theta[2].bn2.gamma).iter().map(|g| 100.0 * g).collect();
            write(D, &large, &mut net.stages[0].stack.theta[2].bn2.gamma);
            let weights = |net: &Net<Reference>| {
                net.checkpointed().into_iter().map(|(name, tensor)| (name, read(D, tensor))).collect::<Vec<_>>()
            };
            let before = weights(&net);
            let (result, drift) = net.train_step(D, sgd).expect("step");
            assert!(result.loss.is_finite() && drift.stem.is_some_and(f64::is_nan), "{gradient} {update:?}: {drift:?}");
            net.look_at_errors(D).expect("errors");
            let errors = net.local_errors().next().expect("a stage");
            assert!(errors[2].is_some_and(|error| error.is_hopeless()), "{errors:?}");
            for ((name, after), (_, before)) in weights(&net).iter().zip(&before) {
                let trained = name.contains("blocks.3.") && update == Update::InSweep;
                let moves = trained || name.contains("running");
                assert!(after.iter().all(|value| value.is_finite()), "{gradient} {update:?}: {name}");
                assert!((after != before) == moves, "{gradient} {update:?}: {name} moved: {}", after != before);
            }
        }
    }
}

#[test]
fn local_errors_are_those_of_the_states() {
    for scheme in SCHEMES {
        let sweep = SweepSpec { anchors: Some(1), ..SweepSpec::new(scheme, Gradient::Adjoint) };
        let mut net = swept(sweep, 8, false);
        net.backward(D, NO_SGD).expect("backward");
        net.look_at_errors(D).expect("errors");
        // with a true state at each step, what the distance to the next pass bounds can be seen: the distance to x_n itself
        let errors: Vec<_> = net.local_errors().next().expect("a stage").to_vec();
        let distances = &net.stages[0].work.anchor_distances;
        for (n, distance) in (1..).zip(distances) {
            let [distance, norm] = read(D, distance)[..] else { panic!("two sums") };
            let error = errors[n].expect("measured");
            let (true_error, rho) = ((distance / norm).sqrt(), error.rho);
            println!("{scheme} step {n}: delta {:.2e}, true {true_error:.2e}, rho {rho:.2}", error.delta);
            // |x~ - x| is between delta / (1 + rho) and delta / (1 - rho) for a map that contracts by rho; rho was measured in
            // one direction, so that half again is left
            assert!(rho < 0.9 && true_error < 1.5 * error.delta / (1.0 - rho), "{scheme} step {n}");
            assert!(true_error > error.delta / (1.0 + rho) / 1.5, "{scheme} step {n}");
        }
    }
}

#[test]
fn corrected_is_closer_than_adjoint_where_weights_are_rough() {
    for scheme in SCHEMES {
        let (exact, _) = block_gradients(SweepSpec::new(scheme, Gradient::Backprop), 16, false);
        let error = |gradient| {
            let (found, drift) = block_gradients(SweepSpec::new(scheme, gradient), 16, false);
            (block_error(&found, &exact), drift.expect("a reconstructing mode"))
        };
        let (adjoint, corrected) = (error(Gradient::Adjoint), error(Gradient::Corrected));
        println!("{scheme}: adjoint {adjoint:?}, corrected {corrected:?}");
        assert!(corrected.0 < adjoint.0 && corrected.1 < adjoint.1 / 2.0, "{scheme}: {adjoint:?} {corrected:?}");
    }
}

#[test]
fn fixed_point_passes_converge_to_backprop() {
    for scheme in SCHEMES {
        // of steps of one length, as far as depths go
        let depth = 6 * scheme.tableau().stride;
        let (exact, _) = block_gradients(SweepSpec::new(scheme, Gradient::Backprop), depth, false);
        for gradient in [Gradient::Adjoint, Gradient::Corrected] {
            let error = |fixed_point| {
                let sweep = SweepSpec { fixed_point, ..SweepSpec::new(scheme, gradient) };
                block_error(&block_gradients(sweep, depth, false).0, &exact)
            };
            let (none, one, many) = (error(0), error(1), error(60));
            println!("{scheme} {gradient}: {none:.2e}, one pass {one:.2e}, sixty {many:.2e}");
            assert!(one < none, "{scheme} {gradient}: {none:.2e} to {one:.2e}");
            // each pass contracts by h Lip(f), about a half here: 2^-60; then rounding, some thousand operations of 1e-16
            assert!(many < 1e-11, "{scheme} {gradient}: {many:.2e}");
        }
    }
}

#[test]
fn anchors_bound_the_drift() {
    for scheme in SCHEMES {
        let (exact, _) = block_gradients(SweepSpec::new(scheme, Gradient::Backprop), 12, false);
        let run = |anchors| {
            let sweep = SweepSpec { anchors, ..SweepSpec::new(scheme, Gradient::Adjoint) };
            let mut net = swept(sweep, 12, false);
            let drift = net.backward(D, NO_SGD).expect("backward");
            (block_error(&gradients(D, &net), &exact), drift)
        };
        let (free, free_drift) = run(None);
        let (some, some_drift) = run(Some(4));
        let (all, all_drift) = run(Some(1));
        println!(
            "{scheme}: error {free:.2e}, every fourth {some:.2e}, every {all:.2e}; {free_drift:?} {some_drift:?} {all_drift:?}"
        );
        assert!(all < some && some < free, "{scheme}: {free:.2e} {some:.2e} {all:.2e}");
        assert_eq!(free_drift.anchors, None);
        assert!(all_drift.stem < free_drift.stem && some_drift.anchors.is_some_and(|drift| drift > 0.0));
    }
}

#[test]
fn step_size_1_is_the_second_norm_in_other_units() {
    let swept = |step_size: StepSize, share: f64, sweep: SweepSpec| {
        let mut net = Net::new(D, NetSpec { step_size, ..small(sweep, 4, 4, 4) }, Init::Paper, 1).expect("net");
        liven(D, &mut net, false);
        for theta in &mut net.stages[0].stack.theta {
            for tensor in [&mut theta.bn2.gamma, &mut theta.bn2.beta] {
                let values: Vec<f64> = read(D, tensor).iter().map(|value| share * value).collect();
                write(D, &values, tensor);
            }
        }
        batch(&mut net, D, 4);
        let loss = net.forward(D).expect("forward").loss;
        let drift = net.backward(D, NO_SGD).expect("backward").stem;
        let unscaled = gradients(D, &net).into_iter().map(|(name, grad)| {
            let units = if name.starts_with("blocks") && name.contains("bn2") { share } else { 1.0 };
            (name, grad.iter().map(|value| units * value).collect::<Vec<f64>>())
        });
        (loss, drift, unscaled.collect::<Vec<_>>())
    };
    // of RK4's depths none is a power of two
    let after = |sweep: &SweepSpec| sweep.update == Update::After && sweep.scheme.takes(4);
    for sweep in all_sweeps().into_iter().filter(after) {
        // a quarter more or less in the exponent changes no digit
        assert!(swept(StepSize::One, 0.25, sweep) == swept(StepSize::OverDepth, 1.0, sweep), "{sweep:?}");
    }
}

#[test]
fn recomputation_leaves_running_statistics_alone() {
    for scheme in SCHEMES {
        let running = |gradient, bn_stats| {
            let mut net = swept(SweepSpec { bn_stats, ..SweepSpec::new(scheme, gradient) }, 5, false);
            net.backward(D, NO_SGD).expect("backward");
            net.checkpointed()
                .into_iter()
                .filter(|(name, _)| name.contains("running"))
                .map(|(name, tensor)| (name, read(D, tensor)))
                .collect::<Vec<_>>()
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
fn updates_in_the_sweep_give_the_bits_of_updates_after_it() {
    let sgd = SgdStep::PAPER;
    let trained = |sweep: SweepSpec| {
        let spec = NetSpec { sweep, ..small(sweep, 5, 4, 4) };
        let mut net = Net::new(D, spec, Init::Paper, 1).expect("net");
        liven(D, &mut net, false);
        // a smaller last batch in between
        for n in [4, 3, 4] {
            batch(&mut net, D, n);
            net.train_step(D, sgd).expect("step");
        }
        net.checkpointed().into_iter().map(|(name, tensor)| (name, read(D, tensor))).collect::<Vec<_>>()
    };
    for sweep in all_sweeps().into_iter().filter(|sweep| sweep.update == Update::InSweep) {
        let after = trained(SweepSpec { update: Update::After, ..sweep });
        assert!(after.iter().all(|(_, values)| values.iter().all(|v| v.is_finite())));
        assert!(trained(sweep) == after, "{sweep:?}");
    }
}

#[test]
fn the_first_place_that_is_not_finite_is_named() {
    let mut net = swept(SweepSpec::new(Scheme::Euler, Gradient::Corrected), 5, false);
    D.fill(f64::INFINITY, &mut net.stages[0].stack.theta[3].bn2.gamma).expect("fill");
    let (result, _) = net.train_step(D, NO_SGD).expect("step");
    assert!(!result.loss.is_finite());
    assert_eq!(net.first_non_finite(D).expect("diagnosis"), "the state after block 3");
}
