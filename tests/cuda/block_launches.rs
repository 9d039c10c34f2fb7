//! What one block's step costs on the CUDA device, by the emulator's counters: launches, unique bytes against the passes
//! over a tensor that a step needs at least, sectors of a request, bank conflicts.

use crate::support::gpu::{emulator, gpu, no_faults, ran_apart, turn};
use crate::support::{uniform, write};
use rewind::cuda::{Cuda, CudaBuffer};
use rewind::device::prelude::*;
use rewind::device::{Math, SgdStep};
use rewind::memory::{Arena, Category};
use rewind::operands::{Affine, BasicCache, BasicStats, BasicTheta, BnStats, Carry, Scratch};
use rewind::shape::{Conv, Shape};
use rewind::tensor::Tensor;
use rewind_emulator::counters::LaunchCounts;

/// A block's operands, in one arena.
struct Block {
    x: Tensor<CudaBuffer>,
    x_rec: Tensor<CudaBuffer>,
    grad: Tensor<CudaBuffer>,
    theta: BasicTheta<CudaBuffer>,
    velocity: BasicTheta<CudaBuffer>,
    grad_theta: BasicTheta<CudaBuffer>,
    stats: BasicStats<CudaBuffer>,
    cache: BasicCache<CudaBuffer>,
    lr: Tensor<CudaBuffer>,
    loss: Tensor<CudaBuffer>,
    errors: Tensor<CudaBuffer>,
    scratch: Scratch<CudaBuffer>,
}

fn block(cuda: &Cuda, map: Shape) -> Block {
    let (c, workspace) = (map.c(), cuda.block_workspace(map));
    let mut arena =
        Arena::new(cuda, 4 * (9 * map.len() + 6 * 9 * c * c + 100 * c + workspace + 4096) as u64).expect("arena");
    let mut seed = 0;
    let mut tensor = |shape: Shape, centre: f64, scale: f64| {
        let mut tensor = arena.tensor(Category::Scratch, shape).expect("room");
        seed += 1;
        let values: Vec<f64> = uniform(seed, shape.len()).iter().map(|v| centre + scale * v).collect();
        write(cuda, &values, &mut tensor);
        tensor
    };
    let vector = Shape::vector(c);
    let mut theta = |scale| BasicTheta {
        conv1: tensor(Shape::weight(Conv::SAME_3X3.kernel, c, c), 0.0, scale),
        bn1: Affine { gamma: tensor(vector, 1.0, 0.5), beta: tensor(vector, 0.0, 0.5) },
        conv2: tensor(Shape::weight(Conv::SAME_3X3.kernel, c, c), 0.0, scale),
        bn2: Affine { gamma: tensor(vector, 1.0, 0.5), beta: tensor(vector, 0.0, 0.5) },
    };
    let scale = 1.0 / (9.0 * c as f64).sqrt();
    let (theta, velocity, grad_theta) = (theta(scale), theta(0.0), theta(0.0));
    let mut norm = || BnStats { mean: tensor(vector, 0.0, 0.5), rstd: tensor(vector, 1.0, 0.5) };
    let stats = BasicStats { bn1: norm(), bn2: norm(), mask: None };
    let mut state = || tensor(map, 0.0, 1.0);
    let (x, x_rec, grad, cache) = (state(), state(), state(), BasicCache { z1: state(), z2: state() });
    let (lr, loss) = (tensor(Shape::vector(1), 0.1, 0.0), tensor(Shape::vector(2), 1.0, 0.0));
    let errors = tensor(Shape::vector(4), 0.0, 0.0);
    let scratch = Scratch::new(&mut arena, map, Cuda::SCRATCH_MAPS, workspace).expect("room");
    Block { x, x_rec, grad, theta, velocity, grad_theta, stats, cache, lr, loss, errors, scratch }
}

