//! Coded steps by a device's own kernels against their definitions and the reference.

use rewind::code::{Bits, Code, CodedPass, Coder};
use rewind::device::prelude::*;
use rewind::device::{Basic, whole};
use rewind::memory::take;
use rewind::reference::Reference;
use rewind::shape::Shape;

use crate::MAPS;
use crate::bed::{Bed, Outputs, cpus};
use crate::block::{Block, Body};
use crate::support::uniform;

/// A coded step forward, plain or altered, and the way back from where it led: with a carry and a grid that a pass might have.
#[derive(Clone, Copy)]
struct CodedStep {
    bits: Bits,
    pass: CodedPass,
}

fn coded<D: Device>(d: &D, map: Shape, step: CodedStep, body: Body) -> [Outputs; 2] {
    let CodedStep { bits, pass } = step;
    let mut bed = Bed::new(d);
    let mut b = Block::new(&mut bed, map);
    let made = take(d, |arena| Ok((Coder::new(arena, map.c(), bits, pass)?, Code::new(arena, map, bits)?)));
    let ((mut coder, mut code), _) = made.expect("a coder and a code");
    let mut carry = bed.tensor(map, &uniform(6, map.len()).iter().map(|v| v / 32.0).collect::<Vec<_>>());
    let scratch_len = d.block_workspace(map).max(d.code_workspace(map));
    b.scratch.workspace = bed.buffer(scratch_len);
    let Block { x, grad, theta, stats, cache, grad_theta, scratch, .. } = &mut b;
    d.fill(1e-4, &mut coder.rest).expect("fill");
    d.code_start(x, &mut coder.grid, &mut scratch.workspace).expect("code_start");
    match body {
        Body::Own => d.code_step(0.125, theta, stats, None, &mut coder, &mut code, x, &mut carry, cache, scratch),
        Body::Definition => whole::code_step::<_, Basic>(
            d, 0.125, theta, stats, None, &mut coder, &mut code, x, &mut carry, cache, scratch,
        ),
    }
    .expect("code_step");
    let (moved, left) = (bed.read(x), bed.read(&carry));
    let mut forward = vec![
        ("rest", bed.read(&coder.rest)),
        ("mean", bed.read(&code.scale.mean)),
        ("rstd", bed.read(&code.scale.rstd)),
        ("mean2", bed.read(&stats.bn2.mean)),
    ];
    match body {
        Body::Own => d.decode_vjp(0.125, theta, stats, &coder, &code, x, cache, grad, grad_theta, scratch),
        Body::Definition => {
            whole::decode_vjp::<_, Basic>(d, 0.125, theta, stats, &coder, &code, x, cache, grad, grad_theta, scratch)
        }
    }
    .expect("decode_vjp");
    // what was coded, and what an element has in all: codes at a threshold may be others, these may not
    let q = moved.iter().zip(bed.read(x)).map(|(moved, x)| moved - x);
    forward.push(("w", q.zip(&left).map(|(q, left)| q + left).collect()));
    forward.push(("x", moved));
    [forward, b.outputs(&bed)]
}

const CODED_STEPS: [CodedStep; 4] = [
    CodedStep { bits: Bits::One, pass: CodedPass::Plain },
    CodedStep { bits: Bits::Two, pass: CodedPass::Altered },
    CodedStep { bits: Bits::Four, pass: CodedPass::Plain },
    CodedStep { bits: Bits::Eight, pass: CodedPass::Altered },
];

/// What lies within rounding of a threshold may be coded the other way, which moves an element of a state by a level: few of them, so
/// that the whole is near.
fn near(what: &str, found: &Outputs, expected: &Outputs, part: f64) {
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        let off = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
        let all = norm(&mut expected.iter().copied());
        assert!(off <= part * all + 1e-6, "{name} of {what}: off by {off:e} of {all:e}");
    }
}

#[test]
fn coded_steps_match_their_definitions_and_the_reference() {
    if crate::bed::ran_apart() {
        return;
    }
    for map in MAPS.into_iter().filter(|map| map.pixels() > 1) {
        for step in CODED_STEPS {
            let what = format!("{} bits, {} pass, {map}", step.bits, step.pass);
            let expected = coded(&Reference, map, step, Body::Own);
            for cpu in cpus() {
                let own = coded(cpu, map, step, Body::Own);
                assert!(
                    own == coded(cpu, map, step, Body::Definition),
                    "{what} on {}: not the bits of its definition",
                    cpu.name()
                );
                own.iter().zip(&expected).for_each(|(own, expected)| near(&what, own, expected, 0.02));
            }
        }
    }
}

#[cfg(all(feature = "cuda", target_os = "linux"))]
#[test]
fn coded_steps_on_a_gpu_come_near_the_reference() {
    if crate::bed::ran_apart() {
        return;
    }
    for (cuda, looser) in crate::bed::cudas() {
        // in one launch, in a chain, in a chain whose tiles are not full, and by the definition
        let maps = [(2, 10, 10, 16), (1, 5, 4, 32), (2, 9, 11, 64), (1, 40, 33, 16), (3, 6, 7, 33)];
        let maps = maps.map(|(n, h, w, c)| Shape::map(n, h, w, c));
        let own = |map: &Shape| crate::bed::cudas_for(map.c()).iter().any(|(of, _)| of.name() == cuda.name());
        for map in maps.into_iter().filter(own) {
            for step in CODED_STEPS[1..3].iter().copied() {
                let what = format!("{} bits, {} pass, {map} on {}", step.bits, step.pass, cuda.name());
                let expected = coded(&Reference, map, step, Body::Own);
                let flat = |[forward, backward]: [Outputs; 2]| forward.into_iter().chain(backward).collect::<Outputs>();
                let found = crate::support::gpu::in_any_order(|| flat(coded(cuda, map, step, Body::Own)));
                let part = if *looser > 1.0 { 0.125 } else { 0.03 };
                near(&what, &found, &flat(expected), part);
            }
        }
    }
}
