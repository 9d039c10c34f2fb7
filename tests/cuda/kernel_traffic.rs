//! What the elementwise, batch-norm and coding kernels move, counted by the emulator: no request touches more sectors than its bytes
//! fill, and every operand is read once.

use crate::support::gpu::{emulator, gpu, no_faults, ran_apart, turn};
use crate::support::{uniform, write};
use rewind::code::{Bits, Code, CodedPass, Coder};
use rewind::cuda::{Cuda, CudaBuffer};
use rewind::device::prelude::*;
use rewind::device::{Math, SgdStep};
use rewind::memory::{Arena, Category};
use rewind::operands::{Affine, BasicCache, BasicStats, BasicTheta, BnRunning, BnStats, Measure, Scratch};
use rewind::shape::Shape;
use rewind::tensor::Tensor;
use rewind_emulator::counters::LaunchCounts;

/// Bits of the codes under test.
const BITS: Bits = Bits::Four;

/// Every operation under test once, on maps of this shape; the launches that it took.
fn launches(d: &Cuda, map: Shape) -> Vec<LaunchCounts> {
    let c = map.c();
    let room = d.bn_workspace(map).max(d.squared_distance_workspace(map)).max(d.code_workspace(map));
    let elements = 20 * map.len() + 64 * c * c + d.block_workspace(map) + room;
    let arena = &mut Arena::new(d, 4 * elements as u64 + (1 << 20)).expect("arena");
    let filled = |arena: &mut Arena<'_, Cuda>, shape: Shape| -> Tensor<CudaBuffer> {
        let mut tensor = arena.tensor(Category::State, shape).expect("tensor");
        write(d, &uniform(1, shape.len()), &mut tensor);
        tensor
    };
    let [x, mut y, z, g] = [(); 4].map(|()| filled(arena, map));
    let vector = Shape::vector(c);
    let mut of_channels = || filled(arena, vector);
    let mut stats = BnStats { mean: of_channels(), rstd: of_channels() };
    let mut running = BnRunning { mean: of_channels(), var: of_channels() };
    let affine = Affine { gamma: of_channels(), beta: of_channels() };
    let mut sums = Affine { gamma: of_channels(), beta: of_channels() };
    let [grad, mut velocity, mut theta] = [(); 3].map(|()| {
        let mut theta = BasicTheta::new(arena, Category::Parameters, c).expect("theta");
        theta.named_mut().into_iter().for_each(|(_, t)| write(d, &uniform(2, t.shape().len()), t));
        theta
    });
    let (lr, loss) = (filled(arena, Shape::vector(1)), filled(arena, Shape::vector(2)));
    let mut out = filled(arena, Shape::vector(2));
    let mut coder = Coder::new(arena, c, BITS, CodedPass::Altered).expect("coder");
    d.fill(1.0, &mut coder.rest).expect("fill");
    let mut code = Code::new(arena, map, BITS).expect("code");
    let (mut state, mut carry) = (filled(arena, map), filled(arena, map));
    let mut scratch = Scratch::new(arena, map, Cuda::SCRATCH_MAPS, d.block_workspace(map)).expect("scratch");
    let mut cache = BasicCache::new(arena, Category::Scratch, map).expect("cache");
    let mut block_stats = BasicStats::new(arena, Category::Statistics, c).expect("stats");
    let mut workspace = arena.tensor(Category::Scratch, Shape::vector(room)).expect("workspace").buffer;
    let emulator = emulator().expect("asked before");
    emulator.reset_counters().expect("counters");

    d.fill(0.5, &mut y).expect("fill");
    d.copy(&x, &mut y).expect("copy");
    d.axpby(0.5, &x, 2.0, &mut y).expect("axpby");
    d.relu(&mut y).expect("relu");
    d.relu_grad(&x, &mut y).expect("relu_grad");
    d.squared_distance(&x, &z, &mut out, 0, &mut workspace).expect("squared_distance");
    assert!(d.all_finite(&x).expect("all_finite"));
    let measure = Measure { stats: &mut stats, running: Some(&mut running) };
    d.bn_stats(&z, measure, &mut workspace).expect("bn_stats");
    d.bn_apply(&z, &stats, &affine, &mut y).expect("bn_apply");
    d.norm_relu(&z, &stats, &affine, &mut y).expect("norm_relu");
    d.norm_step(&x, 0.5, &z, &stats, &affine, &mut y).expect("norm_step");
    d.bn_grad_sums(&g, 1.0, &z, &stats, &mut sums, &mut workspace).expect("bn_grad_sums");
    d.bn_grad_z(&g, 1.0, &z, &stats, &affine, &sums, &mut y).expect("bn_grad_z");
    let step = SgdStep::PAPER.on_device(&lr, &loss);
    d.sgd_block(step, &grad, &mut velocity, &mut theta).expect("sgd_block");
    d.code_start(&mut state, &mut coder.grid, &mut workspace).expect("code_start");
    d.code_scale(0.5, &[&affine], &coder.rest, &mut code.scale).expect("code_scale");
    d.encode(&mut coder, &mut carry, Some(&mut state), &mut code, &mut workspace).expect("encode");
    d.decode(&coder, &code, &mut state, &mut workspace).expect("decode");
    let (x, cache) = (&mut state, &mut cache);
    d.code_step(0.5, &theta, &mut block_stats, None, &mut coder, &mut code, x, &mut carry, cache, &mut scratch)
        .expect("code_step");
    no_faults();
    emulator.launches().expect("counters")
}

