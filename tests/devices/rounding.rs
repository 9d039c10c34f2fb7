//! The CPU's emulation of tensor cores: convolutions of rounded operands against the reference on operands that were rounded before, and
//! against the kernels that it emulates.

use rewind::cpu::{Cpu, Isa, Rounding};
use rewind::device::Device;
use rewind::operands::Carry;
use rewind::reference::Reference;
use rewind::shape::{Conv, Shape};

use crate::bed::{Bed, Outputs, absolute, bound};
use crate::block::{Body, forward_block, inverse_vjp};
use crate::support::{assert_close, uniform};
use crate::{CONVS, MAPS};

const ALL: [Rounding; 3] = [Rounding::Tf32, Rounding::Fp16, Rounding::Bf16];

fn rounded_cpu(isa: Isa, threads: usize, rounding: Rounding) -> Cpu {
    Cpu::with_isa(isa, threads).expect("cpu").round_as(Some(rounding))
}

/// Values of the format, behind a scale where it has few exponents.
fn rounded(rounding: Rounding, scale: f32, values: &[f64]) -> Vec<f64> {
    let scale = if rounding == Rounding::Fp16 { scale } else { 1.0 };
    values.iter().map(|v| f64::from(rounding.round(scale * *v as f32) / scale)).collect()
}

/// The power of two that brings the largest magnitude to [2^12, 2^13).
fn scale_of(values: &[f64]) -> f32 {
    let largest = values.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    2f32.powi(12 - largest.log2().floor() as i32)
}

/// What a convolution and its gradients work on; the gradient is tiny, as gradients are: f16 without a scale would lose all of it.
struct Operands {
    x_shape: Shape,
    conv: Conv,
    c_out: usize,
    x: Vec<f64>,
    w: Vec<f64>,
    grad: Vec<f64>,
    grad_w: Vec<f64>,
}

impl Operands {
    fn new(x_shape: Shape, conv: Conv, c_out: usize) -> Self {
        let (w_shape, y_shape) = (Shape::weight(conv.kernel, x_shape.c(), c_out), conv.output(x_shape, c_out));
        let tiny = |values: Vec<f64>| values.into_iter().map(|v| v / f64::from(1u32 << 30)).collect();
        let (x, w) = (uniform(1, x_shape.len()), uniform(2, w_shape.len()));
        let (grad, grad_w) = (tiny(uniform(3, y_shape.len())), tiny(uniform(4, w_shape.len())));
        Self { x_shape, conv, c_out, x, w, grad, grad_w }
    }

    fn rounded(&self, rounding: Rounding) -> Self {
        let (x, w) = (rounded(rounding, 1.0, &self.x), rounded(rounding, 64.0, &self.w));
        let grad = rounded(rounding, scale_of(&self.grad), &self.grad);
        Self { x, w, grad, grad_w: self.grad_w.clone(), ..*self }
    }

    fn magnitudes(&self) -> Self {
        let [x, w, grad, grad_w] = [&self.x, &self.w, &self.grad, &self.grad_w].map(|values| absolute(values));
        Self { x, w, grad, grad_w, ..*self }
    }

    fn results<D: Device>(&self, d: &D) -> Outputs {
        let mut bed = Bed::new(d);
        let Self { x_shape, conv, c_out, .. } = *self;
        let (w_shape, y_shape) = (Shape::weight(conv.kernel, x_shape.c(), c_out), conv.output(x_shape, c_out));
        let (x, w, g) = (bed.tensor(x_shape, &self.x), bed.tensor(w_shape, &self.w), bed.tensor(y_shape, &self.grad));
        let (mut y, mut grad_x, mut grad_w) =
            (bed.empty(y_shape), bed.empty(x_shape), bed.tensor(w_shape, &self.grad_w));
        // exactly what the sibling asks for
        let mut workspace = bed.buffer(d.conv_workspace(x_shape, conv, c_out));
        d.conv(&x, &w, conv, &mut y, &mut workspace).expect("conv");
        d.conv_grad_x(&g, &w, conv, &mut grad_x, &mut workspace).expect("conv_grad_x");
        d.conv_grad_w(&x, &g, conv, &mut grad_w, &mut workspace).expect("conv_grad_w");
        vec![("y", bed.read(&y)), ("grad_x", bed.read(&grad_x)), ("grad_w", bed.read(&grad_w))]
    }
}

