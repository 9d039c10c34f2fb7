//! Codes: exact for the pass that they alter, bounded in the plain one, and chosen by `auto`.

use rewind::code::{Bits, CodedPass};
use rewind::init::Init;
use rewind::net::{Net, NetSpec};
use rewind::reference::Reference;
use rewind::scheme::{Scheme, StepSize};
use rewind::sweep::auto::TOLERANCE;
use rewind::sweep::{BnStatistics, Gradient, Masks, SweepSpec, Way};

use super::{D, block_gradients, swept};
use crate::support::*;

/// `coded` and the same pass with every state stored, which a sweep over it starts from anew at each step.
fn coded_and_stored(scheme: Scheme, bits: Bits, bn_stats: BnStatistics) -> [SweepSpec; 2] {
    let coded_pass = CodedPass::Altered;
    let coded = SweepSpec { bits, bn_stats, coded_pass, ..SweepSpec::new(scheme, Gradient::Coded) };
    [coded, SweepSpec { anchors: Some(1), ..coded }]
}

#[test]
fn coded_gives_the_gradient_of_the_pass_that_ran() {
    for scheme in SCHEMES {
        for step_size in [StepSize::OverDepth, StepSize::One] {
            for bits in Bits::ALL {
                for bn_stats in [BnStatistics::Saved, BnStatistics::Batch] {
                    let run = |sweep| {
                        let mut net =
                            Net::new(D, NetSpec { step_size, ..small(sweep, 9, 4, 4) }, Init::Paper, 1).expect("net");
                        liven(D, &mut net, false);
                        batch(&mut net, D, 4);
                        net.forward(D).expect("forward");
                        let drift = net.backward(D, NO_SGD).expect("backward");
                        (gradients(D, &net), drift)
                    };
                    let [coded, stored] = coded_and_stored(scheme, bits, bn_stats);
                    let ((found, drift), (expected, anchors)) = (run(coded), run(stored));
                    // on the grid every sum is exact: not one bit, at no step
                    assert_eq!((drift.stem, anchors.stem), (Some(0.0), Some(0.0)), "{coded:?} {step_size}");
                    assert_eq!(anchors.anchors, Some(0.0), "{coded:?} {step_size}");
                    assert!(found == expected, "{coded:?} {step_size}");
                }
            }
        }
    }
}

/// Against backprop of the plain pass: what the altered pass differs by, and what the plain pass's way back is off by.
#[test]
fn more_bits_come_closer_to_the_plain_passes_gradient() {
    for scheme in SCHEMES {
        let (exact, _) = block_gradients(SweepSpec::new(scheme, Gradient::Backprop), 8, false);
        let errors_of = |coded_pass, masks| {
            let errors = Bits::ALL.map(|bits| {
                let sweep = SweepSpec { bits, coded_pass, masks, ..SweepSpec::new(scheme, Gradient::Coded) };
                block_error(&block_gradients(sweep, 8, false).0, &exact)
            });
            println!("{scheme} {coded_pass} {masks:?}: {errors:.4?}");
            errors
        };
        // a bit for signs is worth more than two for levels
        let (plain, masked) = (CodedPass::Plain, errors_of(CodedPass::Plain, Masks::Saved));
        assert!(masked[1] < errors_of(plain, Masks::Recomputed)[2], "{scheme}");
        assert!(masked.is_sorted_by(|more, less| more > less), "{scheme}: {masked:?}");
        for coded_pass in [plain, CodedPass::Altered] {
            let errors = errors_of(coded_pass, Masks::Recomputed);
            assert!(errors.is_sorted_by(|more, less| more > less), "{scheme} {coded_pass}: {errors:?}");
            // eight bits' levels lie some sixty times closer than one bit's two; by how much the gradient comes closer depends on how
            // many ReLUs change sides, whose number falls with the distance and whose effect does not
            assert!(errors[3] < errors[0] / 4.0, "{scheme} {coded_pass}: {errors:?}");
        }
    }
}

