//! The fused operations, each beside its definition in primitives.

use rewind::device::SgdStep;
use rewind::device::prelude::*;
use rewind::device::{Basic, fused, whole};
use rewind::operands::{BasicCache, Carry, Measure};
use rewind::shape::Conv;

use crate::bed::Bed;
use crate::harness::{Bench, Work};

const CONV: Conv = Conv::SAME_3X3;

pub fn all<D: Device>(bench: &mut Bench<'_, D>) {
    forward(bench);
    backward(bench);
}

fn forward<D: Device>(bench: &mut Bench<'_, D>) {
    bench.on_maps("conv_stats", "", Work::Convolutions(1), |d, b| {
        let measure = Some(Measure { stats: &mut b.stats.bn1, running: None });
        let (z, workspace) = (&mut b.cache.z1, &mut b.scratch.workspace);
        d.conv_stats(&b.x, &b.theta.conv1, CONV, z, measure, workspace)
    });
    bench.on_maps("conv_stats", "_primitives", Work::Convolutions(1), |d, b| {
        let measure = Some(Measure { stats: &mut b.stats.bn1, running: None });
        let (z, workspace) = (&mut b.cache.z1, &mut b.scratch.workspace);
        fused::conv_stats(d, &b.x, &b.theta.conv1, CONV, z, measure, workspace)
    });
    bench.on_maps("norm_relu_conv_stats", "", Work::Convolutions(1), |d, b| {
        let Bed { theta, stats, cache: BasicCache { z1, z2 }, scratch, .. } = b;
        let measure = Some(Measure { stats: &mut stats.bn2, running: None });
        d.norm_relu_conv_stats(z1, &stats.bn1, &theta.bn1, &theta.conv2, z2, measure, scratch)
    });
    bench.on_maps("norm_relu_conv_stats", "_primitives", Work::Convolutions(1), |d, b| {
        let Bed { theta, stats, cache: BasicCache { z1, z2 }, scratch, .. } = b;
        let measure = Some(Measure { stats: &mut stats.bn2, running: None });
        fused::norm_relu_conv_stats(d, z1, &stats.bn1, &theta.bn1, &theta.conv2, z2, measure, scratch)
    });
    bench.on_maps("norm_relu", "", Work::Maps(2), |d, b| {
        d.norm_relu(&b.cache.z1, &b.stats.bn1, &b.theta.bn1, &mut b.x_rec)
    });
    bench.on_maps("norm_relu", "_primitives", Work::Maps(2), |d, b| {
        fused::norm_relu(d, &b.cache.z1, &b.stats.bn1, &b.theta.bn1, &mut b.x_rec)
    });
    bench.on_maps("norm_step", "", Work::Maps(3), |d, b| {
        d.norm_step(&b.x, 0.125, &b.cache.z2, &b.stats.bn2, &b.theta.bn2, &mut b.x_rec)
    });
    bench.on_maps("norm_step", "_primitives", Work::Maps(3), |d, b| {
        fused::norm_step(d, &b.x, 0.125, &b.cache.z2, &b.stats.bn2, &b.theta.bn2, &mut b.x_rec)
    });
    bench.on_maps("norm_step_acc", "", Work::Maps(3), |d, b| {
        let (z, stats, affine) = (&b.cache.z2, &b.stats.bn2, &b.theta.bn2);
        d.norm_step_acc(1e-9, z, stats, affine, &mut b.x_rec, &mut b.scratch)
    });
    bench.on_maps("norm_step_acc", "_primitives", Work::Maps(3), |d, b| {
        let (z, stats, affine) = (&b.cache.z2, &b.stats.bn2, &b.theta.bn2);
        fused::norm_step_acc(d, 1e-9, z, stats, affine, &mut b.x_rec, &mut b.scratch)
    });
    // a step so small that the state stays put over the iterations
    bench.on_maps("euler_step", "", Work::Convolutions(2), |d, b| {
        let Bed { x, theta, stats, running, cache, scratch, .. } = b;
        d.euler_step(1e-9, theta, stats, Some(running), x, cache, scratch)
    });
    bench.on_maps("euler_step", "_primitives", Work::Convolutions(2), |d, b| {
        let Bed { x, theta, stats, running, cache, scratch, .. } = b;
        whole::euler_step::<_, Basic>(d, 1e-9, theta, stats, Some(running), x, cache, scratch)
    });
    bench.on_maps("code_step", "", Work::Convolutions(2), |d, b| {
        let Bed { x, theta, stats, running, cache, scratch, coder, code, carry, .. } = b;
        d.code_step(1e-9, theta, stats, Some(running), coder, code, x, carry, cache, scratch)
    });
    bench.on_maps("code_step", "_primitives", Work::Convolutions(2), |d, b| {
        let Bed { x, theta, stats, running, cache, scratch, coder, code, carry, .. } = b;
        whole::code_step::<_, Basic>(d, 1e-9, theta, stats, Some(running), coder, code, x, carry, cache, scratch)
    });
}

