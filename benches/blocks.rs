//! The CPU device's convolutions, and each fused operation beside its definition in primitives.
//!
//! `cargo bench --bench blocks -- inverse_vjp` runs one group. Throughput is in FLOP, 2 per multiply-add, padding counted, so
//! criterion's `elem/s` reads FLOP/s; in bytes where memory bounds the operation. IDs are `operation/device or body/shape`.

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use rewind::cpu::Cpu;
use rewind::device::Device;
use rewind::fused;
use rewind::memory::{Arena, Category};
use rewind::operands::{Affine, BasicCache, BasicStats, BasicTheta, BnStats, Carry, Measure, Scratch};
use rewind::shape::{Conv, Shape};
use rewind::tensor::Tensor;

const CONV: Conv = Conv::SAME_3X3;

const MAPS: [Shape; 3] = [Shape::map(256, 10, 10, 16), Shape::map(128, 10, 10, 64), Shape::map(32, 32, 32, 64)];

/// Everything that a block's operations read or write, in one arena.
struct Bench {
    x: Tensor<Cpu>,
    x_rec: Tensor<Cpu>,
    grad: Tensor<Cpu>,
    theta: BasicTheta<Cpu>,
    grad_theta: BasicTheta<Cpu>,
    stats: BasicStats<Cpu>,
    cache: BasicCache<Cpu>,
    scratch: Scratch<Cpu>,
}

impl Bench {
    fn new(cpu: &Cpu, map: Shape) -> Self {
        let workspace = cpu.block_workspace(map);
        let bytes = 4 * (9 * map.len() + 2 * 20 * map.c() * map.c() + workspace + 4096) as u64;
        let mut arena = Arena::new(cpu, bytes).expect("memory");
        let mut seed = 1u64;
        let mut tensor = |shape: Shape, offset: f32, scale: f32| {
            let values: Vec<f32> = (0..shape.len())
                .map(|_| {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    offset + scale * ((seed >> 40) as f32 / (1 << 23) as f32 - 1.0)
                })
                .collect();
            let mut tensor = arena.tensor(Category::State, shape).expect("room");
            cpu.upload(&values, &mut tensor).expect("upload");
            tensor
        };
        let c = map.c();
        let vector = Shape::vector(c);
        let mut affine = || Affine { gamma: tensor(vector, 1.0, 0.5), beta: tensor(vector, 0.0, 0.5) };
        let affines = [affine(), affine(), affine(), affine()];
        let mut norm = || BnStats { mean: tensor(vector, 0.0, 0.5), rstd: tensor(vector, 1.0, 0.5) };
        let stats = BasicStats { bn1: norm(), bn2: norm() };
        let mut weight = || tensor(Shape::weight(3, c, c), 0.0, 1.0 / (9.0 * c as f32).sqrt());
        let [bn1, bn2, grad1, grad2] = affines;
        let theta = BasicTheta { conv1: weight(), bn1, conv2: weight(), bn2 };
        let grad_theta = BasicTheta { conv1: weight(), bn1: grad1, conv2: weight(), bn2: grad2 };
        let mut state = || tensor(map, 0.0, 1.0);
        let (x, x_rec, grad) = (state(), state(), state());
        let cache = BasicCache { z1: state(), z2: state() };
        // two maps, so that the definitions in primitives run too
        let scratch = Scratch::new(&mut arena, map, 2, workspace).expect("room");
        Self { x, x_rec, grad, theta, grad_theta, stats, cache, scratch }
    }
}

/// What an operation costs at least.
#[derive(Clone, Copy)]
enum Work {
    /// So many convolutions' multiply-adds.
    Convolutions(u64),
    /// Reading and writing so many maps.
    Maps(u64),
}

/// Benchmarks one operation at every map, in the device's pool.
fn operation(
    group: &mut BenchmarkGroup<'_, WallTime>,
    body: &str,
    work: Work,
    mut run: impl FnMut(&Cpu, &mut Bench) + Send,
) {
    let cpu = Cpu::new(None).expect("device");
    for map in MAPS {
        let mut bench = Bench::new(&cpu, map);
        group.throughput(match work {
            Work::Convolutions(n) => Throughput::Elements(n * CONV.flop(map, map.c())),
            Work::Maps(n) => Throughput::Bytes(n * 4 * map.len() as u64),
        });
        // the way into the pool is not part of the operation: a sweep walks it once
        group.bench_function(BenchmarkId::new(body, map), |b| cpu.install(|| b.iter(|| run(&cpu, &mut bench))));
    }
}

