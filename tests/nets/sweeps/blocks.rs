//! Blocks alone, in a network whose other parts are somebody else's.

use rewind::code::CodedPass;
use rewind::device::SgdStep;
use rewind::field::{Linear, Tensors};
use rewind::init::Init;
use rewind::memory::{Arena, Category, padded_bytes};
use rewind::net::{Blocks, BlocksSpec};
use rewind::reference::Reference;
use rewind::scheme::{Scheme, StepSize};
use rewind::shape::Shape;
use rewind::sweep::{Gradient, SweepSpec, Update};

use super::D;
use crate::support::{NO_SGD, SCHEMES, assert_close, fitting, read, uniform, write};

#[test]
fn blocks_alone_pull_back_what_they_are_given() {
    let map = Shape::map(3, 5, 4, 4);
    let blocks = |sweep: SweepSpec| {
        let depth = fitting(sweep.scheme, 4);
        let spec = BlocksSpec { map, depth, step_size: StepSize::OverDepth, tied: false, second_moments: false, sweep };
        // second norms of 1: every gradient is alive
        let blocks: Blocks<Reference> = Blocks::new(D, spec, Init::Plain, 1).expect("blocks");
        assert_eq!(*blocks.memory(), Blocks::<Reference>::plan(D, &spec).expect("a plan"));
        blocks
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for scheme in SCHEMES {
        let [mut backprop, mut checkpoint, mut adjoint] = [Gradient::Backprop, Gradient::Checkpoint, Gradient::Adjoint]
            .map(|gradient| blocks(SweepSpec::new(scheme, gradient)));
        let altered = SweepSpec { coded_pass: CodedPass::Altered, ..SweepSpec::new(scheme, Gradient::Coded) };
        let mut altered = blocks(altered);
        for n in [3, 2] {
            let [x, cotangent, direction] = [1, 2, 3].map(|seed| uniform(seed, n * map.image_len()));
            let mut y = vec![0.0; x.len()];
            let mut pulled = |blocks: &mut Blocks<Reference>| {
                let mut grad = cotangent.clone();
                blocks.forward_slices(D, &x, &mut y).expect("forward");
                blocks.backward_slice(D, &mut grad, NO_SGD).expect("backward");
                let mut arena = Arena::new(D, padded_bytes::<f64>(x.len())).expect("memory");
                let mut state = arena.tensor(Category::State, map.with_batch(n)).expect("a tensor");
                write(D, &x, &mut state);
                (grad, blocks.drift(D, &state).expect("drift").stem)
            };
            let (exact, none) = pulled(&mut backprop);
            assert_eq!((pulled(&mut checkpoint), none), ((exact.clone(), None), None), "{scheme}");
            assert!(pulled(&mut adjoint).1 > Some(0.0), "{scheme}");
            assert_eq!(pulled(&mut altered).1, Some(0.0), "{scheme}");
            let delta = 1e-6;
            let mut loss_at = |sign: f64| {
                let moved: Vec<f64> = x.iter().zip(&direction).map(|(x, v)| x + sign * delta * v).collect();
                backprop.forward_slices(D, &moved, &mut y).expect("forward");
                dot(&y, &cotangent)
            };
            let (slope, difference) = (dot(&exact, &direction), (loss_at(1.0) - loss_at(-1.0)) / (2.0 * delta));
            // as in `backprop_agrees_with_central_differences`
            assert_close(&format!("{scheme}, {n} images"), &[slope], &[difference], |_| 1e-7 * (1.0 + slope.abs()));
        }
        let error = backprop.forward_slices(D, &[0.0; 7], &mut [0.0; 7]).expect_err("no image").to_string();
        assert!(error.contains("upload"), "{error}");
    }
}

#[test]
fn blocks_alone_infer_and_learn() {
    // without a norm inference is the forward pass, to the bit
    let map = Shape::map(1, 1, 3, 5);
    let spec = |update| {
        let sweep = SweepSpec { update, ..SweepSpec::new(Scheme::Euler, Gradient::Backprop) };
        BlocksSpec { map, depth: 3, step_size: StepSize::OverDepth, tied: false, second_moments: false, sweep }
    };
    let learnt = [Update::InSweep, Update::After].map(|update| {
        let mut blocks: Blocks<Reference, Linear> = Blocks::new(D, spec(update), Init::Paper, 1).expect("blocks");
        let mut arena = Arena::new(D, 3 * padded_bytes::<f64>(map.len())).expect("memory");
        let [mut x, mut y, mut grad] = [(); 3].map(|()| arena.tensor(Category::State, map).expect("a tensor"));
        write(D, &uniform(1, map.len()), &mut x);
        let sgd = SgdStep { lr: 0.1, ..NO_SGD };
        for _ in 0..2 {
            write(D, &uniform(2, map.len()), &mut grad);
            blocks.forward(D, &x, &mut y).expect("forward");
            blocks.backward(D, &mut grad, sgd).expect("backward");
        }
        blocks.forward(D, &x, &mut y).expect("forward");
        let trained = read(D, &y);
        blocks.infer(D, &x, &mut y).expect("inference");
        assert_eq!(read(D, &y), trained);
        let thetas = blocks.stage().stack.theta.iter().flat_map(|theta| theta.named());
        (trained, thetas.flat_map(|(_, tensor)| read(D, tensor)).collect::<Vec<_>>())
    });
    let start = {
        let mut blocks: Blocks<Reference, Linear> =
            Blocks::new(D, spec(Update::After), Init::Paper, 1).expect("blocks");
        let thetas = blocks.stage().stack.theta.iter().flat_map(|theta| theta.named());
        thetas.flat_map(|(_, tensor)| read(D, tensor)).collect::<Vec<_>>()
    };
    assert!(learnt[0] == learnt[1] && learnt[0].1 != start);
}