fn cases() -> impl Iterator<Item = Operands> {
    let all = MAPS.into_iter().flat_map(|map| CONVS.into_iter().map(move |conv| (map, conv)));
    let fit = all.filter(|(map, conv)| map.h().min(map.w()) + 2 * conv.padding >= conv.kernel);
    let with_outputs = fit.flat_map(|(map, conv)| [16, map.c()].map(|c_out| (map, conv, c_out)));
    let small = with_outputs.filter(|(map, conv, c_out)| map.len() * c_out * conv.kernel <= 2_000_000);
    small.map(|(map, conv, c_out)| Operands::new(map, conv, c_out))
}

#[test]
fn convolutions_are_those_of_rounded_operands() {
    for rounding in ALL {
        let cpu = rounded_cpu(Isa::detect(), 2, rounding);
        for given in cases() {
            let there = given.rounded(rounding);
            let (expected, magnitudes) = (there.results(&Reference), there.magnitudes().results(&Reference));
            let Operands { x_shape, conv, c_out, .. } = given;
            let taps = conv.kernel * conv.kernel;
            for ((name, found), ((_, expected), (_, magnitudes))) in
                given.results(&cpu).iter().zip(expected.iter().zip(&magnitudes))
            {
                let terms = match *name {
                    "y" => taps * x_shape.c(),
                    "grad_x" => taps * c_out,
                    _ => conv.output(x_shape, c_out).pixels() + 1,
                };
                let what = format!("{rounding} {conv:?} {x_shape} to {c_out}: {name}");
                assert_close(&what, found, expected, |i| bound(terms, magnitudes[i]));
            }
        }
    }
}

/// A product of two numbers of 11 bits has at most 22, which f32 holds: whether a machine rounds it before it adds it makes no
/// difference, and every sum has one order.
#[test]
fn rounded_convolutions_are_the_same_bits_on_every_instruction_set() {
    for rounding in ALL {
        for given in cases() {
            let bits = |isa| {
                let results = given.results(&rounded_cpu(isa, 1, rounding));
                results.into_iter().map(|(_, values)| values.into_iter().map(f64::to_bits).collect()).collect()
            };
            let expected: Vec<Vec<u64>> = bits(Isa::Portable);
            for isa in Isa::available() {
                let Operands { x_shape, conv, c_out, .. } = given;
                assert!(bits(isa) == expected, "{rounding} {conv:?} {x_shape} to {c_out} on {isa}");
            }
        }
    }
}

#[test]
fn rounded_blocks_are_the_same_bits_for_any_number_of_threads() {
    for (isa, rounding) in Isa::available().into_iter().flat_map(|isa| ALL.map(|rounding| (isa, rounding))) {
        for map in MAPS {
            let run = |threads| {
                let cpu = rounded_cpu(isa, threads, rounding);
                let outputs = [
                    forward_block(&cpu, map, Body::Own),
                    inverse_vjp(&cpu, map, Carry::Correction, Body::Own),
                    Operands::new(map, Conv::SAME_3X3, map.c()).results(&cpu),
                ];
                let bits = |(name, values): (_, Vec<f64>)| (name, values.into_iter().map(f64::to_bits).collect());
                outputs.into_iter().flatten().map(bits).collect::<Vec<(&str, Vec<u64>)>>()
            };
            let one = run(1);
            for threads in [2, 5] {
                for ((name, one), (_, many)) in one.iter().zip(run(threads)) {
                    assert_eq!(one, &many, "{name} of {map} on {isa} with {threads} threads, {rounding}");
                }
            }
        }
    }
}