fn backward<D: Device>(bench: &mut Bench<'_, D>) {
    bench.on_maps("basic_vjp_outer", "", Work::Convolutions(2), |d, b| {
        let Bed { grad, theta, stats, cache, grad_theta, scratch, .. } = b;
        d.basic_vjp_outer(grad, 0.125, theta, stats, cache, grad_theta, scratch)
    });
    bench.on_maps("basic_vjp_outer", "_primitives", Work::Convolutions(2), |d, b| {
        let Bed { grad, theta, stats, cache, grad_theta, scratch, .. } = b;
        fused::basic_vjp_outer(d, grad, 0.125, theta, stats, cache, grad_theta, scratch)
    });
    bench.on_maps("basic_vjp_inner", "", Work::Convolutions(2), |d, b| {
        let Bed { x, x_rec, theta, stats, cache, grad_theta, scratch, .. } = b;
        d.basic_vjp_inner(x, theta, stats, cache, grad_theta, x_rec, scratch)
    });
    bench.on_maps("basic_vjp_inner", "_primitives", Work::Convolutions(2), |d, b| {
        let Bed { x, x_rec, theta, stats, cache, grad_theta, scratch, .. } = b;
        fused::basic_vjp_inner(d, x, theta, stats, cache, grad_theta, x_rec, scratch)
    });
    // as small a step as above
    bench.on_maps("inverse_vjp", "", Work::Convolutions(8), |d, b| {
        let Bed { x, x_rec, grad, theta, stats, cache, grad_theta, scratch, errors, .. } = b;
        d.inverse_vjp(1e-9, Carry::Correction, theta, stats, x, x_rec, (errors, 0), cache, grad, grad_theta, scratch)
    });
    bench.on_maps("inverse_vjp", "_primitives", Work::Convolutions(8), |d, b| {
        let Bed { x, x_rec, grad, theta, stats, cache, grad_theta, scratch, errors, .. } = b;
        let (carry, errors) = (Carry::Correction, (errors, 0));
        whole::inverse_vjp::<_, Basic>(d, 1e-9, carry, theta, stats, x, x_rec, errors, cache, grad, grad_theta, scratch)
    });
    // the way back by a code that moves nothing
    bench.on_maps("decode_vjp", "", Work::Convolutions(6), |d, b| {
        let Bed { x, grad, theta, stats, cache, grad_theta, scratch, coder, code, .. } = b;
        d.decode_vjp(1e-9, theta, stats, coder, code, x, cache, grad, grad_theta, scratch)
    });
    bench.on_maps("decode_vjp", "_primitives", Work::Convolutions(6), |d, b| {
        let Bed { x, grad, theta, stats, cache, grad_theta, scratch, coder, code, .. } = b;
        whole::decode_vjp::<_, Basic>(d, 1e-9, theta, stats, coder, code, x, cache, grad, grad_theta, scratch)
    });
    bench.on_maps("sgd_block", "", Work::Weights(5), |d, b| {
        let step = SgdStep::PAPER.on_device(&b.lr, &b.loss);
        d.sgd_block(step, &b.grad_theta, &mut b.velocity, &mut b.theta)
    });
    bench.on_maps("sgd_block", "_primitives", Work::Weights(5), |d, b| {
        let step = SgdStep::PAPER.on_device(&b.lr, &b.loss);
        whole::sgd_block(d, step, &b.grad_theta, &mut b.velocity, &mut b.theta)
    });
}
