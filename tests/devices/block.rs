//! One residual block: the fused operations against the reference and against their definitions.

use rewind::device::prelude::*;
use rewind::device::{Basic, fused, whole};
use rewind::device::{Decay, SgdStep};
use rewind::operands::{BasicCache, BasicRunning, BasicStats, BasicTheta, BnRunning, Carry, Measure, Scratch};
use rewind::reference::Reference;
use rewind::shape::{Conv, Shape};
use rewind::tensor::Tensor;

use crate::bed::{Bed, Outputs, around_one, bound, cpus};
use crate::support::{assert_close, uniform};
use crate::{MAPS, compare};

/// The state of a block before a fused operation.
pub struct Block<D: Device> {
    pub x: Tensor<D::Buffer>,
    pub x_rec: Tensor<D::Buffer>,
    pub grad: Tensor<D::Buffer>,
    pub theta: BasicTheta<D::Buffer>,
    pub stats: BasicStats<D::Buffer>,
    pub cache: BasicCache<D::Buffer>,
    pub grad_theta: BasicTheta<D::Buffer>,
    pub scratch: Scratch<D::Buffer>,
}

impl<D: Device> Block<D> {
    pub fn new(bed: &mut Bed<'_, D>, map: Shape) -> Self {
        let c = map.c();
        let x = bed.tensor(map, &uniform(1, map.len()));
        let cache =
            BasicCache { z1: bed.tensor(map, &uniform(2, map.len())), z2: bed.tensor(map, &uniform(3, map.len())) };
        let mut grad_theta = bed.theta(c, 50);
        for (_, grad) in grad_theta.named_mut() {
            bed.d.fill(0.5, grad).expect("fill");
        }
        Self {
            x,
            x_rec: bed.tensor(map, &uniform(5, map.len())),
            grad: bed.tensor(map, &uniform(4, map.len())),
            theta: bed.theta(c, 10),
            stats: bed.basic_stats(c, 30),
            cache,
            grad_theta,
            scratch: bed.scratch(map),
        }
    }

    pub fn outputs(&self, bed: &Bed<'_, D>) -> Outputs {
        let mut outputs = vec![("x", bed.read(&self.x)), ("grad", bed.read(&self.grad))];
        for (name, tensor) in self.grad_theta.named() {
            outputs.push((name, bed.read(tensor)));
        }
        outputs
    }
}

/// Which body of a fused operation runs.
#[derive(Clone, Copy)]
pub enum Body {
    Own,
    Definition,
}

pub fn forward_block<D: Device>(d: &D, map: Shape, body: Body) -> Outputs {
    let mut bed = Bed::new(d);
    let mut b = Block::new(&mut bed, map);
    let c = map.c();
    let mut running = || BnRunning {
        mean: bed.tensor(Shape::vector(c), &vec![0.0; c]),
        var: bed.tensor(Shape::vector(c), &vec![1.0; c]),
    };
    let (mut running1, mut running2) = (running(), running());
    let BasicCache { z1, z2 } = &mut b.cache;
    let m1 = Some(Measure { stats: &mut b.stats.bn1, running: Some(&mut running1) });
    let m2 = Some(Measure { stats: &mut b.stats.bn2, running: Some(&mut running2) });
    let (w1, w2, scratch) = (&b.theta.conv1, &b.theta.conv2, &mut b.scratch);
    match body {
        Body::Own => {
            d.conv_stats(&b.x, w1, Conv::SAME_3X3, z1, m1, &mut scratch.workspace).expect("conv_stats");
            let op = d.norm_relu_conv_stats(z1, &b.stats.bn1, &b.theta.bn1, w2, z2, m2, scratch);
            op.expect("norm_relu_conv_stats");
        }
        Body::Definition => {
            fused::conv_stats(d, &b.x, w1, Conv::SAME_3X3, z1, m1, &mut scratch.workspace).expect("conv_stats");
            let op = fused::norm_relu_conv_stats(d, z1, &b.stats.bn1, &b.theta.bn1, w2, z2, m2, scratch);
            op.expect("norm_relu_conv_stats");
        }
    }
    [
        ("z1", &b.cache.z1),
        ("z2", &b.cache.z2),
        ("mean1", &b.stats.bn1.mean),
        ("rstd1", &b.stats.bn1.rstd),
        ("mean2", &b.stats.bn2.mean),
        ("rstd2", &b.stats.bn2.rstd),
        ("running_mean1", &running1.mean),
        ("running_var2", &running2.var),
    ]
    .into_iter()
    .map(|(name, tensor)| (name, bed.read(tensor)))
    .collect()
}

