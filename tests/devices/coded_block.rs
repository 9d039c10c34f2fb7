//! A coded block on a GPU: the same bits as the CPU where nothing is summed, the fused operations against their definitions, and
//! how many launches they take.

use rewind::code::{Bits, COMPANDING, Code, CodedPass, Coder, THRESHOLD_2};
use rewind::cpu::Cpu;
use rewind::cuda::{Cuda, CudaBuffer};
use rewind::device::prelude::*;
use rewind::device::{Basic, whole};
use rewind::memory::take;
use rewind::operands::{BasicCache, BasicStats, BasicTheta, Scratch};
use rewind::shape::Shape;
use rewind::tensor::Tensor;

use crate::MAPS;
use crate::bed::{Bed, assert_near, bound, cudas, cudas_for};
use crate::block::Body;
use crate::support::gpu::{emulator, in_any_order, no_faults, turn};
use crate::support::{assert_close, uniform};

/// A coder and its code.
fn coder<D: Device>(
    bed: &mut Bed<'_, D>,
    map: Shape,
    bits: Bits,
    pass: CodedPass,
) -> (Coder<D::Buffer>, Code<D::Buffer>) {
    let made = take(bed.d, |arena| Ok((Coder::new(arena, map.c(), bits, pass)?, Code::new(arena, map, bits)?)));
    made.expect("a coder and a code").0
}

/// A tensor's bits, which words of codes are.
fn words<D: Device<Real = f32>>(d: &D, tensor: &Tensor<D::Buffer>) -> Vec<u32> {
    let mut values = vec![0.0; tensor.shape().len()];
    d.download(tensor, &mut values).expect("download");
    values.into_iter().map(f32::to_bits).collect()
}

/// Scale, codes, carry, state, and the state decoded again: the bits of each.
fn encoded<D: Device<Real = f32>>(d: &D, map: Shape, bits: Bits) -> [Vec<u32>; 6] {
    let (mut bed, c) = (Bed::new(d), map.c());
    let (mut coder, mut code) = coder(&mut bed, map, bits, CodedPass::Altered);
    let mut workspace = bed.buffer(d.code_workspace(map));
    let mut x = bed.tensor(map, &uniform(1, map.len()));
    let mut carry = bed.tensor(map, &uniform(2, map.len()).iter().map(|v| v * v * v).collect::<Vec<_>>());
    coder.rest = bed.tensor(Shape::vector(c), &uniform(3, c).iter().map(|v| v * v).collect::<Vec<_>>());
    let affine = bed.affine(c, &uniform(4, c), &uniform(5, c));
    d.code_start(&mut x, &mut coder.grid, &mut workspace).expect("code_start");
    d.code_scale(0.3, &[&affine, &affine], &coder.rest, &mut code.scale).expect("code_scale");
    let scale = [words(d, &code.scale.mean), words(d, &code.scale.rstd)];
    d.encode(&mut coder, &mut carry, Some(&mut x), &mut code, &mut workspace).expect("encode");
    let (packed, carry, state) = (words(d, &code.packed), words(d, &carry), words(d, &x));
    d.decode(&coder, &code, &mut x, &mut workspace).expect("decode");
    let [mean, rstd] = scale;
    [mean, rstd, packed, carry, state, words(d, &x)]
}

/// Every rounding of the scale, of coding and of decoding is written out, the same on both.
#[test]
fn a_gpu_codes_to_the_bits_of_the_cpu() {
    if crate::bed::ran_apart() {
        return;
    }
    let cpu = Cpu::new(Some(2)).expect("cpu");
    let (cuda, _) = &cudas()[0];
    // more channels than a block has threads, and more than it has slots in shared memory
    for map in MAPS.into_iter().chain([Shape::map(2, 2, 1, 300), Shape::map(3, 1, 2, 1100)]) {
        for bits in Bits::ALL {
            let (expected, found) = (encoded(&cpu, map, bits), in_any_order(|| encoded(cuda, map, bits)));
            for (name, (found, expected)) in
                ["mean", "rstd", "packed", "carry", "state", "decoded"].into_iter().zip(found.iter().zip(&expected))
            {
                assert!(found == expected, "{name} of {map} at {bits} bits");
            }
        }
    }
}

/// What a block's coded step takes.
struct Block {
    x: Tensor<CudaBuffer>,
    carry: Tensor<CudaBuffer>,
    grad: Tensor<CudaBuffer>,
    theta: BasicTheta<CudaBuffer>,
    grad_theta: BasicTheta<CudaBuffer>,
    stats: BasicStats<CudaBuffer>,
    cache: BasicCache<CudaBuffer>,
    scratch: Scratch<CudaBuffer>,
    coder: Coder<CudaBuffer>,
    code: Code<CudaBuffer>,
}

