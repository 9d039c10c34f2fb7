//! Batch norm's primitives.

use rewind::device::Device;
use rewind::operands::Measure;

use crate::harness::{Bench, Work};

pub fn all<D: Device>(bench: &mut Bench<'_, D>) {
    bench.on_maps("bn_stats", "", Work::Maps(1), |d, b| {
        let measure = Measure { stats: &mut b.stats.bn1, running: Some(&mut b.running.bn1) };
        d.bn_stats(&b.x, measure, &mut b.scratch.workspace)
    });
    bench
        .on_maps("bn_running_stats", "", Work::Vectors(4), |d, b| d.bn_running_stats(&b.running.bn1, &mut b.stats.bn1));
    bench.on_maps("bn_apply", "", Work::Maps(2), |d, b| {
        d.bn_apply(&b.cache.z1, &b.stats.bn1, &b.theta.bn1, &mut b.x_rec)
    });
    bench.on_maps("bn_grad_sums", "", Work::Maps(2), |d, b| {
        let (sums, workspace) = (&mut b.scratch.sums1, &mut b.scratch.workspace);
        d.bn_grad_sums(&b.grad, 1.0, &b.cache.z1, &b.stats.bn1, sums, workspace)
    });
    bench.on_maps("bn_grad_z", "", Work::Maps(3), |d, b| {
        d.bn_grad_z(&b.grad, 1.0, &b.cache.z1, &b.stats.bn1, &b.theta.bn1, &b.scratch.sums1, &mut b.x_rec)
    });
}