pub fn euler_step<D: Device>(d: &D, map: Shape, body: Body) -> Outputs {
    let mut bed = Bed::new(d);
    let mut b = Block::new(&mut bed, map);
    let c = map.c();
    let mut running = |seed| BnRunning {
        mean: bed.tensor(Shape::vector(c), &uniform(seed, c)),
        var: bed.tensor(Shape::vector(c), &around_one(seed + 1, c)),
    };
    let mut running = BasicRunning { bn1: running(60), bn2: running(62) };
    let Block { x, theta, stats, cache, scratch, .. } = &mut b;
    // once with the running statistics, once more without: they move once
    for moved in [Some(&mut running), None] {
        match body {
            Body::Own => d.euler_step(0.125, theta, stats, moved, x, cache, scratch),
            Body::Definition => whole::euler_step::<_, Basic>(d, 0.125, theta, stats, moved, x, cache, scratch),
        }
        .expect("euler_step");
    }
    let BasicStats { bn1, bn2, .. } = &b.stats;
    let mut outputs = vec![("x", bed.read(&b.x))];
    let stats = [("mean1", &bn1.mean), ("rstd1", &bn1.rstd), ("mean2", &bn2.mean), ("rstd2", &bn2.rstd)];
    outputs.extend(stats.into_iter().chain(running.named()).map(|(name, tensor)| (name, bed.read(tensor))));
    outputs
}

/// The paper's, and one with all that it has not, where each decay is to be seen.
const SGD: [SgdStep; 2] =
    [SgdStep::PAPER, SgdStep { nesterov: true, weight_decay: 0.5, decay: Decay::Weights, ..SgdStep::PAPER }];

fn sgd_block<D: Device>(d: &D, map: Shape, step: SgdStep, body: Body) -> Outputs {
    let mut bed = Bed::new(d);
    let c = map.c();
    let (grad, mut velocity, mut theta) = (bed.theta(c, 10), bed.theta(c, 20), bed.theta(c, 30));
    let (lr, loss) = (bed.tensor(Shape::vector(1), &[0.1]), bed.tensor(Shape::vector(2), &[1.5, 3.0]));
    let step = step.on_device(&lr, &loss);
    match body {
        Body::Own => d.sgd_block(step, &grad, &mut velocity, &mut theta),
        Body::Definition => whole::sgd_block(d, step, &grad, &mut velocity, &mut theta),
    }
    .expect("sgd_block");
    let all = velocity.named().into_iter().chain(theta.named());
    all.map(|(name, tensor)| (name, bed.read(tensor))).collect()
}

pub fn inverse_vjp<D: Device>(d: &D, map: Shape, carry: Carry, body: Body) -> Outputs {
    let mut bed = Bed::new(d);
    let mut b = Block::new(&mut bed, map);
    let mut errors = bed.tensor(Shape::vector(7), &[-1.0; 7]);
    let Block { x, x_rec, grad, theta, stats, cache, grad_theta, scratch } = &mut b;
    let at = (&mut errors, 2);
    match body {
        Body::Own => d.inverse_vjp(0.125, carry, theta, stats, x, x_rec, at, cache, grad, grad_theta, scratch),
        Body::Definition => whole::inverse_vjp::<_, Basic>(
            d, 0.125, carry, theta, stats, x, x_rec, at, cache, grad, grad_theta, scratch,
        ),
    }
    .expect("inverse_vjp");
    let mut outputs = b.outputs(&bed);
    let sums = bed.read(&errors);
    assert_eq!([sums[0], sums[1], sums[6]], [-1.0; 3], "only the four sums of the local error are written");
    // as norms, whose rounding is that of the states
    outputs.push(("errors", sums[2..6].iter().map(|sum| (sum / map.len() as f64).sqrt()).collect()));
    outputs
}

fn vjp<D: Device>(d: &D, map: Shape, body: Body) -> Outputs {
    let mut bed = Bed::new(d);
    let mut b = Block::new(&mut bed, map);
    let Block { x, grad, theta, stats, cache, grad_theta, scratch, .. } = &mut b;
    match body {
        Body::Own => {
            d.basic_vjp_outer(grad, 0.125, theta, stats, cache, grad_theta, scratch).expect("outer");
            d.basic_vjp_inner(x, theta, stats, cache, grad_theta, grad, scratch).expect("inner");
        }
        Body::Definition => {
            fused::basic_vjp_outer(d, grad, 0.125, theta, stats, cache, grad_theta, scratch).expect("outer");
            fused::basic_vjp_inner(d, x, theta, stats, cache, grad_theta, grad, scratch).expect("inner");
        }
    }
    b.outputs(&bed)
}