impl Block {
    fn new(bed: &mut Bed<'_, Cuda>, map: Shape, bits: Bits, pass: CodedPass) -> Self {
        let (mut coder, code) = coder(bed, map, bits, pass);
        let mut scratch = bed.scratch(map);
        let mut x = bed.tensor(map, &uniform(1, map.len()));
        bed.d.fill(1e-4, &mut coder.rest).expect("fill");
        bed.d.code_start(&mut x, &mut coder.grid, &mut scratch.workspace).expect("code_start");
        Self {
            x,
            carry: bed.tensor(map, &uniform(6, map.len()).iter().map(|v| v / 32.0).collect::<Vec<_>>()),
            grad: bed.tensor(map, &uniform(4, map.len())),
            theta: bed.theta(map.c(), 10),
            grad_theta: bed.theta(map.c(), 50),
            stats: bed.basic_stats(map.c(), 30),
            cache: BasicCache { z1: bed.empty(map), z2: bed.empty(map) },
            scratch,
            coder,
            code,
        }
    }
}

/// A code's index on a line: levels below the mean count down.
fn place(index: u32) -> i64 {
    let magnitude = i64::from(index >> 1);
    if index & 1 == 1 { -1 - magnitude } else { magnitude }
}

/// The place of what lies u sigmas from the mean, as `rewind::code` defines it.
fn place_of(bits: Bits, u: f64) -> i64 {
    let magnitude = match bits {
        Bits::One => 0,
        Bits::Two => i64::from(u.abs() > f64::from(THRESHOLD_2)),
        Bits::Four | Bits::Eight => {
            let (levels, t) = (f64::from(1 << (bits.count() - 1)), 1.0 + f64::from(COMPANDING) * u.abs());
            let octave = t.log2().floor();
            ((octave + t / octave.exp2() - 1.0) * levels / 4.0).floor().min(levels - 1.0) as i64
        }
    };
    if u < 0.0 { -1 - magnitude } else { magnitude }
}