fn convolutions(c: &mut Criterion) {
    let mut group = c.benchmark_group("conv3x3");
    operation(&mut group, "cpu", Work::Convolutions(1), |cpu, b| {
        cpu.conv(&b.x, &b.theta.conv1, CONV, &mut b.cache.z1, &mut b.scratch.workspace).expect("conv");
    });
    group.finish();
    let mut group = c.benchmark_group("conv3x3_grad_x");
    operation(&mut group, "cpu", Work::Convolutions(1), |cpu, b| {
        cpu.conv_grad_x(&b.x, &b.theta.conv1, CONV, &mut b.cache.z1, &mut b.scratch.workspace).expect("grad_x");
    });
    group.finish();
    let mut group = c.benchmark_group("conv3x3_grad_w");
    operation(&mut group, "cpu", Work::Convolutions(1), |cpu, b| {
        let (grad_w, workspace) = (&mut b.grad_theta.conv1, &mut b.scratch.workspace);
        cpu.conv_grad_w(&b.x, &b.grad, CONV, grad_w, workspace).expect("grad_w");
    });
    group.finish();
}

fn forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("conv_stats");
    operation(&mut group, "fused", Work::Convolutions(1), |cpu, b| {
        let measure = Some(Measure { stats: &mut b.stats.bn1, running: None });
        let (z, workspace) = (&mut b.cache.z1, &mut b.scratch.workspace);
        cpu.conv_stats(&b.x, &b.theta.conv1, CONV, z, measure, workspace).expect("conv_stats");
    });
    operation(&mut group, "primitives", Work::Convolutions(1), |cpu, b| {
        let measure = Some(Measure { stats: &mut b.stats.bn1, running: None });
        let (z, workspace) = (&mut b.cache.z1, &mut b.scratch.workspace);
        fused::conv_stats(cpu, &b.x, &b.theta.conv1, CONV, z, measure, workspace).expect("conv_stats");
    });
    group.finish();

    let mut group = c.benchmark_group("norm_relu_conv_stats");
    operation(&mut group, "fused", Work::Convolutions(1), |cpu, b| {
        let Bench { theta, stats, cache: BasicCache { z1, z2 }, scratch, .. } = b;
        let measure = Some(Measure { stats: &mut stats.bn2, running: None });
        cpu.norm_relu_conv_stats(z1, &stats.bn1, &theta.bn1, &theta.conv2, z2, measure, scratch).expect("fused");
    });
    operation(&mut group, "primitives", Work::Convolutions(1), |cpu, b| {
        let Bench { theta, stats, cache: BasicCache { z1, z2 }, scratch, .. } = b;
        let measure = Some(Measure { stats: &mut stats.bn2, running: None });
        fused::norm_relu_conv_stats(cpu, z1, &stats.bn1, &theta.bn1, &theta.conv2, z2, measure, scratch)
            .expect("parts");
    });
    group.finish();

    let mut group = c.benchmark_group("norm_relu");
    operation(&mut group, "fused", Work::Maps(2), |cpu, b| {
        cpu.norm_relu(&b.cache.z1, &b.stats.bn1, &b.theta.bn1, &mut b.x_rec).expect("norm_relu");
    });
    operation(&mut group, "primitives", Work::Maps(2), |cpu, b| {
        fused::norm_relu(cpu, &b.cache.z1, &b.stats.bn1, &b.theta.bn1, &mut b.x_rec).expect("norm_relu");
    });
    group.finish();

    let mut group = c.benchmark_group("norm_step");
    operation(&mut group, "fused", Work::Maps(3), |cpu, b| {
        cpu.norm_step(&b.x, 0.125, &b.cache.z2, &b.stats.bn2, &b.theta.bn2, &mut b.x_rec).expect("norm_step");
    });
    operation(&mut group, "primitives", Work::Maps(3), |cpu, b| {
        fused::norm_step(cpu, &b.x, 0.125, &b.cache.z2, &b.stats.bn2, &b.theta.bn2, &mut b.x_rec).expect("norm_step");
    });
    group.finish();

    let mut group = c.benchmark_group("norm_step_acc");
    operation(&mut group, "fused", Work::Maps(3), |cpu, b| {
        let (z, stats, affine) = (&b.cache.z2, &b.stats.bn2, &b.theta.bn2);
        cpu.norm_step_acc(1e-9, z, stats, affine, &mut b.x_rec, &mut b.scratch).expect("norm_step_acc");
    });
    operation(&mut group, "primitives", Work::Maps(3), |cpu, b| {
        let (z, stats, affine) = (&b.cache.z2, &b.stats.bn2, &b.theta.bn2);
        fused::norm_step_acc(cpu, 1e-9, z, stats, affine, &mut b.x_rec, &mut b.scratch).expect("norm_step_acc");
    });
    group.finish();

    let mut group = c.benchmark_group("forward_block");
    operation(&mut group, "fused", Work::Convolutions(2), |cpu, b| {
        let Bench { x, x_rec, theta, stats, cache: BasicCache { z1, z2 }, scratch, .. } = b;
        let measure = Some(Measure { stats: &mut stats.bn1, running: None });
        cpu.conv_stats(x, &theta.conv1, CONV, z1, measure, &mut scratch.workspace).expect("conv_stats");
        let measure = Some(Measure { stats: &mut stats.bn2, running: None });
        cpu.norm_relu_conv_stats(z1, &stats.bn1, &theta.bn1, &theta.conv2, z2, measure, scratch).expect("fused");
        cpu.norm_step(x, 0.125, z2, &stats.bn2, &theta.bn2, x_rec).expect("norm_step");
    });
    operation(&mut group, "primitives", Work::Convolutions(2), |cpu, b| {
        let Bench { x, x_rec, theta, stats, cache: BasicCache { z1, z2 }, scratch, .. } = b;
        let measure = Some(Measure { stats: &mut stats.bn1, running: None });
        fused::conv_stats(cpu, x, &theta.conv1, CONV, z1, measure, &mut scratch.workspace).expect("conv_stats");
        let measure = Some(Measure { stats: &mut stats.bn2, running: None });
        cpu.bn_apply(z1, &stats.bn1, &theta.bn1, &mut scratch.maps[0]).expect("bn_apply");
        cpu.relu(&mut scratch.maps[0]).expect("relu");
        let (a, workspace) = (&scratch.maps[0], &mut scratch.workspace);
        fused::conv_stats(cpu, a, &theta.conv2, CONV, z2, measure, workspace).expect("conv_stats");
        fused::norm_step(cpu, x, 0.125, z2, &stats.bn2, &theta.bn2, x_rec).expect("norm_step");
    });
    group.finish();
}