/// Through a block every value is a chain of two convolutions of 9 C terms and normalisations whose factors stay below about
/// 4 each way. An element's error is that of its largest neighbour's, so it is measured against the output's largest element;
/// a ReLU whose input is within rounding of 0 may go either way and moves single elements by up to eps-sized inputs only,
/// since both sides of the kink agree there, except in gradients: none of the fixed seeds' inputs is that close in f32 (the
/// comparison would fail by 4 orders of magnitude). TF32 turns a few.
fn block_bound(map: Shape, expected: &[f64]) -> Vec<f64> {
    let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    vec![bound(9 * map.c() + map.pixels(), 16.0 * largest)]
}

#[test]
fn fused_block_operations_match_the_reference() {
    if crate::bed::ran_apart() {
        return;
    }
    for map in MAPS {
        let expected = forward_block(&Reference, map, Body::Definition);
        let of = |all: &Outputs, name: &str| {
            let (_, values) = all.iter().find(|(other, _)| *other == name).expect("same outputs");
            block_bound(map, values)
        };
        // one pixel in all has variance 0: rstd is 316 and multiplies every rounding
        if map.pixels() > 1 {
            compare!(format!("forward {map}"), map.c(), forward_block(map, Body::Own), |name: &str| of(
                &expected, name
            ));
            let expected = euler_step(&Reference, map, Body::Definition);
            compare!(format!("euler_step {map}"), map.c(), euler_step(map, Body::Own), |name: &str| of(
                &expected, name
            ));
        }
        for step in SGD {
            let expected = sgd_block(&Reference, map, step, Body::Definition);
            let what = format!("sgd_block {map} {step:?}");
            compare!(what, map.c(), sgd_block(map, step, Body::Own), |name: &str| of(&expected, name));
        }
        let expected = vjp(&Reference, map, Body::Definition);
        compare!(format!("vjp {map}"), map.c(), vjp(map, Body::Own), |name: &str| of(&expected, name));
        for carry in [Carry::Reconstruction, Carry::Correction] {
            let expected = inverse_vjp(&Reference, map, carry, Body::Definition);
            let what = format!("inverse_vjp {carry:?} {map}");
            compare!(what, map.c(), inverse_vjp(map, carry, Body::Own), |name: &str| of(&expected, name));
        }
    }
}

/// Maps that a GPU keeps in shared memory for a whole block: one pixel; several images to a multiprocessor, fewer on the
/// last; more than a round of tiles, at 16 and at 32 channels.
const SMALL_MAPS: [Shape; 6] = [
    Shape::map(1, 1, 1, 16),
    Shape::map(1, 1, 3, 32),
    Shape::map(135, 3, 2, 16),
    Shape::map(133, 2, 3, 32),
    Shape::map(1, 17, 18, 16),
    Shape::map(1, 16, 18, 32),
];

#[test]
fn blocks_on_small_maps_match_the_reference() {
    if crate::bed::ran_apart() {
        return;
    }
    for map in SMALL_MAPS {
        let of = |all: &Outputs, name: &str| {
            let (_, values) = all.iter().find(|(other, _)| *other == name).expect("same outputs");
            block_bound(map, values)
        };
        // as above: one pixel has variance 0
        if map.pixels() > 1 {
            let expected = euler_step(&Reference, map, Body::Definition);
            compare!(format!("euler_step {map}"), map.c(), euler_step(map, Body::Own), |name: &str| of(
                &expected, name
            ));
        }
        for carry in [Carry::Reconstruction, Carry::Correction] {
            let expected = inverse_vjp(&Reference, map, carry, Body::Definition);
            let what = format!("inverse_vjp {carry:?} {map}");
            compare!(what, map.c(), inverse_vjp(map, carry, Body::Own), |name: &str| of(&expected, name));
        }
    }
}