#[test]
fn a_plain_pass_is_not_touched_by_its_codes() {
    for scheme in SCHEMES {
        for step_size in [StepSize::OverDepth, StepSize::One] {
            let run = |gradient| {
                let sweep = SweepSpec::new(scheme, gradient);
                let mut net = Net::new(D, NetSpec { step_size, ..small(sweep, 9, 4, 4) }, Init::Paper, 1).expect("net");
                liven(D, &mut net, false);
                batch(&mut net, D, 4);
                let loss = net.forward(D).expect("forward").loss;
                let output = read(D, net.stages[0].work.output());
                (loss, output, net.backward(D, NO_SGD).expect("backward").stem)
            };
            let ((loss, output, drift), (expected, expected_output, _)) =
                (run(Gradient::Coded), run(Gradient::Backprop));
            assert!(loss == expected && output == expected_output, "{scheme} {step_size}");
            // x_N - c is rounded once and each of nine codes subtracted with half a unit in the last place of the largest state
            assert!(drift.is_some_and(|drift| drift < 10.0 * f64::EPSILON * 30.0), "{scheme} {step_size}: {drift:?}");
        }
    }
}

#[test]
fn the_plain_passes_error_does_not_grow_with_depth() {
    // at h = 1, where reconstruction is lost
    let error = |depth| {
        let run = |gradient| {
            let sweep = SweepSpec::new(Scheme::Euler, gradient);
            let spec = NetSpec { step_size: StepSize::One, ..small(sweep, depth, 4, 4) };
            let mut net = Net::new(D, spec, Init::Paper, 1).expect("net");
            liven(D, &mut net, false);
            batch(&mut net, D, 4);
            net.forward(D).expect("forward");
            net.backward(D, NO_SGD).expect("backward");
            gradients(D, &net)
        };
        block_error(&run(Gradient::Coded), &run(Gradient::Backprop))
    };
    let errors = [4, 8, 16, 32].map(error);
    println!("{errors:.3?}");
    // a carry that added up would be eight times as large after 32 blocks as after 4, one that walked at random three times
    assert!(errors[3] < 1.5 * errors[0], "{errors:?}");
}

#[test]
fn the_head_sees_every_increment_whole() {
    // x_N + c = x_0 + the sum of all increments, each at the state that it was taken at
    for scheme in SCHEMES {
        let sweep = SweepSpec { coded_pass: CodedPass::Altered, ..SweepSpec::new(scheme, Gradient::Coded) };
        let mut net = swept(sweep, 6, false);
        let output = read(D, net.stages[0].work.output());
        let x_n = read(D, &net.stages[0].work.x);
        let carried = output.iter().zip(&x_n).map(|(output, x)| (output - x).abs()).fold(0.0, f64::max);
        assert!(carried > 1e-3, "{scheme}: nothing was carried");
        net.backward(D, NO_SGD).expect("backward");
        assert!(read(D, &net.stages[0].work.x) != x_n, "{scheme}: the sweep went nowhere");
    }
}

#[test]
fn auto_codes_what_it_cannot_rebuild_and_a_probe_releases_what_it_can() {
    let sweep = SweepSpec::new(Scheme::Euler, Gradient::Auto);
    // deep enough to start with reverse steps
    let mut net = swept(sweep, 36, false);
    let ways = |net: &Net<Reference>| net.ways().next().expect("a stage").to_vec();
    assert_eq!(ways(&net), [Way::Reconstructed; 36]);
    net.backward(D, NO_SGD).expect("backward");
    net.look_at_errors(D).expect("errors");
    let bad: Vec<bool> = net
        .local_errors()
        .next()
        .expect("a stage")
        .iter()
        .map(|error| error.is_some_and(|e| e.delta > TOLERANCE))
        .collect();
    assert!(bad.contains(&true), "a net whose blocks are all rebuilt well tests nothing");
    assert!(net.choose_ways());
    assert_eq!(ways(&net).iter().map(|way| matches!(way, Way::Coded(_))).collect::<Vec<_>>(), bad);
    // coded blocks are measured by probes alone
    net.forward(D).expect("forward");
    net.backward(D, NO_SGD).expect("backward");
    net.look_at_errors(D).expect("errors");
    let measured: Vec<bool> = net.local_errors().next().expect("a stage").iter().map(Option::is_some).collect();
    assert_eq!(measured, bad.iter().map(|bad| !bad).collect::<Vec<_>>());
}