/// The definitions put each operand into a map of its own, which the convolutions round: the fused passes round on the way. The numbers
/// are the same, but for the scale of f16's gradients: the definitions know the largest magnitude, the fused passes a bound of
/// it. What differs are numbers below 2^-26 of that bound, by 2^-37 of it at most.
#[test]
fn rounded_blocks_match_their_definitions() {
    for rounding in ALL {
        let cpu = rounded_cpu(Isa::detect(), 2, rounding);
        for map in MAPS {
            let inverse = |body| inverse_vjp(&cpu, map, Carry::Correction, body);
            let pairs = [
                (forward_block(&cpu, map, Body::Own), forward_block(&cpu, map, Body::Definition)),
                (inverse(Body::Own), inverse(Body::Definition)),
            ];
            for ((name, own), (_, definition)) in pairs.iter().flat_map(|(own, other)| own.iter().zip(other)) {
                let largest = definition.iter().fold(0.0f64, |a, b| a.max(b.abs()));
                let tolerance = bound(9 * map.c() + map.pixels(), largest);
                assert_close(&format!("{name} of {map}, {rounding}"), own, definition, |_| tolerance);
            }
        }
    }
}

#[test]
fn what_f16_cannot_hold_becomes_infinite_and_gradients_may_be_tiny_or_large() {
    let isa = Isa::detect();
    let one = |x: f64, grad: f64, rounding| {
        let given = Operands {
            x: vec![x],
            w: vec![1.0],
            grad: vec![grad],
            grad_w: vec![0.0],
            ..Operands::new(Shape::map(1, 1, 1, 1), Conv { kernel: 1, stride: 1, padding: 0 }, 1)
        };
        let results = given.results(&rounded_cpu(isa, 1, rounding));
        results.into_iter().map(|(_, values)| values[0]).collect::<Vec<_>>()
    };
    assert_eq!(one(131_072.0, 1.0, Rounding::Fp16), [f64::INFINITY, 1.0, f64::INFINITY]);
    for rounding in [Rounding::Tf32, Rounding::Bf16] {
        assert_eq!(one(131_072.0, 1.0, rounding), [131_072.0, 1.0, 131_072.0], "{rounding}");
    }
    for rounding in ALL {
        for grad in [2f64.powi(-100), 2f64.powi(100)] {
            assert_eq!(one(0.5, grad, rounding), [0.5, grad, grad / 2.0], "{rounding}");
        }
        assert!(one(f64::NAN, 1.0, rounding)[0].is_nan(), "{rounding}");
    }
    // a state below half of f16's smallest number is lost
    assert_eq!(one(2f64.powi(-26), 1.0, Rounding::Fp16)[0], 0.0);
}

#[cfg(all(feature = "cuda", target_os = "linux"))]
mod kernels {
    use rewind::cuda::Cuda;
    use rewind::device::{BatchNorm, Math, ResidualBlock};
    use rewind::operands::{BasicStats, BasicTheta, Scratch};

    use super::*;
    use crate::support::gpu::{gpu, no_faults, turn};

    /// Two tiles of 128 pixels, whose number is a power of two.
    /// Of the channels that the kernels have forms for.
    const MAPS: [Shape; 3] = [Shape::map(4, 8, 8, 64), Shape::map(4, 8, 8, 16), Shape::map(4, 8, 8, 32)];

    /// Multiples of 1/16 of magnitude at most 1: sums of a map's products of three of them are exact in f32, in any order.
    fn sixteenths(seed: u64, len: usize) -> Vec<f64> {
        uniform(seed, len).iter().map(|v| (16.0 * v).round() / 16.0).collect()
    }

    /// 1/2, 1 and 2, so that what they multiply stays exact.
    fn powers(seed: u64, len: usize) -> Vec<f64> {
        uniform(seed, len).iter().map(|v| (1.5 * v).round().exp2()).collect()
    }

    struct Given<D: Device> {
        theta: BasicTheta<D::Buffer>,
        stats: BasicStats<D::Buffer>,
        scratch: Scratch<D::Buffer>,
    }

    impl<D: Device> Given<D> {
        fn new(bed: &mut Bed<'_, D>, map: Shape) -> Self {
            let (c, weight) = (map.c(), Shape::weight(3, map.c(), map.c()));
            let affine = |bed: &mut Bed<'_, D>, seed| bed.affine(c, &powers(seed, c), &sixteenths(seed + 1, c));
            let stats = |bed: &mut Bed<'_, D>, seed| bed.stats(c, &sixteenths(seed, c), &powers(seed + 1, c));
            let w = |seed| uniform(seed, weight.len()).iter().map(|v| v / 24.0).collect::<Vec<_>>();
            let theta = BasicTheta {
                conv1: bed.tensor(weight, &w(10)),
                bn1: affine(bed, 11),
                conv2: bed.tensor(weight, &w(13)),
                bn2: affine(bed, 14),
            };
            let stats = BasicStats { bn1: stats(bed, 20), bn2: stats(bed, 22), mask: None };
            Self { theta, stats, scratch: bed.scratch(map) }
        }
    }