/// The GPU's one launch against the chain that defines it, which multiplies the same factors: sums differ by their order
/// alone. In TF32 a factor that lies within an f32 rounding of the middle of two TF32 numbers may also go to either: so few of a
/// sum's terms that they move it by less than 2^-10, a TF32 number's last place, of the largest result. A ReLU whose input is
/// that close to 0 would go either way too and move a pixel's neighbours by far more (seen at 17 x 17 x 32: one mask of 9248,
/// and nothing else, differed): no input of these maps is.
#[cfg(all(feature = "cuda", target_os = "linux"))]
#[test]
fn blocks_on_small_maps_match_their_definitions() {
    if crate::bed::ran_apart() {
        return;
    }
    // the chain has no form in f16 for these channels
    for (cuda, _) in crate::bed::cudas_for(8) {
        let _turn = crate::support::gpu::turn();
        let factors = if cuda.name().contains("tf32") { 1.0 / 1024.0 } else { 0.0 };
        for map in SMALL_MAPS.into_iter().filter(|map| map.pixels() > 1) {
            let inverse = |carry, body| inverse_vjp(cuda, map, carry, body);
            let pairs = [
                (euler_step(cuda, map, Body::Own), euler_step(cuda, map, Body::Definition)),
                (inverse(Carry::Correction, Body::Own), inverse(Carry::Correction, Body::Definition)),
                (inverse(Carry::Reconstruction, Body::Own), inverse(Carry::Reconstruction, Body::Definition)),
            ];
            for (own, definition) in pairs {
                for ((name, own), (_, definition)) in own.iter().zip(&definition) {
                    let largest = definition.iter().fold(0.0f64, |a, b| a.max(b.abs()));
                    let tolerance = block_bound(map, definition)[0] + factors * largest;
                    assert_close(&format!("{name} of {map} on {}", cuda.name()), own, definition, |_| tolerance);
                }
            }
        }
        crate::support::gpu::no_faults();
    }
}

#[test]
fn fused_operations_match_their_definitions() {
    for cpu in cpus() {
        for map in MAPS {
            let pairs = [
                (euler_step(cpu, map, Body::Own), euler_step(cpu, map, Body::Definition)),
                (sgd_block(cpu, map, SGD[0], Body::Own), sgd_block(cpu, map, SGD[0], Body::Definition)),
                (sgd_block(cpu, map, SGD[1], Body::Own), sgd_block(cpu, map, SGD[1], Body::Definition)),
                (forward_block(cpu, map, Body::Own), forward_block(cpu, map, Body::Definition)),
                (vjp(cpu, map, Body::Own), vjp(cpu, map, Body::Definition)),
                (
                    inverse_vjp(cpu, map, Carry::Correction, Body::Own),
                    inverse_vjp(cpu, map, Carry::Correction, Body::Definition),
                ),
                (
                    inverse_vjp(cpu, map, Carry::Reconstruction, Body::Own),
                    inverse_vjp(cpu, map, Carry::Reconstruction, Body::Definition),
                ),
            ];
            for (own, definition) in pairs {
                for ((name, own), (_, definition)) in own.iter().zip(&definition) {
                    let tolerance = block_bound(map, definition)[0];
                    assert_close(&format!("{name} of {map} on {}", cpu.name()), own, definition, |_| tolerance);
                }
            }
        }
    }
}

/// Kernels that a block's forward step and its inverse step with pullback launch.
#[cfg(all(feature = "cuda", target_os = "linux"))]
fn launches(cuda: &rewind::cuda::Cuda, emulator: &rewind_emulator::Emulator, map: Shape) -> [u64; 2] {
    let mut bed = Bed::new(cuda);
    let mut b = Block::new(&mut bed, map);
    let mut errors = bed.empty(Shape::vector(4));
    let Block { x, x_rec, grad, theta, stats, cache, grad_theta, scratch } = &mut b;
    let count = |run: &mut dyn FnMut() -> rewind::error::Result<()>| {
        let before = emulator.statistics().expect("statistics").launches;
        run().expect("a block's operation");
        emulator.statistics().expect("statistics").launches - before
    };
    [
        count(&mut || cuda.euler_step(0.125, theta, stats, None, x, cache, scratch)),
        count(&mut || {
            let carry = Carry::Correction;
            cuda.inverse_vjp(0.125, carry, theta, stats, x, x_rec, (&mut errors, 0), cache, grad, grad_theta, scratch)
        }),
    ]
}

#[cfg(all(feature = "cuda", target_os = "linux"))]
#[test]
fn a_block_on_a_small_map_is_one_launch() {
    if crate::bed::ran_apart() {
        return;
    }
    use crate::support::gpu;
    let _turn = gpu::turn();
    let Some(emulator) = gpu::emulator() else { return eprintln!("on a GPU nobody counts the launches") };
    for (cuda, _) in crate::bed::cudas_for(16) {
        for map in MAPS.into_iter().filter(|map| matches!(map.c(), 16 | 32)).chain(SMALL_MAPS) {
            assert_eq!(launches(cuda, &emulator, map), [1, 1], "{map}");
        }
        // channels that the form does not take, and an image that does not fit
        for map in [Shape::map(2, 5, 4, 8), Shape::map(1, 4, 3, 64), Shape::map(1, 40, 40, 32)] {
            let [forward, inverse] = launches(cuda, &emulator, map);
            assert!(forward > 1 && inverse > 1, "{map}: {forward} and {inverse} launches");
        }
        gpu::no_faults();
    }
}