/// What a step forward and the way back leave.
struct Outcome {
    /// What was coded, as the sum of the state's move and the carry, and each element's code.
    w: Vec<f64>,
    places: Vec<i64>,
    rest: Vec<f64>,
    scale: [Vec<f64>; 2],
    statistics: Vec<f64>,
    before: Vec<f64>,
    decoded: Vec<f64>,
    back: Vec<(&'static str, Vec<f64>)>,
}

fn stepped(cuda: &Cuda, map: Shape, bits: Bits, body: Body) -> Outcome {
    let mut bed = Bed::new(cuda);
    let mut block = Block::new(&mut bed, map, bits, CodedPass::Altered);
    let before = bed.read(&block.x);
    let Block { x, carry, grad, theta, grad_theta, stats, cache, scratch, coder, code } = &mut block;
    match body {
        Body::Own => cuda.code_step(0.125, theta, stats, None, coder, code, x, carry, cache, scratch),
        Body::Definition => {
            whole::code_step::<_, Basic>(cuda, 0.125, theta, stats, None, coder, code, x, carry, cache, scratch)
        }
    }
    .expect("code_step");
    let (after, left, packed) = (bed.read(x), bed.read(carry), words(cuda, &code.packed));
    match body {
        Body::Own => cuda.decode_vjp(0.125, theta, stats, coder, code, x, cache, grad, grad_theta, scratch),
        Body::Definition => {
            whole::decode_vjp::<_, Basic>(cuda, 0.125, theta, stats, coder, code, x, cache, grad, grad_theta, scratch)
        }
    }
    .expect("decode_vjp");
    let (len, count) = (map.image_len(), bits.words(map.image_len()));
    let place_at = |i: usize| {
        let (image, e) = (i / len, i % len);
        place(packed[image * count + e % count] >> (bits.count() * (e / count)) & ((1 << bits.count()) - 1))
    };
    let mut back = vec![("grad", bed.read(grad))];
    back.extend(grad_theta.named().map(|(name, tensor)| (name, bed.read(tensor))));
    Outcome {
        w: (0..map.len()).map(|i| after[i] - before[i] + left[i]).collect(),
        places: (0..map.len()).map(place_at).collect(),
        rest: bed.read(&coder.rest),
        scale: [bed.read(&code.scale.mean), bed.read(&code.scale.rstd)],
        statistics: bed.read(&stats.bn2.rstd),
        before,
        decoded: bed.read(x),
        back,
    }
}

/// One pixel; several images to a multiprocessor, fewer on the last; 16 and 32 channels in one launch. Then chains: an image that
/// does not fit, more channels, and channels that are no multiple of 16.
const BLOCKS: [Shape; 7] = [
    Shape::map(1, 1, 3, 32),
    Shape::map(135, 3, 2, 16),
    Shape::map(2, 10, 10, 16),
    Shape::map(133, 2, 3, 32),
    Shape::map(1, 40, 33, 32),
    Shape::map(2, 9, 11, 64),
    Shape::map(3, 6, 7, 33),
];

/// As for the reconstructing blocks: sums differ by their order alone, and TF32 factors within an f32 rounding of a middle go to
/// either side, which moves a sum by less than 2^-10 of the largest. What is coded is off by as much, so that a code may be
/// another's neighbour where a threshold lies in between, and nowhere else; the carry is then off by a level. Decoding
/// leads back to the same state, to the bit, by either's codes.
#[test]
fn coded_blocks_match_their_definitions() {
    if crate::bed::ran_apart() {
        return;
    }
    for (cuda, _) in cudas() {
        let _turn = turn();
        let factors = if cuda.name().contains("fp32") { 0.0 } else { 1.0 / 1024.0 };
        let own = |map: &Shape| cudas_for(map.c()).iter().any(|(of, _)| of.name() == cuda.name());
        // kernels that code are the same behind every product: all of them behind f32's, one in turn behind the others
        let bits_of = |at: usize| if factors == 0.0 { &Bits::ALL[..] } else { &Bits::ALL[at % Bits::ALL.len()..][..1] };
        let maps = BLOCKS.into_iter().enumerate().filter(|(_, map)| own(map));
        for (map, bits) in maps.flat_map(|(at, map)| bits_of(at).iter().map(move |bits| (map, *bits))) {
            let [own, definition] = [Body::Own, Body::Definition].map(|body| stepped(cuda, map, bits, body));
            let what = |name: &str| format!("{name} of {map} at {bits} bits on {}", cuda.name());
            let tolerance = |values: &[f64]| {
                let largest = values.iter().fold(0.0f64, |a, b| a.max(b.abs()));
                bound(9 * map.c() + map.pixels(), 16.0 * largest) + factors * largest
            };
            assert!(own.decoded == own.before && definition.decoded == definition.before, "{}", what("decoding"));
            // from gamma, beta, h and the rest alone
            assert!(own.scale == definition.scale, "{}", what("scale"));
            let off = tolerance(&definition.w);
            assert_close(&what("w"), &own.w, &definition.w, |_| off);
            assert_close(&what("rstd"), &own.statistics, &definition.statistics, |_| tolerance(&definition.statistics));
            let c = map.c();
            let mut other = vec![0usize; c];
            for (i, (own, by_definition)) in own.places.iter().zip(&definition.places).enumerate() {
                let (mean, rstd) = (definition.scale[0][i % c], definition.scale[1][i % c]);
                let reach = |w: f64| place_of(bits, (w - mean) * rstd);
                let range = reach(definition.w[i] - off)..=reach(definition.w[i] + off);
                assert!(range.contains(own) && range.contains(by_definition), "{}: {own} in {range:?}", what("code"));
                other[i % c] += usize::from(own != by_definition);
            }
            // a neighbour's level is at most the largest w away, and the carry's square moves by as much
            let largest = definition.w.iter().fold(0.0f64, |a, b| a.max(b.abs()));
            assert_close(&what("rest"), &own.rest, &definition.rest, |channel| {
                off * largest + other[channel] as f64 * largest * largest / map.pixels() as f64
            });
            // a ReLU whose input a factor of TF32 moves across 0 lets a pixel's cotangent pass or not: as a whole, then
            if factors > 0.0 {
                assert_near(&what("the way back"), &own.back, &definition.back);
            } else {
                for ((name, own), (_, definition)) in own.back.iter().zip(&definition.back) {
                    assert_close(&what(name), own, definition, |_| tolerance(definition));
                }
            }
        }
        no_faults();
    }
}

#[test]
fn a_coded_block_is_one_launch_each_way_or_a_short_chain() {
    if crate::bed::ran_apart() {
        return;
    }
    let _turn = turn();
    let Some(emulator) = emulator() else { return eprintln!("on a GPU nobody counts the launches") };
    for (cuda, _) in cudas() {
        let launches = |map: Shape| {
            let mut bed = Bed::new(cuda);
            let mut block = Block::new(&mut bed, map, Bits::Two, CodedPass::Plain);
            let Block { x, carry, grad, theta, grad_theta, stats, cache, scratch, coder, code } = &mut block;
            let count = || emulator.statistics().expect("statistics").launches;
            let start = count();
            cuda.code_step(0.125, theta, stats, None, coder, code, x, carry, cache, scratch).expect("code_step");
            let middle = count();
            cuda.decode_vjp(0.125, theta, stats, coder, code, x, cache, grad, grad_theta, scratch).expect("decode_vjp");
            [middle - start, count() - middle]
        };
        for map in BLOCKS {
            match map.c() {
                16 | 32 if map.h() < 40 => assert_eq!(launches(map), [1, 1], "{map}"),
                33 => assert!(launches(map)[0] > 3, "{map}"),
                // in f16 two more: the peaks set to zero, and the totals of the gradients by weights
                16 | 32 | 64 if cuda.name().contains("fp16") => assert_eq!(launches(map), [3, 8], "{map}"),
                // conv1, conv2 and the coding; decoding and the five of a way back from x_n
                _ => assert_eq!(launches(map), [3, 6], "{map}"),
            }
        }
        no_faults();
    }
}