#[test]
fn requests_touch_no_more_sectors_than_their_bytes_fill() {
    if ran_apart() {
        return;
    }
    let _turn = turn();
    if emulator().is_none() {
        return eprintln!("on a GPU nobody counts sectors");
    }
    // the chain, so that a coded step's last kernel is one of its own
    let cuda = gpu(Math::Fp32).chained();
    for map in [Shape::map(8, 10, 10, 16), Shape::map(2, 16, 16, 64), Shape::map(1, 14, 14, 256)] {
        let (bytes, c) = (4 * map.len() as u64, map.c() as u64);
        let counted = launches(&cuda, map);
        let of = |name: &str| {
            let found: Vec<_> = counted.iter().filter(|l| l.launch.kernel == name).collect();
            assert_eq!(found.len(), 1, "{name}");
            found[0]
        };
        // maps read, maps written; a few vectors of C and the blocks' partial sums come on top
        for (name, read, written) in [
            ("fill", 0, 1),
            ("copy", 1, 1),
            ("axpby", 2, 1),
            ("relu", 1, 1),
            ("relu_grad", 2, 1),
            ("squared_distance", 2, 0),
            ("any_not_finite", 1, 0),
            ("code_start", 1, 0),
            ("code_round", 1, 1),
            ("bn_stats", 1, 0),
            ("bn_apply", 1, 1),
            ("norm_relu", 1, 1),
            ("norm_step", 2, 1),
            ("bn_grad_sums", 2, 0),
            ("bn_grad_z", 2, 1),
        ] {
            let counts = of(name);
            let (load, store) = (&counts.global.load, &counts.global.store);
            // where a block gathers what the others left, its last request may fill less than a sector
            assert!(32 * load.sectors < load.bytes + 32, "{name} of {map}: {load:?}");
            // what the blocks left of their shares of a channel's sums
            let shares = if ["bn_stats", "bn_grad_sums"].contains(&name) { 12 * c * counts.launch.blocks() } else { 0 };
            let most = read * bytes + 32 * c + shares;
            assert!(counts.global.unique_load_bytes <= most, "{name} of {map} reads more than once");
            if written > 0 {
                assert!(32 * store.sectors <= store.bytes, "{name} of {map}: {store:?}");
                assert_eq!(counts.global.unique_store_bytes, written * bytes, "{name} of {map}");
                // four elements a thread: a warp's request is 512 bytes
                assert_eq!(store.requests, bytes.div_ceil(512), "{name} of {map}");
            }
            // the main loops use no shared memory and the trees meet no conflict: what is left is the one time that a block
            // gathers its results, by 12 C words at most
            let conflicts = counts.shared.load.conflicts() + counts.shared.store.conflicts();
            let allowed = counts.launch.blocks() * (12 * c.min(128)).div_ceil(32);
            assert!(conflicts <= allowed, "{name} of {map}: {conflicts} of {allowed} bank conflicts");
        }
        // a thread per word: rows of words begin anywhere, so that a warp's request may touch one sector more than it fills
        let packed = 4 * (map.n() * BITS.words(map.image_len())) as u64;
        for (name, read, written) in [("encode_4", 2, 2), ("norm_encode_4", 3, 2), ("decode_4", 1, 1)] {
            let counts = of(name);
            let codes = if name == "decode_4" { [packed, 0] } else { [0, packed] };
            // beside the maps a few vectors of C, and a number per channel of each block and of their groups
            let rest = 4 * c * (2 * counts.launch.blocks() + 12);
            let [loaded, stored] = [counts.global.unique_load_bytes, counts.global.unique_store_bytes];
            assert!(loaded <= read * bytes + codes[0] + rest, "{name} of {map} reads {loaded} bytes of {bytes}");
            assert!(stored >= written * bytes + codes[1], "{name} of {map} writes {stored} bytes of {bytes}");
            assert!(stored <= written * bytes + codes[1] + rest, "{name} of {map} writes {stored} bytes of {bytes}");
            for access in counts.accesses.values().filter(|access| access.bytes > bytes / 8) {
                let least = access.bytes.div_ceil(32);
                assert!(access.sectors <= least + access.requests, "{name} of {map}: {access:?}");
            }
        }
        let sgd = of("sgd_block");
        assert_eq!(sgd.global.unique_store_bytes, 2 * 4 * (18 * c * c + 4 * c), "sgd_block of {map}");
        assert!(32 * sgd.global.store.sectors <= sgd.global.store.bytes, "{:?}", sgd.global.store);
        eprintln!("{map}: {} launches counted", counted.len());
    }
}