    /// The forward half and the outer half of the way back, from operands that both devices round from the same f32 numbers.
    fn halves<D: Device>(d: &D, map: Shape) -> Outputs {
        let mut bed = Bed::new(d);
        let Given { theta, stats, mut scratch } = Given::new(&mut bed, map);
        let x = bed.tensor(map, &uniform(1, map.len()));
        let [z1, z2, grad] = [2, 3, 4].map(|seed| bed.tensor(map, &sixteenths(seed, map.len())));
        let (mut y1, mut y2) = (bed.empty(map), bed.empty(map));
        d.conv_stats(&x, &theta.conv1, Conv::SAME_3X3, &mut y1, None, &mut scratch.workspace).expect("conv_stats");
        let op = d.norm_relu_conv_stats(&z1, &stats.bn1, &theta.bn1, &theta.conv2, &mut y2, None, &mut scratch);
        op.expect("norm_relu_conv_stats");
        let mut grad_theta = Given::new(&mut bed, map).theta;
        grad_theta.named_mut().into_iter().for_each(|(_, tensor)| d.fill(0.0, tensor).expect("fill"));
        let cache = rewind::operands::BasicCache { z1, z2 };
        let op = d.basic_vjp_outer(&grad, 0.125, &theta, &stats, &cache, &mut grad_theta, &mut scratch);
        op.expect("basic_vjp_outer");
        vec![
            ("y1", bed.read(&y1)),
            ("y2", bed.read(&y2)),
            ("grad_u", bed.read(&scratch.grad_u)),
            ("conv2", bed.read(&grad_theta.conv2)),
            ("gamma2", bed.read(&grad_theta.bn2.gamma)),
            ("beta2", bed.read(&grad_theta.bn2.beta)),
        ]
    }

    /// The sums of the magnitudes of the terms of each of the first four outputs of [`halves`], and how many terms those are.
    fn magnitudes(map: Shape) -> [(Vec<f64>, usize); 4] {
        let (d, mut bed) = (&Reference, Bed::new(&Reference));
        let Given { theta, stats, mut scratch } = Given::<Reference>::new(&mut bed, map);
        let [z1, z2, grad] = [2, 3, 4].map(|seed| bed.tensor(map, &sixteenths(seed, map.len())));
        let (mut grad_z2, mut a) = (bed.empty(map), bed.empty(map));
        let Scratch { sums2, workspace, .. } = &mut scratch;
        d.bn_grad_sums(&grad, 0.125, &z2, &stats.bn2, sums2, workspace).expect("sums");
        d.bn_grad_z(&grad, 0.125, &z2, &stats.bn2, &theta.bn2, sums2, &mut grad_z2).expect("grad_z2");
        d.norm_relu(&z1, &stats.bn1, &theta.bn1, &mut a).expect("norm_relu");
        let (a, grad_z2) = (bed.read(&a), bed.read(&grad_z2));
        let new = |x: Vec<f64>, w: &rewind::tensor::Tensor<_>, grad: &[f64]| {
            let given = Operands::new(map, Conv::SAME_3X3, map.c());
            let grad_w = vec![0.0; given.grad_w.len()];
            Operands { x, w: bed.read(w), grad: grad.to_vec(), grad_w, ..given }.magnitudes().results(d)
        };
        let [first, second] = [new(uniform(1, map.len()), &theta.conv1, &grad_z2), new(a, &theta.conv2, &grad_z2)];
        let of = |all: &Outputs, at: usize| all[at].1.clone();
        let taps = 9 * map.c();
        [(of(&first, 0), taps), (of(&second, 0), taps), (of(&second, 1), taps), (of(&second, 2), map.pixels())]
    }

    fn fp16() -> [Cuda; 2] {
        [gpu(Math::Fp16), gpu(Math::Fp16).in_few_blocks()]
    }

    fn in_short() -> [(Rounding, Vec<Cuda>); 2] {
        [(Rounding::Fp16, fp16().into()), (Rounding::Bf16, vec![gpu(Math::Bf16)])]
    }

