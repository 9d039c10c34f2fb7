//! Throughput of a block's operations: convolutions, and each fused operation beside its definition in primitives.
//!
//! `cargo bench --bench blocks -- inverse_vjp` runs one group. Throughput is in FLOP, 2 per multiply-add, padding counted, so
//! criterion's `elem/s` reads FLOP/s; in bytes where memory bounds the operation. IDs are `operation/device/shape`, and
//! `operation/device_primitives/shape` for the definition; the same on the CPU and, where there is one, on the GPU.

mod bed;

use bed::Bed;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rewind::cpu::Cpu;
#[cfg(feature = "cuda")]
use rewind::cuda::Cuda;
use rewind::device::{Device, Sgd};
use rewind::fused;
use rewind::operands::{BasicCache, Carry, Measure};
use rewind::shape::{Conv, Shape};

const CONV: Conv = Conv::SAME_3X3;

const MAPS: [Shape; 3] = [Shape::map(256, 10, 10, 16), Shape::map(128, 10, 10, 64), Shape::map(32, 32, 32, 64)];

/// What an operation costs at least.
#[derive(Clone, Copy)]
enum Work {
    /// So many convolutions' multiply-adds.
    Convolutions(u64),
    /// Reading and writing so many maps.
    Maps(u64),
    /// Reading and writing so many sets of a block's weights.
    Weights(u64),
}

/// Benchmarks one operation on one device at every map, in the device's pool.
fn operation<D: Device>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    (name, d): (&str, &D),
    work: Work,
    mut run: impl FnMut(&D, &mut Bed<D>) + Send,
) where
    Bed<D>: Send,
{
    for map in MAPS {
        let mut bed = Bed::new(d, map);
        group.throughput(match work {
            Work::Convolutions(n) => Throughput::Elements(n * CONV.flop(map, map.c())),
            Work::Maps(n) => Throughput::Bytes(n * 4 * map.len() as u64),
            Work::Weights(n) => Throughput::Bytes(n * 4 * 2 * 9 * (map.c() * map.c()) as u64),
        });
        // the way into the pool is not part of the operation: a sweep walks it once
        group.bench_function(BenchmarkId::new(name, map), |b| {
            d.install(|| {
                b.iter(|| {
                    run(d, &mut bed);
                    d.synchronize().expect("the device answers");
                })
            })
        });
    }
}

/// The GPU, if there is one that can be used.
#[cfg(feature = "cuda")]
fn gpu() -> Option<&'static Cuda> {
    static GPU: std::sync::LazyLock<Option<Cuda>> =
        std::sync::LazyLock::new(|| match Cuda::open(0, rewind::config::Math::Tf32) {
            Ok(gpu) => Some(gpu),
            Err(reason) => {
                eprintln!("no GPU is measured: {reason}");
                None
            }
        });
    GPU.as_ref()
}

/// A group: an operation, and where it is fused its definition, on every device of this machine.
macro_rules! group {
    ($c:expr, $name:literal, $work:expr, $($suffix:literal: |$d:ident, $b:ident| $body:expr),+) => {{
        let mut group = $c.benchmark_group($name);
        let cpu = Cpu::new(None).expect("device");
        $(operation(&mut group, (concat!("cpu", $suffix), &cpu), $work, |$d: &Cpu, $b: &mut Bed<Cpu>| $body);)+
        #[cfg(feature = "cuda")]
        if let Some(gpu) = gpu() {
            $(operation(&mut group, (concat!("cuda", $suffix), gpu), $work, |$d: &Cuda, $b: &mut Bed<Cuda>| $body);)+
        }
        group.finish();
    }};
}

fn convolutions(c: &mut Criterion) {
    group!(c, "conv3x3", Work::Convolutions(1), "": |d, b| {
        d.conv(&b.x, &b.theta.conv1, CONV, &mut b.cache.z1, &mut b.scratch.workspace).expect("conv")
    });
    group!(c, "conv3x3_grad_x", Work::Convolutions(1), "": |d, b| {
        d.conv_grad_x(&b.x, &b.theta.conv1, CONV, &mut b.cache.z1, &mut b.scratch.workspace).expect("grad_x")
    });
    group!(c, "conv3x3_grad_w", Work::Convolutions(1), "": |d, b| {
        d.conv_grad_w(&b.x, &b.grad, CONV, &mut b.grad_theta.conv1, &mut b.scratch.workspace).expect("grad_w")
    });
}