/// The launches of a forward step, and of the inverse step with VJP and update.
fn launches(math: Math, map: Shape) -> [Vec<LaunchCounts>; 2] {
    let emulator = emulator().expect("asked for where it is");
    let cuda = gpu(math);
    let Block {
        mut x,
        mut x_rec,
        mut grad,
        mut theta,
        mut velocity,
        mut grad_theta,
        mut stats,
        mut cache,
        lr,
        loss,
        mut errors,
        mut scratch,
    } = block(&cuda, map);
    let counted = || {
        let counts = emulator.launches().expect("counts");
        emulator.reset_counters().expect("counts");
        counts
    };
    counted();
    cuda.euler_step(0.1, &theta, &mut stats, None, &mut x, &mut cache, &mut scratch).expect("euler_step");
    let forward = counted();
    let (carry, cache) = (Carry::Correction, &mut cache);
    let errors = (&mut errors, 0);
    cuda.inverse_vjp(
        0.1,
        carry,
        &theta,
        &mut stats,
        &mut x,
        &mut x_rec,
        errors,
        cache,
        &mut grad,
        &mut grad_theta,
        &mut scratch,
    )
    .expect("inverse_vjp");
    let sgd = SgdStep::PAPER.on_device(&lr, &loss);
    cuda.sgd_block(sgd, &grad_theta, &mut velocity, &mut theta).expect("sgd_block");
    no_faults();
    [forward, counted()]
}

/// Bytes of different sectors that launches touch, in passes over a map.
fn passes(map: Shape, launches: &[LaunchCounts]) -> f64 {
    launches.iter().map(|l| l.global.unique_bytes).sum::<u64>() as f64 / (size_of::<f32>() * map.len()) as f64
}

/// The chain's launches for channels that are multiples of 16.
#[test]
fn a_block_takes_few_launches_and_little_traffic() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    if emulator().is_none() {
        return eprintln!("on a GPU nobody counts launches and bytes");
    }
    // maps too large for an image's tensors to stay in shared memory
    for map in [Shape::map(6, 32, 32, 16), Shape::map(6, 32, 32, 32), Shape::map(2, 32, 32, 64)] {
        // in f16 two more launches, the peaks set to zero and the totals of the gradients by weights; and splits for half of 132 blocks
        for (math, back, splits) in [(Math::Tf32, 7, 8), (Math::Fp32, 7, 8), (Math::Fp16, 9, 66)] {
            let [forward, mut backward] = launches(math, map);
            assert_eq!(forward.len(), 3, "forward of {map} in {math}");
            assert!(forward.len() + backward.len() <= 5 + back, "with the update: {}", forward.len() + backward.len());
            backward.retain(|l| !l.launch.kernel.starts_with("sgd"));
            assert_eq!(backward.len(), back, "inverse step of {map} in {math}");

            // What the seven read and write at least, in passes: x z1 | z1 x x_rec | x_rec z1 | z1 x x_rec z2 g | g z2 z1 grad_u |
            // z1 g z2 x_rec grad_u | grad_u z1 g: 24; the forward step's z1 and z2 written once and read once, x three times
            // (the convolution and the update in place): 6. Beside the maps lie weights, statistics and the shares of sums,
            // which are few for maps much larger than the weights.
            let weights = (18 * map.c() * map.c()) as f64 / map.len() as f64;
            let least = [6.0, 24.0];
            for (launches, least) in [&forward, &backward].into_iter().zip(least) {
                let found = passes(map, launches);
                // shares of all weights, written and read, the weights and their gradients; two numbers per tile of 64 pixels and channel
                let allowed = least + f64::from(4 + 2 * splits) * weights + launches.len() as f64 / 16.0;
                assert!(
                    found >= least - 0.01 && found <= allowed,
                    "{map} in {math}: {found} passes, {allowed} allowed"
                );
            }
            let multiplies = |kernel: &str| kernel.contains("conv_") || kernel.starts_with("grad_w_half");
            for l in forward.iter().chain(&backward).filter(|l| multiplies(&l.launch.kernel)) {
                let what = format!("{} of {map}", l.launch.kernel);
                // 4 sectors for 128 bytes in the main loop, whose accesses move most of the bytes
                let most = l.accesses.values().map(|access| access.bytes).max().expect("it reads");
                for access in l.accesses.values().filter(|access| access.bytes > most / 2) {
                    assert!(access.sectors * 32 <= access.bytes, "{what}: {access:?}");
                }
                // none in the main loops; the tile's way through shared memory after them has some
                let conflicts = l.shared.conflicts() as f64 / l.shared.wavefronts() as f64;
                assert!(conflicts < 0.08, "{what}: {conflicts} of the wavefronts are conflicts");
            }
        }
    }
}