    /// Where both devices have the same f32 numbers before the rounding, the operands are the same bits, and results differ by the order
    /// of f32 sums alone: each is off by its own [`bound`]. Numbers at which f16 loses bits because of its range make no
    /// difference either: both have the same scales.
    #[test]
    fn the_emulation_multiplies_what_the_f16_kernels_multiply() {
        if crate::bed::ran_apart() {
            return;
        }
        if Isa::detect() == Isa::Portable {
            return eprintln!(
                "without fused multiply-add, batch norm rounds otherwise than a GPU's: nothing to compare"
            );
        }
        for (rounding, cudas) in in_short() {
            for map in MAPS {
                multiplies_what_the_kernels_multiply(rounding, &cudas, map);
            }
        }
    }

    fn multiplies_what_the_kernels_multiply(rounding: Rounding, cudas: &[Cuda], map: Shape) {
        let emulated = halves(&rounded_cpu(Isa::detect(), 2, rounding), map);
        let (magnitudes, unrounded) = (magnitudes(map), halves(&Cpu::new(Some(2)).expect("cpu"), map));
        let _turn = turn();
        for cuda in cudas {
            let found = halves(cuda, map);
            no_faults();
            for (((name, found), (_, emulated)), (magnitudes, terms)) in found.iter().zip(&emulated).zip(&magnitudes) {
                let what = format!("{name} of {map} on {}", cuda.name());
                // operands are at most 2^-8 larger than before they were rounded, which a factor of 2 holds as well
                let both = |i: usize| 2.0 * bound(*terms, magnitudes[i]) * (1.0 + 1.0 / 64.0);
                assert_close(&what, found, emulated, both);
            }
            // the sums have no order to differ by
            assert_eq!(found[4..], emulated[4..], "on {}", cuda.name());
        }
        // that the bound tells rounded from unrounded: the same comparison with f32's operands fails for each output
        for (((name, plain), (_, emulated)), (magnitudes, terms)) in unrounded.iter().zip(&emulated).zip(&magnitudes) {
            let off = plain.iter().zip(emulated).zip(magnitudes);
            assert!(off.into_iter().any(|((a, b), m)| (a - b).abs() > 4.0 * bound(*terms, *m)), "{name}");
        }
    }

    /// Through a whole block the f32 numbers before a rounding differ by the order of sums before them, some 3e-7, and one in a
    /// thousand is rounded to the other neighbour, 2^-10 away. In the Euclidean norm that makes sqrt(12 / 1000), a ninth, of what the rounding of
    /// all of them makes (seen: a quarter to a fiftieth, the more the fewer numbers there are). The emulation is held to a third.
    #[test]
    fn a_block_step_of_the_f16_kernels_is_near_its_emulation() {
        if crate::bed::ran_apart() {
            return;
        }
        for (rounding, cudas) in in_short() {
            // the chain, and one launch
            for map in MAPS {
                is_near_its_emulation(rounding, &cudas, map);
            }
        }
    }

    fn is_near_its_emulation(rounding: Rounding, cudas: &[Cuda], map: Shape) {
        let step = |d: &Cpu| inverse_vjp(d, map, Carry::Correction, Body::Own);
        let (exact, emulated) =
            (step(&Cpu::new(Some(2)).expect("cpu")), step(&rounded_cpu(Isa::detect(), 2, rounding)));
        let norm = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
        let _turn = turn();
        for cuda in cudas {
            let found = inverse_vjp(cuda, map, Carry::Correction, Body::Own);
            no_faults();
            for (((name, found), (_, emulated)), (_, exact)) in found.iter().zip(&emulated).zip(&exact) {
                let (off, rounding) = (norm(found, emulated), norm(emulated, exact));
                if *name == "bn2.bias" {
                    // h times the sum of g, all of it below 1, where nothing is rounded
                    assert_eq!(emulated, exact);
                    let both = 2.0 * bound(map.pixels(), 0.125 * map.pixels() as f64);
                    assert_close(name, found, emulated, |_| both);
                    continue;
                }
                assert!(off <= rounding / 3.0, "{name} of {map} on {}: off by {off:e} of {rounding:e}", cuda.name());
            }
        }
    }
}