fn forward(c: &mut Criterion) {
    group!(c, "conv_stats", Work::Convolutions(1),
        "": |d, b| {
            let measure = Some(Measure { stats: &mut b.stats.bn1, running: None });
            let (z, workspace) = (&mut b.cache.z1, &mut b.scratch.workspace);
            d.conv_stats(&b.x, &b.theta.conv1, CONV, z, measure, workspace).expect("conv_stats")
        },
        "_primitives": |d, b| {
            let measure = Some(Measure { stats: &mut b.stats.bn1, running: None });
            let (z, workspace) = (&mut b.cache.z1, &mut b.scratch.workspace);
            fused::conv_stats(d, &b.x, &b.theta.conv1, CONV, z, measure, workspace).expect("conv_stats")
        }
    );
    group!(c, "norm_relu_conv_stats", Work::Convolutions(1),
        "": |d, b| {
            let Bed { theta, stats, cache: BasicCache { z1, z2 }, scratch, .. } = b;
            let measure = Some(Measure { stats: &mut stats.bn2, running: None });
            d.norm_relu_conv_stats(z1, &stats.bn1, &theta.bn1, &theta.conv2, z2, measure, scratch).expect("fused")
        },
        "_primitives": |d, b| {
            let Bed { theta, stats, cache: BasicCache { z1, z2 }, scratch, .. } = b;
            let measure = Some(Measure { stats: &mut stats.bn2, running: None });
            fused::norm_relu_conv_stats(d, z1, &stats.bn1, &theta.bn1, &theta.conv2, z2, measure, scratch)
                .expect("parts")
        }
    );
    group!(c, "norm_relu", Work::Maps(2),
        "": |d, b| d.norm_relu(&b.cache.z1, &b.stats.bn1, &b.theta.bn1, &mut b.x_rec).expect("norm_relu"),
        "_primitives": |d, b| {
            fused::norm_relu(d, &b.cache.z1, &b.stats.bn1, &b.theta.bn1, &mut b.x_rec).expect("norm_relu")
        }
    );
    group!(c, "norm_step", Work::Maps(3),
        "": |d, b| {
            d.norm_step(&b.x, 0.125, &b.cache.z2, &b.stats.bn2, &b.theta.bn2, &mut b.x_rec).expect("norm_step")
        },
        "_primitives": |d, b| {
            fused::norm_step(d, &b.x, 0.125, &b.cache.z2, &b.stats.bn2, &b.theta.bn2, &mut b.x_rec).expect("norm_step")
        }
    );
    group!(c, "norm_step_acc", Work::Maps(3),
        "": |d, b| {
            let (z, stats, affine) = (&b.cache.z2, &b.stats.bn2, &b.theta.bn2);
            d.norm_step_acc(1e-9, z, stats, affine, &mut b.x_rec, &mut b.scratch).expect("norm_step_acc")
        },
        "_primitives": |d, b| {
            let (z, stats, affine) = (&b.cache.z2, &b.stats.bn2, &b.theta.bn2);
            fused::norm_step_acc(d, 1e-9, z, stats, affine, &mut b.x_rec, &mut b.scratch).expect("norm_step_acc")
        }
    );
    // a step so small that the state stays put over the iterations
    group!(c, "euler_step", Work::Convolutions(2),
        "": |d, b| {
            let Bed { x, theta, stats, running, cache, scratch, .. } = b;
            d.euler_step(1e-9, theta, stats, Some(running), x, cache, scratch).expect("euler_step")
        },
        "_primitives": |d, b| {
            let Bed { x, theta, stats, running, cache, scratch, .. } = b;
            fused::euler_step(d, 1e-9, theta, stats, Some(running), x, cache, scratch).expect("euler_step")
        }
    );
}

fn backward(c: &mut Criterion) {
    group!(c, "basic_vjp_outer", Work::Convolutions(2),
        "": |d, b| {
            let Bed { grad, theta, stats, cache, grad_theta, scratch, .. } = b;
            d.basic_vjp_outer(grad, 0.125, theta, stats, cache, grad_theta, scratch).expect("outer")
        },
        "_primitives": |d, b| {
            let Bed { grad, theta, stats, cache, grad_theta, scratch, .. } = b;
            fused::basic_vjp_outer(d, grad, 0.125, theta, stats, cache, grad_theta, scratch).expect("outer")
        }
    );
    group!(c, "basic_vjp_inner", Work::Convolutions(2),
        "": |d, b| {
            let Bed { x, x_rec, theta, stats, cache, grad_theta, scratch, .. } = b;
            d.basic_vjp_inner(x, theta, stats, cache, grad_theta, x_rec, scratch).expect("inner")
        },
        "_primitives": |d, b| {
            let Bed { x, x_rec, theta, stats, cache, grad_theta, scratch, .. } = b;
            fused::basic_vjp_inner(d, x, theta, stats, cache, grad_theta, x_rec, scratch).expect("inner")
        }
    );
    // as small a step as above
    group!(c, "inverse_vjp", Work::Convolutions(8),
        "": |d, b| {
            let Bed { x, x_rec, grad, theta, stats, cache, grad_theta, scratch, .. } = b;
            d.inverse_vjp(1e-9, Carry::Correction, theta, stats, x, x_rec, cache, grad, grad_theta, scratch)
                .expect("inverse_vjp")
        },
        "_primitives": |d, b| {
            let Bed { x, x_rec, grad, theta, stats, cache, grad_theta, scratch, .. } = b;
            fused::inverse_vjp(d, 1e-9, Carry::Correction, theta, stats, x, x_rec, cache, grad, grad_theta, scratch)
                .expect("parts")
        }
    );
    group!(c, "sgd_block", Work::Weights(5),
        "": |d, b| {
            let step = Sgd { lr: &b.lr, loss: &b.loss, momentum: 0.9, weight_decay: 5e-4 };
            d.sgd_block(step, &b.grad_theta, &mut b.velocity, &mut b.theta).expect("sgd_block")
        },
        "_primitives": |d, b| {
            let step = Sgd { lr: &b.lr, loss: &b.loss, momentum: 0.9, weight_decay: 5e-4 };
            fused::sgd_block(d, step, &b.grad_theta, &mut b.velocity, &mut b.theta).expect("sgd_block")
        }
    );
}

criterion_group! {
    name = blocks;
    config = Criterion::default().sample_size(30).measurement_time(std::time::Duration::from_secs(3));
    targets = convolutions, forward, backward
}
criterion_main!(blocks);