fn backward(c: &mut Criterion) {
    let mut group = c.benchmark_group("basic_vjp_outer");
    operation(&mut group, "fused", Work::Convolutions(2), |cpu, b| {
        let Bench { grad, theta, stats, cache, grad_theta, scratch, .. } = b;
        cpu.basic_vjp_outer(grad, 0.125, theta, stats, cache, grad_theta, scratch).expect("outer");
    });
    operation(&mut group, "primitives", Work::Convolutions(2), |cpu, b| {
        let Bench { grad, theta, stats, cache, grad_theta, scratch, .. } = b;
        fused::basic_vjp_outer(cpu, grad, 0.125, theta, stats, cache, grad_theta, scratch).expect("outer");
    });
    group.finish();

    let mut group = c.benchmark_group("basic_vjp_inner");
    operation(&mut group, "fused", Work::Convolutions(2), |cpu, b| {
        let Bench { x, x_rec, theta, stats, cache, grad_theta, scratch, .. } = b;
        cpu.basic_vjp_inner(x, theta, stats, cache, grad_theta, x_rec, scratch).expect("inner");
    });
    operation(&mut group, "primitives", Work::Convolutions(2), |cpu, b| {
        let Bench { x, x_rec, theta, stats, cache, grad_theta, scratch, .. } = b;
        fused::basic_vjp_inner(cpu, x, theta, stats, cache, grad_theta, x_rec, scratch).expect("inner");
    });
    group.finish();

    let mut group = c.benchmark_group("inverse_vjp");
    for (body, fused_body) in [("fused", true), ("primitives", false)] {
        operation(&mut group, body, Work::Convolutions(8), |cpu, b| {
            let Bench { x, x_rec, grad, theta, stats, cache, grad_theta, scratch, .. } = b;
            // a step so small that the state and its cotangent stay put over the iterations
            let (h, carry) = (1e-9, Carry::Correction);
            if fused_body {
                cpu.inverse_vjp(h, carry, theta, stats, x, x_rec, cache, grad, grad_theta, scratch).expect("fused");
            } else {
                fused::inverse_vjp(cpu, h, carry, theta, stats, x, x_rec, cache, grad, grad_theta, scratch)
                    .expect("parts");
            }
        });
    }
    group.finish();
}

criterion_group! {
    name = blocks;
    config = Criterion::default().sample_size(30).measurement_time(std::time::Duration::from_secs(3));
    targets = convolutions, forward, backward
}
criterion_main!(blocks);
